"""Attempts: who may take over what from whom."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from mlops.attempt import Attempt

AIRFLOW = {
    "AIRFLOW_CTX_DAG_ID": "training__fleet",
    "AIRFLOW_CTX_DAG_RUN_ID": "manual__2026-03-01T00:00:00+00:00",
    "AIRFLOW_CTX_TASK_ID": "each_day.fit",
    "AIRFLOW_CTX_MAP_INDEX": "3",
    "AIRFLOW_CTX_TRY_NUMBER": "2",
}


def test_an_airflow_task_knows_what_it_is() -> None:
    """Dag, run, task with its map index and the try number, from the environment that Airflow gives it."""
    attempt = Attempt.current("anna", AIRFLOW)
    assert attempt.work == "training__fleet/manual__2026-03-01T00:00:00+00:00/each_day.fit[3]"
    assert (attempt.who, attempt.number, attempt.pid) == ("anna", 2, os.getpid())
    assert attempt.tags()["airflow.task"] == "each_day.fit[3]"
    outside = Attempt.current("anna", {})
    assert (outside.work, outside.number) == ("", 0)
    assert "airflow.dag" not in outside.tags()


@pytest.mark.parametrize("variables", [{}, AIRFLOW])
def test_words_and_attempt_are_the_same(variables: dict[str, str]) -> None:
    """What stands in a lease can be read back."""
    attempt = Attempt.current("anna of the night shift", variables)
    assert Attempt.parse(str(attempt)) == attempt


def test_a_later_try_takes_over_and_an_earlier_one_does_not() -> None:
    """Of the same task only: another task's later try has nothing to say."""
    second = Attempt.current("airflow", AIRFLOW)
    first, third = replace(second, number=1), replace(second, number=3)
    assert second.supersedes(str(first))
    assert not second.supersedes(str(second))
    assert not second.supersedes(str(third))
    assert not second.supersedes(str(replace(first, work="training__fleet/r/each_day.fit[4]")))


def test_a_process_that_is_gone_is_taken_over_on_its_own_host_only() -> None:
    """A living process is left alone; of one on another host nobody here knows whether it lives."""
    me = Attempt.current("anna", {})
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    import psutil

    other = replace(me, pid=child.pid, since=psutil.Process(child.pid).create_time())
    assert not me.supersedes(str(other))
    child.kill()
    assert me.supersedes(str(replace(other, since=other.since - 60)))  # the number was given to another process
    child.wait()
    assert me.supersedes(str(other))
    assert not me.supersedes(str(replace(other, host="elsewhere")))


def test_strange_words_are_nobody_to_take_over_from() -> None:
    """A lease that something else holds is waited for."""
    assert not Attempt.current("anna", AIRFLOW).supersedes("a person with a pencil")

"""What happened to runs and tasks, as one line each; and for a failure, what it means and what to do.

Airflow calls these hooks in the process of the task (in the scheduler's for runs, and for tasks whose process was
killed), so the lines stand in the log that a person opens first.

One rule: a listener only tells. It never changes an outcome.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
from typing import Any

from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin

_log = logging.getLogger("mlops.airflow")

MEANING = {
    "ingestion": "The date is not published; nothing downstream sees it. The champion goes on serving.",
    "features": "The date has no new features; it is neither trained on nor scored until this is repeated.",
    "training": "There is no new challenger; the champion stays and goes on serving.",
    "validation": "Nothing has been decided on the challenger; the champion stays.",
    "promotion": "The challenger may not be champion yet; the next try finishes or refuses the move.",
    "inference": "The date has no predictions by the present champion, or only those of an earlier run.",
    "monitoring": "The date has not been looked at for drift, which does not mean that there is none.",
}
PR_SET_PDEATHSIG = 1  # <sys/prctl.h>


def advice(step: str, date_hint: str, error: object) -> str:
    """What a failed task means, and what to do.

    Args:
        step: name of the pipeline.
        date_hint: the run, as a person would look it up.
        error: what was raised.
    """
    meaning = MEANING.get(step, "The step is not done.")
    return f"{meaning} To do: mend what the message says ({error}), then clear the failed task of {date_hint}."


def die_with_parent() -> None:
    """On Linux, have this task killed when its supervisor dies, lest it runs on beside its own retry."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class RunListener:
    """Tells of the life of runs and tasks."""

    @hookimpl
    def on_task_instance_running(self, task_instance: Any) -> None:
        """A task starts."""
        if os.environ.get("MLOPS_PDEATHSIG") == "1":
            die_with_parent()
        _log.info("Task starts  %s try=%s", _name(task_instance), task_instance.try_number)

    @hookimpl
    def on_task_instance_success(self, task_instance: Any) -> None:
        """A task is done."""
        _log.info("Task is done  %s", _name(task_instance))

    @hookimpl
    def on_task_instance_failed(self, task_instance: Any, error: str | BaseException | None) -> None:
        """A try has failed: the last one, or one that will be repeated."""
        if "up_for_retry" in str(task_instance.state).lower():
            _log.warning("Task failed and will be tried again  %s error=%s", _name(task_instance), error)
            return
        step = task_instance.dag_id.partition("__")[0]
        _log.error("Task failed  %s  %s", _name(task_instance), advice(step, f"run {task_instance.run_id}", error))

    @hookimpl
    def on_dag_run_success(self, dag_run: Any) -> None:
        """A run has ended well."""
        _log.info("Run is done  dag=%s run=%s", dag_run.dag_id, dag_run.run_id)

    @hookimpl
    def on_dag_run_failed(self, dag_run: Any, msg: str) -> None:
        """A run has failed."""
        _log.error("Run failed  dag=%s run=%s why=%s", dag_run.dag_id, dag_run.run_id, msg)


def _name(task_instance: Any) -> str:
    mapped = f"[{task_instance.map_index}]" if task_instance.map_index >= 0 else ""
    return f"dag={task_instance.dag_id} task={task_instance.task_id}{mapped} run={task_instance.run_id}"


class MLOpsPlugin(AirflowPlugin):  # type: ignore[misc] # Airflow is not type-checked here
    """Registers the listener."""

    name = "mlops"
    listeners = [RunListener()]  # noqa: RUF012 # the plugin interface wants a list

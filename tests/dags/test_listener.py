"""What the listener tells of runs and tasks."""

from __future__ import annotations

import importlib.util
import logging
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

PLUGIN = Path(__file__).parents[2] / "plugins" / "listener.py"
STEPS = ("ingestion", "features", "training", "validation", "promotion", "rollback", "inference", "monitoring")

pytestmark = pytest.mark.dags


@pytest.fixture
def plugin() -> Any:
    """The plugin, loaded as Airflow loads it: by its path."""
    spec = importlib.util.spec_from_file_location("listener", PLUGIN)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _task(state: str, map_index: int = -1) -> SimpleNamespace:
    """A task instance as the hooks see it."""
    return SimpleNamespace(
        dag_id="training__fleet",
        task_id="fit",
        map_index=map_index,
        run_id="r1",
        try_number=1,
        state=state,
        dag_run=SimpleNamespace(run_after=datetime(2026, 3, 1, tzinfo=UTC)),
    )


def test_a_failed_task_says_what_it_means_and_what_to_do(
    plugin: Any, write_spec: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    """The one error line names task and run, the consequence for the model, the cause and the remedy."""
    write_spec("fleet")
    plugin.RunListener().on_task_instance_failed(_task("failed", map_index=2), ValueError("no columns"))
    (record,) = [r for r in caplog.records if r.levelno == logging.ERROR]
    for part in (
        "dag=training__fleet task=fit[2] run=r1",
        "the champion stays",
        "(no columns)",
        "clear the failed task",
    ):
        assert part in record.getMessage()


def test_a_try_that_will_be_repeated_is_a_warning(plugin: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody is called before the last try has failed."""
    with caplog.at_level("INFO", logger="mlops.airflow"):
        plugin.RunListener().on_task_instance_failed(_task("up_for_retry"), ConnectionError("away"))
    assert [r.levelname for r in caplog.records] == ["WARNING"]


def test_every_step_has_a_meaning() -> None:
    """No pipeline's failure is told in general words; a DAG of somebody else's is."""
    from mlops.pipelines import incidents

    assert {*STEPS, "ab_analysis", "ab_watch"} <= set(incidents.MEANING)
    assert incidents.consequence("their_dag") == "The step is not done."


def test_a_failure_is_an_incident_until_the_next_success(plugin: Any, write_spec: Callable[..., Path]) -> None:
    """Told once however often it fails, with consequence and remedy; resolved when the task has succeeded."""
    from mlops.services import Services

    write_spec("fleet")
    listener, alerts = plugin.RunListener(), Services.open().alerts
    for _ in range(2):
        listener.on_task_instance_failed(_task("failed", map_index=2), ValueError("no columns"))
    (incident,) = alerts.list_incidents("fleet")
    assert (incident.kind, incident.urgency, incident.date) == ("failed_training_fit_2", "normal", date(2026, 3, 1))
    assert "the champion stays" in incident.consequence
    assert "clear the failed task of run r1" in incident.action
    listener.on_task_instance_success(_task("success", map_index=1))
    assert alerts.list_incidents("fleet") == [incident]
    listener.on_task_instance_success(_task("success", map_index=2))
    (resolved,) = alerts.list_incidents("fleet")
    assert resolved.resolved_at is not None
    listener.on_task_instance_failed(_task("failed", map_index=2), ValueError("again"))
    (again,) = alerts.list_incidents("fleet")
    assert (again.resolved_at, "again" in again.summary) == (None, True)


def test_a_listener_that_cannot_tell_says_so_and_lets_the_task_be(
    plugin: Any, installation: object, caplog: pytest.LogCaptureFixture
) -> None:
    """A model whose spec is gone: the hook logs what went wrong and raises nothing."""
    plugin.RunListener().on_task_instance_failed(_task("failed"), ValueError("no columns"))
    assert "The listener could not tell" in caplog.text


def test_a_task_knows_its_map_index(plugin: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two tries of two mapped tasks are told apart, which Airflow's own variables do not do."""
    monkeypatch.setenv("AIRFLOW_CTX_MAP_INDEX", "-1")
    plugin.RunListener().on_task_instance_running(_task("running", map_index=2))
    assert os.environ["AIRFLOW_CTX_MAP_INDEX"] == "2"


def test_airflow_loads_the_plugin(airflow_db: None) -> None:
    """It is among Airflow's plugins, without an error, and its hooks are those Airflow calls."""
    from airflow import plugins_manager

    plugins, errors = plugins_manager._get_plugins()
    assert errors == {}
    (found,) = [p for p in plugins if p.name == "mlops"]
    assert len(found.listeners) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal is Linux's")
def test_a_task_dies_with_its_supervisor(tmp_path: Path) -> None:
    """When the supervisor is killed, no orphan goes on beside the retry."""
    pid_file = tmp_path / "pid"
    code = textwrap.dedent(
        f"""
        import importlib.util, os, pathlib, time
        spec = importlib.util.spec_from_file_location("listener", {str(PLUGIN)!r})
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        if os.fork() == 0:
            module.die_with_parent()
            pathlib.Path({str(pid_file)!r}).write_text(f"{{os.getpid()}}.")
            time.sleep(600)
        time.sleep(600)
        """
    )
    supervisor = subprocess.Popen([sys.executable, "-c", code])
    try:
        deadline = time.monotonic() + 60
        while not (pid_file.exists() and pid_file.read_text().endswith(".")) and time.monotonic() < deadline:
            time.sleep(0.05)
        task = psutil.Process(int(pid_file.read_text().rstrip(".")))
        assert task.is_running()
    finally:
        supervisor.kill()
        supervisor.wait()
    psutil.wait_procs([task], timeout=10)
    assert not task.is_running() or task.status() == psutil.STATUS_ZOMBIE

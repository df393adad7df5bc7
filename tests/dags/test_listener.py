"""What the listener tells of runs and tasks."""

from __future__ import annotations

import importlib.util
import logging
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

PLUGIN = Path(__file__).parents[2] / "plugins" / "listener.py"
STEPS = ("ingestion", "features", "training", "validation", "promotion", "inference", "monitoring")

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
        dag_id="training__fleet", task_id="fit", map_index=map_index, run_id="r1", try_number=1, state=state
    )


def test_a_failed_task_says_what_it_means_and_what_to_do(plugin: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The one error line names task and run, the consequence for the model, the cause and the remedy."""
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


def test_every_step_has_a_meaning(plugin: Any) -> None:
    """No pipeline's failure is told in general words; a DAG of somebody else's is."""
    assert set(plugin.MEANING) == set(STEPS)
    assert plugin.advice("their_dag", "run r1", "x").startswith("The step is not done.")


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

"""What happened to runs and tasks, as one line each; a failure becomes an incident, which the next success resolves.

Airflow calls these hooks in the process of the task (in the scheduler's for runs, and for tasks whose process was
killed), so the lines stand in the log that a person opens first.

One rule: a listener only tells. It never changes an outcome.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin

_log = logging.getLogger("mlops.airflow")
PR_SET_PDEATHSIG = 1  # <sys/prctl.h>


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
        os.environ["AIRFLOW_CTX_MAP_INDEX"] = str(task_instance.map_index)  # Airflow gives a task all but this
        _log.info("Task starts  %s try=%s", _name(task_instance), task_instance.try_number)

    @hookimpl
    def on_task_instance_success(self, task_instance: Any) -> None:
        """A task is done, and what was told of its failure is over."""
        _log.info("Task is done  %s", _name(task_instance))
        if "mlops.storage" not in sys.modules and task_instance.try_number == 1:
            return  # it has touched nothing: importing what reads incidents would be most of its work
        with _telling_only():
            from mlops.pipelines import incidents
            from mlops.services import Services

            incidents.task_succeeded(Services.open(), task_instance.dag_id, _task(task_instance))

    @hookimpl
    def on_task_instance_failed(self, task_instance: Any, error: str | BaseException | None) -> None:
        """A try has failed: the last one, or one that will be repeated."""
        if "up_for_retry" in str(task_instance.state).lower():
            _log.warning("Task failed and will be tried again  %s error=%s", _name(task_instance), error)
            return
        with _telling_only():
            from mlops.pipelines import incidents
            from mlops.services import Services

            step, run = task_instance.dag_id.partition("__")[0], f"run {task_instance.run_id}"
            told = f"{incidents.consequence(step)} To do: {incidents.remedy(error, run)}"
            _log.error("Task failed  %s  %s", _name(task_instance), told)
            task, day = _task(task_instance), _moment(task_instance).date()
            incidents.task_failed(
                Services.open(), task_instance.dag_id, task, task_instance.run_id, day, error or "it was killed"
            )

    @hookimpl
    def on_dag_run_success(self, dag_run: Any) -> None:
        """A run has ended well."""
        _log.info("Run is done  dag=%s run=%s", dag_run.dag_id, dag_run.run_id)

    @hookimpl
    def on_dag_run_failed(self, dag_run: Any, msg: str) -> None:
        """A run has failed."""
        _log.error("Run failed  dag=%s run=%s why=%s", dag_run.dag_id, dag_run.run_id, msg)


@contextlib.contextmanager
def _telling_only() -> Iterator[None]:
    """What goes wrong while telling is told, and goes no further."""
    try:
        yield
    except Exception:  # noqa: BLE001 - see the rule above
        _log.exception("The listener could not tell")


def _task(task_instance: Any) -> str:
    mapped = f"[{task_instance.map_index}]" if task_instance.map_index >= 0 else ""
    return f"{task_instance.task_id}{mapped}"


def _name(task_instance: Any) -> str:
    return f"dag={task_instance.dag_id} task={_task(task_instance)} run={task_instance.run_id}"


def _moment(task_instance: Any) -> datetime:
    """When the run was due; in the task's process it hangs elsewhere than in the scheduler's."""
    context = getattr(task_instance, "_ti_context_from_server", None)
    run = getattr(context, "dag_run", None) or getattr(task_instance, "dag_run", None)
    moment: datetime = getattr(run, "run_after", None) or datetime.now(UTC)
    return moment


class MLOpsPlugin(AirflowPlugin):  # type: ignore[misc] # Airflow is not type-checked here
    """Registers the listener."""

    name = "mlops"
    listeners = [RunListener()]  # noqa: RUF012 # the plugin interface wants a list

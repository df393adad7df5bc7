"""What Airflow's scheduler does with Assets, for DAGs that run with `dag.test()` in this process.

Airflow itself records the events of Assets, queues the DAGs that consume them and says which of these are ready
(`AssetDagRunQueue`, `DagModel.dags_needing_dagruns`). Left to do is what the scheduler's loop adds: start a ready DAG,
hand it the events that it has not consumed yet, and take it out of the queue. Several events that wait make one run.

One rule: which DAG comes after which is said by the DAGs' schedules, never here.

Airflow must have its settings in the environment before this module is used (`demo.environment.enter`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from unittest.mock import patch

from mlops.errors import ConfigError

StartedBy = Literal["cron", "form", "asset"]


@dataclass(frozen=True, slots=True)
class Start:
    """A wish to run a DAG that no Asset has."""

    dag_id: str
    by: Literal["cron", "form"]
    conf: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TaskTime:
    """One task instance of a run."""

    task: str
    map_index: int  # -1 for a task that is not mapped
    state: str
    seconds: float


@dataclass(frozen=True, slots=True)
class DagRun:
    """One run of a DAG, over."""

    dag_id: str
    run_id: str
    by: StartedBy
    events: tuple[str, ...]  # names of the Assets whose events started it
    status: Literal["success", "failed"]
    seconds: float
    cpu_seconds: float  # of all threads of this process
    tasks: tuple[TaskTime, ...]
    returned: tuple[Any, ...]  # what its tasks returned, in the order in which they ended
    error: str = ""  # of the first task that failed


class Scheduler:
    """Runs the DAGs of a folder one after the other.

    Args:
        dags: the folder.
        order: names of steps; of several DAGs that are ready, the one runs first whose id starts with the earliest.
        on_task: called with DAG id and task id when a task starts.
    """

    def __init__(self, dags: Path, order: Sequence[str], on_task: Callable[[str, str], None] | None = None) -> None:
        from airflow.dag_processing.bundles.manager import DagBundlesManager
        from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db
        from airflow.utils.db import initdb

        initdb()
        bag = BundleDagBag(dag_folder=dags, bundle_path=dags, bundle_name="dags-folder")
        if bag.import_errors:
            file, why = next(iter(bag.import_errors.items()))
            raise ConfigError(f"{file} cannot be loaded: {why.strip().splitlines()[-1]}", hint="Mend the DAG file.")
        DagBundlesManager().sync_bundles_to_db()
        sync_bag_to_db(bag, "dags-folder", None)
        self.dags: dict[str, Any] = dict(bag.dags)
        self._bag = bag
        self._forms = {dag_id: _form(dag) for dag_id, dag in self.dags.items()}
        self._order = list(order)
        self._consumed: dict[str, int] = {}  # DAG id -> id of the newest event it was handed
        self._listener = _Listener(on_task or (lambda _dag, _task: None))
        _listen(self._listener)

    def live(self, starts: Sequence[Start]) -> Iterator[DagRun]:
        """Run what `starts` asks for and all that follows from it, until no DAG is ready."""
        waiting = list(starts)
        while True:
            ready = self.ready()
            candidates = {start.dag_id for start in waiting} | set(ready)
            if not candidates:
                return
            chosen = min(candidates, key=lambda dag_id: (self._rank(dag_id), dag_id))
            asked = next((start for start in waiting if start.dag_id == chosen), None)
            if asked is not None:
                waiting.remove(asked)
                yield self._run(chosen, asked.by, asked.conf, {})
            else:
                yield self._run(chosen, "asset", {}, self._take(chosen))

    def ready(self) -> list[str]:
        """DAGs whose Assets ask for a run, as Airflow sees it."""
        from airflow.models.dag import DagModel
        from airflow.utils.session import create_session

        with create_session() as session:
            _, asked_at = DagModel.dags_needing_dagruns(session)
            return [dag_id for dag_id in asked_at if dag_id in self.dags]

    def _rank(self, dag_id: str) -> int:
        step = dag_id.partition("__")[0]
        return self._order.index(step) if step in self._order else len(self._order)

    def _take(self, dag_id: str) -> dict[int, str]:
        """The waiting events of a DAG (event id -> name of the Asset); its place in the queue is given up."""
        from airflow.models.asset import AssetDagRunQueue, AssetEvent, AssetModel, DagScheduleAssetReference
        from airflow.utils.session import create_session
        from sqlalchemy import delete, select

        consumed = select(DagScheduleAssetReference.asset_id).where(DagScheduleAssetReference.dag_id == dag_id)
        with create_session() as session:
            query = (
                select(AssetEvent.id, AssetModel.name)
                .join(AssetModel, AssetModel.id == AssetEvent.asset_id)
                .where(AssetEvent.asset_id.in_(consumed), AssetEvent.id > self._consumed.get(dag_id, 0))
                .order_by(AssetEvent.id)
            )
            events = {int(number): str(name) for number, name in session.execute(query)}
            session.execute(delete(AssetDagRunQueue).where(AssetDagRunQueue.target_dag_id == dag_id))
        self._consumed[dag_id] = max(events, default=self._consumed.get(dag_id, 0))
        return events

    def _run(self, dag_id: str, by: StartedBy, conf: dict[str, Any], events: dict[int, str]) -> DagRun:
        self._listener.errors.clear()
        for param, default in self._forms[dag_id]:
            param.value = default  # a run in this process leaves its conf behind in the DAG's params
        started, worked = time.perf_counter(), time.process_time()
        with _hand_over(dag_id, list(events)), _parsed_once(self._bag):
            run = self.dags[dag_id].test(run_conf=conf or None)
        seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - worked
        status: Literal["success", "failed"] = "success" if str(run.state) == "success" else "failed"
        tasks, returned = _ended(run)
        if any(task.state == "failed" for task in tasks):
            status = "failed"
        error = next(iter(self._listener.errors), "") if status == "failed" else ""
        names = tuple(dict.fromkeys(events.values()))
        return DagRun(dag_id, str(run.run_id), by, names, status, seconds, cpu_seconds, tasks, returned, error)


def _form(dag: Any) -> list[tuple[Any, Any]]:
    """The fields of a DAG's form, which its tasks may have as their own, with their defaults."""
    fields = [owner.params.get_param(name) for owner in (dag, *dag.tasks) for name in owner.params]
    return [(field, field.value) for field in fields]


@contextmanager
def _hand_over(dag_id: str, events: Sequence[int]) -> Iterator[None]:
    """While it is open, a run made of the DAG has `events` as those that started it, as one made by the scheduler."""
    from airflow.models.asset import association_table
    from airflow.models.dagrun import DagRun as Model
    from sqlalchemy import event

    def attach(_mapper: Any, connection: Any, run: Any) -> None:
        if events and run.dag_id == dag_id:
            rows = [{"dag_run_id": run.id, "event_id": number} for number in events]
            connection.execute(association_table.insert(), rows)

    event.listen(Model, "after_insert", attach)
    try:
        yield
    finally:
        event.remove(Model, "after_insert", attach)


@contextmanager
def _parsed_once(bag: Any) -> Iterator[None]:
    """While it is open, `dag.test()` takes the DAGs as they are known.

    It would parse the folder and write all its DAGs to the database before every single run: 40 % of what a short run
    costs, for files that do not change meanwhile.
    """
    from airflow.dag_processing import dagbag

    with (
        patch.object(dagbag, "BundleDagBag", lambda **_: bag),
        patch.object(dagbag, "sync_bag_to_db", lambda *_: None),
    ):
        yield


class _Listener:
    """Hears of tasks that start and fail."""

    def __init__(self, on_task: Callable[[str, str], None]) -> None:
        self.on_task = on_task
        self.errors: list[str] = []

    def started(self, task_instance: Any) -> None:
        self.on_task(task_instance.dag_id, task_instance.task_id)

    def failed(self, task_instance: Any, error: Any) -> None:
        words = " ".join(str(error).split()) or type(error).__name__
        self.errors.append(f"{task_instance.task_id}: {words}")


def _listen(listener: _Listener) -> None:
    from airflow.listeners import hookimpl
    from airflow.sdk.listener import get_listener_manager

    class Hooks:
        @hookimpl
        def on_task_instance_running(self, task_instance: Any) -> None:
            listener.started(task_instance)

        @hookimpl
        def on_task_instance_failed(self, task_instance: Any, error: Any) -> None:
            listener.failed(task_instance, error)

    get_listener_manager().add_listener(Hooks())


def _ended(run: Any) -> tuple[tuple[TaskTime, ...], tuple[Any, ...]]:
    """The task instances of a run in the order in which they ended, and what they returned."""
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    instances = sorted(run.get_task_instances(), key=lambda ti: (ti.end_date is None, ti.end_date or 0))
    tasks = tuple(TaskTime(ti.task_id, ti.map_index, str(ti.state), round(ti.duration or 0.0, 3)) for ti in instances)
    with create_session() as session:
        query = select(XComModel).where(
            XComModel.dag_id == run.dag_id, XComModel.run_id == run.run_id, XComModel.key == "return_value"
        )
        values = {(row.task_id, row.map_index): XComModel.deserialize_value(row) for row in session.scalars(query)}
    returned = [values[key] for task in tasks if (key := (task.task, task.map_index)) in values]
    return tasks, tuple(returned)

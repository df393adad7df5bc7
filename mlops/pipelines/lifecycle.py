"""The runs of a night in MLflow: a parent per step and date, below it a child per task.

`2026-03-19 training` ─ `prepare`, `isolation_forest`, `ecod`, …, `select`. A child says how its task ended, in words
and numbers, and so does its parent, by which nights are compared. Steps that touch no MLflow (ingestion, features) have
no runs: importing MLflow would cost them more than their work.

One rule: a child is open exactly as long as its task is at work.
"""

from __future__ import annotations

import hashlib
import re
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from types import FrameType
from typing import TYPE_CHECKING, Any

from mlops.pipelines.night import run_key
from mlops.records import StepReport
from mlops.services import Services
from mlops.spec import ModelSpec

if TYPE_CHECKING:
    from mlops.experiments.run import Run

# step -> the name of its one task; training has several, opened by `mlops.pipelines.training`
TASKS: Mapping[str, str] = {
    "validation": "validate",
    "promotion": "promote",
    "rollback": "roll_back",
    "inference": "score",
    "monitoring": "monitor",
}
_UNFIT = re.compile(r"[^A-Za-z0-9_.\-/ ]+")  # what MLflow refuses in the name of a metric


@contextmanager
def task_run(
    services: Services,
    spec: ModelSpec,
    step: str,
    day: date,
    task: str,
    *,
    asked: str = "",
    inputs_hash: str = "",
    tags: Mapping[str, str] | None = None,
    reuse: bool = False,
    environment: bool = False,
) -> Iterator[Run]:
    """The open MLflow run of one task, below the run of its step and date.

    Args:
        services: the adapters.
        spec: the model.
        step: name of the pipeline.
        day: the date.
        task: name of the task, or of the candidate.
        asked: what the whole step is asked for; with another one, a new parent supersedes the one that is there.
        inputs_hash: what the task's work is made from, see `ExperimentTracker.run`.
        tags: further tags of the child.
        reuse: see `ExperimentTracker.run`.
        environment: see `ExperimentTracker.run`.

    Raises:
        LeaseError: another attempt is at work on this task, or has taken over.
        StorageError: MLflow cannot be opened or written.
    """
    from mlops.experiments.tracking import Parent

    key = run_key(spec, step, day)
    common = {"model": spec.name, "task": spec.task, "owner": spec.owner, "step": step, "date": day.isoformat()}
    made_by = {f"mlops.{name}": value for name, value in services.attempt.tags().items()}
    above = Parent(key, f"{day} {step}", _ask(spec, services, asked), common | made_by)
    with (
        _ended_by_sigterm(),
        services.tracker.run(
            f"{key}/{task}",
            experiment=spec.name,
            parent=above,
            inputs_hash=inputs_hash,
            tags=common | made_by | dict(tags or {}),
            name=task,
            reuse=reuse,
            environment=environment,
        ) as run,
    ):
        yield run


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Turn SIGTERM into `SystemExit`, so that a task marked as failed, or a pod that is evicted, ends its run."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)

    def end(_number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def tracked(services: Services, spec: ModelSpec, step: str, day: date, work: Callable[[], StepReport]) -> StepReport:
    """Do the work of a step within its runs, and have them say how it ended. A step without runs is just done."""
    if step not in TASKS:
        return work()
    with task_run(services, spec, step, day, TASKS[step]) as run:
        answer = work()
        describe(run, answer)
    return answer


def describe(run: Run, answer: StepReport, more: Mapping[str, float] | None = None) -> None:
    """Write a step's answer to the task's run and its parent: outcome and reason, numbers, where the pages are.

    Args:
        run: open.
        answer: of the step.
        more: further metrics.
    """
    pages = {name: str(uri) for name, uri in answer.record.items() if name.endswith("_uri") and uri}
    links = "".join(f"\n- {name.removesuffix('_uri').replace('_', ' ')}: `{uri}`" for name, uri in pages.items())
    tags = {"mlops.outcome": answer.outcome, "mlops.reason": answer.reason}
    found = numbers(answer.record) | {"seconds": answer.seconds} | dict(more or {})
    run.describe(
        tags | {f"mlops.{name}": uri for name, uri in pages.items()}, found, f"{answer.reason}\n{links}".strip()
    )


def numbers(record: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a record, as metrics: counts, a decision's gates, a model's metrics.

    >>> numbers({"rows": 3, "reused": True, "metrics": {"roc_auc": 0.9}, "gates": [{"name": "size", "value": 2.0}]})
    {'rows': 3.0, 'roc_auc': 0.9, 'gate/size': 2.0}
    """
    found: dict[str, Any] = {}
    for name, value in record.items():
        if name == "metrics" and isinstance(value, Mapping):
            found |= value
        elif name == "gates":
            found |= {f"gate/{gate['name']}": gate.get("value") for gate in value}
        else:
            found[name] = value
    return {
        _UNFIT.sub("_", name): float(value)
        for name, value in found.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def _ask(spec: ModelSpec, services: Services, asked: str) -> str:
    """What a step and date are asked for: the same again is the same run, clear and retry included."""
    return hashlib.sha256("\n".join([spec.training_hash, services.code_version, asked]).encode()).hexdigest()

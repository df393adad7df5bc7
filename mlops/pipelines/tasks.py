"""What Airflow tasks and the command line call: names and dates in, JSON out.

One rule: a task opens its own services from the settings of its process; only these dicts are carried between tasks.
"""

from __future__ import annotations

import dataclasses
import importlib
import time
from collections.abc import Callable, Sequence
from datetime import date
from functools import partial
from typing import Any

from mlops import log
from mlops.errors import LedgerError
from mlops.pipelines import lifecycle
from mlops.records import RunRecord, StepReport, TrainingSet, from_dict, to_dict
from mlops.services import Services
from mlops.spec import ModelSpec

STEPS = ("ingestion", "features", "training", "validation", "promotion", "inference", "monitoring")

_log = log.get(__name__)


def execute(step: str, services: Services, spec: ModelSpec, day: date, **options: Any) -> StepReport:
    """Run one step and time it.

    Args:
        step: one of `STEPS`.
        services: the adapters.
        spec: the model.
        day: the date.
        options: what the step's `run` takes beside these.
    """
    run: Callable[..., StepReport] = importlib.import_module(f"mlops.pipelines.{step}").run
    return lifecycle.tracked(services, spec, step, day, lambda: _timed(lambda: run(services, spec, day, **options)))


def ingest(model: str, day: str) -> dict[str, Any]:
    """Ingestion of one date."""
    return _step("ingestion", model, day)


def build_features(model: str, day: str) -> dict[str, Any]:
    """Features of one date."""
    return _step("features", model, day)


def prepare(model: str, day: str, reason: str = "schedule", started_by: str = "") -> dict[str, Any]:
    """First part of training: the training set. `started_by` is who started it, by default the actor.

    Returns:
        `report` (a StepReport), `training_set` (a TrainingSet or None) and `candidates` (indexes to map `fit` over).
    """
    from mlops.pipelines import training

    services = Services.open()
    spec = services.spec(model)
    made: list[TrainingSet] = []
    answer = _timed(
        lambda: training.prepare_report(services, spec, date.fromisoformat(day), reason, made.append, started_by)
    )
    indexes = list(range(len(spec.candidates))) if made else []
    return {
        "report": to_dict(answer),
        "training_set": to_dict(made[0]) if made else None,
        "candidates": indexes,
        "labels": [spec.candidates[i].label for i in indexes],
    }


def fit(model: str, training_set: dict[str, Any], index: int) -> dict[str, Any]:
    """Second part of training: one candidate; the answer is a RunRecord."""
    from mlops.pipelines import training

    services = Services.open()
    return to_dict(training.fit(services, services.spec(model), from_dict(TrainingSet, training_set), index))


def select(model: str, training_set: dict[str, Any], runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Last part of training: the best candidate becomes a version; the answer is a StepReport with a ModelVersion."""
    from mlops.pipelines import training

    services = Services.open()
    records = [from_dict(RunRecord, run) for run in runs]
    return to_dict(
        _timed(lambda: training.select(services, services.spec(model), from_dict(TrainingSet, training_set), records))
    )


def validate(model: str, day: str) -> dict[str, Any]:
    """Validation of the challenger of one date."""
    return _step("validation", model, day)


def promote(model: str, day: str) -> dict[str, Any]:
    """Promotion of the challenger of one date."""
    return _step("promotion", model, day)


def reign(model: str) -> int | None:
    """The reign that a rollback asked for now would end, by the number of its ledger entry."""
    from mlops.pipelines import rollback

    return rollback.ask(Services.open(), model)


def roll_back(model: str, day: str, *, to: int | None, reason: str, ends: int | None) -> dict[str, Any]:
    """Rollback of a model; `day` is the date that the answer carries."""
    return _step("rollback", model, day, to=to, reason=reason, ends=ends)


def score(model: str, day: str) -> dict[str, Any]:
    """Batch inference of one date."""
    return _step("inference", model, day)


def monitor(model: str, day: str) -> dict[str, Any]:
    """Monitoring of one date."""
    return _step("monitoring", model, day)


def reap() -> dict[str, Any]:
    """End what killed processes have left open, see `mlops.pipelines.reaper`."""
    from mlops.pipelines import reaper

    return dataclasses.asdict(reaper.reap(Services.open()))


def verify_ledger() -> list[str]:
    """Nothing, if the ledger's chain is whole.

    Raises:
        LedgerError: it is not, or nobody can tell because a key is missing; the message says which entries.
    """
    found = Services.open().ledger.check()
    if found.verdict != "whole":
        said = "; ".join((*found.problems, *found.unknown))
        raise LedgerError(f"{said}.", hint="What to do stands in docs/runbook.md.")
    return []


def collect_garbage() -> list[dict[str, Any]]:
    """What of each model nobody can need any more; it is deleted where the spec says so (`retention.automatic`)."""
    from mlops.pipelines import retention

    services = Services.open()
    answers = [
        _timed(partial(retention.run, services, spec, spec.retention.automatic)) for spec in services.specs().values()
    ]
    return [to_dict(answer) | {"record": {}} for answer in answers]  # the list of all things is not for XCom


def _step(step: str, model: str, day: str, **options: Any) -> dict[str, Any]:
    services = Services.open()
    return to_dict(execute(step, services, services.spec(model), date.fromisoformat(day), **options))


def _timed(run: Callable[[], StepReport]) -> StepReport:
    started = time.perf_counter()
    answer = run()
    answer = dataclasses.replace(answer, seconds=round(time.perf_counter() - started, 3))
    _log.info(
        "%s  %s",
        answer.reason,
        log.facts(step=answer.step, model=answer.model, date=answer.date, outcome=answer.outcome, s=answer.seconds),
    )
    return answer

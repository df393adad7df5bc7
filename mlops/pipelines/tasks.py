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
from typing import Any, Literal

from mlops import log
from mlops.errors import DeliveryError, LedgerError
from mlops.pipelines import lifecycle
from mlops.records import RunRecord, StepReport, TrainingSet, from_dict, to_dict
from mlops.services import Services
from mlops.spec import ModelSpec

STEPS = ("ingestion", "features", "training", "validation", "promotion", "inference", "monitoring")

_log = log.get(__name__)


def execute(step: str, services: Services, spec: ModelSpec, day: date, **options: Any) -> StepReport:
    """Run one step within its MLflow runs, and time it.

    Args:
        step: one of `STEPS`.
        services: the adapters.
        spec: the model.
        day: the date.
        options: what the step's `run` takes beside these.
    """
    return lifecycle.tracked(services, spec, step, day, lambda: execute_alone(step, services, spec, day, **options))


def execute_alone(step: str, services: Services, spec: ModelSpec, day: date, **options: Any) -> StepReport:
    """Run one step without MLflow runs and time it: for commands that must be quick and stand in the ledger anyhow."""
    run: Callable[..., StepReport] = importlib.import_module(f"mlops.pipelines.{step}").run
    return _noted(services, _timed(lambda: run(services, spec, day, **options)))


def ingest(model: str, day: str, release: str = "", actor: str = "") -> dict[str, Any]:
    """Ingestion of one date, or the release of what waits of it in quarantine, for the reason given, by the actor."""
    return _step("ingestion", model, day, release=release, actor=actor)


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
    if not made:
        _noted(services, answer)
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
    spec, chosen = services.spec(model), from_dict(TrainingSet, training_set)
    return to_dict(_noted(services, _timed(lambda: training.select(services, spec, chosen, records))))


def validate(model: str, day: str) -> dict[str, Any]:
    """Validation of the challenger of one date."""
    return _step("validation", model, day)


def promote(model: str, day: str) -> dict[str, Any]:
    """Promotion of the challenger of one date."""
    return _step("promotion", model, day)


def ask_for_approval(model: str, day: str) -> dict[str, Any]:
    """First try of a promotion that people decide on, and the page that asks them, as Markdown.

    Returns:
        `report` (a StepReport; "cannot_tell": people are asked), `version`, `subject` and `body`.
    """
    from mlops.pipelines import approval

    answer = promote(model, day)
    services = Services.open()
    return {"report": answer} | approval.page(services, services.spec(model), answer["record"].get("version"))


def approval_state(model: str, version: int) -> dict[str, Any]:
    """Where the approval of a version stands: `status`, `reason`, `until` (ISO 8601)."""
    from mlops.pipelines import approval

    services = Services.open()
    state = approval.standing(services, services.spec(model), version)
    return {"status": state.status, "reason": state.reason, "until": state.until.isoformat()}


def vote(
    model: str, version: int, answer: Literal["approve", "reject"], *, names: Sequence[str | None], comment: str = ""
) -> dict[str, Any]:
    """A vote given in Airflow, into the ledger.

    Args:
        model: name of the model.
        version: what is voted on.
        answer: approve or reject.
        names: what Airflow calls the person; the one that holds the role counts, else the first. Who started the
            training must be under none of them.
        comment: why.
    """
    from mlops.pipelines import approval

    services = Services.open()
    spec = services.spec(model)
    holders = services.config.roles.get(spec.promotion.role, ())
    given = [str(name) for name in names if name]
    person = next((name for name in given if name in holders), given[0])
    state = approval.vote(
        services, spec, answer, version=version, comment=comment, via="airflow", actor=person, also=given
    )
    return {"status": state.status, "reason": state.reason, "by": person}


def auto_approve(model: str, version: int) -> dict[str, Any]:
    """Approve without a person.

    Raises:
        PromotionError: the settings do not allow it.
    """
    from mlops.pipelines import approval

    services = Services.open()
    state = approval.auto_approve(services, services.spec(model), version)
    return {"status": state.status, "reason": state.reason, "by": approval.NOBODY}


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


def measure_performance(model: str, day: str) -> dict[str, Any]:
    """How good the predictions of one date probably are, and how good those were whose labels have matured."""
    services = Services.open()
    spec, night = services.spec(model), date.fromisoformat(day)
    return to_dict(execute_alone("performance", services, spec, night, tonight=True))


def analyse_experiments(model: str, day: str) -> dict[str, Any]:
    """The night's look at the experiments of a model."""
    return _step("ab_analysis", model, day)


def watch_canaries(model: str) -> dict[str, Any]:
    """The canaries of a model so far, the day under way included; one that harms is taken back."""
    from mlops.pipelines import ab_analysis

    services = Services.open()
    spec, today = services.spec(model), services.clock().date()
    return to_dict(_noted(services, _timed(lambda: ab_analysis.watch(services, spec, today))))


def reap() -> dict[str, Any]:
    """End what killed processes have left open, see `mlops.pipelines.reaper`."""
    from mlops.pipelines import reaper

    return dataclasses.asdict(reaper.reap(Services.open()))


def deliver_alerts() -> dict[str, Any]:
    """Tell what could not be told so far, see `mlops.monitoring.alerts`.

    Raises:
        DeliveryError: a channel still does not take something that has waited for an hour; it is kept.
    """
    found = Services.open().alerts.deliver()
    if found.stuck:
        said = " ".join(found.errors) or "See mlops incidents deliver."
        raise DeliveryError(f"{found.stuck} alert(s) have waited for more than an hour. {said}")
    return dataclasses.asdict(found)


def reconcile() -> list[dict[str, Any]]:
    """Compare every model's registry with its ledger, see `mlops.pipelines.reconcile`."""
    from mlops.pipelines import reconcile as pipeline

    return [to_dict(answer) for answer in pipeline.run_all(Services.open())]


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
    """What of each model nobody can need any more; it is deleted where the spec says so (`retention.automatic`).

    What killed writers have left behind is nobody's, and goes.
    """
    from mlops.pipelines import leftovers, retention

    services = Services.open()
    answers = [
        _timed(partial(retention.run, services, spec, spec.retention.automatic)) for spec in services.specs().values()
    ]
    answers.append(leftovers.run(services, apply=True))
    return [to_dict(answer) | {"record": {}} for answer in answers]  # the list of all things is not for XCom


def _step(step: str, model: str, day: str, **options: Any) -> dict[str, Any]:
    services = Services.open()
    return to_dict(execute(step, services, services.spec(model), date.fromisoformat(day), **options))


def _noted(services: Services, answer: StepReport) -> StepReport:
    """Note for the metrics how a step ended, and tell what could not be told so far: neither undoes what was done."""
    try:
        services.step_log.note(answer, at=services.clock())
    except LedgerError as error:
        _log.error("How a step ended is missing in the metrics: %s", error)
    services.alerts.deliver_quietly()
    return answer


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

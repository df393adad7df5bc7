"""The metrics of all models, read from the records: how steps ended, incidents, champions, deliveries, drift.

Reads: the step log, incidents and outbox, the ledger, the quarantine. Imports neither MLflow nor Feast.

One rule: a part that cannot be read is missing and said to be missing (`mlops_collect_up` 0); it is never 0 instead.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date

from pydantic import ValidationError

from mlops import log
from mlops import metric_names as names
from mlops.errors import MLOpsError
from mlops.governance import champions
from mlops.metric_names import Metric
from mlops.monitoring.exposition import Sample
from mlops.monitoring.message import SEVERITY
from mlops.monitoring.step_log import StepResult
from mlops.pipelines.night import as_of
from mlops.pipelines.night_performance import NightPerformance, Performance
from mlops.records import DataSlice, DriftReport, FeatureBatch, GateDecision, PredictionBatch, R, from_dict
from mlops.services import Services
from mlops.spec import ModelSpec

OUTCOMES = ("done", "nothing_to_do", "no", "cannot_tell")
VERDICTS = ("pass", "fail", "cannot_tell")
DRIFT_VERDICTS = ("drift", "no_drift", "cannot_tell")
DRIFT_DEGREES = ("none", "without_consequence", "with_consequence", "cannot_tell")
PLATFORM = ""  # the label `model` of what is about no single model
_log = log.get(__name__)


def collect(services: Services) -> list[Sample]:
    """All metrics that the records know.

    Raises:
        SpecError: the specs cannot be read.
    """
    started = time.perf_counter()
    specs = services.specs()
    found: list[Sample] = []
    parts: list[tuple[str, str, Callable[[], Iterator[Sample]]]] = [
        (PLATFORM, "incidents", lambda: _incidents(services)),
        (PLATFORM, "outbox", lambda: _outbox(services, specs)),
    ]
    for name, spec in sorted(specs.items()):
        found.append(Sample(names.MODEL_INFO, 1, (name, spec.owner, spec.task)))
        parts += [(name, part, _bound(read, services, spec)) for part, read in _OF_A_MODEL.items()]
    for model, part, read in parts:
        try:
            samples, up = list(read()), 1.0
        except (MLOpsError, ValidationError) as error:
            _log.error("Metrics are missing: %s  %s", error, log.facts(model=model, part=part))
            samples, up = [], 0.0
        found += [*samples, Sample(names.COLLECT_UP, up, (model, part))]
    found.append(Sample(names.COLLECT_DURATION, time.perf_counter() - started))
    return found


def _bound(
    read: Callable[[Services, ModelSpec], Iterator[Sample]], services: Services, spec: ModelSpec
) -> Callable[[], Iterator[Sample]]:
    return lambda: read(services, spec)


def _incidents(services: Services) -> Iterator[Sample]:
    found = Counter(
        (one.model, one.kind, SEVERITY[one.urgency], one.state)
        for one in services.alerts.list_incidents(resolved=False)
    )
    for labels, count in sorted(found.items()):
        yield Sample(names.INCIDENTS, count, labels)


def _outbox(services: Services, specs: Mapping[str, ModelSpec]) -> Iterator[Sample]:
    waiting = [message for message in services.alerts.outbox.waiting() if message.attempts]
    channels = {name for spec in specs.values() for name in spec.alerts.channels} | {m.channel for m in waiting}
    for channel in sorted(channels):
        stuck = [message.created_at.timestamp() for message in waiting if message.channel == channel]
        yield Sample(names.ALERTS_UNDELIVERED, len(stuck), (channel,))
        yield Sample(names.ALERTS_OLDEST_UNDELIVERED, min(stuck, default=0.0), (channel,))


def _steps(services: Services, spec: ModelSpec) -> Iterator[Sample]:
    results = services.step_log.results(spec.name)
    for step in dict.fromkeys(result.step for result in results):
        ended = [result for result in results if result.step == step]
        last = max(ended, key=lambda result: result.at)
        well = [result.at for result in ended if result.outcome in ("done", "nothing_to_do")]
        yield Sample(names.STEP_LAST_RUN, last.at.timestamp(), (spec.name, step))
        if well:
            yield Sample(names.STEP_LAST_SUCCESS, max(well).timestamp(), (spec.name, step))
        yield Sample(names.STEP_LAST_DURATION, last.seconds, (spec.name, step))
        yield from _one_of(names.STEP_LAST_OUTCOME, (spec.name, step), OUTCOMES, last.outcome)


def _champion(services: Services, spec: ModelSpec) -> Iterator[Sample]:
    reigns = champions.reigns(services.ledger.entries(spec.name))
    if reigns and reigns[-1].until_at is None:
        yield Sample(names.CHAMPION_VERSION, reigns[-1].version, (spec.name,))
        yield Sample(names.CHAMPION_SINCE, reigns[-1].from_at.timestamp(), (spec.name,))


def _deliveries(services: Services, spec: ModelSpec) -> Iterator[Sample]:
    from mlops.data import quarantine

    found = _newest(services, spec, "ingestion", DataSlice, ("done",))
    if found:
        yield Sample(names.DELIVERY_ROWS, found.rows, (spec.name,))
        yield Sample(names.DELIVERY_NEWEST, _end(found.date), (spec.name,))
    waiting = quarantine.waiting_days(services.storage, spec.dataset)
    yield Sample(names.QUARANTINE_DELIVERIES, len(waiting), (spec.name,))


def _features(services: Services, spec: ModelSpec) -> Iterator[Sample]:
    found = _newest(services, spec, "features", FeatureBatch, ("done",))
    for view in found.views if found else ():
        assert found is not None
        yield Sample(names.FEATURE_NEWEST, _end(found.date), (spec.name, view))


def _decision(services: Services, spec: ModelSpec) -> Iterator[Sample]:
    found = _newest(services, spec, "validation", GateDecision, ("done", "no", "cannot_tell"))
    if found is None:
        return
    yield from _one_of(names.DECISION_VERDICT, (spec.name,), VERDICTS, found.verdict)
    for gate in found.gates:
        yield from _one_of(names.GATE_VERDICT, (spec.name, gate.name), VERDICTS, gate.verdict)


def _predictions(services: Services, spec: ModelSpec) -> Iterator[Sample]:
    found = _newest(services, spec, "inference", PredictionBatch, ("done",))
    if found is not None:
        yield from of_predictions(found)


def of_predictions(found: PredictionBatch) -> Iterator[Sample]:
    """The metrics of one batch of predictions."""
    counts: dict[Metric, float] = {
        names.PREDICTION_ROWS: found.rows,
        names.PREDICTION_SCORED_ROWS: found.scored_rows,
        names.PREDICTION_FLAGGED_ROWS: found.flagged_rows,
        names.PREDICTION_ALARMS: found.alarms,
        names.PREDICTION_NEWEST: _end(found.date),
    }
    if found.confidence is not None:
        counts |= {names.PREDICTION_CONFIDENCE: found.confidence, names.PREDICTION_UNSURE_ROWS: found.unsure_rows}
    for metric, value in counts.items():
        yield Sample(metric, value, (found.model,))


def _drift(services: Services, spec: ModelSpec) -> Iterator[Sample]:
    found = _newest(services, spec, "monitoring", DriftReport, ("done", "no", "cannot_tell"))
    if found is not None:
        yield from of_drift(found)


def of_drift(found: DriftReport) -> Iterator[Sample]:
    """The metrics of one night of monitoring."""
    yield from _one_of(names.DRIFT_VERDICT, (found.model,), DRIFT_VERDICTS, found.verdict)
    yield from _one_of(names.DRIFT_DEGREE, (found.model,), DRIFT_DEGREES, found.degree)
    yield Sample(names.DRIFT_SHARE, found.share, (found.model,))
    yield Sample(names.DRIFT_NEWEST, _end(found.date), (found.model,))
    for column in found.columns:
        if column.value is not None:
            yield Sample(names.DRIFT_VALUE, column.value, (found.model, column.column))
        if column.threshold is not None:
            yield Sample(names.DRIFT_THRESHOLD, column.threshold, (found.model, column.column))
    for metric, value in found.metrics.items():
        yield Sample(names.PERFORMANCE, value, (found.model, metric))


def _performance(services: Services, spec: ModelSpec) -> Iterator[Sample]:
    found = _newest(services, spec, "performance", Performance, ("done", "cannot_tell"))
    if found is None:
        return
    yield from of_estimates(spec.name, found.nights[-1])
    held = [night.held[found.metric] for night in found.nights if night.held and found.metric in night.held]
    if held:
        yield Sample(names.ESTIMATES_HELD, sum(held) / len(held), (spec.name,))


def of_estimates(model: str, night: NightPerformance) -> Iterator[Sample]:
    """What was estimated of a night's predictions before their labels came."""
    for one in night.estimated:
        for bound, value in (("value", one.value), ("low", one.low), ("high", one.high)):
            if value is not None:
                yield Sample(names.PERFORMANCE_ESTIMATE, value, (model, one.metric, bound))


_OF_A_MODEL: Mapping[str, Callable[[Services, ModelSpec], Iterator[Sample]]] = {
    "steps": _steps,
    "champion": _champion,
    "deliveries": _deliveries,
    "features": _features,
    "decision": _decision,
    "predictions": _predictions,
    "drift": _drift,
    "performance": _performance,
}


def _newest(services: Services, spec: ModelSpec, step: str, record: type[R], outcomes: Sequence[str]) -> R | None:
    """The record of the newest date on which a step ended with one of these outcomes."""
    found: list[StepResult] = [
        result
        for result in services.step_log.results(spec.name)
        if result.step == step and result.outcome in outcomes and result.record
    ]
    if not found:
        return None
    return from_dict(record, max(found, key=lambda result: (result.date, result.at)).record)


def _one_of(metric: Metric, labels: tuple[str, ...], known: Sequence[str], this: str) -> Iterator[Sample]:
    for value in known:
        yield Sample(metric, float(value == this), (*labels, value))


def _end(day: date) -> float:
    return as_of(day).timestamp()

"""Whether monitoring starts a training for another reason than drift: the spec's `retraining` against tonight.

Reads: the drift reports of earlier nights with what was realised by then, versions, labels. Writes: one ledger entry
for a night on which a training was started, so that a retry answers the same.

One rule: the decision is `mlops.monitoring.retraining.decide`, which the backtest asks, too.
"""

from __future__ import annotations

import dataclasses
import datetime as dt

from mlops.errors import NoDataError
from mlops.experiments import metrics
from mlops.monitoring import retraining
from mlops.monitoring.retraining import Decision, Situation
from mlops.pipelines import drift_decision, labelled
from mlops.pipelines.inference import predictions_uri
from mlops.pipelines.night import as_of, judged_until, report_uri, run_key
from mlops.records import DriftReport
from mlops.services import Services
from mlops.spec import ModelSpec

KIND = "retraining"
MOST_NIGHTS = 60  # looked back at


def decided(services: Services, spec: ModelSpec, found: DriftReport) -> DriftReport:
    """The report of a night, asking for a training if the spec's policy does.

    Args:
        services: the adapters.
        spec: the model; without `retraining` the report stays as it is.
        found: of tonight, with what was decided on drift.

    Returns:
        The report; `retrain_reason` names the triggers that fired.
    """
    if spec.retraining is None or found.retrain:
        return found
    key = f"{run_key(spec, 'monitoring', found.date)}/{KIND}"
    if (kept := services.ledger.by_key(key)) is not None:
        decision = Decision(True, tuple(kept.body["fired"]), str(kept.body["reason"]))
    else:
        decision = retraining.decide(spec.retraining, situation(services, spec, found))
    if decision.train and kept is None:
        body = {
            "date": found.date.isoformat(),
            "version": found.version,
            "fired": list(decision.fired),
            "reason": decision.reason,
        }
        services.ledger.append(KIND, spec.name, body, actor="policy:retraining", at=services.clock(), key=key)
    told = f"{found.decision} {decision.reason}".strip()
    fired = "drift" if "drift" in decision.fired else ",".join(decision.fired)
    return dataclasses.replace(
        found,
        decision=told,
        reason=f"{found.reason} {decision.reason}".strip(),
        retrain=decision.train,
        retrain_reason=fired if decision.train else "",
    )


def situation(services: Services, spec: ModelSpec, found: DriftReport) -> Situation:
    """What the policy is told of tonight."""
    trained = _trained(services, spec, found.date)
    drift = None if found.verdict == "cannot_tell" else drift_decision.acts(spec, found)
    since = max(trained, default=found.date - dt.timedelta(days=MOST_NIGHTS))
    return Situation(
        date=found.date,
        trained=trained,
        drift=drift,
        drift_due=drift_decision.learnable_from(spec, found) if drift else None,
        realised=_realised(services, spec, found),
        higher_is_better=metrics.higher_is_better(spec.metric),
        labels=_matured(services, spec, since, found.date),
    )


def _trained(services: Services, spec: ModelSpec, day: dt.date) -> tuple[dt.date, ...]:
    """The nights before `day` for which a version was trained or a training was asked for."""
    nights = {dt.date.fromisoformat(version.run_key.split("/")[2]) for version in services.registry.versions(spec.name)}
    nights |= {dt.date.fromisoformat(entry.body["date"]) for entry in services.ledger.entries(spec.name, KIND)}
    return tuple(sorted(night for night in nights if night < day))


def _realised(services: Services, spec: ModelSpec, found: DriftReport) -> tuple[tuple[dt.date, float], ...]:
    """The objective's metric of this champion's nights, as far as their truth had arrived."""
    known: dict[dt.date, float] = {}
    for day in (found.date - dt.timedelta(days=age) for age in range(MOST_NIGHTS, -1, -1)):
        values = found.metrics if day == found.date else _metrics_of(services, spec, day)
        mature = (judged_until(spec, day) - dt.timedelta(microseconds=1)).date()
        if spec.metric not in values or mature in known:
            continue
        manifest = services.storage.manifest(predictions_uri(services, spec, mature))
        if manifest is not None and int(manifest.facts["version"]) == found.version:
            known[mature] = values[spec.metric]
    return tuple(sorted(known.items()))


def _metrics_of(services: Services, spec: ModelSpec, day: dt.date) -> dict[str, float]:
    try:
        kept = services.storage.read_json(report_uri(services, spec, day, "drift.json"))
    except NoDataError:
        return {}
    found: dict[str, float] = kept.get("metrics", {})
    return found


def _matured(services: Services, spec: ModelSpec, since: dt.date, day: dt.date) -> int:
    """How many labels have become mature after the night of `since`."""
    if spec.retraining is None or spec.retraining.labels is None or spec.label is None:
        return 0
    start, end = judged_until(spec, since), judged_until(spec, day)
    known = labelled.mature(services, spec, start=start, end=end, as_of=as_of(day))
    return int(known["label"].notna().sum())

"""What follows from drift: whom it is put down to, whether it matters, who is told, and whether a training starts.

Drift that the model's answers do not follow is written down and starts nothing, unless the spec says otherwise. Drift
that they do follow is an incident until a night without it, and one training, once the change lies far enough back for
something to be learned from it.

One rule: every night ends with one sentence that says what was decided and why.
"""

from __future__ import annotations

import dataclasses
from datetime import date, timedelta

import numpy as np
import pandas as pd

from mlops.models.scoring import Scorer
from mlops.monitoring.drift import attribution
from mlops.pipelines.incidents import tell
from mlops.pipelines.night import run_key
from mlops.records import DriftReport, Incident
from mlops.services import Services
from mlops.spec import ModelSpec

_MOST_NAMED = 5


def attributed(
    spec: ModelSpec,
    found: DriftReport,
    scorer: Scorer,
    reference: pd.DataFrame,
    current: pd.DataFrame,
    prediction: str,
) -> DriftReport:
    """Drift with the entities that moved and what it does to the scores.

    Args:
        spec: the model.
        found: a report whose verdict is drift.
        scorer: the champion.
        reference: the rows that were compared.
        current: likewise.
        prediction: name of the column of scores; if that drifted itself, its distance is a consequence, too.
    """
    moved = found.drifted
    result = attribution.consequence(
        scorer.score, reference, current, moved, features=scorer.features, rng=np.random.default_rng(spec.seed)
    )
    total = result.total
    own = next((c.value for c in found.columns if c.column == prediction and c.verdict == "drift"), None)
    if own is not None:
        total = max(own, total or 0.0)
    whose = attribution.entities(
        reference, current, moved, entity=spec.entity, reference_times=reference["observed_at"], spec=spec.drift
    )
    matters = total is None or total >= spec.drift.min_consequence  # not known is not "none"
    columns = tuple(
        dataclasses.replace(
            column,
            importance=result.importance.get(attribution.inner(column.column)) if column.verdict == "drift" else None,
            consequence=result.effect.get(attribution.inner(column.column)) if column.verdict == "drift" else None,
        )
        for column in found.columns
    )
    return dataclasses.replace(
        found,
        columns=columns,
        degree="with_consequence" if matters else "without_consequence",
        consequence=total,
        entities=tuple(whose),
    )


def acts(spec: ModelSpec, found: DriftReport) -> bool:
    """Whether anything follows from this drift."""
    if found.verdict != "drift":
        return False
    return found.degree == "with_consequence" or spec.drift.act_on == "any"


def learnable_from(spec: ModelSpec, found: DriftReport) -> date:
    """The first night on which enough has been seen of a drift for a training to learn from it."""
    return (found.since or found.date) + timedelta(days=spec.drift.retrain_after_days)


def decided(services: Services, spec: ModelSpec, found: DriftReport) -> DriftReport:
    """Decide on a training, write it down, tell people or that it is over; the report with what was decided."""
    if acts(spec, found):
        retrain, sentence = _training(services, spec, found)
        found = _said(dataclasses.replace(found, retrain=retrain), sentence)
        _tell(services, spec, found)
        return found
    if found.verdict == "no_drift":
        services.alerts.resolve(spec.name, "drift", at=services.clock(), until=found.date, terms=spec.alerts)
    return _said(found, _nothing(spec, found))


def _said(found: DriftReport, sentence: str) -> DriftReport:
    grown = [one for one in found.concept if one.verdict == "drift"]
    told = f" Errors have grown by {', '.join(one.detector for one in grown)}: {grown[0].reason}." if grown else ""
    return dataclasses.replace(found, decision=sentence, reason=f"{found.reason}{told} {sentence}")


def _nothing(spec: ModelSpec, found: DriftReport) -> str:
    if found.verdict == "cannot_tell":
        return "Decided: nothing, because it cannot be told whether anything moved."
    if found.verdict == "drift":
        return (
            f"Decided: nothing is started, because the scores move by {found.consequence or 0.0:.2f} of their standard "
            f"deviation, less than the {spec.drift.min_consequence:g} that count."
        )
    looked = f"in {found.nights + 1} nights" if found.nights else "in the first night"
    return f"Decided: nothing, because nothing speaks for a change {looked} of looking at version {found.version}."


def _training(services: Services, spec: ModelSpec, found: DriftReport) -> tuple[bool, str]:
    """Whether a training starts, and the sentence about it; the answer for a date is kept and stays."""
    day, since = found.date, found.since or found.date
    entries = [entry.body for entry in services.ledger.entries(spec.name, "drift_alarm") if entry.body["retrain"]]
    asked = sorted(date.fromisoformat(body["date"]) for body in entries if body["date"] < day.isoformat())
    due = learnable_from(spec, found)
    free = asked[-1] + timedelta(days=spec.drift.cooldown_days) if asked else day
    key = run_key(spec, "monitoring", day)
    if (kept := services.ledger.by_key(key)) is not None:
        retrain = bool(kept.body["retrain"]) and kept.body["version"] == found.version
    else:
        retrain = spec.drift.retrain and day >= max(due, free)
        body = {"date": day.isoformat(), "version": found.version, "retrain": retrain, "share": found.share}
        body |= {"since": since.isoformat(), "degree": found.degree, "consequence": found.consequence}
        services.ledger.append("drift_alarm", spec.name, body, actor="policy:drift", at=services.clock(), key=key)
    why = f"because {_cause(found)}"
    if retrain:
        return True, f"Decided: a training is started, {why}."
    if not spec.drift.retrain:
        return False, f"Decided: people are told and no training is started, for the spec asks for none, {why}."
    if free > day:
        return False, f"Decided: no further training before {free} (one was started on {asked[-1]}), {why}."
    if due > day:
        return False, f"Decided: a training is started on {due}, when there is enough to learn from, {why}."
    return False, f"Decided: no second training for {day}, {why}."


def _cause(found: DriftReport) -> str:
    if found.consequence is None:
        return f"there is drift since {found.since} whose consequence is not known, {whose(found)}"
    return f"since {found.since} the scores move by {found.consequence:.2f} of their standard deviation, {whose(found)}"


def whose(found: DriftReport) -> str:
    """Which entities moved, in words."""
    count = len(found.entities)
    if not count:
        return "no single entity standing out"
    if count >= 0.9 * found.entities_seen:
        return f"on {'all' if count == found.entities_seen else f'{count} of'} {found.entities_seen} entities"
    named = ", ".join(found.entities[:_MOST_NAMED]) + (" and others" if count > _MOST_NAMED else "")
    return f"on {count} of {found.entities_seen} entities: {named}"


def _tell(services: Services, spec: ModelSpec, found: DriftReport) -> None:
    tell(
        services,
        spec,
        Incident(
            key=f"{spec.name}/drift",
            model=spec.name,
            kind="drift",
            date=found.date,
            urgency="normal",
            summary=f"{spec.name} {found.date}: {found.reason}",
            consequence=f"Version {found.version} goes on scoring; its answers may be wrong.",
            action=f"Open {found.report_uri}; see {spec.alerts.runbook}.",
            evidence_uri=found.report_uri,
            parts=found.drifted,
        ),
    )

"""Monitoring: has the world moved away from what the champion learned, and how good was it where the truth is known?

Reads: the predictions of a date with their features, the champion's training set (the reference), labels that have
matured. Writes: Evidently's page, the `DriftReport`, an incident and a ledger entry when the alarm is raised. An alarm
asks for a training at most once per cool-down.
"""

from __future__ import annotations

import dataclasses
from datetime import date, timedelta

import numpy as np
import pandas as pd

from mlops.data import labels
from mlops.models.scoring import Scorer
from mlops.monitoring.drift import detect, evidently_report
from mlops.pipelines import feature_checks, labelled
from mlops.pipelines import training_set as sets
from mlops.pipelines.evaluation import measure_scores, sampled
from mlops.pipelines.inference import predictions_uri
from mlops.pipelines.night import as_of, judged_until, report, report_uri, run_key
from mlops.records import DriftReport, Incident, ModelVersion, Outcome, StepReport, to_dict
from mlops.services import Services
from mlops.spec import ModelSpec

REFERENCE_ROWS = 20_000
PREDICTION = "prediction"
_OUTCOME: dict[str, Outcome] = {"drift": "no", "no_drift": "done", "cannot_tell": "cannot_tell"}


def run(services: Services, spec: ModelSpec, day: date) -> StepReport:
    """Compare the date's features and predictions with the champion's reference.

    Returns:
        done (no drift), no (drift), cannot_tell, or nothing_to_do (no predictions of that date); the record is a
        `DriftReport`, whose `retrain` says whether this finding starts a training.
    """
    manifest = services.storage.manifest(predictions_uri(services, spec, day))
    if manifest is None:
        return report("monitoring", spec, day, "nothing_to_do", f"There are no predictions for {day}.")
    version = services.registry.get(spec.name, int(manifest.facts["version"]))
    scorer = services.registry.load(version)
    reference = _reference(services, spec, version, scorer)
    current = _current(services, spec, day)
    found = _compare(services, spec, day, version, reference, current)
    gates = feature_checks.of_predictions(services, spec, day, current)
    found = dataclasses.replace(found, metrics=_realised(services, spec, day, scorer), gates=gates)
    services.storage.write_json(report_uri(services, spec, day, "drift.json"), to_dict(found))
    if found.verdict == "drift":
        found = _alarm(services, spec, day, found)
    return report("monitoring", spec, day, _OUTCOME[found.verdict], found.reason, found)


def _reference(services: Services, spec: ModelSpec, version: ModelVersion, scorer: Scorer) -> pd.DataFrame:
    """What the champion learned from and was judged on; scores only of rows that it has not learned from."""
    tables = sets.read(services, sets.find(services, version.training_set_uri))
    rows = sampled(tables.rows, REFERENCE_ROWS, spec.seed)
    unseen = rows["part"].isin(("calibration", "holdout")).to_numpy()
    return rows.assign(**{PREDICTION: np.where(unseen, scorer.score(rows), np.nan)})


def _current(services: Services, spec: ModelSpec, day: date) -> pd.DataFrame:
    """The features that were scored on that date, and the scores."""
    table: pd.DataFrame = services.storage.read_table(predictions_uri(services, spec, day)).to_pandas()
    return table.rename(columns={"score": PREDICTION})


def _compare(
    services: Services,
    spec: ModelSpec,
    day: date,
    version: ModelVersion,
    reference: pd.DataFrame,
    current: pd.DataFrame,
) -> DriftReport:
    """The verdict of all columns, and Evidently's page of the same rows, methods and thresholds."""
    columns = spec.drift.columns or (*services.features.features_of(spec.features.service), PREDICTION)
    found = detect.detect(
        reference, current, spec=spec.drift, columns=columns, reference_times=reference["observed_at"]
    )
    page = report_uri(services, spec, day, "drift.html")
    title = f"{spec.name}: {day} against version {version.version}"
    html = evidently_report.html(reference, current, found.columns, title=title, summary=found.reason, seed=spec.seed)
    services.storage.write_bytes(page, html)
    return DriftReport(
        model=spec.name,
        version=version.version,
        date=day,
        verdict=found.verdict,
        reason=found.reason,
        columns=found.columns,
        share=found.share,
        reference_rows=len(reference),
        current_rows=len(current),
        report_uri=page,
    )


def _realised(services: Services, spec: ModelSpec, day: date, scorer: Scorer) -> dict[str, float]:
    """Metrics of the newest night whose labels are mature by now; empty if there is none ("cannot tell")."""
    if spec.label is None:
        return {}
    mature = (judged_until(spec, day) - timedelta(microseconds=1)).date()
    uri = predictions_uri(services, spec, mature)
    if services.storage.manifest(uri) is None:
        return {}
    predicted = services.storage.read_table(uri).to_pandas().rename(columns={"label": "predicted_label"})
    start, end = as_of(mature) - timedelta(days=1), as_of(mature)
    known = labelled.mature(services, spec, start=start, end=end, as_of=as_of(day))
    known = labels.keyed_like(known, predicted, spec.entity)
    joined = predicted.merge(known, on=[spec.entity, "observed_at"], how="inner")
    return measure_scores(joined, joined, spec, scorer.classes) if len(joined) else {}


def _alarm(services: Services, spec: ModelSpec, day: date, found: DriftReport) -> DriftReport:
    """Tell people, and ask for a training unless one was asked for within the cool-down."""
    asked = [entry for entry in services.ledger.entries(spec.name, "drift_alarm") if entry.body["retrain"]]
    today = [entry for entry in asked if entry.body["date"] == day.isoformat()]
    recent = [day - date.fromisoformat(entry.body["date"]) for entry in asked]
    cooling = any(timedelta(0) < age < timedelta(days=spec.drift.cooldown_days) for age in recent)
    if today:
        retrain = today[0].body["version"] == found.version
    else:
        retrain = spec.drift.retrain and not cooling
        body = {"date": day.isoformat(), "version": found.version, "retrain": retrain, "share": found.share}
        key = run_key(spec, "monitoring", day)
        if services.ledger.by_key(key) is None:
            services.ledger.append("drift_alarm", spec.name, body, actor="policy:drift", at=services.clock(), key=key)
    told = (
        "A training was started." if retrain else "No training is started: one was already, or the spec asks for none."
    )
    services.alerts.raise_incident(
        Incident(
            key=f"{spec.name}/drift",
            model=spec.name,
            kind="drift",
            date=day,
            urgency="normal",
            summary=f"{spec.name} {day}: {found.reason}",
            consequence=f"Version {found.version} goes on scoring; its answers may be wrong. {told}",
            action=f"Open {found.report_uri}; see {spec.alerts.runbook}.",
            evidence_uri=found.report_uri,
        ),
        channels=spec.alerts.channels,
        runbook=spec.alerts.runbook,
    )
    return dataclasses.replace(found, retrain=retrain, reason=f"{found.reason} {told}")

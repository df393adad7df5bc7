"""Monitoring: has the world moved away from what the champion learned, and how good was it where the truth is known?

Reads: the predictions of a date with their features, the champion's training set (the reference), labels that have
matured. Writes: what the night measured (`drift_nights`), Evidently's page, the `DriftReport`, and what was decided
(`drift_decision`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import date, timedelta

import numpy as np
import pandas as pd

from mlops.data import labels
from mlops.models.scoring import Scorer
from mlops.monitoring.drift import detect, evidently_report
from mlops.monitoring.drift.profile import Profiled
from mlops.pipelines import (
    concept,
    drift_decision,
    drift_nights,
    feature_checks,
    labelled,
    monitoring_spark,
    night_rows,
    retraining,
)
from mlops.pipelines import training_set as sets
from mlops.pipelines.drift_nights import DriftNight
from mlops.pipelines.evaluation import measure_scores, sampled
from mlops.pipelines.inference import predictions_uri
from mlops.pipelines.night import as_of, judged_until, report, report_uri
from mlops.records import DriftReport, ModelVersion, Outcome, StepReport, to_dict
from mlops.services import Services
from mlops.spec import ModelSpec

REFERENCE_ROWS = 20_000
PREDICTION = "prediction"
_OUTCOME: dict[str, Outcome] = {"drift": "done", "no_drift": "done", "cannot_tell": "cannot_tell"}


def run(services: Services, spec: ModelSpec, day: date) -> StepReport:
    """Compare the date's features and predictions with the champion's reference.

    Returns:
        done (no drift, or none that matters), no (drift that matters), cannot_tell, or nothing_to_do (no predictions of
        that date; what was answered from the online store is held against the offline store all the same); the record
        is a `DriftReport`, whose `retrain` says whether this finding starts a training.
    """
    manifest = services.storage.manifest(predictions_uri(services, spec, day))
    if manifest is None:
        gates = feature_checks.of_answers(services, spec, day)
        told = "".join(f" {gate.name}: {gate.verdict}. {gate.reason}" for gate in gates)
        return report("monitoring", spec, day, "nothing_to_do", f"There are no predictions for {day}.{told}")
    version = services.registry.get(spec.name, int(manifest.facts["version"]))
    scorer = services.registry.load(version)
    reference = _reference(services, spec, version, scorer)
    night = _current(services, spec, day, reference)
    current = night.rows
    found = _compare(services, spec, day, version, scorer, reference, current, night.profiles)
    gates = feature_checks.of_predictions(services, spec, day, current)
    found = dataclasses.replace(found, metrics=_realised(services, spec, day, scorer), gates=gates)
    found = dataclasses.replace(found, concept=concept.changes(services, spec, day, version))
    found = retraining.decided(services, spec, drift_decision.decided(services, spec, found))
    _show(services, spec, found, reference, current)
    services.storage.write_json(report_uri(services, spec, day, "drift.json"), to_dict(found))
    outcome = "no" if drift_decision.acts(spec, found) else _OUTCOME[found.verdict]
    return report("monitoring", spec, day, outcome, found.reason, found)


def sides(services: Services, spec: ModelSpec, day: date, number: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What a date's rows are held against, and these rows, both with their predictions.

    Args:
        services: the adapters.
        spec: the model.
        day: the date, which has predictions.
        number: of the version that made them.
    """
    version = services.registry.get(spec.name, number)
    reference = _reference(services, spec, version, services.registry.load(version))
    return reference, _current(services, spec, day).rows


def _reference(services: Services, spec: ModelSpec, version: ModelVersion, scorer: Scorer) -> pd.DataFrame:
    return reference_of(spec, sets.read(services, sets.find(services, version.training_set_uri)), scorer)


def reference_of(spec: ModelSpec, tables: sets.Tables, scorer: Scorer) -> pd.DataFrame:
    """What the champion learned from and was judged on; scores only of rows that it has not learned from."""
    rows = sampled(tables.rows, REFERENCE_ROWS, spec.seed)
    unseen = rows["part"].isin(("calibration", "holdout")).to_numpy()
    return rows.assign(**{PREDICTION: np.where(unseen, scorer.score(rows), np.nan)})


def _current(
    services: Services, spec: ModelSpec, day: date, reference: pd.DataFrame | None = None
) -> night_rows.NightRows:
    """The features that were scored on that date, and the scores."""
    columns = _columns(services, spec)
    if services.config.engine == "spark" and reference is not None:
        return monitoring_spark.seen(services, spec, day, reference, columns, PREDICTION)
    renamed = {"score": PREDICTION}
    return night_rows.of_night(services, spec, day, renamed=renamed, reference=reference, columns=columns)


def _columns(services: Services, spec: ModelSpec) -> tuple[str, ...]:
    return spec.drift.columns or (*services.features.features_of(spec.features.service), PREDICTION)


def _compare(
    services: Services,
    spec: ModelSpec,
    day: date,
    version: ModelVersion,
    scorer: Scorer,
    reference: pd.DataFrame,
    current: pd.DataFrame,
    profiles: Mapping[str, Profiled] | None = None,
) -> DriftReport:
    """The night held against those before it, and kept for those after it."""
    columns = _columns(services, spec)
    key = drift_nights.reference_key(spec, version, columns)
    earlier = drift_nights.before(services, spec, day, key)
    told, night = compared(spec, day, version.version, scorer, reference, current, columns, key, earlier, profiles)
    drift_nights.keep(services, spec, night)
    return dataclasses.replace(told, report_uri=report_uri(services, spec, day, "drift.html"))


def compared(
    spec: ModelSpec,
    day: date,
    version: int,
    scorer: Scorer,
    reference: pd.DataFrame,
    current: pd.DataFrame,
    columns: Sequence[str],
    key: str,
    earlier: Sequence[DriftNight],
    profiles: Mapping[str, Profiled] | None = None,
) -> tuple[DriftReport, DriftNight]:
    """Is there drift, since when, whose, and what does it do to the scores; nothing is written.

    Args:
        spec: the model.
        day: the date.
        version: number of the champion.
        scorer: the champion.
        reference: what it learned from, with its scores, see `reference_of`.
        current: the rows of the date, likewise.
        columns: what is compared.
        key: of the reference, see `drift_nights.reference_key`.
        earlier: the nights before with the same reference, in order of time.
        profiles: of all rows of the date, where `current` is a sample of them.

    Returns:
        The report, and what later nights need of it.
    """
    looked = drift_nights.since_alarm(earlier)
    found = detect.detect(
        reference,
        current,
        spec=spec.drift,
        columns=columns,
        reference_times=reference["observed_at"],
        current_times=current["observed_at"],
        entity=spec.entity,
        nights=[night.distances for night in looked],
        nulls_say_nothing=(PREDICTION,),
        seed=spec.seed,
        profiles=profiles,
    )
    drift = found.verdict == "drift"
    since = _since(found, [night.date for night in looked], earlier, day) if drift else None
    told = DriftReport(
        model=spec.name,
        version=version,
        date=day,
        verdict=found.verdict,
        reason=found.reason,
        columns=found.columns,
        share=found.share,
        reference_rows=len(reference),
        current_rows=found.current_rows,
        degree="cannot_tell" if found.verdict == "cannot_tell" else "none",
        since=since,
        entities_seen=int(current[spec.entity].nunique()),
        nights=len(earlier),
    )
    if drift:
        told = drift_decision.attributed(spec, told, scorer, reference, current, PREDICTION)
    return told, DriftNight(day, key, found.distances, drift, since)


def _since(found: detect.Detection, looked: list[date], earlier: Sequence[DriftNight], day: date) -> date:
    """The night with which it began; drift that goes on from the night before began when that did."""
    if earlier and earlier[-1].drift and earlier[-1].since is not None:
        return earlier[-1].since
    return [*looked, day][found.changed if found.changed is not None else len(looked)]


def _show(
    services: Services, spec: ModelSpec, found: DriftReport, reference: pd.DataFrame, current: pd.DataFrame
) -> None:
    """Evidently's page of the decision, below `reports/` and with the champion's run in MLflow."""
    version = services.registry.get(spec.name, found.version)
    title = f"{spec.name}: {found.date} against version {found.version}"
    page = evidently_report.html(reference, current, found.columns, title=title, summary=found.reason, seed=spec.seed)
    services.storage.write_bytes(found.report_uri, page)
    services.tracker.client.log_text(version.run_id, page.decode(), f"monitoring/{found.date}/drift.html")
    services.tracker.client.log_dict(version.run_id, to_dict(found), f"monitoring/{found.date}/drift.json")


def _realised(services: Services, spec: ModelSpec, day: date, scorer: Scorer) -> dict[str, float]:
    """Metrics of the newest night whose labels are mature by now; empty if there is none ("cannot tell")."""
    if spec.label is None:
        return {}
    mature = (judged_until(spec, day) - timedelta(microseconds=1)).date()
    uri = predictions_uri(services, spec, mature)
    if services.storage.manifest(uri) is None:
        return {}
    predicted = night_rows.of_night(services, spec, mature, renamed={"label": "predicted_label"}).rows
    start, end = as_of(mature) - timedelta(days=1), as_of(mature)
    known = labelled.mature(services, spec, start=start, end=end, as_of=as_of(day))
    known = labels.keyed_like(known, predicted, spec.entity)
    joined = predicted.merge(known, on=[spec.entity, "observed_at"], how="inner")
    return measure_scores(joined, joined, spec, scorer.classes) if len(joined) else {}

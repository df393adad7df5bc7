"""Batch inference: the champion scores the delivery of a date.

Reads: the validated partition, its features as they were known when each row arrived, the champion (its bytes are held
against the registered digest before they are loaded). Writes: one partition of predictions. Running a date again
replaces that date.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pandas as pd
import pyarrow as pa

from mlops.data import partitions
from mlops.models import thresholds
from mlops.models.scoring import Scorer
from mlops.pipelines import feature_checks
from mlops.pipelines.night import entity_rows, instants, report
from mlops.records import ModelVersion, PredictionBatch, StepReport
from mlops.services import Services
from mlops.spec import ModelSpec
from mlops.storage import Manifest

UNSURE_BELOW = 0.6  # probability of the class answered


def run(services: Services, spec: ModelSpec, day: date) -> StepReport:
    """Score the delivery of `day` with the champion.

    Returns:
        done or nothing_to_do (no delivery, or no champion yet); the record is a `PredictionBatch`.

    Raises:
        IntegrityError: the champion's files are not those that were registered.
        NotReadyError: the features of the delivery are not there yet.
        FeatureError: the join lost rows.
    """
    if day not in partitions.delivered_days(services.storage, spec.dataset):
        return report("inference", spec, day, "nothing_to_do", f"There is no validated delivery for {day}.")
    champion = services.registry.by_alias(spec.name, "champion")
    if champion is None:
        return report("inference", spec, day, "nothing_to_do", "There is no champion yet.")
    feature_checks.ready(services, spec, day, day)
    scorer = services.registry.load(champion)
    rows = partitions.read_rows(services.storage, spec.dataset, day, day)
    asked = entity_rows(rows, spec)
    joined = services.features.historical(spec.features.service, asked)
    gates = feature_checks.of_join(services, spec, day, "inference", asked, joined)
    table = _predictions(joined, scorer, champion, spec)
    uri = predictions_uri(services, spec, day)
    facts = {"model": spec.name, "version": str(champion.version), "digest": champion.digest, "date": day.isoformat()}
    manifest = services.storage.write_table(uri, pa.Table.from_pandas(table, preserve_index=False), facts)
    batch = replace(batch_of(table, spec, day, uri, manifest), gates=gates)
    return report("inference", spec, day, "done", _words(batch, spec), batch)


def predictions_uri(services: Services, spec: ModelSpec, day: date) -> str:
    """Where the predictions of a date are kept."""
    return services.storage.uri("predictions", spec.name, f"date={day.isoformat()}")


def _predictions(joined: pd.DataFrame, scorer: Scorer, champion: ModelVersion, spec: ModelSpec) -> pd.DataFrame:
    """One row per entity row: score and flag, and what they were made of."""
    head = joined[[spec.entity, "observed_at", "event_timestamp", "feature_timestamp"]]
    head = head.rename(columns={"event_timestamp": "known_at"}).reset_index(drop=True)
    predicted = scorer.predict(joined).reset_index(drop=True)
    made_by = pd.DataFrame({"threshold": scorer.threshold, "model_version": champion.version}, index=head.index)
    made_of = joined[list(scorer.features)].reset_index(drop=True)
    return pd.concat([head, predicted, made_by.astype({"threshold": float}), made_of], axis=1)


def batch_of(table: pd.DataFrame, spec: ModelSpec, day: date, uri: str, manifest: Manifest) -> PredictionBatch:
    """What a table of predictions holds, as a record.

    Args:
        table: as this step writes it.
        spec: the model.
        day: of the predictions.
        uri: where they are kept.
        manifest: of the table.
    """
    made_by = table["threshold"].dropna()
    threshold = float(made_by.iloc[0]) if len(made_by) else None
    alarms = 0
    if spec.task == "anomaly" and threshold is not None:
        alarms = thresholds.onsets(
            table["score"].to_numpy(), table[spec.entity].to_numpy(), instants(table["observed_at"]), threshold
        )
    sure = _probability_of_the_answer(table).dropna()
    return PredictionBatch(
        model=spec.name,
        version=int(manifest.facts["version"]),
        date=day,
        uri=uri,
        rows=len(table),
        scored_rows=int(table["score"].notna().sum()),
        flagged_rows=int(table["flag"].fillna(value=False).astype(bool).sum()) if "flag" in table else 0,
        alarms=alarms,
        threshold=threshold,
        content_hash=manifest.content_hash,
        confidence=float(sure.mean()) if len(sure) else None,
        unsure_rows=int((sure < UNSURE_BELOW).sum()),
    )


def _probability_of_the_answer(table: pd.DataFrame) -> pd.Series:
    """Of a classifier, by row; NaN where it gave no answer, and of other models."""
    found = pd.Series(np.nan, index=table.index)
    for label, rows in table.groupby("label").groups.items() if "label" in table else ():
        name = f"proba_{label:g}" if isinstance(label, float) else f"proba_{label}"
        if name in table:
            found[rows] = table.loc[rows, name]
    return found


def _words(batch: PredictionBatch, spec: ModelSpec) -> str:
    unscored = batch.rows - batch.scored_rows
    missing = f"; {unscored:,} could not be scored" if unscored else ""
    alarms = f", {batch.alarms:,} alarms" if spec.task == "anomaly" else ""
    unsure = f"; of {batch.unsure_rows:,} it is unsure" if batch.unsure_rows else ""
    return f"Version {batch.version} scored {batch.scored_rows:,} rows{alarms}{missing}{unsure}."

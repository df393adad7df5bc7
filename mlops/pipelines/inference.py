"""Batch inference: the champion scores the delivery of a date.

Reads: the validated partition, its features as they were known when each row arrived, the champion (its bytes are held
against the registered digest before they are loaded). Writes: one partition of predictions. Running a date again
replaces that date.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pandas as pd
import pyarrow as pa

from mlops.data import partitions
from mlops.pipelines import feature_checks, inference_spark
from mlops.pipelines.night import entity_rows, report
from mlops.pipelines.predicted import numbers_of, predictions, sureness, threshold_of
from mlops.records import PredictionBatch, StepReport
from mlops.services import Services
from mlops.spec import ModelSpec
from mlops.storage import Manifest


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
    if services.config.engine == "spark":
        batch = inference_spark.score(services, spec, day, champion, predictions_uri(services, spec, day))
        return report("inference", spec, day, "done", _words(batch, spec), batch)
    scorer = services.registry.load(champion)
    rows = partitions.read_rows(services.storage, spec.dataset, day, day)
    asked = entity_rows(rows, spec)
    joined = services.features.historical(spec.features.service, asked)
    gates = feature_checks.of_join(services, spec, day, "inference", asked, joined)
    table = predictions(joined, scorer, champion, spec)
    uri = predictions_uri(services, spec, day)
    facts = {"model": spec.name, "version": str(champion.version), "digest": champion.digest, "date": day.isoformat()}
    manifest = services.storage.write_table(uri, pa.Table.from_pandas(table, preserve_index=False), facts)
    batch = replace(batch_of(table, spec, day, uri, manifest), gates=gates)
    return report("inference", spec, day, "done", _words(batch, spec), batch)


def predictions_uri(services: Services, spec: ModelSpec, day: date) -> str:
    """Where the predictions of a date are kept."""
    return services.storage.uri("predictions", spec.name, f"date={day.isoformat()}")


def batch_of(table: pd.DataFrame, spec: ModelSpec, day: date, uri: str, manifest: Manifest) -> PredictionBatch:
    """What a table of predictions holds, as a record.

    Args:
        table: as this step writes it.
        spec: the model.
        day: of the predictions.
        uri: where they are kept.
        manifest: of the table.
    """
    numbers, sure = numbers_of(table, spec), sureness(table)
    return PredictionBatch(
        model=spec.name,
        version=int(manifest.facts["version"]),
        date=day,
        uri=uri,
        rows=numbers["rows"],
        scored_rows=numbers["scored_rows"],
        flagged_rows=numbers["flagged_rows"],
        alarms=numbers["alarms"],
        threshold=threshold_of(table),
        content_hash=manifest.content_hash,
        confidence=float(sure.mean()) if len(sure) else None,
        unsure_rows=numbers["unsure_rows"],
    )


def _words(batch: PredictionBatch, spec: ModelSpec) -> str:
    unscored = batch.rows - batch.scored_rows
    missing = f"; {unscored:,} could not be scored" if unscored else ""
    alarms = f", {batch.alarms:,} alarms" if spec.task == "anomaly" else ""
    unsure = f"; of {batch.unsure_rows:,} it is unsure" if batch.unsure_rows else ""
    return f"Version {batch.version} scored {batch.scored_rows:,} rows{alarms}{missing}{unsure}."

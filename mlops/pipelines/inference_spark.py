"""Batch inference on Spark: what `inference` does where one machine is too small.

The driver settles which version is the champion and ships its files; each executor verifies them before it loads them.

One rule: nothing is published before the join's gates have passed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mlops import spark_tables
from mlops.data.partitions_spark import read_rows_on_spark
from mlops.features.checks.summed import JoinNumbers, of_numbers
from mlops.features.historical_spark import historical_on_spark
from mlops.models.scoring import Scorer
from mlops.models.shipping import ship
from mlops.pipelines import feature_checks
from mlops.pipelines.predicted import numbers_of, predictions, sureness
from mlops.records import GateResult, ModelVersion, PredictionBatch
from mlops.services import Services
from mlops.spark_order import dealt
from mlops.spark_tables import POSITION
from mlops.spec import ModelSpec

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

_HASH = "__hash"
_SURE = "sure"
_WORD = 2**64


def score(services: Services, spec: ModelSpec, day: date, champion: ModelVersion, uri: str) -> PredictionBatch:
    """Score the delivery of `day` and publish the predictions, in the order of one machine.

    Args:
        services: the adapters.
        spec: the model.
        day: of the delivery.
        champion: which version scores.
        uri: where predictions go.

    Raises:
        IntegrityError: the champion's files are not those that were registered, here or where they were sent.
        FeatureError: the join lost rows, or took some from the future; nothing is published.
    """
    shipped = ship(services.registry, champion)
    scorer = shipped.scorer()
    asked = _asked(read_rows_on_spark(services.spark, services.storage, spec.dataset, day, day), spec)
    rows, total = asked.agg(*_counted(asked)).collect()[0]
    joined = historical_on_spark(services.features, spec.features.service, asked)
    joined = joined.withColumn(_HASH, _hash(asked))
    gates: list[GateResult] = []
    numbers: Counter[str] = Counter()  # whole but for `_SURE`

    def finish(table: pa.Table) -> pa.Table:
        frame = table.sort_by(POSITION).drop_columns([POSITION, _HASH]).to_pandas()
        return pa.Table.from_pandas(predictions(frame, shipped.scorer(), champion, spec), preserve_index=False)

    def counts(table: pa.Table) -> dict[str, Any]:
        frame = table.to_pandas()
        return numbers_of(frame, spec) | {_SURE: float(sureness(frame).sum())}

    def merged(parts: Sequence[Mapping[str, int]]) -> dict[str, str]:
        for part in parts:
            numbers.update(part)
        seen = JoinNumbers(
            asked=rows,
            asked_sum=int(total or 0) % _WORD,
            rows=numbers["out"],
            rows_sum=numbers["sum"] % _WORD,
            joined=numbers["joined"],
            leaking=numbers["leaking"],
        )
        gates.extend(feature_checks.held(services, spec, day, "inference", of_numbers(seen)))
        return {}

    facts = {"model": spec.name, "version": str(champion.version), "digest": champion.digest, "date": day.isoformat()}
    schema = _schema(joined, scorer, champion, spec)
    ordered = dealt(joined, spec.entity, rows, keys=asked)
    manifest = spark_tables.write(
        services.storage,
        uri,
        ordered,
        facts,
        counts=counts,
        merged=merged,
        finish=finish,
        checks=_checks,
        schema=schema,
    )
    return PredictionBatch(
        model=spec.name,
        version=champion.version,
        date=day,
        uri=uri,
        rows=numbers["rows"],
        scored_rows=numbers["scored_rows"],
        flagged_rows=numbers["flagged_rows"],
        alarms=numbers["alarms"],
        threshold=scorer.threshold if rows else None,
        content_hash=manifest.content_hash,
        confidence=numbers[_SURE] / numbers["sure_rows"] if numbers["sure_rows"] else None,
        unsure_rows=int(numbers["unsure_rows"]),
        gates=tuple(gates),
    )


def _asked(rows: DataFrame, spec: ModelSpec) -> DataFrame:
    """As `night.entity_rows` makes them, with their positions."""
    from pyspark.sql import functions as sf

    columns = {spec.entity: spec.entity, "event_timestamp": spec.known_at, "observed_at": spec.timestamps.event}
    made = [sf.col(spark_tables.quoted(column)).alias(name) for name, column in columns.items()]
    return rows.select(*made, POSITION)


def _hash(asked: DataFrame) -> Column:
    from pyspark.sql import functions as sf

    return sf.xxhash64(*(sf.col(spark_tables.quoted(name)) for name in asked.columns))


def _counted(asked: DataFrame) -> list[Column]:
    from pyspark.sql import functions as sf

    return [sf.count(sf.lit(1)), sf.sum(_hash(asked).cast("decimal(38,0)"))]


def _checks(table: pa.Table) -> dict[str, int]:
    """Of joined rows: how many, the sum of their hashes, how many with a feature, how many from the future."""
    asked_at = table["event_timestamp"]
    late = [pc.fill_null(pc.greater(table[c], asked_at), fill_value=False) for c in _CLOCKS]
    leaking = pc.or_(*late)
    words = table[_HASH].to_numpy().astype(np.uint64)
    return {
        "out": table.num_rows,
        "sum": int(words.sum(dtype=np.uint64)),
        "joined": table.num_rows - table["feature_timestamp"].null_count,
        "leaking": pc.sum(leaking).as_py() or 0,
    }


_CLOCKS = ("feature_timestamp", "feature_known_at")


def _schema(joined: DataFrame, scorer: Scorer, champion: ModelVersion, spec: ModelSpec) -> pa.Schema:
    """Types of the predictions; those that no row tells are those of the entity and of the classes."""
    own = spark_tables.arrow_schema(joined)
    empty = predictions(own.empty_table().to_pandas(), scorer, champion, spec)
    known = {spec.entity: own.field(spec.entity).type}
    if len(scorer.classes):
        known["label"] = pa.array(list(scorer.classes)).type
    fields = pa.Schema.from_pandas(empty, preserve_index=False)
    return pa.schema([pa.field(field.name, known.get(field.name, field.type)) for field in fields])

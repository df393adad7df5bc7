"""Validated partitions and the quarantine as Spark reads and writes them.

One rule: the rows are those that `partitions` publishes and `read_rows` gives, and so is their order, which a column
tells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from mlops import spark_tables
from mlops.data import partitions, quarantine
from mlops.data.contracts import ContractResult
from mlops.data.delivery_spark import SparkRows
from mlops.data.partitions import delivered_days, partition_uri
from mlops.data.validated import Form
from mlops.records import DataSlice
from mlops.spark_order import dealt
from mlops.spark_tables import POSITION
from mlops.storage import Storage

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


def read_rows_on_spark(
    session: SparkSession, storage: Storage, dataset: str, start_day: date, end_day: date
) -> DataFrame:
    """The validated rows delivered from `start_day` to `end_day`, both included, with `spark_tables.POSITION`.

    Args:
        session: the engine.
        storage: where partitions live.
        dataset: name of the data set.
        start_day: first date of delivery.
        end_day: last date of delivery; at least one date between them has a partition.

    Raises:
        NoDataError: there is none.
        StorageError: a partition is not what its manifest says.
    """
    days = [day for day in delivered_days(storage, dataset) if start_day <= day <= end_day]
    uris = [partition_uri(storage, dataset, day) for day in days]
    return spark_tables.read(session, storage, uris, position=True)


def publish_on_spark(
    storage: Storage,
    dataset: str,
    rows: SparkRows,
    form: Form,
    *,
    report_uri: str = "",
    waived: Sequence[str] = (),
    statistics: Mapping[str, Mapping[str, float]] | None = None,
) -> DataSlice:
    """Publish a delivery that keeps its contract as the validated partition of its date; see `partitions.publish`.

    It becomes several files, which follow one another in the order of one; no entity is in two of them.

    Raises:
        SchemaError: a column is missing, or cannot be turned into its type without loss.
        SourceError: its files were replaced since they were checked.
    """

    def finish(table: pa.Table) -> pa.Table:
        return form.table(table.sort_by(POSITION).drop_columns([POSITION]).to_pandas())[0]

    def counts(table: pa.Table) -> dict[str, int]:
        start = pa.scalar(form.start.to_pydatetime(), pa.timestamp("us", "UTC"))
        late = pc.sum(pc.less(table[form.timestamps.event], start)).as_py() or 0
        return {"entities": len(table[form.entity].unique()), "late_rows": late}

    def facts(content: str) -> dict[str, str]:
        rows.unchanged()
        return partitions.decision(storage, dataset, form.day, content, waived, statistics)

    schema = _schema(rows, finish, form.keep)
    frame = dealt(rows.frame.select(*map(spark_tables.quoted, schema.names), POSITION), form.entity, rows.count)
    uri = partition_uri(storage, dataset, form.day)
    manifest = spark_tables.write(storage, uri, frame, facts, counts=counts, finish=finish, schema=schema)
    quarantine.discard(storage, dataset, form.day)
    return partitions.told(dataset, form.day, uri, manifest, report_uri)


def put_on_spark(
    storage: Storage,
    dataset: str,
    day: date,
    rows: SparkRows,
    result: ContractResult,
    *,
    report_uri: str = "",
    model: str = "",
    at: datetime | None = None,
) -> DataSlice:
    """Put a delivery that breaks its contract aside, as it came, with the reasons; see `quarantine.put`.

    Raises:
        SourceError: its files were replaced since they were checked.
    """
    told = quarantine.facts_of(result, report_uri, model, at)

    def facts(_: str) -> dict[str, str]:
        rows.unchanged()
        return told

    def finish(table: pa.Table) -> pa.Table:
        return table.sort_by(POSITION).drop_columns([POSITION])

    schema = finish(spark_tables.arrow_schema(rows.frame).empty_table()).schema
    frame = dealt(rows.frame, POSITION, rows.count)
    uri = quarantine.place(storage, dataset, day)
    manifest = spark_tables.write(storage, uri, frame, facts, finish=finish, schema=schema)
    return quarantine.put_aside(storage, dataset, day, manifest)


def _schema(rows: SparkRows, finish: spark_tables.Finish, keep: Sequence[str]) -> pa.Schema:
    """Types as one machine would publish them: where no contract says one, those of the delivery.

    Whole numbers with nulls are floats there.
    """
    from pyspark.sql import functions as sf

    own = spark_tables.arrow_schema(rows.frame)
    known = finish(own.empty_table()).schema
    whole = [name for name in keep if name in own.names and pa.types.is_integer(own.field(name).type)]
    gaps = [sf.count_if(sf.col(spark_tables.quoted(name)).isNull()) for name in whole]
    floats = dict(zip(whole, rows.frame.agg(*gaps).collect()[0], strict=True)) if whole else {}
    fields = []
    for field in known:
        made = field.type
        if pa.types.is_null(made):
            made = own.field(field.name).type
        fields.append(pa.field(field.name, pa.float64() if floats.get(field.name) else made))
    return pa.schema(fields)

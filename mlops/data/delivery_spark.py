"""Parquet deliveries as Spark sees them: the rows that `read_delivery` would give, none of them in this process.

One rule: what is handed on is what was checked; files that are replaced meanwhile are not published.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import reduce
from typing import TYPE_CHECKING

import pyarrow as pa

from mlops.data import contracts, files, parquet
from mlops.data.contracts import ContractResult
from mlops.data.rule import Statistics, Terms
from mlops.data.spark_table import SparkTable
from mlops.errors import SourceError
from mlops.spark_tables import POSITION, for_spark, from_arrow, placed, quoted
from mlops.spec import SourceSpec

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

_READS = ("file", "s3", "s3a", "gs", "abfs", "hdfs")  # stores that Hadoop's file systems know


@dataclass(frozen=True)
class SparkRows:
    """A delivery on Spark.

    Args:
        frame: its rows, entity and timestamps in their final form, and `POSITION`.
        count: how many.
        unchanged: raises a SourceError if they are not those any more that were counted and checked.
    """

    frame: DataFrame
    count: int
    unchanged: Callable[[], None] = lambda: None


def find(source: SourceSpec, terms: Terms) -> parquet.Parts | None:
    """The files of a delivery, if Spark can read them as they are; None if there are none, or it cannot.

    Raises:
        SourceError: a file is not whole or no Parquet, or the files do not go together.
    """
    parts = parquet.find(source, terms)
    if parts is None or not set(files.protocols(parts.files.fs)) & set(_READS):
        return None
    return parts if all(_placed(field, source, terms) for field in parts.schema) else None


def inspect(
    session: SparkSession,
    source: SourceSpec,
    parts: parquet.Parts,
    terms: Terms,
    usual_rows: Sequence[int],
    statistics: Sequence[Statistics] = (),
) -> tuple[ContractResult, SparkRows] | None:
    """What the check of a delivery's contract found, and its rows; None if nothing was delivered.

    Args:
        session: the engine.
        source: where the delivery comes from.
        parts: its files.
        terms: what it is held against.
        usual_rows: row counts of deliveries before.
        statistics: of accepted deliveries before.

    Raises:
        SourceError: a file cannot be read, or was replaced meanwhile.
        DataError: a check could not be carried out.
    """
    from py4j.protocol import Py4JJavaError
    from pyspark.errors import PySparkException

    state = parts.state

    def unchanged() -> None:
        if parts.state != state:
            raise SourceError(
                f"The files of {terms.day} were replaced while they were read.", hint="Run the step again for the date."
            )

    try:
        frame = _rows(session, source, parts, terms)
        table = SparkTable(frame, parts.schema, terms)
        if not table.rows and not files.is_dated(source.uri):
            return None
        return contracts.check_table(table, terms, usual_rows, statistics), SparkRows(frame, table.rows, unchanged)
    except (PySparkException, Py4JJavaError) as error:
        raise SourceError(
            f"{files.shown(source.uri)} cannot be read: {str(error).strip().partition(chr(10))[0]}.",
            hint="A file is not whole, or does not hold what its footer says; have it delivered again.",
        ) from error


def _rows(session: SparkSession, source: SourceSpec, parts: parquet.Parts, terms: Terms) -> DataFrame:
    """Files with the same columns are read together, each group in the types of all."""
    from pyspark.sql import functions as sf

    found = parts.files
    local = "file" in files.protocols(found.fs)
    paths = [for_spark(path if local else found.fs.unstrip_protocol(path)) for path in found.paths]
    groups: dict[str, tuple[pa.Schema, list[str]]] = {}
    for path, schema in zip(paths, files.parquet_schemas(found), strict=True):
        bare = schema.remove_metadata()
        groups.setdefault(str(bare), (bare, []))[1].append(path)
    frames = []
    for schema, own in groups.values():
        frame = session.read.parquet(*own)
        names = [row[0] for row in frame.select("_metadata.file_path").distinct().collect()]
        columns = [_column(field, schema, source, terms).alias(field.name) for field in parts.schema]
        frames.append(placed(frame, paths, names).select(*columns, POSITION))
    rows = reduce(lambda one, other: one.unionByName(other), frames)
    if files.is_dated(source.uri):
        return rows
    known = sf.col(quoted(terms.timestamps.arrival or terms.timestamps.event))
    end = terms.start + timedelta(days=1)
    return rows.where((known >= sf.lit(terms.start)) & (known < sf.lit(end)))


def _column(field: pa.Field, schema: pa.Schema, source: SourceSpec, terms: Terms) -> Column:
    """A column of a file in the type that it has in the delivery."""
    from pyspark.sql import functions as sf

    index = schema.get_field_index(field.name)
    if index < 0 or pa.types.is_null(field.type):
        return sf.lit(None).cast("string" if pa.types.is_null(field.type) else _final(field.type))
    kind, name = schema.field(index).type, quoted(field.name)
    if pa.types.is_null(kind):
        return sf.lit(None).cast(_final(field.type))
    column = sf.col(name)
    if pa.types.is_timestamp(kind):
        if kind.unit == "ns":  # read as whole numbers
            column = sf.timestamp_micros(sf.expr(f"({name} - pmod({name}, 1000)) div 1000"))
        instant = kind.tz is not None or field.name in terms.keys or source.timezone is not None
        return column.cast("timestamp" if instant else "timestamp_ntz")
    plain = kind.value_type if pa.types.is_dictionary(kind) else kind
    changes = plain != field.type or pa.types.is_decimal(plain)
    return column.cast(_final(field.type)) if changes else column


def _final(kind: pa.DataType) -> str:
    if pa.types.is_decimal(kind):
        return "double"
    return from_arrow(kind)


def _placed(field: pa.Field, source: SourceSpec, terms: Terms) -> bool:
    """Whether times that the spec does not name are placed by a cast, too; those of the keys are known to be."""
    if not pa.types.is_timestamp(field.type) or field.name in terms.keys or field.type.tz is not None:
        return True
    return source.timezone is None or source.timezone in parquet.FIXED

"""Tables of a `Storage` read and written by Spark, in as many files as there are partitions.

Executors write their files through `Storage` itself, so whatever it can reach they can; the driver then publishes the
files of those tasks that succeeded in one step. A task that was retried or ran twice leaves a file that nobody names.

One rule: rows that nobody published are never read, and a table is never half of one writing and half of another.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from mlops import errors
from mlops.errors import NoDataError, StorageError
from mlops.manifest import ROWS_PER_GROUP
from mlops.storage import TABLE_FILE, Manifest, Storage, content_hash, parquet

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

POSITION = "__position"  # of a row in what was read: by table, file and place in the file
SHARDS = "shards"
_ROWS_PER_FILE_LIMIT = 40  # bits of `POSITION` that number the rows of a file
_WRITTEN = pa.schema(
    {"partition": pa.int32(), "path": pa.string(), "rows": pa.int64(), "counts": pa.string(), "hash": pa.string()}
)
_ORPHANED_AFTER = timedelta(days=1)
Batches = Iterator[pa.RecordBatch]
Counts = Callable[[pa.Table], Mapping[str, int]]
Merged = Callable[[Sequence[Mapping[str, int]]], dict[str, str]]
Finish = Callable[[pa.Table], pa.Table]
Facts = Callable[[str], dict[str, str]]


def read(session: SparkSession, storage: Storage, uris: Sequence[str], *, position: bool = False) -> DataFrame:
    """The tables at `uris` as one, by column name; a column that a table lacks is null there.

    Args:
        session: the engine.
        storage: where they are.
        uris: folders of tables, at least one.
        position: add `POSITION`, which orders rows as `Storage.read_table` of the tables, one after another, has them.

    Raises:
        NoDataError: nothing was published at one of them.
        StorageError: files hold other numbers of rows than their manifests say.
    """
    from pyspark.sql import functions as sf

    files: list[str] = []
    expected = 0
    for uri in uris:
        manifest = storage.manifest(uri)
        if manifest is None:
            raise NoDataError(f"{uri} holds no table.", hint="Run the step that writes it first.")
        files += [f"{uri.rstrip('/')}/{name}" for name in manifest.shards or (TABLE_FILE,)]
        expected += manifest.rows
    paths = [for_spark(file) for file in files]
    frame = session.read.option("mergeSchema", "true").parquet(*paths)
    counted = frame.groupBy(sf.col("_metadata.file_path").alias("path")).count().collect()  # reads no column
    if (found := sum(row["count"] for row in counted)) != expected:
        raise StorageError(
            f"{len(files)} files below {uris[0]} … hold {found:,} rows, their manifests say {expected:,}.",
            hint="Run the steps that wrote them again.",
        )
    if not position:
        return frame
    return placed(frame, paths, [row.path for row in counted])


def placed(frame: DataFrame, paths: Sequence[str], found: Sequence[str]) -> DataFrame:
    """Add `POSITION` to what was read from files.

    Args:
        frame: as Spark reads the files.
        paths: all files, in their order, as they were named to Spark.
        found: those that `frame` is from, as Spark names them.
    """
    from pyspark.sql import functions as sf

    place = {_bare(path): number for number, path in enumerate(paths)}
    order = frame.sparkSession.createDataFrame(
        [(place[_bare(unquote(path))], path) for path in found], "__file int, __path string"
    )
    known = frame.select(
        "*", sf.col("_metadata.file_path").alias("__path"), sf.col("_metadata.row_index").alias("__row")
    )
    number = sf.shiftleft(sf.col("__file").cast("bigint"), _ROWS_PER_FILE_LIMIT) + sf.col("__row")
    return known.join(sf.broadcast(order), "__path").withColumn(POSITION, number).drop("__path", "__file", "__row")


def write(
    storage: Storage,
    uri: str,
    frame: DataFrame,
    facts: dict[str, str] | Facts | None = None,
    *,
    counts: Counts | None = None,
    merged: Merged | None = None,
    finish: Finish | None = None,
    checks: Counts | None = None,
    schema: pa.Schema | None = None,
) -> Manifest:
    """Publish `frame` as the whole content of the folder `uri`, replacing what was there; one file per partition.

    The content hash is the same for the same rows in the same partitions and order: who wants it repeatable sorts.

    Args:
        storage: where.
        uri: folder of the table.
        frame: the rows; a partition must fit into the memory of a task.
        facts: kept in the manifest; or what makes them of the content hash, and may still refuse to publish.
        counts: numbers of the table of a file.
        merged: the facts that the numbers of all files make; it may still refuse to publish. Default: their sums.
        finish: what makes the table of a file of the rows of a partition; it gets no empty one. Default: nothing.
        checks: further numbers, of the rows of a partition before `finish`.
        schema: Arrow types of what `finish` makes. Default: those of `frame`.

    Raises:
        StorageError: it could not be written; what was there before still stands.
    """
    before = storage.manifest(uri)
    generation = uuid.uuid4().hex
    kinds = schema or arrow_schema(frame)
    writer = _Writer(storage, f"{uri.rstrip('/')}/{SHARDS}/{generation}", kinds, counts, finish, checks)
    with refusals():
        written = sorted(frame.mapInArrow(writer, ddl(_WRITTEN)).collect())
    content = hashlib.sha256("".join(row.hash for row in written).encode()).hexdigest()
    told = facts(content) if callable(facts) else dict(facts or {})
    manifest = Manifest(
        rows=sum(row.rows for row in written),
        schema={field.name: str(field.type) for field in kinds},
        content_hash=content,
        facts=told | (merged or _summed)([json.loads(row.counts) for row in written]),
        shards=tuple(f"{SHARDS}/{generation}/{row.path}" for row in written),
    )
    storage.write_bytes(f"{uri.rstrip('/')}/{TABLE_FILE}", parquet(kinds.empty_table(), manifest))
    _sweep(storage, uri, generation, before.shards if before else ())
    return manifest


@contextmanager
def refusals() -> Iterator[None]:
    """What an executor has refused is raised as if it had been refused here; other errors of Spark pass as they are."""
    from pyspark.errors import PythonException

    try:
        yield
    except PythonException as error:
        told = re.search(r"mlops\.errors\.(\w+): (.*)", str(error))
        kind = getattr(errors, told.group(1), None) if told else None
        if told is None or kind is None:
            raise
        raise kind(told.group(2)) from error


@dataclass(frozen=True)
class _Writer:
    """Writes the rows of a partition to a file of its own. Runs on executors."""

    storage: Storage
    folder: str
    schema: pa.Schema
    counts: Counts | None
    finish: Finish | None
    checks: Counts | None

    def __call__(self, batches: Batches) -> Batches:
        from pyspark import TaskContext

        task = TaskContext.get()
        assert task is not None
        rows = [batch for batch in batches if batch.num_rows]
        if not rows:
            return
        table = pa.Table.from_batches(rows)
        numbers = dict(self.checks(table)) if self.checks else {}
        table = (self.finish(table) if self.finish else table).cast(self.schema)
        name = f"{task.partitionId():06d}-{task.taskAttemptId()}.parquet"
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="zstd", row_group_size=ROWS_PER_GROUP)
        self.storage.write_bytes(f"{self.folder}/{name}", buffer.getvalue())
        told = {
            "partition": task.partitionId(),
            "path": name,
            "rows": table.num_rows,
            "counts": json.dumps(numbers | dict(self.counts(table) if self.counts else {})),
            "hash": content_hash(table),
        }
        yield pa.RecordBatch.from_pylist([told], _WRITTEN)


def _summed(counts: Sequence[Mapping[str, int]]) -> dict[str, str]:
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return {name: str(number) for name, number in total.items()}


def from_arrow(kind: pa.DataType) -> str:
    """Spark's name of an Arrow type, for the types that tables here have.

    >>> from_arrow(pa.float64()), from_arrow(pa.timestamp("us", "UTC"))
    ('double', 'timestamp')
    """
    from pyspark.sql.pandas.types import from_arrow_type

    return str(from_arrow_type(kind).simpleString())


def ddl(schema: pa.Schema) -> str:
    """An Arrow schema as Spark writes it."""
    return ", ".join(f"`{field.name}` {from_arrow(field.type)}" for field in schema)


def arrow_schema(frame: DataFrame) -> pa.Schema:
    """The Arrow types of a frame's columns; instants in UTC."""
    from pyspark.sql.pandas.types import to_arrow_schema

    zoned = to_arrow_schema(frame.schema)
    utc = [f.with_type(pa.timestamp("us", "UTC")) if pa.types.is_timestamp(f.type) and f.type.tz else f for f in zoned]
    return pa.schema([field.with_nullable(True).remove_metadata() for field in utc])


def quoted(name: str) -> str:
    """A column's name in Spark's SQL.

    >>> quoted("a.b")
    '`a.b`'
    """
    escaped = name.replace("`", "``")
    return f"`{escaped}`"


def for_spark(uri: str) -> str:
    """A URI as Hadoop's file systems name it."""
    if "://" not in uri:
        return f"file://{uri}"
    return f"s3a://{uri.removeprefix('s3://')}" if uri.startswith("s3://") else uri


def _bare(path: str) -> str:
    """A path without its scheme and the slashes after it, of which Hadoop writes one or three."""
    return path.partition(":")[2].lstrip("/")


def _sweep(storage: Storage, uri: str, generation: str, replaced: Sequence[str]) -> None:
    """Delete the files that were replaced, and those of writers that died a day ago."""
    folder = f"{uri.rstrip('/')}/{SHARDS}"
    old = {f"{uri.rstrip('/')}/{shard}" for shard in replaced}
    dead = datetime.now(UTC) - _ORPHANED_AFTER
    for file in storage.listing(folder):
        if file.uri in old or (f"/{generation}/" not in file.uri and file.modified_at < dead):
            storage.delete(file.uri)

"""The newest reading of each entity in some deliveries, in batches, within bounded memory.

DuckDB first finds the place of each entity's newest row (times and keys only, spilling to disk if they do not fit),
then reads the rest of these rows in one pass. So memory grows neither with the number of features nor with the readings
per entity.

One rule: newest is what the offline join calls newest: latest event, of these the latest known.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import fsspec
import pyarrow as pa

from mlops.features.partitions import uri_of
from mlops.storage import TABLE_FILE, Storage

DELIVERY = "__delivery"
_MEMORY = "256MB"
_ROWS_PER_BATCH = 20_000
_FILE = 2**40  # more rows than any file has


def newest_readings(
    storage: Storage, view: Any, days: Sequence[date], *, spill: Path, entities: pa.Table | None = None
) -> Iterator[pa.Table]:
    """One row per entity, in batches.

    Args:
        storage: holds the feature tables.
        view: the registered `feast.FeatureView`.
        days: the deliveries that count; all must be stored.
        spill: folder for what does not fit into memory.
        entities: only these, by the view's entity columns; default: all.

    Yields:
        entity columns, times, features and `__delivery` (the position in `days`), shape (≤ 20,000, …).
    """
    source = view.batch_source
    keys = [field.name for field in view.entity_columns]
    event, known = source.timestamp_field, source.created_timestamp_column or source.timestamp_field
    columns = list(dict.fromkeys([*keys, event, known, *(field.name for field in view.features)]))
    by = ", ".join(map(_quoted, keys))
    only = f"semi join entities using ({by})" if entities is not None else ""
    age = f"(epoch_us({_quoted(event)})::hugeint << 63) + epoch_us({_quoted(known)})"
    files, delivery_of = _files(storage, view.name, days)
    with _opened(storage, spill) as connection:
        if entities is not None:
            connection.register("entities", entities)
        connection.execute(
            f"create temp table best as select arg_max(row, age) as row from (select row, {by}, {age} as age "
            f"from ({_rows(files, dict.fromkeys([*keys, event, known]))}) {only}) group by {by}"
        )
        answer = connection.sql(
            f"select * exclude (row), {delivery_of}[row // {_FILE} + 1]::integer as {DELIVERY} "
            f"from ({_rows(files, dict.fromkeys(columns))}) semi join best using (row)"
        )
        for batch in answer.to_arrow_reader(_ROWS_PER_BATCH):
            yield pa.Table.from_batches([batch])


def _files(storage: Storage, view: str, days: Sequence[date]) -> tuple[list[str], list[int]]:
    """The files of the deliveries, and of each the position of its day."""
    files: list[str] = []
    delivery_of: list[int] = []
    for number, day in enumerate(days):
        uri = uri_of(storage, view, day)
        manifest = storage.manifest(uri)
        names = (manifest and manifest.shards) or (TABLE_FILE,)
        files += [f"{uri}/{name}" for name in names]
        delivery_of += [number] * len(names)
    return files, delivery_of


def _rows(files: Sequence[str], columns: dict[str, None]) -> str:
    """A query for columns of the files, and the place of every row: one scan, as each holds buffers of its own."""
    wanted = ", ".join(map(_quoted, columns))
    paths = ", ".join("'" + path.replace("'", "''") + "'" for path in files)
    place = f"(file_index::bigint * {_FILE} + file_row_number)::bigint as row"
    return f"select {wanted}, {place} from read_parquet([{paths}], union_by_name = true, hive_partitioning = false)"


@contextmanager
def _opened(storage: Storage, spill: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    spill.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="newest-", dir=spill) as folder, duckdb.connect() as connection:
        connection.execute(f"set memory_limit = '{_MEMORY}'")
        connection.execute("set temp_directory = ?", [folder])
        connection.execute("set preserve_insertion_order = false")
        connection.execute("set timezone = 'UTC'")
        if "://" not in storage.root:
            connection.execute("set disable_parquet_prefetching = true")  # else whole row groups count as memory
        else:
            options = {"use_listings_cache": False} | storage.options
            connection.register_filesystem(fsspec.core.url_to_fs(storage.root, **options)[0])
        yield connection


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'

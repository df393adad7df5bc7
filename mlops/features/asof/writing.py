"""Parquet that Feast asks this store to write: saved data sets, exports, and rows added to a source.

One rule: a file is there whole or not at all, and nothing that was there is lost.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mlops.errors import FeatureError, did_you_mean
from mlops.features.asof.sources import schema_of
from mlops.manifest import ROWS_PER_GROUP
from mlops.storage import Storage

_ROWS_PER_FILE = 5_000_000


def published(source: Any, repo_path: str, allow_overwrite: bool, make: Callable[[], pa.Table]) -> None:
    """Write a table as the whole content of a file source's place.

    Args:
        source: a Feast `FileSource`: a file `….parquet`, or a folder.
        repo_path: the folder that relative paths start from.
        allow_overwrite: whether what is there may go.
        make: makes the table, once it is clear that it may be written.

    Raises:
        SavedDatasetLocationAlreadyExists: something is there.
        StorageError: it cannot be written; what was there before still stands.
    """
    from feast.errors import SavedDatasetLocationAlreadyExists

    path, storage = _place(source, repo_path)
    there = storage.exists(path)
    if there and not allow_overwrite:
        raise SavedDatasetLocationAlreadyExists(location=source.path)
    table = make()
    if path.endswith(".parquet"):
        storage.write_bytes(path, _parquet(table))
        return
    before = [file.uri for file in storage.listing(path)] if there else []
    storage.write_bytes(f"{path}/part-{uuid.uuid4().hex}.parquet", _parquet(table))
    for uri in before:
        storage.delete(uri)


def staged(table: pa.Table, location: str) -> list[str]:
    """Write a table as files of bounded size below a folder of its own; their addresses."""
    storage = Storage(location)
    folder = storage.uri(uuid.uuid4().hex)
    uris = []
    for number, first in enumerate(range(0, max(table.num_rows, 1), _ROWS_PER_FILE)):
        uris.append(f"{folder}/part-{number:05}.parquet")
        storage.write_bytes(uris[-1], _parquet(table.slice(first, _ROWS_PER_FILE)))
    return uris


def added(source: Any, repo_path: str, view: str, table: pa.Table) -> None:
    """Add rows to a source: to its file, or as one more file of its folder.

    Args:
        source: the Feast `FileSource` of a view.
        repo_path: the folder that relative paths start from.
        view: whose rows they are, for messages.
        table: with the columns of the source, in any order.

    Raises:
        FeatureError: the columns are not those of the source, or the source is a pattern.
        StorageError: it cannot be written; what was there before still stands.
    """
    path, storage = _place(source, repo_path)
    if "*" in path:
        raise FeatureError(
            f"Source {source.name!r} of view {view!r} is the pattern {source.path}, "
            "none of whose files is the one to add to.",
            hint="Write the partition, or declare the folder as the source.",
        )
    with _alone(path):
        rows = _like(table, schema_of(source, repo_path), view)
        if path.endswith(".parquet"):
            rows = pa.concat_tables([pq.read_table(io.BytesIO(storage.read_bytes(path))), rows])
            storage.write_bytes(path, _parquet(rows))
        else:
            storage.write_bytes(f"{path}/part-{uuid.uuid4().hex}.parquet", _parquet(rows))


def _like(table: pa.Table, schema: pa.Schema, view: str) -> pa.Table:
    """Rows with the columns and types of a source."""
    missing = [name for name in schema.names if name not in table.column_names]
    unknown = [name for name in table.column_names if name not in schema.names]
    if missing or unknown:
        raise FeatureError(
            f"The rows for view {view!r} lack {', '.join(missing) or 'nothing'}, and bring "
            f"{', '.join(unknown) or 'nothing'} that its source does not have.",
            hint=" ".join(filter(None, (did_you_mean(name, schema.names) for name in unknown)))
            or f"Its columns are {', '.join(schema.names)}.",
        )
    try:
        return table.select(schema.names).cast(schema)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise FeatureError(
            f"The rows for view {view!r} do not fit its source: {error}.", hint="Give them the types of the source."
        ) from error


def _place(source: Any, repo_path: str) -> tuple[str, Storage]:
    """Where a file source lies, and the storage that reaches it."""
    from feast import FileSource

    path = FileSource.get_uri_for_file_path(repo_path, source.path.removeprefix("file://"))
    options = {"endpoint_url": source.s3_endpoint_override} if source.s3_endpoint_override else {}
    return path.rstrip("/"), Storage(path, options)


def _parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", row_group_size=ROWS_PER_GROUP)
    return buffer.getvalue()


@contextmanager
def _alone(path: str) -> Iterator[None]:
    """One writer of a place at a time, over the processes of this machine."""
    lock = Path(tempfile.gettempdir()) / f"asof-{hashlib.sha256(path.encode()).hexdigest()[:16]}.lock"
    with lock.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield

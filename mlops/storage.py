"""Tables and files by URI (a local path or `s3://…`), published whole or not at all.

A table is one Parquet file whose own footer carries its manifest: rows, schema, content hash and the caller's facts. So
data and manifest become visible in the same instant (a rename locally, one PUT on S3), and a reader sees all or none.

One rule: nothing is read that its manifest does not vouch for.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mlops.errors import MissingDependencyError, NoDataError, StorageError

_MANIFEST = b"mlops.manifest"
TABLE_FILE = "part.parquet"
_UNCHANGED = "What was there before is unchanged. Free space or mend the permissions, then re-run the step."
_CLIENTS = ("botocore", "aiobotocore", "aiohttp", "gcsfs", "azure")  # their errors are no OSErrors
_PARTITION = re.compile(rf"date=(\d{{4}}-\d{{2}}-\d{{2}})/{re.escape(TABLE_FILE)}")


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a published table vouches for."""

    rows: int
    schema: dict[str, str]  # column name -> Arrow type
    content_hash: str  # sha256 over the values, see `content_hash`; with shards over their hashes
    facts: dict[str, str] = field(default_factory=dict)
    shards: tuple[str, ...] = ()  # files below the table's folder that hold its rows; empty: the table's file does


def content_hash(table: pa.Table) -> str:
    """sha256 over column names, types and values in row order; independent of chunking and of what lies behind nulls.

    >>> a = pa.table({"x": pa.chunked_array([[1, None], [3]])}); b = pa.table({"x": [1, None, 3]})
    >>> content_hash(a) == content_hash(b)
    True
    """
    digest = hashlib.sha256(str(table.num_rows).encode())
    for name, column in zip(table.column_names, table.columns, strict=True):
        flat = column.combine_chunks()
        if isinstance(flat, pa.ChunkedArray):  # zero or several chunks, by pyarrow version
            flat = pa.concat_arrays(flat.chunks) if flat.num_chunks else pa.array([], flat.type)
        if pa.types.is_dictionary(flat.type):
            flat = flat.dictionary_decode()
        digest.update(f"|{name}:{flat.type}|".encode())
        digest.update(pc.is_null(flat).to_numpy(zero_copy_only=False).tobytes())
        valid = flat.drop_null()
        if pa.types.is_primitive(valid.type):
            digest.update(valid.to_numpy(zero_copy_only=False).tobytes())
        else:
            for value in valid.to_pylist():
                encoded = str(value).encode()
                digest.update(len(encoded).to_bytes(8, "little") + encoded)
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file as the file system lists it."""

    uri: str
    size: int  # [bytes]
    modified_at: datetime


@dataclass(frozen=True)
class Storage:
    """Tables and files below one root.

    Args:
        root: a local path or a URI that fsspec knows.
        options: options for the file system (S3: `key`, `secret`, `client_kwargs`, …).
    """

    root: str
    options: dict[str, Any] = field(default_factory=dict)

    def uri(self, *parts: str) -> str:
        """The URI of a path below the root."""
        return "/".join([self.root.rstrip("/"), *(part.strip("/") for part in parts)])

    # --- tables -----------------------------------------------------------------------------------------------------

    def write_table(self, uri: str, table: pa.Table, facts: dict[str, str] | None = None) -> Manifest:
        """Publish `table` as the whole content of the folder `uri`, replacing what was there.

        Timestamps are written in microseconds: DuckDB 2.0 cannot read zoned nanoseconds.

        Raises:
            StorageError: it could not be written; what was there before still stands.
        """
        table = microseconds(table)
        schema = {name: str(kind) for name, kind in zip(table.schema.names, table.schema.types, strict=True)}
        manifest = Manifest(table.num_rows, schema, content_hash(table), dict(facts or {}))
        self.write_bytes(f"{uri.rstrip('/')}/{TABLE_FILE}", parquet(table, manifest))
        return manifest

    def read_table(self, uri: str, columns: Sequence[str] | None = None) -> pa.Table:
        """The table at `uri`.

        Raises:
            NoDataError: nothing was published there.
            StorageError: it cannot be read, or it was not published by `write_table`.
        """
        path = f"{uri.rstrip('/')}/{TABLE_FILE}"
        try:
            table = pq.read_table(io.BytesIO(self.read_bytes(path)), columns=list(columns) if columns else None)
        except pa.ArrowInvalid as error:
            raise StorageError(
                f"{path} cannot be read as Parquet: {error}.", hint="Re-run the step that wrote it."
            ) from error
        manifest = _manifest_of(table.schema.metadata, path)
        if manifest.shards:
            parts = [self._read_shard(f"{uri.rstrip('/')}/{shard}", columns) for shard in manifest.shards]
            table = pa.concat_tables([table.replace_schema_metadata(None), *parts])
        if manifest.rows != table.num_rows:
            raise StorageError(f"{path} holds {table.num_rows} rows, its manifest says {manifest.rows}.")
        return table.replace_schema_metadata(None)

    def _read_shard(self, path: str, columns: Sequence[str] | None) -> pa.Table:
        try:
            table = pq.read_table(io.BytesIO(self.read_bytes(path)), columns=list(columns) if columns else None)
        except (pa.ArrowInvalid, NoDataError) as error:
            raise StorageError(f"{path} cannot be read: {error}.", hint="Re-run the step that wrote it.") from error
        return table.replace_schema_metadata(None)

    def manifest(self, uri: str) -> Manifest | None:
        """The manifest of the table at `uri` (the footer alone is read), or None if nothing was published there."""
        path = f"{uri.rstrip('/')}/{TABLE_FILE}"
        with self._fs(path) as (fs, target):
            if not fs.exists(target):
                return None
            try:
                with fs.open(target, "rb") as handle:
                    return _manifest_of(pq.read_schema(handle).metadata, path)
            except (pa.ArrowInvalid, OSError) as error:
                raise StorageError(f"{path} cannot be read: {error}.", hint="Re-run the step that wrote it.") from error

    def partitions(self, uri: str) -> list[date]:
        """The dates of the published `date=…` partitions below `uri`, sorted."""
        with self._fs(uri) as (fs, target):
            found = [_PARTITION.fullmatch(str(path).removeprefix(target).lstrip("/")) for path in fs.find(target)]
        return sorted(date.fromisoformat(match.group(1)) for match in found if match)

    # --- files ------------------------------------------------------------------------------------------------------

    def write_bytes(self, uri: str, data: bytes) -> None:
        """Publish a file whole: written under a temporary name, then renamed (S3: one PUT is atomic).

        Raises:
            StorageError: it could not be written (full disk, read-only folder, no access).
        """
        with self._fs(uri) as (fs, target):
            try:
                if "file" in fs.protocol:
                    _replace_file(Path(target), data)
                else:
                    fs.pipe_file(target, data)
            except OSError as error:
                raise StorageError(
                    f"{uri} could not be written: {error.strerror or error}.",
                    hint=_UNCHANGED,
                ) from error

    def read_bytes(self, uri: str) -> bytes:
        """The content of a file.

        Raises:
            NoDataError: there is none.
            StorageError: it cannot be read.
        """
        with self._fs(uri) as (fs, target):
            try:
                data = fs.cat_file(target)
            except FileNotFoundError as error:
                raise NoDataError(f"{uri} does not exist.", hint="Run the step that writes it first.") from error
            except OSError as error:
                raise StorageError(f"{uri} cannot be read: {error}.") from error
        assert isinstance(data, bytes)
        return data

    def write_json(self, uri: str, value: Any) -> None:
        """Publish a JSON file, keys sorted."""
        self.write_bytes(uri, json.dumps(value, indent=2, sort_keys=True, default=str).encode())

    def read_json(self, uri: str) -> Any:
        """The content of a JSON file."""
        return json.loads(self.read_bytes(uri))

    def exists(self, uri: str) -> bool:
        """Whether a file or folder is there."""
        with self._fs(uri) as (fs, target):
            return bool(fs.exists(target))

    def listing(self, uri: str) -> list[StoredFile]:
        """All files below a folder, sorted by URI; empty if there is none."""
        with self._fs(uri) as (fs, target):
            found = fs.find(target, detail=True) if fs.exists(target) else {}
            base = target.rstrip("/")
        files = []
        for path, info in sorted(found.items()):
            changed = info.get("LastModified") or datetime.fromtimestamp(info["mtime"], UTC)
            below = str(path)[len(base) :].lstrip("/")
            files.append(StoredFile(f"{uri.rstrip('/')}/{below}", int(info["size"]), changed))
        return files

    def delete(self, uri: str) -> None:
        """Remove a file or a folder with all below it; nothing happens if there is none."""
        with self._fs(uri) as (fs, target), contextlib.suppress(FileNotFoundError):
            fs.rm(target, recursive=True)

    @contextlib.contextmanager
    def _fs(self, uri: str) -> Iterator[tuple[Any, str]]:
        """The file system and the path in it. What goes wrong with its client becomes a `StorageError`."""
        remote = {"use_listings_cache": False} | self.options  # what another process wrote a moment ago is seen
        try:
            fs, target = fsspec.core.url_to_fs(uri, **(remote if "://" in uri else {}))
            yield fs, target
        except ImportError as error:
            raise MissingDependencyError(f"{uri} needs a client that is not installed: {error}.") from error
        except Exception as error:
            if type(error).__module__.partition(".")[0] not in _CLIENTS:
                raise
            raise StorageError(
                f"{uri} cannot be reached: {type(error).__name__}: {error}.",
                hint="Check the endpoint (AWS_ENDPOINT_URL), the credentials and the network.",
            ) from error


def _replace_file(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def microseconds(table: pa.Table) -> pa.Table:
    """The table with all its timestamps in microseconds."""
    fields = [
        f.with_type(pa.timestamp("us", f.type.tz)) if pa.types.is_timestamp(f.type) and f.type.unit != "us" else f
        for f in table.schema
    ]
    return table.cast(pa.schema(fields, metadata=table.schema.metadata), safe=False)


def _manifest_of(metadata: dict[bytes, bytes] | None, path: str) -> Manifest:
    raw = (metadata or {}).get(_MANIFEST)
    if raw is None:
        raise StorageError(
            f"{path} has no manifest.",
            hint="It was not published by this project; write it through `Storage.write_table`.",
        )
    body = json.loads(raw)
    shards = tuple(body.get("shards", ()))
    return Manifest(body["rows"], body["schema"], body["content_hash"], body["facts"], shards)


def parquet(table: pa.Table, manifest: Manifest) -> bytes:
    """The table as a Parquet file that carries its manifest."""
    body = asdict(manifest)
    if not manifest.shards:
        del body["shards"]
    kept = {k: v for k, v in (table.schema.metadata or {}).items() if k != b"pandas"}
    sealed = table.replace_schema_metadata(kept | {_MANIFEST: json.dumps(body, sort_keys=True).encode()})
    buffer = io.BytesIO()
    pq.write_table(sealed, buffer, compression="zstd")
    return buffer.getvalue()

"""Tables and files by URI (a local path or `s3://…`), published whole or not at all.

A table is one Parquet file whose own footer carries its manifest: rows, schema, content hash and the caller's facts. So
data and manifest become visible in the same instant (a rename locally, one PUT on S3), and a reader sees all or none.

One rule: nothing is read that its manifest does not vouch for.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from mlops.errors import MissingDependencyError, NoDataError, StorageError
from mlops.manifest import Manifest, content_hash, manifest_of, microseconds, parquet

__all__ = ["TABLE_FILE", "Manifest", "Storage", "StoredFile", "content_hash", "microseconds", "parquet"]

TABLE_FILE = "part.parquet"
_UNCHANGED = "What was there before is unchanged. Free space or mend the permissions, then re-run the step."
_CLIENTS = ("botocore", "aiobotocore", "aiohttp", "gcsfs", "azure")  # their errors are no OSErrors
_PARTITION = re.compile(rf"date=(\d{{4}}-\d{{2}}-\d{{2}})/{re.escape(TABLE_FILE)}")


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
        """The table at `uri`; of the file no more than `columns` is read.

        Raises:
            NoDataError: nothing was published there.
            StorageError: it cannot be read, or it was not published by `write_table`.
        """
        path = f"{uri.rstrip('/')}/{TABLE_FILE}"
        try:
            table = self._read_parquet(path, columns)
        except (pa.ArrowInvalid, OSError) as error:
            raise StorageError(
                f"{path} cannot be read as Parquet: {error}.", hint="Re-run the step that wrote it."
            ) from error
        manifest = manifest_of(table.schema.metadata, path)
        if manifest.shards:
            parts = [self._read_shard(f"{uri.rstrip('/')}/{shard}", columns) for shard in manifest.shards]
            table = pa.concat_tables([table.replace_schema_metadata(None), *parts])
        if manifest.rows != table.num_rows:
            raise StorageError(f"{path} holds {table.num_rows} rows, its manifest says {manifest.rows}.")
        return table.replace_schema_metadata(None)

    def _read_shard(self, path: str, columns: Sequence[str] | None) -> pa.Table:
        try:
            table = self._read_parquet(path, columns)
        except (pa.ArrowInvalid, OSError, NoDataError) as error:
            raise StorageError(f"{path} cannot be read: {error}.", hint="Re-run the step that wrote it.") from error
        return table.replace_schema_metadata(None)

    def _read_parquet(self, path: str, columns: Sequence[str] | None) -> pa.Table:
        if not columns:
            return pq.read_table(io.BytesIO(self.read_bytes(path)))
        with self._reading(path) as (fs, target), fs.open(target, "rb") as handle:
            return pq.read_table(handle, columns=list(columns))

    def manifest(self, uri: str) -> Manifest | None:
        """The manifest of the table at `uri` (the footer alone is read), or None if nothing was published there."""
        path = f"{uri.rstrip('/')}/{TABLE_FILE}"
        with self._fs(path) as (fs, target):
            if not fs.exists(target):
                return None
            try:
                with fs.open(target, "rb") as handle:
                    return manifest_of(pq.read_schema(handle).metadata, path)
            except (pa.ArrowInvalid, OSError) as error:
                raise StorageError(f"{path} cannot be read: {error}.", hint="Re-run the step that wrote it.") from error

    def table_files(self, uri: str) -> tuple[Any, tuple[str, ...]]:
        """The file system of a table and the paths of its Parquet files: for engines that read it piece by piece.

        Raises:
            NoDataError: nothing was published there.
            StorageError: it was not published by `write_table`.
        """
        manifest = self.manifest(uri)
        if manifest is None:
            raise NoDataError(f"{uri} does not exist.", hint="Run the step that writes it first.")
        with self._fs(uri) as (fs, target):
            base = target.rstrip("/")
            return fs, tuple(f"{base}/{name}" for name in (TABLE_FILE, *manifest.shards))

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
        with self._writing(uri) as (fs, target):
            if "file" in fs.protocol:
                _replace_file(Path(target), data)
            else:
                fs.pipe_file(target, data)

    def upload(self, path: Path, uri: str) -> None:
        """Publish a file of this machine whole, as `write_bytes` does; `path` may be gone afterwards."""
        with self._writing(uri) as (fs, target):
            if "file" in fs.protocol:
                _replace_file(Path(target), path)
            else:
                fs.put_file(str(path), target)

    def read_bytes(self, uri: str) -> bytes:
        """The content of a file.

        Raises:
            NoDataError: there is none.
            StorageError: it cannot be read.
        """
        with self._reading(uri) as (fs, target):
            data = fs.cat_file(target)
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
    def _reading(self, uri: str) -> Iterator[tuple[Any, str]]:
        """As `_fs`; a file that is not there, or cannot be read, is told as such."""
        with self._fs(uri) as (fs, target):
            try:
                yield fs, target
            except FileNotFoundError as error:
                raise NoDataError(f"{uri} does not exist.", hint="Run the step that writes it first.") from error
            except OSError as error:
                raise StorageError(f"{uri} cannot be read: {error}.") from error

    @contextlib.contextmanager
    def _writing(self, uri: str) -> Iterator[tuple[Any, str]]:
        with self._fs(uri) as (fs, target):
            try:
                yield fs, target
            except OSError as error:
                raise StorageError(
                    f"{uri} could not be written: {error.strerror or error}.", hint=_UNCHANGED
                ) from error

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


def _replace_file(path: Path, content: bytes | Path) -> None:
    """Put bytes, or a copy of a file, in place of a file, in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("wb") as handle, contextlib.ExitStack() as opened:
            if isinstance(content, bytes):
                handle.write(content)
            else:
                shutil.copyfileobj(opened.enter_context(content.open("rb")), handle)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)

"""Where the rows of a Feast file source lie, which of its files can matter, and what columns they have.

Local files are read by DuckDB where they lie. Files on an object store (`s3://…`) are read once by fsspec and Arrow,
the columns and times that count alone: DuckDB would download an extension for them while the night runs, which ends at
the first closed network.

One rule: a file is left out only if none of its rows could be in any answer.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from mlops.errors import FeatureError, NoDataError, StorageError, did_you_mean
from mlops.features.asof.clock import Span, is_time
from mlops.features.asof.session import literal, quoted

_DATE = re.compile(r"/date=(\d{4}-\d{2}-\d{2})/")
_ONE_DAY = timedelta(days=1)
_HALF_WRITTEN = "It is half written or not Parquet: run again the step that wrote it, or take it out of the folder."
_PLACE = ("file_index", "file_row_number")  # what DuckDB calls a row's place; a column of that name hides it
_FILE_BITS = 40
_ROW_IN_FILES = f"(s.file_index::bigint << {_FILE_BITS} | s.file_row_number::bigint)"
_ROW_OF_COPY = "row of the copy"
_Stamp = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of a source, as a query sees them."""

    name: str  # of the source, for messages
    relation: str  # what stands after FROM
    columns: dict[str, str]  # name -> DuckDB type
    stamp: _Stamp  # what the files looked like when they were listed; empty for rows of an object store
    row: str | None  # SQL that numbers the rows of the relation; None: they have to be copied first

    def places(self, rows: npt.NDArray[np.int64]) -> tuple[dict[str, pa.Array], str]:
        """Where rows lie: columns of a table, and the condition that joins that table, called `f`, to the relation.

        File and row are compared one by one: so DuckDB skips the files and pages that hold none of them.
        """
        if self.row != _ROW_IN_FILES:
            return {"row": pa.array(rows)}, f"{self.row} = f.row"
        there = {
            "file": pa.array((rows >> _FILE_BITS).astype(np.uint64)),
            "row": pa.array(rows & (1 << _FILE_BITS) - 1),
        }
        return there, "s.file_index = f.file and s.file_row_number = f.row"

    def kind(self, column: str, role: str) -> str:
        """Type of a column.

        Args:
            column: its name in the source.
            role: what it is needed for, as a message says it.

        Raises:
            FeatureError: there is no such column.
        """
        if column not in self.columns:
            raise FeatureError(
                f"Source {self.name!r} has no column {column!r}, which is {role}.",
                hint=f"{did_you_mean(column, self.columns)} It has {', '.join(self.columns)}.",
            )
        return self.columns[column]

    def time(self, column: str, role: str) -> str:
        """Type of a column that must hold times.

        Raises:
            FeatureError: there is no such column, or it holds no times.
        """
        kind = self.kind(column, role)
        if not is_time(kind):
            raise FeatureError(
                f"Column {column!r} of source {self.name!r} is {role} and holds {kind}, expected timestamps.",
                hint="Write it as timestamps in UTC; text with zones in it means something else on every reader.",
            )
        return kind

    def check_unchanged(self) -> None:
        """Refuse an answer put together from two states of the files.

        Raises:
            ChangedError: a file was replaced or removed since it was listed.
        """
        if self.stamp and _stamped([path for path, *_ in self.stamp]) != self.stamp:
            raise ChangedError(
                f"Files of source {self.name!r} were replaced while they were read.", hint="Run the query again."
            )


class ChangedError(StorageError):
    """Files changed under a query."""


def files_of(source: Any, repo_path: Path | str | None) -> list[str]:
    """The Parquet files of a source, sorted; hidden and half-published ones are none.

    Args:
        source: a Feast `FileSource`: a file, a folder with files below it, or a pattern; local or on an object store.
        repo_path: the folder that relative paths start from.

    Raises:
        FeatureError: the source is of another kind, or of another format than Parquet.
        NoDataError: there is no file.
    """
    from feast import FileSource
    from feast.data_format import ParquetFormat

    if not isinstance(source, FileSource):
        raise FeatureError(
            f"{type(source).__name__} {source.name!r} is not read here, expected a FileSource.",
            hint="Use the offline store made for it, or export the rows to Parquet.",
        )
    if source.file_format is not None and not isinstance(source.file_format, ParquetFormat):
        raise FeatureError(
            f"Source {source.name!r} is {type(source.file_format).__name__}, expected Parquet.",
            hint="Write the rows as Parquet, or use Feast's own duckdb store for Delta tables.",
        )
    path = source.path
    if _is_remote(path):
        found = _remote_files(source)
    else:
        found = _local_files(str(Path(repo_path or ".") / path.removeprefix("file://")))
    if not found:
        raise NoDataError(
            f"Source {source.name!r} holds no rows yet: no Parquet file at {path}.",
            hint="Run the step that writes it, or correct the path.",
        )
    return found


def schema_of(source: Any, repo_path: Path | str | None) -> pa.Schema:
    """Columns and types of a source's last file.

    Raises:
        NoDataError: there is no file.
        StorageError: it cannot be read.
    """
    last = files_of(source, repo_path)[-1]
    try:
        if not _is_remote(source.path):
            return pq.read_schema(last).remove_metadata()
        fs, _ = _file_system(source)
        with fs.open(last, "rb") as handle:
            return pq.read_schema(handle).remove_metadata()
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(source, error) from error


def within(files: Sequence[str], span: Span, *, known: bool) -> list[str]:
    """The files in which rows of a span of event times can lie.

    A folder `date=2026-03-01` holds what happened, or what became known, on that day (days of any time zone, hence one
    to spare on either side). As nothing is known before it happens, no earlier day can hold a reading; a later day can
    hold one that was late, but none that was known by then.

    Args:
        files: of one source, not empty.
        span: event times wanted.
        known: whether rows that became known after the span are wanted by nobody.

    Returns:
        at least one file, for the names and types of columns.
    """
    first = span.first.date() - _ONE_DAY if span.first else date.min
    last = span.last.date() + _ONE_DAY if span.last and known else date.max

    def counts(path: str) -> bool:
        found = _DATE.search(path)
        return found is None or first <= date.fromisoformat(found.group(1)) <= last

    return [path for path in files if counts(path)] or [files[-1]]


def opened(connection: Any, source: Any, files: Sequence[str]) -> Table:
    """A source's files as a table; columns that only some files have are null in the others.

    Raises:
        StorageError: a file cannot be read.
    """
    if _is_remote(source.path):
        return _opened_remotely(connection, source, files)
    relation = f"read_parquet([{', '.join(map(literal, files))}], union_by_name = true, hive_partitioning = false)"
    try:
        stamp = _stamped(files)
        shape = connection.sql(f"select * from {relation} limit 0")
        columns = dict(zip(shape.columns, map(str, shape.types), strict=True))
    except (duckdb.Error, OSError) as error:
        raise _unreadable(source, error) from error
    hidden = {name.lower() for name in columns} & set(_PLACE)
    row = None if hidden else _ROW_IN_FILES
    return Table(source.name, relation, columns, stamp, row)


def copied(connection: Any, table: Table, columns: Sequence[str], where: str) -> Table:
    """Rows that can be told apart and read again: those of an object store are copied once, these columns alone."""
    if table.row:
        return table
    name = quoted(f"copy of {table.relation}")
    wanted = ", ".join(quoted(column) for column in dict.fromkeys(columns))
    try:
        connection.execute(
            f"create or replace temp table {name} as select {wanted}, row_number() over () as {quoted(_ROW_OF_COPY)} "
            f"from {table.relation} s {where}"
        )
    except duckdb.OutOfMemoryException:
        raise
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        raise StorageError(f"Source {table.name!r} cannot be read: {error}.", hint=_HALF_WRITTEN) from error
    kinds = {column: table.columns[column] for column in columns}
    return Table(table.name, name, kinds, table.stamp, f"s.{quoted(_ROW_OF_COPY)}")


def _is_remote(path: str) -> bool:
    return "://" in path and not path.startswith("file://")


def _local_files(path: str) -> list[str]:
    if os.path.isdir(path):
        found = glob.glob(f"{glob.escape(path)}/**/*.parquet", recursive=True)
    elif os.path.exists(path):
        return [path]
    else:
        found = glob.glob(path, recursive=True)
    top = path if os.path.isdir(path) else os.path.dirname(re.split(r"[*?\[]", path)[0])
    return sorted(each for each in found if _published(os.path.relpath(each, top)))


def _remote_files(source: Any) -> list[str]:
    fs, path = _file_system(source)
    try:
        if glob.has_magic(path):
            return sorted(fs.glob(path))
        if fs.isfile(path):
            return [path]
        found = sorted(each for each in fs.find(path) if each.endswith(".parquet")) if fs.exists(path) else []
    except Exception as error:
        raise _unreachable(source, error) from error
    return [each for each in found if _published(each.removeprefix(path).lstrip("/"))]


def _published(path: str) -> bool:
    return not any(part.startswith((".", "_")) for part in Path(path).parts if part != "..")


def _opened_remotely(connection: Any, source: Any, files: Sequence[str]) -> Table:
    fs, _ = _file_system(source)
    try:
        formed = ds.dataset(list(files), filesystem=fs, format="parquet")
        schemas = [fragment.physical_schema for fragment in formed.get_fragments()]
        formed = formed.replace_schema(pa.unify_schemas(schemas, promote_options="permissive"))
    except pa.ArrowException as error:
        raise _unreadable(source, error) from error
    except Exception as error:
        raise _unreachable(source, error) from error
    name = f"remote {source.name}"
    connection.register(name, formed)
    shape = connection.sql(f"select * from {quoted(name)} limit 0")
    return Table(source.name, quoted(name), dict(zip(shape.columns, map(str, shape.types), strict=True)), (), None)


def _file_system(source: Any) -> tuple[Any, str]:
    import fsspec

    options: dict[str, Any] = {"use_listings_cache": False}  # what another process wrote a moment ago is seen
    if source.s3_endpoint_override:
        options["endpoint_url"] = source.s3_endpoint_override
    try:
        fs, path = fsspec.core.url_to_fs(source.path, **options)
    except Exception as error:
        raise _unreachable(source, error) from error
    return fs, str(path)


def _stamped(files: Sequence[str]) -> _Stamp:
    found = []
    for path in files:
        try:
            state = os.stat(path)
            found.append((path, state.st_size, state.st_mtime_ns, state.st_ino))
        except FileNotFoundError:
            found.append((path, -1, 0, 0))
    return tuple(found)


def _unreadable(source: Any, error: Exception) -> StorageError:
    reason = str(error).strip().splitlines()[0]
    return StorageError(f"Source {source.name!r} cannot be read: {reason}.", hint=_HALF_WRITTEN)


def _unreachable(source: Any, error: Exception) -> StorageError:
    return StorageError(
        f"Source {source.name!r} at {source.path} cannot be reached: {type(error).__name__}: {error}.",
        hint="Check the endpoint (AWS_ENDPOINT_URL), the credentials and the network.",
    )

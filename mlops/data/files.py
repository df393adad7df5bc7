"""Parquet and CSV files by URI: finding those of a delivery and reading them.

One rule: a file that is there is read whole or refused; only a file that is not there is "nothing".
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from mlops.errors import MissingDependencyError, MLOpsError, SourceError
from mlops.spec import SourceSpec

_DATE = re.compile(r"\{date(?::([^}]*))?\}")
_PASSWORD = re.compile(r"(?<=//)([^/@:]*):[^/@]+@")
_BUCKETS = {"s3", "s3a", "gs", "gcs", "abfs", "az"}  # stores in which an unknown bucket is not merely an absent file
_CSV_OPTIONS = frozenset(inspect.signature(pd.read_csv).parameters)


@dataclass(frozen=True)
class Files:
    """The files of a delivery on their file system."""

    fs: Any
    paths: tuple[str, ...]


def is_dated(uri: str) -> bool:
    """Whether the URI names the delivery's date, as `{date}` or with a format as `{date:%Y/%m/%d}`.

    >>> is_dated("in/{date}.csv"), is_dated("in/all.csv")
    (True, False)
    """
    return bool(_DATE.search(uri))


def dated(uri: str, day: date) -> str:
    """The URI of a date.

    >>> dated("in/{date:%Y%m}/{date}.csv", date(2026, 3, 5))
    'in/202603/2026-03-05.csv'
    """
    return _DATE.sub(lambda match: day.strftime(match.group(1) or "%Y-%m-%d"), uri)


def shown(uri: str) -> str:
    """The URI for messages: without a password.

    >>> shown("sftp://me:secret@host/in.csv")
    'sftp://me:***@host/in.csv'
    """
    return _PASSWORD.sub(r"\1:***@", uri)


def find(source: SourceSpec, uri: str) -> Files | None:
    """The files at `uri`: one file, those of a glob in order of name, or all of a folder with the kind's ending.

    Returns:
        None if there is none.

    Raises:
        SourceError: no access, an unknown bucket, or a kind of URI that is not known.
        MissingDependencyError: the client for this kind of URI is not installed.
    """
    options = {key: value for key, value in source.options.items() if not _reads_csv(source, key)}
    try:
        fs, path = fsspec.core.url_to_fs(uri, **options)
        fs.invalidate_cache()
        paths = _paths(fs, path, source.kind)
        if not paths and _BUCKETS & set(protocols(fs)):
            fs.info(path.split("/", 1)[0])
    except ImportError as error:
        raise MissingDependencyError(
            f"{shown(uri)} needs a client that is not installed: {error}.", hint="Install it beside this project."
        ) from error
    except Exception as error:  # clients of object stores raise errors of their own, such as botocore's
        raise SourceError(
            f"{shown(uri)} cannot be listed: {type(error).__name__}: {error}.",
            hint="Check the URI, the credentials and the endpoint (source.options go to the client).",
        ) from error
    return Files(fs, paths) if paths else None


def read(source: SourceSpec, files: Files, entity: str, rows: Callable[[pa.Schema], Any] | None = None) -> pd.DataFrame:
    """All rows of the files.

    Args:
        source: says the kind and the options.
        files: where they are.
        entity: column of the entity; in CSV it is read as text, so that `007` stays `007`.
        rows: for Parquet: from a file's schema, an Arrow filter that the reader may use to leave out rows; or None.

    Raises:
        SourceError: a file is not whole, not of its kind, or the files do not go together.
    """
    parts = [_read_one(source, files.fs, path, entity, rows) for path in files.paths]
    if source.kind == "csv":
        return pd.concat(parts, ignore_index=True) if len(parts) > 1 else parts[0]
    try:
        table = pa.concat_tables(parts, promote_options="permissive")
    except pa.ArrowException as error:
        raise _not_together(source, len(parts), error) from error
    return to_pandas(table)


def parquet_schema(source: SourceSpec, files: Files) -> pa.Schema:
    """The columns of Parquet files together, from their footers alone.

    Raises:
        SourceError: a file is not whole or no Parquet, or the files do not go together.
    """
    schemas = parquet_schemas(files)
    try:
        merged = pa.unify_schemas(schemas, promote_options="permissive")
    except pa.ArrowException as error:
        raise _not_together(source, len(schemas), error) from error
    kinds = [f.type.value_type if pa.types.is_dictionary(f.type) else f.type for f in merged]
    return pa.schema(list(zip(merged.names, kinds, strict=True)))


def parquet_schemas(files: Files) -> list[pa.Schema]:
    """The columns of each of some Parquet files, in their order.

    Raises:
        SourceError: a file is not whole or no Parquet.
    """
    return [_schema(files.fs, path) for path in files.paths]


def _schema(fs: Any, path: str) -> pa.Schema:
    try:
        with fs.open(path, "rb") as handle:
            schema = pq.read_schema(handle)
    except Exception as error:  # Arrow and clients of object stores have no common error
        raise _unreadable("PARQUET", path, error) from error
    _refuse_twins(schema, path)
    return schema


def _not_together(source: SourceSpec, count: int, error: Exception) -> SourceError:
    return SourceError(
        f"The {count} files of {shown(source.uri)} do not go together: {_line(error)}.",
        hint="Deliver each column in one type throughout.",
    )


def _unreadable(kind: str, path: str, error: Exception) -> SourceError:
    return SourceError(
        f"{shown(path)} cannot be read as {kind}: {type(error).__name__}: {_line(error)}.",
        hint="The file is not whole or not of this kind; have it delivered again.",
    )


def _paths(fs: Any, path: str, kind: str) -> tuple[str, ...]:
    if any(sign in path for sign in "*?["):
        found = [p for p, info in fs.glob(path, detail=True).items() if info["type"] != "directory"]
    else:
        try:
            info = fs.info(path)
        except FileNotFoundError:
            return ()
        if info["type"] != "directory":
            return (path,)
        endings = (".parquet", ".parq", ".pq") if kind == "parquet" else (".csv", ".csv.gz", ".csv.zst", ".tsv")
        found = [p for p in fs.find(path) if p.endswith(endings)]
    return tuple(sorted(p for p in found if p.rsplit("/", 1)[-1][0] not in "._"))


def protocols(fs: Any) -> tuple[str, ...]:
    """The kinds of URIs that a file system is for."""
    return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)


def _reads_csv(source: SourceSpec, option: str) -> bool:
    return source.kind == "csv" and option in _CSV_OPTIONS


def _read_one(
    source: SourceSpec, fs: Any, path: str, entity: str, rows: Callable[[pa.Schema], Any] | None
) -> pd.DataFrame | pa.Table:
    try:
        if source.kind == "csv":
            return _read_csv(source, fs, path, entity)
        with fs.open(path, "rb") as handle:
            schema = pq.read_schema(handle)
            _refuse_twins(schema, path)
            handle.seek(0)
            return pq.read_table(handle, filters=rows(schema) if rows else None)
    except MLOpsError:
        raise
    except Exception as error:  # pandas, Arrow and clients of object stores have no common error
        raise _unreadable(source.kind.upper(), path, error) from error


def _refuse_twins(schema: pa.Schema, path: str) -> None:
    if twice := sorted({name for name in schema.names if schema.names.count(name) > 1}):
        raise SourceError(f"{shown(path)} has more than one column {twice[0]!r}.", hint="Name each column once.")


def _read_csv(source: SourceSpec, fs: Any, path: str, entity: str) -> pd.DataFrame:
    options = {key: value for key, value in source.options.items() if _reads_csv(source, key)}
    types = options.pop("dtype", {})
    types = {entity: str} | types if isinstance(types, dict) else types
    with fs.open(path, "rb", compression=options.pop("compression", "infer")) as handle:
        try:
            frame: pd.DataFrame = pd.read_csv(handle, dtype=types, low_memory=False, **options)
        except pd.errors.EmptyDataError:
            return pd.DataFrame()
    if not isinstance(frame.index, pd.RangeIndex):
        raise SourceError(
            f"{shown(path)}: the rows have more fields than the header names ({len(frame.columns)}).",
            hint="Have it delivered again with one name per column.",
        )
    return frame


def to_pandas(table: pa.Table) -> pd.DataFrame:
    """Plain columns: no index from the file's metadata, no categories, decimals as floats."""
    arrays = [_plain(column) for column in table.columns]
    if not arrays:
        return pd.DataFrame(index=np.arange(table.num_rows))
    frame: pd.DataFrame = pa.table(arrays, names=table.column_names).to_pandas(date_as_object=False)
    return frame


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_dictionary(column.type):
        return column.cast(column.type.value_type)
    return column.cast(pa.float64()) if pa.types.is_decimal(column.type) else column


def _line(error: Exception) -> str:
    return " ".join(str(error).split())

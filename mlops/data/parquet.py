"""Parquet deliveries as DuckDB sees them: the view `delivery` over their files, on disk or in an object store.

Object stores are read through their fsspec client, piece by piece: DuckDB downloads no extension for them.

One rule: the rows are those that `read_delivery` would give, in its order; where that takes more than a cast (times as
text, or in a zone whose clocks change), the delivery is not for DuckDB.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import duckdb
import pyarrow as pa

from mlops.data import custom_sql, files
from mlops.data.duck_checks import quoted
from mlops.data.duck_table import DuckTable, connection
from mlops.data.rule import Terms
from mlops.errors import DataError, SourceError
from mlops.spec import SourceSpec

FIXED = ("UTC", "Etc/UTC", "GMT", "Etc/GMT")  # zones whose clocks never change and that are UTC


@dataclass(frozen=True)
class Parts:
    """The files of a delivery and what is in them."""

    files: files.Files
    schema: pa.Schema

    @property
    def state(self) -> tuple[tuple[str, ...], ...]:
        """What changes when a file is replaced: size, and time or tag, of each."""
        self.files.fs.invalidate_cache()
        facts = [self.files.fs.info(path) for path in self.files.paths]
        return tuple(tuple(str(fact.get(key)) for key in ("size", "mtime", "LastModified", "ETag")) for fact in facts)


def find(source: SourceSpec, terms: Terms) -> Parts | None:
    """The files of a delivery, if DuckDB can look at them as they are; None if there are none, or it cannot.

    Raises:
        SourceError: a file is not whole or no Parquet, or the files do not go together.
    """
    if source.kind != "parquet":
        return None
    dated = files.is_dated(source.uri)
    found = files.find(source, files.dated(source.uri, terms.day) if dated else source.uri)
    if found is None:
        return None
    schema = files.parquet_schema(source, found)
    known_at = terms.timestamps.arrival or terms.timestamps.event
    names = [name.lower() for name in schema.names]
    plain = 0 < len(names) == len(set(names))  # DuckDB does not tell A from a, and wants a column
    placed = all(_placed(schema.field(name).type, source) for name in terms.keys[1:] if name in schema.names)
    return Parts(found, schema) if plain and placed and (dated or known_at in schema.names) else None


@contextmanager
def opened(source: SourceSpec, parts: Parts, terms: Terms, *, memory_mb: int | None = None) -> Iterator[DuckTable]:
    """The rows of a delivery, for as long as the block lasts.

    Args:
        source: where it comes from.
        parts: its files.
        terms: what it is held against; of a growing table, only the rows that became known on its day are seen.
        memory_mb: that DuckDB may use before it spills.

    Raises:
        SourceError: a file cannot be read.
    """
    with connection(**({"memory_mb": memory_mb} if memory_mb else {})) as duck, told(source.uri):
        duck.execute(f"CREATE TEMP VIEW delivery AS {_query(duck, source, parts, terms)}")
        yield DuckTable(duck, parts.schema, terms)


@contextmanager
def told(uri: str) -> Iterator[None]:
    """What DuckDB says of files that it cannot read, as errors of the project.

    Raises:
        DataError: there is too little memory.
        SourceError: a file cannot be read.
    """
    try:
        yield
    except (duckdb.BinderException, duckdb.CatalogException, duckdb.ParserException):
        raise  # the query is ours, and wrong
    except duckdb.OutOfMemoryException as error:
        raise DataError(
            f"{files.shown(uri)} needs more memory than is allowed: {' '.join(str(error).split())}.",
            hint="This says nothing about the data. Free memory and disk space, then run the step again.",
        ) from error
    except duckdb.Error as error:  # a damaged page is an error without a class of its own
        raise SourceError(
            f"{files.shown(uri)} cannot be read: {' '.join(str(error).split())}.",
            hint="A file is not whole, or does not hold what its footer says; have it delivered again.",
        ) from error


def readable(duck: Any, found: files.Files) -> list[str]:
    """Files as DuckDB can name them; those of an object store are read through their own client."""
    if "file" in files.protocols(found.fs):
        return list(found.paths)
    duck.register_filesystem(found.fs)
    return [found.fs.unstrip_protocol(path) for path in found.paths]


def listed(uris: Sequence[str]) -> str:
    """SQL that reads Parquet files together."""
    names = ", ".join("'" + uri.replace("'", "''") + "'" for uri in uris)
    return f"read_parquet([{names}], union_by_name = true, hive_partitioning = false)"


def _query(duck: Any, source: SourceSpec, parts: Parts, terms: Terms) -> str:
    uris = readable(duck, parts.files)
    spill = duck.execute("SELECT current_setting('temp_directory')").fetchall()[0][0]
    custom_sql.lock(duck, uris, spill)
    columns = ", ".join(_column(name, terms) for name in parts.schema.names)
    query = f"SELECT {columns} FROM {listed(uris)}"
    if files.is_dated(source.uri):
        return query
    known = quoted(terms.timestamps.arrival or terms.timestamps.event)
    end = terms.start + timedelta(days=1)
    within = f"{known} >= TIMESTAMPTZ '{terms.start.isoformat()}' AND {known} < TIMESTAMPTZ '{end.isoformat()}'"
    return f"SELECT * FROM ({query}) WHERE {within}"


def _column(name: str, terms: Terms) -> str:
    if name not in terms.keys[1:]:
        return quoted(name)
    return f"CAST({quoted(name)} AS TIMESTAMPTZ) AS {quoted(name)}"  # the session's zone is UTC


def _placed(kind: pa.DataType, source: SourceSpec) -> bool:
    """Whether a column of times holds instants, or times that are UTC."""
    return bool(pa.types.is_timestamp(kind)) and (kind.tz is not None or source.timezone in FIXED)

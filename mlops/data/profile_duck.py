"""A first look at Parquet where it lies: DuckDB scans the files, and what does not fit into memory spills to disk.

One rule: what takes more than a cast (times as text, dates, a zone whose clocks change) is not for DuckDB.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from typing import Any

import pyarrow as pa

from mlops.data import contracts, files, looked_at, parquet
from mlops.data.duck_checks import quoted
from mlops.data.duck_table import connection
from mlops.data.profile_table import CATEGORIES, ColumnSeen, DaySeen, Keys, SourceKind
from mlops.data.rule import Terms
from mlops.spec import ContractSpec, TimestampsSpec

_MEMORY_MB = 1024  # of each of the two connections: the look itself, and the check of a day
_ENOUGH = 1_000_000  # rows that rank columns and tell the time between readings
_DAY = "day "  # of a row's file; with a space, so that no column of the data is called so
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@contextmanager
def opened(
    uri: str, *, timezone: str = "", options: dict[str, Any] | None = None, memory_mb: int = _MEMORY_MB
) -> Iterator[DuckProfile | None]:
    """The rows of Parquet files, for as long as the block lasts; None if they are not for DuckDB.

    Args:
        uri: path, glob, folder or URI, with or without {date}.
        timezone: zone of times that carry none; default: UTC.
        options: options for fsspec.
        memory_mb: that DuckDB may use before it spills.

    Raises:
        SourceError: nothing is there, or it cannot be read.
        DataError: there is too little memory.
    """
    shelf = looked_at.shelf(uri, "parquet", options)
    schema = files.parquet_schema(shelf.source, shelf.files)
    naive = [field.name for field in schema if pa.types.is_timestamp(field.type) and field.type.tz is None]
    if not _plain(schema) or (naive and timezone not in ("", *parquet.FIXED)):
        yield None
        return
    with connection(memory_mb=memory_mb) as duck, parquet.told(uri):
        duck.execute(f"CREATE TEMP VIEW looked AS {_query(duck, shelf, schema)}")
        if any(_is_time(duck, field) for field in schema):
            yield None
            return
        yield DuckProfile(uri, shelf, schema, (timezone or "UTC") if naive else None, duck)


@dataclass(frozen=True)
class DuckProfile:
    """Rows in Parquet files, as the view `looked` of a connection."""

    uri: str
    shelf: looked_at.Shelf
    schema: pa.Schema
    timezone: str | None
    duck: Any
    kind: SourceKind = "parquet"

    @property
    def template(self) -> str:
        """See `ProfileTable`."""
        return self.shelf.template

    @property
    def rows(self) -> int:
        """See `ProfileTable`."""
        return self._present[""]

    @property
    def names(self) -> Sequence[str]:
        """See `ProfileTable`."""
        found: Sequence[str] = self.schema.names
        return found

    @property
    def times(self) -> list[str]:
        """See `ProfileTable`."""
        return [f.name for f in self.schema if pa.types.is_timestamp(f.type) and self._present[f.name] == self.rows]

    @property
    def keyable(self) -> list[str]:
        """See `ProfileTable`."""
        alike = [f.name for f in self.schema if _is_text(f.type) or pa.types.is_integer(f.type)]
        return [name for name in alike if self._present[name] == self.rows]

    def never_before(self, name: str, event: str) -> bool:
        """See `ProfileTable`."""
        return not self._one(f"EXISTS (FROM looked WHERE {quoted(name)} < {quoted(event)})")

    def twice(self, name: str, event: str) -> bool:
        """See `ProfileTable`."""
        return self._twice(name, event, "true")

    def seems_twice(self, name: str, event: str) -> bool:
        """See `ProfileTable`: all rows of some moments, so that two that share one are both seen."""
        return self._twice(name, event, f"hash({quoted(event)}) % {self.rows // _ENOUGH + 1} = 0")

    def distinct(self, name: str) -> int:
        """See `ProfileTable`."""
        return int(self._one(f"(SELECT count(*) FROM (SELECT DISTINCT {quoted(name)} FROM looked))"))

    def days(self, keys: Keys) -> list[DaySeen]:
        """See `ProfileTable`."""
        event = f"epoch_us({quoted(keys.event)})"
        late = "0"
        if keys.arrival:
            late = (
                f"max(greatest(epoch_us({quoted(keys.arrival)}), epoch_us({self._day(keys)}::TIMESTAMPTZ)) - {event})"
            )
        found = self._by_day(keys, [f"max({event})", late])
        hour = 3_600_000_000
        return [DaySeen(day, n, _EPOCH + timedelta(microseconds=t), us / hour) for day, n, t, us in found]

    def columns(self, keys: Keys) -> list[ColumnSeen]:
        """See `ProfileTable`."""
        fields = [field for field in self.schema if field.name not in keys.columns]
        counted = self._by_day(keys, [f"count({quoted(field.name)})" for field in fields])
        shares = [max((n - counts[i]) / n for _, n, *counts in counted) for i in range(len(fields))]
        return [self._column(field, share) for field, share in zip(fields, shares, strict=True)]

    def interval_minutes(self, keys: Keys) -> float | None:
        """See `ProfileTable`; of so many entities that together they have a million readings."""
        entity, event = quoted(keys.entity), f"epoch_us({quoted(keys.event)})"
        counted = f"SELECT {entity} AS e, count(*) AS n FROM looked GROUP BY 1"
        summed = f"SELECT e, sum(n) OVER (ORDER BY hash(e), e) - n AS others FROM ({counted})"
        some = f"SELECT e FROM ({summed}) WHERE others < {_ENOUGH}"
        gaps = f"SELECT {event} - lag({event}) OVER (PARTITION BY {entity} ORDER BY {event}) AS gap FROM looked"
        found = self._one(f"(SELECT median((gap / 1e6) / 60) FROM ({gaps} WHERE {entity} IN ({some})))")
        return None if found is None else float(found)

    def broken(self, contract: ContractSpec, keys: Keys) -> Mapping[str, tuple[str, ...]]:
        """See `ProfileTable`; a day at a time, where it lies."""
        timestamps = TimestampsSpec(event=keys.event, arrival=keys.arrival or None)
        zone = self.timezone or "UTC"
        uri = self.template if self.shelf.by_date else self.shelf.source.uri
        source = self.shelf.source.model_copy(update={"uri": uri, "timezone": zone})
        counts: list[int] = []
        found = {}
        for seen in self.days(keys):
            terms = Terms(contract, keys.entity, timestamps, seen.day)
            here = _of_day(self.shelf, seen.day) if self.shelf.by_date else self.shelf.files
            parts = parquet.Parts(here, files.parquet_schema(source, here))
            with parquet.opened(source, parts, terms, memory_mb=_MEMORY_MB) as table:
                result = contracts.check_table(table, terms, counts[-contract.volume_history :])
            counts.append(seen.rows)
            if not result.passed:
                found[seen.day.isoformat()] = result.reasons
        return found

    @cached_property
    def _present(self) -> dict[str, int]:
        """Values that are there, by column; by "" the rows."""
        counts = ", ".join(["count(*)", *(f"count({quoted(name)})" for name in self.schema.names)])
        ((*found,),) = self.duck.execute(f"SELECT {counts} FROM looked").fetchall()
        return dict(zip(["", *self.schema.names], found, strict=True))

    def _day(self, keys: Keys) -> str:
        return quoted(_DAY) if self.shelf.by_date else f"CAST({quoted(keys.known)} AS DATE)"

    def _by_day(self, keys: Keys, wanted: Sequence[str]) -> list[tuple[Any, ...]]:
        listed = ", ".join([self._day(keys), "count(*)", *wanted])
        found: list[tuple[Any, ...]] = self.duck.execute(
            f"SELECT {listed} FROM looked GROUP BY 1 ORDER BY 1"
        ).fetchall()
        return found

    def _column(self, field: pa.Field, null_share: float) -> ColumnSeen:
        name, present, column = field.name, self._present[field.name], quoted(field.name)
        if pa.types.is_boolean(field.type):
            return ColumnSeen(name, "bool", str(field.type), present, null_share)
        if _is_number(field.type):
            value = f"CAST({column} AS DOUBLE)"
            wanted = f"min(x), max(x), coalesce(bool_and(x = round(x) AND abs(x) < {2**53}), true), count(x)"
            query = f"SELECT {wanted} FROM (SELECT CASE WHEN isfinite({value}) THEN {value} END AS x FROM looked)"
            ((low, high, whole, finite),) = self.duck.execute(query).fetchall()
            ends = (low, high) if finite else None
            infinite = finite < present
            return ColumnSeen(
                name, "number", str(field.type), present, null_share, whole and not infinite, ends, infinite
            )
        if _is_text(field.type):
            query = f"SELECT {column} FROM looked WHERE {column} IS NOT NULL GROUP BY 1 LIMIT {CATEGORIES + 1}"
            values = sorted(row[0] for row in self.duck.execute(query).fetchall())
            few = tuple(values) if len(values) <= CATEGORIES else None
            return ColumnSeen(name, "string", str(field.type), present, null_share, categories=few)
        return ColumnSeen(name, "", str(field.type), present, null_share)

    def _twice(self, name: str, event: str, where: str) -> bool:
        pair = f"{quoted(name)}, {quoted(event)}"
        return bool(self._one(f"EXISTS (FROM looked SELECT {pair} WHERE {where} GROUP BY {pair} HAVING count(*) > 1)"))

    def _one(self, sql: str) -> Any:
        return self.duck.execute(f"SELECT {sql}").fetchall()[0][0]


def _plain(schema: pa.Schema) -> bool:
    """Whether DuckDB can tell the columns apart, and none holds days or hours, which pandas reads as it likes."""
    names = [name.lower() for name in schema.names]
    days = any(pa.types.is_date(field.type) or pa.types.is_time(field.type) for field in schema)
    return 0 < len(names) == len(set(names)) and _DAY not in names and not days


def _is_time(duck: Any, field: pa.Field) -> bool:
    """Whether a column of text holds times."""
    if not _is_text(field.type):
        return False
    column = quoted(field.name)
    query = f"SELECT {column} FROM looked WHERE {column} IS NOT NULL LIMIT {looked_at.LOOKED_AT}"
    found = duck.execute(query).fetchall()
    return bool(found) and all(looked_at.is_time(row[0]) for row in found)


def _query(duck: Any, shelf: looked_at.Shelf, schema: pa.Schema) -> str:
    if not shelf.by_date:
        return _selected(parquet.readable(duck, shelf.files), schema, schema, "")
    parts = []
    for day in sorted({shelf.date_of(path) for path in shelf.files.paths}):
        here = _of_day(shelf, day)
        own = files.parquet_schema(shelf.source, here)
        parts.append(_selected(parquet.readable(duck, here), own, schema, f", DATE '{day}' AS {quoted(_DAY)}"))
    return " UNION ALL BY NAME ".join(parts)


def _selected(uris: Sequence[str], own: pa.Schema, schema: pa.Schema, more: str) -> str:
    columns = ", ".join(_value(schema.field(name)) for name in own.names)
    return f"SELECT {columns}{more} FROM {parquet.listed(uris)}"


def _value(field: pa.Field) -> str:
    column = quoted(field.name)
    if pa.types.is_timestamp(field.type):
        return f"CAST({column} AS TIMESTAMPTZ) AS {column}"  # the session's zone is UTC
    if pa.types.is_floating(field.type):
        return f"CASE WHEN NOT isnan({column}) THEN {column} END AS {column}"
    return f"CAST({column} AS DOUBLE) AS {column}" if pa.types.is_decimal(field.type) else column


def _of_day(shelf: looked_at.Shelf, day: date) -> files.Files:
    return files.Files(shelf.files.fs, tuple(path for path in shelf.files.paths if shelf.date_of(path) == day))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))

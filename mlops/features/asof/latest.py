"""The latest row of each entity, and all rows, between two times: what the online store and saved data sets are fed.

One rule: the same rows win here as in the point-in-time join, whatever the order of the files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mlops.features.asof.clock import Span, Unit, exactly
from mlops.features.asof.session import column, quoted
from mlops.features.asof.sources import Table, copied


@dataclass(frozen=True, slots=True)
class Columns:
    """Columns of a source that are wanted, under the source's own names."""

    keys: Sequence[str]
    features: Sequence[str]
    event: str
    created: str | None

    @property
    def names(self) -> list[str]:
        """All of them, each once, in the order of the answer."""
        return list(dict.fromkeys([*self.keys, *self.features, self.event, *filter(None, [self.created])]))


def every(connection: Any, table: Table, columns: Columns, span: Span) -> Any:
    """All rows that happened in a span.

    Args:
        connection: of a `session`.
        table: the source.
        columns: those wanted.
        span: event times, both ends included.

    Returns:
        a DuckDB relation; times are UTC in microseconds.

    Raises:
        FeatureError: a column is missing or of the wrong type.
    """
    where = _where(table, columns, span, [])
    return connection.sql(f"select {_shown(table, columns)} from {table.relation} s {where}")


def latest(connection: Any, table: Table, columns: Columns, span: Span) -> Any:
    """The latest row of each entity in a span; rows that lack a part of the key are nobody's.

    Args:
        connection: of a `session`.
        table: the source.
        columns: those wanted.
        span: event times, both ends included.

    Returns:
        as `every`.

    Raises:
        FeatureError: a column is missing or of the wrong type.
    """
    where = _where(table, columns, span, columns.keys)
    table = copied(connection, table, columns.names, where)
    event = Unit.of(table.columns[columns.event]).instant(columns.event)
    keys = [column(key) for key in columns.keys]
    names = [f"key{i}" for i in range(len(keys))]
    named = "".join(f"{key} as {name}, " for key, name in zip(keys, names, strict=True))
    group = f"group by {', '.join(keys)}" if keys else ""
    connection.execute(
        f"create or replace temp table newest as select {named}max({event}) as event "
        f"from {table.relation} s {where} {group}"
    )
    on = " and ".join([f"{event} = n.event", *(f"{k} = n.{n}" for k, n in zip(keys, names, strict=True))])
    connection.execute(
        f"create or replace temp table latest as select {_shown(table, columns)} "
        f"from {table.relation} s join newest n on {on} {where}"
    )
    ((rows, entities),) = connection.sql(
        "select (select count(*) from latest), (select count(*) from newest)"
    ).fetchall()
    if rows == entities:
        return connection.sql("select * from latest")
    best = [*filter(None, [columns.created]), *sorted(columns.features)]
    order = ", ".join(f"{column(name)} desc nulls last" for name in best) or "1"
    partition = f"partition by {', '.join(keys)}" if keys else ""
    return connection.sql(f"select * from latest s qualify row_number() over ({partition} order by {order}) = 1")


def _where(table: Table, columns: Columns, span: Span, present: Sequence[str]) -> str:
    kind = table.time(columns.event, "the event time")
    if columns.created:
        table.time(columns.created, "the time of arrival")
    for name in [*columns.keys, *columns.features]:
        table.kind(name, "asked for")
    there = [f"{column(name)} is not null" for name in [columns.event, *present]]
    return f"where {' and '.join([*exactly(columns.event, kind, span), *there])}"


def _shown(table: Table, columns: Columns) -> str:
    times = {columns.event, columns.created}
    return ", ".join(
        f"{_utc(name, table.columns[name])} as {quoted(name)}" if name in times else column(name)
        for name in columns.names
    )


def _utc(name: str, kind: str) -> str:
    """SQL for a time that every reader understands: nanoseconds are cut down to microseconds."""
    unit = Unit.of(kind)
    return f"make_timestamptz({unit.instant(name)} // {unit.per_second // 1_000_000})"

"""For each row the latest reading that had happened and was known at the row's time.

"Latest by event time, among those that had arrived" takes two inequalities; an as-of join has one. But no reading is
seen before `max(event, arrival)`, and the running maximum of event times in that order says which one leads from then
on. So `leaders` finds it in one pass over keys and times, and the reading, with all its columns, is then fetched by its
place in the files. What is held meanwhile are some numbers per row asked for, however many readings there are.

One rule: of several readings the latest event wins, then the latest arrival, then the greater features in the order of
their names. Nothing depends on how rows lie in files, or on threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from mlops.errors import FeatureError
from mlops.features.asof.asking import Asked
from mlops.features.asof.clock import Span, Unit, roughly
from mlops.features.asof.leaders import Leaders, leaders
from mlops.features.asof.question import Question
from mlops.features.asof.session import column
from mlops.features.asof.sources import ChangedError, Table, copied

_ROWS_PER_BATCH = 250_000

_NUMBERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")


Seen = dict[tuple[Any, ...], tuple[pa.Table, Leaders]]  # what views of one source share, see `answer`


def answer(connection: Any, asked: Asked, question: Question, table: Table, *, known: bool, seen: Seen) -> pa.Table:
    """The features of one view, row by row of those asked for; null where there is none.

    Args:
        connection: of a `session`.
        asked: the rows, shape (n, …).
        question: what is asked of the view.
        table: the rows of the view's source.
        known: whether a reading counts only from its arrival on.
        seen: what was found for other views and the same rows; a view of the same source, keys and times finds its
            leaders there.

    Returns:
        shape (n, features), in the order of the rows.

    Raises:
        FeatureError: a column is missing or of the wrong type.
        StorageError: the source cannot be read, or changed meanwhile.
    """
    join = _Join(connection, asked, question, table, known=known, seen=seen)
    found = join.leaders()
    parts = [join.untied(found), *([join.tied(found)] if found.tied.any() else [])]
    times = np.bincount(np.concatenate([part["number"].to_numpy() for part in parts]), minlength=len(asked))
    if not np.array_equal(np.flatnonzero(times), np.sort(join.numbers(found))) or times.max(initial=0) > 1:
        raise ChangedError(f"Source {table.name!r} was replaced while it was read.", hint="Run the query again.")
    return _in_place(parts, len(asked), list(question.features))


class _Join:
    """The state of one view's join: temporary tables of the connection, and the SQL that names their columns."""

    def __init__(
        self, connection: Any, asked: Asked, question: Question, table: Table, *, known: bool, seen: Seen
    ) -> None:
        kinds = _checked(question, table)
        span = asked.span
        first = span.first - question.ttl if span.first and question.ttl else None
        conditions = roughly(question.event, kinds[0], Span(first, span.last))
        self._where = f"where {' and '.join(conditions)}" if conditions else ""
        self._connection = connection
        self._question = question
        wanted = [name for name in question.columns if name in table.columns]
        self._table = copied(connection, table, wanted, self._where)
        unit = Unit.of(*kinds)
        self._ttl = unit.duration(question.ttl)
        self._event = unit.instant(question.event)
        self._created = unit.instant(question.created) if question.created else "null::bigint"
        self._known = known and question.created is not None
        shown = [f"{column(name)} as f{i}" for i, name in enumerate(question.features.values())]
        self._shown = ", ".join(["f.number", *shown])
        self._names = [f"key{i}" for i in range(len(question.keys))]
        pairs = list(zip(map(column, question.keys), self._names, strict=True))
        self._join_keys = "join keys k on " + " and ".join(f"{key} = k.{name}" for key, name in pairs) if pairs else ""
        self._same_keys = "".join(f" and {key} = f.{name}" for key, name in pairs)
        self._register(asked, unit)
        times = (question.event, question.created if self._known else None)
        what = (self._table.relation, self._where, tuple(question.keys.items()), *times, unit)
        if self._table is not table or what not in seen:  # a copy numbers its rows anew
            seen[what] = self._led()
        self._asks, self._leaders = seen[what]

    def leaders(self) -> Leaders:
        """The leading reading of each row that has one, and it is not too old."""
        found = self._leaders
        if not self._ttl:
            return found
        alive = found.events >= self._asks["moment"].to_numpy()[found.asks] - self._ttl
        return Leaders(found.asks[alive], found.rows[alive], found.events[alive], found.tied[alive])

    def _led(self) -> tuple[pa.Table, Leaders]:
        """The rows that can have an answer (number, code, moment), and the readings that lead, however old."""
        asks = self._numbered()
        ((threads,),) = self._connection.sql("select current_setting('threads')").fetchall()
        visible = f"greatest({self._event}, {self._created})" if self._known else self._event
        there = f"{column(self._question.event)} is not null" + (
            f" and {column(str(self._question.created))} is not null" if self._known else ""
        )
        readings = self._connection.sql(
            f"select {'k.code' if self._names else '0::bigint'}, {self._event}, {visible}, {self._table.row} "
            f"from {self._table.relation} s {self._join_keys} {self._where or 'where true'} and {there}"
        ).to_arrow_reader(_ROWS_PER_BATCH)
        return asks, leaders(asks["code"].to_numpy(), asks["moment"].to_numpy(), readings, threads)

    def numbers(self, found: Leaders) -> Any:
        """The rows, by their place among all that were given, shape (n_found,)."""
        return self._asks["number"].to_numpy()[found.asks]

    def untied(self, found: Leaders) -> pa.Table:
        """Readings by row, of the rows that have one leader: fetched by its place."""
        only = ~found.tied
        places, on = self._table.places(found.rows[only])
        self._connection.register("found", pa.table({"number": self.numbers(found)[only], **places}))
        body = f"from {self._table.relation} s join found f on {on}"
        return self._connection.sql(f"select {self._shown} {body} {self._where}").to_arrow_table()

    def tied(self, found: Leaders) -> pa.Table:
        """Readings by row, of the rows for which several may lead: the best of them."""
        numbers = self.numbers(found)[found.tied]
        self._connection.register("tied", pa.table({"number": numbers, "event": found.events[found.tied]}))
        arrived = f"and {self._created} <= f.moment" if self._known else ""
        order = [self._created, *(column(v) for v in self._question.values if v in self._table.columns)]
        best = ", ".join(f"{each} desc nulls last" for each in order)
        return self._connection.sql(
            f"select {self._shown} from {self._table.relation} s "
            f"join (select * from tied join asked using (number)) f on f.event = {self._event} {arrived} "
            f"{self._same_keys} {self._where} qualify row_number() over (partition by f.number order by {best}) = 1"
        ).to_arrow_table()

    def _register(self, asked: Asked, unit: Unit) -> None:
        """The rows as a table: number, moment, keys."""
        columns = {"number": pa.array(np.arange(len(asked))), "moment": asked.moments(unit)}
        for name, (source, given) in zip(self._names, self._question.keys.items(), strict=True):
            columns[name] = asked.key(given)
            _check_alike(self._question.view, given, columns[name].type, self._table, source)
        self._connection.register("asked", pa.table(columns))

    def _numbered(self) -> pa.Table:
        """The rows that can have an answer: number, code (a number for their key), moment."""
        there = " and ".join(f"{name} is not null" for name in ["moment", *self._names])
        if not self._names:
            return self._connection.sql(
                f"select number, 0::bigint as code, moment from asked where {there}"
            ).to_arrow_table()
        keys = ", ".join(self._names)
        self._connection.execute(
            f"create or replace temp table keys as select row_number() over () as code, {keys} "
            f"from (select distinct {keys} from asked where {there})"
        )
        query = f"select number, code, moment from asked join keys using ({keys}) where {there}"
        return self._connection.sql(query).to_arrow_table()


def _checked(question: Question, table: Table) -> list[str]:
    """Types of the columns of time; the other columns are only looked for."""
    kinds = [table.time(question.event, f"the event time of view {question.view!r}")]
    if question.created:
        kinds.append(table.time(question.created, f"the time of arrival in view {question.view!r}"))
    for key in question.keys:
        table.kind(key, f"a join key of view {question.view!r}")
    for name in question.features.values():
        table.kind(name, f"a feature of view {question.view!r}")
    return kinds


def _check_alike(view: str, given: str, kind: pa.DataType, table: Table, source: str) -> None:
    """Refuse to compare text with numbers."""
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    stored = table.columns[source]
    if (text and stored in _NUMBERS) or (number and stored == "VARCHAR"):
        raise FeatureError(
            f"Join key {given!r} of view {view!r} is {kind} in the rows to join, {stored} in source {table.name!r}.",
            hint=f"Turn it into {'text' if stored == 'VARCHAR' else 'numbers'} before the join.",
        )


def _in_place(parts: list[pa.Table], rows: int, names: list[str]) -> pa.Table:
    """Readings in the order of the rows they belong to."""
    found = pa.concat_tables(parts)
    place = np.full(rows, -1, dtype=np.int64)
    place[found["number"].to_numpy()] = np.arange(found.num_rows)
    where = pa.array(place, mask=place < 0)
    columns = []
    for i in range(len(names)):
        columns.append(found[f"f{i}"].combine_chunks().take(where))
        found = found.drop_columns(f"f{i}")
    return pa.Table.from_arrays(columns, names=names)

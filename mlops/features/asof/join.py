"""For each row the latest reading that had happened and was known at the row's time, by DuckDB's `ASOF JOIN`.

"Latest by event time, among those that had arrived" takes two inequalities; an as-of join has one. Two ways around it:

* **Straight**: join on the event time alone, then look whether the winner had arrived. If so it is the answer, since
  nothing that happened later can beat it. What arrives a steady while after it happened is asked for that much earlier:
  no reading is known sooner than the shortest delay after its event.
* **Late**: for the rows whose winner was still under way. Each reading is visible from `max(event, arrival)` on. In the
  order of that moment, the running maximum of event times says which reading leads from then on. It only ever rises, so
  an as-of join on the moment of visibility finds the answer with one inequality.

Both find an event time; the reading itself, with all its columns, is then fetched by key and event time. So the sort
within the join moves two numbers per reading, however many features there are.

One rule: of several readings the latest event wins, then the latest arrival, then the greater features in the order of
their names. Nothing depends on how rows lie in files, or on threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mlops.errors import FeatureError
from mlops.features.asof.asking import Asked
from mlops.features.asof.clock import Span, Unit, roughly
from mlops.features.asof.question import Question
from mlops.features.asof.session import column
from mlops.features.asof.sources import ChangedError, Table, copied

Bools = npt.NDArray[np.bool_]

_NUMBERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")


def answer(connection: Any, asked: Asked, question: Question, table: Table, *, known: bool) -> pa.Table:
    """The features of one view, row by row of those asked for; null where there is none.

    Args:
        connection: of a `session`.
        asked: the rows, shape (n, …).
        question: what is asked of the view.
        table: the rows of the view's source.
        known: whether a reading counts only from its arrival on.

    Returns:
        shape (n, features), in the order of the rows.

    Raises:
        FeatureError: a column is missing or of the wrong type.
        StorageError: the source cannot be read, or changed meanwhile.
    """
    join = _Join(connection, asked, question, table, known=known)
    parts, unanswered = join.straight()
    if join.known and unanswered.any():
        late, unanswered = join.late(unanswered)
        parts += late
    if unanswered.any():
        raise ChangedError(f"Source {table.name!r} was replaced while it was read.", hint="Run the query again.")
    return _in_place(parts, len(asked), list(question.features))


class _Join:
    """The state of one view's join: temporary tables of the connection, and the SQL that names their columns."""

    def __init__(self, connection: Any, asked: Asked, question: Question, table: Table, *, known: bool) -> None:
        kinds = _checked(question, table)
        span = asked.span
        first = span.first - question.ttl if span.first and question.ttl else None
        conditions = roughly(question.event, kinds[0], Span(first, span.last))
        self._where = f"where {' and '.join(conditions)}" if conditions else ""
        self._connection = connection
        self._question = question
        self._rows = len(asked)
        wanted = [name for name in question.columns if name in table.columns]
        self._table = copied(connection, table, wanted, self._where)
        unit = Unit.of(*kinds)
        self._ttl = unit.duration(question.ttl)
        self._event = unit.instant(question.event)
        self._created = unit.instant(question.created) if question.created else "null::bigint"
        self.known = known and question.created is not None
        self._number(asked, unit)

    def straight(self) -> tuple[list[pa.Table], Bools]:
        """Join on the event time alone.

        Returns:
            readings by row; the rows, shape (n,), that have a reading by event time which was not known yet.
        """
        lead = self._shortest_delay() if self.known else 0
        self._connection.execute(
            f"create or replace temp table found as select a.number, a.code, a.moment, s.event from asks a "
            f"asof join ({self._readings()}) s on a.code = s.code and a.moment - {lead} >= s.event {self._alive()}"
        )
        return self._fetched()

    def late(self, rows: Bools) -> tuple[list[pa.Table], Bools]:
        """Join on the moment from which readings are visible.

        Args:
            rows: shape (n,), those to join.

        Returns:
            as `straight`.
        """
        self._connection.register("unanswered", pa.table({"number": np.flatnonzero(rows)}))
        self._connection.execute(
            "create or replace temp table late as "
            "select number, code, moment from found semi join unanswered using (number)"
        )
        leaders = (
            "select code, visible, max(event) over (partition by code order by visible "
            "range between unbounded preceding and current row) as event "
            "from (select code, event, greatest(event, created) as visible "
            f"from ({self._readings('created')}) semi join late using (code) where created is not null)"
        )
        self._connection.execute(
            f"create or replace temp table found as select a.number, a.code, a.moment, s.event from late a "
            f"asof join ({leaders}) s on a.code = s.code and a.moment >= s.visible {self._alive()}"
        )
        return self._fetched()

    def _number(self, asked: Asked, unit: Unit) -> None:
        """Give every key that is asked for a number, and every row that can have an answer its key's number."""
        columns = {"number": pa.array(np.arange(len(asked))), "moment": asked.moments(unit)}
        names = [f"key{i}" for i in range(len(self._question.keys))]
        for name, (source, given) in zip(names, self._question.keys.items(), strict=True):
            columns[name] = asked.key(given)
            _check_alike(self._question.view, given, columns[name].type, self._table, source)
        self._connection.register("asked", pa.table(columns))
        there = " and ".join(f"{name} is not null" for name in ["moment", *names])
        keys = ", ".join(names)
        self._join_keys, self._code, self._named_keys, self._same_keys = "", "0", "", ""
        source = f"select number, 0 as code, moment from asked where {there}"
        if names:
            self._connection.execute(
                f"create or replace temp table keys as select (row_number() over ())::integer as code, {keys} "
                f"from (select distinct {keys} from asked where {there})"
            )
            source = f"select number, code, moment from asked join keys using ({keys}) where {there}"
            pairs = list(zip(map(column, self._question.keys), names, strict=True))
            self._join_keys = "join keys k on " + " and ".join(f"{key} = k.{name}" for key, name in pairs)
            self._code, self._named_keys = "k.code", "join keys using (code)"
            self._same_keys = "".join(f" and {key} = f.{name}" for key, name in pairs)
        self._connection.execute(f"create or replace temp table asks as {source}")

    def _readings(self, *also: str) -> str:
        """SQL: the readings that can matter, as numbers."""
        created = f", {self._created} as created" if also else ""
        return (
            f"select {self._code} as code, {self._event} as event{created} "
            f"from {self._table.relation} s {self._join_keys} {self._where}"
        )

    def _shortest_delay(self) -> int:
        """The shortest time from event to arrival, of any reading that can matter; 0 where some arrive before."""
        ((shortest,),) = self._connection.sql(
            f"select min({self._created} - {self._event}) from {self._table.relation} s {self._where}"
        ).fetchall()
        return max(0, shortest or 0)

    def _alive(self) -> str:
        return f"where s.event >= a.moment - {self._ttl}" if self._ttl else ""

    def _fetched(self) -> tuple[list[pa.Table], Bools]:
        """The readings that were found, and the rows whose reading was not known in time."""
        arrived = f"and {self._created} <= f.moment" if self.known else ""
        body = (
            f"from {self._table.relation} s join (select * from found {self._named_keys}) f "
            f"on f.event = {self._event} {arrived} {self._same_keys}"
        )
        shown = [f"{column(name)} as f{i}" for i, name in enumerate(self._question.features.values())]
        parts = [
            self._connection.sql(f"select {', '.join(['f.number', *shown])} {body} {self._where}").to_arrow_table()
        ]
        times = np.bincount(parts[0]["number"].to_numpy(), minlength=self._rows)
        found = self._connection.sql("select number from found").to_arrow_table()["number"].to_numpy()
        unanswered = np.zeros(self._rows, dtype=bool)
        unanswered[found] = times[found] == 0
        if len(tied := np.flatnonzero(times > 1)):
            self._connection.register("tied", pa.table({"number": tied}))
            order = [self._created, *(column(v) for v in self._question.values if v in self._table.columns)]
            best = ", ".join(f"{each} desc nulls last" for each in order)
            parts.append(
                self._connection.sql(
                    f"select {', '.join(['f.number', *shown])} {body} {self._where or 'where true'} "
                    f"and f.number in (select number from tied) "
                    f"qualify row_number() over (partition by f.number order by {best}) = 1"
                ).to_arrow_table()
            )
        return parts, unanswered


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
    """Readings in the order of the rows they belong to; where a row has several, the last part's counts."""
    found = pa.concat_tables(parts)
    place = np.full(rows, -1, dtype=np.int64)
    place[found["number"].to_numpy()] = np.arange(found.num_rows)
    where = pa.array(place, mask=place < 0)
    columns = []
    for i in range(len(names)):
        columns.append(found[f"f{i}"].combine_chunks().take(where))
        found = found.drop_columns(f"f{i}")
    return pa.Table.from_arrays(columns, names=names)

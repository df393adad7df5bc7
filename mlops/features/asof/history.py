"""A point-in-time question over several views, from its rows to its answer.

One rule: an answer comes from one state of the files; if they are replaced meanwhile, the question is asked again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from mlops.errors import FeatureError
from mlops.features.asof.asking import EVENT, Asked, asked
from mlops.features.asof.clock import Span, Unit, exactly, roughly
from mlops.features.asof.join import Seen, answer
from mlops.features.asof.question import Question
from mlops.features.asof.session import Limits, column, first_line, quoted, session
from mlops.features.asof.sources import ChangedError, Table, copied, files_of, opened, within

_ATTEMPTS = 3


@dataclass(frozen=True)
class History:
    """What was known of some entities at some times."""

    rows: Asked | Span  # rows to join, or: every moment of a span at which something became known
    questions: Sequence[Question]
    known: bool  # whether a reading counts only from its arrival on
    limits: Limits
    repo_path: Path | str | None  # folder that relative paths of sources start from

    @property
    def span(self) -> Span:
        """Times that are asked for."""
        return self.rows if isinstance(self.rows, Span) else self.rows.span

    @property
    def keys(self) -> list[str]:
        """Columns of the answer that are neither features nor the time."""
        if isinstance(self.rows, Asked):
            return [name for name in self.rows.rows.column_names if name != self.rows.event]
        return list(dict.fromkeys(key for question in self.questions for key in question.keys.values()))

    def answer(self) -> pa.Table:
        """The rows with the features beside them.

        Raises:
            NoDataError: a source holds no rows yet.
            FeatureError: rows and sources do not fit together.
            StorageError: a source cannot be read, or changes whenever it is.
        """
        for attempt in range(_ATTEMPTS):
            try:
                with session(self.limits) as connection:
                    return self._answer(connection)
            except ChangedError:
                if attempt == _ATTEMPTS - 1:
                    raise
        raise AssertionError("unreachable")

    def _answer(self, connection: Any) -> pa.Table:
        rows = self.rows if isinstance(self.rows, Asked) else self._moments(connection, self.rows)
        rows.check(
            [key for question in self.questions for key in question.keys.values()],
            [feature for question in self.questions for feature in question.features],
        )
        found, seen = rows.rows, Seen()
        for question in self.questions:
            first = rows.span.first - question.ttl if rows.span.first and question.ttl else None
            table = self._table(connection, question, Span(first, rows.span.last))
            features = answer(connection, rows, question, table, known=self.known, seen=seen)
            table.check_unchanged()
            for name in features.column_names:
                found = found.append_column(name, features[name])
        return found

    def _table(self, connection: Any, question: Question, span: Span) -> Table:
        arrives = self.known and question.created is not None
        files = within(files_of(question.source, self.repo_path), span, known=arrives)
        return opened(connection, question.source, files)

    def _moments(self, connection: Any, span: Span) -> Asked:
        """One row per entity and moment of the span at which something of it happened and was known."""
        keys = list(self.questions[0].keys.values())
        if any(list(question.keys.values()) != keys for question in self.questions):
            raise FeatureError(
                "Views with different join keys cannot be asked for without rows: "
                + "; ".join(f"{q.view} has {', '.join(q.keys.values()) or 'none'}" for q in self.questions),
                hint="Pass entity_df, or ask for one view at a time.",
            )
        parts = [self._moments_of(connection, question, span) for question in self.questions]
        names = ", ".join(quoted(name) for name in [*keys, EVENT])
        found = connection.sql(f"select distinct {names} from ({' union all '.join(parts)}) order by {names}")
        return asked(found.to_arrow_table())

    def _moments_of(self, connection: Any, question: Question, span: Span) -> str:
        table = self._table(connection, question, Span(None, span.last))
        kind = table.time(question.event, f"the event time of view {question.view!r}")
        arrives = self.known and question.created is not None
        where = f"where {' and '.join(roughly(question.event, kind, Span(None, span.last)) or ['true'])}"
        table = copied(connection, table, [*question.keys, question.event, question.created or question.event], where)
        seen = _microseconds(question.event, kind)
        if arrives:
            created = str(question.created)
            seen = f"greatest({seen}, {_microseconds(created, table.time(created, 'the time of arrival'))})"
            where += f" and {column(created)} is not null"
        shown = [f"{column(source)} as {quoted(name)}" for source, name in question.keys.items()]
        there = " and ".join(f"{column(source)} is not null" for source in question.keys) or "true"
        return (
            f"select * from (select {', '.join([*shown, f'make_timestamptz({seen}) as {EVENT}'])} "
            f"from {table.relation} s {where} and {there}) s "
            f"where {' and '.join(exactly(EVENT, 'TIMESTAMP WITH TIME ZONE', span))}"
        )


def from_sql(query: str, limits: Limits) -> Asked:
    """Rows to join, from SQL that DuckDB runs: `select * from 'rows.parquet'`.

    Raises:
        FeatureError: it cannot be run.
    """
    with session(limits, ordered=True) as connection:
        try:
            found = connection.sql(query)
            if found is None:
                raise FeatureError(f"{query!r} gives no rows.", hint="Pass a SELECT.")
            return asked(found.to_arrow_table())
        except duckdb.OutOfMemoryException:
            raise
        except duckdb.Error as error:
            raise FeatureError(
                f"The rows to join cannot be made: {first_line(error)}", hint="entity_df is SQL for DuckDB."
            ) from error


def _microseconds(name: str, kind: str) -> str:
    unit = Unit.of(kind)
    return f"-(-{unit.instant(name)} // {unit.per_second // 1_000_000})"  # rounded up: seen, not about to be

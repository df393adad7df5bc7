"""The label store: labels that people give, in SQL, with the time they are about, the time they arrived, and by whom.

A label is changed by adding another one for the same event, and taken back by adding one without a value. So what was
known at any time can be read again, and who knew otherwise later is on record.

One rule: nothing is ever updated or deleted, the database itself refuses to; and no label arrives before it was given.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import pandas as pd
import sqlalchemy as sa

from mlops.errors import DataError

Value = float | str | None  # None: taken back
COLUMNS = ("entity", "happened_at", "arrived_at", "label", "source")

_METADATA = sa.MetaData()
_LABELS = sa.Table(
    "labels",
    _METADATA,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("entity", sa.Text, nullable=False),
    sa.Column("event_at", sa.Text, nullable=False),  # ISO 8601, UTC, microseconds: sorts as text
    sa.Column("arrived_at", sa.Text, nullable=False),  # the same
    sa.Column("value", sa.Text, nullable=False),  # JSON
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("comment", sa.Text, nullable=False),
)
TABLES = (_LABELS,)
_INDEX = "CREATE INDEX IF NOT EXISTS labels_by_event ON labels (model, event_at)"
GUARDS = {
    "sqlite": (
        _INDEX,
        *(
            f"CREATE TRIGGER IF NOT EXISTS labels_no_{verb} BEFORE {verb} ON labels "
            "BEGIN SELECT RAISE(ABORT, 'the label store is append-only'); END"
            for verb in ("update", "delete")
        ),
    ),
    "postgresql": (
        _INDEX,
        "CREATE OR REPLACE FUNCTION labels_refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'the label store is append-only'; END $$",
        "CREATE OR REPLACE TRIGGER labels_guard BEFORE UPDATE OR DELETE OR TRUNCATE ON labels "
        "FOR EACH STATEMENT EXECUTE FUNCTION labels_refuse()",
    ),
}


class Transactions(Protocol):
    """What the store asks of a database."""

    def reading(self) -> AbstractContextManager[sa.Connection]:
        """A transaction that only reads."""

    def writing(self) -> AbstractContextManager[sa.Connection]:
        """A transaction that writes: committed whole when the block ends, undone when it raises."""


@dataclass(frozen=True, slots=True)
class Label:
    """One label as it was given."""

    entity: str
    event_at: datetime  # what it is about, aware
    value: Value
    source: str  # hand, import or alarm
    actor: str
    comment: str = ""
    arrived_at: datetime | None = None  # when it was given; set by the store


class LabelStore:
    """The label store of one installation.

    Args:
        database: where the table `labels` is.
    """

    def __init__(self, database: Transactions) -> None:
        self._database = database

    def add(self, model: str, labels: Sequence[Label], *, at: datetime) -> int:
        """Add labels that arrive now. One that says what its source has said last about the event is left out.

        Args:
            model: whose labels they are.
            labels: of any events.
            at: now, aware.

        Returns:
            How many were added: all, or none if it raises.

        Raises:
            DataError: a time has no zone, or a value is not a finite number or text.
            LedgerError: the database refused.
        """
        rows = [_row(model, label, _text(at)) for label in labels]
        with self._database.writing() as connection:
            fresh = []
            for row in rows:
                last = connection.execute(_last_said(row)).scalar()
                if last != row["value"] and not (last is None and row["value"] == "null"):
                    fresh.append(row)
            if fresh:
                connection.execute(sa.insert(_LABELS), fresh)
        return len(fresh)

    def known(
        self, model: str, *, start: datetime, end: datetime, as_of: datetime, sources: Sequence[str]
    ) -> pd.DataFrame:
        """All that these sources had said by `as_of` about events in [start, end), in the order in which it arrived.

        Returns:
            `entity` (text), `happened_at`, `arrived_at` (UTC), `label` (object; None: taken back), `source`.
        """
        table = _LABELS.c
        query = (
            sa.select(table.entity, table.event_at, table.arrived_at, table.value, table.source)
            .where(table.model == model, table.event_at >= _text(start), table.event_at < _text(end))
            .where(table.arrived_at <= _text(as_of), table.source.in_(list(sources)))
            .order_by(table.arrived_at, table.id)
        )
        with self._database.reading() as connection:
            rows = [tuple(row) for row in connection.execute(query)]
        frame = pd.DataFrame(rows, columns=list(COLUMNS), dtype=object)
        for name in ("happened_at", "arrived_at"):
            frame[name] = pd.to_datetime(frame[name], format="ISO8601", utc=True).astype("datetime64[us, UTC]")
        return frame.assign(label=pd.Series([json.loads(text) for text in frame["label"]], dtype=object))

    def history(self, model: str, *, entity: str = "", last: int | None = None) -> list[Label]:
        """All that was said about the events of a model, or of one entity of it, in the order in which it arrived.

        Args:
            model: whose labels.
            entity: only about this one.
            last: at most this many, the newest.
        """
        table = _LABELS.c
        query = sa.select(_LABELS).where(table.model == model).order_by(table.arrived_at.desc(), table.id.desc())
        query = query.where(table.entity == entity) if entity else query
        query = query.limit(last) if last else query
        with self._database.reading() as connection:
            found = [row._mapping for row in connection.execute(query)]
        return [
            Label(
                entity=row["entity"],
                event_at=datetime.fromisoformat(row["event_at"]),
                value=json.loads(row["value"]),
                source=row["source"],
                actor=row["actor"],
                comment=row["comment"],
                arrived_at=datetime.fromisoformat(row["arrived_at"]),
            )
            for row in reversed(found)
        ]


def _last_said(row: dict[str, Any]) -> sa.Select[Any]:
    table = _LABELS.c
    same = [table[name] == row[name] for name in ("model", "entity", "event_at", "source")]
    return sa.select(table.value).where(*same).order_by(table.arrived_at.desc(), table.id.desc()).limit(1)


def _row(model: str, label: Label, arrived: str) -> dict[str, Any]:
    if isinstance(label.value, float) and not math.isfinite(label.value):
        raise DataError(f"The label of {label.entity} at {label.event_at} is {label.value}.", hint="Give a number.")
    value = json.dumps(float(label.value) if isinstance(label.value, int | float) else label.value)
    row = {"model": model, "entity": label.entity, "event_at": _text(label.event_at), "arrived_at": arrived}
    return row | {"value": value, "source": label.source, "actor": label.actor, "comment": label.comment}


def _text(moment: datetime) -> str:
    if moment.tzinfo is None:
        raise DataError(f"{moment} has no time zone.", hint="Say which, for example 2026-03-05T14:30:00Z.")
    return moment.astimezone(UTC).isoformat(timespec="microseconds")

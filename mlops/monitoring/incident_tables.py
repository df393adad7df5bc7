"""The tables of incidents, of what was done to them, and of what is still to be told: one database, one transaction."""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Protocol

import sqlalchemy as sa

_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_METADATA = sa.MetaData()
INCIDENTS = sa.Table(
    "incidents",
    _METADATA,
    sa.Column("number", _ID, primary_key=True, autoincrement=True),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("body", sa.Text, nullable=False),  # the `Incident` as JSON
)
HISTORY = sa.Table(
    "incident_history",
    _METADATA,
    sa.Column("id", _ID, primary_key=True, autoincrement=True),
    sa.Column("number", _ID, nullable=False),
    sa.Column("at", sa.Text, nullable=False),  # ISO 8601, UTC, microseconds: sorts as text
    sa.Column("what", sa.Text, nullable=False),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
)
OUTBOX = sa.Table(
    "alert_outbox",
    _METADATA,
    sa.Column("id", _ID, primary_key=True, autoincrement=True),
    sa.Column("number", _ID, nullable=False),
    sa.Column("channel", sa.Text, nullable=False),
    sa.Column("event", sa.Text, nullable=False),
    sa.Column("body", sa.Text, nullable=False),  # the `Incident` as it was when it was to be told
    sa.Column("created_at", sa.Text, nullable=False),
    sa.Column("due_at", sa.Text, nullable=False),
    sa.Column("claimed_until", sa.Text, nullable=False),  # "" if nobody is about to send it
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("done_at", sa.Text, nullable=False),  # "" while it waits
    sa.Column("error", sa.Text, nullable=False),  # of the last try, without secrets
)
TABLES = (INCIDENTS, HISTORY, OUTBOX)
_INDEXES = (
    "CREATE INDEX IF NOT EXISTS incidents_by_key ON incidents (key, number)",
    "CREATE INDEX IF NOT EXISTS alert_outbox_waiting ON alert_outbox (done_at, id)",
)
STATEMENTS: dict[str, tuple[str, ...]] = {"sqlite": _INDEXES, "postgresql": _INDEXES}


class Transactions(Protocol):
    """What the store asks of a database."""

    def reading(self) -> AbstractContextManager[sa.Connection]:
        """A transaction that only reads."""

    def writing(self) -> AbstractContextManager[sa.Connection]:
        """A transaction that writes: committed whole when the block ends, undone when it raises."""


def as_text(moment: datetime) -> str:
    """A moment as it is kept: what is later sorts later."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")

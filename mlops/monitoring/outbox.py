"""The outbox: what is still to be told, and where. It is written in the transaction that changes the incident.

One rule: a message leaves only when its channel has taken it; then it is kept as told.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from mlops.monitoring.incident_tables import OUTBOX, Transactions, as_text
from mlops.monitoring.incidents import Event
from mlops.records import Incident, from_dict, to_dict


@dataclass(frozen=True, slots=True)
class Message:
    """Something to be told on one channel."""

    id: int  # the same for each try: who receives it twice can tell
    channel: str
    event: Event
    incident: Incident  # as it was when it was to be told
    created_at: datetime
    attempts: int = 0
    error: str = ""


class Outbox:
    """The outbox of one installation.

    Args:
        database: where the tables are.
    """

    def __init__(self, database: Transactions) -> None:
        self._database = database

    def waiting(self, *, due: datetime | None = None) -> list[Message]:
        """What nobody has been told of yet, oldest first; with `due`, what may be told by then."""
        query = sa.select(OUTBOX).where(OUTBOX.c.done_at == "").order_by(OUTBOX.c.id)
        query = query if due is None else query.where(OUTBOX.c.due_at <= as_text(due))
        with self._database.reading() as connection:
            return [_message(row) for row in connection.execute(query)]

    def claim(self, message: int, now: datetime, *, seconds: float) -> Message | None:
        """Take a message to send it; for so long nobody else gets it.

        Returns:
            None if it is not due, was sent, somebody else is at it, or an earlier one of the same incident waits for
            the same channel.
        """
        table, other = OUTBOX.c, OUTBOX.alias()
        same = sa.and_(other.c.number == table.number, other.c.channel == table.channel)
        earlier = sa.select(other.c.id).where(same, other.c.id < table.id, other.c.done_at == "")
        claimed = (
            sa.update(OUTBOX)
            .where(table.id == message, table.done_at == "", table.due_at <= as_text(now))
            .where(table.claimed_until <= as_text(now), ~sa.exists(earlier))
            .values(claimed_until=as_text(now + timedelta(seconds=seconds)), attempts=table.attempts + 1)
        )
        with self._database.writing() as connection:
            if not connection.execute(claimed).rowcount:
                return None
            return _message(connection.execute(sa.select(OUTBOX).where(table.id == message)).one())

    def sent(self, message: Message, now: datetime) -> None:
        """A channel has taken a message."""
        values = {"done_at": as_text(now), "claimed_until": "", "error": ""}
        with self._database.writing() as connection:
            connection.execute(sa.update(OUTBOX).where(OUTBOX.c.id == message.id).values(values))

    def failed(self, message: Message, error: str, *, again_at: datetime) -> None:
        """A channel has not taken a message; it stays."""
        values = {"due_at": as_text(again_at), "claimed_until": "", "error": error}
        with self._database.writing() as connection:
            connection.execute(sa.update(OUTBOX).where(OUTBOX.c.id == message.id).values(values))


def put(
    connection: sa.Connection,
    incident: Incident,
    event: Event,
    channels: Iterable[str],
    now: datetime,
    *,
    due: datetime,
) -> None:
    """Have something told, once the transaction is committed.

    Args:
        connection: within a transaction that writes.
        incident: as it is now.
        event: what happened to it.
        channels: where.
        now: aware.
        due: not before.
    """
    body = json.dumps(to_dict(incident))
    common = {"number": incident.number, "event": event, "body": body, "created_at": as_text(now)}
    state = {"due_at": as_text(due), "claimed_until": "", "attempts": 0, "done_at": "", "error": ""}
    rows = [common | state | {"channel": name} for name in dict.fromkeys(channels)]
    if rows:
        connection.execute(sa.insert(OUTBOX), rows)


def channels_told(connection: sa.Connection, number: int) -> list[str]:
    """The channels that were, or are to be, told of an incident."""
    query = sa.select(OUTBOX.c.channel).where(OUTBOX.c.number == number).distinct().order_by(OUTBOX.c.channel)
    return list(connection.execute(query).scalars())


def drop_held_back(connection: sa.Connection, number: int, now: datetime) -> None:
    """The end of an incident that is back is not told, if it was kept back."""
    table = OUTBOX.c
    where = sa.and_(table.number == number, table.done_at == "", table.event == "resolved", table.due_at > as_text(now))
    values = {"done_at": as_text(now), "error": "it came back before this was told"}
    connection.execute(sa.update(OUTBOX).where(where, table.attempts == 0).values(values))


def _message(row: Any) -> Message:
    incident = replace(from_dict(Incident, json.loads(row.body)), number=int(row.number))
    created = datetime.fromisoformat(row.created_at)
    return Message(int(row.id), row.channel, row.event, incident, created, row.attempts, row.error)

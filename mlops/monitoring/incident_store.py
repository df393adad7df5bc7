"""Incidents in SQL, with what was done to them. What is to be told goes into the outbox in the same transaction.

So an incident is never kept without being told of, nor told of without being kept, whenever a process is killed; and
two processes that find the same at once do so one after the other.

One rule: a change is read, decided and written within one transaction; what decides is a pure function.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from mlops.errors import IncidentError
from mlops.monitoring import outbox
from mlops.monitoring.incident_tables import HISTORY, INCIDENTS, Transactions, as_text
from mlops.monitoring.incidents import Event
from mlops.records import Incident, from_dict, to_dict

Change = Callable[[Incident], tuple[Incident, Event | None]]


@dataclass(frozen=True, slots=True)
class Act:
    """Something that was done to an incident."""

    at: datetime
    what: str
    by: str  # "" for the pipelines
    note: str = ""


class IncidentStore:
    """The incidents of one installation.

    Args:
        database: where the tables are.
    """

    def __init__(self, database: Transactions) -> None:
        self._database = database

    def raised(
        self,
        key: str,
        change: Callable[[Incident | None], tuple[Incident, Event | None]],
        *,
        channels: Callable[[Incident], Sequence[str]],
        now: datetime,
    ) -> tuple[Incident, Event | None]:
        """Find an incident: the newest of the key is changed, or another one opened.

        Args:
            key: of the incident.
            change: from the newest of the key, or None, to what it is now and what to tell.
            channels: where to tell of what it is now.
            now: aware.

        Returns:
            what is kept, and what is told.
        """
        with self._database.writing() as connection:
            self._lock(connection, key)
            known = self._newest(connection, key)
            after, event = change(known)
            if known is None or after.number == 0:
                after = self._insert(connection, after)
            else:
                self._update(connection, after)
            outbox.drop_held_back(connection, after.number, now)
            if event is not None:
                outbox.put(connection, after, event, channels(after), now, due=now)
                _note(connection, after.number, Act(now, event, ""))
        return after, event

    def changed(
        self,
        numbers: Iterable[int],
        change: Change,
        *,
        now: datetime,
        act: Act | None = None,
        hold: Callable[[Incident], timedelta] = lambda _: timedelta(0),
    ) -> list[Incident]:
        """Change incidents that there are.

        Args:
            numbers: which.
            change: what becomes of each, and what to tell those who were told of it before.
            now: aware.
            act: who does it and why; default: the pipelines, named by the event.
            hold: how long the message is kept back.

        Returns:
            Those that have changed.
        """
        done = []
        with self._database.writing() as connection:
            for number in numbers:
                known = self._get(connection, number, lock=True)
                after, event = change(known)
                if after == known:
                    continue
                self._update(connection, after)
                done.append(after)
                if event is not None:
                    told = outbox.channels_told(connection, number)
                    outbox.put(connection, after, event, told, now, due=now + hold(after))
                if act or event:
                    _note(connection, number, act or Act(now, str(event), ""))
        return done

    def get(self, number: int) -> Incident:
        """One incident.

        Raises:
            IncidentError: there is none of that number.
        """
        with self._database.reading() as connection:
            return self._get(connection, number)

    def newest(self, key: str) -> Incident | None:
        """The newest incident of a key."""
        with self._database.reading() as connection:
            return self._newest(connection, key)

    def incidents(self, model: str = "", kind: str = "", *, resolved: bool = True) -> list[Incident]:
        """Incidents in the order in which they were opened.

        Args:
            model: only its.
            kind: only of this one.
            resolved: those, too, that are over.
        """
        table = INCIDENTS.c
        query = sa.select(INCIDENTS).order_by(table.number)
        query = query.where(table.model == model) if model else query
        query = query.where(table.kind == kind) if kind else query
        query = query if resolved else query.where(table.state != "resolved")
        with self._database.reading() as connection:
            return [_incident(row) for row in connection.execute(query)]

    def history(self, number: int) -> list[Act]:
        """What was done to an incident, oldest first."""
        table = HISTORY.c
        query = sa.select(HISTORY).where(table.number == number).order_by(table.id)
        with self._database.reading() as connection:
            return [
                Act(datetime.fromisoformat(row.at), row.what, row.by, row.note) for row in connection.execute(query)
            ]

    def _lock(self, connection: sa.Connection, key: str) -> None:
        """One process after the other, also for the first incident of a key; SQLite has one writer anyway."""
        if connection.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(key, 0))))

    def _newest(self, connection: sa.Connection, key: str) -> Incident | None:
        query = sa.select(INCIDENTS).where(INCIDENTS.c.key == key).order_by(INCIDENTS.c.number.desc()).limit(1)
        row = connection.execute(query.with_for_update()).one_or_none()
        return None if row is None else _incident(row)

    def _get(self, connection: sa.Connection, number: int, *, lock: bool = False) -> Incident:
        query = sa.select(INCIDENTS).where(INCIDENTS.c.number == number)
        row = connection.execute(query.with_for_update() if lock else query).one_or_none()
        if row is None:
            raise IncidentError(f"There is no incident {number}.", hint="See mlops incidents list --all.")
        return _incident(row)

    def _insert(self, connection: sa.Connection, incident: Incident) -> Incident:
        made = connection.execute(sa.insert(INCIDENTS).values(_columns(incident))).inserted_primary_key
        assert made is not None
        return replace(incident, number=int(made[0]))

    def _update(self, connection: sa.Connection, incident: Incident) -> None:
        where = INCIDENTS.c.number == incident.number
        connection.execute(sa.update(INCIDENTS).where(where).values(_columns(incident)))


def _note(connection: sa.Connection, number: int, act: Act) -> None:
    values = {"number": number, "at": as_text(act.at), "what": act.what, "by": act.by, "note": act.note}
    connection.execute(sa.insert(HISTORY).values(values))


def _columns(incident: Incident) -> dict[str, Any]:
    names = ("key", "model", "kind", "state")
    return {name: getattr(incident, name) for name in names} | {"body": json.dumps(to_dict(incident))}


def _incident(row: Any) -> Incident:
    return replace(from_dict(Incident, json.loads(row.body)), number=int(row.number))

"""Leases: who may do, for a while, what must not be done twice at once.

A lease has a name, a holder, an end and a token that grows by one at each acquisition. Taking it is one conditional
UPDATE, so of any number of takers exactly one succeeds. A holder that was killed loses it when it runs out, or at once
to a taker that supersedes it; one that was only slow finds out by `check`, because the token has moved on.

What time it is says the database (SQLite's is that of the one machine the file is for): a host whose clock is wrong
neither takes what is held nor keeps what has run out.

One rule: call `check` right before the step that cannot be undone.

References:
    Gray, C. and Cheriton, D. (1989), Leases: an efficient fault-tolerant mechanism for distributed file cache
    consistency, SOSP '89.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from mlops import log
from mlops.errors import LeaseError
from mlops.governance.database import Database

POLL_SECONDS = 0.2
Supersedes = Callable[[str], bool]  # by the holder's words

_METADATA = sa.MetaData()
_LEASES = sa.Table(
    "leases",
    _METADATA,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("holder", sa.Text, nullable=False),  # "" when free
    sa.Column("token", sa.BigInteger, nullable=False),
    sa.Column("expires_us", sa.BigInteger, nullable=False),  # microseconds since 1970, UTC
)
_NOW = {  # microseconds since 1970; `now()` of PostgreSQL would be the start of the transaction
    "postgresql": "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)",
    "sqlite": "SELECT CAST((julianday('now') - 2440587.5) * 86400000000 AS integer)",
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_log = log.get(__name__)


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to do `name` until `expires_at`."""

    name: str
    holder: str
    token: int  # grows by one at each acquisition of `name`
    expires_at: datetime


class Leases:
    """The leases of one installation, kept in the ledger's database.

    Args:
        url: SQLAlchemy URL of a SQLite file or a PostgreSQL database.
        sleep: how to wait between two tries [s].
        clock: instead of the database's, for tests.
    """

    def __init__(
        self, url: str, *, sleep: Callable[[float], None] = time.sleep, clock: Callable[[], datetime] | None = None
    ) -> None:
        self._database = Database(url, (_LEASES,), {}, durable=False)  # who held one is gone after a power cut, too
        self._sleep = sleep
        self._clock = clock

    @contextlib.contextmanager
    def hold(
        self,
        name: str,
        holder: str,
        ttl_seconds: float,
        *,
        wait_seconds: float = 0.0,
        supersedes: Supersedes | None = None,
    ) -> Iterator[Lease]:
        """Hold a lease for the length of a `with` block.

        Args:
            name: what must not be done twice at once.
            holder: who asks, as others will read it. The same holder twice is two takers: only one gets it.
            ttl_seconds: how long it is good for, > 0 [s].
            wait_seconds: how long to wait for somebody else [s].
            supersedes: whether the present holder, in these words, may be taken over from without waiting.

        Raises:
            LeaseError: somebody else holds it, and still did after the wait.
            LedgerError: the database refused.
        """
        lease = self.acquire(name, holder, ttl_seconds, wait_seconds=wait_seconds, supersedes=supersedes)
        try:
            yield lease
        finally:
            self.release(lease)

    def renew(self, lease: Lease, ttl_seconds: float) -> Lease:
        """Prolong a lease; one that ran out, too, as long as nobody else has taken it.

        Raises:
            LeaseError: it was given back, or somebody else took it over.
            LedgerError: the database refused; the lease is as good as it was.
        """
        with self._database.writing() as connection:
            expires_us = self._now(connection) + _span(ttl_seconds)
            renewed = connection.execute(
                sa.update(_LEASES)
                .where(_LEASES.c.name == lease.name, _LEASES.c.token == lease.token, _LEASES.c.holder != "")
                .values(expires_us=expires_us)
            ).rowcount
        if not renewed:
            raise self._lost(lease)
        return replace(lease, expires_at=_moment(expires_us))

    def living(self, prefix: str) -> dict[str, str]:
        """The leases that are held now and whose names begin with `prefix`: holder by name."""
        with self._database.reading() as connection:
            rows = connection.execute(
                sa.select(_LEASES.c.name, _LEASES.c.holder).where(
                    _LEASES.c.name.startswith(prefix, autoescape=True),
                    _LEASES.c.holder != "",
                    _LEASES.c.expires_us > self._now(connection),
                )
            ).all()
        return {row.name: row.holder for row in rows}

    def check(self, lease: Lease) -> None:
        """Make sure that a lease still is what it was.

        Raises:
            LeaseError: it ran out, was given back, or somebody else took it over.
        """
        with self._database.reading() as connection:
            row, now = self._row(connection, lease.name), self._now(connection)
        if row is None or row.token != lease.token or not row.holder:
            raise self._lost(lease, row)
        if row.expires_us <= now:
            raise LeaseError(
                f"The lease {lease.name!r} of {lease.holder} ran out at {lease.expires_at.isoformat()}.",
                hint="Nothing more was done. Run the step again, or take a longer lease.",
            )

    def release(self, lease: Lease) -> bool:
        """Give a lease back.

        Returns:
            False if it was no longer the caller's to give: it had been taken over, and stays with who took it.
        """
        with self._database.writing() as connection:
            given = connection.execute(
                sa.update(_LEASES)
                .where(_LEASES.c.name == lease.name, _LEASES.c.token == lease.token)
                .values(holder="", expires_us=0)
            ).rowcount
        if not given:
            _log.warning(
                "A lease was taken over before it was given back.  %s", log.facts(name=lease.name, by=lease.holder)
            )
        return bool(given)

    def acquire(
        self,
        name: str,
        holder: str,
        ttl_seconds: float,
        *,
        wait_seconds: float = 0.0,
        supersedes: Supersedes | None = None,
    ) -> Lease:
        """Take a lease, to be given back by `release`; arguments and errors as for `hold`."""
        if ttl_seconds <= 0 or not holder:
            raise LeaseError(
                f"A lease needs a holder and a time to live above 0 s, given {holder!r} and {ttl_seconds:g} s."
            )
        waited = 0.0
        while True:
            lease = self._try(name, holder, ttl_seconds, supersedes)
            if lease is not None:
                return lease
            if waited >= wait_seconds:
                raise self._refusal(name, holder, wait_seconds)
            pause = min(POLL_SECONDS, wait_seconds - waited)
            self._sleep(pause)
            waited += pause

    def _try(self, name: str, holder: str, ttl_seconds: float, supersedes: Supersedes | None) -> Lease | None:
        replaced = -1
        if supersedes is not None:
            with self._database.reading() as connection:
                row = self._row(connection, name)
            if row is not None and row.holder and supersedes(row.holder):
                replaced = row.token
        with self._database.writing() as connection:
            now = self._now(connection)
            free = sa.or_(_LEASES.c.holder == "", _LEASES.c.expires_us <= now, _LEASES.c.token == replaced)
            insert: Any = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
            connection.execute(
                insert(_LEASES).values(name=name, holder="", token=0, expires_us=0).on_conflict_do_nothing()
            )
            taken = connection.execute(
                sa.update(_LEASES)
                .where(_LEASES.c.name == name, free)
                .values(holder=holder, token=_LEASES.c.token + 1, expires_us=now + _span(ttl_seconds))
            ).rowcount
            if not taken:
                return None
            token = connection.execute(sa.select(_LEASES.c.token).where(_LEASES.c.name == name)).scalar_one()
        return Lease(name, holder, int(token), _moment(now + _span(ttl_seconds)))

    def _row(self, connection: sa.Connection, name: str) -> Any:
        return connection.execute(sa.select(_LEASES).where(_LEASES.c.name == name)).one_or_none()

    def _now(self, connection: sa.Connection) -> int:
        """The time [µs since 1970, UTC]."""
        if self._clock is not None:
            return _microseconds(self._clock())
        return int(connection.execute(sa.text(_NOW[connection.dialect.name])).scalar_one())

    def _lost(self, lease: Lease, row: Any = None) -> LeaseError:
        if row is None:
            with self._database.reading() as connection:
                row = self._row(connection, lease.name)
        taker = f"{row.holder} (token {row.token})" if row is not None and row.holder else "nobody"
        return LeaseError(
            f"{lease.holder} no longer holds {lease.name!r} (token {lease.token}): {taker} does.",
            hint="Nothing more was done. Run the step again.",
        )

    def _refusal(self, name: str, holder: str, waited: float) -> LeaseError:
        with self._database.reading() as connection:
            row = connection.execute(sa.select(_LEASES).where(_LEASES.c.name == name)).one()
        until = _moment(row.expires_us).isoformat(timespec="seconds")
        after = f" after {waited:g} s of waiting" if waited else ""
        who = f"{row.holder} holds it until {until}" if row.holder else "somebody held it until just now"
        return LeaseError(
            f"{holder} cannot have {name!r}{after}: {who}.",
            hint="Run the step again when it is done; if that process was killed, when the lease has run out.",
        )


def _microseconds(at: datetime) -> int:
    if at.tzinfo is None:
        raise LeaseError(f"{at.isoformat()} has no time zone.", hint="Pass a time such as datetime.now(UTC).")
    return (at - _EPOCH) // timedelta(microseconds=1)


def _span(seconds: float) -> int:
    return round(1e6 * seconds)


def _moment(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)

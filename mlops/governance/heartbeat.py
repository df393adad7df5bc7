"""A lease that lives as long as its process: taken, renewed by a thread, given back.

One rule: a beat that fails is told and tried again; only `check` decides whether the lease still is ours.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from mlops import log
from mlops.errors import LeaseError, LedgerError
from mlops.governance.leases import Lease, Leases, Supersedes

BEATS_PER_LIFE = 4  # two may fail in a row, and it still is renewed in time
_log = log.get(__name__)


class Heartbeat:
    """A held lease and the thread that renews it."""

    def __init__(self, leases: Leases, lease: Lease, ttl_seconds: float) -> None:
        self._leases = leases
        self._lease = lease
        self._ttl_seconds = ttl_seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"lease {lease.name}", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Make sure that nobody has taken over; to be called right before what cannot be undone.

        A lease that ran out unnoticed (a suspended machine) is renewed, if nobody wanted it meanwhile.

        Raises:
            LeaseError: somebody has.
            LedgerError: the database cannot tell.
        """
        self._lease = self._leases.renew(self._lease, self._ttl_seconds)

    def end(self) -> None:
        """Stop the thread and give the lease back. If the database is away, the lease runs out by itself."""
        self._over.set()
        self._thread.join()
        try:
            self._leases.release(self._lease)
        except LedgerError as error:
            _log.warning("A lease could not be given back and will run out: %s", error)

    def _beat(self) -> None:
        while not self._over.wait(self._ttl_seconds / BEATS_PER_LIFE):
            try:
                self._leases.renew(self._lease, self._ttl_seconds)
            except LeaseError as error:
                _log.warning("The work goes on until its next check, which will end it: %s", error)
                return
            except LedgerError as error:
                _log.warning("A lease could not be renewed; it is tried again: %s", error)


@contextlib.contextmanager
def keep(
    leases: Leases,
    name: str,
    holder: str,
    ttl_seconds: float,
    *,
    wait_seconds: float = 0.0,
    supersedes: Supersedes | None = None,
) -> Iterator[Heartbeat]:
    """Hold a lease for as long as a `with` block takes; arguments and errors as for `Leases.hold`."""
    lease = leases.acquire(name, holder, ttl_seconds, wait_seconds=wait_seconds, supersedes=supersedes)
    heartbeat = Heartbeat(leases, lease, ttl_seconds)
    try:
        yield heartbeat
    finally:
        heartbeat.end()

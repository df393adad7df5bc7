"""Leases that live as long as their process: renewed, taken over, lost."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from mlops.errors import LeaseError
from mlops.governance.heartbeat import keep
from mlops.governance.leases import Leases

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A database of the test's own."""
    return f"sqlite:///{tmp_path / 'ledger.db'}"


def at(url: str, moment: datetime) -> Leases:
    """The leases as they are at a moment."""
    return Leases(url, clock=lambda: moment)


def after(seconds: float) -> datetime:
    """So many seconds later."""
    return NOW + timedelta(seconds=seconds)


def test_a_renewed_lease_lasts_longer(url: str) -> None:
    """After the end of its first life it still is its holder's, and nobody else's."""
    lease = at(url, NOW).acquire("run/a", "one", 10)
    lease = at(url, after(8)).renew(lease, 10)
    at(url, after(15)).check(lease)
    with pytest.raises(LeaseError, match="one holds it"):
        at(url, after(15)).acquire("run/a", "two", 10)
    assert at(url, after(15)).living("run/") == {"run/a": "one"}
    assert at(url, after(19)).living("run/") == {}
    assert at(url, after(15)).living("promotion/") == {}


def test_a_lease_that_ran_out_unnoticed_is_renewed_unless_somebody_took_it(url: str) -> None:
    """A machine that slept goes on; if another attempt came meanwhile, it finds out."""
    lease = at(url, NOW).acquire("run/a", "one", 10)
    assert at(url, after(100)).renew(lease, 10).token == lease.token
    at(url, after(200)).acquire("run/a", "two", 10)
    with pytest.raises(LeaseError, match=r"one no longer holds 'run/a' \(token 1\): two \(token 2\) does"):
        at(url, after(201)).renew(lease, 10)


def test_a_lease_that_ran_out_holds_for_nothing_though_nobody_took_it(url: str) -> None:
    """Up to its last moment it does; from then on a check says so, and anybody may come."""
    lease = at(url, NOW).acquire("promotion/a", "one", 10)
    at(url, after(9.999)).check(lease)
    for moment in (after(10), after(100)):
        with pytest.raises(LeaseError, match=r"The lease 'promotion/a' of one ran out at 2026-03-01T00:00:10\+00:00"):
            at(url, moment).check(lease)


def test_a_lease_given_back_cannot_be_renewed(url: str) -> None:
    """Who gave it back has to ask for it anew."""
    leases = Leases(url)
    lease = at(url, NOW).acquire("run/a", "one", 10)
    leases.release(lease)
    with pytest.raises(LeaseError, match="nobody does"):
        at(url, after(1)).renew(lease, 10)


def test_a_successor_does_not_wait(url: str) -> None:
    """It is asked about the holder by its words, and a yes hands the lease over with a new token at once."""
    leases, asked = Leases(url), list[str]()
    old = at(url, NOW).acquire("run/a", "try 1", 1000)

    def yes(holder: str) -> bool:
        asked.append(holder)
        return holder == "try 1"

    new = at(url, NOW).acquire("run/a", "try 2", 1000, supersedes=yes)
    assert (asked, new.token) == (["try 1"], old.token + 1)
    assert not leases.release(old)
    at(url, NOW).check(new)
    with pytest.raises(LeaseError, match="try 2 holds it"):
        at(url, NOW).acquire("run/a", "try 1", 1000, supersedes=yes)


def test_of_many_successors_one_succeeds(url: str) -> None:
    """A takeover is held against the token that was seen, so two cannot both replace the same holder."""
    at(url, NOW).acquire("run/a", "dead", 1000)
    barrier, got = threading.Barrier(8), list[int]()

    def take(number: int) -> None:
        barrier.wait()
        try:
            lease = at(url, NOW).acquire("run/a", f"s{number}", 1000, supersedes=lambda h: h == "dead")
            got.append(lease.token)
        except LeaseError:
            pass

    threads = [threading.Thread(target=take, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [2]


def test_a_heartbeat_keeps_a_lease_alive_and_gives_it_back(url: str) -> None:
    """Work that takes longer than the lease's life keeps it; when it ends, the lease is free at once."""
    leases = Leases(url)
    with keep(leases, "run/a", "one", 0.4) as held:
        time.sleep(1.2)
        assert leases.living("run/") == {"run/a": "one"}
        held.check()
    assert leases.living("run/") == {}


def test_whoever_is_taken_over_finds_out_at_its_next_check(url: str) -> None:
    """Nothing stops the work by itself; `check` does, and giving back leaves the successor's lease alone."""
    leases = Leases(url)
    with keep(leases, "run/a", "one", 30) as held:
        leases.acquire("run/a", "two", 30, supersedes=lambda _: True)
        with pytest.raises(LeaseError, match="two"):
            held.check()
    assert leases.living("run/") == {"run/a": "two"}


def test_a_database_that_comes_back_finds_the_lease_kept(url: str, tmp_path: Path) -> None:
    """A beat that fails is tried again: the lease outlives a short outage."""
    leases, refused = Leases(url), 0
    began = time.monotonic()
    with keep(leases, "run/a", "one", 4.0):
        engine = leases._database.engine
        failing = True

        @sa.event.listens_for(engine, "begin")
        def refuse(_connection: object) -> None:
            nonlocal refused
            if failing:
                refused += 1
                raise sa.exc.OperationalError("", {}, Exception("connection lost"))

        while refused == 0 and time.monotonic() - began < 4.0:
            time.sleep(0.05)
        failing = False
        assert refused, "no beat has met the outage"
        time.sleep(max(0.0, 4.5 - (time.monotonic() - began)))  # past the end of what was leased at first
        assert leases.living("run/") == {"run/a": "one"}

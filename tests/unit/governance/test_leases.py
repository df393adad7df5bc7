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


def after(seconds: float) -> datetime:
    """So many seconds later."""
    return NOW + timedelta(seconds=seconds)


def test_a_renewed_lease_lasts_longer(url: str) -> None:
    """After the end of its first life it still is its holder's, and nobody else's."""
    leases = Leases(url)
    lease = leases.acquire("run/a", "one", 10, now=NOW)
    lease = leases.renew(lease, 10, now=after(8))
    leases.check(lease, now=after(15))
    with pytest.raises(LeaseError, match="one holds it"):
        leases.acquire("run/a", "two", 10, now=after(15))
    assert leases.living("run/", now=after(15)) == {"run/a": "one"}
    assert leases.living("run/", now=after(19)) == {}
    assert leases.living("promotion/", now=after(15)) == {}


def test_a_lease_that_ran_out_unnoticed_is_renewed_unless_somebody_took_it(url: str) -> None:
    """A machine that slept goes on; if another attempt came meanwhile, it finds out."""
    leases = Leases(url)
    lease = leases.acquire("run/a", "one", 10, now=NOW)
    assert leases.renew(lease, 10, now=after(100)).token == lease.token
    leases.acquire("run/a", "two", 10, now=after(200))
    with pytest.raises(LeaseError, match=r"one no longer holds 'run/a' \(token 1\): two \(token 2\) does"):
        leases.renew(lease, 10, now=after(201))


def test_a_lease_given_back_cannot_be_renewed(url: str) -> None:
    """Who gave it back has to ask for it anew."""
    leases = Leases(url)
    lease = leases.acquire("run/a", "one", 10, now=NOW)
    leases.release(lease)
    with pytest.raises(LeaseError, match="nobody does"):
        leases.renew(lease, 10, now=after(1))


def test_a_successor_does_not_wait(url: str) -> None:
    """It is asked about the holder by its words, and a yes hands the lease over with a new token at once."""
    leases, asked = Leases(url), list[str]()
    old = leases.acquire("run/a", "try 1", 1000, now=NOW)

    def yes(holder: str) -> bool:
        asked.append(holder)
        return holder == "try 1"

    new = leases.acquire("run/a", "try 2", 1000, now=NOW, supersedes=yes)
    assert (asked, new.token) == (["try 1"], old.token + 1)
    assert not leases.release(old)
    leases.check(new, now=NOW)
    with pytest.raises(LeaseError, match="try 2 holds it"):
        leases.acquire("run/a", "try 1", 1000, now=NOW, supersedes=yes)


def test_of_many_successors_one_succeeds(url: str) -> None:
    """A takeover is held against the token that was seen, so two cannot both replace the same holder."""
    Leases(url).acquire("run/a", "dead", 1000, now=NOW)
    barrier, got = threading.Barrier(8), list[int]()

    def take(number: int) -> None:
        barrier.wait()
        try:
            lease = Leases(url).acquire("run/a", f"s{number}", 1000, now=NOW, supersedes=lambda h: h == "dead")
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
    with keep(leases, "run/a", "one", 0.4, clock=lambda: datetime.now(UTC)) as held:
        time.sleep(1.2)
        assert leases.living("run/", now=datetime.now(UTC)) == {"run/a": "one"}
        held.check()
    assert leases.living("run/", now=datetime.now(UTC)) == {}


def test_whoever_is_taken_over_finds_out_at_its_next_check(url: str) -> None:
    """Nothing stops the work by itself; `check` does, and giving back leaves the successor's lease alone."""
    leases = Leases(url)
    with keep(leases, "run/a", "one", 30, clock=lambda: datetime.now(UTC)) as held:
        leases.acquire("run/a", "two", 30, now=datetime.now(UTC), supersedes=lambda _: True)
        with pytest.raises(LeaseError, match="two"):
            held.check()
    assert leases.living("run/", now=datetime.now(UTC)) == {"run/a": "two"}


def test_a_database_that_comes_back_finds_the_lease_kept(url: str, tmp_path: Path) -> None:
    """A beat that fails is tried again: the lease outlives a short outage."""
    leases = Leases(url)
    with keep(leases, "run/a", "one", 1.0, clock=lambda: datetime.now(UTC)):
        engine = leases._database.engine
        failing = True

        @sa.event.listens_for(engine, "begin")
        def refuse(_connection: object) -> None:
            if failing:
                raise sa.exc.OperationalError("", {}, Exception("connection lost"))

        time.sleep(0.6)
        failing = False
        time.sleep(0.6)
        assert leases.living("run/", now=datetime.now(UTC)) == {"run/a": "one"}

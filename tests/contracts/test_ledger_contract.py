"""One body of tests for ledger and leases, run on SQLite and on PostgreSQL."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from mlops.config import MLOpsConfig
from mlops.errors import LeaseError, LedgerError
from mlops.governance.chain import hash_of
from mlops.governance.leases import Lease, Leases
from mlops.governance.ledger import Entry, Ledger, canonical
from mlops.pipelines import champions
from mlops.services import Services

NOW = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)


def promote(ledger: Ledger, version: int, at: datetime, **more: object) -> Entry:
    """Append a promotion."""
    return ledger.append("promotion", "fleet", {"version": version, **more}, actor="policy", at=at)


def tamper(url: str, *statements: str) -> None:
    """Change the tables behind the ledger's back, its guards removed first."""
    engine = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("DROP TRIGGER ledger_entries_guard ON ledger_entries")
        else:
            for verb in ("update", "delete"):
                connection.exec_driver_sql(f"DROP TRIGGER ledger_entries_no_{verb}")
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()


def at_once(work: Callable[[int], object], count: int) -> list[object]:
    """What `count` threads that start together answer, exceptions included."""
    barrier = threading.Barrier(count)
    answers: list[object] = [None] * count

    def one(index: int) -> None:
        barrier.wait()
        try:
            answers[index] = work(index)
        except Exception as error:  # noqa: BLE001 - handed to the test
            answers[index] = error

    threads = [threading.Thread(target=one, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def test_entries_come_back_as_they_were_written(url: str) -> None:
    """What was appended is read by another process's ledger, in order, value for value, chained."""
    body = {"text": "é ° \x00 \ud83d", "number": 0.1, "nested": [{"a": None}]}
    first = Ledger(url).append("approval", "fleet", body, actor="ann", at=NOW)
    second = Ledger(url).append("promotion", "pump", {}, actor="bob", at=NOW + timedelta(microseconds=1), key="k")
    read = Ledger(url).entries()
    assert read == [first, second]
    assert (read[0].seq, read[0].previous, read[0].body, read[0].at) == (1, "", body, NOW)
    assert (read[1].seq, read[1].previous, read[1].key) == (2, first.hash, "k")
    assert Ledger(url).entries(model="pump") == [second]
    assert Ledger(url).entries(kind="approval") == [first]
    assert Ledger(url).verify() == []


def test_an_empty_ledger_is_whole_and_knows_no_champion(url: str) -> None:
    """Nothing written: no entries, no champion, no problems."""
    ledger = Ledger(url)
    assert (ledger.entries(), ledger.champion_at("fleet", NOW), ledger.verify()) == ([], None, [])
    assert ledger.by_key("k") is None


def test_the_same_key_and_body_is_one_entry(url: str) -> None:
    """A retry with the same key finds the entry of the first try; another body under that key is refused."""
    first = Ledger(url).append("promotion", "fleet", {"version": 1}, actor="ann", at=NOW, key="fleet/1")
    again = Ledger(url).append("promotion", "fleet", {"version": 1}, actor="bob", at=NOW + timedelta(1), key="fleet/1")
    assert again == first == Ledger(url).by_key("fleet/1")
    with pytest.raises(LedgerError, match="Entry 1 already has the key 'fleet/1' and says something else"):
        Ledger(url).append("promotion", "fleet", {"version": 2}, actor="ann", at=NOW, key="fleet/1")
    assert len(Ledger(url).entries()) == 1


def test_appenders_at_once_make_one_chain(url: str) -> None:
    """Eight appenders at once, on a database not yet prepared, neither fork the chain nor lose an entry."""
    answers = at_once(
        lambda i: [Ledger(url).append("note", "m", {"by": i, "n": n}, actor="x", at=NOW) for n in range(5)], 8
    )
    assert [a for a in answers if isinstance(a, Exception)] == []
    ledger = Ledger(url)
    entries = ledger.entries()
    assert [e.seq for e in entries] == list(range(1, 41))
    assert len({(e.body["by"], e.body["n"]) for e in entries}) == 40
    assert ledger.verify() == []


def test_retries_at_once_with_one_key_make_one_entry(url: str) -> None:
    """Eight tries at once of the same piece of work leave one entry, and all are told of it."""
    answers = at_once(lambda _: Ledger(url).append("note", "m", {"v": 1}, actor="x", at=NOW, key="work"), 8)
    assert answers == [Ledger(url).by_key("work")] * 8
    assert len(Ledger(url).entries()) == 1


def test_the_champion_of_every_moment_is_known(url: str) -> None:
    """Before the first promotion nobody, then the version last promoted; refusals and other models do not count."""
    ledger = Ledger(url)
    promote(ledger, 1, NOW)
    promote(ledger, 2, NOW + timedelta(days=1), promoted=False)
    ledger.append("promotion", "pump", {"version": 9}, actor="policy", at=NOW)
    promote(ledger, 3, NOW + timedelta(days=2), promoted=True)
    promote(ledger, 1, NOW + timedelta(days=3))
    moments = [
        timedelta(microseconds=-1),
        timedelta(0),
        timedelta(days=1, hours=1),
        timedelta(days=2),
        timedelta(days=9),
    ]
    champions = [ledger.champion_at("fleet", NOW + moment) for moment in moments]
    assert [c.body["version"] if c else None for c in champions] == [None, 1, 1, 3, 1]
    assert [e.body["version"] for e in ledger.history("fleet")] == [1, 3, 1]


def test_the_database_refuses_to_change_an_entry(url: str) -> None:
    """UPDATE and DELETE on entries fail, whoever says them."""
    promote(Ledger(url), 1, NOW)
    engine = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    for statement in ("UPDATE ledger_entries SET actor = 'eve'", "DELETE FROM ledger_entries"):
        with pytest.raises(sa.exc.DBAPIError, match="append-only"), engine.begin() as connection:
            connection.exec_driver_sql(statement)
    engine.dispose()
    assert Ledger(url).verify() == []


@pytest.mark.parametrize(
    ("statement", "problems"),
    [
        ("UPDATE ledger_entries SET body = '{\"version\":9}' WHERE seq = 2", ["entry 2"]),
        ("UPDATE ledger_entries SET at = '2026-03-01T03:00:00.000001+00:00' WHERE seq = 3", ["entry 3"]),
        ("DELETE FROM ledger_entries WHERE seq = 3", ["entry 3: missing"]),
        ("DELETE FROM ledger_entries WHERE seq >= 4", ["entry 4: missing at the end", "entry 5: missing at the end"]),
        ("DELETE FROM ledger_entries WHERE seq = 1", ["entry 1: missing"]),
        ("UPDATE ledger_head SET seq = 4", ["entry 5"]),
        ("DELETE FROM ledger_head", ["entry 5"]),
    ],
)
def test_a_change_behind_its_back_is_named(url: str, statement: str, problems: list[str]) -> None:
    """Edited, dropped or cut-off entries are listed by number, and nothing else is."""
    ledger = Ledger(url)
    for version in range(1, 6):
        promote(ledger, version, NOW)
    tamper(url, statement)
    found = ledger.verify()
    assert len(found) == len(problems)
    assert all(line.startswith(expected) for line, expected in zip(found, problems, strict=True)), found


def test_swapped_entries_are_named(url: str) -> None:
    """Two entries that change places are both listed."""
    ledger = Ledger(url)
    for version in range(1, 5):
        promote(ledger, version, NOW)
    tamper(url, *(f"UPDATE ledger_entries SET seq = {new} WHERE seq = {old}" for old, new in [(2, 9), (3, 2), (9, 3)]))
    assert {line.split(":")[0] for line in ledger.verify()} >= {"entry 2", "entry 3"}


def test_an_entry_replaced_together_with_its_own_seal_breaks_the_next(url: str) -> None:
    """Who forges an entry and seals it anew is betrayed by the entry after it."""
    ledger = Ledger(url)
    for version in range(1, 4):
        promote(ledger, version, NOW)
    entry = ledger.entries()[1]
    row = {"seq": 2, "model": entry.model, "kind": entry.kind, "key": None, "actor": "eve", "previous": entry.previous}
    row |= {"at": entry.at.isoformat(timespec="microseconds"), "body": canonical(entry.body)}
    tamper(url, f"UPDATE ledger_entries SET actor = 'eve', hash = '{hash_of(row)}' WHERE seq = 2")
    assert ledger.verify() == ["entry 3: it does not follow entry 2 as that stands now"]


def at(url: str, moment: datetime) -> Leases:
    """The leases as they are at a moment."""
    return Leases(url, clock=lambda: moment)


def test_a_lease_has_one_holder_and_growing_tokens(url: str) -> None:
    """While one holds it another is told who; after it is given back the token has grown."""
    with at(url, NOW).hold("promotion/fleet", "first", 60) as lease:
        assert lease == Lease("promotion/fleet", "first", 1, NOW + timedelta(seconds=60))
        with (
            pytest.raises(LeaseError, match=r"second cannot have .* first holds it until 2026-03-01T03:01:00\+00:00"),
            at(url, NOW + timedelta(seconds=59)).hold("promotion/fleet", "second", 60),
        ):
            pass
        with at(url, NOW).hold("promotion/pump", "second", 60) as other:
            assert other.token == 1
        at(url, NOW + timedelta(seconds=59)).check(lease)
    with at(url, NOW).hold("promotion/fleet", "second", 60) as lease:
        assert lease.token == 2


def test_a_lease_that_ran_out_can_be_taken_over_and_its_holder_finds_out(url: str) -> None:
    """After a takeover the slow holder's check fails and its giving back changes nothing."""
    leases = Leases(url)
    later = NOW + timedelta(seconds=60)
    with at(url, NOW).hold("x", "slow", 60) as slow:
        with pytest.raises(LeaseError, match="ran out at 2026-03-01T03:01:00"):
            at(url, later).check(slow)
        with at(url, later).hold("x", "fast", 60) as fast:
            assert fast.token == slow.token + 1
            with pytest.raises(LeaseError, match=r"slow no longer holds 'x' \(token 1\): fast \(token 2\) does"):
                at(url, NOW).check(slow)
            assert leases.release(slow) is False
            at(url, later).check(fast)


def test_a_lease_is_given_back_when_the_work_fails(url: str) -> None:
    """An exception inside the block frees the lease at once, and a check of a freed lease fails."""
    with pytest.raises(ZeroDivisionError), at(url, NOW).hold("x", "a", 60) as lease:
        _ = 1 / 0
    with pytest.raises(LeaseError, match="nobody does"):
        at(url, NOW).check(lease)
    with at(url, NOW).hold("x", "b", 60) as second:
        assert second.token == 2


def test_waiting_is_bounded_and_ends_when_the_lease_is_free(url: str) -> None:
    """A waiter takes the lease at the first try after it is given back, and gives up after its time."""
    holder = Leases(url)
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            holder.release(lease)

    lease = holder.acquire("x", "first", 60)
    with Leases(url, sleep=sleep).hold("x", "second", 60, wait_seconds=5) as mine:
        assert mine.token == 2
        assert len(slept) == 3
        slept.clear()
        with (
            pytest.raises(LeaseError, match=r"after 0.5 s of waiting: second holds it"),
            Leases(url, sleep=slept.append).hold("x", "third", 60, wait_seconds=0.5),
        ):
            pass
    assert sum(slept) == pytest.approx(0.5)


def test_of_many_takers_at_once_exactly_one_gets_the_lease(url: str) -> None:
    """Eight threads on a database not yet prepared: one lease, seven refusals that name the holder."""

    def take(index: int) -> Lease:
        return at(url, NOW).acquire("x", f"t{index}", 60)

    for expected_token in (1, 2):
        answers = at_once(take, 8)
        won = [a for a in answers if isinstance(a, Lease)]
        assert [w.token for w in won] == [expected_token]
        assert all(isinstance(a, LeaseError) and won[0].holder in str(a) for a in answers if a not in won)
        assert Leases(url).release(won[0])


def test_a_killed_process_holds_its_lease_until_it_runs_out(url: str) -> None:
    """A process killed inside the block keeps others out for its time to live and no longer."""
    program = (
        "import os, signal, sys\nfrom datetime import datetime\nfrom mlops.governance.leases import Leases\n"
        "leases = Leases(sys.argv[1], clock=lambda: datetime.fromisoformat(sys.argv[2]))\n"
        "with leases.hold('x', 'killed', 60):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, url, NOW.isoformat()], check=False, timeout=60)
    assert done.returncode == -9
    with pytest.raises(LeaseError, match="killed holds it"):
        at(url, NOW + timedelta(seconds=59)).acquire("x", "next", 60)
    assert at(url, NOW + timedelta(seconds=60)).acquire("x", "next", 60).token == 2


def test_a_host_whose_clock_is_wrong_neither_takes_nor_keeps_a_lease(url: str, tmp_path: Path) -> None:
    """Ten years ahead it does not take what is held, ten years behind it does not lose what it holds."""
    values = {
        "home": Path(__file__).parents[2],
        "var": str(tmp_path / "var"),
        "ledger_url": url,
        "code_version": "test",
    }
    hosts = [
        Services(MLOpsConfig.build(values), lambda years=years: datetime.now(UTC) + timedelta(days=3650 * years))
        for years in (-1, 1)
    ]
    for holder, other in (hosts, reversed(hosts)):
        with champions.exclusive(holder, "fleet", "work") as lease:
            with pytest.raises(LeaseError, match="cannot have"):
                other.leases.acquire("promotion/fleet", "other", 30)
            holder.leases.check(lease)
            off = abs((lease.expires_at - datetime.now(UTC)).total_seconds() - champions.LEASE_SECONDS)
            assert off < 20
            assert other.leases.living("promotion/") == {"promotion/fleet": lease.holder}


def test_a_lease_runs_out_by_the_database_clock(url: str) -> None:
    """Nothing but time passes: then it is somebody else's, and its holder finds out."""
    leases = Leases(url)
    lease = leases.acquire("x", "slow", 0.3)
    with pytest.raises(LeaseError, match="slow holds it"):
        leases.acquire("x", "fast", 30)
    fast = leases.acquire("x", "fast", 30, wait_seconds=20)
    with pytest.raises(LeaseError, match="fast"):
        leases.check(lease)
    assert leases.living("") == {"x": "fast"}
    leases.check(fast)

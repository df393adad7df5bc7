"""Whoever has the database but not the key can change nothing that is not found and named."""

from __future__ import annotations

import json
import sqlite3
import tempfile
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops.errors import LedgerError
from mlops.governance import ledger_keys
from mlops.governance.chain import Row, Verification, entry_seal, hash_of
from mlops.governance.ledger import Ledger
from mlops.governance.ledger_keys import LedgerKeys

NOW = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)
ENTRIES = 5
TEXT = tuple(name for name in Row._fields if name != "seq")


@dataclass(frozen=True)
class Copy:
    """A copy of the sealed ledger that a test may tamper with."""

    folder: Path

    @property
    def ledger(self) -> Ledger:
        """The ledger with its keys."""
        return Ledger(f"sqlite:///{self.folder}/l.db", LedgerKeys(self.folder / "key"))

    def run(self, *statements: tuple[str, tuple[Any, ...]]) -> None:
        """Change the tables behind the ledger's back."""
        connection = sqlite3.connect(self.folder / "l.db")
        for statement, values in statements:
            connection.execute(statement, values)
        connection.commit()
        connection.close()

    def rows(self) -> list[Row]:
        """All entries."""
        return list(self.ledger.rows())


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """Database (without its guards) and key file of a sealed ledger whose key was rotated in the middle."""
    folder = tmp_path_factory.mktemp("sealed")
    copy = Copy(folder)
    for number in range(2):
        copy.ledger.append("note", "fleet", {"number": number}, actor="ann", at=NOW, key=f"k{number}")
    copy.ledger.rotate_key(actor="ann", at=NOW)
    for number in range(2):
        copy.ledger.append("note", "pump", {"number": number}, actor="bob", at=NOW)
    copy.run(("DROP TRIGGER ledger_entries_no_update", ()), ("DROP TRIGGER ledger_entries_no_delete", ()))
    with sqlite3.connect(folder / "l.db") as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
    return (folder / "l.db").read_bytes(), (folder / "key").read_bytes()


def restored(files: tuple[bytes, bytes], folder: str | Path) -> Copy:
    """A fresh copy in a folder."""
    Path(folder, "l.db").write_bytes(files[0])
    Path(folder, "key").write_bytes(files[1])
    return Copy(Path(folder))


def forged(row: Row, **changes: Any) -> tuple[Any, ...]:
    """A row whose plain hash was computed right after it was changed."""
    new = row._replace(**changes)
    return tuple(new._replace(hash=hash_of(new)))


INSERT = f"INSERT INTO ledger_entries ({', '.join(Row._fields)}) VALUES ({', '.join('?' * len(Row._fields))})"
HEAD = "UPDATE ledger_head SET seq = ?, hash = ?"


def named(found: Verification) -> set[int]:
    """Numbers of the entries that problems speak of."""
    return {int(problem.split(":")[0].removeprefix("entry ")) for problem in found.problems}


def test_an_untouched_ledger_is_whole(files: tuple[bytes, bytes], tmp_path: Path) -> None:
    """Nothing tampered with: whole, all entries sealed, by two generations of keys."""
    found = restored(files, tmp_path).ledger.check()
    assert (found.verdict, found.problems, found.unknown, found.entries, found.sealed) == ("whole", (), (), 5, 5)
    assert len(found.keys) == 2


@settings(max_examples=80, deadline=None)
@given(seq=st.integers(1, ENTRIES), column=st.sampled_from(TEXT), data=st.data())
def test_any_edited_column_is_named(files: tuple[bytes, bytes], seq: int, column: str, data: st.DataObject) -> None:
    """Whatever is put into whatever column of whatever entry, seals included, that entry is named."""
    with tempfile.TemporaryDirectory() as folder:
        copy = restored(files, folder)
        old = getattr(copy.rows()[seq - 1], column)
        options = [st.text(st.characters(codec="ascii"), max_size=8), st.binary(max_size=4), st.integers(0, 9)]
        new = data.draw(st.one_of(*options).filter(lambda value: str(value) != str(old)))
        copy.run((f"UPDATE ledger_entries SET {column} = ? WHERE seq = ?", (new, seq)))
        assert seq in named(copy.ledger.check())


@settings(max_examples=40, deadline=None)
@given(seq=st.integers(1, ENTRIES), column=st.sampled_from(["model", "kind", "actor", "at", "body", "key"]))
def test_an_edit_with_its_hash_computed_anew_is_named(files: tuple[bytes, bytes], seq: int, column: str) -> None:
    """An edited entry whose hash fits again, and whose successors were all chained anew, lacks the seal."""
    with tempfile.TemporaryDirectory() as folder:
        copy = restored(files, folder)
        rows, previous = copy.rows(), copy.rows()[seq - 2].hash if seq > 1 else ""
        changed: list[tuple[str, tuple[Any, ...]]] = [("DELETE FROM ledger_entries WHERE seq >= ?", (seq,))]
        for row in rows[seq - 1 :]:
            made = forged(row, previous=previous, **({column: "{}x"} if row.seq == seq else {}))
            previous = str(made[Row._fields.index("hash")])
            changed.append((INSERT, made))
        copy.run(*changed, (HEAD, (ENTRIES, previous)))
        found = copy.ledger.check()
        assert seq in named(found)
        assert found.problems[0].startswith(f"entry {seq}: its seal was not made with key")


@settings(max_examples=40, deadline=None)
@given(first=st.integers(1, ENTRIES), count=st.integers(1, ENTRIES), patched=st.booleans())
def test_dropped_and_cut_off_entries_are_named(
    files: tuple[bytes, bytes], first: int, count: int, patched: bool
) -> None:
    """Entries taken out are named one by one; cut off at the end with the head set to fit, the place is named."""
    last = min(first + count - 1, ENTRIES)
    with tempfile.TemporaryDirectory() as folder:
        copy = restored(files, folder)
        rows = copy.rows()
        copy.run(("DELETE FROM ledger_entries WHERE seq BETWEEN ? AND ?", (first, last)))
        if patched and last == ENTRIES:
            copy.run((HEAD, (first - 1, rows[first - 2].hash if first > 1 else "")))
            found = copy.ledger.check()
            assert found.verdict == "broken"
            assert named(found) == {first - 1}
            assert "entries after it may be gone" in found.problems[0] or "sealed no entry" in found.problems[0]
        else:
            assert named(copy.ledger.check()) == set(range(first, last + 1))


@settings(max_examples=30, deadline=None)
@given(order=st.permutations(range(1, ENTRIES + 1)))
def test_reordered_entries_are_named(files: tuple[bytes, bytes], order: list[int]) -> None:
    """Every entry that is not at its place is named."""
    with tempfile.TemporaryDirectory() as folder:
        copy = restored(files, folder)
        rows = copy.rows()
        moved = [(INSERT, tuple(rows[old - 1]._replace(seq=new))) for new, old in enumerate(order, start=1)]
        copy.run(("DELETE FROM ledger_entries", ()), *moved)
        elsewhere = {new for new, old in enumerate(order, start=1) if new != old}
        assert elsewhere <= named(copy.ledger.check())


@pytest.mark.parametrize("seal", ["none", "copied", "invented", "other_key"])
def test_an_entry_appended_by_hand_is_named(files: tuple[bytes, bytes], tmp_path: Path, seal: str) -> None:
    """With number, hash and head all right, an entry without the key's seal is found out."""
    copy = restored(files, tmp_path)
    last = copy.rows()[-1]
    sealed_by = None if seal == "none" else "kinvented" if seal == "invented" else last.sealed_by
    made = forged(last, seq=6, previous=last.hash, key=None, body='{"promoted":true}', sealed_by=sealed_by, seal=None)
    digest = str(made[Row._fields.index("hash")])
    value = {"none": None, "copied": last.seal, "invented": "0" * 64, "other_key": entry_seal(b"x" * 32, digest)}[seal]
    copy.run((INSERT, (*made[:-1], value)), (HEAD, (6, digest)))
    found = copy.ledger.check()
    assert found.verdict == "broken"
    assert named(found) == {6}


def test_a_replaced_key_must_not_seal_again(files: tuple[bytes, bytes], tmp_path: Path) -> None:
    """An entry sealed with a key that another one had replaced is named, though the seal is right."""
    copy = restored(files, tmp_path)
    old, last = next(iter(LedgerKeys(tmp_path / "key").all().items())), copy.rows()[-1]
    made = forged(last, seq=6, previous=last.hash, key=None, sealed_by=old[0], seal=None)
    digest = str(made[Row._fields.index("hash")])
    copy.run((INSERT, (*made[:-1], entry_seal(old[1], digest))), (HEAD, (6, digest)))
    assert "entry 6: sealed with key" in copy.ledger.check().problems[0]


def test_without_the_key_it_cannot_tell_and_still_follows_the_chain(files: tuple[bytes, bytes], tmp_path: Path) -> None:
    """No key file: the verdict is "cannot tell" and says why; an edited entry is named all the same."""
    copy = restored(files, tmp_path)
    (tmp_path / "key").unlink()
    found = copy.ledger.check()
    assert (found.verdict, found.problems, found.sealed) == ("cannot_tell", (), 0)
    assert "entries 1 to 3) sealed with key" in found.unknown[0]
    copy.run(("UPDATE ledger_entries SET actor = 'eve' WHERE seq = 2", ()))
    assert named(copy.ledger.check()) == {2}


def test_a_ledger_from_before_keys_goes_on_and_is_vouched_for_by_the_next_entry(tmp_path: Path) -> None:
    """Entries without seals: cannot tell, until one with a seal follows; then a change of the old ones is found."""
    url = f"sqlite:///{tmp_path}/l.db"
    Ledger(url).append("note", "m", {}, actor="a", at=NOW)
    with sqlite3.connect(tmp_path / "l.db") as connection:
        for table in ("ledger_entries", "ledger_head"):
            for column in ("sealed_by", "seal"):
                connection.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
    ledger = Ledger(url, LedgerKeys(tmp_path / "key"))
    assert ledger.check().verdict == "cannot_tell"
    ledger.append("note", "m", {}, actor="a", at=NOW)
    found = ledger.check()
    assert (found.verdict, found.sealed) == ("whole", 1)
    assert "entry 1 were made without a key" in found.notes[0]


def test_an_export_verifies_and_shows_what_was_rolled_back(files: tuple[bytes, bytes], tmp_path: Path) -> None:
    """A file is followed like the database; an older state put back whole is found by holding it against the export."""
    before = restored(files, tmp_path)
    before.ledger.append("note", "fleet", {"number": 9}, actor="ann", at=NOW)
    path = tmp_path / "ledger.jsonl"
    path.write_text("".join(f"{line}\n" for line in before.ledger.export()))
    assert before.ledger.check_file(path) == before.ledger.check()
    assert before.ledger.differences(path) == []
    after = restored(files, tmp_path)
    assert after.ledger.check().verdict == "whole"
    assert after.ledger.differences(path) == ["entry 6: is in ledger.jsonl and missing now"]
    text = path.read_text().splitlines()
    path.write_text("\n".join([*text[:1], text[1].replace("ann", "eve"), *text[2:]]))
    assert named(after.ledger.check_file(path)) == {2}
    path.write_text("\n".join([*text[:-2], text[-1]]))
    assert after.ledger.check_file(path).problems == ("entry 6: missing at the end",)
    path.write_text(text[0] + "\n{nonsense")
    with pytest.raises(LedgerError, match=r"Line 2 of .* is not an entry"):
        after.ledger.check_file(path)


@pytest.mark.parametrize(
    ("order", "problem"),
    [
        ((1, 2, 2, 3, 4, 5), "entry 2: stands again, or too late, after entry 2"),
        ((1, 2, 3, 4, 5, 1, 2, 3, 4, 5), "entry 1: stands again, or too late, after entry 5"),
        ((1, 3, 2, 4, 5), "entry 2: stands again, or too late, after entry 3"),
    ],
)
def test_an_entry_that_stands_twice_or_too_late_in_an_export_is_named(
    files: tuple[bytes, bytes], tmp_path: Path, order: tuple[int, ...], problem: str
) -> None:
    """A file has no primary key: repeated and moved lines break it, though each of them is genuine."""
    ledger = restored(files, tmp_path).ledger
    *entries, head = ledger.export()
    path = tmp_path / "ledger.jsonl"
    path.write_text("\n".join([*(entries[seq - 1] for seq in order), head]))
    found = ledger.check_file(path)
    assert (found.verdict, problem in found.problems) == ("broken", True)


@pytest.mark.parametrize("number", ["last", 2.5, -1])
def test_an_entry_under_what_is_no_number_is_named(
    files: tuple[bytes, bytes], tmp_path: Path, number: str | float
) -> None:
    """SQLite takes anything for a number: verification says so instead of stumbling over it."""
    copy = restored(files, tmp_path)
    row = copy.rows()[-1]
    copy.run((INSERT, forged(row, seq=number, key=None)))
    found = copy.ledger.check()
    assert [problem.partition(":")[0] for problem in found.problems] == [f"entry {number!r}"]
    assert "by hand" in found.problems[0]
    copy.run((HEAD, ("last", row.hash)))
    assert "'last' is no number of an entry" in copy.ledger.check().problems[-1]


def test_many_problems_are_counted_not_kept(tmp_path: Path) -> None:
    """A gap of a billion entries is one line; verification does not fill memory with words."""
    copy = Copy(tmp_path)
    copy.ledger.append("note", "m", {}, actor="a", at=NOW)
    row = copy.rows()[0]
    copy.run((INSERT, forged(row, seq=10**9, previous=row.hash)))
    assert "entry 2: missing, and all up to entry 999999999" in copy.ledger.verify()


def test_the_key_is_for_its_owner_alone_and_a_damaged_file_is_refused(tmp_path: Path) -> None:
    """The file has mode 0600; a cut-off one stops appending with the remedy, it is not replaced."""
    copy = Copy(tmp_path)
    copy.ledger.append("note", "m", {}, actor="a", at=NOW)
    path = tmp_path / "key"
    assert path.stat().st_mode & 0o777 == 0o600
    body = json.loads(path.read_text())
    path.write_text(json.dumps(body | {"current": "other"}))
    with pytest.raises(LedgerError, match="Restore it from its backup"):
        copy.ledger.append("note", "m", {}, actor="a", at=NOW)
    assert len(copy.rows()) == 1


def test_keys_made_at_once_do_not_write_over_one_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second process that adds a key while the first is at it waits, and finds the first one's: none is lost."""
    path = tmp_path / "key"
    assert LedgerKeys(path).current().id
    made: list[str] = []
    second = threading.Thread(target=lambda: made.append(LedgerKeys(path).add()))
    new_key = ledger_keys._new_key

    def interrupted() -> ledger_keys.LedgerKey:
        monkeypatch.setattr(ledger_keys, "_new_key", new_key)
        second.start()
        second.join(0.5)
        return new_key()

    monkeypatch.setattr(ledger_keys, "_new_key", interrupted)
    first = LedgerKeys(path).add()
    second.join()
    assert made == [first]
    assert list(LedgerKeys(path).all())[1:] == [first]


def test_a_key_that_is_not_in_the_file_is_not_put_to_use(tmp_path: Path) -> None:
    """The file was replaced between adding and using: refused, and what is there works on; an older key never wins."""
    keys = LedgerKeys(tmp_path / "key")
    old = keys.current().id
    before = keys.path.read_bytes()
    lost = keys.add()
    keys.path.write_bytes(before)
    with pytest.raises(LedgerError, match=f"{lost} is not in .* any more; {old} seals"):
        keys.use(lost)
    assert LedgerKeys(keys.path).current().id == old
    new = keys.add()
    keys.use(new)
    keys.use(old)
    assert keys.current().id == new


def test_a_key_that_was_asked_for_must_be_there(tmp_path: Path) -> None:
    """A key file named in the settings is never made silently: another machine may hold the real one."""
    ledger = Ledger(f"sqlite:///{tmp_path}/l.db", LedgerKeys(tmp_path / "key", make=False))
    with pytest.raises(LedgerError, match="mlops ledger rotate-key"):
        ledger.append("note", "m", {}, actor="a", at=NOW)
    ledger.rotate_key(actor="a", at=NOW)
    assert ledger.append("note", "m", {}, actor="a", at=NOW).sealed_by


def test_many_appends_in_a_session_are_sealed_and_durable(tmp_path: Path) -> None:
    """A session keeps the connection, not the transaction: every append is there for others at once."""
    copy = Copy(tmp_path)
    with copy.ledger.session():
        pass
    ledger = copy.ledger
    with ledger.session():
        for number in range(20):
            ledger.append("note", "m", {"n": number}, actor="a", at=NOW)
            assert len(copy.rows()) == number + 1
    assert ledger.check().verdict == "whole"

"""What the ledger promises when it is handed nonsense, or its database refuses."""

from __future__ import annotations

import json
import sqlite3
import tempfile
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops.errors import LeaseError, LedgerError
from mlops.governance.leases import Leases
from mlops.governance.ledger import Ledger, canonical

NOW = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)
COLUMNS = ("model", "kind", "key", "actor", "at", "body", "previous", "hash")


def append(ledger: Ledger, **body: Any) -> None:
    """One entry."""
    ledger.append("note", "fleet", body, actor="ann", at=NOW, key=f"note/{len(ledger.entries())}")


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file of a ledger of four entries, its guards removed."""
    path = tmp_path_factory.mktemp("chain") / "ledger.db"
    for version in range(4):
        append(Ledger(f"sqlite:///{path}"), version=version)
    connection = sqlite3.connect(path)
    connection.execute("DROP TRIGGER ledger_entries_no_update")
    connection.execute("PRAGMA journal_mode=DELETE")
    connection.close()
    return path.read_bytes()


@settings(max_examples=60, deadline=None)
@given(seq=st.integers(1, 4), column=st.sampled_from(COLUMNS), data=st.data())
def test_any_edited_byte_breaks_the_chain(chain: bytes, seq: int, column: str, data: st.DataObject) -> None:
    """Whatever character of whatever column of whatever entry is changed, verify names that entry."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.db"
        path.write_bytes(chain)
        connection = sqlite3.connect(path)
        text = connection.execute(f"SELECT {column} FROM ledger_entries WHERE seq = {seq}").fetchone()[0]
        at = data.draw(st.integers(0, len(text)))
        letter = data.draw(st.sampled_from("x9 {").filter(lambda c: text[at : at + 1] != c))
        edited = text[:at] + letter + text[at + 1 :]
        connection.execute(f"UPDATE ledger_entries SET {column} = ? WHERE seq = ?", (edited, seq))
        connection.commit()
        connection.close()
        assert any(line.startswith(f"entry {seq}:") for line in Ledger(f"sqlite:///{path}").verify())


def test_canonical_json_does_not_depend_on_the_order_of_keys() -> None:
    """Two dicts that are equal have one text; what is not JSON is refused."""
    assert canonical({"b": [1.5, None], "a": {"d": 1, "c": "ü"}}) == '{"a":{"c":"\\u00fc","d":1},"b":[1.5,null]}'
    assert json.loads(canonical({"a": "ü"})) == {"a": "ü"}
    for wrong in ({"a": float("nan")}, {"a": float("inf")}, {"a": NOW}):
        with pytest.raises(LedgerError, match="must be JSON"):
            canonical(wrong)


def test_times_are_kept_in_utc_and_need_a_zone(tmp_path: Path) -> None:
    """The same instant in another zone is the same instant; a time without zone is refused everywhere."""
    ledger = Ledger(f"sqlite:///{tmp_path}/l.db")
    entry = ledger.append("note", "m", {}, actor="a", at=NOW.astimezone(timezone(timedelta(hours=-7))))
    assert entry.at == NOW
    assert ledger.entries()[0].at.utcoffset() == timedelta(0)
    naive = NOW.replace(tzinfo=None)
    with pytest.raises(LedgerError, match="has no time zone"):
        ledger.append("note", "m", {}, actor="a", at=naive)
    with pytest.raises(LedgerError, match="has no time zone"):
        ledger.champion_at("m", naive)


def test_a_lease_without_holder_or_time_is_refused(tmp_path: Path) -> None:
    """A nameless holder or a time to live of zero would guard nothing."""
    leases = Leases(f"sqlite:///{tmp_path}/l.db")
    for holder, ttl in (("", 60.0), ("a", 0.0)):
        with pytest.raises(LeaseError, match="needs a holder"), leases.hold("x", holder, ttl):
            pass


def test_a_read_only_ledger_can_be_read_and_says_what_to_do_on_a_write(tmp_path: Path) -> None:
    """Appending to a database without write permission fails with the remedy; reading works."""
    path = tmp_path / "l.db"
    append(Ledger(f"sqlite:///{path}"), version=1)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
    read_only = Ledger(f"sqlite:///file:{path}?mode=ro&uri=true")
    assert len(read_only.entries()) == 1
    assert read_only.verify() == []
    with pytest.raises(LedgerError, match=r"readonly database\. Give this user write permission"):
        append(read_only, version=2)


def test_a_full_disk_leaves_the_ledger_whole(tmp_path: Path) -> None:
    """When the disk is full the append fails with the remedy and writes nothing; with space it works again."""
    ledger = Ledger(f"sqlite:///{tmp_path}/l.db")
    append(ledger, version=1)

    def full(connection: Any, _record: Any) -> None:
        used = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count={used}")

    sa.event.listen(ledger._database.engine, "connect", full)
    with pytest.raises(LedgerError, match=r"disk is full\. Free space"):
        append(ledger, text="x" * 100_000)
    sa.event.remove(ledger._database.engine, "connect", full)
    assert (len(ledger.entries()), ledger.verify()) == (1, [])
    append(ledger, text="x" * 100_000)
    assert (len(ledger.entries()), ledger.verify()) == (2, [])


def test_a_file_that_is_no_database_is_not_touched(tmp_path: Path) -> None:
    """A damaged file is reported and stays as it is."""
    path = tmp_path / "l.db"
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(LedgerError, match="Restore it from a backup"):
        Ledger(f"sqlite:///{path}").entries()
    assert path.read_bytes() == b"not a database at all" * 100


def test_a_folder_that_cannot_be_made_is_an_error_with_the_remedy(tmp_path: Path) -> None:
    """A file where the folder should be is named, not a traceback of the driver."""
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerError, match=r"folder of the ledger .* cannot be made"):
        Ledger(f"sqlite:///{tmp_path}/file/below/l.db").entries()


def test_an_unreachable_server_is_an_error_that_hides_the_password() -> None:
    """Connection refused becomes a LedgerError that says what to start, without the password."""
    with pytest.raises(LedgerError, match="Start the database server") as caught:
        Ledger("postgresql://ann:secret@127.0.0.1:1/x").entries()
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["nonsense", "sqlite://", "sqlite:///:memory:", "oracle+nope://x/y"])
def test_a_wrong_url_is_refused_with_examples(url: str) -> None:
    """What is no URL, an unknown driver and a database in memory are refused before anything is lost."""
    with pytest.raises(LedgerError, match="Set MLOPS_LEDGER_URL to"):
        Ledger(url)


def test_a_ledger_without_its_head_refuses_to_go_on(tmp_path: Path) -> None:
    """When the record of the last entry is gone, appending would start a second chain: it is refused."""
    ledger = Ledger(f"sqlite:///{tmp_path}/l.db")
    append(ledger, version=1)
    with sqlite3.connect(tmp_path / "l.db") as connection:
        connection.execute("DELETE FROM ledger_head")
    with pytest.raises(LedgerError, match="lost the record of its last entry"):
        append(ledger, version=2)

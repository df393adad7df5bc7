"""`mlops ledger …` as people type it."""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from mlops.cli.__main__ import app
from mlops.errors import LedgerError
from mlops.services import Services

AT = datetime(2026, 3, 5, 4, tzinfo=UTC)


@pytest.fixture
def decided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Services:
    """An installation in which three things were decided."""
    monkeypatch.setenv("MLOPS_VAR", str(tmp_path / "var"))
    services = Services.open()
    for version in (1, 2):
        body = {"version": version, "reason": f"Version {version} is better."}
        services.ledger.append("promotion", "pumps", body, actor="ann", at=AT)
    services.ledger.append("hold", "fans", {"version": 7, "reason": "an audit"}, actor="bob", at=AT)
    return services


def mlops(*words: str) -> Result:
    """A command and what it answered."""
    return CliRunner().invoke(app, list(words))


def tamper(services: Services, statement: str) -> None:
    """Change the database behind the ledger's back, its guards removed."""
    connection = sqlite3.connect(services.config.ledger_url.removeprefix("sqlite:///"))
    with connection:
        for trigger in ("ledger_entries_no_update", "ledger_entries_no_delete"):
            connection.execute(f"DROP TRIGGER IF EXISTS {trigger}")
        connection.execute(statement)
    connection.close()


def test_a_whole_ledger_leaves_with_zero_and_its_last_hash(decided: Services) -> None:
    """`verify` counts the entries and shows the hash that can be kept elsewhere."""
    answer = mlops("ledger", "verify")
    assert answer.exit_code == 0
    assert answer.output.startswith("whole  3 entries")
    assert decided.ledger.entries()[-1].hash[:16] in answer.output


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE ledger_entries SET actor = 'eve' WHERE seq = 2", "entry 2: its content is not what was sealed"),
        ("DELETE FROM ledger_entries WHERE seq = 2", "entry 2: missing"),
        ("DELETE FROM ledger_entries WHERE seq = 3", "entry 3: missing"),
    ],
)
def test_a_broken_ledger_leaves_with_three_and_names_the_entry(decided: Services, statement: str, words: str) -> None:
    """`verify` says which entry was edited, dropped or cut off, for people and with `--json`."""
    tamper(decided, statement)
    answer = mlops("ledger", "verify")
    assert answer.exit_code == 3
    assert words in answer.output
    told = json.loads(mlops("ledger", "verify", "--json").stdout)
    assert told["verdict"] == "broken"
    assert any(words in problem for problem in told["problems"])


def test_without_its_key_a_ledger_cannot_tell(decided: Services) -> None:
    """A key that is gone is neither whole nor broken."""
    decided.config.ledger_key_file.unlink()
    answer = mlops("ledger", "verify")
    assert answer.exit_code == 3
    assert answer.output.startswith("cannot tell")


def test_show_is_filtered_and_knows_what_was_meant(decided: Services) -> None:
    """A model, a kind, the last few; an unknown name says which was probably meant."""
    shown = json.loads(mlops("ledger", "show", "pumps", "--last", "1", "--json").stdout)
    assert [(entry["seq"], entry["body"]["version"]) for entry in shown] == [(2, 2)]
    assert "an audit" in mlops("ledger", "show", "--kind", "hold").output
    error = mlops("ledger", "show", "pump").exception
    assert isinstance(error, LedgerError)
    assert "Did you mean 'pumps'?" in str(error)


def test_an_export_is_verified_without_the_database_and_convicts_it_later(decided: Services, tmp_path: Path) -> None:
    """The file holds the chain; a database put back to an older state differs from it."""
    file = tmp_path / "ledger.jsonl"
    assert mlops("ledger", "export", "--output", str(file)).exit_code == 0
    assert len(file.read_text().splitlines()) == 1 + 3
    assert mlops("ledger", "verify", "--file", str(file)).exit_code == 0
    tamper(decided, "DELETE FROM ledger_entries WHERE seq = 3")
    answer = mlops("ledger", "verify", "--against", str(file))
    assert answer.exit_code == 3
    edited = file.read_text().replace("Version 2 is better.", "Version 2 is worse.")
    file.write_text(edited)
    answer = mlops("ledger", "verify", "--file", str(file))
    assert answer.exit_code == 3
    assert "entry 2" in answer.output


def test_a_rotated_key_seals_from_now_on_and_the_old_one_still_verifies(decided: Services) -> None:
    """After `rotate-key` the ledger is whole, sealed by two keys."""
    assert mlops("ledger", "rotate-key").exit_code == 0
    Services.open().ledger.append("hold", "fans", {"version": 8, "reason": "again"}, actor="bob", at=AT)
    told = json.loads(mlops("ledger", "verify", "--json").stdout)
    assert told["verdict"] == "whole"
    assert len(told["keys"]) == 2

"""The commands about the champion: what they print, what they leave with, and what they leave alone."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from mlops.cli.__main__ import app
from mlops.errors import MLOpsError
from tests.contenders import Contenders

ROOT = Path(__file__).parents[3]


def mlops(*arguments: str) -> tuple[int, str]:
    """Call the command line; exit code and what it printed."""
    done = CliRunner(env={"COLUMNS": "200"}).invoke(app, list(arguments))
    if isinstance(done.exception, MLOpsError):
        raise done.exception
    return done.exit_code, done.output


def asked(*arguments: str) -> Any:
    """The JSON that a command prints."""
    return json.loads(mlops(*arguments, "--json")[1])


def test_promote_takes_the_challenger_and_champion_tells_of_it(contenders: Contenders) -> None:
    """Without options the challenger is promoted; then version, since when, by whom and on what evidence is told."""
    name = contenders.spec.name
    assert mlops("champion", name) == (3, f"{name} has no champion yet.\n")
    contenders.contender()
    code, said = mlops("promote", name)
    assert (code, said) == (0, "done  Version 1 is the first champion.\n")
    told = asked("champion", name)
    assert (told["version"], told["until_at"], told["by"]) == (1, None, "policy:automatic")
    assert told["evidence_hash"] == contenders.judged[1].evidence_hash
    code, said = mlops("champion", name)
    assert code == 0
    assert "is the first champion" in said
    assert told["evidence_hash"] in said.replace("\n", "")


def test_a_refused_promotion_leaves_with_3(contenders: Contenders) -> None:
    """A "no" is neither a success nor an error."""
    contenders.register()
    contenders.judge(1, "fail")
    code, said = mlops("promote", contenders.spec.name, "--version", "1")
    assert code == 3
    assert "did not pass its gates" in said


def test_promote_without_a_challenger_says_what_to_do(contenders: Contenders) -> None:
    """An error that names the command which makes one."""
    with pytest.raises(MLOpsError, match=r"has no challenger.*mlops run all"):
        mlops("promote", contenders.spec.name)


def test_dry_run_prints_all_checks_and_writes_nothing(contenders: Contenders) -> None:
    """The table names every check; a refusal leaves with 3; the ledger stays empty and the alias unset."""
    contenders.contender()
    name = contenders.spec.name
    code, said = mlops("promote", name, "--dry-run")
    assert code == 0
    for check in ("gates", "evidence", "digest", "signature", "stage", "champion", "alias", "history"):
        assert check in said
    contenders.judge(1, "fail")
    assert mlops("promote", name, "--version", "1", "--dry-run")[0] == 3
    told = asked("promote", name, "--version", "1", "--dry-run")
    assert told["verdict"] == "fail"
    assert told["checks"][0]["reason"].startswith("Version 1 did not pass its gates")
    assert contenders.services.ledger.entries() == []
    assert contenders.services.registry.by_alias(name, "champion") is None


def test_rollback_history_and_the_champion_of_a_night_or_time(contenders: Contenders) -> None:
    """After two promotions and a rollback every question about the past has its answer."""
    name = contenders.spec.name
    for version in (1, 2):
        contenders.contender()
        assert mlops("promote", name, "--version", str(version))[0] == 0
    assert mlops("rollback", name, "--reason", "It smells.") == (
        0,
        "done  Rolled back from version 2 to version 1. It smells.\n",
    )
    newest, middle, oldest = asked("champion", name, "--history")
    assert [r["version"] for r in (newest, middle, oldest)] == [1, 2, 1]
    assert (oldest["until_at"], middle["until_at"]) == (middle["from_at"], newest["from_at"])
    assert asked("champion", name, "--at", middle["from_at"])["version"] == 2
    assert asked("champion", name, "--at", oldest["from_at"])["version"] == 1
    nights = [contenders.day(version).isoformat() for version in (1, 2)]
    assert [asked("champion", name, "--night", night)["version"] for night in nights] == [1, 2]
    assert mlops("champion", name, "--at", "2020-01-01")[0] == 3
    assert mlops("champion", name, "--at", "yesterday")[0] == 2
    code, said = mlops("rollback", name)
    assert (code, said) == (3, "no  There is nothing to go back to: version 1 has no predecessor.\n")


def test_people_approve_and_reject_from_the_shell(
    contenders: Contenders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who may is the actor of the settings; the words say what is missing and what comes next."""
    name = contenders.spec.name
    path = tmp_path / "models" / f"{name}.yaml"
    rules = {"promotion": {"approval": "people", "approvers": 2}}
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text(encoding="utf-8")) | rules), encoding="utf-8")
    monkeypatch.setenv("MLOPS_ROLES", "{model-approver: [alice, bob]}")
    contenders.contender()
    code, said = mlops("promote", name)
    assert code == 3
    assert "2 more needed from model-approver: alice or bob" in said
    with pytest.raises(MLOpsError, match="ann does not hold the role"):
        mlops("approve", name)
    monkeypatch.setenv("MLOPS_ACTOR", "alice")
    assert "1 of 2 approved (alice)" in mlops("approve", name, "--comment", "Fine.")[1]
    assert "waiting for approval" in mlops("status", name)[1]
    monkeypatch.setenv("MLOPS_ACTOR", "bob")
    assert mlops("approve", name)[1] == f"approved  Approved by alice, bob. Now: mlops promote {name}\n"
    assert mlops("promote", name)[0] == 0
    assert asked("champion", name)["by"] == "alice, bob"
    contenders.contender()
    mlops("promote", name)
    assert asked("reject", name, "--comment", "No.")["status"] == "rejected"
    assert mlops("promote", name) == (3, "no  bob rejected it: No.\n")


def test_status_without_a_model_says_where_all_stand(contenders: Contenders) -> None:
    """One line a model, before there is a champion and after; the same as JSON."""
    name = contenders.spec.name
    assert (asked("status")[0]["model"], asked("status")[0]["champion"]) == (name, None)
    contenders.contender()
    mlops("promote", name)
    (found,) = asked("status")
    assert (found["champion"], found["incidents"], found["unknown"]) == (1, [], [])
    code, said = mlops("status")
    assert code == 0
    assert re.search(rf"{name} +version 1 +2\d{{3}}-\d\d-\d\d \d\d:\d\d ", said)

"""`mlops gc`, `mlops hold` and `mlops release` as people type them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from mlops.cli.__main__ import app
from mlops.config import MLOpsConfig
from mlops.errors import MLOpsError
from mlops.records import RunRecord
from mlops.services import Services
from tests.contenders import Contenders, logged_runs

ROOT = Path(__file__).parents[3]


@pytest.fixture
def store(tmp_path: Path) -> tuple[MLOpsConfig, tuple[RunRecord, ...]]:
    """A store of the test's own, with a model for each version: what is deleted here is gone."""
    config = MLOpsConfig.build({"home": ROOT, "var": str(tmp_path / "store"), "code_version": "test"})
    return config, logged_runs(Services.open(config).tracker, 5)


def mlops(*words: str) -> Result:
    """A command and what it answered."""
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, list(words))


def verdicts(name: str) -> dict[str, bool]:
    """Whether each version would be kept, by `mlops gc --json`."""
    (answer,) = json.loads(mlops("gc", name, "--json").stdout)
    found: list[dict[str, Any]] = answer["record"]["items"]
    return {item["name"]: item["keep"] for item in found if item["kind"] == "version"}


def refuse(contenders: Contenders, count: int) -> None:
    """Versions that did not pass their gates."""
    for _ in range(count):
        made = contenders.register()
        contenders.judge(made.version, "fail")
        contenders.services.registry.set_stage(contenders.spec.name, made.version, "archived")


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty days from now, when what was refused today is old."""
    monkeypatch.setenv("MLOPS_CLOCK_OFFSET_SECONDS", str(40 * 86_400))


def test_gc_shows_what_would_go_and_deletes_nothing(contenders: Contenders, later: None) -> None:
    """The dry run is the default: a table with reasons, and everything still there."""
    name, registry = contenders.spec.name, contenders.services.registry
    contenders.contender()
    assert mlops("promote", name).exit_code == 0
    refuse(contenders, 3)
    before = [version.version for version in registry.versions(name)]
    answer = mlops("gc", name)
    assert answer.exit_code == 0
    assert "champion" in answer.output
    assert "Nothing was deleted" in answer.output
    assert [version.version for version in registry.versions(name)] == before
    assert False in verdicts(name).values()


def test_what_is_held_stays_until_it_is_released(contenders: Contenders, later: None) -> None:
    """`hold` keeps a version that `gc --apply` would delete, `release` gives it up; the champion never goes."""
    name, registry = contenders.spec.name, contenders.services.registry
    contenders.contender()
    assert mlops("promote", name).exit_code == 0
    refuse(contenders, 3)
    going = sorted(int(version) for version, keep in verdicts(name).items() if not keep)
    assert going == [2, 3, 4]
    held = going[0]
    assert "is held by ann" in mlops("hold", name, str(held), "--reason", "an audit").output
    assert mlops("gc", name, "--apply").exit_code == 0
    left = [version.version for version in registry.versions(name)]
    assert held in left
    assert 1 in left
    assert not set(going[1:]) & set(left)
    assert "is released" in mlops("release", name, str(held), "--reason", "it is over").output
    assert "was not held" in mlops("release", name, str(held), "--reason", "it is over").output
    assert mlops("gc", name, "--apply").exit_code == 0
    assert held not in [version.version for version in registry.versions(name)]
    assert mlops("ledger", "verify").exit_code == 0


def test_a_version_that_is_not_there_cannot_be_held(contenders: Contenders) -> None:
    """The error says which versions there are."""
    contenders.contender()
    answer = mlops("hold", contenders.spec.name, "9", "--reason", "an audit")
    assert isinstance(answer.exception, MLOpsError)
    with pytest.raises(MLOpsError, match="Known: 1"):
        raise answer.exception

"""`mlops ab …` as people type it: plan, check, start, route, status, look, stop."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from typer.main import get_command
from typer.testing import CliRunner

from mlops.cli.__main__ import app
from mlops.errors import ConfigError, DataError
from mlops.experiments.ab import planning
from mlops.experiments.ab.sequential import Design
from mlops.pipelines import promotion
from tests.contenders import Contenders

ROOT = Path(__file__).parents[3]


def said(*arguments: str, code: int = 0) -> str:
    """What a command prints."""
    found = CliRunner().invoke(app, ["ab", *arguments], catch_exceptions=True)
    assert found.exit_code == code, (found.output, found.exception)
    return found.output


@pytest.fixture
def trial(contenders: Contenders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Contenders:
    """A champion, a challenger, and the file of an experiment between them."""
    contenders.contender()
    promotion.run(contenders.services, contenders.spec, contenders.day(1), 1)
    contenders.contender()
    folder = tmp_path / "experiments"
    folder.mkdir()
    fleet = yaml.safe_load((ROOT / "config" / "experiments" / "fleet_challenger.yaml").read_text(encoding="utf-8"))
    plain = fleet | {"name": "trial", "model": contenders.spec.name}
    (folder / "trial.yaml").write_text(yaml.safe_dump(plain), encoding="utf-8")
    monkeypatch.setenv("MLOPS_EXPERIMENTS_DIR", str(folder))
    return contenders


def test_a_plan_is_told_in_units_and_days() -> None:
    """In words and as JSON, the same numbers as from Python."""
    arguments = ["plan", "--base", "0.1", "--effect", "0.01", "--looks", "28", "--units-per-day", "1500"]
    found = json.loads(said(*arguments, "--json"))
    expected = planning.plan(base=0.1, effect_size=0.01, looks=28, units_per_day=1_500)
    assert (found["n"], found["days"], found["inflation"]) == (expected.n, expected.days, expected.inflation)
    words = said(*arguments)
    assert f"units   {expected.n:,}" in words
    assert f"days    {expected.days}" in words


def test_a_plan_is_made_from_the_file_of_an_experiment(trial: Contenders) -> None:
    """Effect, alpha, power, nights and sides are those of the file; the spread is what people say."""
    found = json.loads(said("plan", "--experiment", "trial", "--sd", "0.2", "--json"))
    assert (found["effect_size"], found["looks"], found["sides"], found["power"]) == (0.02, 14, 1, 0.8)
    design = Design(0.05, 1)
    assert found["n"] == planning.plan(sd=0.2, effect_size=0.02, looks=14, design=design).n
    missing = CliRunner().invoke(app, ["ab", "plan", "--sd", "0.2"])
    assert (missing.exit_code, "--experiment" in missing.output) == (2, True)


def test_a_plan_without_base_or_sd_is_an_error_in_words() -> None:
    """What is missing is named."""
    found = CliRunner().invoke(app, ["ab", "plan", "--effect", "0.1"])
    assert isinstance(found.exception, DataError)
    assert "either sd (of a mean) or base" in str(found.exception)


def test_an_experiment_lives_from_the_shell(trial: Contenders) -> None:
    """check, start, route, status, look, stop: each says what is now true, and `--json` says it to programs."""
    assert "trial.yaml: ok" in said("check")
    started = json.loads(said("start", "trial", "--date", "2026-03-10", "--json"))
    assert (started["status"], [v["version"] for v in started["variants"]]) == ("running", [1, 2])
    routed = json.loads(said("route", "trial", "device-1", "--json"))
    assert routed["variant"] in ("champion", "challenger")
    assert said("route", "trial", "device-1", "--force", "challenger").startswith("challenger  version 2  (override)")
    assert "cannot tell" in said("look", trial.spec.name, "--date", "2026-03-10", code=3)
    assert "50 %" in said("status")
    assert "nothing to do" in said("watch", trial.spec.name, "--every", "60")
    assert json.loads(said("status", "trial", "--json"))["looks"] == []
    stopped = json.loads(said("stop", "trial", "--reason", "enough", "--json"))
    assert (stopped["status"], stopped["reason"]) == ("stopped", "enough")
    assert "0 experiments are routed" in said("publish")
    found = CliRunner().invoke(app, ["ab", "route", "trial", "device-1"])
    assert isinstance(found.exception, ConfigError)


def test_unknown_experiments_and_wrong_files_are_told(trial: Contenders, tmp_path: Path) -> None:
    """With the name that was meant; a wrong file leaves `check` with 1."""
    assert "No experiment was ever started" in said("status")
    for command in (["start", "trail"], ["status", "trial"], ["stop", "trial"]):
        assert isinstance(CliRunner().invoke(app, ["ab", *command]).exception, ConfigError)
    (tmp_path / "experiments" / "bad.yaml").write_text("name: bad\nmodle: x\n", encoding="utf-8")
    assert "Did you mean 'model'?" in said("check", code=1)


def test_every_command_is_documented_and_every_documented_one_exists() -> None:
    """docs/ab.md names them all, and no other."""
    group = get_command(app).commands["ab"]  # type: ignore[attr-defined]
    page = (ROOT / "docs" / "ab.md").read_text(encoding="utf-8") + (ROOT / "docs" / "experiment-spec.md").read_text()
    named = set(re.findall(r"mlops ab ([a-z]+)", page))
    assert named == set(group.commands)

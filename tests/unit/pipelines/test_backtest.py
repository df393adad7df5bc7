"""The backtest: policies lived through a small fleet whose world changes once, and what may not depend on what."""

from __future__ import annotations

import itertools
import json
import shutil
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from mlops.cli.__main__ import app
from mlops.config import MLOpsConfig
from mlops.data import fleet
from mlops.errors import NoDataError, SpecError
from mlops.pipelines import backtest, backtest_page
from mlops.pipelines.backtest import Backtest
from mlops.pipelines.replay import Replay
from mlops.pipelines.tasks import execute
from mlops.services import Services
from mlops.spec import BacktestPolicy, PerformanceTrigger, load_policies

ROOT = Path(__file__).parents[3]
FIRST = date(2026, 3, 2)
START, CHANGE, EARLY, END = (FIRST + timedelta(days=days) for days in (4, 8, 9, 11))
FLEET = fleet.FleetConfig(devices=6, step_minutes=30, first_day=FIRST, regime_day=CHANGE, faults_per_device_day=1.0)
POLICIES = {
    "never": BacktestPolicy(),
    "nightly": BacktestPolicy(every_days=1),
    "drift": BacktestPolicy(drift=True, cooldown_days=2),
    "oracle": BacktestPolicy(oracle=True),
}


def installation(root: Path) -> MLOpsConfig:
    """The fleet, with nothing ingested."""
    spec = yaml.safe_load((ROOT / "config" / "models" / "fleet_anomaly.yaml").read_text(encoding="utf-8"))
    units = {"temperature": 150, "pressure": 40, "vibration": 50, "rotation": 5000}
    low = {"temperature": -40}
    columns = {n: {"min": low.get(n, 0), "max": most, "max_null_share": 0.5} for n, most in units.items()}
    spec |= {"name": "fleet", "contract": {"columns": columns, "min_rows": 10, "volume_tolerance": None}}
    spec["split"] = {"window_days": 3, "holdout_days": 1, "calibration_days": 1, "folds": 0, "gap_hours": 1}
    spec["candidates"] = [{"algorithm": "ecod"}, {"algorithm": "hbos"}]
    spec["drift"] = {"min_rows": 20, "act_on": "any", "retrain_after_days": 1}
    (root / "models").mkdir(parents=True)
    (root / "models" / "fleet.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
    return MLOpsConfig.build(
        {"home": ROOT, "var": str(root / "var"), "models_dir": root / "models", "code_version": "c0ffee"}
    )


def history(services: Services, first: date, last: date) -> None:
    """Ingest and feature these days."""
    for day in (first + timedelta(days=i) for i in range((last - first).days + 1)):
        fleet.write_delivery(FLEET, day, f"{services.config.var}/inbox")
        for step in ("ingestion", "features"):
            assert execute(step, services, services.spec("fleet"), day).outcome == "done"


@pytest.fixture(scope="module")
def at_first(tmp_path_factory: pytest.TempPathFactory) -> tuple[MLOpsConfig, Backtest]:
    """An installation whose history ends with `EARLY`, and three policies lived through as far as it goes."""
    config = installation(tmp_path_factory.mktemp("backtest"))
    services = Services.open(config)
    history(services, FIRST, EARLY)
    policies = {name: POLICIES[name] for name in ("never", "nightly", "drift")}
    return config, backtest.run(services, services.spec("fleet"), START, EARLY, policies)


@pytest.fixture(scope="module")
def config(at_first: tuple[MLOpsConfig, Backtest]) -> MLOpsConfig:
    """The same installation later: history up to two days after the last night, so that its labels are there."""
    history(Services.open(at_first[0]), EARLY + timedelta(days=1), END + timedelta(days=2))
    return at_first[0]


@pytest.fixture(scope="module")
def found(config: MLOpsConfig) -> Backtest:
    """Four policies lived through, in one process."""
    services = Services.open(config)
    before = written(config)
    made = backtest.run(services, services.spec("fleet"), START, END, POLICIES)
    assert written(config) == before, "something outside the backtest's folder was written"
    return made


def written(config: MLOpsConfig) -> dict[str, int]:
    """Every file of the installation but the backtests', the feature registry and databases' own, with its size."""
    root = Path(config.var)
    skipped = ("backtests", "feast", "online", ".db", "keys")
    return {
        str(path.relative_to(root)): path.stat().st_size
        for path in root.rglob("*")
        if path.is_file() and not any(word in str(path.relative_to(root)) for word in skipped)
    }


def lived(found: Backtest, policy: str) -> Replay:
    """One policy's life."""
    return next(one for one in found.replays if one.policy == policy)


def test_each_policy_trains_as_it_says(found: Backtest) -> None:
    """Never: not once. Nightly: every night. By drift: when a day of the changed world has been seen."""
    nights = (END - START).days
    assert [one.policy for one in found.standings] == list(POLICIES)
    assert all(len(one.nights) == nights for one in found.replays)
    assert (lived(found, "never").trainings, lived(found, "never").promotions) == (0, 0)
    assert {night.champion for night in lived(found, "never").nights} == {f"{START}-schedule"}
    assert lived(found, "nightly").trainings == nights
    trained = [night.date for night in lived(found, "drift").nights if night.trained]
    assert trained
    alarms = [night.date for night in lived(found, "drift").nights if night.alarm]
    assert min(alarms) == CHANGE, "the alarm comes at once, the training waits for retrain_after_days"
    assert CHANGE + timedelta(days=1) <= min(trained) <= CHANGE + timedelta(days=2)
    assert all(later - earlier >= timedelta(days=2) for earlier, later in itertools.pairwise(trained))
    assert lived(found, "drift").alarms >= len(trained)


def test_a_challenger_answers_from_the_night_after_its_promotion(found: Backtest) -> None:
    """The champion changes where a promotion stands, one night later, and nowhere else."""
    for one in found.replays[:3]:
        for night, after in itertools.pairwise(one.nights):
            expected = night.date if night.promoted else date.fromisoformat(night.champion[:10])
            assert after.champion.startswith(str(expected)), (one.policy, night)


def test_the_truth_of_a_night_is_known_when_its_labels_are_mature(config: MLOpsConfig) -> None:
    """Labels mature after a day: a policy that watches performance is told of each night one night later."""
    services = Services.open(config)
    patient = {"patient": BacktestPolicy(performance=PerformanceTrigger(worse_by=1, nights=50))}
    (one,) = backtest.run(services, services.spec("fleet"), START, END, patient).replays
    told = [int(night.decision.removeprefix("No training: ").split()[0]) for night in one.nights]
    assert told == [(night.date - START).days - 1 for night in one.nights]


def test_nobody_does_better_than_the_oracle(found: Backtest) -> None:
    """On every night with a truth its value is at least every other's, and regret is counted from it."""
    ideal = lived(found, "oracle").values
    assert np.isfinite(ideal).sum() >= 4
    for one, standing in zip(found.replays, found.standings, strict=True):
        known = np.isfinite(ideal)
        assert (ideal[known] >= one.values[known] - 1e-12).all()
        assert standing.regret == pytest.approx(float((ideal - one.values)[known].mean()), abs=1e-12)


def test_the_same_question_has_the_same_answer_in_any_number_of_processes(found: Backtest, config: MLOpsConfig) -> None:
    """Made again from nothing by two processes side by side: the same hash over all that was decided."""
    services = Services.open(config)
    shutil.rmtree(found.place)
    again = backtest.run(services, services.spec("fleet"), START, END, POLICIES, workers=2)
    assert again.place == found.place
    assert again.answer_hash == found.answer_hash


def test_a_backtest_that_was_cut_short_goes_on_where_it_was(found: Backtest, config: MLOpsConfig) -> None:
    """Lessons and verdicts that are there are not made again; one that is missing is."""
    services = Services.open(config)
    backtest.run(services, services.spec("fleet"), START, END, POLICIES)
    lessons = Path(found.place) / "lessons"
    kept = {path: path.stat().st_mtime_ns for path in lessons.rglob("lesson.json")}
    gone = sorted(kept)[2]
    gone.unlink()
    again = backtest.run(services, services.spec("fleet"), START, END, POLICIES)
    assert again.answer_hash == found.answer_hash
    assert {path for path in kept if path.stat().st_mtime_ns != kept[path]} == {gone}


def test_no_night_knows_what_came_after_it(found: Backtest, at_first: tuple[MLOpsConfig, Backtest]) -> None:
    """What was decided when history ended two days earlier is decided again when it goes on: the change among it."""
    early = at_first[1]
    assert early.place != found.place
    assert any(night.alarm for night in lived(early, "drift").nights)
    for one in early.replays:
        other = lived(found, one.policy).nights[: len(one.nights)]
        for mine, theirs in zip(one.nights, other, strict=True):
            assert (mine.champion, mine.decision, mine.trained, mine.promoted, mine.alarm) == (
                theirs.champion,
                theirs.decision,
                theirs.trained,
                theirs.promoted,
                theirs.alarm,
            )


def test_what_cannot_be_lived_through_is_said(config: MLOpsConfig) -> None:
    """No history, an end before the beginning, no label."""
    services = Services.open(config)
    spec = services.spec("fleet")
    with pytest.raises(NoDataError, match="were never ingested"):
        backtest.run(services, spec, date(2025, 1, 1), date(2025, 1, 9))
    with pytest.raises(NoDataError, match="two nights at least"):
        backtest.run(services, spec, END, END)
    with pytest.raises(NoDataError, match="no label"):
        backtest.run(services, spec.model_copy(update={"label": None}), START, END)


def test_the_command_prints_a_table_a_page_or_json(
    found: Backtest, config: MLOpsConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Policies come from a file; the page needs no network; `--json` prints the record alone."""
    monkeypatch.setenv("MLOPS_VAR", str(config.var))
    monkeypatch.setenv("MLOPS_MODELS_DIR", str(config.models_dir))
    monkeypatch.setenv("MLOPS_CODE_VERSION", "c0ffee")
    monkeypatch.setenv("COLUMNS", "160")
    file = tmp_path / "policies.yaml"
    file.write_text("policies: {wait: {}, weekly: {every_days: 7}}", encoding="utf-8")
    page = tmp_path / "page.html"
    asked = ["backtest", "fleet", "--from", str(START), "--to", str(END), "--policies", str(file), "--workers", "1"]
    told = CliRunner().invoke(app, [*asked, "--out", str(page)])
    assert told.exit_code == 0, told.output
    assert "weekly" in told.output
    assert "Best on average" in told.output
    assert "http" not in page.read_text(encoding="utf-8")
    record = json.loads(CliRunner().invoke(app, [*asked, "--json"]).stdout)
    assert [one["policy"] for one in record["standings"]] == ["wait", "weekly"]
    text = backtest_page.page(found).decode()
    assert all(f"<h2>{name}</h2>" in text for name in POLICIES)


def test_a_wrong_file_of_policies_is_explained(tmp_path: Path) -> None:
    """The unknown key with the one that was probably meant."""
    file = tmp_path / "policies.yaml"
    file.write_text("policies: {weekly: {every_day: 7}}", encoding="utf-8")
    with pytest.raises(SpecError, match="every_days"):
        load_policies(file)

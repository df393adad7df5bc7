"""A version made again: equal scores, or what differs, by name."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest
import yaml
from typer.testing import CliRunner

from mlops.config import MLOpsConfig
from mlops.data import fleet
from mlops.pipelines.reproduce import Reproduction, reproduce
from mlops.pipelines.tasks import execute
from mlops.services import Services

ROOT = Path(__file__).parents[3]
FLEET = fleet.FleetConfig(devices=4, step_minutes=30)
NAMES = ["data", "code", "spec", "lock", "python", "scores"]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> MLOpsConfig:
    """An installation with one version, trained on five days of a small fleet."""
    root = tmp_path_factory.mktemp("home")
    spec = yaml.safe_load((ROOT / "config" / "models" / "fleet_anomaly.yaml").read_text(encoding="utf-8"))
    units = {"temperature": 150, "pressure": 40, "vibration": 50, "rotation": 5000}
    low = {"temperature": -40}
    columns = {n: {"min": low.get(n, 0), "max": most, "max_null_share": 0.5} for n, most in units.items()}
    spec["name"] = "fleet"
    spec["contract"] = {"columns": columns, "min_rows": 10, "volume_tolerance": None}
    spec["split"] = {"window_days": 3, "holdout_days": 1, "calibration_days": 1, "folds": 0, "gap_hours": 1}
    spec["candidates"] = [{"algorithm": "isolation_forest", "params": {"n_estimators": 10}}]
    (root / "models").mkdir()
    (root / "models" / "fleet.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
    values = {"home": ROOT, "var": str(root / "var"), "models_dir": root / "models", "code_version": "c0ffee"}
    made = MLOpsConfig.build(values)
    services = Services.open(made)
    days = [FLEET.first_day + timedelta(days=i) for i in range(5)]
    for day in days:
        fleet.write_delivery(FLEET, day, f"{root}/var/inbox")
        for step in ("ingestion", "features"):
            execute(step, services, services.spec("fleet"), day)
    assert execute("training", services, services.spec("fleet"), days[-1], started_by="anna").outcome == "done"
    return made


def again(config: MLOpsConfig, **changes: object) -> Reproduction:
    """Version 1 made again by an installation with other settings."""
    services = Services.open(config.model_copy(update=changes))
    return reproduce(services, services.spec("fleet"), 1)


def test_a_version_is_made_again_bit_by_bit(config: MLOpsConfig) -> None:
    """With the same data, code, spec, lock and Python a forest has the same scores to the last bit."""
    found = again(config)
    assert [fact.name for fact in found.facts] == NAMES
    assert (found.verdict, found.different, found.exit_code) == ("equal", (), 0)
    assert (found.bit_equal, found.largest_difference) == (True, 0.0)
    assert found.rows > 100
    assert "equal bit by bit" in found.reason


def test_a_version_knows_what_it_was_made_from_and_who_started_it(config: MLOpsConfig) -> None:
    """Data fingerprint, commit, spec hash, lock hash, seed, Python, and the person, as tags of the version."""
    import hashlib
    import platform

    services = Services.open(config)
    tags = services.registry.client.get_model_version("fleet", "1").tags
    assert tags["lock_hash"] == hashlib.sha256((ROOT / "requirements.txt").read_bytes()).hexdigest()
    assert (tags["code_version"], tags["seed"], tags["python"]) == ("c0ffee", "7", platform.python_version())
    assert tags["spec_hash"] == services.spec("fleet").training_hash
    assert len(tags["fingerprint"]) == 64
    assert services.registry.get("fleet", 1).started_by == "anna"


def test_what_has_moved_on_is_named_though_the_scores_are_equal(config: MLOpsConfig, tmp_path: Path) -> None:
    """Other code and another spec: the run's own spec is used, and both are said to differ."""
    spec = yaml.safe_load((config.models_dir / "fleet.yaml").read_text(encoding="utf-8"))
    spec["candidates"] = [{"algorithm": "hbos"}]
    spec["split"]["gap_hours"] = 2
    (tmp_path / "fleet.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
    found = again(config, code_version="decaf", models_dir=tmp_path)
    assert (found.verdict, found.different) == ("equal", ("code", "spec"))
    assert "Not the same as then: code, spec" in found.reason


def test_changed_rows_are_found_and_so_are_other_scores(config: MLOpsConfig) -> None:
    """One value in ten of a feature was changed in the kept table: data and scores differ, and the exit code is 3."""
    services = Services.open(config)
    uri = services.registry.get("fleet", 1).training_set_uri
    kept = services.storage.read_table(uri)
    rows = kept.to_pandas()
    rows.loc[rows.index % 10 == 0, "temperature"] += 25.0
    services.storage.write_table(uri, pa.Table.from_pandas(rows, preserve_index=False))
    try:
        found = again(config)
    finally:
        services.storage.write_table(uri, kept)
    assert (found.verdict, found.different, found.exit_code) == ("differs", ("data", "scores"), 3)
    assert found.largest_difference is not None
    assert found.largest_difference > 1e-3


def test_without_the_training_set_nobody_can_tell(config: MLOpsConfig) -> None:
    """A training set that is gone is neither equal nor different."""
    services = Services.open(config)
    uri = services.registry.get("fleet", 1).training_set_uri
    away = Path(f"{uri}-away")
    Path(uri).rename(away)
    try:
        found = again(config)
    finally:
        away.rename(uri)
    assert (found.verdict, found.exit_code, found.facts[0].verdict) == ("cannot_tell", 3, "cannot_tell")


def test_the_command_says_it_to_people_and_to_programs(config: MLOpsConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table with every fact and a sentence, or JSON; the exit code is the answer."""
    from mlops.cli.__main__ import app

    for name in ("home", "var", "models_dir", "code_version"):
        monkeypatch.setenv(f"MLOPS_{name.upper()}", str(getattr(config, name)))
    shown = CliRunner().invoke(app, ["reproduce", "fleet", "1"])
    assert shown.exit_code == 0, shown.output
    assert all(name in shown.output for name in NAMES)
    told = CliRunner().invoke(app, ["reproduce", "fleet", "1", "--json"])
    assert json.loads(told.output)["verdict"] == "equal"

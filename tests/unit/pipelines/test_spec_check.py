"""`mlops spec check`: what would fail at night for certain is said before the first one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from mlops.cli.__main__ import app
from mlops.config import MLOpsConfig
from mlops.pipelines import spec_check
from mlops.spec import ModelSpec

HOME = Path(__file__).parents[3]
SHIPPED: dict[str, Any] = yaml.safe_load((HOME / "config" / "models" / "fleet_anomaly.yaml").read_text())


def problems(tmp_path: Path, **changes: Any) -> list[str]:
    """What is wrong with the shipped spec, changed."""
    config = MLOpsConfig.build({"home": HOME, "var": str(tmp_path / "var")})
    return spec_check.problems(config, ModelSpec.model_validate(SHIPPED | changes))


def test_the_shipped_model_can_work(tmp_path: Path) -> None:
    """Nothing is found about the spec that the repository ships, and looking leaves nothing behind."""
    assert problems(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("candidate", "words"),
    [
        ({"algorithm": "isolation_forrest"}, "no detector 'isolation_forrest'. Did you mean 'isolation_forest'?"),
        ({"algorithm": "isolation_forest", "params": {"n_estimator": 5}}, "Did you mean 'n_estimators'?"),
        ({"algorithm": "random_forest"}, "is a classifier, the task anomaly needs a detector"),
        ({"algorithm": "sklearn.ensemble.IsolationForrest"}, "Did you mean 'IsolationForest'?"),
        ({"algorithm": "sklearn.neighbors.LocalOutlierFactor"}, "novelty: true"),
        ({"algorithm": "nowhere.Detector"}, "there is no module 'nowhere'"),
    ],
)
def test_a_candidate_that_cannot_be_built_is_named(tmp_path: Path, candidate: dict[str, Any], words: str) -> None:
    """Algorithm and params of every candidate are tried, and the wrong one is told by its place in the list."""
    (told,) = problems(tmp_path, candidates=[{"algorithm": "ecod"}, candidate])
    assert told.startswith("candidates.1: ")
    assert words in told


def test_an_unknown_feature_service_gets_the_one_that_was_meant(tmp_path: Path) -> None:
    """The service must be declared in the feature repository."""
    (told,) = problems(tmp_path, features={"service": "fleet_anomaly_v2"})
    assert "features.service" in told
    assert "Did you mean 'fleet_anomaly_v1'?" in told


def test_a_field_that_the_log_does_not_have_is_told(tmp_path: Path) -> None:
    """Names to hash or drop are features of the service or the entity; a mistyped one keeps what must go."""
    told = problems(tmp_path, serving={"log": {"hash": ["device_id", "temperatur_last"], "drop": ["device_idd"]}})
    assert [line.partition(":")[0] for line in told] == ["serving.log.hash", "serving.log.drop"]
    assert "Did you mean 'temperature_" in told[0]
    assert "Did you mean 'device_id'?" in told[1]
    assert problems(tmp_path, serving={"log": {"hash": ["device_id"]}}) == []
    (both,) = problems(tmp_path, serving={"log": {"hash": ["device_id"], "drop": ["device_id"]}})
    assert "both hashed and dropped" in both


def test_a_view_about_another_entity_is_told(tmp_path: Path) -> None:
    """A model whose rows are about something else than its features are can never be joined."""
    (told,) = problems(tmp_path, entity="machine_id")
    assert "entity: 'machine_id', but view 'fleet_telemetry' joins on device_id" in told


def test_a_column_that_features_are_made_of_must_be_in_the_contract(tmp_path: Path) -> None:
    """A column that the contract does not keep, or keeps as text, is no use to the recipe."""
    columns = SHIPPED["contract"]["columns"]
    renamed = {("presure" if name == "pressure" else name): column for name, column in columns.items()}
    (told,) = problems(tmp_path, contract={"columns": renamed})
    assert "lacks 'pressure', which view 'fleet_telemetry' is made of. Did you mean 'presure'?" in told
    (told,) = problems(tmp_path, contract={"columns": columns | {"rotation": {"type": "string"}}})
    assert "contract.columns.rotation: is string" in told


def test_a_feature_repository_that_cannot_be_imported_is_told(tmp_path: Path) -> None:
    """A typing error in a feature file is told with the file's name."""
    (tmp_path / "broken.py").write_text("from feast import Entitee\n")
    config = MLOpsConfig.build({"home": HOME, "var": str(tmp_path / "var"), "feature_repo": tmp_path})
    (told,) = spec_check.problems(config, ModelSpec.model_validate(SHIPPED))
    assert "broken.py cannot be imported" in told


def test_the_command_tells_all_that_is_wrong_and_leaves_with_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One call says every problem of every file; `--json` gives the same by file."""
    monkeypatch.setenv("MLOPS_HOME", str(HOME))
    monkeypatch.setenv("MLOPS_VAR", str(tmp_path / "var"))
    good, bad = tmp_path / "fleet_anomaly.yaml", tmp_path / "bad.yaml"
    good.write_text(yaml.safe_dump(SHIPPED))
    wrong = {"name": "bad", "candidates": [{"algorithm": "ekod"}, {"algorithm": "hbbos"}]}
    bad.write_text(yaml.safe_dump(SHIPPED | wrong))
    told = CliRunner().invoke(app, ["spec", "check", str(good), str(bad)])
    assert told.exit_code == 1
    assert f"{good}: ok" in told.output
    assert "candidates.0: " in told.output
    assert "candidates.1: " in told.output
    assert "Did you mean 'ecod'" in told.output
    as_json = CliRunner().invoke(app, ["spec", "check", str(good), str(bad), "--json"])
    found = json.loads(as_json.output)
    assert found[str(good)] == ""
    assert "Did you mean 'hbos'" in found[str(bad)]
    assert CliRunner().invoke(app, ["spec", "check", str(good)]).exit_code == 0


def test_a_channel_that_the_settings_do_not_define_is_named(tmp_path: Path) -> None:
    """Before the first night, so that no incident is without anybody to tell; `log` is always there."""
    (told,) = problems(tmp_path, alerts={"channels": ["log", "logg"]})
    assert told == "alerts.channels: the settings define no channel 'logg'. Did you mean 'log'?"

"""Settings: precedence, defaults and refusals."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops.config import MLOpsConfig, expand
from mlops.errors import ConfigError


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An empty repository."""
    (tmp_path / "config" / "models").mkdir(parents=True)
    (tmp_path / "config" / "settings").mkdir()
    return tmp_path


def test_embedded_defaults_keep_all_state_under_var(home: Path) -> None:
    """Without any setting everything that is written lies below <home>/var."""
    config = MLOpsConfig.load({"MLOPS_HOME": str(home)})
    var = str(home / "var")
    assert config.var == var
    assert all(var in place for place in (config.tracking_uri, config.artifact_uri, config.ledger_url))
    assert config.variables["MLOPS_VAR"] == var


def test_environment_beats_file_beats_default(home: Path) -> None:
    """The three sources of a setting in their order, with ${NAME} filled in inside the file."""
    (home / "config" / "settings" / "production.yaml").write_text(
        "var: s3://bucket/mlops\nledger_url: postgresql+psycopg://${DB}/ledger\ntracking_uri: http://mlflow:5000\n"
    )
    env = {"MLOPS_HOME": str(home), "MLOPS_ENV": "production", "DB": "db:5432", "MLOPS_TRACKING_URI": "http://other"}
    config = MLOpsConfig.load(env)
    assert config.ledger_url == "postgresql+psycopg://db:5432/ledger"
    assert config.tracking_uri == "http://other"
    assert config.var == "s3://bucket/mlops"
    assert config.state_dir == home / "var"
    assert config.feature_repo == home / "feature_repo"


def test_an_unknown_setting_is_refused_with_the_one_that_was_meant(home: Path) -> None:
    """A mistyped key in a settings file does not pass in silence."""
    (home / "config" / "settings" / "production.yaml").write_text("trackng_uri: x\n")
    with pytest.raises(ConfigError, match="Did you mean 'tracking_uri'"):
        MLOpsConfig.load({"MLOPS_HOME": str(home), "MLOPS_ENV": "production"})


def test_an_unknown_environment_is_refused(home: Path) -> None:
    """MLOPS_ENV must name a settings file."""
    (home / "config" / "settings" / "production.yaml").write_text("")
    with pytest.raises(ConfigError, match="Did you mean 'production'"):
        MLOpsConfig.load({"MLOPS_HOME": str(home), "MLOPS_ENV": "prodution"})


def test_a_variable_without_a_value_is_named() -> None:
    """A spec that uses an unset variable says which."""
    with pytest.raises(ConfigError, match="Set the environment variable DB_PASSWORD"):
        expand("postgresql://u:${DB_PASSWORD}@db", {})


def test_outside_a_repository_the_package_finds_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Called from anywhere, an editable installation finds the repository it belongs to."""
    monkeypatch.chdir(tmp_path)
    assert MLOpsConfig.load({}).home == Path(__file__).parents[2]


def test_types_that_are_trusted_are_written_with_commas(home: Path) -> None:
    """As one variable of the environment, or as a list in a settings file."""
    config = MLOpsConfig.load({"MLOPS_HOME": str(home), "MLOPS_TRUSTED_TYPES": "one.Type, another.Type"})
    assert config.trusted_types == ("one.Type", "another.Type")
    (home / "config" / "settings" / "production.yaml").write_text("trusted_types: [one.Type]\n")
    assert MLOpsConfig.load({"MLOPS_HOME": str(home), "MLOPS_ENV": "production"}).trusted_types == ("one.Type",)


def test_production_names_its_keys_makes_none_and_loads_no_pickle() -> None:
    """The settings that ship: without KEYS_DIR they are refused, with it the private key is expected there."""
    given = {"MLOPS_HOME": str(Path(__file__).parents[2]), "MLOPS_ENV": "production", "MLFLOW_TRACKING_URI": "http://m"}
    given["LEDGER_URL"] = "sqlite:///ledger.db"
    with pytest.raises(ConfigError, match="Set the environment variable KEYS_DIR"):
        MLOpsConfig.load(given)
    config = MLOpsConfig.load(given | {"KEYS_DIR": "/keys"})
    assert (config.keys_dir, config.signing_key_file) == (Path("/keys"), Path("/keys/signing.key"))
    assert (config.create_keys, config.allow_pickle) == (False, False)

"""A model whose versions are made in milliseconds, in an installation that the environment names, as for the shell."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from mlops.config import MLOpsConfig
from mlops.records import RunRecord
from mlops.services import Services
from tests.contenders import Contenders, logged_runs, spec_of

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> tuple[MLOpsConfig, tuple[RunRecord, ...]]:
    """One MLflow store for the module."""
    var = tmp_path_factory.mktemp("store") / "var"
    config = MLOpsConfig.build({"home": ROOT, "var": str(var), "code_version": "test"})
    return config, logged_runs(Services.open(config).tracker, 2)


@pytest.fixture
def contenders(
    store: tuple[MLOpsConfig, tuple[RunRecord, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Contenders:
    """A model of the test's own, in an installation that the environment names, as for the shell."""
    name = f"m{abs(hash(tmp_path)) % 10**9}"
    fleet = yaml.safe_load((ROOT / "config" / "models" / "fleet_anomaly.yaml").read_text(encoding="utf-8"))
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / f"{name}.yaml").write_text(yaml.safe_dump(fleet | {"name": name}), encoding="utf-8")
    settings = {
        "MLOPS_HOME": str(ROOT), "MLOPS_VAR": str(tmp_path / "var"), "MLOPS_MODELS_DIR": str(tmp_path / "models"),
        "MLOPS_TRACKING_URI": store[0].tracking_uri, "MLOPS_ARTIFACT_URI": store[0].artifact_uri,
        "MLOPS_CODE_VERSION": "test", "MLOPS_ACTOR": "ann", "MLOPS_KEYS_DIR": str(store[0].keys_dir),
    }  # fmt: skip
    for key, value in settings.items():
        monkeypatch.setenv(key, value)
    services = Services.open()
    base = Services.open(store[0])
    return Contenders(services, spec_of(base, name), store[1])

"""Airflow for the tests of this folder: a home and a database of its own, chosen before Airflow is imported."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from mlops.airflow_settings import airflow_environment
from mlops.config import MLOpsConfig

ROOT = Path(__file__).parents[2]
DAGS = ROOT / "dags"
STEPS = ("ingestion", "features", "training", "validation", "promotion", "inference", "monitoring")

_FOLDER = Path(tempfile.mkdtemp(prefix="mlops-airflow-"))
(_FOLDER / "airflow").mkdir()
atexit.register(shutil.rmtree, _FOLDER, ignore_errors=True)
_SETTINGS = airflow_environment(MLOpsConfig.build({"home": ROOT, "var": str(_FOLDER)}, os.environ)) | {
    "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
    "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "0",
}
assert "airflow" not in sys.modules, "Airflow was imported before its settings were chosen: another test imports it"
os.environ.update({key: value for key, value in _SETTINGS.items() if not key.startswith(("MLOPS_", "PYTHON"))})
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))  # DAG files import `dags.factory`


@pytest.fixture(scope="session")
def airflow_db() -> None:
    """Airflow's database, empty."""
    from airflow.utils.db import initdb

    initdb()


@pytest.fixture
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """An installation of its own below tmp_path, with a folder for specs; DAG files that are parsed now see it."""
    for name in [name for name in os.environ if name.startswith("MLOPS_")]:
        monkeypatch.delenv(name)
    models = tmp_path / "models"
    models.mkdir()
    monkeypatch.setenv("MLOPS_HOME", str(ROOT))
    monkeypatch.setenv("MLOPS_VAR", str(tmp_path / "var"))
    monkeypatch.setenv("MLOPS_MODELS_DIR", str(models))
    return SimpleNamespace(models=models, var=tmp_path / "var")


@pytest.fixture
def write_spec(installation: SimpleNamespace) -> Callable[..., Path]:
    """Writes the sample fleet's spec under a name, with top-level keys changed."""

    def write(name: str, **changes: Any) -> Path:
        spec = yaml.safe_load((ROOT / "config" / "models" / "fleet_anomaly.yaml").read_text(encoding="utf-8"))
        path: Path = installation.models / f"{name}.yaml"
        path.write_text(yaml.safe_dump(spec | {"name": name} | changes), encoding="utf-8")
        return path

    return write


@pytest.fixture
def parse(airflow_db: None) -> Callable[[], Any]:
    """Parses the DAG folder as Airflow does."""

    def parsed() -> Any:
        from airflow.dag_processing.dagbag import BundleDagBag

        return BundleDagBag(dag_folder=DAGS, bundle_path=DAGS, bundle_name="dags-folder")

    return parsed


@pytest.fixture
def dags(write_spec: Callable[..., Path], parse: Callable[[], Any]) -> dict[str, Any]:
    """The DAGs of one model, `fleet`."""
    write_spec("fleet")
    bag = parse()
    assert bag.import_errors == {}
    return dict(bag.dags)


@pytest.fixture
def events() -> Callable[[str], list[dict[str, Any]]]:
    """Reads the facts of all events of an Asset, oldest first."""

    def read(name: str) -> list[dict[str, Any]]:
        from airflow.models.asset import AssetEvent, AssetModel
        from airflow.utils.session import create_session
        from sqlalchemy import select

        query = select(AssetEvent.extra).join(AssetModel, AssetModel.id == AssetEvent.asset_id)
        with create_session() as session:
            return [
                dict(extra) for extra in session.scalars(query.where(AssetModel.name == name).order_by(AssetEvent.id))
            ]

    return read


@pytest.fixture(autouse=True)
def _no_parsing_context() -> Iterator[None]:
    """Airflow leaves the id of the last DAG it parsed for a task in the environment; no test inherits it."""
    yield
    os.environ.pop("_AIRFLOW_PARSING_CONTEXT_DAG_ID", None)
    os.environ.pop("_AIRFLOW_PARSING_CONTEXT_TASK_ID", None)

"""Feast's page over the registry."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from mlops.config import MLOpsConfig
from mlops.features.store import FeatureStore
from mlops.features.ui import application
from mlops.storage import Storage

HOME = Path(__file__).parents[3]


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    """A store with the repository of the sample fleet, not registered yet."""
    shutil.copytree(HOME / "feature_repo", tmp_path / "feature_repo", ignore=shutil.ignore_patterns("__pycache__"))
    config = MLOpsConfig.build({"home": str(tmp_path), "var": str(tmp_path / "var")})
    return FeatureStore.open(config, Storage(config.var))


def test_the_page_shows_what_is_declared_and_changes_nothing(store: FeatureStore) -> None:
    """It registers the repository by itself, answers what the page asks for, and refuses to write."""
    client = TestClient(application(store))
    assert [project["id"] for project in client.get("/projects-list.json").json()["projects"]] == ["mlops"]
    views = client.get("/api/v1/feature_views", params={"project": "mlops"}).json()["featureViews"]
    assert [view["spec"]["name"] for view in views] == ["fleet_telemetry"]
    for method in ("post", "put", "patch", "delete"):
        answer = getattr(client, method)("/api/v1/feature_views/fleet_telemetry")
        assert (answer.status_code, "only shows" in answer.json()["detail"]) == (403, True)
    pushed = client.post("/api/v1/push", json={"push_source_name": "fleet_telemetry", "df": {}})
    assert pushed.status_code == 403


def test_a_repository_that_cannot_be_registered_does_not_take_the_page_down(store: FeatureStore) -> None:
    """What was registered before can still be looked at."""
    assert store.apply()
    (store.config.feature_repo / "broken.py").write_text("import nothing_of_that_name\n")
    again = FeatureStore.open(store.config, store.storage)
    client = TestClient(application(again))
    assert client.get("/api/v1/feature_views", params={"project": "mlops"}).json()["featureViews"]

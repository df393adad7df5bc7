"""Entities answered by what the online store holds: right values in the model's order, never silently stale."""

from __future__ import annotations

import asyncio
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
import pytest

from mlops.config import MLOpsConfig
from mlops.models import catalogue
from mlops.models.scoring import Scorer
from mlops.pipelines import serving
from mlops.services import Services
from mlops.serving.compiled_proof import Proof
from mlops.serving.predictor import Predictor
from mlops.serving.privacy import Mask
from mlops.serving.served import Live
from mlops.spec import CandidateSpec, FeaturesSpec, ModelSpec
from tests.serving_models import House, house, version

ROOT = Path(__file__).parents[3]
REPOSITORY = """
from datetime import timedelta
from feast import Entity, FeatureService, ValueType
from mlops.features.engineering import Recipe
from mlops.features.views import telemetry_view

pump = Entity(name="pump", join_keys=["pump_id"], value_type=ValueType.STRING)
levels = telemetry_view(
    name="levels", entity=pump, dataset="pumps", recipe=Recipe(("level", "heat", "noise")), ttl=timedelta(hours=6)
)
service = FeatureService(name="pumps_v1", features=[levels])
"""
FEATURES = ("noise", "level", "heat")  # another order than the store's
NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Services:
    """An installation whose online store knows one fresh pump and one that has been silent for ten hours."""
    home = tmp_path_factory.mktemp("home")
    (home / "feature_repo").mkdir()
    (home / "feature_repo" / "pumps.py").write_text(REPOSITORY)
    shutil.copy(ROOT / "feature_repo" / "feature_store.yaml", home / "feature_repo")
    values = {"home": home, "var": home / "var", "models_dir": ROOT / "config" / "models"}
    made = Services.open(MLOpsConfig.build(values))
    made.features.apply()
    times = pd.Series([NOW - timedelta(minutes=5), NOW - timedelta(hours=10)]).astype("datetime64[us, UTC]")
    rows = pd.DataFrame({"pump_id": ["fresh", "old"], "event_timestamp": times, "created_timestamp": times})
    rows = rows.assign(level=[1.5, 2.5], heat=[20.0, 30.0], noise=[0.1, np.nan])
    assert made.features.push("levels", rows, now=NOW) == 2
    return made


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    """A detector of these features."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal([0.1, 1.5, 20], [0.1, 1, 5], size=(300, 3)), columns=list(FEATURES))
    candidate = CandidateSpec(algorithm="isolation_forest", params={"n_estimators": 20})
    built = catalogue.build(candidate, task="anomaly", features=FEATURES, entity="pump_id", seed=0)
    return built.fit(frame).with_threshold(0.0)


def opened(services: Services, scorer: Scorer, **options: str) -> House:
    """A service that looks features up in that store."""
    spec: ModelSpec = services.spec("fleet_anomaly")
    spec = spec.model_copy(update={"entity": "pump_id", "features": FeaturesSpec(service="pumps_v1")})
    predictor = Predictor.of(version(), scorer, proof=Proof(reason="nobody proved it"))
    live = Live.of(predictor, Mask.of(FEATURES, "pump_id", hashed=(), dropped=()))
    made = house(services, {"pumps": live}, fetch=serving.online_features(services, spec), **options)
    made.service.models["pumps"].entity = "pump_id"
    return made


def asked(made: House, *entities: str) -> list[httpx.Response]:
    """One request each, all at once."""

    async def together() -> list[httpx.Response]:
        """All at once."""
        return await asyncio.gather(*(made.client.post("/predict", json={"entity": name}) for name in entities))

    return asyncio.run(together())


def test_an_entity_is_scored_by_what_the_online_store_holds(services: Services, scorer: Scorer) -> None:
    """The values in the model's order, whatever the store's; an unknown entity is 404, a silent one 409."""
    fresh, nobody, old = asked(opened(services, scorer), "fresh", "nobody", "old")
    held = pd.DataFrame({"noise": [0.1], "level": [1.5], "heat": [20.0]})
    assert fresh.json()["score"] == scorer.score(held)[0]
    assert datetime.fromisoformat(fresh.json()["feature_timestamp"]) == NOW - timedelta(minutes=5)
    assert (nobody.status_code, old.status_code) == (404, 409)
    assert str((NOW - timedelta(hours=10)).isoformat()) in old.json()["detail"]


def test_stale_values_are_marked_where_the_setting_says_so(services: Services, scorer: Scorer) -> None:
    """`mark`: answered with what there is, null where nothing is, and said to be stale."""
    fresh, old = asked(opened(services, scorer, stale="mark"), "fresh", "old")
    held = pd.DataFrame({"noise": [np.nan], "level": [2.5], "heat": [30.0]})
    assert old.json()["score"] == scorer.score(held)[0]
    assert (old.json()["stale"], "stale" in fresh.json()) == (True, False)


def test_a_feature_that_the_service_does_not_hold_is_told(services: Services, scorer: Scorer) -> None:
    """A version that needs another feature cannot be answered by entity: 503, with the feature's name."""
    other = catalogue.build(
        CandidateSpec(algorithm="hbos"), task="anomaly", features=("level", "hat"), entity="pump_id", seed=0
    ).fit(pd.DataFrame(np.random.default_rng(0).normal(size=(50, 2)), columns=["level", "hat"]))
    (answer,) = asked(opened(services, other), "fresh")
    assert answer.status_code == 503
    assert "'hat', which the version needs. Did you mean 'heat'?" in answer.json()["detail"]

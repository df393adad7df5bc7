"""The feature store on the production configuration: Redis online, SQL registry on PostgreSQL."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import psycopg
import pytest
import redis

from mlops.config import MLOpsConfig
from mlops.features.engineering import engineer
from mlops.features.store import FeatureStore
from mlops.storage import Storage

HOME = Path(__file__).parents[2]
SERVICE = "fleet_anomaly_v1"
DAY = date(2026, 3, 1)
REDIS_DATABASE = 11  # flushed before and after; no other test uses it

pytestmark = pytest.mark.integration


@pytest.fixture
def registry_url(postgres_server: str) -> Iterator[str]:
    """A PostgreSQL database of its own."""
    host, port = postgres_server.split(":")
    name = f"features_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(host=host, port=int(port), dbname="postgres", autocommit=True) as admin:
        admin.execute(f"create database {name}")
        yield f"postgresql+psycopg://{host}:{port}/{name}"
        admin.execute(f"drop database {name} with (force)")


@pytest.fixture
def redis_address(redis_server: str) -> Iterator[str]:
    """A Redis database of its own, empty."""
    host, port = redis_server.split(":")
    client = redis.Redis(host=host, port=int(port), db=REDIS_DATABASE)
    client.flushdb()
    yield f"{redis_server},db={REDIS_DATABASE}"
    client.flushdb()
    client.close()


@pytest.fixture
def store(tmp_path: Path, registry_url: str, redis_address: str) -> FeatureStore:
    """The shipped repository, applied to the production parts."""
    values = {"home": HOME, "var": tmp_path / "var", "feature_store_yaml": "feature_store.production.yaml"}
    config = MLOpsConfig.build(values, {"FEAST_REGISTRY_URL": registry_url, "FEAST_REDIS": redis_address})
    opened = FeatureStore.open(config, Storage(config.var))
    assert opened.apply() is True
    return opened


def night(store: FeatureStore, day: date, level: float = 0.0) -> pd.DataFrame:
    """Engineered features of two devices over one day."""
    (view,) = store.views_of(SERVICE)
    assert view.recipe is not None
    rng = np.random.default_rng(day.toordinal())
    at = pd.date_range(pd.Timestamp(day, tz="UTC"), periods=144, freq="10min")
    rows = pd.DataFrame({"device_id": np.repeat(["d1", "d2"], 144), "at": np.tile(at, 2)})
    rows[list(view.recipe.columns)] = level + rng.normal(size=(288, 4))
    return engineer(rows, view.recipe, entity="device_id", event="at", known_at="at")


def bounds(day: date) -> tuple[datetime, datetime]:
    """The interval of a delivery date."""
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return start, start + timedelta(days=1)


def test_online_values_equal_offline_values_in_production(store: FeatureStore) -> None:
    """Redis answers with the same floats as the join, for every feature of every device."""
    store.write_batch("fleet_telemetry", DAY, night(store, DAY))
    assert store.materialize(SERVICE, *bounds(DAY)) == 2
    now = bounds(DAY)[1]
    asked = pd.DataFrame({"device_id": ["d1", "d2"], "event_timestamp": pd.to_datetime([now, now])})
    offline = store.historical(SERVICE, asked).drop(columns="event_timestamp")
    online = store.online(SERVICE, ["d1", "d2"], as_of=now)
    pd.testing.assert_frame_equal(online, offline, check_exact=True)
    assert online.notna().all(axis=None)


def test_a_redone_date_reaches_redis_and_an_old_one_does_not_undo_it(store: FeatureStore) -> None:
    """New values for the same reading replace the old ones, which stock settings of Redis refuse; old dates do not."""
    days = [DAY, DAY + timedelta(days=1)]
    for day in days:
        store.write_batch("fleet_telemetry", day, night(store, day))
        store.materialize(SERVICE, *bounds(day))
    store.write_batch("fleet_telemetry", days[1], night(store, days[1], level=1_000.0))
    store.materialize(SERVICE, *bounds(days[1]))
    redone = store.online(SERVICE, ["d1", "d2"], stale="allow")
    assert (redone["temperature"] > 900).all()
    store.materialize(SERVICE, *bounds(days[0]))
    pd.testing.assert_frame_equal(store.online(SERVICE, ["d1", "d2"], stale="allow"), redone)


def test_a_second_process_finds_the_registry_as_it_was_left(store: FeatureStore) -> None:
    """What is applied is recorded in PostgreSQL: another process has nothing to apply."""
    again = FeatureStore.open(store.config, store.storage)
    assert again.apply() is False
    assert again.features_of(SERVICE) == store.features_of(SERVICE)

"""Feast's Spark offline store over our tables, and our local one: the same answers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import date, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from mlops.config import MLOpsConfig
from mlops.errors import ConfigError, FeatureError
from mlops.features.engineering import engineer
from mlops.features.historical_spark import historical_on_spark
from mlops.features.store import FeatureStore
from mlops.storage import Storage

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

SERVICE = "fleet_anomaly_v1"
START = pd.Timestamp("2026-03-01", tz="UTC")
DAYS = [date(2026, 3, 1) + timedelta(days=i) for i in range(3)]


def readings(seed: int = 0) -> pd.DataFrame:
    """Three days of six pumps with nulls, late rows and rows that were corrected later."""
    rng = np.random.default_rng(seed)
    n = 1_200
    at = START + pd.to_timedelta(rng.integers(0, 3 * 1_440, n), unit="min")
    late = np.where(rng.random(n) < 0.2, rng.integers(1, 300, n), 0)
    frame = pd.DataFrame({"device_id": [f"pump-{i}" for i in rng.integers(0, 6, n)], "event_timestamp": at})
    frame["arrived_at"] = (at + pd.to_timedelta(late, unit="min")).as_unit("us")
    frame["event_timestamp"] = frame["event_timestamp"].dt.as_unit("us")
    for column in ("temperature", "pressure", "vibration", "rotation"):
        frame[column] = np.where(rng.random(n) < 0.05, np.nan, rng.normal(50, 5, n))
    fixed = frame.sample(frac=0.1, random_state=seed)
    fixed = fixed.assign(arrived_at=fixed["arrived_at"] + pd.Timedelta("2h"), pressure=fixed["pressure"] + 10)
    return pd.concat([frame, fixed]).drop_duplicates(["device_id", "event_timestamp", "arrived_at"])


@pytest.fixture
def stores(config: MLOpsConfig, spark_config: MLOpsConfig, session: SparkSession) -> tuple[FeatureStore, FeatureStore]:
    """The feature store on one machine and on Spark, over the same tables."""
    here, there = (FeatureStore.open(settings, Storage(settings.var)) for settings in (config, spark_config))
    here.apply()
    (view,) = here.views_of(SERVICE)
    assert view.recipe is not None
    rows = readings()
    names = {"entity": "device_id", "event": "event_timestamp", "known_at": "arrived_at"}
    for day in DAYS:
        since = pd.Timestamp(day, tz="UTC")
        made = engineer(rows, view.recipe, **names, since=since)
        known = made["created_timestamp"]
        here.write_batch(view, day, made[(known >= since) & (known < since + pd.Timedelta("1d"))])
    return here, there


def asked(n: int = 150) -> pd.DataFrame:
    """Rows to join: known entities and one that never was, twins, times on readings and past their time to live."""
    rng = np.random.default_rng(9)
    times = START + pd.to_timedelta(rng.integers(0, 3 * 1_440 + 300, n), unit="min")
    frame = pd.DataFrame({"device_id": [f"pump-{i}" for i in rng.integers(0, 7, n)], "event_timestamp": times})
    frame["event_timestamp"] = frame["event_timestamp"].dt.as_unit("us")
    exact = readings()[["device_id", "arrived_at"]].head(50).rename(columns={"arrived_at": "event_timestamp"})
    both = pd.concat([frame, exact, frame.head(10)], ignore_index=True)
    return both.assign(label=np.arange(len(both)))


def test_historical_features_are_the_same_known_at_included(stores: tuple[FeatureStore, FeatureStore]) -> None:
    """Through Feast's own call: every row, in order, each value, and no correction before it had arrived."""
    here, there = stores
    expected = here.historical(SERVICE, asked())
    found = there.historical(SERVICE, asked())
    assert expected["feature_timestamp"].notna().sum() > 100
    assert expected["feature_timestamp"].isna().sum() > 20
    pd.testing.assert_frame_equal(found, expected, check_exact=True)
    assert (found["feature_known_at"].dropna() <= found.loc[found["feature_known_at"].notna(), "event_timestamp"]).all()


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A driver whose clock is not UTC."""
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("elsewhere")
def test_rows_on_spark_get_the_same_features_wherever_the_driver_is(
    stores: tuple[FeatureStore, FeatureStore], session: SparkSession
) -> None:
    """Rows that never come to one machine: the same answers, though the driver's clock is hours away from UTC."""
    here, there = stores
    expected = here.historical(SERVICE, asked())
    rows = session.createDataFrame(pa.Table.from_pandas(asked(), preserve_index=False)).repartition(3)
    found = historical_on_spark(there, SERVICE, rows).toArrow().to_pandas().sort_values("label", ignore_index=True)
    assert list(found.columns) == list(expected.columns)
    pd.testing.assert_frame_equal(found, expected, check_exact=True)


def test_a_local_store_cannot_answer_for_rows_on_spark(
    stores: tuple[FeatureStore, FeatureStore], session: SparkSession
) -> None:
    """The setting that is missing is named; so is a column."""
    here, there = stores
    rows = session.createDataFrame(pa.Table.from_pandas(asked(5), preserve_index=False))
    with pytest.raises(ConfigError, match=r"feature_store\.spark\.yaml"):
        historical_on_spark(here, SERVICE, rows)
    with pytest.raises(FeatureError, match="'device_id' is missing"):
        historical_on_spark(there, SERVICE, rows.withColumnRenamed("device_id", "pump"))

"""`engineer` on Spark and on one machine: the same features, bit for bit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from mlops.errors import SchemaError
from mlops.features import engineering_spark
from mlops.features.engineering import Recipe, engineer
from mlops.features.engineering_spark import engineer_on_spark
from mlops.spark_tables import POSITION
from tests.spark.conftest import Dealt

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

START = pd.Timestamp("2026-03-01", tz="UTC")
NAMES = {"entity": "pump", "event": "at", "known_at": "arrived"}
EVERYTHING = Recipe(
    ("a", "b"),
    ("30min", "2h"),
    ("value", "mean", "std", "min", "max", "slope", "deviation", "count", "rate", "lag1", "lag3"),
    ("hour", "weekday", "season"),
    reach="3h",
)


def telemetry(seed: int, pumps: int = 17, per_pump: int = 60) -> pd.DataFrame:
    """Irregular readings with nulls, late rows, replaced rows, twins and a sensor that stands still far from zero."""
    rng = np.random.default_rng(seed)
    n = pumps * per_pump
    at = START + pd.to_timedelta(rng.integers(0, 600, n), unit="min")
    late = np.where(rng.random(n) < 0.2, rng.integers(1, 300, n), 0)
    frame = pd.DataFrame(
        {
            "pump": [f"p{i}" for i in rng.integers(0, pumps, n)],
            "at": at,
            "arrived": at + pd.to_timedelta(late, unit="min"),
            "a": np.where(rng.random(n) < 0.1, np.nan, rng.normal(1e6, 3, n)),
            "b": 0.1,
        }
    )
    for column in ("at", "arrived"):
        frame[column] = frame[column].dt.as_unit("us")
    twins = frame.sample(frac=0.1, random_state=seed).assign(a=lambda x: x["a"] + 1)
    return pd.concat([frame, twins], ignore_index=True)


def collected(made: DataFrame) -> pd.DataFrame:
    """A Spark result as `engineer` orders its own."""
    frame = made.toArrow().to_pandas()
    return frame.sort_values(["pump", "event_timestamp", "created_timestamp"], ignore_index=True)


@pytest.mark.parametrize("since", [None, START + pd.Timedelta("5h")])
def test_features_are_the_same_to_the_last_bit(
    dealt: Dealt, monkeypatch: pytest.MonkeyPatch, since: pd.Timestamp | None
) -> None:
    """Whatever the partitions and groups, and with rows that came late, twice, or null."""
    monkeypatch.setattr(engineering_spark, "ROWS_PER_GROUP", 300)
    rows = telemetry(1)
    here = engineer(rows, EVERYTHING, **NAMES, since=since)
    placed = rows.assign(**{POSITION: np.arange(len(rows))})
    there = collected(engineer_on_spark(dealt(placed, 5), EVERYTHING, **NAMES, since=since))
    assert 0 < len(here) == len(there)
    assert list(here.columns) == list(there.columns)
    for column in here.columns:
        left, right = here[column].to_numpy(), there[column].to_numpy()
        if left.dtype == np.float64:
            left, right = left.view(np.int64), np.where(np.isnan(right), np.nan, right).view(np.int64)
        assert (left == right).all(), column


def test_twins_need_their_position(dealt: Dealt) -> None:
    """Of readings known at one instant the last counts; without positions Spark has no last, so they must be given."""
    rows = pd.DataFrame({"pump": ["p"] * 50, "at": START, "arrived": START, "a": np.arange(50.0), "b": 0.0})
    for column in ("at", "arrived"):
        rows[column] = rows[column].dt.as_unit("us")
    backwards = rows.assign(**{POSITION: np.arange(50)[::-1]})
    made = collected(engineer_on_spark(dealt(backwards, 5), Recipe(("a",)), **NAMES))
    assert made["a"].tolist() == [0.0]


def test_a_missing_column_is_told_before_anything_runs(dealt: Dealt) -> None:
    """The same error as on one machine, with the column that was meant."""
    rows = telemetry(2, pumps=2, per_pump=3).rename(columns={"arrived": "arrival"})
    with pytest.raises(SchemaError, match=r"'arrived' is missing\. Did you mean 'arrival'"):
        engineer_on_spark(dealt(rows), EVERYTHING, **NAMES)

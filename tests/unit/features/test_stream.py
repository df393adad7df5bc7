"""Features row by row equal those of a batch, to the last bit, on the sample fleet's own stream."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from mlops.data import fleet
from mlops.features.engineering import Recipe, engineer
from mlops.features.stream import FeatureStream

RECIPE = Recipe(
    columns=("temperature", "pressure", "vibration", "rotation"),
    windows=("1h", "6h"),
    statistics=("value", "mean", "deviation", "std", "slope", "min", "max", "count", "rate", "lag1", "lag2"),
    calendar=("hour",),
    reach="6h",
)
LATENESS = timedelta(hours=48)  # as the fleet's contract allows
SHORT = timedelta(hours=12)


@pytest.fixture(scope="module", params=[0.0, 0.2], ids=["in order", "late rows"])
def rows(request: pytest.FixtureRequest) -> pd.DataFrame:
    """Two days of two pumps as they came, in the order in which they became known."""
    config = fleet.FleetConfig(devices=2, step_minutes=30, late_share=request.param)
    days = [config.first_day + timedelta(days=number) for number in range(2)]
    found = pd.concat([fleet.deliver(config, day) for day in days], ignore_index=True)
    return found.sort_values("arrived_at", kind="stable", ignore_index=True)


def stream(lateness: timedelta = LATENESS) -> FeatureStream:
    """A stream that has seen nothing."""
    return FeatureStream(RECIPE, "device_id", "event_timestamp", "arrived_at", lateness)


def test_row_by_row_equals_batch(rows: pd.DataFrame) -> None:
    """One row at a time, late ones included: every feature of every row is the float that the batch code makes."""
    one = stream()
    found = pd.concat([one.update(rows.iloc[[i]]) for i in range(len(rows))], ignore_index=True)
    batch = engineer(rows, RECIPE, entity="device_id", event="event_timestamp", known_at="arrived_at")
    order = ["device_id", "event_timestamp", "created_timestamp"]
    found = found.sort_values(order, kind="stable", ignore_index=True)
    pd.testing.assert_frame_equal(found, batch, check_exact=True)
    assert one.too_late == 0
    assert found["temperature_std_6h"].notna().sum() > 100


def test_a_few_rows_at_a_time_are_the_same(rows: pd.DataFrame) -> None:
    """How a stream is cut into updates changes nothing."""
    one, many = stream(), stream()
    whole = one.update(rows)
    cut = pd.concat([many.update(rows.iloc[i : i + 7]) for i in range(0, len(rows), 7)], ignore_index=True)
    pd.testing.assert_frame_equal(cut, whole, check_exact=True)


def test_what_is_remembered_is_bounded(rows: pd.DataFrame) -> None:
    """Of two days no more is remembered than the look-back and the lateness allowed span: 18 hours of each pump."""
    one = stream(SHORT)
    one.update(rows)
    assert one.remembered <= 2 * (18 * 2 + 1)
    assert len(rows) > one.remembered + 50


def test_a_row_that_is_too_late_is_refused_and_counted(rows: pd.DataFrame) -> None:
    """A row older than the lateness allows has no whole windows any more: no features, and it is counted."""
    one = stream(SHORT)
    one.update(rows)
    before = one.too_late
    newest = rows.loc[rows["event_timestamp"].idxmax()]
    late = newest.to_frame().T.astype(rows.dtypes.to_dict())
    late["event_timestamp"] = newest["event_timestamp"] - SHORT - timedelta(microseconds=1)
    found = one.update(late)
    assert found.empty
    assert list(found)[3:] == list(RECIPE.feature_names)
    assert one.too_late == before + 1
    late["event_timestamp"] = newest["event_timestamp"] - SHORT
    assert np.isfinite(one.update(late)["temperature_mean_1h"]).all()

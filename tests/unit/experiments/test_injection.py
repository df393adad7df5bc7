"""Injection: faults of known size in known rows, and nothing else changed."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from mlops.experiments.injection import KINDS, Kind, inject_faults

ROWS = 500


def telemetry() -> pd.DataFrame:
    """Two devices with two columns of known spread (pressure: sigma 2), some values missing, rows not in time order."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "device_id": np.repeat(["a", "b"], ROWS),
            "event_timestamp": np.tile(pd.date_range("2026-03-01", periods=ROWS, freq="10min", tz="UTC"), 2),
            "pressure": rng.normal(10, 2, 2 * ROWS),
            "rotation": rng.integers(900, 1100, 2 * ROWS),
            "site": "north",
        }
    )
    frame.loc[::50, "pressure"] = np.nan
    return frame.sample(frac=1, random_state=1)


def injected(
    kinds: tuple[Kind, ...] = KINDS, share: float = 0.1
) -> tuple[pd.DataFrame, pd.DataFrame, NDArray[np.bool_]]:
    """The rows before and after, and the mask, in time order."""
    before = telemetry()
    after, mask = inject_faults(
        before,
        columns=["pressure", "rotation"],
        entity="device_id",
        event="event_timestamp",
        rng=np.random.default_rng(5),
        share=share,
        kinds=kinds,
    )
    assert list(after.index) == list(before.index)
    order = np.lexsort((before["event_timestamp"], before["device_id"]))
    return before.iloc[order], after.iloc[order], mask[order]


def test_only_marked_rows_and_columns_change() -> None:
    """Rows outside the mask, keys, times and other columns are as they were; nothing missing is filled."""
    before, after, mask = injected()
    kept = ["device_id", "event_timestamp", "site"]
    pd.testing.assert_frame_equal(before[kept], after[kept])
    columns = ["pressure", "rotation"]
    pd.testing.assert_frame_equal(before.loc[~mask, columns].astype(float), after.loc[~mask, columns])
    pd.testing.assert_series_equal(before["pressure"].isna(), after["pressure"].isna())


def test_a_missing_value_in_a_fault_is_no_fault() -> None:
    """Where nothing was measured nothing can be found: such rows are not marked."""
    rows = telemetry()
    after, mask = inject_faults(
        rows,
        columns=["pressure"],
        entity="device_id",
        event="event_timestamp",
        rng=np.random.default_rng(0),
        share=0.3,
        kinds=("shift",),
    )
    assert mask.sum() > 200
    assert not mask[rows["pressure"].isna()].any()
    assert (after.loc[mask, "pressure"] != rows.loc[mask, "pressure"]).all()


def test_the_share_is_reached_for_each_entity() -> None:
    """A tenth of each entity's rows is faulty, and at most one fault more."""
    before, _, mask = injected()
    for device in ("a", "b"):
        share = mask[(before["device_id"] == device).to_numpy()].sum() / ROWS
        assert 0.1 - 0.01 <= share <= 0.1 + 36 / ROWS  # a missing value in a fault is not marked


def test_a_spike_has_the_size_asked_for() -> None:
    """Single rows are moved by 5 to 10 robust standard deviations of their column."""
    before, after, mask = injected(("spike",))
    moved = (after["pressure"] - before["pressure"])[mask].abs()
    moved = moved[moved > 0]
    normal = before.groupby("device_id")["pressure"].agg(lambda x: 1.4826 * (x - x.median()).abs().median())
    assert len(moved) > 10
    assert moved.min() >= 5 * normal.min() - 1e-9
    assert moved.max() <= 10 * normal.max() + 1e-9
    assert not (mask[1:] & mask[:-1])[: ROWS - 1].any()


def test_a_shift_moves_all_its_rows_alike() -> None:
    """Within one fault every value of the column moves by the same amount."""
    before, after, _ = injected(("shift",))
    change = (after["pressure"] - before["pressure"]).to_numpy()[:ROWS]
    hit = np.flatnonzero(np.abs(np.nan_to_num(change)) > 0)
    first_run = change[hit[0] : hit[0] + 12]
    assert np.nanstd(first_run) == pytest.approx(0, abs=1e-9)


def test_a_stuck_sensor_repeats_its_first_value() -> None:
    """Every changed run of values is constant and equal to the value it began with."""
    before, after, mask = injected(("stuck",))
    found = 0
    for device in ("a", "b"):
        own = (before["device_id"] == device).to_numpy()
        was, now, hit = before.loc[own, "pressure"].to_numpy(), after.loc[own, "pressure"].to_numpy(), mask[own]
        changed = np.flatnonzero(~np.isclose(was, now, equal_nan=True))
        if len(changed):
            found += 1
            start = changed[0] - 1  # the first value of the fault is the one that stays
            assert hit[changed].all()
            assert now[changed[0]] in was[max(0, start - 1) : start + 1]
    assert found


def test_a_drift_grows_to_its_full_size() -> None:
    """The change of a drift is monotone and ends at 5 to 10 sigma."""
    before, after, _ = injected(("drift",), share=0.02)
    for column in ("pressure", "rotation"):
        for device in ("a", "b"):
            own = (before["device_id"] == device).to_numpy()
            sigma = 1.4826 * (before.loc[own, column] - before.loc[own, column].median()).abs().median()
            change = (after.loc[own, column] - before.loc[own, column]).dropna().to_numpy()
            grown = np.abs(change[np.abs(change) > 1e-9])
            if len(grown):
                assert (np.diff(grown) > 0).all()
                assert 4 * sigma < grown[-1] <= 10 * sigma + 1e-9


def test_all_kinds_occur_over_the_entities() -> None:
    """With few faults per entity, the first one is not always of the same kind."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "device_id": np.repeat(np.arange(40), 100),
            "event_timestamp": np.tile(pd.date_range("2026-03-01", periods=100, freq="h", tz="UTC"), 40),
            "pressure": rng.normal(size=4000),
        }
    )
    after, mask = inject_faults(
        frame, columns=["pressure"], entity="device_id", event="event_timestamp", rng=rng, share=0.01
    )
    lengths = pd.Series(mask).groupby(frame["device_id"]).sum()
    assert (lengths == 1).any()
    assert (lengths > 10).any()
    stuck = after[mask].groupby("device_id")["pressure"].nunique()
    assert ((stuck == 1) & (lengths[stuck.index] > 1)).any()


def test_the_seed_decides_all() -> None:
    """The same seed puts the same faults."""
    first, second = injected()[1], injected()[1]
    pd.testing.assert_frame_equal(first, second)


def test_entities_with_few_rows_and_empty_tables_are_left_alone() -> None:
    """Where a fault would take most of the rows, none is put; no rows are no error."""
    for rows in (telemetry().iloc[:20], telemetry().iloc[:0]):
        after, mask = inject_faults(
            rows, columns=["pressure"], entity="device_id", event="event_timestamp", rng=np.random.default_rng(0)
        )
        assert not mask.any()
        pd.testing.assert_frame_equal(after, rows)


def test_a_constant_column_is_never_reported_as_stuck() -> None:
    """A fault that changes nothing is no fault."""
    rows = telemetry().assign(pressure=5.0)
    _, mask = inject_faults(
        rows,
        columns=["pressure"],
        entity="device_id",
        event="event_timestamp",
        rng=np.random.default_rng(0),
        kinds=("stuck",),
    )
    assert not mask.any()

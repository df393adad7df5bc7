"""The reference cut into days that are like tonight."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mlops.monitoring.drift import windows

TIMES = pd.date_range("2026-03-01", periods=4 * 48, freq="30min", tz="UTC")


def sizes(cut: windows.Windows) -> list[int]:
    """Rows of each day."""
    return [len(part) for part in cut.parts(np.arange(len(TIMES)))]


def test_a_reference_is_cut_into_its_days_whatever_its_order() -> None:
    """Every row stands in exactly one day, its own; rows without a time in none."""
    order = np.random.default_rng(0).permutation(len(TIMES))
    shuffled = TIMES[order].to_series(index=range(len(TIMES)))
    shuffled.iloc[5] = pd.NaT
    cut = windows.cut(shuffled)
    assert len(cut.days) == 4
    assert sorted(cut.kept) == sorted(set(range(len(TIMES))) - {5})
    for day, part in zip(cut.days, cut.parts(shuffled.to_numpy()), strict=True):
        assert (part.astype("datetime64[D]") == day).all()
    assert cut.told == ""


def test_only_the_hours_of_tonight_are_compared() -> None:
    """A delivery of the first six hours is held against the first six hours of each day."""
    cut = windows.cut(TIMES, current_times=TIMES[:12] + pd.Timedelta(days=60))
    assert sizes(cut) == [12] * 4
    assert set(TIMES[cut.kept].hour) == set(range(6))
    assert cut.told == "6 hours of the day"


def test_only_the_entities_of_tonight_are_compared_and_new_ones_narrow_nothing() -> None:
    """Two of four devices report: so do they on every day. A device that was never seen changes nothing."""
    whose = np.array(["a", "b", "c", "d"])[np.arange(len(TIMES)) % 4]
    cut = windows.cut(TIMES, reference_entities=whose, current_entities=["a", "b", "new"])
    assert set(whose[cut.kept]) == {"a", "b"}
    assert windows.cut(TIMES, reference_entities=whose, current_entities=["new"]).told == ""
    assert len(windows.cut(TIMES, reference_entities=whose, current_entities=[*"abcd", "new"]).kept) == len(TIMES)


def test_a_small_night_is_held_against_stretches_as_small() -> None:
    """Ten rows against ten of each day, neighbours of one entity where entities are known, the same by seed."""
    whose = np.array(["a", "b"])[np.arange(len(TIMES)) % 2]
    now = TIMES[:48:4][:10] + pd.Timedelta(days=60)
    spread_out = pd.DatetimeIndex([*now[:8], *(now[:2] + pd.Timedelta(hours=22))])
    every_hour = TIMES[:48:5]
    cuts = [
        windows.cut(TIMES, current_times=every_hour, reference_entities=whose, current_entities=["a", "b"], seed=3)
        for _ in range(2)
    ]
    assert (cuts[0].kept == cuts[1].kept).all()
    assert sizes(cuts[0]) == [len(every_hour)] * 4
    for part in cuts[0].parts(whose):
        assert (part[1:] != part[:-1]).sum() <= 2 * len(part) // 2
    assert len(spread_out) == 10

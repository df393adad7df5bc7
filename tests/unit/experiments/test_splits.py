"""Splits: rows that judge come after rows that teach, by at least the gap."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from mlops.experiments.splits import cut, folds
from mlops.spec import SplitSpec

END = datetime(2026, 3, 15, tzinfo=UTC)
TIMES = st.lists(st.integers(-100, 400), min_size=1, max_size=80).map(
    lambda found: pd.Series([pd.Timestamp(END) - timedelta(hours=hour) for hour in found])
)


@given(times=TIMES, gap=st.sampled_from([0.0, 1.0, 6.5]), calibration=st.sampled_from([0.0, 1.0, 2.0]))
def test_no_row_judges_earlier_than_the_gap_after_the_rows_that_teach(
    times: pd.Series, gap: float, calibration: float
) -> None:
    """In every cut, fit, calibration and holdout follow one another with the gap between them and share no row."""
    split = cut(times, SplitSpec(window_days=10, holdout_days=2, calibration_days=calibration, gap_hours=gap), END)
    assert not (split.fit & split.calibration).any()
    assert not ((split.fit | split.calibration) & split.holdout).any()
    parts = [times[mask] for mask in (split.fit, split.calibration, split.holdout) if mask.any()]
    for earlier, later in pairwise(parts):
        assert later.min() - earlier.max() >= timedelta(hours=gap)
    if not calibration:
        assert not split.calibration.any()


def test_the_parts_have_the_lengths_of_the_spec() -> None:
    """Hourly rows over 10 days: 2 days of holdout, 6 h, 2 days of calibration, 6 h, the rest to fit; none outside."""
    times = pd.Series(pd.date_range(END - timedelta(days=12), END + timedelta(days=1), freq="h"))
    split = cut(times, SplitSpec(window_days=10, holdout_days=2, calibration_days=2, gap_hours=6), END)
    assert (split.holdout.sum(), split.calibration.sum(), split.fit.sum()) == (48, 48, 240 - 48 - 6 - 48 - 6)
    assert times[split.holdout].max() < END
    assert times[split.fit].min() == END - timedelta(days=10)


@given(times=TIMES, n=st.integers(0, 5), gap=st.sampled_from([0, 3, 30]))
def test_each_fold_learns_from_the_past_only(times: pd.Series, n: int, gap: int) -> None:
    """Every fold is judged at least the gap after what it learned from; windows expand; no row is judged twice."""
    found = folds(times, n, timedelta(hours=gap))
    assert len(found) <= n
    judged = np.concatenate([test for _, test in found]) if found else np.array([])
    assert len(judged) == len(set(judged.tolist()))
    for train, test in found:
        assert times.iloc[test].min() - times.iloc[train].max() >= timedelta(hours=gap)
    for (before, _), (after, _) in pairwise(found):
        assert set(before) <= set(after)


def test_folds_divide_time_into_equal_parts() -> None:
    """100 hours of two entities in three folds: tests of 25 hours each, the first after 25; one time stays together."""
    times = pd.Series(np.tile(pd.date_range(END, periods=100, freq="h"), 2))
    found = folds(times, 3, timedelta(0))
    assert [(len(train), len(test)) for train, test in found] == [(50, 50), (100, 50), (150, 50)]


def test_a_gap_longer_than_the_past_leaves_the_fold_out() -> None:
    """A fold that would have nothing to learn from is not made up."""
    times = pd.Series(pd.date_range(END, periods=40, freq="h"))
    assert len(folds(times, 3, timedelta(hours=15))) == 2

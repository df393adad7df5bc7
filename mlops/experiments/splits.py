"""Cuts in time: rows that judge come after rows that teach, with a gap between them.

One rule: a row that judges is later than every row that teaches by at least the gap, so that no feature window of one
reaches into the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mlops.spec import SplitSpec

Mask = NDArray[np.bool_]
Positions = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Split:
    """Which rows belong to which part; a row in the gaps or outside the window belongs to none."""

    fit: Mask  # shape (n_rows,)
    calibration: Mask
    holdout: Mask


def cut(times: pd.Series, split: SplitSpec, end: datetime) -> Split:
    """Cut a window: fit | gap | calibration | gap | holdout, without the middle part if `calibration_days` is 0.

    Args:
        times: shape (n_rows,), zoned timestamps.
        split: lengths of the parts.
        end: end of the window, exclusive; zoned.
    """
    at = pd.DatetimeIndex(times)
    gap = timedelta(hours=split.gap_hours)
    start = pd.Timestamp(end - timedelta(days=split.window_days))
    holdout_start = pd.Timestamp(end - timedelta(days=split.holdout_days))
    calibration_end = holdout_start - gap
    calibration_start = calibration_end - timedelta(days=split.calibration_days)
    fit_end = calibration_start - gap if split.calibration_days > 0 else calibration_end
    return Split(
        fit=np.asarray((at >= start) & (at < fit_end)),
        calibration=np.asarray((at >= calibration_start) & (at < calibration_end)),
        holdout=np.asarray((at >= holdout_start) & (at < pd.Timestamp(end))),
    )


def folds(times: pd.Series, n: int, gap: timedelta) -> list[tuple[Positions, Positions]]:
    """Time-ordered folds with an expanding window: each is judged on the rows that follow those it learned from.

    Time is cut where it divides the rows into `n + 1` parts of about equal size; rows of the same time stay together.

    Args:
        times: shape (n_rows,), timestamps without nulls; need not be sorted.
        n: number of folds, ≥ 0.
        gap: left out before the rows that judge.

    Returns:
        At most `n` pairs of row positions (train, test), the earliest first; a fold without rows to learn from or to be
        judged on is left out.
    """
    at = pd.DatetimeIndex(times)
    if n < 1 or at.empty:
        return []
    ordered = at.sort_values()
    bounds = [ordered[len(ordered) * k // (n + 1)] for k in range(1, n + 1)]
    ends = [*bounds[1:], ordered[-1] + timedelta(microseconds=1)]
    found = []
    for begin, stop in zip(bounds, ends, strict=True):
        train = np.flatnonzero(at < begin - gap)
        test = np.flatnonzero((at >= begin) & (at < stop))
        if len(train) and len(test):
            found.append((train, test))
    return found

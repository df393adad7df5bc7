"""Realised performance: how good the predictions were, day by day, once the truth is known.

One rule: a day without enough labels has no value, and says why; it is never a good day.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

Metric = Callable[[npt.NDArray[Any], npt.NDArray[Any]], float | None]


@dataclass(frozen=True, slots=True)
class DayPerformance:
    """How good the predictions of one day were."""

    date: date
    value: float | None  # of the metric; None: cannot tell
    rows: int  # predictions of that day
    labelled: int  # of these, with a mature label and a score
    reason: str = ""  # why there is no value; empty if there is one


def by_day(
    times: Any, y: npt.ArrayLike, scores: npt.ArrayLike, *, metric: Metric, min_rows: int = 1
) -> tuple[DayPerformance, ...]:
    """The metric of every day that has predictions.

    Args:
        times: shape (n_rows,), when each row happened; without zone it is UTC.
        y: shape (n_rows,), labels; NaN where none is mature.
        scores: shape (n_rows,), NaN where the model could not tell.
        metric: function of (y, score) that returns None where it is not defined.
        min_rows: fewer labelled rows of a day: cannot tell.

    Returns:
        One entry per day, in order of time; empty without rows.
    """
    stamps = pd.DatetimeIndex(times)
    stamps = stamps.tz_localize("UTC") if stamps.tz is None else stamps.tz_convert("UTC")
    truth, predicted = np.asarray(y, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    days = np.asarray(stamps.date)
    return tuple(
        _day(day, truth[days == day], predicted[days == day], metric, min_rows) for day in sorted(set(days.tolist()))
    )


def overall(days: tuple[DayPerformance, ...]) -> DayPerformance | None:
    """The mean over days that have a value, weighted by their labelled rows, dated by the last of them.

    Returns:
        None if no day has a value: cannot tell.
    """
    known = [day for day in days if day.value is not None]
    if not known:
        return None
    weights = [day.labelled for day in known]
    mean = float(np.average([day.value for day in known if day.value is not None], weights=weights))
    return DayPerformance(known[-1].date, mean, sum(day.rows for day in known), sum(weights))


def _day(
    day: date, truth: npt.NDArray[np.float64], scores: npt.NDArray[np.float64], metric: Metric, min_rows: int
) -> DayPerformance:
    mature = np.isfinite(truth)
    usable = mature & np.isfinite(scores)
    labelled = int(usable.sum())
    if labelled < min_rows:
        reason = (
            f"{labelled:,} rows with label and score, {min_rows:,} are needed" if mature.any() else "no mature labels"
        )
        return DayPerformance(day, None, len(truth), labelled, reason)
    value = metric(truth[usable], scores[usable])
    if value is None or not np.isfinite(value):
        return DayPerformance(day, None, len(truth), labelled, "the metric is not defined on these labels (one class?)")
    return DayPerformance(day, float(value), len(truth), labelled)

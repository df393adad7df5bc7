"""The alarm threshold from an alert budget: how many alarms per entity and day people are ready to look at.

A row is flagged if `score > threshold`; a NaN score is never flagged. An alarm is an onset: a flagged row whose
previous row of the same entity is not flagged, so that ten rows of one fault are one alarm.

One rule: `score > threshold`, here, in the scorer and everywhere.
"""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from mlops.errors import TrainingError

DAY = timedelta(days=1)


def threshold_for_budget(
    scores: ArrayLike,
    entities: ArrayLike,
    times: ArrayLike,
    *,
    alerts_per_entity_day: float,
    step: timedelta | None = None,
) -> float:
    """The lowest score at which, and at every higher one, alarms stay within the budget.

    Lowering a threshold can also merge alarms, so their number is not monotone; the search therefore comes from above
    and stops before the first violation. The answer is one of the scores: the highest flags nothing, so it exists.

    Args:
        scores: shape (n_rows,), higher = more anomalous; NaNs are never flagged.
        entities: shape (n_rows,).
        times: shape (n_rows,), timestamps; rows need not be sorted.
        alerts_per_entity_day: the budget, > 0.
        step: time that a row stands for, see `entity_days`.

    Returns:
        The threshold; a row is flagged above it.

    Raises:
        TrainingError: no row has a score.
    """
    values = np.asarray(scores, dtype=np.float64)
    order, starts = _by_entity_and_time(entities, times)
    value = values[order]
    distinct = np.unique(value[~np.isnan(value)])
    if not len(distinct):
        raise TrainingError(
            f"No threshold can be set: none of the {len(values):,} calibration rows has a score.",
            hint="Give the calibration part rows of entities that the model has seen, with at least one feature.",
        )
    alarms = _onsets_at(distinct, value, starts)
    scored = ~np.isnan(values)
    watched = entity_days(np.asarray(entities)[scored], np.asarray(times)[scored], step=step)
    too_many = np.flatnonzero(alarms > alerts_per_entity_day * watched + 1e-9)
    return float(distinct[too_many[-1] + 1 if len(too_many) else 0])


def onsets(scores: ArrayLike, entities: ArrayLike, times: ArrayLike, threshold: float) -> int:
    """Number of alarms at a threshold: flagged rows whose previous row of the same entity is not flagged.

    >>> onsets([0, 9, 9, 0, 9], list("aaaaa"), [1, 2, 3, 4, 5], threshold=8)
    2
    """
    order, starts = _by_entity_and_time(entities, times)
    flagged = np.asarray(scores, dtype=np.float64)[order] > threshold
    before = np.concatenate([[False], flagged[:-1]]) & ~starts
    return int((flagged & ~before).sum())


def entity_days(entities: ArrayLike, times: ArrayLike, *, step: timedelta | None = None) -> float:
    """Time watched: rows times the time each stands for [entity-days].

    Args:
        entities: shape (n_rows,).
        times: shape (n_rows,), timestamps.
        step: time that a row stands for. Default: the median distance of neighbouring rows of one entity, at most a
            day; a day if no entity has two rows.

    >>> entity_days(list("aabb"), pd.to_datetime([0, 12, 0, 12], unit="h"))
    2.0
    """
    order, starts = _by_entity_and_time(entities, times)
    if step is None:
        distances = np.diff(_microseconds(times)[order])[~starts[1:]]
        distances = distances[distances > 0]
        microseconds = min(float(np.median(distances)), DAY / timedelta(microseconds=1)) if len(distances) else None
        step = timedelta(microseconds=microseconds) if microseconds else DAY
    return float(len(order) * (step / DAY))


def _onsets_at(
    distinct: NDArray[np.float64], value: NDArray[np.float64], starts: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Alarms at each distinct score: a row begins one exactly at thresholds in [score of the row before, its own)."""
    before = np.concatenate([[-np.inf], value[:-1]])
    before[starts | np.isnan(before)] = -np.inf
    rising = value > before  # False for NaN
    first = np.searchsorted(distinct, before[rising])
    last = np.searchsorted(distinct, value[rising])
    change = np.bincount(first, minlength=len(distinct) + 1) - np.bincount(last, minlength=len(distinct) + 1)
    return np.cumsum(change)[:-1]


def _by_entity_and_time(entities: ArrayLike, times: ArrayLike) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Row order by entity and time, and where in it an entity begins."""
    codes = pd.factorize(np.asarray(entities))[0]
    order = np.lexsort((_microseconds(times), codes))
    ordered = codes[order]
    starts = np.ones(len(ordered), dtype=bool)
    starts[1:] = ordered[1:] != ordered[:-1]
    return order, starts


def _microseconds(times: ArrayLike) -> NDArray[np.int64]:
    array = np.asarray(times)
    if np.issubdtype(array.dtype, np.number):
        return array.astype(np.int64)
    return pd.DatetimeIndex(pd.to_datetime(array, utc=True)).as_unit("us").asi8

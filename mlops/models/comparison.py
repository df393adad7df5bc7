"""Is the challenger better, or was it lucky? A paired comparison of two score vectors on the same rows.

Rows of one entity that lie close in time are not independent: one fault makes an hour of positives. So not rows but
blocks (an entity × a stretch of time) are resampled, blocks with a positive apart from those without, and both models
are judged on the same resample. The lower bound is the smaller of two: the percentile, which follows a skewed
distribution, and Student's bound from the standard error of the resamples, which knows how few blocks there are.

One rule: both models are always judged on the same rows with the same weights.

References:
    Efron, B. and Tibshirani, R. (1993), An introduction to the bootstrap, chapters 8 and 13.
    Künsch, H. (1989), The jackknife and the bootstrap for general stationary observations, Annals of Statistics 17.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mlops.models.weighted_metrics import METRICS, RANKING, RESAMPLED, Floats, Metric

__all__ = ["METRICS", "Interval", "Metric", "paired_difference", "time_blocks"]


_CHUNK = 1_000_000  # weights held at once: 8 MB
_FEWEST_VALID = 0.9  # share of resamples on which the metric must exist


@dataclass(frozen=True, slots=True)
class Interval:
    """How much better `a` is than `b`; positive is better, whichever way the metric points."""

    estimate: float
    low: float  # one-sided lower bound at level `alpha`
    alpha: float
    value_a: float  # the metric of a on all rows
    value_b: float
    rows: int  # rows compared
    positives: int | None  # None unless y is 0/1
    blocks: int  # blocks resampled; of those with a positive, if y is 0/1


def time_blocks(entities: Any, times: Any, hours: float) -> npt.NDArray[np.intp]:
    """The block each row belongs to: its entity and its stretch of `hours` on the clock.

    Args:
        entities: shape (n_rows,).
        times: shape (n_rows,), time stamps; without zone they are UTC.
        hours: length of a block, > 0 [h].

    Returns:
        Shape (n_rows,), numbered from 0 without gaps.

    >>> time_blocks(["a", "a", "b"], pd.to_datetime(["2026-01-01 00:10", "2026-01-01 05:50", "2026-01-01 00:10"]), 6)
    array([0, 0, 1])
    """
    stamps = pd.DatetimeIndex(pd.to_datetime(times, utc=True)).as_unit("us").asi8
    stretch = stamps // int(hours * 3_600_000_000)
    keys = pd.MultiIndex.from_arrays([pd.factorize(np.asarray(entities))[0], stretch])
    codes: npt.NDArray[np.intp] = keys.factorize()[0]
    return codes


def paired_difference(
    metric: Metric,
    y: npt.ArrayLike,
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    *,
    blocks: npt.ArrayLike,
    higher_is_better: bool,
    alpha: float,
    resamples: int,
    rng: np.random.Generator,
) -> Interval | None:
    """How much better scores `a` are than scores `b` on the same rows, with a one-sided lower bound.

    Args:
        metric: one of `METRICS` (computed for all resamples at once), or any function of (y, score) that returns None
            where it is not defined (called for every resample).
        y: shape (n_rows,), labels; a row with NaN is left out.
        a: shape (n_rows,), scores. For a metric of `RANKING`, NaN ranks below everything: a row without a score raises
            no alarm. For others, a row without a score of both is left out.
        b: likewise.
        blocks: shape (n_rows,), the block of each row (`time_blocks`).
        higher_is_better: which way the metric points.
        alpha: error rate of the bound, in (0, .5).
        resamples: number of bootstrap resamples.
        rng: source of randomness.

    Returns:
        None if it cannot be told: the metric is not defined on these rows or on a tenth of the resamples, or there are
        not two blocks (with a positive, if y is 0/1) to resample.
    """
    truth, first, second, codes = _usable(metric, y, a, b, blocks)
    value_a, value_b = metric(truth, first), metric(truth, second)
    if value_a is None or value_b is None:
        return None
    binary = bool(np.isin(truth, (0.0, 1.0)).all())
    strata = _strata(truth, codes) if binary else [np.unique(codes)]
    informative = len(strata[0])
    if informative < 2:
        return None
    sign = 1.0 if higher_is_better else -1.0
    differences = sign * _differences(metric, truth, first, second, codes, strata, resamples, rng)
    valid = differences[np.isfinite(differences)]
    if len(valid) < _FEWEST_VALID * resamples:
        return None
    estimate = sign * (value_a - value_b)
    low = _lower_bound(estimate, valid, informative, alpha)
    positives = int(truth.sum()) if binary else None
    return Interval(estimate, low, alpha, value_a, value_b, len(truth), positives, informative)


def _lower_bound(estimate: float, differences: Floats, blocks: int, alpha: float) -> float:
    from scipy.stats import t

    error = float(np.std(differences)) * np.sqrt(blocks / (blocks - 1))
    student = estimate - float(t.ppf(1 - alpha, blocks - 1)) * error
    return float(min(np.quantile(differences, alpha), student))


def _usable(
    metric: Metric, y: npt.ArrayLike, a: npt.ArrayLike, b: npt.ArrayLike, blocks: npt.ArrayLike
) -> tuple[Floats, Floats, Floats, npt.NDArray[np.intp]]:
    truth, first, second = (np.asarray(values, dtype=np.float64) for values in (y, a, b))
    keep = np.isfinite(truth)
    if metric not in RANKING:
        keep &= np.isfinite(first) & np.isfinite(second)
    codes = np.unique(np.asarray(blocks)[keep], return_inverse=True)[1]
    return truth[keep], first[keep], second[keep], codes.astype(np.intp)


def _strata(truth: Floats, codes: npt.NDArray[np.intp]) -> list[npt.NDArray[np.intp]]:
    """Blocks with a positive, then those without."""
    positive = np.bincount(codes, weights=truth) > 0
    return [np.flatnonzero(positive), np.flatnonzero(~positive)]


def _differences(
    metric: Metric,
    truth: Floats,
    first: Floats,
    second: Floats,
    codes: npt.NDArray[np.intp],
    strata: list[npt.NDArray[np.intp]],
    resamples: int,
    rng: np.random.Generator,
) -> Floats:
    """The difference of the metric on every resample, shape (resamples,); NaN where it is not defined."""
    resampled = RESAMPLED.get(metric)
    found = []
    for counts in _block_counts(strata, resamples, max(1, _CHUNK // max(len(truth), 1)), rng):
        if resampled is not None:
            found.append(resampled(truth, first, codes, counts) - resampled(truth, second, codes, counts))
        else:
            found.append(np.array([_plain_difference(metric, truth, first, second, row[codes]) for row in counts]))
    return np.concatenate(found)


def _plain_difference(
    metric: Metric, truth: Floats, first: Floats, second: Floats, times: npt.NDArray[np.int64]
) -> float:
    rows = np.repeat(np.arange(len(truth)), times)
    value_a, value_b = metric(truth[rows], first[rows]), metric(truth[rows], second[rows])
    return float("nan") if value_a is None or value_b is None else value_a - value_b


def _block_counts(
    strata: list[npt.NDArray[np.intp]], resamples: int, chunk: int, rng: np.random.Generator
) -> Iterator[npt.NDArray[np.int64]]:
    """How often each block is drawn, shape (≤ chunk, n_blocks) at a time; every stratum keeps its size."""
    total = sum(len(stratum) for stratum in strata)
    for start in range(0, resamples, chunk):
        rows = min(chunk, resamples - start)
        counts = np.zeros((rows, total), dtype=np.int64)
        for stratum in strata:
            if size := len(stratum):
                drawn = rng.integers(size, size=(rows, size)) + size * np.arange(rows)[:, None]
                counts[:, stratum] = np.bincount(drawn.ravel(), minlength=rows * size).reshape(rows, size)
        yield counts

"""Is the challenger better, or was it lucky? A paired comparison of two score vectors on the same rows.

Rows of one entity that lie close in time are not independent: one fault makes an hour of positives. So not rows but
blocks (an entity × a stretch of time) are the units of chance. What ties rows together does not end where a block does:
if neighbouring blocks of an entity go together, twice their covariance is added to the variance; it is never taken
away. Two ways to a bound:

- *linear*: influence values of the two models are subtracted row by row, added up by block, and give the standard
  error; Student's distribution has as many degrees of freedom as blocks tell (fewer where a few carry most). For ROC
  AUC this is DeLong's test for clustered rows, for a mean of losses the paired test of loss differences.
- *bootstrap*: blocks are resampled; the bound is the smaller of the percentile, which follows a skewed distribution,
  and Student's bound from the standard error of the resamples, which knows how few blocks there are.

One rule: both models are always judged on the same rows with the same weights.

References:
    DeLong, E., DeLong, D. and Clarke-Pearson, D. (1988), Biometrics 44.
    Obuchowski, N. (1997), Nonparametric analysis of clustered ROC curve data, Biometrics 53.
    Diebold, F. and Mariano, R. (1995), Comparing predictive accuracy, Journal of Business & Economic Statistics 13.
    Politis, D. and Romano, J. (1995), Bias-corrected nonparametric spectral estimation, J. Time Series Analysis 16.
    Cameron, A., Gelbach, J. and Miller, D. (2008), Bootstrap-based improvements for inference with clustered errors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from mlops.models import bootstrap
from mlops.models.influence import CLOSED, INFLUENCE
from mlops.models.weighted_metrics import METRICS, RANKING, Floats, Metric

__all__ = ["METRICS", "Interval", "Method", "Metric", "paired_difference", "stretches", "time_blocks"]

Method = Literal["auto", "linear", "bootstrap"]
_FEWEST_VALID = 0.9  # share of resamples on which the metric must exist
_GAUSSIAN_KURTOSIS = 3.0


@dataclass(frozen=True, slots=True)
class Interval:
    """How much better `a` is than `b`; positive is better, whichever way the metric points."""

    estimate: float
    low: float  # one-sided lower bound at level `alpha`
    high: float  # one-sided upper bound at level `alpha`
    error: float  # standard error of the estimate
    freedom: float  # degrees of freedom of the error, ≥ 1
    alpha: float
    value_a: float  # the metric of a on all rows
    value_b: float
    rows: int  # rows compared
    positives: int | None  # None unless y is 0/1
    blocks: int  # blocks of chance; of those with a positive, if y is 0/1
    method: Method

    def pvalue_worse(self, tolerance: float = 0.0) -> float:
        """Probability of so bad a difference if `a` were worse than `b` by `tolerance`, no more [0, 1]."""
        from scipy.stats import t

        if self.error == 0:
            return 0.0 if self.estimate < -tolerance else 1.0
        return float(t.cdf((self.estimate + tolerance) / self.error, self.freedom))


def time_blocks(entities: Any, times: Any, hours: float) -> npt.NDArray[np.intp]:
    """The block each row belongs to: its entity and its stretch of `hours` on the clock.

    Args:
        entities: shape (n_rows,).
        times: shape (n_rows,), time stamps; without zone they are UTC.
        hours: length of a block, > 0 [h].

    Returns:
        Shape (n_rows,), ≥ 0. Numbers that follow one another are neighbours: the same entity, one stretch later.

    >>> time_blocks(["a", "a", "b"], pd.to_datetime(["2026-01-01 00:10", "2026-01-01 06:50", "2026-01-01 00:10"]), 6)
    array([0, 1, 3])
    """
    when = stretches(times, hours)
    who: npt.NDArray[np.intp] = pd.factorize(np.asarray(entities))[0]
    return who * (int(when.max(initial=0)) + 2) + when


def stretches(times: Any, hours: float) -> npt.NDArray[np.intp]:
    """The stretch of `hours` on the clock that each row lies in, whatever its entity; numbered as `time_blocks`."""
    stamps = pd.DatetimeIndex(pd.to_datetime(times, utc=True)).as_unit("us").asi8
    number = stamps // int(hours * 3_600_000_000)
    return np.asarray(number - number.min() if len(number) else number, dtype=np.intp)


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
    method: Method = "auto",
) -> Interval | None:
    """How much better scores `a` are than scores `b` on the same rows, with one-sided bounds.

    Args:
        metric: one of `METRICS`, or any function of (y, score) that returns None where it is not defined (called for
            every resample).
        y: shape (n_rows,), labels; a row with NaN is left out. Or shape (n_rows, n_columns), as
            `one_against_the_rest` makes it: the metric is the mean over columns.
        a: shape of `y`, scores. For a metric of `RANKING`, NaN ranks below everything: a row without a score raises no
            alarm. For others, a row without a score of both is left out.
        b: likewise.
        blocks: shape (n_rows,), the block of each row (`time_blocks`); blocks whose numbers follow one another may go
            together. Or shape (n_rows, n_ways) where rows can depend in more than one way: the lowest bound counts.
        higher_is_better: which way the metric points.
        alpha: error rate of each bound, in (0, .5).
        resamples: number of bootstrap resamples.
        rng: source of randomness, for the bootstrap.
        method: auto: linear for `CLOSED` metrics, bootstrap for others.

    Returns:
        None if it cannot be told: the metric is not defined on these rows or on a tenth of the resamples, or there are
        not two blocks (with a positive, if y is 0/1).
    """
    truth, first, second, ways, neighbours = _usable(metric, y, a, b, blocks)
    value_a, value_b = _mean_over_columns(metric, truth, first), _mean_over_columns(metric, truth, second)
    if value_a is None or value_b is None:
        return None
    linear = metric in CLOSED if method == "auto" else method == "linear" and metric in INFLUENCE
    sign = 1.0 if higher_is_better else -1.0
    binary = truth.shape[1] == 1 and bool(np.isin(truth, (0.0, 1.0)).all()) and 0 < truth.sum() < len(truth)
    estimate = sign * (value_a - value_b)
    pull = sign * _pull(metric, truth, first, second)
    bounds = []
    for codes, follows in zip(ways.T, neighbours, strict=True):
        groups = bootstrap.strata(truth[:, 0], codes, binary=binary)
        if len(groups[0]) < 2:
            return None
        if linear:
            bounds.append((*_linear(estimate, pull, codes, follows, len(groups[0]), alpha), len(groups[0])))
            continue
        drawn = _resampled(metric, truth, first, second, codes, groups, resamples, rng)
        valid = sign * drawn[np.isfinite(drawn)]
        if len(valid) < _FEWEST_VALID * resamples:
            return None
        wider = estimate + (valid - estimate) * _widening(_sums(pull, codes), follows)
        bounds.append((*_percentile_or_student(estimate, wider, len(groups[0]), alpha), len(groups[0])))
    low, high, error, freedom, informative = min(bounds)
    return Interval(
        estimate=estimate,
        low=low,
        high=max(high, *(bound[1] for bound in bounds)) if len(bounds) > 1 else high,
        error=error,
        freedom=freedom,
        alpha=alpha,
        value_a=value_a,
        value_b=value_b,
        rows=len(truth),
        positives=int(truth.sum()) if binary else None,
        blocks=informative,
        method="linear" if linear else "bootstrap",
    )


def _sums(pull: Floats, codes: npt.NDArray[np.intp]) -> Floats:
    """What each block pulls, shape (n_blocks,)."""
    return np.asarray(np.bincount(codes, weights=pull) / len(pull))


def _widening(sums: Floats, follows: npt.NDArray[np.bool_]) -> float:
    """How much larger the standard error is where neighbouring blocks go together, ≥ 1."""
    squares = float((sums**2).sum())
    together = 2 * float((sums[:-1] * sums[1:])[follows].sum())
    return float(np.sqrt(1 + max(0.0, together) / squares)) if squares > 0 else 1.0


def _linear(
    estimate: float,
    pull: Floats,
    codes: npt.NDArray[np.intp],
    follows: npt.NDArray[np.bool_],
    informative: int,
    alpha: float,
) -> tuple[float, float, float, float]:
    """Lower and upper bound, standard error and its degrees of freedom.

    A few blocks may carry most of the variance. Of Gaussian sums the fourth powers say how many there are in effect.
    """
    from scipy.stats import t

    sums = _sums(pull, codes)
    squares = float((sums**2).sum())
    if squares == 0:
        return estimate, estimate, 0.0, 1.0
    groups = len(sums)
    error = float(np.sqrt(squares * groups / (groups - 1))) * _widening(sums, follows)
    in_effect = _GAUSSIAN_KURTOSIS * squares**2 / float((sums**4).sum())
    freedom = max(1.0, min(informative - 1.0, in_effect))
    reach = float(t.ppf(1 - alpha, freedom)) * error
    return estimate - reach, estimate + reach, error, freedom


def _percentile_or_student(
    estimate: float, drawn: Floats, blocks: int, alpha: float
) -> tuple[float, float, float, float]:
    from scipy.stats import t

    error = float(np.std(drawn)) * np.sqrt(blocks / (blocks - 1))
    reach = float(t.ppf(1 - alpha, blocks - 1)) * error
    low, high = np.quantile(drawn, (alpha, 1 - alpha))
    return float(min(low, estimate - reach)), float(max(high, estimate + reach)), float(error), blocks - 1.0


def _usable(
    metric: Metric, y: npt.ArrayLike, a: npt.ArrayLike, b: npt.ArrayLike, blocks: npt.ArrayLike
) -> tuple[Floats, Floats, Floats, npt.NDArray[np.intp], list[npt.NDArray[np.bool_]]]:
    """Rows that count, in two dimensions; blocks without gaps; of each but the last, is the next its neighbour."""
    truth, first, second = (_columns(np.asarray(values, dtype=np.float64)) for values in (y, a, b))
    keep = np.isfinite(truth).all(axis=1)
    if metric not in RANKING:
        keep &= np.isfinite(first).all(axis=1) & np.isfinite(second).all(axis=1)
    ways = _columns(np.asarray(blocks))[keep]
    numbered = [np.unique(way, return_inverse=True) for way in ways.T]
    codes = np.column_stack([inverse for _, inverse in numbered]).astype(np.intp)
    return truth[keep], first[keep], second[keep], codes, [np.diff(numbers) == 1 for numbers, _ in numbered]


def _columns(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return values[:, None] if values.ndim == 1 else values


def _mean_over_columns(metric: Metric, truth: Floats, score: Floats) -> float | None:
    found = [metric(truth[:, j], score[:, j]) for j in range(truth.shape[1])]
    values = [value for value in found if value is not None]
    return float(np.mean(values)) if len(values) == len(found) else None


def _pull(metric: Metric, truth: Floats, first: Floats, second: Floats) -> Floats:
    """Influence of each row on the difference, shape (n_rows,); 0 of a metric of which it is not known."""
    if metric not in INFLUENCE:
        return np.zeros(len(truth))
    influence = INFLUENCE[metric]
    each = [influence(truth[:, j], first[:, j]) - influence(truth[:, j], second[:, j]) for j in range(truth.shape[1])]
    return np.asarray(np.mean(each, axis=0))


def _resampled(
    metric: Metric,
    truth: Floats,
    first: Floats,
    second: Floats,
    codes: npt.NDArray[np.intp],
    groups: list[npt.NDArray[np.intp]],
    resamples: int,
    rng: np.random.Generator,
) -> Floats:
    """The difference on every resample, the mean over columns, which all see the same resamples."""
    seed = int(rng.integers(2**63))
    each = [
        bootstrap.differences(
            metric, truth[:, j], first[:, j], second[:, j], codes, groups, resamples, np.random.default_rng(seed)
        )
        for j in range(truth.shape[1])
    ]
    return np.asarray(np.mean(each, axis=0))

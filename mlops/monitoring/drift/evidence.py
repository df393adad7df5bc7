"""How much the nights so far speak for a change, so that looking every night does not use the budget of alarms up.

A night's distance from the reference is held against the distances of the reference's own days from its other days,
on a scale on which those are about normal. For every night on which a change may have begun, the likelihood of
"since then farther away" is divided by that of "nothing changed", for an unknown mean and a spread of which it is
known what it is about: under no change each of these ratios is a martingale that starts at 1. Their sum is an
e-detector of Shiryaev and Roberts' form: in T nights it grows by T on average. An alarm is raised when it reaches a
level c, and then it starts again from 0; so whatever the dependence between columns there are at most T / c false
alarms in T nights on average, for every T.

One rule: nothing here knows what a column is; it sees distances.

References:
    Shin, J., Ramdas, A. and Rinaldo, A. (2024), E-detectors: a nonparametric framework for sequential change
        detection, definition 2.1 and theorem 2.3.
    Roberts, S. (1966), A comparison of some control chart procedures (the sum over times of change).
    Pérez-Ortiz, M., Lardy, T., de Heide, R. and Grünwald, P. (2024), E-statistics, group invariance and anytime-valid
        testing, theorem 4.2 (the ratio for unknown mean and spread is one of maximal invariants).
    Benjamini, Y. and Hochberg, Y. (1995), Controlling the false discovery rate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from mlops.monitoring.drift.measures import Floats

NIGHTS_PER_MONTH = 30
FEWEST_DAYS = 3  # of the reference: two distances leave no spread to speak of
SHIFTS = np.array([2.0, 6.0])  # sizes of change that are looked for, in spreads of the nights
PRIOR_SPREAD = 0.45  # of scaled distances: log(1 + |z| / median |z|) has 0.39 for normal z, less for sums of squares
PRIOR_DAYS = 12.0  # how many days that knowledge counts as
_MOST_LOG = 600.0
_FINE = 1e-4  # thresholds are given to so many parts of themselves


def level(false_alarms_per_month: float) -> float:
    """What the mean evidence must reach, so that a budget is kept.

    >>> level(0.5)
    60.0
    """
    return NIGHTS_PER_MONTH / false_alarms_per_month


def scaled(distances: Floats, usual: Floats, min_effect: float) -> Floats:
    """Distances on the scale on which nights are compared: logarithmic beyond what is usual.

    Whatever the column, days that differ by something normal give about the same spread on it (`PRIOR_SPREAD`), with a
    lighter upper tail than the normal law has; so do heavier tails, nearly.

    Args:
        distances: ≥ 0.
        usual: those of the reference's own days.
        min_effect: what does not matter is not told apart.
    """
    start = max(float(np.median(usual)), min_effect / 2, 1e-12)
    return np.asarray(np.log1p(distances / start))


def memory(series: Sequence[Floats]) -> Floats:
    """How much each day of each column resembles the day before, in [0, 0.8].

    The estimate from a few days is poor, so each is drawn half-way to the median of all; what days of equal level would
    give on average, −1 / D, is added back.

    Args:
        series: by column where the reference's days lie, in order of time; shape (n_days,) each.

    Returns:
        Shape (n_columns,).

    References:
        Kendall, M. (1954), Note on bias in the estimation of autocorrelation.
    """
    found = np.array([_autocorrelation(days) for days in series])
    return np.clip((found + np.median(found)) / 2, 0.0, 0.8) if len(found) else found


def _autocorrelation(days: Floats) -> float:
    away = days - days.mean()
    total = float(away @ away)
    if total <= 0:
        return 0.0
    found = float(away[1:] @ away[:-1]) / total
    return found + (1 + 3 * found) / len(days)


def by_change(usual: Floats, nights: Floats, resemblance: float = 0.0) -> Floats:
    """The logarithm of the evidence that nights are farther away since the first, second, … of them.

    Args:
        usual: shape (n_days,), at least `FEWEST_DAYS`: scaled distances of the reference's days.
        nights: shape (n_nights,), those of the nights, in order of time; NaN where there is none.
        resemblance: of neighbouring days; they count as so many fewer.

    Returns:
        Shape (n_nights,); −∞ where a night has no distance.
    """
    found = np.full(len(nights), -np.inf)
    there = np.flatnonzero(~np.isnan(nights))
    if not len(there):
        return found
    values = np.concatenate([usual, nights[there]])
    count, tail = len(values), np.arange(len(there), 0, -1)
    counted = (1 - resemblance) / (1 + resemblance)
    after = np.cumsum(values[::-1])[: len(there)][::-1] / tail
    before = (values.sum() - after * tail) / (count - tail)
    rows = counted * (count - tail) * tail / count  # what the difference of the two means is worth
    away = after - before
    total = counted * float(((values - values.mean()) ** 2).sum()) + PRIOR_DAYS * PRIOR_SPREAD**2
    freedom = counted * (count - 1) + PRIOR_DAYS
    weight = SHIFTS[:, None] ** 2 * rows
    shrunk = weight / (1 + weight)
    left = total - shrunk * rows * away**2
    ratio = -0.5 * np.log1p(weight) - freedom / 2 * np.log(left / total)
    spread = np.sqrt(SHIFTS[:, None] ** 2 / (1 + weight) * left / freedom)
    upwards = np.log(2 * np.maximum(_below(freedom, shrunk * away / spread), 1e-300))  # only farther away is drift
    each = ratio + upwards
    top = each.max(axis=0)
    found[there] = np.minimum(top + np.log(np.exp(each - top).mean(axis=0)), _MOST_LOG)
    return found


def _below(freedom: float, value: Floats) -> Floats:
    from scipy.special import stdtr

    return np.asarray(stdtr(freedom, value))


def in_all(by_night: Floats) -> float:
    """The logarithm of the evidence that there was a change at all: the sum over nights."""
    top = by_night.max(initial=-np.inf)
    return float(top + math.log(np.exp(by_night - top).sum())) if np.isfinite(top) else -math.inf


def tail(usual: Floats, value: float, resemblance: float = 0.0) -> float:
    """How often a day without a change lies as far as tonight: the p-value of its prediction from the other days.

    Args:
        usual: shape (n_days,), scaled distances of the reference's days.
        value: tonight's.
        resemblance: of neighbouring days.
    """
    counted = (1 - resemblance) / (1 + resemblance)
    freedom = counted * (len(usual) - 1) + PRIOR_DAYS
    squares = counted * float(((usual - usual.mean()) ** 2).sum()) + PRIOR_DAYS * PRIOR_SPREAD**2
    spread = math.sqrt(squares / freedom * (1 + 1 / (counted * len(usual))))
    return float(_below(freedom, np.array(-(value - usual.mean()) / spread)))


def discoveries(pvalues: Floats, rate: float) -> float:
    """The p-value up to which questions are named, so that the expected share of wrong ones is at most `rate`.

    Benjamini and Hochberg's procedure; 0 if none is named.

    >>> discoveries(np.array([0.001, 0.02, 0.9]), 0.1)
    0.06666666666666667
    """
    ordered = np.sort(pvalues)
    limits = rate * np.arange(1, len(ordered) + 1) / max(len(ordered), 1)
    under = np.flatnonzero(ordered <= limits)
    return float(limits[under[-1]]) if len(under) else 0.0


def threshold(enough: Callable[[float], bool], value: float, min_effect: float) -> float | None:
    """The smallest distance that is enough, as seen from tonight's.

    Args:
        enough: whether a distance is; monotone for what matters here.
        value: tonight's.
        min_effect: a smaller distance is never enough.

    Returns:
        Not above `value` exactly if that is enough and not below `min_effect`. None: no distance would be enough.
    """
    if value < min_effect:
        low = min_effect
        if enough(low):
            return low
    elif enough(value):
        return _crossing(enough, min_effect, value)
    else:
        low = value
    high = max(low, 1e-9)
    for _ in range(40):
        high *= 2
        if enough(high):
            return _crossing(enough, low, high)
    return None


def _crossing(enough: Callable[[float], bool], low: float, high: float) -> float:
    """The smallest distance that is found to be enough in (low, high], where `high` is; `low` if that is, too."""
    if enough(low):
        return low
    while high > low * (1 + _FINE) and high > 1e-12:
        middle = (low + high) / 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high

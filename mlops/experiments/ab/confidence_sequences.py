"""Intervals that hold at every moment of a stream at once, so that one may look, and stop, whenever one likes.

- `normal_mixture`: Robbins' mixture over effects, for any estimate that is normal enough (means, ratios, CUPED). Its
  narrowest place is where it is tuned to; everywhere else it pays a little.
- `bounded_mean`: the empirical-Bernstein sequence for values in a known range, without any approximation.

One rule: whoever knows the nights of looking in advance has more power with `mlops.experiments.ab.sequential`.

References:
    Robbins, H. (1970), Statistical methods related to the law of the iterated logarithm, Annals of Math. Statistics 41.
    Johari, R., Koomen, P., Pekelis, L. and Walsh, D. (2022), Always valid inference, Operations Research 70.
    Waudby-Smith, I., Arbour, D., Sinha, R., Kennedy, E. and Ramdas, A. (2024), Time-uniform central limit theory and
    asymptotic confidence sequences, Annals of Statistics 52.
    Waudby-Smith, I. and Ramdas, A. (2024), Estimating means of bounded random variables by betting, JRSS B 86.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mlops.errors import DataError
from mlops.experiments.ab.effects import check_alpha
from mlops.experiments.ab.samples import Floats

FEWEST_UNITS = 100  # of an arm, before a mean counts as normal
_LARGEST_BET = 0.5


@dataclass(frozen=True, slots=True)
class Anytime:
    """An interval that may be looked at whenever one likes."""

    low: float
    high: float
    pvalue: float  # always valid: below alpha at some time with probability alpha at most; keep the smallest


def normal_mixture(effect_size: float, error: float, *, tuned_to: float, alpha: float = 0.05) -> Anytime:
    """Robbins' interval around an estimate.

    Args:
        effect_size: the estimate.
        error: its standard error, > 0.
        tuned_to: the standard error at which the interval is narrowest relative to a fixed one: that of the planned
            end, or some way before. Fixed in advance.
        alpha: error rate of all moments together.

    >>> found = normal_mixture(0.02, 0.01, tuned_to=0.01)
    >>> round(found.low, 4), round(found.high, 4), round(found.pvalue, 2)
    (-0.0104, 0.0504, 0.51)
    """
    check_alpha(alpha)
    if not (error > 0 and tuned_to > 0):
        raise DataError(f"Standard errors must be above 0, given {error} and {tuned_to}.", hint="Wait for more units.")
    size = mixture_size(alpha) * (tuned_to / error) ** 2  # prior variance over the estimate's
    reach = error * math.sqrt((size + 1) / size * math.log((size + 1) / alpha**2))
    statistic = effect_size / error
    evidence = 0.5 * statistic**2 * size / (size + 1) - 0.5 * math.log(size + 1)
    return Anytime(effect_size - reach, effect_size + reach, min(1.0, math.exp(min(-evidence, 0.0))))


def mixture_size(alpha: float) -> float:
    """The prior's variance over the estimate's that makes the interval narrowest [1]."""
    from scipy.special import lambertw

    return float(-lambertw(-(alpha**2) / math.e, -1).real - 1)


def bounded_mean(
    values: npt.ArrayLike, *, low: float = 0.0, high: float = 1.0, alpha: float = 0.05
) -> tuple[Floats, Floats]:
    """The mean of values in [low, high], after each of them, by the empirical-Bernstein confidence sequence.

    Args:
        values: shape (n,), in the order in which they came.
        low: smallest value there can be.
        high: largest.
        alpha: error rate of all moments together.

    Returns:
        Lower and upper bounds, shape (n,) each; they only narrow.

    Raises:
        DataError: a value is outside [low, high] or NaN.
    """
    check_alpha(alpha)
    given = np.asarray(values, dtype=float)
    if given.ndim != 1 or not bool(((given >= low) & (given <= high)).all()) or not high > low:
        raise DataError(
            f"All values must lie in [{low}, {high}].", hint="Widen the bounds, which must be known before."
        )
    x = (given - low) / (high - low)
    n = np.arange(1, len(x) + 1)
    mean = (0.5 + np.cumsum(x)) / (n + 1)
    variance = (0.25 + np.cumsum((x - mean) ** 2)) / (n + 1)
    mean_before, variance_before = np.r_[0.5, mean[:-1]], np.r_[0.25, variance[:-1]]
    bet = np.sqrt(2 * math.log(2 / alpha) / (variance_before * n * np.log(n + 1)))
    bet = np.minimum(bet, _LARGEST_BET)
    cost = 4 * (x - mean_before) ** 2 * ((-np.log1p(-bet) - bet) / 4)
    total = np.cumsum(bet)
    centre, reach = np.cumsum(bet * x) / total, (math.log(2 / alpha) + np.cumsum(cost)) / total
    lower = np.maximum.accumulate(np.clip(centre - reach, 0, 1))
    upper = np.minimum.accumulate(np.clip(centre + reach, 0, 1))
    return low + lower * (high - low), low + upper * (high - low)

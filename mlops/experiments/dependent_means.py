"""The mean of a series of nights with an interval that knows that neighbouring nights are alike.

One rule: nights are never taken for independent.

References:
    Newey, W. and West, K. (1987), A simple, positive semi-definite, heteroskedasticity and autocorrelation consistent
    covariance matrix, Econometrica 55.
    Kiefer, N. and Vogelsang, T. (2005), A new asymptotic theory for heteroskedasticity-autocorrelation robust tests,
    Econometric Theory 21: critical values where the bandwidth is a fixed share of the length.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FEWEST = 8  # nights below which there is no interval
SHARE = 0.2  # of the length, over which nights count as alike
# Two-sided 5 % for the Bartlett kernel, as a polynomial in the share: Kiefer and Vogelsang (2005), table 1.
CRITICAL = 1.96 + 2.9694 * SHARE + 0.4160 * SHARE**2 - 0.5324 * SHARE**3


def mean_interval(values: npt.ArrayLike) -> tuple[float | None, tuple[float, float] | None]:
    """Mean and 95 % interval of a series that may depend on itself.

    Args:
        values: shape (n_nights,), in order of time; NaN where a night has no value.

    Returns:
        The mean, None if there is no value; the interval, None if there are fewer than `FEWEST` values.

    >>> mean_interval([1.0, float("nan"), 3.0])
    (2.0, None)
    """
    series = np.asarray(values, dtype=np.float64)
    known = series[np.isfinite(series)]
    if not len(known):
        return None, None
    mean = float(known.mean())
    if len(known) < FEWEST:
        return mean, None
    rest = known - mean
    lags = int(np.ceil(SHARE * len(known)))
    variance = float(rest @ rest)
    for lag in range(1, lags):
        variance += 2 * (1 - lag / lags) * float(rest[lag:] @ rest[:-lag])
    reach = CRITICAL * float(np.sqrt(max(variance, 0.0))) / len(known)
    return mean, (mean - reach, mean + reach)

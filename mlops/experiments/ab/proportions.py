"""Shares of units with an outcome: the pooled z-test, Newcombe's interval, Fisher's test where counts are small.

One rule: where a count expected under "no difference" is below five, the normal approximation is not used.

References:
    Newcombe, R. G. (1998), Interval estimation for the difference between independent proportions, method 10,
    Statistics in Medicine 17.
"""

from __future__ import annotations

import dataclasses
import math

from mlops.experiments.ab.effects import Alternative, Effect, compare, pvalue, quantile
from mlops.experiments.ab.samples import Counts, Estimate

FEWEST_EXPECTED = 5.0


def share_of(counts: Counts) -> Estimate:
    """The share of successes; nan without units."""
    share = counts.successes / counts.n if counts.n else math.nan
    return Estimate(share, share * (1 - share), counts.n)


def compare_proportions(
    control: Counts, treatment: Counts, *, alpha: float = 0.05, alternative: Alternative = "two_sided"
) -> Effect | None:
    """The difference of two shares.

    Returns:
        p-value of the z-test with pooled variance, or of Fisher's exact test; Newcombe's interval. None if it cannot
        be told: an arm has no units, or all units of both or none had the outcome.

    >>> found = compare_proportions(Counts(100, 1_000), Counts(130, 1_000))
    >>> found and (round(found.effect_size, 3), round(found.pvalue, 4), found.method)
    (0.03, 0.0355, 'z')
    """
    total, hits = control.n + treatment.n, control.successes + treatment.successes
    if min(control.n, treatment.n) < 2 or hits in (0, total):
        return None
    pooled = hits / total
    variance = pooled * (1 - pooled)
    # For the interval of the quotient only: of a share of 0 or 1 the variance is taken from both arms.
    first, second = (dataclasses.replace(e, var=e.var or variance) for e in (share_of(control), share_of(treatment)))
    found = compare(first, second, alpha=alpha, alternative=alternative, normal=True, method="z")
    assert found is not None
    error = math.sqrt(variance * (1 / control.n + 1 / treatment.n))
    statistic = found.effect_size / error
    small = min(pooled, 1 - pooled) * min(control.n, treatment.n) < FEWEST_EXPECTED
    low, high = newcombe(control, treatment, alpha if alternative == "two_sided" else 2 * alpha)
    return dataclasses.replace(
        found,
        low=-math.inf if alternative == "less" else low,
        high=math.inf if alternative == "greater" else high,
        statistic=statistic,
        error=error,
        pvalue=_fisher(control, treatment, alternative) if small else pvalue(statistic, math.inf, alternative),
        method="fisher" if small else "z",
    )


def wilson(counts: Counts, alpha: float) -> tuple[float, float]:
    """Wilson's interval of a share at 1 − alpha, both sides.

    >>> [round(value, 4) for value in wilson(Counts(5, 10), 0.05)]
    [0.2366, 0.7634]
    """
    z, n = quantile(1 - alpha / 2), counts.n
    share = counts.successes / n
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    reach = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return max(0.0, middle - reach), min(1.0, middle + reach)


def newcombe(control: Counts, treatment: Counts, alpha: float) -> tuple[float, float]:
    """Newcombe's interval of the difference of two shares at 1 − alpha, both sides."""
    first, second = control.successes / control.n, treatment.successes / treatment.n
    (low_1, high_1), (low_2, high_2) = wilson(control, alpha), wilson(treatment, alpha)
    low = second - first - math.hypot(second - low_2, high_1 - first)
    return low, second - first + math.hypot(high_2 - second, first - low_1)


def _fisher(control: Counts, treatment: Counts, alternative: Alternative) -> float:
    from scipy.stats import fisher_exact

    table = [
        [treatment.successes, treatment.n - treatment.successes],
        [control.successes, control.n - control.successes],
    ]
    return float(fisher_exact(table, alternative=alternative.replace("_", "-")).pvalue)

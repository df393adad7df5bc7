"""Means of an outcome over units.

One rule: a mean needs nothing but its moments; see `mlops.experiments.ab.effects` for the test.
"""

from __future__ import annotations

from mlops.experiments.ab.effects import Alternative, Effect, compare
from mlops.experiments.ab.samples import Estimate, Moments


def mean_of(moments: Moments, column: int = 0) -> Estimate:
    """The mean of a column."""
    return Estimate(float(moments.mean[column]), float(moments.cov[column, column]), moments.n)


def compare_means(
    control: Moments, treatment: Moments, *, alpha: float = 0.05, alternative: Alternative = "two_sided"
) -> Effect | None:
    """Welch's t-test of the first column; None: cannot tell.

    >>> found = compare_means(Moments.of([1, 2, 3, 4]), Moments.of([2, 3, 4, 6]))
    >>> found and (found.effect_size, round(found.pvalue, 3))
    (1.25, 0.29)
    """
    return compare(mean_of(control), mean_of(treatment), alpha=alpha, alternative=alternative)

"""Ratios of two sums, such as alarms per operating hour or clicks per view, by the delta method.

The denominator differs from unit to unit and is chance, too: a unit pulls on the ratio by (numerator − ratio ×
denominator) / mean denominator.

One rule: rows of one unit are summed first; rows taken for units make intervals too narrow.

References:
    Deng, A., Knoblich, U. and Lu, J. (2018), Applying the delta method in metric analytics, KDD.
"""

from __future__ import annotations

import math

import numpy as np

from mlops.experiments.ab.effects import Alternative, Effect, compare
from mlops.experiments.ab.samples import Estimate, Floats, Moments


def ratio_pull(moments: Moments, numerator: int = 0, denominator: int = 1) -> Floats:
    """The weights of the columns in a unit's pull on the ratio, shape (n_columns,); nan where the denominator is 0."""
    pull = np.zeros(len(moments.mean))
    below = float(moments.mean[denominator])
    if below == 0:
        return np.full(len(moments.mean), math.nan)
    pull[numerator] = 1 / below
    pull[denominator] -= float(moments.mean[numerator]) / below**2
    return pull


def ratio_of(moments: Moments, numerator: int = 0, denominator: int = 1) -> Estimate:
    """The sum of one column over the sum of another; nan where the denominators add up to 0."""
    pull = ratio_pull(moments, numerator, denominator)
    value = float(pull[numerator] * moments.mean[numerator])
    return Estimate(value, max(float(pull @ moments.cov @ pull), 0.0), moments.n)


def compare_ratios(
    control: Moments, treatment: Moments, *, alpha: float = 0.05, alternative: Alternative = "two_sided"
) -> Effect | None:
    """The difference of two ratios, first column over second.

    Returns:
        None if it cannot be told: see `compare`, or denominators add up to 0.
    """
    first, second = ratio_of(control), ratio_of(treatment)
    if math.isnan(first.value) or math.isnan(second.value):
        return None
    return compare(first, second, alpha=alpha, alternative=alternative, method="delta")

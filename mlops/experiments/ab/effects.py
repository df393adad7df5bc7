"""Treatment against control: the difference of two estimates with interval and p-value.

Welch's t-test for whatever has a value and a variance: a mean, a ratio, a mean adjusted by a covariate.

One rule: too few units to know a variance is "cannot tell" (None), never "no difference".

References:
    Welch, B. L. (1947), The generalization of Student's problem, Biometrika 34.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from mlops.errors import DataError
from mlops.experiments.ab.samples import Estimate

Alternative = Literal["two_sided", "greater", "less"]  # of the treatment against the control


@dataclass(frozen=True, slots=True)
class Effect:
    """The difference that the treatment makes."""

    control: float
    treatment: float
    effect_size: float  # treatment − control
    low: float  # of the interval at 1 − alpha; −inf where the alternative is "less"
    high: float  # inf where the alternative is "greater"
    relative: float  # treatment / control − 1; nan where control is not above 0
    relative_low: float
    relative_high: float
    statistic: float
    pvalue: float  # [0, 1]
    error: float  # standard error of effect_size, > 0
    freedom: float  # degrees of freedom; inf for a normal test
    n_control: int
    n_treatment: int
    alpha: float
    method: str


def compare(
    control: Estimate,
    treatment: Estimate,
    *,
    alpha: float = 0.05,
    alternative: Alternative = "two_sided",
    normal: bool = False,
    method: str = "welch",
) -> Effect | None:
    """Welch's test of two estimates, with the interval of the difference and of the quotient.

    Args:
        control: the metric of the control.
        treatment: that of the treatment.
        alpha: error rate, in (0, .5].
        alternative: what would be a finding; one-sided intervals are open at the other end.
        normal: the normal instead of Student's distribution.
        method: name of the test, for the record.

    Returns:
        None if it cannot be told: an arm has fewer than two units, or no unit differs from another.
    """
    check_alpha(alpha)
    if min(control.n, treatment.n) < 2:
        return None
    of_control, of_treatment = control.var / control.n, treatment.var / treatment.n
    error = math.sqrt(of_control + of_treatment)
    if error == 0:
        return None
    freedom = math.inf if normal else welch_freedom(of_control, control.n, of_treatment, treatment.n)
    difference = treatment.value - control.value
    level = 1 - (alpha / 2 if alternative == "two_sided" else alpha)
    reach = quantile(level, freedom)
    low = -math.inf if alternative == "less" else difference - reach * error
    high = math.inf if alternative == "greater" else difference + reach * error
    quotient = _quotient(control, treatment, level, alternative, normal=normal)
    statistic = difference / error
    return Effect(
        control=control.value,
        treatment=treatment.value,
        effect_size=difference,
        low=low,
        high=high,
        relative=quotient[0],
        relative_low=quotient[1],
        relative_high=quotient[2],
        statistic=statistic,
        pvalue=pvalue(statistic, freedom, alternative),
        error=error,
        freedom=freedom,
        n_control=control.n,
        n_treatment=treatment.n,
        alpha=alpha,
        method=method,
    )


def welch_freedom(of_control: float, n_control: int, of_treatment: float, n_treatment: int) -> float:
    """Degrees of freedom by Welch and Satterthwaite, of two squared standard errors."""
    total = of_control + of_treatment
    return total**2 / (of_control**2 / (n_control - 1) + of_treatment**2 / (n_treatment - 1))


def pvalue(statistic: float, freedom: float, alternative: Alternative) -> float:
    """How likely a statistic so far out is where there is no effect [0, 1]; `freedom` inf: normal."""
    from scipy.stats import norm, t

    beyond = norm.sf if math.isinf(freedom) else lambda value: t.sf(value, freedom)
    if alternative == "two_sided":
        return float(2 * beyond(abs(statistic)))
    return float(beyond(statistic if alternative == "greater" else -statistic))


def quantile(level: float, freedom: float = math.inf) -> float:
    """The quantile of Student's distribution; of the normal one where `freedom` is inf."""
    from scipy.stats import norm, t

    return float(norm.ppf(level) if math.isinf(freedom) else t.ppf(level, freedom))


def check_alpha(alpha: float) -> None:
    """Refuse an error rate that is none.

    Raises:
        DataError: it is not in (0, .5].
    """
    if not 0 < alpha <= 0.5:
        raise DataError(f"alpha is {alpha}, expected an error rate in (0, .5].", hint="0.05 is usual.")


def _quotient(
    control: Estimate, treatment: Estimate, level: float, alternative: Alternative, *, normal: bool
) -> tuple[float, float, float]:
    """treatment / control − 1 with its interval, on the logarithm's scale by the delta method."""
    if control.value <= 0 or treatment.value <= 0:
        return math.nan, math.nan, math.nan
    quotient = treatment.value / control.value
    first, second = (estimate.var / estimate.n / estimate.value**2 for estimate in (control, treatment))
    freedom = math.inf if normal else welch_freedom(first, control.n, second, treatment.n)
    factor = math.exp(min(quantile(level, freedom) * math.sqrt(first + second), 700.0))
    low = -math.inf if alternative == "less" else quotient / factor - 1
    high = math.inf if alternative == "greater" else quotient * factor - 1
    return quotient - 1, low, high

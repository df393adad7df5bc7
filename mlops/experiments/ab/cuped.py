"""CUPED: what was known of a unit before the experiment takes away the part of the variance that it explains.

The outcome less theta × (covariate − its mean over all units) has the same expected difference between variants, as
the covariate is from before and cannot have been changed by the treatment. Its variance is smaller by the squared
correlation. Of ratios, numerator and denominator have a covariate each and both ratios are linearised.

One rule: theta is one number for all variants; one of its own for each would bias the difference.

References:
    Deng, A., Xu, Y., Kohavi, R. and Walker, T. (2013), Improving the sensitivity of online controlled experiments by
    utilizing pre-experiment data, WSDM.
"""

from __future__ import annotations

from mlops.experiments.ab.effects import Alternative, Effect, compare
from mlops.experiments.ab.ratios import ratio_of, ratio_pull
from mlops.experiments.ab.samples import Estimate, Floats, Moments


def adjusted_means(control: Moments, treatment: Moments) -> tuple[Estimate, Estimate, float]:
    """Means of the first column adjusted by the second, and the share of variance that went [0, 1].

    A covariate that is the same for all units explains nothing: the plain means come back.
    """
    both = control + treatment
    known = float(both.cov[1, 1])
    theta = float(both.cov[0, 1]) / known if known > 0 else 0.0

    def adjusted(moments: Moments) -> Estimate:
        value = moments.mean[0] - theta * (moments.mean[1] - both.mean[1])
        variance = moments.cov[0, 0] - 2 * theta * moments.cov[0, 1] + theta**2 * moments.cov[1, 1]
        return Estimate(float(value), max(float(variance), 0.0), moments.n)

    plain = float(both.cov[0, 0])
    return adjusted(control), adjusted(treatment), theta * float(both.cov[0, 1]) / plain if plain > 0 else 0.0


def adjusted_ratios(control: Moments, treatment: Moments) -> tuple[Estimate, Estimate, float]:
    """Ratios of columns 0 / 1 adjusted by the ratios of columns 2 / 3, and the share of variance that went [0, 1]."""
    both = control + treatment
    outcome, before = ratio_pull(both, 0, 1), ratio_pull(both, 2, 3)
    known = float(before @ both.cov @ before)
    together = float(outcome @ both.cov @ before)
    theta = together / known if known > 0 else 0.0
    middle = ratio_of(both, 2, 3).value

    def adjusted(moments: Moments) -> Estimate:
        plain, covariate = ratio_of(moments, 0, 1), ratio_of(moments, 2, 3)
        pull: Floats = ratio_pull(moments, 0, 1) - theta * ratio_pull(moments, 2, 3)
        value = plain.value - theta * (covariate.value - middle)
        return Estimate(value, max(float(pull @ moments.cov @ pull), 0.0), moments.n)

    whole = float(outcome @ both.cov @ outcome)
    return adjusted(control), adjusted(treatment), theta * together / whole if whole > 0 else 0.0


def compare_adjusted(
    control: Moments, treatment: Moments, *, alpha: float = 0.05, alternative: Alternative = "two_sided"
) -> Effect | None:
    """The difference of means (two columns: outcome, covariate) or of ratios (four), adjusted; None: cannot tell."""
    ratio = len(control.mean) == 4
    first, second, _ = (adjusted_ratios if ratio else adjusted_means)(control, treatment)
    method = "cuped, delta" if ratio else "cuped"
    return compare(first, second, alpha=alpha, alternative=alternative, method=method)

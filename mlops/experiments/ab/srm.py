"""Sample-ratio mismatch: do variants have the shares of units that they should? If not, nothing else can be believed.

A fixed chi-squared test for one look, and one that may be looked at whenever one likes: the Bayes factor of "some other
shares" against the stated ones, a martingale where the stated ones are true.

One rule: a mismatch makes an experiment invalid, whatever its effect; it is never adjusted away.

References:
    Fabijan, A. et al. (2019), Diagnosing sample ratio mismatch in online controlled experiments, KDD.
    Lindon, M. and Malek, A. (2022), Anytime-valid inference for multinomial count data, NeurIPS.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from mlops.errors import DataError
from mlops.experiments.ab.samples import Floats

ALPHA = 0.001  # usual for this check: a false alarm throws a whole experiment away
_STRENGTH = 100.0  # units that the prior on other shares is worth: how small a mismatch is looked for


def ratio_pvalue(counts: Sequence[int], weights: Sequence[float]) -> float | None:
    """Pearson's chi-squared test, for a single look; None without units.

    >>> round(ratio_pvalue([5_000, 5_200], [1, 1]), 3)
    0.048
    """
    from scipy.stats import chisquare

    observed, shares = _checked(counts, weights)
    if observed.sum() == 0:
        return None
    return float(chisquare(observed, shares * observed.sum()).pvalue)


def log_evidence(counts: Sequence[int], weights: Sequence[float]) -> float:
    """Logarithm of the Bayes factor against the stated shares; counts are of all units so far.

    >>> round(log_evidence([0, 0], [1, 1]), 6) + 0.0
    0.0
    """
    from scipy.special import gammaln

    observed, shares = _checked(counts, weights)
    prior = _STRENGTH * shares
    found = gammaln(_STRENGTH) - gammaln(_STRENGTH + observed.sum())
    found += float((gammaln(prior + observed) - gammaln(prior) - observed * np.log(shares)).sum())
    return float(found)


def anytime_pvalue(looks: Sequence[Sequence[int]], weights: Sequence[float]) -> float:
    """The always-valid p-value after a number of looks: below alpha at any of them with probability alpha at most.

    Args:
        looks: counts of units by variant, all so far, one list a look.
        weights: the stated weights, > 0.
    """
    return min([1.0, *(math.exp(min(0.0, -log_evidence(counts, weights))) for counts in looks)])


def _checked(counts: Sequence[int], weights: Sequence[float]) -> tuple[Floats, Floats]:
    observed, shares = np.asarray(counts, dtype=float), np.asarray(weights, dtype=float)
    if observed.shape != shares.shape or len(shares) < 2 or (observed < 0).any() or not (shares > 0).all():
        raise DataError(
            f"Counts {list(counts)} and weights {list(weights)} do not fit: one of each a variant, weights above 0.",
            hint="Leave out variants without weight.",
        )
    return observed, shares / shares.sum()

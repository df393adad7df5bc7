"""How far two samples of one quantity lie apart.

All measures are 0 for equal samples and grow with the distance; none is a p-value, which on thousands of rows would
call every difference significant. Those over shares take two vectors that each sum to 1: the shares of categories, or
of numbers in the deciles of the reference.

One rule: inputs are finite numbers, at least one on each side; who calls has seen to that.

References:
    Vallender, S. (1974), Calculation of the Wasserstein distance between probability distributions on the line.
    Smirnov, N. (1948), Table for estimating the goodness of fit of empirical distributions.
    Siddiqi, N. (2006), Credit risk scorecards, chapter 6 (population stability index).
    Lin, J. (1991), Divergence measures based on the Shannon entropy, eq. 4.1; Endres, D. and Schindelin, J. (2003), A
        new metric for probability distributions (its root is a metric).
    Pearson, K. (1900), On the criterion that a given system of deviations …; as an effect size: Cohen, J. (1988),
        Statistical power analysis, eq. 7.2.1 (w²).
    Levin, D. and Peres, Y. (2017), Markov chains and mixing times, proposition 4.2 (total variation).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
SMALLEST_SPREAD = 0.001  # Evidently divides by at least this
PSI_BINS = 10
PSI_EMPTY = 1e-4  # share that an empty bin is given, so that the logarithm exists


def spread(reference: Floats) -> float:
    """The standard deviation by which the Wasserstein distance is divided, at least `SMALLEST_SPREAD`."""
    return max(float(np.std(reference)), SMALLEST_SPREAD)


def wasserstein(reference: Floats, current: Floats) -> float:
    """Area between the distribution functions in standard deviations of the reference (Evidently's "wasserstein").

    Args:
        reference: shape (n,), finite.
        current: shape (m,), finite.

    Returns:
        ≥ 0; a shift of the whole sample by one standard deviation is 1.

    >>> wasserstein(np.array([0.0, 2.0]), np.array([1.0, 3.0]))
    1.0
    """
    values, gap = _cumulated_difference(reference, current)
    return float((np.abs(gap[:-1]) * np.diff(values)).sum()) / spread(reference)


def ks_statistic(reference: Floats, current: Floats) -> float:
    """Largest difference of the two distribution functions (Kolmogorov-Smirnov), in [0, 1].

    >>> ks_statistic(np.array([0.0, 1.0, 2.0, 3.0]), np.array([2.0, 3.0]))
    0.5
    """
    values, gap = _cumulated_difference(reference, current)
    return float(np.abs(gap[last_of_ties(values)]).max())


def population_stability_index(reference: Floats, current: Floats) -> float:
    """Σ (p − q) ln(p / q) over the reference's deciles, ≥ 0; below .1 is usually called stable, above .25 shifted."""
    return MEASURES["psi"](reference, current)


def quantile_edges(reference: Floats, bins: int = PSI_BINS) -> Floats:
    """The inner borders of bins that hold equal shares of the reference; ties may leave fewer of them."""
    return np.unique(np.quantile(reference, np.arange(1, bins) / bins))


def bin_shares(values: Floats, edges: Floats) -> Floats:
    """The share of values in each bin; a value on a border belongs to the bin below, the outer bins are open."""
    counts = np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1)
    return np.asarray(counts / len(values))


def index_of_shares(expected: Floats, actual: Floats) -> float:
    """The population stability index of two vectors of shares."""
    p, q = np.maximum(expected, PSI_EMPTY), np.maximum(actual, PSI_EMPTY)
    return float(((p - q) * np.log(p / q)).sum())


def jensen_shannon(expected: Floats, actual: Floats) -> float:
    """Root of the Jensen-Shannon divergence in bits of two vectors of shares, a metric in [0, 1].

    >>> jensen_shannon(np.array([1.0, 0.0]), np.array([0.0, 1.0]))
    1.0
    """
    middle = (expected + actual) / 2
    held = [side[side > 0] @ np.log2(side[side > 0] / middle[side > 0]) for side in (expected, actual)]
    return float(np.sqrt(max(sum(held) / 2, 0.0)))


def total_variation(expected: Floats, actual: Floats) -> float:
    """The largest difference of probability that any set of categories has, in [0, 1].

    >>> total_variation(np.array([0.5, 0.5, 0.0]), np.array([0.25, 0.5, 0.25]))
    0.25
    """
    return float(np.abs(expected - actual).sum() / 2)


def chi_squared(expected: Floats, actual: Floats) -> float:
    """Pearson's Σ (q − p)² / p over shares: χ² divided by the number of rows, Cohen's w², ≥ 0.

    An expected share below `PSI_EMPTY` counts as that.

    >>> chi_squared(np.array([0.5, 0.5]), np.array([0.25, 0.75]))
    0.25
    """
    return float(((actual - expected) ** 2 / np.maximum(expected, PSI_EMPTY)).sum())


def last_of_ties(ordered: Floats) -> npt.NDArray[np.bool_]:
    """Which positions of a sorted vector are the last of their value."""
    return np.append(ordered[1:] != ordered[:-1], True)


def _cumulated_difference(reference: Floats, current: Floats) -> tuple[Floats, Floats]:
    """All values sorted, and the difference of the two distribution functions after each position."""
    values = np.concatenate([reference, current])
    order = np.argsort(values)
    steps = np.where(order < len(reference), 1 / len(reference), -1 / len(current))
    return values[order], np.cumsum(steps)


SHARES: Mapping[str, Callable[[Floats, Floats], float]] = {
    "psi": index_of_shares,
    "jensen_shannon": jensen_shannon,
    "total_variation": total_variation,
    "chi2": chi_squared,
}


def _over_deciles(of_shares: Callable[[Floats, Floats], float]) -> Callable[[Floats, Floats], float]:
    def measure(reference: Floats, current: Floats) -> float:
        edges = quantile_edges(reference)
        return of_shares(bin_shares(reference, edges), bin_shares(current, edges))

    return measure


MEASURES: Mapping[str, Callable[[Floats, Floats], float]] = {
    "wasserstein": wasserstein,
    "ks": ks_statistic,
    **{name: _over_deciles(of_shares) for name, of_shares in SHARES.items()},
}

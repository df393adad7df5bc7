"""How far two tables lie apart as a whole, in ways that no column shows by itself.

All are 0, or about 0, for tables of the same distribution. Rows with a missing value are the caller's to fill.

One rule: what chance is in them comes from the generator that is passed in.

References:
    Gretton, A. et al. (2012), A kernel two-sample test, eq. 5 (MMD² with a Gaussian kernel, median heuristic).
    Lopez-Paz, D. and Oquab, M. (2017), Revisiting classifier two-sample tests.
    Jackson, J. and Mudholkar, G. (1979), Control procedures for residuals associated with principal component analysis.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlops.monitoring.drift.measures import Floats

EXPLAINED = 0.8  # share of the variance that the kept components hold
_ROWS_AT_ONCE = 1_000
_FAR = 8.0  # standard deviations at which a value counts as no farther


def maximum_mean_discrepancy(reference: Floats, current: Floats, *, bandwidth: float | None = None) -> float:
    """MMD², without bias, under a Gaussian kernel of standardised columns.

    Args:
        reference: shape (n, p), n ≥ 2, finite.
        current: shape (m, p), m ≥ 2, finite.
        bandwidth: σ of the kernel exp(−|x − y|² / 2σ²). None: the median distance within the first 500 reference rows.

    Returns:
        About 0 for one distribution (it may be below), at most 2. Takes time by n · m.
    """
    center, scale = reference.mean(axis=0), np.maximum(reference.std(axis=0), 1e-12)
    x, y = (reference - center) / scale, (current - center) / scale
    if bandwidth is None:
        first = _squares(x[:500], x[:500])
        bandwidth = float(np.sqrt(max(np.median(first[np.triu_indices(len(first), 1)]), 1e-12)))
    within = [(_kernel_sum(side, side, bandwidth) - len(side)) / (len(side) * (len(side) - 1)) for side in (x, y)]
    return float(sum(within) - 2 * _kernel_sum(x, y, bandwidth) / (len(x) * len(y)))


def domain_classifier_auc(reference: Floats, current: Floats, *, rng: np.random.Generator) -> float:
    """How well boosted trees tell current rows from reference rows that they have not seen.

    Args:
        reference: shape (n, p); NaN is a value of its own.
        current: shape (m, p).
        rng: halves the rows; a half teaches, the other is ranked, and the other way round.

    Returns:
        ROC AUC, about 0.5 for one distribution, 1 for tables without overlap.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import roc_auc_score

    rows = np.vstack([reference, current])
    truth = np.repeat([0, 1], [len(reference), len(current)])
    half = np.concatenate([rng.permutation(len(side)) % 2 for side in (reference, current)])
    found = []
    for taught in (0, 1):
        trees = HistGradientBoostingClassifier(max_iter=40, max_leaf_nodes=8, random_state=int(rng.integers(2**31)))
        trees.fit(rows[half == taught], truth[half == taught])
        found.append(roc_auc_score(truth[half != taught], trees.predict_proba(rows[half != taught])[:, 1]))
    return float(np.mean(found))


def standardised(rows: Floats, center: Floats, scale: Floats) -> Floats:
    """Rows of shape (n, p) about the centre; a missing or infinite value counts as the centre, a far one as `_FAR`."""
    x = rows - center
    x /= scale
    if not (finite := np.isfinite(x)).all():
        x[~finite] = 0.0
    return np.clip(x, -_FAR, _FAR, out=x)


@dataclass(frozen=True)
class Moments:
    """What is known of the standardised rows of a table: parts add up.

    Args:
        rows: how many.
        sums: shape (p,).
        products: shape (p, p), the sum of x xᵀ.
    """

    rows: int
    sums: Floats
    products: Floats

    @classmethod
    def of(cls, rows: Floats, center: Floats, scale: Floats) -> Moments:
        """The moments of rows of shape (n, p), once they are standardised."""
        x = standardised(rows, center, scale)
        return cls(len(x), x.sum(axis=0), x.T @ x)

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.rows + other.rows, self.sums + other.sums, self.products + other.products)

    def __sub__(self, other: Moments) -> Moments:
        return Moments(self.rows - other.rows, self.sums - other.sums, self.products - other.products)


def correlation_change(reference: Moments, current: Moments) -> tuple[float, tuple[int, int]]:
    """The largest change of the correlation of two columns, which sums over all columns would drown.

    Each side is taken about its own mean, so that columns which only moved or spread do not count; a column that is
    constant on a side is correlated with nothing there.

    Args:
        reference: of at least two columns and two rows.
        current: likewise.

    Returns:
        The largest |r of current − r of reference|, in [0, 2], and the places of those two columns.

    References:
        Cai, T., Liu, W. and Xia, Y. (2013), Two-sample covariance matrix testing and support recovery in
            high-dimensional and sparse settings (the maximum over entries, for changes of few of them).
    """
    away = np.triu(np.abs(_correlations(current) - _correlations(reference)), 1)
    one, other = np.unravel_index(int(np.argmax(away)), away.shape)
    return (float(away[one, other]), (int(one), int(other))) if away[one, other] > 0 else (0.0, (0, 1))


def _correlations(side: Moments) -> Floats:
    mean = side.sums / side.rows
    spread = side.products / side.rows - np.outer(mean, mean)
    variances = np.diag(spread)
    own = np.where(variances > 1e-12, np.sqrt(np.maximum(variances, 1e-12)), np.inf)
    return np.asarray(spread / np.outer(own, own))


def pca_reconstruction(reference: Moments, current: Moments) -> float:
    """By how much the error of rebuilding rows has changed, as a share of it, whichever way: see `error_change`."""
    return abs(error_change(reference, current))


def error_change(reference: Moments, current: Moments) -> float:
    """By how much the error of rebuilding rows from the reference's main components has grown, as a share of it.

    Columns that begin or cease to move together change it, even where each of them stays as it was.

    Args:
        reference: with at least two rows.
        current: with at least one.

    Returns:
        error of current / error of reference − 1, errors being mean squares about the reference's mean; 0 where the
        components leave no error.
    """
    mean = reference.sums / reference.rows
    spread = _about(reference, mean)
    values, vectors = np.linalg.eigh(spread)
    share = np.cumsum(values[::-1]) / max(float(values.sum()), 1e-300)
    kept = min(int(np.searchsorted(share, EXPLAINED)) + 1, len(values) - 1)
    rest = vectors[:, : len(values) - kept]
    usual = float(np.trace(rest.T @ spread @ rest))
    if usual <= 1e-12 * len(values):
        return 0.0
    return float(np.trace(rest.T @ _about(current, mean) @ rest)) / usual - 1


def _about(side: Moments, mean: Floats) -> Floats:
    """The mean of (x − mean)(x − mean)ᵀ."""
    cross = np.outer(side.sums / side.rows, mean)
    return np.asarray(side.products / side.rows - cross - cross.T + np.outer(mean, mean))


def _squares(x: Floats, y: Floats) -> Floats:
    found: Floats = np.maximum((x**2).sum(1)[:, None] + (y**2).sum(1)[None, :] - 2 * x @ y.T, 0.0)
    return found


def _kernel_sum(x: Floats, y: Floats, bandwidth: float) -> float:
    pieces = (x[i : i + _ROWS_AT_ONCE] for i in range(0, len(x), _ROWS_AT_ONCE))
    return float(sum(np.exp(-_squares(piece, y) / (2 * bandwidth**2)).sum() for piece in pieces))

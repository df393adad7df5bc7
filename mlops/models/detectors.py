"""Detectors in a form that can be served: what was learned is frozen, and a row's score is its own.

PyOD's ECOD and COPOD append the scored rows to the training rows and rank all of them again: a score then depends on
the other rows of the batch, and one row costs as much as the training set. Here the sorted columns and the first three
moments are kept; a row is ranked against them and counted in itself, which is exactly what PyOD answers when asked for
that one row. HBOS gives PyOD's scores but compiles nothing: PyOD's needs seconds of Numba in every new process. PCA
gives PyOD's scores as long as every column varies; PyOD divides by the variance of one that does not.

One rule: the score of a row depends on the fit rows and on that row, on nothing else.

References:
    Li, Zhao, Hu, Botta, Ionescu, Chen (2022). ECOD: Unsupervised Outlier Detection Using Empirical Cumulative
    Distribution Functions. IEEE TKDE.
    Li, Zhao, Botta, Ionescu, Hu (2020). COPOD: Copula-Based Outlier Detection. ICDM.
    Shyu, Chen, Sarinnapakorn, Chang (2003). A Novel Anomaly Detection Scheme Based on Principal Component Classifier.
    Goldstein, Dengel (2012). Histogram-based Outlier Score (HBOS): A Fast Unsupervised Anomaly Detection Algorithm. KI.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_RELATIVE_ZERO = 1e-12  # a third moment this small beside the spread is rounding: the column is symmetric


class _EmpiricalTails:
    """Tail probabilities of each feature, read from its empirical distribution.

    Args:
        contamination: accepted because PyOD's class takes it; the score does not depend on it.
        n_jobs: accepted because PyOD's class takes it; ranking by bisection needs no second process.
    """

    def __init__(self, contamination: float = 0.1, n_jobs: int = 1) -> None:
        self.contamination = contamination
        self.n_jobs = n_jobs

    def fit(self, X: Floats) -> _EmpiricalTails:
        """Keep what ranking needs.

        Args:
            X: shape (n_samples, n_features), finite.
        """
        columns = np.sort(np.asarray(X, dtype=np.float64), axis=0)
        self.columns_ = np.asfortranarray(columns)  # a column is one piece of memory
        self.mean_ = columns.mean(axis=0)
        centred = columns - self.mean_
        self.square_ = (centred**2).sum(axis=0)
        self.cube_ = (centred**3).sum(axis=0)
        return self

    def decision_function(self, X: Floats) -> Floats:
        """Anomaly scores, the higher the rarer.

        Args:
            X: shape (n_rows, n_features), finite.

        Returns:
            shape (n_rows,), ≥ 0.
        """
        rows = np.asarray(X, dtype=np.float64)
        left, right = self._tails(rows)
        side = self._skew_sign(rows)
        by_skew = np.where(side < 0, left, np.where(side > 0, right, left + right))
        total: Floats = self._combined(left, right, by_skew).sum(axis=1)
        return total

    def _tails(self, rows: Floats) -> tuple[Floats, Floats]:
        """-log of the shares of fit rows, and the row itself, at most and at least as large."""
        count = len(self.columns_)
        left, right = np.empty_like(rows), np.empty_like(rows)
        for j in range(rows.shape[1]):
            column = self.columns_[:, j]
            ascending = np.argsort(rows[:, j])  # neighbours in the question are neighbours in memory: twice as fast
            values = rows[ascending, j]
            below = np.searchsorted(column, values, side="right")
            above = count - np.searchsorted(column, values, side="left")
            left[ascending, j] = -np.log((below + 1) / (count + 1))
            right[ascending, j] = -np.log((above + 1) / (count + 1))
        return left, right

    def _skew_sign(self, rows: Floats) -> Floats:
        """Sign of each column's skewness over the fit rows and the row: moments are updated, not computed again.

        References:
            Pébay (2008), Formulas for Robust, One-Pass Parallel Computation of Covariances, eq. 1.1–1.3: one new row.
        """
        count = len(self.columns_)
        delta = rows - self.mean_
        step = delta / (count + 1)
        square = self.square_ + delta * step * count
        cube = self.cube_ + delta * step**2 * count * (count - 1) - 3 * step * self.square_
        spread = (square / (count + 1)) ** 1.5 * (count + 1)
        return np.where(np.abs(cube) <= _RELATIVE_ZERO * spread, 0.0, np.sign(cube))

    def _combined(self, left: Floats, right: Floats, by_skew: Floats) -> Floats:
        raise NotImplementedError


class FrozenECOD(_EmpiricalTails):
    """Each feature counts by its rarer tail."""

    def _combined(self, left: Floats, right: Floats, by_skew: Floats) -> Floats:
        return np.maximum(np.maximum(left, right), by_skew)


class FrozenCOPOD(_EmpiricalTails):
    """Each feature counts by the tail on its skewed side, or by the mean of both if that is more."""

    def _combined(self, left: Floats, right: Floats, by_skew: Floats) -> Floats:
        return np.maximum((left + right) / 2, by_skew)


class FrozenHBOS:
    """Rareness of each feature's histogram bin, as -log2 of its density, summed over features.

    Args:
        n_bins: bins of equal width, ≥ 2, or "auto" (Birgé, Rozenblac 2006, by PyOD).
        alpha: added to densities so that empty bins have a score, in (0, 1).
        tol: how far outside the histogram a value still counts as in its outer bin, in bin widths, in (0, 1).
        contamination: accepted because PyOD's class takes it; the score does not depend on it.
    """

    def __init__(
        self, n_bins: int | str = 10, alpha: float = 0.1, tol: float = 0.5, contamination: float = 0.1
    ) -> None:
        if n_bins != "auto" and not (isinstance(n_bins, int) and n_bins >= 2):
            raise ValueError(f"n_bins is {n_bins!r}, expected a whole number from 2 or 'auto'")
        for name, value in (("alpha", alpha), ("tol", tol)):
            if not 0 < value < 1:
                raise ValueError(f"{name} is {value!r}, expected a number between 0 and 1")
        self.n_bins = n_bins
        self.alpha = alpha
        self.tol = tol
        self.contamination = contamination

    def fit(self, X: Floats) -> FrozenHBOS:
        """Keep a histogram of each column.

        Args:
            X: shape (n_samples, n_features), finite.
        """
        self.edges_: list[Floats] = []
        self.rarity_: list[Floats] = []
        for column in np.asarray(X, dtype=np.float64).T:
            density, edges = np.histogram(column, bins=self._bins(column), density=True)
            self.edges_.append(edges)
            self.rarity_.append(np.log2(density + self.alpha))
        return self

    def decision_function(self, X: Floats) -> Floats:
        """Anomaly scores, the higher the rarer.

        Args:
            X: shape (n_rows, n_features), finite.

        Returns:
            shape (n_rows,).
        """
        rows = np.asarray(X, dtype=np.float64)
        usual = np.empty_like(rows)
        for j, (edges, rarity) in enumerate(zip(self.edges_, self.rarity_, strict=True)):
            values = rows[:, j]
            position = np.searchsorted(edges, values, side="left")  # a bin holds its upper edge
            usual[:, j] = rarity[np.clip(position - 1, 0, len(rarity) - 1)]
            below = (position == 0) & (edges[0] - values > (edges[1] - edges[0]) * self.tol)
            above = (position == len(edges)) & (values - edges[-1] > (edges[-1] - edges[-2]) * self.tol)
            usual[below | above, j] = rarity.min()
        scores: Floats = -usual.sum(axis=1)
        return scores

    def _bins(self, column: Floats) -> int:
        if isinstance(self.n_bins, int):
            return self.n_bins
        from pyod.utils.utility import get_optimal_n_bins

        return int(get_optimal_n_bins(column))


class FrozenPCA:
    """Distances to the principal components, weighted by the inverse of the variance that each explains.

    A column that is constant among the fit rows has no variance to measure a distance in: it is left out, here and when
    rows are scored. So is a component without variance, which columns that follow from one another leave behind.

    Args:
        n_components: components to keep, or as scikit-learn's PCA takes it; at most as many as columns vary.
        n_selected_components: how many of these count, from the one with the smallest variance; None: all.
        contamination: accepted because PyOD's class takes it; the score does not depend on it.
        copy: as scikit-learn's PCA takes it.
        whiten: as scikit-learn's PCA takes it.
        svd_solver: as scikit-learn's PCA takes it.
        tol: as scikit-learn's PCA takes it.
        iterated_power: as scikit-learn's PCA takes it.
        random_state: seed of a randomised solver.
        weighted: weigh by the inverse of the explained variance.
        standardization: scale columns to mean 0 and variance 1 first.
    """

    def __init__(
        self,
        n_components: float | str | None = None,
        n_selected_components: int | None = None,
        contamination: float = 0.1,
        copy: bool = True,
        whiten: bool = False,
        svd_solver: str = "auto",
        tol: float = 0.0,
        iterated_power: int | str = "auto",
        random_state: int | None = None,
        weighted: bool = True,
        standardization: bool = True,
    ) -> None:
        if n_selected_components is not None and n_selected_components < 1:
            raise ValueError(f"n_selected_components is {n_selected_components!r}, expected a number from 1")
        self.n_components = n_components
        self.n_selected_components = n_selected_components
        self.contamination = contamination
        self.copy = copy
        self.whiten = whiten
        self.svd_solver = svd_solver
        self.tol = tol
        self.iterated_power = iterated_power
        self.random_state = random_state
        self.weighted = weighted
        self.standardization = standardization

    def fit(self, X: Floats) -> FrozenPCA:
        """Keep the components of the columns that vary.

        Args:
            X: shape (n_samples, n_features), finite.

        Raises:
            ValueError: no column varies, or scikit-learn refuses a param.
        """
        from sklearn.decomposition import PCA
        from sklearn.preprocessing import StandardScaler

        X = np.asarray(X, dtype=np.float64)
        self.varying_ = np.flatnonzero(np.ptp(X, axis=0) > 0)
        if not len(self.varying_):
            raise ValueError("every column is constant, and a PCA needs one that varies")
        rows = X[:, self.varying_]
        scaler = StandardScaler(with_mean=self.standardization, with_std=self.standardization).fit(rows)
        self.center_ = scaler.mean_ if self.standardization else np.zeros(rows.shape[1])
        self.spread_ = scaler.scale_ if self.standardization else np.ones(rows.shape[1])
        n_components = self.n_components
        if n_components is not None and not isinstance(n_components, str) and 1 <= n_components <= X.shape[1]:
            n_components = min(n_components, rows.shape[1])
        pca = PCA(
            n_components=n_components,
            copy=self.copy,
            whiten=self.whiten,
            svd_solver=self.svd_solver,
            tol=self.tol,
            iterated_power=self.iterated_power,
            random_state=self.random_state,
        ).fit((rows - self.center_) / self.spread_)
        share = pca.explained_variance_ratio_ if self.weighted else np.ones(len(pca.components_))
        varies = share > max(rows.shape) * np.finfo(np.float64).eps  # a smaller share is rounding
        last = slice(-(self.n_selected_components or len(varies)), None)
        self.components_, self.weights_ = pca.components_[varies][last], share[varies][last]
        return self

    def decision_function(self, X: Floats) -> Floats:
        """Anomaly scores, the higher the farther from what varies little.

        Args:
            X: shape (n_rows, n_features), finite.

        Returns:
            shape (n_rows,), ≥ 0.
        """
        from scipy.spatial.distance import cdist

        rows = (np.asarray(X, dtype=np.float64)[:, self.varying_] - self.center_) / self.spread_
        scores: Floats = (cdist(rows, self.components_) / self.weights_).sum(axis=1)
        return scores


def strip(detector: object) -> object:
    """A fitted PyOD detector without its training scores, which no score needs and which make up much of its pickle.

    `decision_scores_` shrinks to its extremes, `labels_` to both values; from these `predict_proba` answers as before.
    """
    if hasattr(detector, "decision_scores_"):
        scores = np.asarray(detector.decision_scores_, dtype=np.float64)
        detector.decision_scores_ = np.array([scores.min(), scores.max()])
        if hasattr(detector, "labels_"):
            detector.labels_ = np.array([0, 1])
    return detector

"""Detectors that rank or bin each feature by itself: ECOD, COPOD and HBOS, by bisection; and PCA.

Logarithms are taken from a table that is made once, by the function that the plain detector calls; columns are summed
by the sum it calls. So the scores are the same numbers.

One rule: a kernel holds what the frozen detector has learned, and nothing else.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mlops.serving.compiled_form import Floats, Form, Preparation
from mlops.serving.compiled_rows import jit, prepared

_RELATIVE_ZERO = 1e-12  # as in the plain detector: a third moment this small beside the spread is rounding


def ecod(detector: Any, preparation: Preparation) -> Form:
    """Each feature counts by its rarer tail."""
    return _by_tails(detector, preparation, copula=False)


def copod(detector: Any, preparation: Preparation) -> Form:
    """Each feature counts by the tail on its skewed side, or by the mean of both."""
    return _by_tails(detector, preparation, copula=True)


def _by_tails(detector: Any, preparation: Preparation, *, copula: bool) -> Form:
    columns = np.ascontiguousarray(detector.columns_.T, dtype=np.float64)  # shape (features, fit rows), sorted
    count = columns.shape[1]
    rarity = -np.log((np.arange(count + 1) + 1) / (count + 1))
    moments = [
        np.ascontiguousarray(each, dtype=np.float64) for each in (detector.mean_, detector.square_, detector.cube_)
    ]
    arrays: tuple[Any, ...] = (*preparation.parts, columns, rarity, *moments, copula)

    def kernel(rows: Floats) -> Floats:
        found: Floats = _tails(rows, *arrays).sum(axis=1)[:, None]
        return found

    return Form(kernel, arrays)


@jit
def _tails(
    rows: Floats,
    medians: Floats,
    center: Floats,
    spread: Floats,
    columns: Floats,
    rarity: Floats,
    mean: Floats,
    square: Floats,
    cube: Floats,
    copula: bool,
) -> Floats:
    """What each feature of each row counts, shape (n, features)."""
    X = prepared(rows, medians, center, spread)
    n, d = X.shape
    count = columns.shape[1]
    for i in range(n):
        if np.isnan(X[i, 0]):
            continue
        for j in range(d):
            x = X[i, j]
            left = rarity[_position(columns[j], x, True)]
            right = rarity[count - _position(columns[j], x, False)]
            delta = x - mean[j]
            step = delta / (count + 1)
            squares = square[j] + delta * step * count
            cubes = cube[j] + delta * (step * step) * count * (count - 1) - 3 * step * square[j]
            usual = (squares / (count + 1)) ** 1.5 * (count + 1)
            by_skew = left if cubes < 0 else right
            if abs(cubes) <= _RELATIVE_ZERO * usual:
                by_skew = left + right
            either = (left + right) / 2 if copula else max(left, right)
            X[i, j] = max(either, by_skew)
    return X


@jit
def _position(column: Floats, x: float, after: bool) -> int:
    """How many values of a sorted column are below x, or at most x."""
    low, high = 0, len(column)
    while low < high:
        middle = (low + high) >> 1
        if column[middle] < x or (after and column[middle] == x):
            low = middle + 1
        else:
            high = middle
    return low


def hbos(detector: Any, preparation: Preparation) -> Form:
    """Rareness of each feature's histogram bin."""
    bins = [len(rarity) for rarity in detector.rarity_]
    edges = np.full((len(bins), max(bins) + 1), np.inf)
    rarity = np.zeros((len(bins), max(bins)))
    for j, size in enumerate(bins):
        edges[j, : size + 1], rarity[j, :size] = detector.edges_[j], detector.rarity_[j]
    least = np.array([each.min() for each in detector.rarity_])
    arrays: tuple[Any, ...] = (
        *preparation.parts,
        edges,
        rarity,
        least,
        np.array(bins, dtype=np.int64),
        float(detector.tol),
    )

    def kernel(rows: Floats) -> Floats:
        found: Floats = -_bins(rows, *arrays).sum(axis=1)[:, None]
        return found

    return Form(kernel, arrays)


@jit
def _bins(
    rows: Floats,
    medians: Floats,
    center: Floats,
    spread: Floats,
    edges: Floats,
    rarity: Floats,
    least: Floats,
    bins: Any,
    tolerance: float,
) -> Floats:
    """How usual each feature of each row is, shape (n, features)."""
    X = prepared(rows, medians, center, spread)
    n, d = X.shape
    for i in range(n):
        if np.isnan(X[i, 0]):
            continue
        for j in range(d):
            x, size = X[i, j], bins[j]
            position = _position(edges[j, : size + 1], x, False)
            usual = rarity[j, min(max(position - 1, 0), size - 1)]
            if position == 0 and edges[j, 0] - x > (edges[j, 1] - edges[j, 0]) * tolerance:
                usual = least[j]
            if position == size + 1 and x - edges[j, size] > (edges[j, size] - edges[j, size - 1]) * tolerance:
                usual = least[j]
            X[i, j] = usual
    return X


def pca(detector: Any, preparation: Preparation) -> Form:
    """Distances to the principal components, weighted."""
    varying = np.ascontiguousarray(detector.varying_, dtype=np.int64)
    learned = (detector.center_, detector.spread_, detector.components_, detector.weights_)
    arrays: tuple[Any, ...] = (
        *preparation.parts,
        varying,
        *(np.ascontiguousarray(each, dtype=np.float64) for each in learned),
    )
    return Form(lambda rows: _distances(rows, *arrays).sum(axis=1)[:, None], arrays)


@jit
def _distances(
    rows: Floats,
    medians: Floats,
    center: Floats,
    spread: Floats,
    varying: Any,
    middle: Floats,
    scale: Floats,
    components: Floats,
    weights: Floats,
) -> Floats:
    """Weighted distance of each row to each component, shape (n, components)."""
    X = prepared(rows, medians, center, spread)
    n, kept = len(X), len(components)
    out = np.empty((n, kept))
    for i in range(n):
        for k in range(kept):
            total = 0.0
            for j in range(len(varying)):
                away = (X[i, varying[j]] - middle[j]) / scale[j] - components[k, j]
                total += away * away
            out[i, k] = np.sqrt(total) / weights[k]
    return out

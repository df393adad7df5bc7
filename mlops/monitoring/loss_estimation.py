"""The error of a regressor without labels: a second model learns how large an error is to be expected where.

It learns from labelled rows that the regressor has not learned from. What rows lose beside what was expected of them
scales with it, so the interval grows where rows move to where errors are large.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlops.monitoring.estimates import (
    DRAWS,
    LEVEL,
    MIN_REFERENCE,
    MOST_OUTSIDE,
    Estimate,
    Floats,
    interval,
    resampled,
    share_outside,
)

FITS = 10  # of the model that expects losses, each on other blocks
MAE = "mean_absolute_error"
MEASURES: Mapping[str, Callable[[Floats], float]] = {  # of the errors of a chunk
    MAE: lambda errors: float(np.abs(errors).mean()),
    "median_absolute_error": lambda errors: float(np.median(np.abs(errors))),
    "root_mean_squared_error": lambda errors: float(np.sqrt((errors**2).mean())),
    "bias": lambda errors: float(errors.mean()),
}


def of_regressor(
    reference: Floats,
    reference_errors: Floats,
    reference_blocks: NDArray[Any],
    rows: Floats,
    blocks: NDArray[Any],
    *,
    rng: np.random.Generator,
    level: float = LEVEL,
) -> dict[str, Estimate]:
    """The metrics of a regressor's errors on rows without labels.

    Args:
        reference: shape (n_reference, n_features + 1), features and prediction of rows that it has not learned from.
        reference_errors: shape (n_reference,), prediction minus truth.
        reference_blocks: shape (n_reference,), see `of_classifier`.
        rows: shape (n_rows, n_features + 1), of the chunk.
        blocks: shape (n_rows,), of the chunk.
        rng: all randomness.
        level: of the interval.

    Returns:
        By metric, all of `MEASURES`; under "" alone where nothing can be told.
    """
    if len(reference_errors) < MIN_REFERENCE or len(np.unique(reference_blocks)) < 5 or not len(rows):
        said = f"{len(reference_errors):,} labelled rows to learn from, {MIN_REFERENCE} in 5 blocks are needed"
        return {"": Estimate("", None, rows=len(rows), reason=said if len(rows) else "no rows")}
    if (beyond := share_outside(reference, rows)) > MOST_OUTSIDE:
        said = f"{beyond:.0%} of the rows lie outside of all that was judged"
        return {"": Estimate("", None, rows=len(rows), reason=said)}
    losses = np.maximum(np.abs(reference_errors), 1e-9)
    signed = np.where(reference_errors < 0, -losses, losses)
    relative = signed / _expected(reference, losses, reference_blocks, reference, rng, folds=5)
    found: dict[str, Floats] = {name: np.empty(DRAWS) for name in MEASURES}
    for fit in range(FITS):
        picked = resampled(reference_blocks, rng)
        expected = _expected(reference[picked], losses[picked], reference_blocks[picked], rows, rng)
        for draw in range(fit, DRAWS, FITS):
            errors = expected * _drawn_like(relative, reference_blocks, blocks, rng)
            for name, measure in MEASURES.items():
                found[name][draw] = measure(errors)
    return {name: interval(name, values, 1.0, len(rows), level) for name, values in found.items()}


def _expected(
    reference: Floats, losses: Floats, blocks: NDArray[Any], at: Floats, rng: np.random.Generator, folds: int = 0
) -> Floats:
    """The loss to expect of each row; with folds (`at` is the reference), by models that have not seen its block."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    def fitted(part: NDArray[np.intp]) -> Any:
        model = HistGradientBoostingRegressor(
            loss="gamma", max_iter=40, max_leaf_nodes=8, min_samples_leaf=20, random_state=0
        )
        return model.fit(reference[part], losses[part])

    if not folds:
        return np.asarray(fitted(np.arange(len(losses))).predict(at), dtype=np.float64)
    names, block = np.unique(blocks, return_inverse=True)
    fold_of = rng.permutation(len(names)) % folds
    found = np.empty(len(losses))
    for fold in range(folds):
        out = fold_of[block] == fold
        found[out] = fitted(np.flatnonzero(~out)).predict(at[out])
    return found


def _drawn_like(values: Floats, blocks: NDArray[Any], wanted: NDArray[Any], rng: np.random.Generator) -> Floats:
    """For each row of a chunk a value of the reference: rows of one block of the chunk draw from one block there."""
    _, own = np.unique(wanted, return_inverse=True)
    order = np.argsort(blocks, kind="stable")
    _, starts, sizes = np.unique(blocks[order], return_index=True, return_counts=True)
    source = rng.integers(0, len(starts), own.max() + 1)[own]
    return np.asarray(values[order][starts[source] + (rng.random(len(own)) * sizes[source]).astype(np.int64)])

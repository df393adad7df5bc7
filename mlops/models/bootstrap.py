"""The paired block bootstrap: the difference of two score vectors on resamples of blocks of rows.

Blocks with a positive are drawn apart from those without, and both models are judged on the same resample.

One rule: a resample draws blocks, never rows.

References:
    Efron, B. and Tibshirani, R. (1993), An introduction to the bootstrap, chapters 8 and 13.
    Künsch, H. (1989), The jackknife and the bootstrap for general stationary observations, Annals of Statistics 17.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from mlops.models.weighted_metrics import RESAMPLED, Floats, Metric

_CHUNK = 1_000_000  # weights held at once: 8 MB


def strata(truth: Floats, codes: npt.NDArray[np.intp], *, binary: bool) -> list[npt.NDArray[np.intp]]:
    """Blocks with a positive, then those without; of labels that are not 0 and 1 all blocks."""
    if not binary:
        return [np.unique(codes)]
    positive = np.bincount(codes, weights=truth) > 0
    return [np.flatnonzero(positive), np.flatnonzero(~positive)]


def differences(
    metric: Metric,
    truth: Floats,
    first: Floats,
    second: Floats,
    codes: npt.NDArray[np.intp],
    groups: list[npt.NDArray[np.intp]],
    resamples: int,
    rng: np.random.Generator,
) -> Floats:
    """The difference of the metric on every resample, shape (resamples,); NaN where it is not defined."""
    resampled = RESAMPLED.get(metric)
    found = []
    for counts in _block_counts(groups, resamples, max(1, _CHUNK // max(len(truth), 1)), rng):
        if resampled is not None:
            found.append(resampled(truth, first, codes, counts) - resampled(truth, second, codes, counts))
        else:
            found.append(np.array([_plain_difference(metric, truth, first, second, row[codes]) for row in counts]))
    return np.concatenate(found)


def _plain_difference(
    metric: Metric, truth: Floats, first: Floats, second: Floats, times: npt.NDArray[np.int64]
) -> float:
    rows = np.repeat(np.arange(len(truth)), times)
    value_a, value_b = metric(truth[rows], first[rows]), metric(truth[rows], second[rows])
    return float("nan") if value_a is None or value_b is None else value_a - value_b


def _block_counts(
    groups: list[npt.NDArray[np.intp]], resamples: int, chunk: int, rng: np.random.Generator
) -> Iterator[npt.NDArray[np.int64]]:
    """How often each block is drawn, shape (≤ chunk, n_blocks) at a time; every stratum keeps its size."""
    total = sum(len(stratum) for stratum in groups)
    for start in range(0, resamples, chunk):
        rows = min(chunk, resamples - start)
        counts = np.zeros((rows, total), dtype=np.int64)
        for stratum in groups:
            if size := len(stratum):
                drawn = rng.integers(size, size=(rows, size)) + size * np.arange(rows)[:, None]
                counts[:, stratum] = np.bincount(drawn.ravel(), minlength=rows * size).reshape(rows, size)
        yield counts

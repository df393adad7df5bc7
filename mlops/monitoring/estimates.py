"""How good predictions probably are while no label is there, with an interval, or an honest "cannot tell".

`confidence_estimation` does it for classifiers, `loss_estimation` for regressors. Both hold while the relation between
features and truth is what it was; where rows lie outside of all that was judged, or where earlier estimates turned out
wrong, there is no estimate.

One rule: an interval is about what will be measured on this chunk when its labels come, not about a long-run mean.

References:
    Kish (1965). Survey Sampling (design effect).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEVEL = 0.9
MIN_REFERENCE = 100  # labelled rows
DRAWS = 200
MOST_OUTSIDE = 0.2  # share of rows beyond all that was judged, from which on nothing is said
MARGIN = 0.1  # of a column's range, by which a row may exceed it
MOST_LUCK = 0.01  # probability of so many misses by chance, below which estimates count as void


@dataclass(frozen=True, slots=True)
class Estimate:
    """What one metric of one chunk probably is."""

    metric: str
    value: float | None  # None: cannot tell
    low: float | None = None
    high: float | None = None
    rows: int = 0
    reason: str = ""  # why it cannot be told

    def holds(self, realised: float) -> bool | None:
        """Whether the truth lies in the interval; None where there is none."""
        return None if self.low is None or self.high is None else self.low <= realised <= self.high


def interval(name: str, draws: Floats, wider: float, rows: int, level: float) -> Estimate:
    """The mean of draws, and the middle `level` of them, stretched `wider` times."""
    middle = float(draws.mean())
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(name, middle, middle - wider * (middle - float(low)), middle + wider * (float(high) - middle), rows)


def share_outside(reference: Floats, rows: Floats) -> float:
    """Share of rows with a column beyond all of the reference by more than a tenth of its range. NaNs are inside.

    >>> share_outside(np.array([[0.0], [1.0]]), np.array([[0.5], [1.05], [2.0], [np.nan]]))
    0.25
    """
    if not len(rows):
        return 0.0
    with np.errstate(invalid="ignore"):
        low, high = np.nanmin(reference, axis=0), np.nanmax(reference, axis=0)
        room = MARGIN * (high - low)
        return float(((rows < low - room) | (rows > high + room)).any(axis=1).mean())


def design_effect(residuals: Floats, variances: Floats, blocks: NDArray[Any]) -> float:
    """How much more sums over blocks vary than independent rows would let them, at least 1.

    Args:
        residuals: shape (n_rows,), label minus probability.
        variances: shape (n_rows,), of each residual, were it alone.
        blocks: shape (n_rows,).
    """
    _, block = np.unique(blocks, return_inverse=True)
    alone = float(np.bincount(block, weights=variances).sum())
    together = float((np.bincount(block, weights=residuals) ** 2).sum())
    return max(1.0, together / alone) if alone > 0 else 1.0


def numbered(blocks: NDArray[Any]) -> NDArray[np.intp]:
    """Blocks as numbers in their own order: sorted a hundred times sooner than texts.

    >>> numbered(np.array(["b", "a", "b"], dtype=object)).tolist()
    [1, 0, 1]
    """
    return np.unique(blocks, return_inverse=True)[1]


def resampled(blocks: NDArray[Any], rng: np.random.Generator) -> NDArray[np.intp]:
    """Positions of rows after drawing as many blocks with replacement as there are."""
    order = np.argsort(blocks, kind="stable")
    _, starts, sizes = np.unique(blocks[order], return_index=True, return_counts=True)
    drawn = rng.integers(0, len(starts), len(starts))
    return np.concatenate([order[starts[i] : starts[i] + sizes[i]] for i in drawn])


def block_counts(codes: NDArray[np.intp], resamples: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """How often each block is drawn, as many with replacement as there are; shape (resamples, n_blocks)."""
    blocks = int(codes.max()) + 1
    drawn = (rng.integers(0, blocks, blocks) for _ in range(resamples))
    return np.stack([np.bincount(one, minlength=blocks) for one in drawn])


def void(kept: Sequence[bool], *, level: float = LEVEL) -> str:
    """Why estimates are not believed any more, from whether the truth lay in earlier intervals; nothing if they are.

    >>> void([True] * 18 + [False] * 2)
    ''
    >>> void([True, False, False, False, False])
    'the truth lay outside of 4 of the last 5 intervals: the relation that they are made from has changed'
    """
    from scipy import stats

    misses = len(kept) - sum(kept)
    if not misses or float(stats.binom.sf(misses - 1, len(kept), 1 - level)) >= MOST_LUCK:
        return ""
    return (
        f"the truth lay outside of {misses} of the last {len(kept)} intervals: "
        "the relation that they are made from has changed"
    )

"""Live drift: what has come in of late beside what the version learned from, counted as it comes.

Each feature, and the score, has the ten bins between the deciles of the reference and one for missing values. A row
adds one to a bin of each. Two windows are kept, the one that fills and the one before, so that what is told is never
older than two windows and never of a moment alone.

One rule: this is a light on the dashboard. Whether data has drifted is decided, within the budget of alarms, by the
nightly monitoring.

References:
    Siddiqi (2006), Credit Risk Scorecards, population stability index. Its expectation without drift, the bins less one
    times (1/n + 1/m), is taken off: Yurdakul, Naranjo (2020), Statistical properties of the population stability index.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mlops.serving.compiled_form import Floats
from mlops.serving.compiled_rows import jit

BINS = 10
WINDOW_SECONDS = 1800.0
MIN_ROWS = 500  # fewer: cannot tell
LARGE = 0.2  # index above which a population is said to have shifted
SCORE = "score"
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class LiveDrift:
    """One column."""

    column: str
    verdict: Literal["drift", "no_drift", "cannot_tell"]
    value: float | None  # index less its expectation without drift, ≥ 0
    rows: int


@dataclass
class Sketch:
    """Counts of a version's columns.

    Args:
        columns: names: features, then the score.
        edges: shape (columns, BINS - 1), deciles of the reference.
        expected: shape (columns, BINS + 1), the reference's own counts, missing values last.
        clock: seconds that only grow.
    """

    columns: tuple[str, ...]
    edges: Floats
    expected: Ints
    clock: Callable[[], float] = time.monotonic
    _current: Ints = field(init=False)
    _before: Ints = field(init=False)
    _since: float = field(init=False)

    def __post_init__(self) -> None:
        self._current, self._before = np.zeros_like(self.expected), np.zeros_like(self.expected)
        self._since = self.clock()

    @classmethod
    def of(
        cls, features: Sequence[str], rows: Floats, scores: Floats, clock: Callable[[], float] = time.monotonic
    ) -> Sketch | None:
        """The sketch of a version.

        Args:
            features: names.
            rows: shape (n, features), what it learned from.
            scores: shape (n,), what it says of them.
            clock: seconds that only grow.

        Returns:
            None if there are too few rows to compare with.
        """
        if len(rows) < MIN_ROWS:
            return None
        table = np.ascontiguousarray(np.column_stack([rows, scores]), dtype=np.float64)
        known = [column[np.isfinite(column)] for column in table.T]
        edges = np.array([np.quantile(c if len(c) else [0.0], np.arange(1, BINS) / BINS) for c in known])
        expected = np.zeros((table.shape[1], BINS + 1), dtype=np.int64)
        _count(table[:, :-1].copy(), table[:, -1].copy(), edges, expected)
        return cls((*features, SCORE), edges, expected, clock)

    def add(self, rows: Floats, scores: Floats) -> None:
        """Count rows, shape (n, features), and their scores."""
        if self.clock() - self._since >= WINDOW_SECONDS:
            self._before, self._current = self._current, np.zeros_like(self.expected)
            self._since = self.clock()
        _count(rows, scores, self.edges, self._current)

    def drift(self) -> tuple[LiveDrift, ...]:
        """How far each column is from the reference."""
        found = self._current + self._before
        rows = int(found[0].sum())
        if rows < MIN_ROWS:
            return tuple(LiveDrift(name, "cannot_tell", None, rows) for name in self.columns)
        values = (max(0.0, index(e, f)) for e, f in zip(self.expected, found, strict=True))
        return tuple(
            LiveDrift(name, "drift" if value > LARGE else "no_drift", value, rows)
            for name, value in zip(self.columns, values, strict=True)
        )


def index(expected: Ints, found: Ints) -> float:
    """Population stability index of two counts by bin, less its expectation without drift.

    A bin is counted as if it held half a row more, so that an empty one is no infinity; bins that are empty on both
    sides are none.

    >>> index(np.array([50, 50]), np.array([500, 500]))
    -0.011
    """
    there = (expected + found) > 0
    e, f = expected[there] + 0.5, found[there] + 0.5
    p, q = e / e.sum(), f / f.sum()
    noise = (there.sum() - 1) * (1 / expected.sum() + 1 / found.sum())
    return float(round(((p - q) * np.log(p / q)).sum() - noise, 12))


@jit
def _count(rows: Floats, scores: Floats, edges: Floats, counts: Ints) -> None:
    n, d = rows.shape
    for i in range(n):
        for j in range(d + 1):
            x = rows[i, j] if j < d else scores[i]
            if np.isnan(x):
                counts[j, edges.shape[1] + 1] += 1
                continue
            at = 0
            while at < edges.shape[1] and x > edges[j, at]:
                at += 1
            counts[j, at] += 1

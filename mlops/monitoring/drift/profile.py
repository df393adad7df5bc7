"""A column of any number of rows as counts between knots: parts are made anywhere and add up.

The values of the reference (or, where they are many, its quantiles) and the borders of its bins are knots. Of other
rows it is enough to know how many lie on each knot and between two, and where in between on average: every measure
follows from that, see `profile_distance`.

One rule: all that is summed is whole numbers, so that no order of rows, parts or machines changes a digit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mlops.monitoring.drift.measures import Floats, quantile_edges, spread

Ints = npt.NDArray[np.int64]
MOST_KNOTS = 4096  # more different values than these are cut at as many quantiles
STEPS = 2**24  # places within a cell are kept in this many steps of its width, beyond the knots of the spread
_FARTHEST = 2.0**14  # a value counts as no farther beyond the outer knots than this many spreads


@dataclass(frozen=True)
class Knots:
    """What divides the line, for one column of the reference.

    Args:
        values: shape (k,), sorted, distinct: values of the reference, its least and greatest among them, and the
            borders of its bins.
        scale: standard deviation of the reference, at least that by which distances are divided.
        edges: shape (b,), the borders of its bins; all of them are knots.
    """

    values: Floats
    scale: float
    edges: Floats

    @classmethod
    def of(cls, reference: Floats) -> Knots:
        """The knots of a column; nulls and infinite values are left out."""
        return cls.of_sorted(np.sort(reference[np.isfinite(reference)]))

    @classmethod
    def of_sorted(cls, finite: Floats) -> Knots:
        """The knots of a column whose finite values are sorted."""
        if not len(finite):
            return cls(finite, 1.0, finite)
        edges = quantile_edges(finite)
        values = finite
        if len(finite) > MOST_KNOTS:
            distinct = np.concatenate([finite[:1], finite[1:][finite[1:] != finite[:-1]]])
            values = distinct
            if len(distinct) > MOST_KNOTS:
                values = finite[np.linspace(0, len(finite) - 1, MOST_KNOTS).astype(np.intp)]
        return cls(np.unique(np.concatenate([values, edges])), spread(finite), edges)


@dataclass(frozen=True)
class Profile:
    """What is known of some values of one column.

    Args:
        rows: all of them.
        nulls: those without a value.
        infinite: those with a value that is none.
        on: shape (k,), rows on each knot.
        between: shape (k + 1,), rows below the first knot, between each two, above the last.
        places: shape (k + 1,), the sums of their distances from the knot below (from the first knot, for those below
            it), in steps.
    """

    rows: int
    nulls: int
    infinite: int
    on: Ints
    between: Ints
    places: npt.NDArray[np.object_] | Ints

    @classmethod
    def of(cls, values: Floats, knots: Knots) -> Profile:
        """The profile of some rows.

        Args:
            values: shape (m,), NaN for null.
            knots: of the reference.
        """
        finite = values[np.isfinite(values)]
        nulls = int(np.isnan(values).sum())
        points = knots.values
        cell = np.searchsorted(points, finite, side="left")
        hit = np.zeros(len(finite), dtype=bool)
        inside = cell < len(points)
        hit[inside] = points[cell[inside]] == finite[inside]
        free, cell_free = finite[~hit], cell[~hit]
        steps = _steps(free, cell_free, knots)
        between = np.bincount(cell_free, minlength=len(points) + 1)
        places = np.bincount(cell_free, weights=steps, minlength=len(points) + 1)  # exact: whole numbers below 2⁵³
        return cls(
            rows=len(values),
            nulls=nulls,
            infinite=len(values) - len(finite) - nulls,
            on=np.bincount(cell[hit], minlength=len(points)).astype(np.int64),
            between=between.astype(np.int64),
            places=places.astype(np.int64),
        )

    @classmethod
    def of_sorted(cls, finite: Floats, knots: Knots) -> Profile:
        """The profile of finite values that are sorted: much faster, places to within rounding those of `of`."""
        points = knots.values
        if not len(points):
            none = np.zeros(0, dtype=np.int64)
            return cls(len(finite), 0, 0, none, np.array([len(finite)]), np.zeros(1, dtype=np.int64))
        below = np.searchsorted(finite, points, side="left")
        up_to = np.searchsorted(finite, points, side="right")
        between = np.concatenate([[below[0]], below[1:] - up_to[:-1], [len(finite) - up_to[-1]]])
        sums = np.concatenate([[0.0], np.cumsum(finite - points[0])])  # from the first knot: no loss far from zero
        starts, ends = np.concatenate([[0], up_to]), np.concatenate([below, [len(finite)]])
        held = sums[ends] - sums[starts]
        inner = (held[1:-1] - between[1:-1] * (points[:-1] - points[0])) / np.maximum(np.diff(points), 1e-300)
        last = min((held[-1] - between[-1] * (points[-1] - points[0])) / knots.scale, _FARTHEST * between[-1])
        first = min(-held[0] / knots.scale, _FARTHEST * between[0])
        share = np.clip(np.concatenate([[first], np.minimum(inner, between[1:-1]), [last]]), 0.0, None)
        return cls(
            rows=len(finite),
            nulls=0,
            infinite=0,
            on=(up_to - below).astype(np.int64),
            between=between.astype(np.int64),
            places=np.rint(share * STEPS).astype(np.int64),
        )

    @property
    def count(self) -> int:
        """Rows with a finite value."""
        return self.rows - self.nulls - self.infinite

    def __add__(self, other: Profile) -> Profile:
        return Profile(
            self.rows + other.rows,
            self.nulls + other.nulls,
            self.infinite + other.infinite,
            self.on + other.on,
            self.between + other.between,
            self.places + other.places,
        )

    def __sub__(self, other: Profile) -> Profile:
        """The other rows, of which `other` are a part."""
        return Profile(
            self.rows - other.rows,
            self.nulls - other.nulls,
            self.infinite - other.infinite,
            self.on - other.on,
            self.between - other.between,
            np.maximum(self.places - other.places, 0),
        )


@dataclass(frozen=True)
class Profiled:
    """The current values of a column, as far as they are known, and the knots that they were counted by."""

    profile: Profile
    knots: Knots


def _steps(values: Floats, cell: npt.NDArray[np.intp], knots: Knots) -> Floats:
    """Whole numbers: how far each value lies from the knot below it, in steps of the width of its cell."""
    points = knots.values
    if not len(points):
        return np.zeros(len(values))
    beyond = np.where(cell == 0, points[0] - values, values - points[-1]) / knots.scale
    far = np.minimum(beyond, _FARTHEST)
    lower, upper = points[np.maximum(cell - 1, 0)], points[np.minimum(cell, len(points) - 1)]
    within = (values - lower) / np.where(upper > lower, upper - lower, 1.0)
    outer = (cell == 0) | (cell == len(points))
    return np.asarray(np.rint(np.where(outer, far, within) * STEPS))


def profiles_of(columns: Mapping[str, Floats], knots: Mapping[str, Knots]) -> dict[str, Profile]:
    """The profiles of all columns of some rows."""
    return {name: Profile.of(columns[name], knots[name]) for name in knots}

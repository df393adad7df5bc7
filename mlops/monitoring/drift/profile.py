"""A column of any number of rows as counts between the values of the reference: parts are made anywhere and add up.

The values of the reference, and the borders of its bins, are knots. Of the current data it is enough to know how many
rows lie on each knot and between two, and where in between on average: the Kolmogorov-Smirnov statistic and the
population stability index follow exactly, and the Wasserstein distance but for the cells in which the two distribution
functions cross, whose share is told.

One rule: all that is summed is whole numbers, so that no order of rows, parts or machines changes a digit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mlops.monitoring.drift.measures import Floats, bin_shares, index_of_shares, quantile_edges, spread

Ints = npt.NDArray[np.int64]
_STEPS = 2**24  # places within a cell are kept in this many steps of its width, beyond the knots of the spread
_FARTHEST = 2.0**14  # a value counts as no farther beyond the outer knots than this many spreads


@dataclass(frozen=True)
class Knots:
    """What divides the line, for one column of the reference.

    Args:
        reference: shape (n,), finite, sorted.
        values: shape (k,), sorted, distinct: those of the reference and the borders of its bins.
        scale: standard deviation of the reference, at least that by which distances are divided.
    """

    reference: Floats
    values: Floats
    scale: float

    @classmethod
    def of(cls, reference: Floats) -> Knots:
        """The knots of a column; nulls and infinite values are left out."""
        finite = np.sort(reference[np.isfinite(reference)])
        if not len(finite):
            return cls(finite, finite, 1.0)
        return cls(finite, np.unique(np.concatenate([finite, quantile_edges(finite)])), spread(finite))


@dataclass(frozen=True)
class Profile:
    """What is known of the current values of one column.

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

    def __add__(self, other: Profile) -> Profile:
        return Profile(
            self.rows + other.rows,
            self.nulls + other.nulls,
            self.infinite + other.infinite,
            self.on + other.on,
            self.between + other.between,
            self.places + other.places,
        )


@dataclass(frozen=True)
class Profiled:
    """The current values of a column, as far as they are known, against its knots."""

    profile: Profile
    knots: Knots

    def distance(self, method: str) -> float:
        """The distance from the reference, as `measures` has it: wasserstein, ks or psi."""
        return {"wasserstein": self.wasserstein, "ks": self.ks, "psi": self.psi}[method]()

    def psi(self) -> float:
        """The population stability index; exact."""
        edges = quantile_edges(self.knots.reference)
        below = np.concatenate([[0], self._up_to()[np.searchsorted(self.knots.values, edges)], [self._count]])
        return index_of_shares(bin_shares(self.knots.reference, edges), np.diff(below) / self._count)

    def ks(self) -> float:
        """The Kolmogorov-Smirnov statistic; exact: between knots one function is constant and the other monotone."""
        up_to = self._up_to()
        before = up_to - self.profile.on
        taught = self._taught()
        taught_before = np.concatenate([[0.0], taught[:-1]])
        return float(
            max(np.abs(up_to / self._count - taught).max(), np.abs(before / self._count - taught_before).max())
        )

    def wasserstein(self) -> float:
        """Area between the distribution functions in standard deviations of the reference, see `resolution`."""
        low, high, linear = self._areas()
        return float(np.clip(linear, low, high).sum()) / self.knots.scale

    def resolution(self) -> float:
        """By how much `wasserstein` may be off at most."""
        low, high, _ = self._areas()
        return float((high - low).sum()) / self.knots.scale

    @property
    def _count(self) -> int:
        return self.profile.rows - self.profile.nulls - self.profile.infinite

    def _up_to(self) -> Ints:
        """Rows up to and on each knot."""
        counts: Ints = np.cumsum(self.profile.between[:-1] + self.profile.on)
        return counts

    def _taught(self) -> Floats:
        """The reference's distribution function on each knot."""
        reference = self.knots.reference
        return np.asarray(np.searchsorted(reference, self.knots.values, side="right") / len(reference))

    def _areas(self) -> tuple[Floats, Floats, Floats]:
        """Per cell: the least and the largest area that the rows in it allow, and that of rows spread evenly."""
        count, profile, points = self._count, self.profile, self.knots.values
        outer = np.array([profile.places[0], profile.places[-1]], dtype=float) / _STEPS * self.knots.scale / count
        width = np.diff(points)
        left = self._up_to()[:-1] / count
        right = left + profile.between[1:-1] / count
        level = self._taught()[:-1]
        places = profile.places[1:-1].astype(float) / _STEPS
        current = width * (left + (profile.between[1:-1] - places) / count)  # ∫ of the current function
        low = np.abs(current - level * width)
        crossing = (left < level) & (level < right)
        high = np.where(crossing, np.maximum(width * np.maximum(level - left, right - level), low), low)
        step = np.where(crossing, right - left, 1.0)
        even = np.where(crossing, width * ((level - left) ** 2 + (right - level) ** 2) / (2 * step), low)
        return tuple(np.concatenate([outer, part]) for part in (low, high, even))  # type: ignore[return-value]


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
    return np.asarray(np.rint(np.where(outer, far, within) * _STEPS))


def profiles_of(columns: Mapping[str, Floats], knots: Mapping[str, Knots]) -> dict[str, Profile]:
    """The profiles of all columns of some rows."""
    return {name: Profile.of(columns[name], knots[name]) for name in knots}

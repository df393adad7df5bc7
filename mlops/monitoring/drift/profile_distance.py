"""The measures between two profiles over the same knots.

Where every value of one side is a knot, Kolmogorov-Smirnov and the measures over bins follow exactly, and Wasserstein
but for the cells in which the two distribution functions cross, whose share is told. Where knots are quantiles, a
distance between functions is off by at most the rows between two of them.

One rule: of each cell only what is counted is used; how rows lie within it is never guessed at without a bound.
"""

from __future__ import annotations

import numpy as np

from mlops.monitoring.drift.measures import SHARES, Floats
from mlops.monitoring.drift.profile import STEPS, Ints, Knots, Profile


def distance(reference: Profile, current: Profile, knots: Knots, method: str) -> float:
    """How far two profiles lie apart.

    Args:
        reference: with at least one finite value.
        current: likewise.
        knots: those of both.
        method: wasserstein, ks, or one of `SHARES` over the reference's bins.

    Returns:
        As `measures` has it.
    """
    if method == "wasserstein":
        return wasserstein(reference, current, knots)
    if method == "ks":
        return ks(reference, current)
    return SHARES[method](_shares(reference, knots), _shares(current, knots))


def ks(reference: Profile, current: Profile) -> float:
    """The Kolmogorov-Smirnov statistic, on the knots: exact if all values of one side are knots."""
    up_to = [_up_to(side) / side.count for side in (reference, current)]
    before = [at - side.on / side.count for at, side in zip(up_to, (reference, current), strict=True)]
    return float(max(np.abs(up_to[1] - up_to[0]).max(), np.abs(before[1] - before[0]).max()))


def wasserstein(reference: Profile, current: Profile, knots: Knots) -> float:
    """Area between the distribution functions in standard deviations of the reference; see `resolution`."""
    low, high, linear = _areas(reference, current, knots)
    return float(np.clip(linear, low, high).sum()) / knots.scale


def resolution(reference: Profile, current: Profile, knots: Knots) -> float:
    """By how much `wasserstein` may be off at most."""
    low, high, _ = _areas(reference, current, knots)
    return float((high - low).sum()) / knots.scale


def _shares(side: Profile, knots: Knots) -> Floats:
    below = np.concatenate([[0], _up_to(side)[np.searchsorted(knots.values, knots.edges)], [side.count]])
    return np.asarray(np.diff(below) / side.count)


def _up_to(side: Profile) -> Ints:
    """Rows up to and on each knot."""
    counts: Ints = np.cumsum(side.between[:-1] + side.on)
    return counts


def _areas(reference: Profile, current: Profile, knots: Knots) -> tuple[Floats, Floats, Floats]:
    """Per cell: the least and the largest area that the rows in it allow, and that of rows spread evenly."""
    width = np.diff(knots.values)
    beyond, left, right, inside = [], [], [], []
    for side in (reference, current):
        ends = np.array([side.places[0], side.places[-1]], dtype=float)
        beyond.append(ends / STEPS * knots.scale / side.count)
        left.append(_up_to(side)[:-1] / side.count)
        right.append(left[-1] + side.between[1:-1] / side.count)
        places = side.places[1:-1].astype(float) / STEPS
        inside.append(width * (left[-1] + (side.between[1:-1] - places) / side.count))  # ∫ of its function
    low = np.abs(inside[1] - inside[0])
    crossing = (left[1] < right[0]) & (left[0] < right[1])
    most = width * np.maximum(right[1] - left[0], right[0] - left[1])
    high = np.where(crossing, np.maximum(most, low), low)
    start, end = left[1] - left[0], right[1] - right[0]
    turned = crossing & (start * end < 0)
    step = np.where(turned, np.abs(start) + np.abs(end), 1.0)
    even = np.where(turned, width * (start**2 + end**2) / (2 * step), low)
    outer = np.abs(beyond[1] - beyond[0])
    return (
        np.concatenate([outer, low]),
        np.concatenate([beyond[0] + beyond[1], high]),
        np.concatenate([outer, even]),
    )

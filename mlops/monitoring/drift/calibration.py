"""How far a day usually lies from other days: the threshold of a column, learned from the reference itself.

Each full day of the reference is compared with all its other days. The largest of these distances is what happens
without drift; the threshold is that times a headroom. So a feature with a strong weekly rhythm gets a wide threshold,
a steady one a narrow one.

One rule: the distance of a day is measured on the scale on which the current data will be: in standard deviations of
the whole reference, or in its deciles.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mlops.monitoring.drift.measures import (
    Floats,
    bin_shares,
    index_of_shares,
    last_of_ties,
    quantile_edges,
    spread,
)

FEWEST_DAYS = 2


def full_days(days: npt.NDArray[np.intp], min_rows: int) -> npt.NDArray[np.intp]:
    """The days with at least `min_rows` rows, and as many left on the other days.

    Args:
        days: shape (n_rows,), the day of each row, numbered from 0.
        min_rows: fewest rows.
    """
    counts = np.bincount(days)
    return np.flatnonzero((counts >= min_rows) & (len(days) - counts >= min_rows))


def day_distances(values: Floats, days: npt.NDArray[np.intp], judged: npt.NDArray[np.intp], method: str) -> Floats:
    """The distance of each day from all other days.

    Args:
        values: shape (n_rows,), finite.
        days: shape (n_rows,), the day of each row, numbered from 0.
        judged: shape (n_days,), the days asked for; none of them holds all rows.
        method: wasserstein, ks or psi.

    Returns:
        Shape (n_days,), ≥ 0.
    """
    if method == "psi":
        return _index_distances(values, days, judged)
    # F_day − F_rest = (F_day − F_all) · n / (n − n_day), because F_all is the weighted mean of the two.
    scale = len(values) / (len(values) - np.bincount(days)[judged])
    order = np.argsort(values)
    if method == "ks":
        return _largest_gaps(values[order], days[order], judged) * scale
    return _areas(values[order], days[order], judged) * scale / spread(values)


def _areas(ordered: Floats, days: npt.NDArray[np.intp], judged: npt.NDArray[np.intp]) -> Floats:
    """∫ |F_day − F_all| for each day: between two rows of the day F_day is constant, and F_all crosses it once."""
    rows = len(ordered)
    below = np.concatenate([[0.0], np.cumsum(np.diff(ordered) * np.arange(1, rows) / rows)])  # ∫ F_all up to each row
    areas = np.empty(len(judged))
    for i, day in enumerate(judged):
        own = np.flatnonzero(days == day)
        left, right = np.append(0, own), np.append(own, rows - 1)
        step = np.arange(len(own) + 1)
        level = step / len(own)  # of F_day between left and right
        crossing = np.clip(-(-step * rows // len(own)) - 1, left, right)
        above = level * (2 * ordered[crossing] - ordered[left] - ordered[right])
        areas[i] = (above + below[left] + below[right] - 2 * below[crossing]).sum()
    return areas


def _largest_gaps(ordered: Floats, days: npt.NDArray[np.intp], judged: npt.NDArray[np.intp]) -> Floats:
    """max |F_day − F_all| for each day."""
    ends = last_of_ties(ordered)
    everything = (np.flatnonzero(ends) + 1) / len(ordered)
    gaps = np.empty(len(judged))
    for i, day in enumerate(judged):
        own = np.cumsum(days == day)
        gaps[i] = np.abs(own[ends] / own[-1] - everything).max()
    return gaps


def threshold(distances: Floats, *, headroom: float, min_effect: float) -> float:
    """The distance from which on a column counts as drifted.

    Args:
        distances: shape (n_days,), what happens without drift.
        headroom: ≥ 1.
        min_effect: a smaller threshold is never used.

    >>> threshold(np.array([0.1, 0.3]), headroom=1.5, min_effect=0.1)
    0.45
    """
    return round(max(float(distances.max()) * headroom, min_effect), 12)


def _index_distances(values: Floats, days: npt.NDArray[np.intp], judged: npt.NDArray[np.intp]) -> Floats:
    edges = quantile_edges(values)
    return np.array(
        [
            index_of_shares(bin_shares(values[days != day], edges), bin_shares(values[days == day], edges))
            for day in judged
        ]
    )

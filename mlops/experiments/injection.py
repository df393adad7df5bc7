"""Faults put into real rows: what a detector finds of them says something while no label is there.

Four kinds, sized in robust standard deviations of the column of that entity: a spike (one row), a level shift, a stuck
sensor (the first value repeats) and a slow drift (from nothing to full size). A fault is in one column of one entity.

One rule: only columns are changed, never keys, times or the number and order of rows; the mask says which rows.

References:
    Lai, Zha, Xu, Zhao, Wang, Hu (2021). Revisiting Time Series Outlier Detection: Definitions and Benchmarks. NeurIPS.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Kind = Literal["spike", "shift", "stuck", "drift"]
KINDS: tuple[Kind, ...] = ("spike", "shift", "stuck", "drift")
_MAD_TO_SIGMA = 1.4826  # median absolute deviation of a normal distribution times this is its standard deviation


def inject_faults(
    rows: pd.DataFrame,
    *,
    columns: Sequence[str],
    entity: str,
    event: str,
    rng: np.random.Generator,
    share: float = 0.02,
    sigmas: tuple[float, float] = (5.0, 10.0),
    length: tuple[int, int] = (12, 36),
    kinds: Sequence[Kind] = KINDS,
) -> tuple[pd.DataFrame, NDArray[np.bool_]]:
    """Copy rows and put faults into the copy.

    Args:
        rows: shape (n_rows, …); need not be sorted.
        columns: raw, numeric columns that may fail; integers become floats.
        entity: name of the entity column.
        event: name of the event time column.
        rng: all randomness.
        share: share of each entity's rows that is faulty at least, in (0, 0.5]; faults are put whole, so it can be
            more. An entity with fewer rows than twice the longest fault is left alone.
        sigmas: smallest and largest size of a spike, shift or drift.
        length: fewest and most rows of a shift, stuck sensor or drift.
        kinds: which faults.

    Returns:
        The rows with faults, in the order and with the index given, and shape (n_rows,): True where a fault was put.
        Missing values stay missing and are not marked.
    """
    faulty = rows.astype(dict.fromkeys(columns, np.float64))
    values = faulty[list(columns)].to_numpy(copy=True)
    mask = np.zeros(len(rows), dtype=bool)
    usual = _sigma(values, np.full(len(columns), 1.0))
    ordered = rows[[entity, event]].reset_index(drop=True).sort_values(event, kind="stable")
    for _, own in ordered.groupby(entity, sort=True, observed=True):
        _fail_one(values, mask, own.index.to_numpy(), usual, rng, share, sigmas, length, kinds)
    faulty[list(columns)] = values
    return faulty, mask


def _fail_one(
    values: NDArray[np.float64],
    mask: NDArray[np.bool_],
    positions: NDArray[np.intp],
    usual: NDArray[np.float64],
    rng: np.random.Generator,
    share: float,
    sigmas: tuple[float, float],
    length: tuple[int, int],
    kinds: Sequence[Kind],
) -> None:
    """Put faults into the rows of one entity, given in time order, until its share is faulty."""
    total = len(positions)
    if total < 2 * length[1]:
        return
    sigma = _sigma(values[positions], usual)
    taken = np.zeros(total, dtype=bool)
    wanted, tries = max(1, math.ceil(share * total)), 0
    turn = rng.permutation(len(kinds))
    while taken.sum() < wanted and tries < 50 * len(kinds):
        kind = kinds[turn[tries % len(kinds)]]
        tries += 1
        rows_of_fault = 1 if kind == "spike" else int(rng.integers(length[0], length[1] + 1))
        start = int(rng.integers(0, total - rows_of_fault + 1))
        column = int(rng.integers(values.shape[1]))
        size = float(rng.uniform(*sigmas) * rng.choice([-1.0, 1.0]) * sigma[column])
        around = slice(max(0, start - 1), start + rows_of_fault + 1)  # a sound row between two faults
        if taken[around].any():
            continue
        where = positions[start : start + rows_of_fault]
        before = values[where, column]
        after = _failed(before, kind, size)
        if np.array_equal(before, after, equal_nan=True):
            continue  # a constant column cannot be seen to stick, an empty one cannot fail
        values[where, column] = after
        mask[where] = ~np.isnan(before)
        taken[start : start + rows_of_fault] = True


def _failed(before: NDArray[np.float64], kind: Kind, size: float) -> NDArray[np.float64]:
    if kind == "stuck":
        first = before[~np.isnan(before)][:1]
        return np.where(np.isnan(before), np.nan, first[0] if len(first) else np.nan)
    if kind == "drift":
        return before + size * np.arange(1, len(before) + 1) / len(before)
    return before + size


def _sigma(values: NDArray[np.float64], fallback: NDArray[np.float64]) -> NDArray[np.float64]:
    """Robust standard deviation of each column; where it is 0, the plain one; where that is 0 too, `fallback`."""
    found = np.array(fallback, dtype=np.float64)
    for j, column in enumerate(values.T):
        known = column[~np.isnan(column)]
        if len(known):
            robust = _MAD_TO_SIGMA * float(np.median(np.abs(known - np.median(known))))
            found[j] = robust or float(known.std()) or fallback[j]
    return found

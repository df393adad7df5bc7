"""Profiles of a table that this machine's disk holds and its memory does not: DuckDB reads it once, piece by piece.

On the way some rows are kept as they are, for what needs rows: entities, consequences, plots.

One rule: parts are what `Profile.of` makes, so that the size of the pieces changes no digit.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial, reduce
from os import cpu_count
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mlops.monitoring.drift import columns as cols
from mlops.monitoring.drift import windows
from mlops.monitoring.drift.profile import Knots, Profile, Profiled

ROWS_AT_ONCE = 250_000


@dataclass(frozen=True)
class Divided:
    """A column of the reference and its divisions."""

    column: cols.Column
    knots: Knots


@dataclass(frozen=True, eq=False)
class Scan:
    """What is known of a table after it was read once.

    Args:
        profiles: of all its rows, by column; columns that cannot be counted by the reference's divisions are missing.
        sample: the rows that were asked for, shape (n_picked, …), in their order.
    """

    profiles: dict[str, Profiled]
    sample: pd.DataFrame


def divisions_of(reference: pd.DataFrame, names: Sequence[str], reference_times: Any) -> dict[str, Divided]:
    """What to count current rows by, for each column of the reference that can be compared.

    Args:
        reference: rows the champion learned from.
        names: what will be compared.
        reference_times: when each reference row happened.
    """
    kept = windows.cut(reference_times).kept
    found = {}
    for name in names:
        column = cols.of_reference(reference, name)
        if isinstance(column, cols.Column):
            within = cols.Column(column.kind, column.values[kept], column.labels)
            found[name] = Divided(column, cols.knots_of(within))
    return found


def scan(duck: Any, query: str, divisions: Mapping[str, Divided], picked: npt.NDArray[np.intp]) -> Scan:
    """Read all rows of a query once.

    Args:
        duck: a DuckDB connection that keeps the order of rows, its default.
        query: gives them.
        divisions: by column, see `divisions_of`.
        picked: shape (n_picked,), places of rows to keep, sorted.
    """
    profiles: dict[str, Profile] = {}
    kept: list[pd.DataFrame] = []
    first = 0
    with ThreadPoolExecutor(cpu_count()) as pool:
        for batch in duck.sql(query).to_arrow_reader(ROWS_AT_ONCE):
            rows = batch.to_pandas()
            parts = pool.map(partial(_profile, rows), divisions, divisions.values())
            for name, part in zip(divisions, parts, strict=True):
                if part is not None:
                    profiles[name] = reduce(operator.add, [profiles[name], part] if name in profiles else [part])
            within = picked[np.searchsorted(picked, first) : np.searchsorted(picked, first + len(rows))]
            kept.append(rows.iloc[within - first])
            first += len(rows)
    sample = pd.concat([part for part in kept if len(part)] or kept[:1], ignore_index=True) if kept else pd.DataFrame()
    return Scan({name: Profiled(profile, divisions[name].knots) for name, profile in profiles.items()}, sample)


def _profile(rows: pd.DataFrame, name: str, divided: Divided) -> Profile | None:
    column = cols.like(rows, name, divided.column)
    return (
        None if isinstance(column, str) else Profile.of(np.sort(column.values), divided.knots)
    )  # sorted: found faster

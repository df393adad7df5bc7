"""What is compared of a column: numbers by where they lie, categories by their shares, times by the hour of their day,
and of each whether it is there at all.

A column is divided once, by the reference: into cells between knots, or into categories with one more for all that the
reference does not know. Rows of any day are then counted by these divisions, and only counts are compared.

One rule: whatever a column holds, it is counted or it is said why not; nothing here raises for data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from mlops.monitoring.drift.measures import SMALLEST_SPREAD, Floats
from mlops.monitoring.drift.profile import Knots, Profile

MOST_CATEGORIES = 100  # the others count as one
Kind = Literal["number", "category"]
_SECONDS_PER_HOUR = 3600.0
_MOSTLY_DIFFERENT = 0.5  # a text column of which so large a share of values is unique names things, it does not class


@dataclass(frozen=True)
class Column:
    """The values of a column as numbers: themselves, or codes of categories.

    Args:
        kind: how they are compared.
        values: shape (n_rows,), NaN for null; categories: their place in `labels`.
        labels: shape (k,), the categories of the reference; codes from k on are others.
    """

    kind: Kind
    values: Floats
    labels: pd.Index | None = None


def of_reference(frame: pd.DataFrame, name: str) -> Column | str:
    """The column of the reference, or why it cannot be compared."""
    if name not in frame.columns:
        return "no such column"
    values = frame[name]
    if _is_time(values):
        return Column("number", _hours(values))
    if not pd.api.types.is_bool_dtype(values) and (numbers := _numbers(values)) is not None:
        return Column("number", numbers)
    known = values.dropna()
    try:
        counts = known.value_counts()
    except TypeError:
        return f"holds {type(known.iloc[0]).__name__} values, which are neither numbers, times nor categories"
    if len(counts) > MOST_CATEGORIES and len(counts) > _MOSTLY_DIFFERENT * len(known):
        return f"{len(counts):,} different values in {len(known):,} rows, which name things rather than class them"
    labels = pd.Index(sorted(counts.index[:MOST_CATEGORIES], key=str))
    return Column("category", _codes(values, labels), labels)


def like(frame: pd.DataFrame, name: str, taught: Column) -> Column | str:
    """The column of other rows in the divisions of the reference, or why it cannot be compared."""
    if name not in frame.columns:
        return "no such column"
    values = frame[name]
    if taught.labels is not None:
        return Column("category", _codes(values, taught.labels), taught.labels)
    numbers = _hours(values) if _is_time(values) else _numbers(values)
    if numbers is None:
        return "no such column of numbers"
    return Column("number", numbers)


def without_nulls(values: Floats) -> Floats:
    """Values without NaN; they themselves where there is none, for most columns have none and copies are dear."""
    there = ~np.isnan(values)
    return values if there.all() else values[there]


def trouble(rows: int, nulls: int, infinite: int, min_rows: int) -> str:
    """Why values cannot be judged; empty if they can."""
    if not rows:
        return "no rows"
    if infinite:
        return f"{infinite:,} of {rows:,} values are infinite"
    if nulls == rows:
        return f"all {rows:,} values are null"
    there = rows - nulls
    return f"{there:,} values, fewer than {min_rows:,}" if there < min_rows else ""


def flat(column: Column, method: str) -> str:
    """Why a reference has no scale to measure on; empty if it has.

    Args:
        column: of the reference, with at least one value and none infinite.
        method: of the spec.
    """
    if column.kind == "category":
        return ""
    values = without_nulls(column.values)
    if np.ptp(values) == 0:
        return f"constant at {values[0]:g}, so nothing says what is far"
    if method == "wasserstein" and (found := np.std(values)) < SMALLEST_SPREAD:
        return (
            f"standard deviation {found:.2g} below {SMALLEST_SPREAD:g}, which wasserstein does not resolve: "
            "give the column in a smaller unit or use method ks"
        )
    return ""


def knots_of(column: Column) -> Knots:
    """The divisions of a column of the reference."""
    if column.labels is not None:
        codes = np.arange(len(column.labels) + 1, dtype=float)
        return Knots(codes, 1.0, codes[:-1])
    return Knots.of(column.values)


def counted(values: Floats, knots: Knots) -> Profile:
    """The profile of values without nulls or infinities."""
    return Profile.of_sorted(np.sort(values), knots)


def _is_time(values: pd.Series) -> bool:
    return bool(pd.api.types.is_datetime64_any_dtype(values))


def _hours(values: pd.Series) -> Floats:
    """The hour of the day (UTC) in [0, 24): the date itself always moves on."""
    stamps = pd.DatetimeIndex(values)
    stamps = stamps.tz_localize("UTC") if stamps.tz is None else stamps
    hours = (stamps.as_unit("us").asi8 / 1e6 % 86_400) / _SECONDS_PER_HOUR
    return np.where(stamps.isna(), np.nan, hours)


def _numbers(values: pd.Series) -> Floats | None:
    """The values as floats with NaN for null; None if they are no numbers."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        return None
    if values.dtype == np.float64:
        return values.to_numpy()  # as it is, without a copy
    try:
        return values.to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError):
        return None


def _codes(values: pd.Series, labels: pd.Index) -> Floats:
    """The place of each value among the labels; behind them for others, NaN for null."""
    found: npt.NDArray[np.intp] = labels.get_indexer(pd.Index(values.astype(object)))
    codes = np.where(found < 0, len(labels), found).astype(float)
    codes[values.isna().to_numpy()] = np.nan
    return codes

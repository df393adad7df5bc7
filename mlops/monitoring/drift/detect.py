"""Has the current data moved away from the reference: per column, and all in all.

A column drifts when its distance from the reference reaches the threshold that the reference's own days give it. The
alarm is raised when the share of drifted columns, of those that could be judged, reaches the spec's.

One rule: a column that cannot be judged says why; it is never counted as "no drift".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from mlops.monitoring.drift.calibration import FEWEST_DAYS, day_distances, full_days, threshold
from mlops.monitoring.drift.measures import MEASURES, SMALLEST_SPREAD, Floats
from mlops.monitoring.drift.profile import Knots, Profiled
from mlops.records import ColumnDrift
from mlops.spec import DriftSpec

JUDGED_SHARE = 0.5  # of the columns must be judged before "no drift" is said of all


@dataclass(frozen=True, slots=True)
class Detection:
    """What was found; the fields are named as those of `DriftReport`."""

    verdict: Literal["drift", "no_drift", "cannot_tell"]
    reason: str
    columns: tuple[ColumnDrift, ...]  # in the order asked for
    share: float  # of the judged columns, drifted
    reference_rows: int
    current_rows: int

    @property
    def judged(self) -> tuple[ColumnDrift, ...]:
        """The columns that could be judged."""
        return tuple(column for column in self.columns if column.verdict != "cannot_tell")


def detect(
    reference: pd.DataFrame,
    current: pd.DataFrame | Mapping[str, Profiled],
    *,
    spec: DriftSpec,
    reference_times: Any,
    columns: Sequence[str] = (),
) -> Detection:
    """Compare current with reference.

    Args:
        reference: rows the champion learned from, shape (n_reference, …). Nulls are left out.
        current: rows of now, shape (n_current, …); or what is known of them, by column, where they are too many.
        spec: method, thresholds and shares.
        reference_times: shape (n_reference,), when each reference row happened; without zone it is UTC.
        columns: what to compare. Default: the spec's, else all numeric columns of the reference.

    Returns:
        One finding per column and the verdict on all. Never raises for data that is missing or odd.
    """
    names = list(columns or spec.columns or reference.select_dtypes(["number", "bool"]).columns)
    days = _days(reference_times)
    found = tuple(_column(name, reference, current, days, spec) for name in names)
    rows = len(current) if isinstance(current, pd.DataFrame) else _rows(current)
    verdict, reason, share = _all_in_all(found, len(reference), rows, spec)
    return Detection(verdict, reason, found, share, len(reference), rows)


def knots_of(reference: pd.DataFrame, columns: Sequence[str], reference_times: Any) -> dict[str, Knots]:
    """What to profile current data by, for the columns of the reference that are numbers; see `detect`.

    Args:
        reference: rows the champion learned from.
        columns: what will be compared.
        reference_times: when each reference row happened.
    """
    dated = _days(reference_times) >= 0
    numbers = {name: _numbers(reference, name) for name in columns}
    return {name: Knots.of(values[dated]) for name, values in numbers.items() if values is not None}


def _rows(current: Mapping[str, Profiled]) -> int:
    return max((column.profile.rows for column in current.values()), default=0)


def _days(times: Any) -> npt.NDArray[np.intp]:
    """The UTC day of each time stamp, numbered from 0; -1 where there is none."""
    stamps = pd.DatetimeIndex(times)
    stamps = stamps.tz_localize("UTC") if stamps.tz is None else stamps
    numbers = stamps.as_unit("s").asi8 // 86_400
    days = np.where(stamps.isna(), -1, pd.factorize(numbers)[0])
    return days.astype(np.intp)


def _column(
    name: str,
    reference: pd.DataFrame,
    current: pd.DataFrame | Mapping[str, Profiled],
    days: npt.NDArray[np.intp],
    spec: DriftSpec,
) -> ColumnDrift:
    taught = _numbers(reference, name)
    seen = _numbers(current, name) if isinstance(current, pd.DataFrame) else current.get(name)
    for side, values in (("reference", taught), ("current", seen)):
        if trouble := _trouble(values, spec.min_rows):
            return ColumnDrift(name, "cannot_tell", spec.method, None, None, f"{side}: {trouble}")
    assert taught is not None
    assert seen is not None
    known = ~np.isnan(taught) & (days >= 0)
    values = taught[known]
    if flat := _flat(values, spec.method):
        return ColumnDrift(name, "cannot_tell", spec.method, None, None, f"reference: {flat}")
    judged = full_days(days[known], spec.min_rows)
    if len(judged) < FEWEST_DAYS:
        why = f"reference: fewer than {FEWEST_DAYS} days with {spec.min_rows:,} values, so nothing says what is usual"
        return ColumnDrift(name, "cannot_tell", spec.method, None, None, why)
    usual = day_distances(values, days[known], judged, spec.method)
    limit = threshold(usual, headroom=spec.headroom, min_effect=spec.min_effect)
    value = _distance(values, seen, spec.method)
    drifted = value >= limit and value > 0
    side = "reaches" if drifted else "is below"
    why = f"{value:.3g} {side} {limit:.3g}; the reference's own days: up to {usual.max():.3g}"
    return ColumnDrift(name, "drift" if drifted else "no_drift", spec.method, value, limit, why)


def _numbers(frame: pd.DataFrame, name: str) -> Floats | None:
    """The column as floats with NaN for null; None if it is not there or holds no numbers."""
    if name not in frame.columns:
        return None
    try:
        return frame[name].to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError):
        return None


def _distance(taught: Floats, seen: Floats | Profiled, method: str) -> float:
    if isinstance(seen, Profiled):
        return seen.distance(method)
    return MEASURES[method](taught, seen[~np.isnan(seen)])


def _trouble(values: Floats | Profiled | None, min_rows: int) -> str:
    """Why a column cannot be judged; empty if it can."""
    if values is None:
        return "no such column of numbers"
    if isinstance(values, Profiled):
        rows, nulls, infinite = values.profile.rows, values.profile.nulls, values.profile.infinite
    else:
        rows, nulls, infinite = len(values), int(np.isnan(values).sum()), int(np.isinf(values).sum())
    if not rows:
        return "no rows"
    if infinite:
        return f"{infinite:,} of {rows:,} values are infinite"
    there = rows - nulls
    if there == 0:
        return f"all {rows:,} values are null"
    return f"{there:,} values, fewer than {min_rows:,}" if there < min_rows else ""


def _flat(values: Floats, method: str) -> str:
    """Why a reference has no scale to measure on; empty if it has."""
    if np.ptp(values) == 0:
        return f"constant at {values[0]:g}, so nothing says what is far"
    if method == "wasserstein" and np.std(values) < SMALLEST_SPREAD:
        return (
            f"standard deviation {np.std(values):.2g} below {SMALLEST_SPREAD:g}, which wasserstein does not resolve: "
            "give the column in a smaller unit or use method ks"
        )
    return ""


def _all_in_all(
    found: Sequence[ColumnDrift], reference_rows: int, current_rows: int, spec: DriftSpec
) -> tuple[Literal["drift", "no_drift", "cannot_tell"], str, float]:
    for side, rows in (("reference", reference_rows), ("current", current_rows)):
        if rows < spec.min_rows:
            return "cannot_tell", f"{side} has {rows:,} rows, {spec.min_rows:,} are needed.", 0.0
    unjudged = [c for c in found if c.verdict == "cannot_tell"]
    drifted = sorted((c for c in found if c.verdict == "drift"), key=_strength, reverse=True)
    judged = len(found) - len(unjudged)
    blind = f" {len(unjudged)} cannot be judged: {_first(unjudged)}." if unjudged else ""
    if not judged:
        return "cannot_tell", f"None of {len(found)} columns can be judged.{blind}", 0.0
    share = len(drifted) / judged
    told = f"{len(drifted)} of {judged} columns moved ({100 * share:.0f} %, alarm from {100 * spec.alarm_share:g} %)"
    if drifted:
        first = ", ".join(f"{c.column} ({c.value:.2g}, threshold {c.threshold:.2g})" for c in drifted[:3])
        told += f", most of all {first}"
    if drifted and share >= spec.alarm_share:
        return "drift", f"{told}.{blind}", share
    if judged < JUDGED_SHARE * len(found):
        return "cannot_tell", f"Too few columns can be judged to say that nothing moved. {told}.{blind}", share
    return "no_drift", f"{told}.{blind}", share


def _strength(column: ColumnDrift) -> float:
    return (column.value or 0.0) / (column.threshold or 1.0)


def _first(unjudged: Sequence[ColumnDrift]) -> str:
    shown = "; ".join(f"{c.column} ({c.reason})" for c in unjudged[:3])
    return shown + (f"; and {len(unjudged) - 3} more" if len(unjudged) > 3 else "")

"""Tonight against the reference, and each day of the reference against its other days, one question after the other.

The questions are, for every column, how far its values lie and how many are missing, and how far the table as a whole.

One rule: tonight and the reference's own days are measured by the same rule, on the same knots and scale.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mlops.monitoring.drift import columns as cols
from mlops.monitoring.drift import joint
from mlops.monitoring.drift.evidence import FEWEST_DAYS
from mlops.monitoring.drift.measures import Floats
from mlops.monitoring.drift.profile import Knots, Profile, Profiled
from mlops.monitoring.drift.profile_distance import distance
from mlops.monitoring.drift.windows import Windows
from mlops.spec import DriftSpec

MISSING_EFFECT = 0.05  # a smaller change of the share of missing values does not matter
_JOINT_ROWS = 2_000  # of a side, for measures that take time by their product
_ROWS_AT_ONCE = 4_096  # a piece of thirty columns stays in the processor's cache
_NOTHING = np.zeros(0)


@dataclass(frozen=True, eq=False)
class Comparison:
    """The answer to one question.

    Args:
        name: column, `missing(column)` or `joint(measure)`.
        method: the measure.
        value: tonight's distance; None if it cannot be told.
        usual: shape (n_days,), those of the reference's days.
        min_effect: smaller distances do not matter.
        why: why it cannot be told.
        levels: shape (n_days,), where each of the reference's days lies, signed: whether days resemble each other.
        where: what of it has moved most, in words.
    """

    name: str
    method: str
    value: float | None
    usual: Floats
    min_effect: float
    why: str = ""
    levels: Floats = field(default_factory=lambda: np.zeros(0))
    where: str = ""

    @property
    def aside(self) -> bool:
        """It is not about the values of a column."""
        return self.name.startswith(("missing(", "joint("))

    @property
    def silent(self) -> bool:
        """Nothing was ever missing: nobody needs to read so."""
        return self.name.startswith("missing(") and not self.value and not self.usual.any()


@dataclass(frozen=True, eq=False)
class Taught:
    """What a column of the reference says, whatever tonight is.

    Args:
        column: its divisions.
        method: the measure.
        knots: what it was counted by.
        whole: all its rows.
        usual: shape (n_days,), each day's distance from the others.
        levels: shape (n_days,), the mean of each (for categories: the share of the most frequent).
        why: why it says nothing.
    """

    column: cols.Column
    method: str
    knots: Knots
    whole: Profile
    usual: Floats
    levels: Floats
    why: str = ""


def taught(
    name: str, reference: pd.DataFrame, windows: Windows, spec: DriftSpec, knots: Knots | None = None
) -> Taught | str:
    """A column of the reference, cut into days; or why there is none.

    Args:
        name: of the column.
        reference: rows the champion learned from.
        windows: its days.
        spec: measures.
        knots: what tonight was counted by. None: those of the column itself.
    """
    column = cols.of_reference(reference, name)
    if isinstance(column, str):
        return column
    method = spec.method if column.kind == "number" else spec.category_method
    kept = windows.of_kept(column.values)
    why = cols.trouble(len(kept), int(np.isnan(kept).sum()), int(np.isinf(kept).sum()), spec.min_rows)
    why = why or cols.flat(cols.Column(column.kind, kept), method)
    if why:
        none = Knots.of(_NOTHING)
        return Taught(column, method, none, Profile.of(_NOTHING, none), _NOTHING, _NOTHING, why)
    knots = knots or cols.knots_of(cols.Column(column.kind, kept, column.labels))
    parts = [cols.without_nulls(part) for part in windows.split(kept)]
    days = [cols.counted(part, knots) for part in parts]
    whole = functools.reduce(operator.add, days)
    full = [i for i, day in enumerate(days) if spec.min_rows <= day.count <= whole.count - spec.min_rows]
    usual = np.array([distance(whole - days[i], days[i], knots, method) for i in full])
    often = float(np.argmax(whole.on)) if column.kind == "category" else None
    levels = np.array([np.mean(parts[i] if often is None else parts[i] == often) for i in full])
    if len(usual) < FEWEST_DAYS:
        why = f"fewer than {FEWEST_DAYS} days with {spec.min_rows:,} values, so nothing says what is usual"
    return Taught(column, method, knots, whole, usual, levels, why)


def of_column(
    name: str,
    reference: pd.DataFrame,
    current: pd.DataFrame | Mapping[str, Profiled],
    windows: Windows,
    spec: DriftSpec,
    known: dict[str, Taught | str] | None = None,
) -> Comparison:
    """How far the values of a column lie; `known` keeps what the reference says for nights with the same days."""
    told = None if known is None else known.get(name)
    if told is None:
        profiled = None if isinstance(current, pd.DataFrame) else current.get(name)
        told = taught(name, reference, windows, spec, None if profiled is None else profiled.knots)
        if known is not None:
            known[name] = told
    if isinstance(told, str):
        return Comparison(name, spec.method, None, _NOTHING, spec.min_effect, f"reference: {told}")
    why = f"reference: {told.why}" if told.why else ""
    seen = _seen(name, current, told.column, spec.min_rows)
    if isinstance(seen, str):
        why = why or f"current: {seen}"
    if why or isinstance(seen, str):
        return Comparison(name, told.method, None, _NOTHING, spec.min_effect, why)
    now = seen.profile if isinstance(seen, Profiled) else cols.counted(seen, told.knots)
    value = distance(told.whole, now, told.knots, told.method)
    return Comparison(name, told.method, value, told.usual, spec.min_effect, levels=told.levels)


def of_missing(
    name: str, reference: pd.DataFrame, current: pd.DataFrame | Mapping[str, Profiled], windows: Windows
) -> Comparison | None:
    """How many values of a column are missing; None if the column is."""
    if name not in reference.columns or (now := _missing_share(name, current)) is None:
        return None
    null = reference[name].isna().to_numpy()
    if null.any():
        parts = windows.parts(null)
        counts = np.array([(part.sum(), len(part)) for part in parts if len(part)], dtype=float).reshape(-1, 2)
    else:
        sizes = np.diff(windows.starts)
        counts = np.column_stack([np.zeros(len(sizes)), sizes])[sizes > 0].astype(float)
    if len(counts) < FEWEST_DAYS:
        return None
    whole = counts.sum(axis=0)
    rest = whole - counts
    usual = np.abs(counts[:, 0] / counts[:, 1] - rest[:, 0] / rest[:, 1])
    value = abs(float(now - whole[0] / whole[1]))
    levels = counts[:, 0] / counts[:, 1]
    return Comparison(f"missing({name})", "difference of shares", value, usual, MISSING_EFFECT, levels=levels)


def of_table(
    names: Sequence[str],
    reference: pd.DataFrame,
    current: pd.DataFrame,
    windows: Windows,
    spec: DriftSpec,
    seed: int,
) -> list[Comparison]:
    """How far the tables lie as a whole, over the columns that are numbers on both sides."""
    numbers, taught_side, seen_side = [], [], []
    for name in names:
        before = cols.of_reference(reference, name)
        now = cols.like(current, name, before) if isinstance(before, cols.Column) else ""
        if isinstance(before, str) or isinstance(now, str) or before.kind != "number":
            continue
        if not any(np.isnan(side.values).all() for side in (before, now)):
            numbers.append(name)
            taught_side.append(before.values)
            seen_side.append(now.values)
    days = [part for part in windows.parts(np.arange(len(reference))) if len(part) >= spec.min_rows]
    if len(taught_side) < 2 or not spec.joint or len(days) < FEWEST_DAYS or len(current) < spec.min_rows:
        return []
    scaling = [_center_and_scale(values) for values in taught_side]
    center, scale = np.array([c for c, _ in scaling]), np.array([s for _, s in scaling])
    tonight = np.arange(len(current))
    found = []

    @functools.cache
    def moments() -> tuple[list[joint.Moments], joint.Moments]:
        parts = [_moments(taught_side, day, center, scale) for day in days]
        return parts, _moments(seen_side, tonight, center, scale)

    for measure in spec.joint:
        if measure == "pca_reconstruction":
            found.append(_by_moments(*moments(), spec))
        elif measure == "correlation":
            found.append(_by_correlation(*moments(), numbers, spec))
        else:
            rng = np.random.default_rng(seed)
            samples = [_filled(taught_side, _sample(day, rng), center, scale) for day in days]
            samples.append(_filled(seen_side, _sample(tonight, rng), center, scale))
            found.append(_by_rows(measure, samples, spec, rng))
    return found


def _center_and_scale(values: Floats) -> tuple[float, float]:
    known = values[np.isfinite(values)]
    return float(known.mean()), max(float(known.std()), 1e-12)


def _moments(columns: Sequence[Floats], rows: npt.NDArray[np.intp], center: Floats, scale: Floats) -> joint.Moments:
    """Of some rows, a piece at a time: a table is never held twice."""
    pieces = (_stretch(rows[i : i + _ROWS_AT_ONCE]) for i in range(0, len(rows), _ROWS_AT_ONCE))
    parts = (joint.Moments.of(np.stack([c[piece] for c in columns]).T, center, scale) for piece in pieces)
    return functools.reduce(operator.add, parts)


def _stretch(rows: npt.NDArray[np.intp]) -> npt.NDArray[np.intp] | slice:
    """Rows that lie side by side as a slice: they are read where they are."""
    side_by_side = len(rows) and bool((np.diff(rows) == 1).all())
    return slice(int(rows[0]), int(rows[-1]) + 1) if side_by_side else rows


def _seen(
    name: str, current: pd.DataFrame | Mapping[str, Profiled], like: cols.Column, min_rows: int
) -> Floats | Profiled | str:
    """Tonight's values without nulls, or their profile; else why they cannot be judged."""
    if not isinstance(current, pd.DataFrame):
        if name not in current:
            return "no such column of numbers"
        profile = current[name].profile
        return cols.trouble(profile.rows, profile.nulls, profile.infinite, min_rows) or current[name]
    column = cols.like(current, name, like)
    if isinstance(column, str):
        return column
    values = column.values
    there = cols.without_nulls(values)
    return cols.trouble(len(values), len(values) - len(there), int(np.isinf(there).sum()), min_rows) or there


def _missing_share(name: str, current: pd.DataFrame | Mapping[str, Profiled]) -> float | None:
    if isinstance(current, pd.DataFrame):
        return float(current[name].isna().mean()) if name in current.columns and len(current) else None
    profile = current[name].profile if name in current else None
    return profile.nulls / profile.rows if profile is not None and profile.rows else None


def _by_moments(days: Sequence[joint.Moments], now: joint.Moments, spec: DriftSpec) -> Comparison:
    whole = functools.reduce(operator.add, days)
    levels = np.array([joint.error_change(whole - day, day) for day in days])
    value = joint.pca_reconstruction(whole, now)
    name = "pca_reconstruction"
    return Comparison(f"joint({name})", name, value, np.abs(levels), spec.min_effect, levels=levels)


def _by_correlation(
    days: Sequence[joint.Moments], now: joint.Moments, names: Sequence[str], spec: DriftSpec
) -> Comparison:
    whole = functools.reduce(operator.add, days)
    usual = np.array([joint.correlation_change(whole - day, day)[0] for day in days])
    value, (one, other) = joint.correlation_change(whole, now)
    return Comparison(
        "joint(correlation)", "correlation", value, usual, spec.min_effect, where=f"{names[one]} with {names[other]}"
    )


def _by_rows(measure: str, samples: Sequence[Floats], spec: DriftSpec, rng: np.random.Generator) -> Comparison:
    """Samples are those of the days and, last, of tonight."""

    def auc(one: Floats, other: Floats) -> float:
        return abs(2 * joint.domain_classifier_auc(one, other, rng=rng) - 1)

    def discrepancy(one: Floats, other: Floats) -> float:
        return float(np.sqrt(max(joint.maximum_mean_discrepancy(one, other), 0.0)))

    ask: Callable[[Floats, Floats], float] = auc if measure == "domain_classifier" else discrepancy
    *days, now = samples

    def others(left_out: int) -> Floats:
        return _sample(np.vstack([day for i, day in enumerate(days) if i != left_out]), rng)

    usual = np.array([ask(others(i), day) for i, day in enumerate(days)])
    return Comparison(f"joint({measure})", measure, ask(others(-1), now), usual, spec.min_effect)


def _filled(columns: Sequence[Floats], rows: npt.NDArray[np.intp], center: Floats, scale: Floats) -> Floats:
    return joint.standardised(np.column_stack([column[rows] for column in columns]), center, scale)


def _sample(rows: npt.NDArray[Any], rng: np.random.Generator) -> npt.NDArray[Any]:
    return rows if len(rows) <= _JOINT_ROWS else rows[rng.choice(len(rows), _JOINT_ROWS, replace=False)]

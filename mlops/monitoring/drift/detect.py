"""Has the current data moved away from the reference: per column, and all in all.

Every question about tonight (`comparisons`) is held against the reference's own days and the nights before (`rule`).
The alarm is raised when the evidence for a change reaches what the budget of false alarms asks for; then the columns
that have drifted are named.

One rule: a column that cannot be judged says why; it is never counted as "no drift".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd

from mlops.monitoring.drift import columns as cols
from mlops.monitoring.drift import comparisons, windows
from mlops.monitoring.drift.comparisons import Comparison
from mlops.monitoring.drift.profile import Knots, Profiled
from mlops.monitoring.drift.rule import rule
from mlops.records import ColumnDrift
from mlops.spec import DriftSpec

COLUMNS_SHARE = (
    0.8  # of the budget is for the values of columns; missing values and the table as a whole halve the rest
)
JUDGED_SHARE = 0.5  # of the columns must be judged before "no drift" is said of all
Verdict = Literal["drift", "no_drift", "cannot_tell"]
Night = Mapping[str, float]  # the distance of a night by question, as `Detection.distances` gave it


@dataclass(frozen=True, slots=True)
class Detection:
    """What was found; the fields are named as those of `DriftReport`."""

    verdict: Verdict
    reason: str
    columns: tuple[ColumnDrift, ...]  # in the order asked for, then missing values and the table as a whole
    share: float  # of the judged columns, drifted
    reference_rows: int
    current_rows: int
    distances: dict[str, float] = field(default_factory=dict)  # of tonight; those after it need them as `nights`
    changed: int | None = None  # the night with which it began, counted in `nights`; len(nights) is tonight

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
    nights: Sequence[Night] = (),
    current_times: Any = None,
    entity: str = "",
    nulls_say_nothing: Sequence[str] = (),
    seed: int = 0,
    known: dict[str, comparisons.Taught | str] | None = None,
    thresholds: bool = True,
    profiles: Mapping[str, Profiled] | None = None,
) -> Detection:
    """Compare current with reference.

    Args:
        reference: rows the champion learned from, shape (n_reference, …).
        current: rows of now, shape (n_current, …); or what is known of them, by column, where they are too many.
        spec: measures, budget and what matters.
        reference_times: shape (n_reference,), when each reference row happened; without zone it is UTC.
        columns: what to compare. Default: the spec's, else all numeric columns of the reference.
        nights: what the same comparison found on earlier nights since the last alarm, in order of time.
        current_times: shape (n_current,); if given, the reference is narrowed down to the same hours and size.
        entity: a column of both tables; if given, the reference is narrowed down to tonight's entities.
        nulls_say_nothing: columns that are null in the reference for another reason than that a value is missing.
        seed: of what is drawn.
        known: an empty dict that keeps what the reference says, for more calls with the same reference and spec.
        thresholds: find the threshold of each column; without them a verdict takes a fraction of the time.
        profiles: of all rows, by column, where `current` is a sample of them; what is joint is asked of the sample.

    Returns:
        One finding per column and the verdict on all. Never raises for data that is missing or odd.
    """
    names = list(columns or spec.columns or reference.select_dtypes(["number", "bool"]).columns)
    counted = profiles or {}
    rows = max(len(current) if isinstance(current, pd.DataFrame) else _rows(current), _rows(counted))
    cut = _windows(reference, current, reference_times, current_times, entity, seed, rows)
    kept = known if not cut.told else None
    sides = {name: counted if name in counted else current for name in names}
    asked = [comparisons.of_column(name, reference, sides[name], cut, spec, kept) for name in names]
    whole = [name for name in names if name not in nulls_say_nothing]
    missing = (comparisons.of_missing(name, reference, sides[name], cut) for name in whole)
    asked += [question for question in missing if question is not None]
    if isinstance(current, pd.DataFrame):
        asked += comparisons.of_table(whole, reference, current, cut, spec, seed)
    enough = min(len(reference), rows) >= spec.min_rows
    judged = [question for question in asked if question.value is not None and enough]
    ruling = rule(judged, nights, spec, thresholds=thresholds)
    told = {
        question.name: _column(question, limit, drifted=bool(drifted))
        for question, limit, drifted in zip(judged, ruling.thresholds, ruling.drifted, strict=True)
    }
    unknown = {
        question.name: ColumnDrift(
            question.name, "cannot_tell", question.method, None, None, question.why or "too few rows"
        )
        for question in asked
    }
    found = tuple((unknown | told)[question.name] for question in asked if not question.silent)
    verdict, reason, share = _all_in_all(found, len(reference), rows, spec, len(names))
    distances = {question.name: question.value for question in judged if question.value is not None}
    return Detection(verdict, reason, found, share, len(reference), rows, distances, ruling.changed)


def knots_of(reference: pd.DataFrame, columns: Sequence[str], reference_times: Any) -> dict[str, Knots]:
    """What to profile current data by, for the columns of the reference that are numbers; see `detect`.

    Args:
        reference: rows the champion learned from.
        columns: what will be compared.
        reference_times: when each reference row happened.
    """
    kept = windows.cut(reference_times).kept
    taught = {name: cols.of_reference(reference, name) for name in columns}
    return {
        name: Knots.of(column.values[kept])
        for name, column in taught.items()
        if isinstance(column, cols.Column) and column.kind == "number"
    }


def _rows(current: Mapping[str, Profiled]) -> int:
    return max((column.profile.rows for column in current.values()), default=0)


def _windows(
    reference: pd.DataFrame,
    current: pd.DataFrame | Mapping[str, Profiled],
    reference_times: Any,
    current_times: Any,
    entity: str,
    seed: int,
    rows: int,
) -> windows.Windows:
    whose = [
        frame[entity] if isinstance(frame, pd.DataFrame) and entity in frame.columns else None
        for frame in (reference, current)
    ]
    return windows.cut(
        reference_times,
        current_times=current_times,
        reference_entities=whose[0],
        current_entities=whose[1],
        current_rows=rows,
        seed=seed,
    )


def _column(question: Comparison, limit: float | None, *, drifted: bool) -> ColumnDrift:
    assert question.value is not None
    told = "any threshold of one night" if limit is None else f"{limit:.3g}"
    side = "reaches" if drifted else "is below"
    days = f"the reference's own days: {np.median(question.usual):.3g}, at most {question.usual.max():.3g}"
    days += f"; most of all {question.where}" if question.where else ""
    verdict: Verdict = "drift" if drifted else "no_drift"
    return ColumnDrift(
        question.name, verdict, question.method, question.value, limit, f"{question.value:.3g} {side} {told}; {days}"
    )


def _all_in_all(
    found: Sequence[ColumnDrift], reference_rows: int, current_rows: int, spec: DriftSpec, asked: int
) -> tuple[Verdict, str, float]:
    for side, rows in (("reference", reference_rows), ("current", current_rows)):
        if rows < spec.min_rows:
            return "cannot_tell", f"{side} has {rows:,} rows, {spec.min_rows:,} are needed.", 0.0
    unjudged = [c for c in found if c.verdict == "cannot_tell"]
    drifted = sorted((c for c in found if c.verdict == "drift"), key=strength, reverse=True)
    judged = len(found) - len(unjudged)
    blind = f" {len(unjudged)} cannot be judged: {_first(unjudged)}." if unjudged else ""
    if not judged:
        return "cannot_tell", f"None of {len(found)} columns can be judged.{blind}", 0.0
    share = len(drifted) / judged
    told = f"{len(drifted)} of {judged} columns moved"
    if drifted:
        told += f", most of all {', '.join(_told(c) for c in drifted[:3])}"
        return "drift", f"{told}.{blind}", share
    if asked - len(unjudged) < JUDGED_SHARE * asked:
        return "cannot_tell", f"Too few columns can be judged to say that nothing moved. {told}.{blind}", share
    return "no_drift", f"{told}.{blind}", share


def strength(column: ColumnDrift) -> float:
    """How far a column is beyond its own threshold."""
    return (column.value or 0.0) / (column.threshold or 1.0)


def _told(column: ColumnDrift) -> str:
    return f"{column.column} ({column.value or 0.0:.2g}, threshold {column.threshold or 0.0:.2g})"


def _first(unjudged: Sequence[ColumnDrift]) -> str:
    shown = "; ".join(f"{c.column} ({c.reason})" for c in unjudged[:3])
    return shown + (f"; and {len(unjudged) - 3} more" if len(unjudged) > 3 else "")

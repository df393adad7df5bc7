"""What has moved and what that does: which entities, and how far the model's answers follow.

The consequence of a column's drift is found by asking the model: rows it has learned from get the column as it is now
(every value replaced by the one of the same rank), all else as it was, and the scores' mean change, in their own
standard deviations, is the consequence. So importance (how far scores follow any change of the column) times shift is
one number with a unit. All drifted columns moved at once give the consequence of the drift.

One rule: attribution comes after the alarm and explains it; nothing here raises one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mlops.monitoring.drift import comparisons, windows
from mlops.monitoring.drift.measures import Floats
from mlops.spec import DriftSpec

FEWEST_ROWS = 10  # of an entity and day: it is described, not tested
_MOST_COLUMNS = 3  # the strongest of them are asked for their entities
_MOST_ENTITIES = 200
_MOST_ROWS = 2_000  # the model is asked about

Score = Callable[[pd.DataFrame], Floats]


@dataclass(frozen=True, slots=True)
class Consequence:
    """What drift does to a model's answers, in standard deviations of the scores.

    Args:
        importance: by column, the mean change of the scores when its values change places.
        effect: by column, the mean change of the scores when it alone is as it is now.
        total: the same for all of them at once; None if the scores do not vary.
    """

    importance: dict[str, float]
    effect: dict[str, float]
    total: float | None


def entities(
    reference: pd.DataFrame,
    current: pd.DataFrame,
    moved: Sequence[str],
    *,
    entity: str,
    reference_times: pd.Series,
    spec: DriftSpec,
) -> dict[str, float]:
    """The entities that lie farther from their own past than on any day of it, by how often they do.

    Args:
        reference: with the entity's column.
        current: likewise.
        moved: names of drifted questions, the strongest first.
        entity: name of the column.
        reference_times: of the reference's rows.
        spec: measures, and what matters.

    Returns:
        Entity to its largest distance over the largest usual one, the strongest first; empty if nothing can be told.
    """
    gentle = spec.model_copy(update={"min_rows": FEWEST_ROWS})
    found: dict[str, float] = {}
    taught, seen = (dict(tuple(frame.groupby(entity, sort=True))) for frame in (reference, current))
    for name in sorted(set(taught) & set(seen), key=str)[:_MOST_ENTITIES]:
        cut = windows.cut(reference_times.loc[taught[name].index])
        for question in moved[:_MOST_COLUMNS]:
            far = _beyond(question, taught[name], seen[name], cut, gentle)
            if far > 1:
                found[str(name)] = max(far, found.get(str(name), 0.0))
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _beyond(
    question: str, reference: pd.DataFrame, current: pd.DataFrame, cut: windows.Windows, spec: DriftSpec
) -> float:
    """Tonight's distance over the largest usual one; 0 if it does not matter or cannot be told."""
    answer: comparisons.Comparison | None
    if question.startswith("missing("):
        answer = comparisons.of_missing(inner(question), reference, current, cut)
    elif question.startswith("joint("):
        return 0.0
    else:
        answer = comparisons.of_column(question, reference, current, cut, spec)
    if answer is None or answer.value is None or answer.value < answer.min_effect:
        return 0.0
    return answer.value / max(float(answer.usual.max()), answer.min_effect / 2, 1e-12)


def inner(question: str) -> str:
    """The column that a question is about.

    >>> inner("missing(pressure)"), inner("pressure")
    ('pressure', 'pressure')
    """
    return question.removeprefix("missing(").removesuffix(")") if question.startswith("missing(") else question


def consequence(
    score: Score,
    reference: pd.DataFrame,
    current: pd.DataFrame,
    moved: Sequence[str],
    *,
    features: Sequence[str],
    rng: np.random.Generator,
) -> Consequence:
    """What the drift of some columns does to the model's answers.

    Args:
        score: the model: rows to scores, NaN where it cannot tell.
        reference: rows with all features.
        current: likewise.
        moved: names of drifted questions.
        features: what the model looks at; other columns have no consequence.
        rng: draws the rows.
    """
    rows = reference.iloc[np.sort(rng.permutation(len(reference))[:_MOST_ROWS])].reset_index(drop=True)
    asked = list(dict.fromkeys(column for column in map(inner, moved) if column in features))
    before = score(rows)
    unit = float(np.nanstd(before)) if np.isfinite(before).any() else 0.0
    if unit <= 0 or not asked:
        return Consequence({}, {}, None if unit <= 0 else 0.0)

    def change(columns: Mapping[str, Any]) -> float:
        after = score(rows.assign(**columns))
        both = np.isfinite(before) & np.isfinite(after)
        return float(np.abs(after - before)[both].mean()) / unit if both.any() else 0.0

    now = {name: as_it_is_now(rows[name], current[name], rng) for name in asked}
    mixed = {name: rows[name].to_numpy()[rng.permutation(len(rows))] for name in asked}
    importance = {name: change({name: mixed[name]}) for name in asked}
    effect = {name: change({name: now[name]}) for name in asked}
    return Consequence(importance, effect, change(now))


def as_it_is_now(taught: pd.Series, seen: pd.Series, rng: np.random.Generator) -> Any:
    """The reference's values of a column replaced by tonight's of the same rank; text is drawn, nulls follow suit."""
    known = seen.dropna()
    nulls = rng.random(len(taught)) < float(seen.isna().mean())
    if pd.api.types.is_numeric_dtype(taught) and not pd.api.types.is_bool_dtype(taught):
        ranks = taught.rank(method="average", pct=True).to_numpy(dtype=float)
        values = np.full(len(taught), np.nan)
        there = np.isfinite(ranks) & ~nulls
        numbers = known.to_numpy(dtype=float)
        numbers = numbers[np.isfinite(numbers)]
        if len(numbers):
            values[there] = np.quantile(numbers, np.clip(ranks[there] - 0.5 / len(taught), 0, 1))
        return values
    if known.empty:
        return np.full(len(taught), None, dtype=object)
    drawn = known.iloc[rng.integers(len(known), size=len(taught))].to_numpy()
    mixed = drawn.astype(object)
    mixed[nulls] = None
    return mixed if nulls.any() else drawn

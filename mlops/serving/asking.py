"""Asking a scorer for rows: itself, or the compiled forms of it.

One rule: both ways take the same rows and give the same columns, so that they can be compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import pandas as pd

from mlops.serving.answers import Answers, from_probabilities, from_table, from_values
from mlops.serving.compiled_form import Floats, Kernel, PlainUnit

MADE_UP = 64  # rows around what a scorer was fitted on


class PlainScorer(Protocol):
    """A fitted scorer, as the registry loads it."""

    @property
    def algorithm(self) -> str: ...
    @property
    def task(self) -> str: ...
    @property
    def features(self) -> tuple[str, ...]: ...
    @property
    def entity(self) -> str: ...
    @property
    def per_entity(self) -> bool: ...
    @property
    def how(self) -> str: ...
    @property
    def threshold(self) -> float | None: ...
    @property
    def classes(self) -> tuple[Any, ...]: ...
    @property
    def units(self) -> Mapping[Any, PlainUnit]: ...
    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Scores and what follows from them."""


def plainly(scorer: PlainScorer, rows: Floats, entities: Sequence[Any]) -> Answers:
    """What the scorer itself says of rows, shape (n, features), NaN where not known."""
    frame = pd.DataFrame(rows, columns=list(scorer.features))
    if scorer.per_entity:
        frame[scorer.entity] = list(entities)
    return from_table(scorer.predict(frame), scorer.classes, scorer.threshold)


def by_forms(scorer: PlainScorer, forms: Mapping[Any, Kernel], rows: Floats, entities: Sequence[Any]) -> Answers:
    """What its compiled forms, by entity or under None, say of them."""
    if not scorer.per_entity:
        values = forms[None](rows)
    else:
        values = np.full((len(rows), max(1, len(scorer.classes))), np.nan)
        for i, entity in enumerate(entities):
            if (form := forms.get(entity)) is not None:
                values[i] = form(rows[i : i + 1])[0]
    if scorer.task == "classification":
        return from_probabilities(values, scorer.classes, scorer.threshold)
    return from_values(values, scorer.threshold)


def as_rows(scorer: PlainScorer, frame: pd.DataFrame) -> tuple[Floats, list[Any]]:
    """The rows of a table, C-contiguous, infinite values as not known; and whose they are."""
    values = frame[list(scorer.features)].to_numpy(dtype=np.float64, na_value=np.nan)
    entities = frame[scorer.entity].tolist() if scorer.per_entity else [None] * len(frame)
    return np.ascontiguousarray(np.where(np.isinf(values), np.nan, values)), entities


def made_up(scorer: PlainScorer) -> tuple[Floats, list[Any]]:
    """Rows around the medians of each unit and far away from them, some with nothing or little known."""
    parts: list[Floats] = []
    entities: list[Any] = []
    rng = np.random.default_rng(0)
    count = max(8, MADE_UP // max(1, len(scorer.units)))
    for name, unit in scorer.units.items():
        width = 3 * rng.standard_cauchy(size=(count, len(scorer.features))).clip(-50, 50)
        made = unit.medians + width * unit.spread
        made[rng.uniform(size=made.shape) < 0.1] = np.nan
        made[0], made[1, 1:] = np.nan, np.nan
        parts.append(made)
        entities += [name] * count
    rows = np.concatenate(parts)
    return np.ascontiguousarray(np.where(np.isinf(rows), np.nan, rows)), entities

"""What a model answers for rows, as columns: score, flag, label, probabilities.

One rule: from equal numbers it makes what the plain scorer's `predict` makes; a row that cannot be judged has None.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any

import numpy as np
import pandas as pd

from mlops.serving.compiled_form import Floats


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers for n rows."""

    score: list[float]  # NaN: cannot tell
    threshold: float | None
    flag: list[bool | None] | None = None  # None: the model does not flag
    label: list[Any] | None = None  # classification
    probabilities: list[list[float]] | None = None  # classification: by class, in the order of `classes`

    def part(self, start: int, stop: int) -> Answers:
        """Those of some rows."""
        return Answers(
            self.score[start:stop],
            self.threshold,
            self.flag[start:stop] if self.flag is not None else None,
            self.label[start:stop] if self.label is not None else None,
            self.probabilities[start:stop] if self.probabilities is not None else None,
        )


def from_values(values: Floats, threshold: float | None) -> Answers:
    """Answers of a detector or a regressor, from shape (n, 1)."""
    score = values[:, 0].tolist()
    return Answers(score, threshold, _flags(score, threshold))


def from_probabilities(values: Floats, classes: Sequence[Any], threshold: float | None) -> Answers:
    """Answers of a classifier, from shape (n, classes)."""
    rows = values.tolist()
    binary = len(classes) == 2
    score = [row[1] if binary else max(row) for row in rows]
    flag = _flags(score, threshold) if binary else None
    if binary and threshold is not None:
        label = [None if isnan(s) else classes[s > threshold] for s in score]
    else:
        best = np.nan_to_num(values).argmax(axis=1).tolist()
        label = [None if isnan(s) else classes[i] for s, i in zip(score, best, strict=True)]
    return Answers(score, threshold, flag, label, rows)


def from_table(table: pd.DataFrame, classes: Sequence[Any], threshold: float | None) -> Answers:
    """Answers as the plain scorer's `predict` gives them."""
    flag = [None if pd.isna(f) else bool(f) for f in table["flag"]] if "flag" in table else None
    label = [None if pd.isna(each) else each for each in table["label"].tolist()] if "label" in table else None
    columns = [f"proba_{name:g}" if isinstance(name, float) else f"proba_{name}" for name in classes]
    probabilities = table[columns].to_numpy(dtype=np.float64).tolist() if "label" in table else None
    return Answers(table["score"].to_numpy(dtype=np.float64).tolist(), threshold, flag, label, probabilities)


def difference(found: Answers, expected: Answers) -> float:
    """The largest distance between scores and probabilities, relative above 1; infinite if anything else differs."""
    if found.flag != expected.flag or found.label != expected.label:
        return float("inf")
    largest = 0.0
    for ours, theirs in ((found.score, expected.score), (found.probabilities, expected.probabilities)):
        a, b = np.asarray(ours, dtype=np.float64), np.asarray(theirs, dtype=np.float64)
        if a.shape != b.shape or (np.isnan(a) != np.isnan(b)).any():
            return float("inf")
        with np.errstate(invalid="ignore"):  # infinity less infinity
            away = np.where(a == b, 0.0, np.abs(a - b) / np.maximum(1.0, np.abs(b)))
        largest = max(largest, float(np.nanmax(away, initial=0.0)))
    return largest


def _flags(score: list[float], threshold: float | None) -> list[bool | None] | None:
    if threshold is None:
        return None
    return [None if isnan(s) else s > threshold for s in score]

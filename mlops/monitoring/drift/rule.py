"""From answers to a verdict: an alarm within the budget, and the names of what has moved.

The weighted mean of the evidence on all questions decides on the alarm: it is an e-detector as each of them is, so the
budget is kept whatever the dependence between columns. Only questions whose distance matters tonight count. When the
alarm is raised, those are named whose distance tonight is a discovery among all, and that with most evidence.

One rule: a question is named exactly if its distance reaches its threshold.

References:
    Vovk, V. and Wang, R. (2021), E-values: calibration, combination and applications, proposition 3.1 (the mean).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from mlops.monitoring.drift import evidence
from mlops.monitoring.drift.comparisons import Comparison
from mlops.monitoring.drift.measures import Floats
from mlops.spec import DriftSpec

COLUMNS_SHARE = (
    0.8  # of the budget is for the values of columns; missing values and the table as a whole halve the rest
)


@dataclass(frozen=True, eq=False)
class _Question:
    """A question with what is needed to ask it of another distance."""

    asked: Comparison
    usual: Floats  # scaled
    earlier: Floats  # likewise, of the nights before
    resemblance: float
    weight: float

    @property
    def value(self) -> float:
        return self.asked.value or 0.0

    @property
    def matters(self) -> bool:
        return self.value >= self.asked.min_effect and self.value > 0

    def scaled(self, distance: float) -> float:
        return float(evidence.scaled(np.array([distance]), self.asked.usual, self.asked.min_effect)[0])

    def by_night(self, distance: float) -> Floats:
        nights = np.append(self.earlier, self.scaled(distance))
        return evidence.by_change(self.usual, nights, self.resemblance)

    def gathered(self, distance: float) -> float:
        """Its part of the mean evidence: a logarithm."""
        return evidence.in_all(self.by_night(distance)) + math.log(self.weight)

    def pvalue(self, distance: float) -> float:
        return evidence.tail(self.usual, self.scaled(distance), self.resemblance)


@dataclass(frozen=True, slots=True)
class Ruling:
    """What was decided on tonight's questions.

    Args:
        drifted: shape (n_questions,), whether each is named; none unless the alarm is raised.
        thresholds: the distance from which each is or would have been named; None: none would be enough.
        changed: the night with which it began, counted in the nights before; their number is tonight. None: no alarm.
    """

    drifted: npt.NDArray[np.bool_]
    thresholds: tuple[float | None, ...]
    changed: int | None


def rule(
    asked: Sequence[Comparison],
    nights: Sequence[Mapping[str, float]],
    spec: DriftSpec,
    *,
    thresholds: bool = True,
) -> Ruling:
    """Decide.

    Args:
        asked: questions that have a value.
        nights: distances of the nights before by name, since the last alarm, in order of time.
        spec: the budget, the false discovery rate.
        thresholds: find them; most of the time goes there.
    """
    questions = _questions(asked, nights)
    parts = np.array([question.gathered(question.value) for question in questions])
    matters = np.array([question.matters for question in questions], dtype=bool)
    budget = math.log(evidence.level(spec.false_alarms_per_month))
    if not matters.any() or _sum(parts[matters]) < budget:
        counted = np.where(matters, parts, -np.inf)
        limits = [
            _alone(question, _sum(np.delete(counted, place)), budget)
            if thresholds and not question.asked.silent
            else None
            for place, question in enumerate(questions)
        ]
        return Ruling(np.zeros(len(questions), dtype=bool), tuple(limits), None)
    surprising = evidence.discoveries(np.array([q.pvalue(q.value) for q in questions]), spec.false_discovery_rate)
    most = float(parts[matters].max())
    enough = [_named(question, surprising, most) for question in questions]
    drifted = np.array([q.matters and is_enough(q.value) for q, is_enough in zip(questions, enough, strict=True)])
    limits = [
        evidence.threshold(is_enough, q.value, q.asked.min_effect) if thresholds and not q.asked.silent else None
        for q, is_enough in zip(questions, enough, strict=True)
    ]
    moved = [q.by_night(q.value) for q, is_named in zip(questions, drifted, strict=True) if is_named]
    return Ruling(drifted, tuple(limits), int(np.argmax(np.sum(np.maximum(moved, -50.0), axis=0))))


def _questions(asked: Sequence[Comparison], nights: Sequence[Mapping[str, float]]) -> list[_Question]:
    usual = [evidence.scaled(question.usual, question.usual, question.min_effect) for question in asked]
    levels = [question.levels if len(question.levels) else question.usual for question in asked]
    found = []
    for question, ordinary, alike, weight in zip(asked, usual, evidence.memory(levels), _weights(asked), strict=True):
        before = np.array([night.get(question.name, np.nan) for night in nights], dtype=float)
        earlier = evidence.scaled(before, question.usual, question.min_effect)
        found.append(_Question(question, ordinary, earlier, float(alike), weight))
    return found


def _weights(asked: Sequence[Comparison]) -> list[float]:
    """Each question's share of the budget; they add up to 1."""
    groups = [question.name.partition("(")[0] if question.aside else "" for question in asked]
    share = {group: COLUMNS_SHARE if not group else (1 - COLUMNS_SHARE) / 2 for group in groups}
    return [share[group] / sum(share.values()) / groups.count(group) for group in groups]


def _sum(parts: Floats) -> float:
    """The logarithm of a sum of what has these logarithms."""
    return evidence.in_all(np.asarray(parts, dtype=float))


def _alone(question: _Question, others: float, budget: float) -> float | None:
    """The distance with which this question would have raised the alarm, the others being what they are."""
    needed = budget if others == -math.inf else math.log(max(math.exp(budget) - math.exp(others), 1e-300))

    @cache
    def enough(distance: float) -> bool:
        return question.gathered(distance) >= needed

    return evidence.threshold(enough, question.value, question.asked.min_effect)


def _named(question: _Question, surprising: float, most: float) -> Callable[[float], bool]:
    """Which distances this question is named for, when the alarm is raised."""

    @cache
    def enough(distance: float) -> bool:
        return question.pvalue(distance) <= surprising or question.gathered(distance) >= most

    return enough

"""A version that answers: the compiled form of its scorer where that was proven equal, else the scorer itself.

A predictor is built once, warmed and proven on golden rows before anybody is answered by it, and never changed.

One rule: the compiled form serves only if on every golden row it says what the plain scorer says.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import pandas as pd

from mlops.errors import RegistryError
from mlops.records import ModelVersion
from mlops.serving.answers import Answers, difference, from_probabilities, from_table, from_values
from mlops.serving.compiled import compiled
from mlops.serving.compiled_rows import Floats, Kernel, NotCompiledError, PlainUnit

TOLERANCE = 1e-9  # of scores, relative above 1: sums that libraries add in another order
SYNTHETIC = 64  # golden rows made up around what the scorer was fitted on


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


@dataclass(frozen=True)
class Predictor:
    """A loaded version. Use `Predictor.of`.

    Args:
        version: which.
        scorer: its plain scorer.
        kernels: compiled forms by entity, or under None; empty: the plain scorer answers.
        reason: why the plain scorer answers; "" if it does not.
        largest_difference: between compiled and plain on the golden rows.
        golden_rows: how many were asked.
        row_seconds: what one row takes [s].
    """

    version: ModelVersion
    scorer: PlainScorer
    kernels: Mapping[Any, Kernel] = field(default_factory=dict, repr=False)
    reason: str = ""
    largest_difference: float = 0.0
    golden_rows: int = 0
    row_seconds: float = 0.0

    @classmethod
    def of(cls, version: ModelVersion, scorer: PlainScorer, golden: pd.DataFrame | None = None) -> Predictor:
        """A predictor that is warm and proven.

        Args:
            version: which.
            scorer: as the registry has loaded it, after its signature was verified.
            golden: rows that it must answer, with its features and, if it has a model per entity, the entity; rows made
                up around its medians are added.

        Raises:
            RegistryError: it does not answer the golden rows.
        """
        rows, entities = _golden(scorer, golden)
        plain = cls(version, scorer, golden_rows=len(rows))
        try:
            expected = plain.answers(rows, entities)
        except Exception as error:
            raise RegistryError(
                f"{version.model} version {version.version} does not answer {len(rows)} golden rows: "
                f"{type(error).__name__}: {error}",
                hint="Train it again, or roll back to another version.",
            ) from error
        _refuse_silence(version, rows, expected)
        kernels, reason, distance = _proven(scorer, rows, entities, expected)
        made = cls(version, scorer, kernels, reason, distance, len(rows))
        return cls(version, scorer, kernels, reason, distance, len(rows), _timed(made, rows[:1], entities[:1]))

    @property
    def compiled(self) -> bool:
        """Whether the compiled form answers."""
        return bool(self.kernels)

    def knows(self, entity: Any) -> bool:
        """Whether it has a model for an entity."""
        return not self.scorer.per_entity or entity in self.scorer.units

    def answers(self, rows: Floats, entities: Sequence[Any]) -> Answers:
        """What it says of rows.

        Args:
            rows: shape (n, features), NaN where not known, never infinite; C-contiguous.
            entities: shape (n,), used if it has a model per entity.
        """
        scorer = self.scorer
        if not self.kernels:
            frame = pd.DataFrame(rows, columns=list(scorer.features))
            if scorer.per_entity:
                frame[scorer.entity] = list(entities)
            return from_table(scorer.predict(frame), scorer.classes, scorer.threshold)
        values = self._by_entity(rows, entities) if scorer.per_entity else self.kernels[None](rows)
        if scorer.task == "classification":
            return from_probabilities(values, scorer.classes, scorer.threshold)
        return from_values(values, scorer.threshold)

    def contributions(self, rows: Floats, entities: Sequence[Any]) -> Floats:
        """How much the score of each row is above what it would be if one feature were at its median.

        Returns:
            shape (n, features); NaN where the score is.
        """
        n, d = rows.shape
        every = np.repeat(rows, d + 1, axis=0).reshape(n, d + 1, d)
        for i in range(n):
            unit = self.scorer.units.get(entities[i] if self.scorer.per_entity else None)
            if unit is not None:
                every[i, np.arange(d), np.arange(d)] = unit.medians
        whose = [entity for entity in entities for _ in range(d + 1)]
        score = np.array(self.answers(np.ascontiguousarray(every.reshape(-1, d)), whose).score).reshape(n, d + 1)
        return np.asarray(score[:, -1:] - score[:, :-1], dtype=np.float64)

    def _by_entity(self, rows: Floats, entities: Sequence[Any]) -> Floats:
        values = np.full((len(rows), max(1, len(self.scorer.classes))), np.nan)
        for i, entity in enumerate(entities):
            if (kernel := self.kernels.get(entity)) is not None:
                values[i] = kernel(rows[i : i + 1])[0]
        return values


def _proven(
    scorer: PlainScorer, rows: Floats, entities: Sequence[Any], expected: Answers
) -> tuple[Mapping[Any, Kernel], str, float]:
    """Compiled forms that answer as expected; none, with the reason, if there are none or they do not."""
    try:
        kernels = {name: compiled(unit, scorer.how, scorer.classes) for name, unit in scorer.units.items()}
    except NotCompiledError as error:
        return {}, str(error), 0.0
    candidate = Predictor(_NOBODY, scorer, kernels)
    distance = difference(candidate.answers(rows, entities), expected)
    if distance > TOLERANCE:
        return {}, f"its compiled form differs by {distance:.3g} on {len(rows)} golden rows", distance
    return kernels, "", distance


def _golden(scorer: PlainScorer, given: pd.DataFrame | None) -> tuple[Floats, list[Any]]:
    """Golden rows: those given, and for each unit rows around its medians, some with nothing or little known."""
    parts: list[Floats] = []
    entities: list[Any] = []
    if given is not None and len(given):
        parts.append(given[list(scorer.features)].to_numpy(dtype=np.float64, na_value=np.nan))
        entities += given[scorer.entity].tolist() if scorer.per_entity else [None] * len(given)
    rng = np.random.default_rng(0)
    count = max(8, SYNTHETIC // max(1, len(scorer.units)))
    for name, unit in scorer.units.items():
        width = 3 * rng.standard_cauchy(size=(count, len(scorer.features))).clip(-50, 50)
        made = unit.medians + width * unit.spread
        made[rng.uniform(size=made.shape) < 0.1] = np.nan
        made[0], made[1, 1:] = np.nan, np.nan
        parts.append(made)
        entities += [name] * count
    rows = np.concatenate(parts)
    return np.ascontiguousarray(np.where(np.isinf(rows), np.nan, rows)), entities


def _refuse_silence(version: ModelVersion, rows: Floats, expected: Answers) -> None:
    """A version that has no finite score for rows of which something is known must not take over."""
    known = ~np.isnan(rows).all(axis=1)
    silent = int((known & ~np.isfinite(np.asarray(expected.score))).sum())
    if silent > 0.5 * known.sum():
        raise RegistryError(
            f"{version.model} version {version.version} has no finite score for {silent} of {int(known.sum())} golden "
            "rows.",
            hint="Train it again, or roll back to another version.",
        )


def _timed(predictor: Predictor, rows: Floats, entities: Sequence[Any]) -> float:
    """The least time of some calls with one row [s]; the first ones warm up."""
    best = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        predictor.answers(rows, entities)
        best = min(best, time.perf_counter() - began)
    return best


_NOBODY = ModelVersion("", 0, "", "", "", "", "", "")

"""A version that answers: the compiled form of its scorer where that was proven equal, else the scorer itself.

A predictor is built once, warmed and proven on golden rows before anybody is answered by it, and never changed.

One rule: the compiled form serves only if a signed proof names it, and here, too, it says of every golden row what the
plain scorer says.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from mlops.errors import RegistryError
from mlops.records import ModelVersion
from mlops.serving.answers import Answers, difference
from mlops.serving.asking import PlainScorer, as_rows, by_forms, made_up, plainly
from mlops.serving.compiled_form import Floats, Kernel, NotCompiledError
from mlops.serving.compiled_proof import LIMIT, Proof, proven


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
        proof: that its compiled form is equal, as it was signed with the version.
    """

    version: ModelVersion
    scorer: PlainScorer
    kernels: Mapping[Any, Kernel] = field(default_factory=dict, repr=False)
    reason: str = ""
    largest_difference: float = 0.0
    golden_rows: int = 0
    row_seconds: float = 0.0
    proof: Proof = field(default_factory=Proof)

    @classmethod
    def of(
        cls, version: ModelVersion, scorer: PlainScorer, golden: pd.DataFrame | None = None, *, proof: Proof
    ) -> Predictor:
        """A predictor that is warm and proven.

        Args:
            version: which.
            scorer: as the registry has loaded it, after its signature was verified.
            golden: rows that it must answer, with its features and, if it has a model per entity, the entity; rows made
                up around its medians are added.
            proof: of its compiled form, from the verified files of the version.

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
        kernels, reason, distance = _kernels(scorer, proof, rows, entities, expected)
        made = cls(version, scorer, kernels, reason, distance, len(rows), proof=proof)
        return dataclasses.replace(made, row_seconds=_timed(made, rows[:1], entities[:1]))

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
        if self.kernels:
            return by_forms(self.scorer, self.kernels, rows, entities)
        return plainly(self.scorer, rows, entities)

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


def _kernels(
    scorer: PlainScorer, proof: Proof, rows: Floats, entities: Sequence[Any], expected: Answers
) -> tuple[Mapping[Any, Kernel], str, float]:
    """Compiled forms that were proven and answer as expected here; none, with the reason, if there are none."""
    try:
        forms = proven(scorer, proof)
    except NotCompiledError as error:
        return {}, str(error), 0.0
    distance = difference(by_forms(scorer, forms, rows, entities), expected)
    if distance > LIMIT:
        return {}, f"its compiled form differs by {distance:.3g} on {len(rows)} golden rows", distance
    return forms, "", distance


def _golden(scorer: PlainScorer, given: pd.DataFrame | None) -> tuple[Floats, list[Any]]:
    """Golden rows: those given, and rows made up."""
    rows, entities = made_up(scorer)
    if given is None or given.empty:
        return rows, entities
    known, whose = as_rows(scorer, given)
    return np.concatenate([known, rows]), [*whose, *entities]


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

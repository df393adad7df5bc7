"""The proof that a compiled form answers as its scorer does: made before its version is registered, signed with it.

It names the form by a digest of its numbers, and says on how many validation rows the two were compared and how far
apart they were. A loaded version is compiled anew, from files that were verified, and must come to the numbers named.

One rule: no compiled form serves without a proof that names it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

import pandas as pd

from mlops.errors import RegistryError
from mlops.records import from_dict, to_dict
from mlops.serving.answers import difference
from mlops.serving.asking import PlainScorer, as_rows, by_forms, made_up, plainly
from mlops.serving.compiled import compiled
from mlops.serving.compiled_form import Form, NotCompiledError

FILE = "compiled.json"  # among the files of a version
LIMIT = 1e-9  # of scores and probabilities, relative above 1: sums that libraries add in another order
_AT_ONCE = 10_000  # rows


@dataclass(frozen=True, slots=True)
class Proof:
    """What came out when the compiled form of a scorer was held against the scorer."""

    form: str = ""  # digest of the form that may serve; "": none may
    rows: int = 0  # validation rows that both answered, beside those made up
    largest_difference: float | None = None  # of scores and probabilities, relative above 1; None: not comparable
    limit: float = LIMIT
    reason: str = ""  # why the plain scorer serves; "": it does not

    @property
    def to_json(self) -> bytes:
        """As it is kept; equal proofs have equal bytes."""
        return json.dumps(to_dict(self), sort_keys=True, indent=1, allow_nan=False).encode()

    @classmethod
    def of(cls, data: bytes | None, name: str) -> Proof:
        """The proof that was kept with a version.

        Args:
            data: of its file; None: there is none.
            name: of the version, for people.

        Raises:
            RegistryError: it is no proof.
        """
        if data is None:
            return cls(reason="it was registered without a proof that its compiled form answers as it does")
        try:
            return from_dict(cls, json.loads(data))
        except ValueError as error:
            raise RegistryError(f"{name}: its {FILE} cannot be read: {error}", hint="Train it again.") from error


def prove(scorer: PlainScorer, validation: pd.DataFrame) -> Proof:
    """Compile a fitted scorer and hold the form against it.

    Args:
        scorer: fitted, with its threshold.
        validation: rows that it has not learned from: features and, if it has a model per entity, the entity.
    """
    try:
        forms = forms_of(scorer)
    except NotCompiledError as error:
        return Proof(reason=str(error))
    if validation.empty:
        return Proof(reason="there were no validation rows to prove its compiled form on")
    parts = (validation.iloc[start : start + _AT_ONCE] for start in range(0, len(validation), _AT_ONCE))
    try:
        largest = _apart(scorer, forms, *made_up(scorer))
        for part in parts:
            largest = max(largest, _apart(scorer, forms, *as_rows(scorer, part)))
    except Exception as error:  # noqa: BLE001 - whatever a kernel stumbles over, the scorer itself can answer
        return Proof(reason=f"its compiled form fails: {type(error).__name__}: {error}".partition("\n")[0])
    if largest > LIMIT:
        apart = f"differs by {largest:.3g}" if isfinite(largest) else "flags, labels or misses other rows"
        reason = f"its compiled form {apart} on {len(validation):,} validation rows"
        return Proof("", len(validation), largest if isfinite(largest) else None, LIMIT, reason)
    return Proof(digest_of(scorer, forms), len(validation), largest)


def proven(scorer: PlainScorer, proof: Proof) -> Mapping[Any, Form]:
    """The compiled forms that a proof speaks of, by entity, or under None.

    Raises:
        NotCompiledError: there are none; the message says why the plain scorer serves.
    """
    if proof.reason or not proof.form:
        raise NotCompiledError(proof.reason or "its proof names no compiled form")
    forms = forms_of(scorer)
    if digest_of(scorer, forms) != proof.form:
        raise NotCompiledError("its compiled form is not the one that was proven when it was registered")
    return forms


def forms_of(scorer: PlainScorer) -> dict[Any, Form]:
    """The compiled forms of a scorer's units; a NotCompiledError if one has none."""
    return {name: compiled(unit, scorer.how, scorer.classes) for name, unit in scorer.units.items()}


def digest_of(scorer: PlainScorer, forms: Mapping[Any, Form]) -> str:
    """sha256 over the forms' numbers, whose they are, and what they stand for."""
    whole = [[str(name), type(scorer.units[name].estimator).__name__, form.digest] for name, form in forms.items()]
    return hashlib.sha256(json.dumps([scorer.task, scorer.how, whole]).encode()).hexdigest()


def _apart(scorer: PlainScorer, forms: Mapping[Any, Form], rows: Any, entities: list[Any]) -> float:
    return difference(by_forms(scorer, forms, rows, entities), plainly(scorer, rows, entities))

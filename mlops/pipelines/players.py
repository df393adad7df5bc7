"""A version that is judged, and what the gates say of it as a thing that is served.

One rule: what is judged is what is stored: its size, its proof, the scorer that its files hold.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from mlops.models import gates
from mlops.models.scoring import Scorer
from mlops.records import GateResult, ModelVersion
from mlops.serving.compiled_proof import Proof, prove
from mlops.spec import ModelSpec

LATENCY_CALLS = 30


@dataclass(frozen=True)
class Player:
    """A version and its scorer.

    Args:
        version: who is judged.
        scorer: what was loaded.
        stored_bytes: size of all its files, as they are stored and signed; None: it is not stored, its pickle counts.
        proof: of its compiled form, as it is stored and signed; None: it is not stored.
    """

    version: ModelVersion
    scorer: Scorer
    stored_bytes: int | None = None
    proof: Proof | None = None

    @cached_property
    def megabytes(self) -> float:
        """Its size [MB]."""
        size = gates.serialised_bytes(self.scorer) if self.stored_bytes is None else self.stored_bytes
        return size / 1e6


def as_served(spec: ModelSpec, challenger: Player, champion: Player | None, holdout: pd.DataFrame) -> list[GateResult]:
    """Signature, compiled form, latency and size."""
    return [
        gates.signature_unchanged(
            challenger.scorer.features,
            champion.scorer.features if champion else None,
            classes=challenger.scorer.classes,
            champion_classes=champion.scorer.classes if champion else (),
            declared=spec.gates.signature_changes,
        ),
        _compiled(challenger, holdout),
        gates.latency(_milliseconds(challenger.scorer, holdout), limit=spec.gates.max_row_latency_ms),
        gates.size(challenger.megabytes, champion.megabytes if champion else None, limit=spec.gates.max_size_mb),
    ]


def _compiled(challenger: Player, holdout: pd.DataFrame) -> GateResult:
    """The form that was proven when the version was registered, proven anew on the files that are judged."""
    signed = challenger.proof or Proof(reason="it is not stored")
    if signed.reason:
        return gates.compiled_equals_plain(
            signed.largest_difference, signed.rows, limit=signed.limit, plain_because=signed.reason
        )
    found = prove(challenger.scorer, holdout)
    other = "" if found.form == signed.form else "it is not the form that is named"
    return gates.compiled_equals_plain(
        found.largest_difference, found.rows, limit=found.limit, problem=found.reason or other
    )


def _milliseconds(scorer: Scorer, rows: pd.DataFrame) -> list[float]:
    """Time of calls with one row, the first left out."""
    spent = []
    for i in range(min(LATENCY_CALLS, len(rows))):
        row = rows.iloc[[i]]
        started = time.perf_counter()
        scorer.score(row)
        spent.append(1_000 * (time.perf_counter() - started))
    return spent[1:]

"""The evidence a promotion stands on: all gates with their numbers, sealed, and as a page that a person reads.

One rule: equal evidence has equal bytes, so that the hash in the ledger speaks for every number in it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlops.models.evidence_page import page
from mlops.records import GateDecision, ModelVersion, TrainingSet, to_dict


@dataclass(frozen=True, slots=True)
class Evidence:
    """The bundle of one decision."""

    facts: dict[str, Any]  # JSON: `decision` (without its own hash and address), who, on what, by which settings, code
    hash: str  # sha256 over the canonical JSON of `facts`
    html: bytes  # the same as one self-contained page, UTF-8


def bundle(
    decision: GateDecision,
    *,
    challenger: ModelVersion,
    training_set: TrainingSet,
    champion: ModelVersion | None = None,
    settings: Mapping[str, Any] | None = None,
    code: Mapping[str, str] | None = None,
) -> Evidence:
    """The evidence of a decision.

    Args:
        decision: what the gates said; hash and address of the evidence are left out of it.
        challenger: the version that was judged.
        training_set: what it was trained and judged on.
        champion: the version it was judged against.
        settings: of the gates.
        code: what judged: `version` (the commit) and `gates` (hash of the files).
    """
    bare = dataclasses.replace(decision, evidence_uri="", evidence_hash="")
    # Where a version stands, and whether it was made or found, changes afterwards; what it is does not.
    judged = dataclasses.replace(challenger, stage="development", reused=False)
    facts = {
        "decision": to_dict(bare),
        "challenger": to_dict(judged),
        "champion": {"version": champion.version, "digest": champion.digest} if champion else None,
        "training_set": to_dict(training_set),
        "settings": dict(settings or {}),
        "code": dict(code or {}),
    }
    sealed = evidence_hash(facts)
    return Evidence(facts, sealed, page(decision, facts, sealed))


def evidence_hash(facts: dict[str, Any]) -> str:
    """sha256 over canonical JSON (keys sorted, no blanks), so that what is read back from storage can be checked."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

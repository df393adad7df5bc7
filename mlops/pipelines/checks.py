"""What must hold at the moment of a promotion, each with its reason in words.

Between a decision and the move that it allows lie minutes or days. So nothing is taken for granted: the evidence is
read again and its hash computed anew, the files of the version are verified, and the champion must be the one it was
judged against. The same checks are what `mlops promote --dry-run` shows.

One rule: checks read and never write.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from mlops.errors import RegistryError
from mlops.governance import champions as history
from mlops.governance.ledger import Entry
from mlops.models.evidence import evidence_hash
from mlops.models.moves import LEGAL_MOVES
from mlops.pipelines import approval
from mlops.pipelines.champions import Standing
from mlops.pipelines.judged import Judged
from mlops.records import ModelVersion, Verdict, to_dict
from mlops.services import Services
from mlops.spec import ModelSpec


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must hold, and whether it does."""

    name: str
    verdict: Verdict
    reason: str


def verdict_of(checks: tuple[Check, ...]) -> Verdict:
    """fail if one fails, else cannot_tell if one cannot tell, else pass."""
    found = {check.verdict for check in checks}
    return "fail" if "fail" in found else "cannot_tell" if "cannot_tell" in found else "pass"


def check_all(
    services: Services, spec: ModelSpec, judged: Judged, where: Standing, done: Entry | None
) -> tuple[Check, ...]:
    """Every check of a promotion.

    Args:
        services: the adapters.
        spec: the model.
        judged: the decision to act on.
        where: who is champion.
        done: the entry that completed this very promotion before, if one did.
    """
    version = services.registry.find(spec.name, judged.version)
    found = [_gates(judged), _evidence(judged)]
    if version is None:
        found.append(Check("version", "fail", f"Version {judged.version} does not exist any more."))
    else:
        found += [_digest(judged, version), _signature(services, version), _stage(version)]
    alive = where.version is not None and services.registry.exists(spec.name, where.version)
    found += [_champion(judged, where, alive=alive), _alias(where, alive=alive), _first_time(judged, where, done)]
    if spec.promotion.approval == "people":
        found.append(_approval(services, spec, judged, where))
    return tuple(found)


def check_champion(where: Standing) -> tuple[Check, ...]:
    """What is left to ask of a version that is champion already: whether the registry says so, too."""
    assert where.reign is not None
    words = f"Version {where.version} is the champion already, since {where.reign.from_at:%Y-%m-%d %H:%M} UTC."
    return Check("champion", "pass", words), _alias(where, alive=True)


def _gates(judged: Judged) -> Check:
    decision = judged.decision
    if decision.verdict == "pass":
        return Check("gates", "pass", f"All {len(decision.gates)} gates passed.")
    words = "; ".join(decision.reasons)
    return Check("gates", "fail", f"Version {decision.version} did not pass its gates: {words}")


def _evidence(judged: Judged) -> Check:
    """The decision is the one that its sealed evidence holds, and the seal is unbroken."""
    decision = judged.decision
    bare = to_dict(dataclasses.replace(decision, evidence_uri="", evidence_hash=""))
    if evidence_hash(judged.facts) != decision.evidence_hash or judged.facts.get("decision") != bare:
        words = f"The evidence of version {decision.version} is not what was sealed. Validate it again."
        return Check("evidence", "fail", words)
    return Check("evidence", "pass", f"Its hash is {decision.evidence_hash[:12]}…, as sealed.")


def _digest(judged: Judged, version: ModelVersion) -> Check:
    if version.digest != judged.decision.digest:
        words = f"Version {version.version} is not what was judged: its digest differs. Validate it again."
        return Check("digest", "fail", words)
    return Check("digest", "pass", f"The version that was judged has digest {version.digest[:12]}….")


def _signature(services: Services, version: ModelVersion) -> Check:
    try:
        key_id = services.registry.verify(version)
    except RegistryError as error:
        return Check("signature", "fail", f"Its files do not verify: {error}")
    return Check("signature", "pass", f"Key {key_id} vouches for all its files.")


def _stage(version: ModelVersion) -> Check:
    if version.stage == "development":
        words = f"Version {version.version} is in development: its validation was not completed. Validate it again."
        return Check("stage", "fail", words)
    if version.stage not in LEGAL_MOVES:
        words = f"Version {version.version} is in no stage ({version.stage}): somebody changed its tags."
        return Check("stage", "fail", f"{words} Run: mlops reconcile {version.model}")
    return Check("stage", "pass", f"From {version.stage} it may move to production.")


def _champion(judged: Judged, where: Standing, *, alive: bool) -> Check:
    """The champion is the one that the version was judged against. A champion that was deleted counts as none."""
    current = where.version if alive else None
    against = judged.decision.champion_version
    if current == against:
        words = f"Version {current} is champion, as when it was judged." if current else "There is no champion yet."
        return Check("champion", "pass", words)
    opponent = f"version {against}" if against else "no champion"
    now = f"version {current} is champion now" if current else "there is none now"
    words = f"Version {judged.version} was judged against {opponent}, but {now}; validate again."
    return Check("champion", "fail", words)


def _alias(where: Standing, *, alive: bool) -> Check:
    expected = where.version if alive else None
    if where.alias == expected:
        return Check("alias", "pass", "Alias and ledger agree." if expected else "No alias is set, as it should be.")
    points = f"points to version {where.alias}" if where.alias else "is gone"
    names = f"version {expected}" if expected else "no champion"
    words = f"The alias champion {points}, the ledger says {names}. Run: mlops reconcile {where.model}"
    return Check("alias", "fail", words)


def _first_time(judged: Judged, where: Standing, done: Entry | None) -> Check:
    """What people or time have taken out of production does not come back by itself."""
    version = judged.version
    back = f"To bring it back: mlops rollback {where.model} --to {version}"
    if version in history.rolled_away(where.reigns):
        return Check("history", "fail", f"Version {version} was champion and rolled away from. {back}")
    if done is not None:
        return Check("history", "fail", f"Version {version} was promoted before and displaced since. {back}")
    return Check("history", "pass", "It was not taken out of production before.")


def _approval(services: Services, spec: ModelSpec, judged: Judged, where: Standing) -> Check:
    state = approval.state(services, spec, judged.decision, where.entries)
    if state is None:
        rules = spec.promotion
        words = f"Nobody has been asked yet; {rules.approvers} of {rules.role} must approve."
        return Check("approval", "cannot_tell", words)
    verdict: dict[str, Verdict] = {"pending": "cannot_tell", "approved": "pass"}
    return Check("approval", verdict.get(state.status, "fail"), state.reason)

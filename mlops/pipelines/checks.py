"""What must hold at the moment of a promotion, each with its reason in words.

Between a decision and the move that it allows lie minutes or days. So nothing is taken for granted: the evidence is
read again and its hash computed anew, the files of the version are verified, and the champion must be the one it was
judged against. The same checks are what `mlops promote --dry-run` shows.

One rule: checks read and never write.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from datetime import date
from typing import Any

from mlops.errors import NoDataError, RegistryError
from mlops.governance import champions as history
from mlops.governance.ledger import Entry
from mlops.models.evidence import evidence_hash
from mlops.pipelines.champions import Standing
from mlops.pipelines.night import report_uri
from mlops.records import GateDecision, ModelVersion, Verdict, from_dict, to_dict
from mlops.services import Services
from mlops.spec import ModelSpec


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must hold, and whether it does."""

    name: str
    verdict: Verdict
    reason: str


@dataclass(frozen=True, slots=True)
class Judged:
    """A decision as validation kept it, with the facts it was made on."""

    decision: GateDecision
    facts: dict[str, Any]  # what the decision's hash is over

    @property
    def version(self) -> int:
        """The version that was judged."""
        return self.decision.version


def read_judged(services: Services, spec: ModelSpec, day: date, version: int | None = None) -> Judged:
    """The decision of a date, or of one of its versions.

    Raises:
        NoDataError: there is none.
    """
    name = "evidence.json" if version is None else f"evidence-v{version}.json"
    kept = services.storage.read_json(report_uri(services, spec, day, name))
    return Judged(from_dict(GateDecision, kept["decision"]), kept["evidence"])


def day_of(services: Services, spec: ModelSpec, version: int | None) -> date:
    """The date a version was judged for: the one it was trained for.

    Args:
        services: the adapters.
        spec: the model.
        version: default: the version that the alias `challenger` points to.

    Raises:
        NoDataError: there is no challenger, or the version was not made by a training of this project.
        RegistryError: there is no such version.
    """
    if version is None:
        found = services.registry.by_alias(spec.name, "challenger")
        if found is None:
            raise NoDataError(
                f"{spec.name} has no challenger: no version has passed its gates.",
                hint=f"Train and validate first: mlops run all {spec.name}",
            )
    else:
        found = services.registry.get(spec.name, version)
    parts = found.run_key.split("/")
    try:
        return date.fromisoformat(parts[2])
    except (IndexError, ValueError) as error:
        raise NoDataError(
            f"{spec.name} version {found.version} does not say for which date it was trained (run {found.run_key!r}).",
            hint="Give the date with --date.",
        ) from error


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
    alive = where.version is not None and services.registry.find(spec.name, where.version) is not None
    found += [_champion(judged, where, alive=alive), _alias(where, alive=alive), _first_time(judged, where, done)]
    return tuple(found)


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

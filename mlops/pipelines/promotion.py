"""Promotion: the challenger whose evidence holds becomes champion, and the ledger says so.

Reads: the gate decision of the date. Writes: the alias `champion`, the stages of both versions, one ledger entry. Every
part can be repeated: a run that was cut short is finished by the next one, and a finished one changes nothing.
"""

from __future__ import annotations

from datetime import date

from mlops.errors import NoDataError
from mlops.pipelines.night import report, run_key
from mlops.pipelines.validation import decision_uri
from mlops.records import GateDecision, ModelVersion, PromotionRecord, StepReport, from_dict, to_dict
from mlops.services import Services
from mlops.spec import ModelSpec

LEASE_SECONDS = 120


def run(services: Services, spec: ModelSpec, day: date) -> StepReport:
    """Promote the challenger that the night of `day` validated.

    Returns:
        done (promoted, now or already), nothing_to_do (no decision for that date) or no (the evidence does not hold);
        the record is a `PromotionRecord`.

    Raises:
        LeaseError: another promotion of this model is under way.
        RegistryError: the alias did not move.
    """
    try:
        decision = from_dict(GateDecision, services.storage.read_json(decision_uri(services, spec, day))["decision"])
    except NoDataError:
        return report("promotion", spec, day, "nothing_to_do", f"No challenger was validated for {day}.")
    holder = f"{services.actor}:{run_key(spec, 'promotion', day)}"
    with services.leases.hold(f"promotion/{spec.name}", holder, LEASE_SECONDS, now=services.clock()) as lease:
        challenger = services.registry.get(spec.name, decision.version)
        champion = services.registry.by_alias(spec.name, "champion")
        key = f"{run_key(spec, 'promotion', day)}/v{challenger.version}"
        if refusal := _refusal(services, decision, challenger, champion, key):
            record = _record(services, decision, champion, promoted=False, reason=refusal)
            return report("promotion", spec, day, "no", refusal, record)
        services.leases.check(lease, now=services.clock())
        return _promote(services, spec, day, decision, challenger, champion, key)


def _refusal(
    services: Services, decision: GateDecision, challenger: ModelVersion, champion: ModelVersion | None, key: str
) -> str:
    """Why the evidence does not (or no longer) carry a promotion; empty if it does."""
    if decision.verdict != "pass":
        return f"Version {decision.version} did not pass its gates: {'; '.join(decision.reasons)}"
    if challenger.digest != decision.digest:
        return f"Version {decision.version} is not what was judged: its digest differs. Validate it again."
    if champion is not None and champion.version == challenger.version:
        return ""
    entry = services.ledger.by_key(key)
    current = champion.version if champion else None
    if entry is not None and current != decision.champion_version:
        return f"Version {decision.version} was promoted before and displaced since; roll back instead."
    if current != decision.champion_version:
        judged = f"version {decision.champion_version}" if decision.champion_version else "no champion"
        now = f"version {current} is champion now; validate again"
        return f"Version {decision.version} was judged against {judged}, but {now}."
    return ""


def _promote(
    services: Services,
    spec: ModelSpec,
    day: date,
    decision: GateDecision,
    challenger: ModelVersion,
    champion: ModelVersion | None,
    key: str,
) -> StepReport:
    registry = services.registry
    registry.set_alias(spec.name, "champion", challenger.version)
    registry.set_stage(spec.name, challenger.version, "production")
    previous = decision.champion_version
    if previous is not None and previous != challenger.version:
        registry.set_stage(spec.name, previous, "archived")
    reason = (
        f"Version {challenger.version} is the first champion."
        if previous is None
        else f"Version {challenger.version} takes over from version {previous}."
    )
    record = _record(services, decision, champion, promoted=True, reason=reason)
    entry = services.ledger.by_key(key) or services.ledger.append(
        "promotion", spec.name, to_dict(record), actor=services.actor, at=record.decided_at, key=key
    )
    final = from_dict(PromotionRecord, entry.body | {"entry_hash": entry.hash})
    return report("promotion", spec, day, "done", final.reason, final)


def _record(
    services: Services, decision: GateDecision, champion: ModelVersion | None, *, promoted: bool, reason: str
) -> PromotionRecord:
    previous = decision.champion_version if promoted else (champion.version if champion else None)
    return PromotionRecord(
        model=decision.model,
        version=decision.version,
        previous_version=previous,
        promoted=promoted,
        reason=reason,
        decided_by="policy:automatic",
        decided_at=services.clock(),
        evidence_hash=decision.evidence_hash,
    )

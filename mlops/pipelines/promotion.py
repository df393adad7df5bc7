"""Promotion: the challenger whose evidence holds becomes champion, and the ledger says so.

Reads: the gate decision of the date. Writes: the alias `champion`, the stages of both versions, the ledger. What is
checked is in `mlops.pipelines.checks`, how the champion changes in `mlops.pipelines.champions`. Every part can be
repeated: a run that was cut short is finished by the next one, and a finished one changes nothing.

One rule: nothing moves before every check has passed, under the lease, at this moment.
"""

from __future__ import annotations

import dataclasses
import hashlib
from datetime import date

from mlops.errors import NoDataError, PromotionError
from mlops.governance.ledger import Entry
from mlops.pipelines import approval, champions
from mlops.pipelines.champions import Standing
from mlops.pipelines.checks import Check, check_all, check_champion, verdict_of
from mlops.pipelines.judged import Judged, read_judged
from mlops.pipelines.night import report, run_key
from mlops.records import PromotionRecord, StepReport, from_dict, to_dict
from mlops.services import Services
from mlops.spec import ModelSpec

AUTOMATIC = "policy:automatic"


def run(services: Services, spec: ModelSpec, day: date, version: int | None = None) -> StepReport:
    """Promote the challenger that the night of `day` validated.

    Args:
        services: the adapters.
        spec: the model.
        day: the date.
        version: which of the date's versions; default: the one validated last.

    Returns:
        done (promoted, now or already), nothing_to_do (no decision for that date, or the version is champion by another
        one), cannot_tell (people have to approve) or no (a check failed; recorded once); the record is a
        `PromotionRecord`.

    Raises:
        LeaseError: another change of this champion is under way.
        PromotionError, RegistryError: the champion is not what it should be afterwards.
    """
    try:
        read_judged(services, spec, day, version)
    except NoDataError:
        return report("promotion", spec, day, "nothing_to_do", f"No challenger was validated for {day}.")
    with champions.exclusive(services, spec.name, run_key(spec, "promotion", day)) as lease:
        judged = read_judged(services, spec, day, version)  # it may have been judged anew while this one waited
        key = key_of(spec, judged)
        where = champions.settle(services, champions.standing(services, spec.name), keep=key)
        done = champions.completed(services, key)
        if where.version == judged.version:
            return _standing_already(services, spec, day, where, done)
        checks = check_all(services, spec, judged, where, done)
        verdict = verdict_of(checks)
        if verdict == "cannot_tell":
            return _waiting(services, spec, judged, where)
        if verdict == "fail":
            champions.settle(services, where)
            return _refused(services, spec, judged, where, checks, key)
        made = champions.change(services, lease, _record(services, spec, judged, where), key)
        return report("promotion", spec, day, "done", made.reason, made)


def dry_run(services: Services, spec: ModelSpec, day: date, version: int | None = None) -> tuple[Check, ...]:
    """All checks of a promotion as they stand now. Nothing is changed, not even a lease is taken.

    Raises:
        NoDataError: nothing was validated.
    """
    judged = read_judged(services, spec, day, version)
    where = champions.standing(services, spec.name)
    if where.version == judged.version:
        return check_champion(where)
    return check_all(services, spec, judged, where, champions.completed(services, key_of(spec, judged)))


def key_of(spec: ModelSpec, judged: Judged) -> str:
    """The identity of a promotion: `<model>/promotion/<date>/v<N>`."""
    return f"{run_key(spec, 'promotion', judged.decision.date)}/v{judged.version}"


def _standing_already(
    services: Services, spec: ModelSpec, day: date, where: Standing, done: Entry | None
) -> StepReport:
    """The version is champion already, by this work or by another.

    Raises:
        PromotionError: by the ledger it is, but alias or stage say otherwise.
    """
    reign = where.reign
    assert reign is not None
    if where.alias != reign.version:
        points = f"points to version {where.alias}" if where.alias else "is gone"
        raise PromotionError(
            f"By the ledger version {reign.version} is champion, but the alias {points}.",
            hint=f"Run: mlops reconcile {spec.name}",
        )
    if done is None or done.seq != reign.entry_seq:
        words = f"Version {reign.version} is the champion already, since {reign.from_at:%Y-%m-%d %H:%M} UTC."
        return report("promotion", spec, day, "nothing_to_do", words)
    record = from_dict(PromotionRecord, done.body | {"entry_hash": done.hash})
    champions.confirm(services, record)
    return report("promotion", spec, day, "done", record.reason, record)


def _waiting(services: Services, spec: ModelSpec, judged: Judged, where: Standing) -> StepReport:
    """All holds but the approval: ask for it, and say whose vote is missing."""
    version = services.registry.get(spec.name, judged.version)
    approval.ask(services, spec, judged.decision, version.started_by)
    state = approval.state(services, spec, judged.decision, services.ledger.entries(spec.name))
    assert state is not None
    words = f"Version {judged.version} waits for approval. {state.reason}"
    record = dataclasses.replace(_record(services, spec, judged, where), promoted=False, reason=words)
    return report("promotion", spec, judged.decision.date, "cannot_tell", words, record)


def _refused(
    services: Services, spec: ModelSpec, judged: Judged, where: Standing, checks: tuple[Check, ...], key: str
) -> StepReport:
    """Say why not, and keep it: once for the same reason, whatever the number of tries."""
    reason = " ".join(check.reason for check in checks if check.verdict == "fail")
    record = dataclasses.replace(_record(services, spec, judged, where), promoted=False, reason=reason)
    mark = hashlib.sha256(f"{record.evidence_hash}\n{reason}".encode()).hexdigest()[:16]
    place = f"{key}/refused/{mark}"
    entry = services.ledger.by_key(place) or services.ledger.append(
        "promotion_refused", spec.name, to_dict(record), actor=services.actor, at=services.clock(), key=place
    )
    kept = from_dict(PromotionRecord, entry.body | {"entry_hash": entry.hash})
    return report("promotion", spec, judged.decision.date, "no", kept.reason, kept)


def _record(services: Services, spec: ModelSpec, judged: Judged, where: Standing) -> PromotionRecord:
    previous = where.version
    state = None
    if spec.promotion.approval == "people":
        state = approval.state(services, spec, judged.decision, where.entries)
    people = state.approved_by if state else ()
    reason = (
        f"Version {judged.version} is the first champion."
        if previous is None
        else f"Version {judged.version} takes over from version {previous}."
    )
    return PromotionRecord(
        model=judged.decision.model,
        version=judged.version,
        previous_version=previous,
        promoted=True,
        reason=reason,
        decided_by=", ".join(people) or (AUTOMATIC if state is None else f"policy:{state.status}"),
        decided_at=services.clock(),
        evidence_hash=judged.decision.evidence_hash,
        evidence_uri=judged.decision.evidence_uri,
        date=judged.decision.date,
        approved_by=people,
    )

"""Rollback: the champion before this one takes over again, by the same transaction, backwards.

Reads: the champion history, the files of the version to go back to. Writes: what a promotion writes. The way back leads
from reign to reign; what was rolled away from is not on it, and a version that is gone or damaged is passed over, in
words.

One rule: a request is bound to the reign that it ends. Asked twice it goes back once; asked about a champion that has
been replaced since, it changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from mlops.errors import PromotionError, RegistryError
from mlops.governance import champions as history
from mlops.governance.champions import Reign
from mlops.pipelines import champions
from mlops.pipelines.champions import Standing
from mlops.pipelines.night import report
from mlops.records import PromotionRecord, StepReport, from_dict
from mlops.services import Services
from mlops.spec import ModelSpec

NOTHING = "There is nothing to go back to"


@dataclass(frozen=True, slots=True)
class Target:
    """Where a rollback would lead."""

    reign: Reign | None  # None: nowhere
    passed_over: tuple[str, ...]  # why nearer ones cannot be it


def ask(services: Services, model: str) -> int | None:
    """The reign that a request made now would end, by the number of its ledger entry; None: there is no champion."""
    reign = champions.standing(services, model).reign
    return reign.entry_seq if reign else None


def run(
    services: Services, spec: ModelSpec, day: date, to: int | None = None, reason: str = "", ends: int | None = None
) -> StepReport:
    """Go back to an earlier champion.

    Args:
        services: the adapters.
        spec: the model.
        day: the date that the answer carries; nothing else depends on it.
        to: version to go back to; default: the nearest on the way back that is whole.
        reason: why, for the ledger.
        ends: the reign that the request is about, as `ask` gave it; default: the one that lasts now.

    Returns:
        done (now or already; the record is a `PromotionRecord`), or no: the champion was replaced since, `to` cannot be
        it (with what could), or there is nobody to go back to. Who asked for it must not take that for success.

    Raises:
        LeaseError: another change of this champion is under way.
        PromotionError, RegistryError: the champion is not what it should be afterwards.
    """
    with champions.exclusive(services, spec.name, f"{spec.name}/rollback") as lease:
        where = champions.settle(services, champions.standing(services, spec.name), keep=_key(spec, ends))
        ends = where.reign.entry_seq if ends is None and where.reign else ends
        key = _key(spec, ends)
        done = champions.completed(services, key)
        if done is not None:
            record = from_dict(PromotionRecord, done.body | {"entry_hash": done.hash})
            if where.reign is not None and where.reign.entry_seq == done.seq:
                champions.confirm(services, record)
                _check_files(services, record)
            return report("rollback", spec, day, "done", record.reason, record)
        if where.reign is None or where.reign.entry_seq != ends:
            champions.settle(services, where)
            return report("rollback", spec, day, "no", _not_now(where, ends))
        target = find_target(services, where, to)
        if target.reign is None:
            champions.settle(services, where)
            return report("rollback", spec, day, "no", _nowhere(services, where, to, target))
        made = champions.change(services, lease, _record(services, where, target, reason, day), key)
        _check_files(services, made)
        return report("rollback", spec, day, "done", made.reason, made)


def find_target(services: Services, where: Standing, to: int | None) -> Target:
    """The reign to go back to: that of version `to`, or the nearest one whose version is there and whole."""
    if to is None:
        candidates = history.way_back(where.reigns)
    else:
        candidates = tuple(reign for reign in reversed(where.reigns) if reign.version == to != where.version)[:1]
    passed_over: list[str] = []
    for reign in candidates:
        problem = _problem(services, where.model, reign.version)
        if not problem:
            return Target(reign, tuple(passed_over))
        passed_over.append(problem)
    return Target(None, tuple(passed_over))


def _problem(services: Services, model: str, number: int) -> str:
    """Why a version cannot serve; empty if it can."""
    if not services.registry.exists(model, number):
        return f"Version {number} does not exist any more."
    try:
        services.registry.verify(services.registry.get(model, number))
    except RegistryError as error:
        return f"Version {number} is damaged: {error}"
    return ""


def _key(spec: ModelSpec, ends: int | None) -> str:
    return f"{spec.name}/rollback/of-{ends}" if ends is not None else ""


def _not_now(where: Standing, ends: int | None) -> str:
    """Nobody is champion, or not the one the request was about."""
    if where.reign is None:
        return f"{NOTHING}: {where.model} has no champion yet."
    asked = next((reign for reign in where.reigns if reign.entry_seq == ends), None)
    about = f"version {asked.version}" if asked else f"ledger entry {ends}, which made nobody champion"
    return f"The request was about {about}, but version {where.version} is champion now. Nothing was changed."


def _nowhere(services: Services, where: Standing, to: int | None, target: Target) -> str:
    problems = " ".join(target.passed_over)
    if to is None:
        words = f"{NOTHING}: version {where.version} has no predecessor."
        return f"{NOTHING}: {problems}" if problems else words
    if to == where.version:
        return f"Version {to} is the champion already."
    if not problems:
        problems = f"Version {to} has never been champion; promote it instead."
    other = find_target(services, where, None).reign
    offer = f"You could go back to version {other.version}." if other else f"{NOTHING} instead."
    return f"{problems} {offer}"


def _record(services: Services, where: Standing, target: Target, reason: str, day: date) -> PromotionRecord:
    assert target.reign is not None
    words = [f"Rolled back from version {where.version} to version {target.reign.version}."]
    words += [reason.strip()] if reason.strip() else []
    words += target.passed_over
    return PromotionRecord(
        model=where.model,
        version=target.reign.version,
        previous_version=where.version,
        promoted=True,
        reason=" ".join(words),
        decided_by=services.actor,
        decided_at=services.clock(),
        evidence_hash=target.reign.evidence_hash,
        evidence_uri=target.reign.evidence_uri,
        kind="rollback",
        date=day,
    )


def _check_files(services: Services, made: PromotionRecord) -> None:
    """The last post-condition: what is champion now can be loaded."""
    if problem := _problem(services, made.model, made.version):
        raise PromotionError(
            f"{made.model} was rolled back to version {made.version}, but: {problem}",
            hint=f"Roll back again: mlops rollback {made.model}",
        )

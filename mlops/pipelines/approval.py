"""Approval of a challenger by people, as ledger entries bound to the evidence that they saw.

A promotion whose checks hold asks (`approval_request`), people answer from the shell or in Airflow (`approval`), and
the next try of the promotion counts. New evidence needs new approvals: its hash is part of both.

One rule: a vote that would not count is refused, in words, and leaves no entry.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from mlops.errors import PromotionError
from mlops.governance import approval
from mlops.governance.approval import Approval, Policy
from mlops.governance.ledger import Entry
from mlops.pipelines.judged import day_of, read_judged
from mlops.records import GateDecision
from mlops.services import Services
from mlops.spec import ModelSpec

Answer = Literal["approve", "reject"]
REQUEST, VOTE = "approval_request", "approval"
NOBODY = "policy:auto_approve"  # who approved where nobody did


@dataclass(frozen=True, slots=True)
class Pending:
    """A request that waits for people."""

    version: int
    asked_at: datetime
    state: Approval
    evidence_uri: str


def policy_of(services: Services, spec: ModelSpec, started_by: str) -> Policy:
    """Who may approve a version: the spec's rules and the settings' people."""
    rules = spec.promotion
    return Policy(
        approvers=rules.approvers,
        role=rules.role,
        holders=frozenset(services.config.roles.get(rules.role, ())),
        four_eyes=rules.four_eyes,
        started_by=started_by,
        timeout=timedelta(hours=rules.timeout_hours),
        auto=services.config.allow_auto_approve,
    )


def key_of(model: str, version: int, evidence_hash: str) -> str:
    """The identity of a request: a version and the evidence on it."""
    return f"{model}/approval/v{version}/{evidence_hash[:16]}"


def ask(services: Services, spec: ModelSpec, decision: GateDecision, started_by: str) -> Entry:
    """Ask for the approval of a version, once for the same evidence."""
    key = f"{key_of(spec.name, decision.version, decision.evidence_hash)}/request"
    body = {
        "version": decision.version,
        "evidence_hash": decision.evidence_hash,
        "evidence_uri": decision.evidence_uri,
        "started_by": started_by,
        "date": decision.date.isoformat(),
    }
    return services.ledger.by_key(key) or services.ledger.append(
        REQUEST, spec.name, body, actor=services.actor, at=services.clock(), key=key
    )


def state(services: Services, spec: ModelSpec, decision: GateDecision, entries: Iterable[Entry]) -> Approval | None:
    """Where the approval of a version stands; None if nobody has been asked yet."""
    found = list(entries)
    key = f"{key_of(spec.name, decision.version, decision.evidence_hash)}/request"
    request = next((entry for entry in found if entry.key == key), None)
    return None if request is None else _state(services, spec, request, found)


def pending(services: Services, spec: ModelSpec) -> list[Pending]:
    """The requests of a model that wait for people, the oldest first."""
    entries = services.ledger.entries(spec.name)
    done = {
        (entry.body.get("version"), entry.body.get("evidence_hash"))
        for entry in entries
        if entry.kind in ("promotion", "promotion_refused")
    }
    found = []
    for request in (entry for entry in entries if entry.kind == REQUEST):
        where = _state(services, spec, request, entries)
        if where.status == "pending" and (request.body["version"], request.body["evidence_hash"]) not in done:
            uri = str(request.body["evidence_uri"])
            found.append(Pending(int(request.body["version"]), request.at, where, uri))
    return found


def vote(
    services: Services,
    spec: ModelSpec,
    answer: Answer,
    *,
    version: int | None = None,
    comment: str = "",
    via: str = "shell",
    actor: str = "",
    also: Sequence[str] = (),
) -> Approval:
    """Approve or reject a version that waits for it.

    Args:
        services: the adapters.
        spec: the model.
        answer: which.
        version: default: the one that waits, if there is only one.
        comment: why, for the ledger.
        via: how it was given: shell, airflow, auto_approve.
        actor: who votes; default: the actor of the settings.
        also: what the same person is called elsewhere; under none of these names may they have started the training.

    Returns:
        Where the request stands with this vote.

    Raises:
        PromotionError: nothing waits, the time is up, or the vote would not count: no role, the starter of the
            training, a second vote.
    """
    person = actor or services.actor
    entries = services.ledger.entries(spec.name)
    request = _request(services, spec, entries, version)
    before = _state(services, spec, request, entries)
    policy = policy_of(services, spec, str(request.body["started_by"]))
    name = f"{spec.name} version {request.body['version']}"
    place = key_of(spec.name, int(request.body["version"]), str(request.body["evidence_hash"]))
    names = dict.fromkeys((person, *also))
    votes = [entry for entry in entries if entry.kind == VOTE]
    there = next((vote for vote in votes if vote.key in {f"{place}/{known_as}" for known_as in names}), None)
    if there is not None:
        raise PromotionError(f"{person} has voted on {name} already ({there.body['answer']}, {there.at:%H:%M} UTC).")
    if before.status != "pending":
        raise PromotionError(f"{name} is {before.status.replace('_', ' ')}: {before.reason}")
    problem = "" if via == approval.AUTO and policy.auto else approval.objection(policy, person)
    if not problem and policy.four_eyes and policy.started_by in names:
        problem = (
            f"{person} is {policy.started_by}, who started the training; four eyes means that somebody else approves."
        )
    if problem:
        raise PromotionError(f"The vote on {name} does not count: {problem}")
    body = {
        "version": request.body["version"],
        "answer": answer,
        "role": policy.role,
        "comment": comment,
        "via": via,
        "evidence_hash": request.body["evidence_hash"],
    }
    services.ledger.append(VOTE, spec.name, body, actor=person, at=services.clock(), key=f"{place}/{person}")
    return _state(services, spec, request, services.ledger.entries(spec.name))


def auto_approve(services: Services, spec: ModelSpec, version: int) -> Approval:
    """Approve without a person, for tests and CI.

    Raises:
        PromotionError: the settings do not allow it.
    """
    if not services.config.allow_auto_approve:
        raise PromotionError(
            f"{spec.name} version {version} is not approved without a person: the settings do not allow it.",
            hint="Set allow_auto_approve (MLOPS_ALLOW_AUTO_APPROVE=true) where tests run; never in production.",
        )
    return vote(services, spec, "approve", version=version, via=approval.AUTO, actor=NOBODY)


def standing(services: Services, spec: ModelSpec, version: int) -> Approval:
    """Where the newest request about a version stands.

    Raises:
        PromotionError: nobody was asked about it.
    """
    entries = services.ledger.entries(spec.name)
    return _state(services, spec, _request(services, spec, entries, version), entries)


def page(services: Services, spec: ModelSpec, version: int | None) -> dict[str, Any]:
    """What a person sees who is asked: `version`, `subject` and `body` (Markdown)."""
    if version is None:
        return {"version": None, "subject": "", "body": ""}
    judged = read_judged(services, spec, day_of(services, spec, version), version)
    where = state(services, spec, judged.decision, services.ledger.entries(spec.name))
    decision = judged.decision
    against = f"champion {decision.champion_version}" if decision.champion_version else "no champion yet"
    rows = [f"| {g.name.replace('_', ' ')} | {g.verdict.replace('_', ' ')} | {g.reason} |" for g in decision.gates]
    lines = [
        f"Judged for {decision.date} against {against}.",
        "",
        "| gate | verdict | why |",
        "|---|---|---|",
        *(row.replace("\n", " ") for row in rows),
        "",
        f"The whole evidence: `{decision.evidence_uri.replace('.json', '.html')}` (sha256 `{decision.evidence_hash}`)",
    ]
    if where is not None:
        lines += ["", where.reason]
    return {"version": version, "subject": f"Promote {spec.name} version {version}?", "body": "\n".join(lines)}


def _state(services: Services, spec: ModelSpec, request: Entry, entries: Iterable[Entry]) -> Approval:
    policy = policy_of(services, spec, str(request.body["started_by"]))
    votes = [entry for entry in entries if entry.kind == VOTE]
    return approval.state_of(request, votes, policy, services.clock())


def _request(services: Services, spec: ModelSpec, entries: list[Entry], version: int | None) -> Entry:
    """The newest request about a version; without one the only one that waits, else the newest."""
    requests = {int(entry.body["version"]): entry for entry in entries if entry.kind == REQUEST}
    if version is not None and version in requests:
        return requests[version]
    waiting = [item.version for item in pending(services, spec)]
    if version is None and requests and len(waiting) <= 1:
        return requests[waiting[0]] if waiting else max(requests.values(), key=lambda entry: entry.seq)
    names = ", ".join(map(str, waiting))
    asked = f"about version {version} of {spec.name}" if version is not None else f"about {spec.name}"
    raise PromotionError(
        f"Nobody was asked {asked}." if version is not None or not waiting else f"Several versions wait: {names}.",
        hint=f"Waiting: {names}. Name one with --version." if waiting else f"Ask with: mlops promote {spec.name}",
    )

"""Approval by people: what a request and the votes on it come to.

A vote counts if its giver holds the role, did not start the training (four eyes), voted in time and on this very
evidence; a person has one vote. Enough approvals approve, one rejection rejects, and silence refuses when the time is
up.

One rule: a pure function of ledger entries, policy and time. Whoever asks gets the same answer.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from mlops.governance.ledger import Entry

Status = Literal["pending", "approved", "rejected", "timed_out"]
AUTO = "auto_approve"  # `via` of an approval that settings for tests give instead of people


@dataclass(frozen=True, slots=True)
class Policy:
    """Who may approve, and how many must."""

    approvers: int
    role: str
    holders: frozenset[str]  # who holds the role now
    four_eyes: bool
    started_by: str  # who started the training; "": nobody knows
    timeout: timedelta
    auto: bool = False  # approvals without a person count


@dataclass(frozen=True, slots=True)
class Approval:
    """Where a request stands."""

    status: Status
    reason: str
    approved_by: tuple[str, ...]  # in the order of their votes
    missing: int  # approvals still needed
    until: datetime  # when the time is up


def objection(policy: Policy, person: str) -> str:
    """Why a person's vote would not count; empty if it would."""
    if person not in policy.holders:
        who = ", ".join(sorted(policy.holders)) or "nobody; the setting `roles` says who"
        return f"{person} does not hold the role {policy.role} (holders: {who})."
    if policy.four_eyes and not policy.started_by:
        return "Nobody knows who started the training, so four eyes cannot be shown. Train and validate it again."
    if policy.four_eyes and person == policy.started_by:
        return f"{person} started the training; four eyes means that somebody else approves."
    return ""


def state_of(request: Entry, votes: Iterable[Entry], policy: Policy, now: datetime) -> Approval:
    """Where a request stands.

    Args:
        request: the entry that asked for approval.
        votes: entries of kind "approval"; those on other evidence or other versions do not count.
        policy: as it is now: who lost the role meanwhile has no vote.
        now: the time, with a time zone.
    """
    until = request.at + policy.timeout
    approved: list[str] = []
    for vote in sorted(votes, key=lambda entry: entry.seq):
        if not _counts(vote, request, policy, until):
            continue
        if vote.body["answer"] == "reject":
            said = f": {vote.body['comment']}" if vote.body.get("comment") else "."
            return Approval("rejected", f"{vote.actor} rejected it{said}", tuple(approved), 0, until)
        if vote.body.get("via") == AUTO:
            return Approval("approved", "Approved without a person, as the settings allow.", (vote.actor,), 0, until)
        if vote.actor not in approved:
            approved.append(vote.actor)
    missing = max(policy.approvers - len(approved), 0)
    names = tuple(approved)
    if not missing:
        return Approval("approved", f"Approved by {', '.join(names)}.", names, 0, until)
    waiting = _missing_words(policy, names, missing)
    if now > until:
        return Approval("timed_out", f"Not approved by {until:%Y-%m-%d %H:%M} UTC. {waiting}", names, missing, until)
    return Approval("pending", f"{waiting} Until {until:%Y-%m-%d %H:%M} UTC.", names, missing, until)


def _counts(vote: Entry, request: Entry, policy: Policy, until: datetime) -> bool:
    same = all(vote.body.get(name) == request.body.get(name) for name in ("version", "evidence_hash"))
    if not same or not request.seq < vote.seq or vote.at > until:
        return False
    return policy.auto if vote.body.get("via") == AUTO else not objection(policy, vote.actor)


def _missing_words(policy: Policy, approved: tuple[str, ...], missing: int) -> str:
    able = sorted(person for person in policy.holders if person not in approved and not objection(policy, person))
    have = f"{len(approved)} of {policy.approvers} approved ({', '.join(approved)})" if approved else "Nobody approved"
    if len(able) < missing:
        who = f"only {', '.join(able)} may" if able else "nobody may"
        why = objection(policy, next(iter(policy.holders), "anybody")) if not able else "add people to the role."
        return f"{have}; {missing} more needed, but {who}: {why}"
    return f"{have}; {missing} more needed from {policy.role}: {' or '.join(able)}."

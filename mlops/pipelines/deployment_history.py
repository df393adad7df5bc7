"""What was deployed where, and what to go back to: read off a model's ledger entries.

One rule: pure functions of entries.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from mlops.governance.ledger import Entry
from mlops.records import from_dict
from mlops.serving.targets.deployment import Deployment

KINDS = ("deployment", "deployment_rollback", "undeployment")
FAILURE = "deployment_failure"


@dataclass(frozen=True, slots=True)
class Deployed:
    """One change of what is deployed, as the ledger has it."""

    deployment: Deployment
    kind: str  # deployment or deployment_rollback
    by: str
    at: datetime
    entry_seq: int
    reason: str


def deployed(entries: Sequence[Entry], target: str, where: str) -> tuple[Deployed, ...]:
    """What was deployed on a target since it was last taken down there, the oldest first."""
    found: list[Deployed] = []
    for entry in _of(entries, target, where):
        if entry.kind == "undeployment":
            found.clear()
            continue
        deployment = from_dict(Deployment, entry.body["deployment"])
        found.append(Deployed(deployment, entry.kind, entry.actor, entry.at, entry.seq, entry.body.get("reason", "")))
    return tuple(found)


def way_back(history: Sequence[Deployed]) -> tuple[Deployed, ...]:
    """What to go back to, the nearest first; what was rolled away from is not on it.

    A deployment adds to the way, a rollback shortens it.
    """
    way: list[Deployed] = []
    for made in history:
        if made.kind == "deployment_rollback":
            at = next((i for i, before in enumerate(way) if before.deployment == made.deployment), len(way))
            way = way[:at]
        else:
            way = [before for before in way if before.deployment != made.deployment]
        way.append(made)
    return tuple(reversed(way[:-1]))


def left_behind(entries: Sequence[Entry], target: str, where: str) -> bool:
    """Whether the last thing that happened there is a failure that was left as it is."""
    found = [entry for entry in entries if _is_about(entry, target, where, (*KINDS, FAILURE))]
    return bool(found) and found[-1].kind == FAILURE and bool(found[-1].body.get("left"))


def standing(entries: Sequence[Entry]) -> tuple[Deployed, ...]:
    """What is deployed of one model now, on every target."""
    places = dict.fromkeys((e.body["target"], e.body["place"]) for e in entries if e.kind in KINDS)
    return tuple(history[-1] for where in places if (history := deployed(entries, *where)))


def last_change(entries: Sequence[Entry], target: str, where: str) -> int:
    """Number of the newest entry that changed what is deployed there; 0 before the first."""
    return max((entry.seq for entry in _of(entries, target, where)), default=0)


def _of(entries: Sequence[Entry], target: str, where: str) -> Iterator[Entry]:
    yield from (entry for entry in entries if _is_about(entry, target, where, KINDS))


def _is_about(entry: Entry, target: str, where: str, kinds: Sequence[str]) -> bool:
    return entry.kind in kinds and (entry.body["target"], entry.body["place"]) == (target, where)

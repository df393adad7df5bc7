"""Who was champion when: the reigns of a model, read off its ledger entries.

A reign begins with the entry that completed a move (a promotion, a rollback) and ends where the next one begins. So
reigns have neither gaps nor overlaps by construction; where clocks disagree, the order in the ledger decides.

One rule: pure functions of entries; whatever else says who is champion (an alias, a stage) is a projection of this.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlops.governance.ledger import Entry

MOVES = ("promotion", "rollback", "repair")
INTENTS = ("promotion_intent", "rollback_intent")


@dataclass(frozen=True, slots=True)
class Reign:
    """One version's time as champion, [from_at, until_at)."""

    version: int
    from_at: datetime
    until_at: datetime | None  # None: it is champion now
    by: str  # who decided, as the record says; else who made the entry
    kind: str  # promotion, rollback or repair
    evidence_hash: str
    evidence_uri: str
    reason: str
    entry_seq: int
    entry_hash: str
    night: date | None  # the date it was decided for; None where nobody said


def is_move(entry: Entry) -> bool:
    """Whether an entry made somebody champion. A repair does only if it says so: most put an alias back."""
    return entry.kind in MOVES and bool(entry.body.get("promoted", entry.kind != "repair"))


def moves(entries: Iterable[Entry]) -> list[Entry]:
    """The entries of one model that made somebody champion, in the order of the ledger."""
    return sorted((entry for entry in entries if is_move(entry)), key=lambda entry: entry.seq)


def reigns(entries: Iterable[Entry]) -> tuple[Reign, ...]:
    """The reigns of one model, oldest first.

    Args:
        entries: the entries of one model, of any kinds.
    """
    made = moves(entries)
    starts: list[datetime] = []
    for entry in made:  # a clock that went backwards must not make a reign end before it began
        starts.append(max(entry.at, starts[-1]) if starts else entry.at)
    ends = [*starts[1:], None][: len(starts)]
    return tuple(
        Reign(
            version=int(entry.body["version"]),
            from_at=start,
            until_at=end,
            by=str(entry.body.get("decided_by", entry.actor)),
            kind=entry.kind,
            evidence_hash=str(entry.body.get("evidence_hash", "")),
            evidence_uri=str(entry.body.get("evidence_uri", "")),
            reason=str(entry.body.get("reason", "")),
            entry_seq=entry.seq,
            entry_hash=entry.hash,
            night=date.fromisoformat(entry.body["date"]) if entry.body.get("date") else None,
        )
        for entry, start, end in zip(made, starts, ends, strict=True)
    )


def champion_at(history: Sequence[Reign], time: datetime) -> Reign | None:
    """The reign that `time` falls into; None before the first."""
    return next((reign for reign in reversed(history) if reign.from_at <= time), None)


def champion_after(history: Sequence[Reign], night: date) -> Reign | None:
    """The reign that stood when everything up to `night` had been decided; None before the first."""
    return next((reign for reign in reversed(history) if reign.night is not None and reign.night <= night), None)


def way_back(history: Sequence[Reign]) -> tuple[Reign, ...]:
    """The reigns to go back to, the nearest first: one per version, without what was rolled away from.

    A promotion adds to the way, a rollback shortens it: after going back from 3 to 2, the way leads on to 1, not to 3.
    """
    way: list[Reign] = []
    for reign in history:
        if reign.kind == "promotion":
            way = [before for before in way if before.version != reign.version]
        else:
            at = next((i for i, before in enumerate(way) if before.version == reign.version), len(way))
            way = way[:at]
        way.append(reign)
    return tuple(reversed(way[:-1]))


def rolled_away(history: Sequence[Reign]) -> frozenset[int]:
    """Versions whose last reign was ended by a rollback to another one."""
    ended: dict[int, bool] = {}
    for reign, following in itertools.zip_longest(history, history[1:]):
        ended[reign.version] = following is not None and following.kind == "rollback"
    return frozenset(version for version, away in ended.items() if away)


def open_intents(entries: Iterable[Entry]) -> list[Entry]:
    """Intents that nothing has closed: whoever wrote them was cut short, or is at it now."""
    found = list(entries)
    keys = {entry.key for entry in found}
    return [entry for entry in found if entry.kind in INTENTS and entry.body["closes"] not in keys]

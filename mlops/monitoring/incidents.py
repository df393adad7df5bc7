"""The life of an incident: open, acknowledged, silenced, resolved; and when a person is told of it.

```
            found                     ack                       over, or by hand
  (none) ──────────► open ─────────────────► acknowledged ──────────────────► resolved
                      │  ▲   until a date           │ worse                      │
                      ▼  └── is past ── silenced ◄──┘                            │
                     (told)                         found again soon: reopened ◄─┘
```
Found again while it is not over, it is the same incident: it counts, keeps the newest words and tells nobody, unless
it has become more urgent, or nobody has acknowledged it for long enough. What comes back soon after it was over is the
same incident, too; after some returns it is flapping: told of as rarely as a reminder, its end when it has stayed away.

One rule: finding the same again, in a retry or a second process, changes nothing but the time it was last seen.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal

from mlops.errors import IncidentError
from mlops.records import Incident, Urgency
from mlops.spec import AlertsSpec

Event = Literal["opened", "reopened", "flapping", "worse", "reminder", "acknowledged", "resolved"]
URGENCIES: tuple[Urgency, ...] = ("low", "normal", "high")
LONGEST_HOURS = 168.0  # between two reminders: a week


def found(known: Incident | None, finding: Incident, now: datetime, terms: AlertsSpec) -> tuple[Incident, Event | None]:
    """What becomes of an incident when it is found.

    Args:
        known: the newest incident of the same key; None if there was none.
        finding: what was found.
        now: aware.
        terms: how often people are told.

    Returns:
        the incident, and what to tell people; None: nothing.
    """
    if known is None or _is_long_over(known, now, terms):
        fresh = replace(finding, state="open", resolved_at=None, dates=(finding.date,), parts=_once(finding.parts))
        return replace(fresh, first_seen_at=now, last_seen_at=now, told_at=now, count=1), "opened"
    back = known.state == "resolved"
    newer = finding if finding.date >= known.date else known
    urgency = max(finding.urgency, known.urgency if not back else "low", key=URGENCIES.index)
    parts = finding.parts if back else (*known.parts, *finding.parts)
    merged = replace(
        known,
        date=newer.date,
        urgency=urgency,
        summary=newer.summary,
        consequence=newer.consequence,
        action=newer.action,
        goes_on=newer.goes_on,
        evidence_uri=newer.evidence_uri,
        owner=finding.owner or known.owner,
        runbook=finding.runbook or known.runbook,
        parts=_once(parts),
        last_seen_at=now,
        resolved_at=None,
        dates=tuple(sorted({*known.dates, finding.date})),
        count=known.count + (finding.date not in known.dates),
        reopened=known.reopened + back,
    )
    return _told(known, merged, now, terms)


def _told(known: Incident, merged: Incident, now: datetime, terms: AlertsSpec) -> tuple[Incident, Event | None]:
    if is_silenced(known, now):
        return replace(merged, state="silenced"), None
    event: Event | None = None
    state = merged.state
    if URGENCIES.index(merged.urgency) > URGENCIES.index(known.urgency):
        state, event = "open", "worse"
    elif known.state == "resolved":
        state = "open"
        if merged.reopened <= terms.flaps:
            event = "reopened" if merged.reopened < terms.flaps else "flapping"
        elif _is_due(known, now, terms):
            event = "reminder"
    elif known.state == "silenced":
        state, event = "open", "reminder"
    elif known.state == "open" and _is_due(known, now, terms):
        event = "reminder"
    if event is None:
        return replace(merged, state=state), None
    reminded = merged.reminded + (event in ("reminder", "flapping"))
    # Every event leaves it open: who had acknowledged or silenced it did so of something else.
    return replace(merged, state=state, told_at=now, reminded=reminded, by="", note="", silenced_until=None), event


def over(
    known: Incident, now: datetime, *, day: date | None = None, until: date | None = None
) -> tuple[Incident, Event | None]:
    """What becomes of an incident when what it tells of is over.

    Args:
        known: not resolved.
        now: aware.
        day: over for this date alone.
        until: over for this date and all before.
    """
    left = tuple(d for d in known.dates if (day is not None and d != day) or (until is not None and d > until))
    if left == known.dates:
        return known, None
    if left:
        return replace(known, dates=left), None
    ended = replace(known, state="resolved", resolved_at=now, dates=())
    return ended, "resolved" if known.told_at is not None else None


def acknowledged(known: Incident, *, by: str, note: str = "") -> tuple[Incident, Event | None]:
    """Somebody looks after it: no reminders, unless it becomes more urgent.

    Raises:
        IncidentError: it is over.
    """
    _refuse_resolved(known, "acknowledged")
    if known.state == "acknowledged":
        return known, None
    return replace(known, state="acknowledged", by=by, note=note, silenced_until=None), "acknowledged"


def silenced(known: Incident, *, now: datetime, until: date, by: str, note: str) -> tuple[Incident, Event | None]:
    """Nobody is told of it up to a date, whatever becomes of it.

    Args:
        known: not resolved.
        now: aware.
        until: the first date on which people may be told again, in the future.
        by: who.
        note: why.

    Raises:
        IncidentError: it is over, the date is not in the future, or there is no reason.
    """
    _refuse_resolved(known, "silenced")
    end = datetime.combine(until, time(), UTC)
    if end <= now:
        raise IncidentError(
            f"An incident can be silenced until a date after today, {now.date()}; given {until}.",
            hint="Name a later date, or acknowledge it.",
        )
    if not note.strip():
        raise IncidentError("An incident is not silenced without a reason.", hint="Say why: --reason …")
    return replace(known, state="silenced", silenced_until=end, by=by, note=note), None


def resolved(known: Incident, *, now: datetime, by: str, note: str = "") -> tuple[Incident, Event | None]:
    """Somebody says that it is over; found again, it is back."""
    if known.state == "resolved":
        return known, None
    ended, event = over(known, now)
    return replace(ended, by=by, note=note), event


def woken(known: Incident, now: datetime) -> tuple[Incident, Event | None]:
    """A silence that is over is told of, if what was silenced is not over."""
    if known.state != "silenced" or is_silenced(known, now):
        return known, None
    return replace(known, state="open", told_at=now, silenced_until=None, by="", note=""), "reminder"


def is_silenced(known: Incident, now: datetime) -> bool:
    """Whether nobody may be told of it now."""
    return known.silenced_until is not None and now < known.silenced_until


def held_back(incident: Incident, terms: AlertsSpec) -> timedelta:
    """How long the end of an incident is kept back before it is told: a flapping one may be back by then."""
    return timedelta(hours=terms.reopen_hours if incident.reopened >= terms.flaps else 0)


def _is_long_over(known: Incident, now: datetime, terms: AlertsSpec) -> bool:
    if known.resolved_at is None or is_silenced(known, now):
        return False
    return now - known.resolved_at > timedelta(hours=terms.reopen_hours)


def _is_due(known: Incident, now: datetime, terms: AlertsSpec) -> bool:
    """Whether it is time for another reminder: after `repeat_hours`, then twice that, up to a week."""
    if known.told_at is None:
        return True
    pause = terms.repeat_hours * 2.0 ** min(known.reminded, 16)
    return now - known.told_at >= timedelta(hours=min(pause, max(LONGEST_HOURS, terms.repeat_hours)))


def _once(parts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(parts))


def _refuse_resolved(known: Incident, what: str) -> None:
    if known.state == "resolved":
        at = f"{known.resolved_at:%Y-%m-%d %H:%M} UTC" if known.resolved_at else "then"
        raise IncidentError(
            f"Incident {known.number} ({known.key}) is over since {at}; it cannot be {what}.",
            hint="See mlops incidents list --all.",
        )

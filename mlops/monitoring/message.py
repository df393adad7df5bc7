"""What an alert says: what happened, what it means, what goes on working, what to do; in this order on every channel.

One rule: a channel may shorten and dress it, but leaves out none of the four.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from mlops.monitoring import runbook
from mlops.monitoring.incidents import Event
from mlops.monitoring.outbox import Message
from mlops.records import Incident

SHOWN_PARTS = 5
SEVERITY: Mapping[str, str] = {"low": "info", "normal": "warning", "high": "critical"}
WORDS: Mapping[Event, str] = {
    "opened": "new",
    "reopened": "is back",
    "flapping": "comes and goes",
    "worse": "is more urgent now",
    "reminder": "still open",
    "acknowledged": "acknowledged",
    "resolved": "is over",
}


def title(message: Message) -> str:
    """One line: urgency, model, kind, and what is new about it."""
    incident = message.incident
    urgency = "over" if message.event == "resolved" else incident.urgency
    return f"[{urgency}] {incident.model}: {incident.kind} {WORDS[message.event]}"


def sections(message: Message) -> dict[str, str]:
    """The parts of an alert, heading by heading, without what is empty."""
    incident = message.incident
    found = {
        "What happened": _happened(incident),
        "What it means": incident.consequence,
        "What goes on": goes_on(incident),
        "What to do": _to_do(message),
        "Runbook": incident.runbook,
        "Evidence": incident.evidence_uri,
        "Since": _since(incident),
        "Owner": incident.owner,
    }
    return {heading: text for heading, text in found.items() if text}


def text(message: Message) -> str:
    """All of it as plain text."""
    return "\n\n".join(f"{heading}: {said}" for heading, said in sections(message).items())


def goes_on(incident: Incident) -> str:
    """What goes on working, by the incident itself or by its kind."""
    known = runbook.chapter(incident.kind)
    return incident.goes_on or (known.goes_on if known else "")


def incident_id(incident: Incident) -> str:
    """What names the incident in other systems: the same for all that is told of it.

    >>> from datetime import date
    >>> incident_id(Incident("m/drift", "m", "drift", date(2026, 3, 1), "low", "", "", "", number=4))
    'mlops/m/drift/4'
    """
    return f"mlops/{quote(incident.key)}"[:230] + f"/{incident.number}"


def _happened(incident: Incident) -> str:
    """The summary, with the first of what it groups, unless it names them itself."""
    parts = incident.parts
    if all(part in incident.summary for part in parts):
        return incident.summary
    more = f" and {len(parts) - SHOWN_PARTS} more" if len(parts) > SHOWN_PARTS else ""
    return f"{incident.summary} ({', '.join(parts[:SHOWN_PARTS])}{more})"


def _to_do(message: Message) -> str:
    if message.event != "resolved":
        return incident_hint(message.incident)
    by = f" {message.incident.by} says so." if message.incident.by else ""
    note = f" Why: {message.incident.note}." if message.incident.note else ""
    return f"Nothing: it is over.{by}{note}"


def incident_hint(incident: Incident) -> str:
    """What to do, and how to say that one does."""
    return f"{incident.action} Say that you look after it: mlops incidents ack {incident.number}"


def _since(incident: Incident) -> str:
    if incident.first_seen_at is None:
        return ""
    seen = f"{incident.first_seen_at:%Y-%m-%d %H:%M} UTC"
    return seen + (f", found on {incident.count} dates, the newest {incident.date}" if incident.count > 1 else "")

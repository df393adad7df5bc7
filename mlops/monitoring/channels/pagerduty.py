"""PagerDuty: an incident there is triggered, acknowledged and resolved as it is here, under one `dedup_key`.

References:
    PagerDuty, "Events API v2: send an alert event".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mlops.channel_settings import PagerDutySettings, looked_up
from mlops.monitoring import message as words
from mlops.monitoring.channels.http import post
from mlops.monitoring.outbox import Message

_SUMMARY = 1024  # characters that PagerDuty takes
_ACTIONS = {"acknowledged": "acknowledge", "resolved": "resolve"}


class PagerDutyChannel:
    """Sends events."""

    def __init__(self, url: str, routing_key: str) -> None:
        self._url, self._key = url, routing_key
        self.secrets: tuple[str, ...] = (routing_key,)

    @classmethod
    def of(cls, settings: PagerDutySettings, variables: Mapping[str, str]) -> PagerDutyChannel:
        """The channel of these settings."""
        return cls(settings.url, looked_up(settings.routing_key, variables))

    def send(self, message: Message) -> None:
        """Send one event."""
        post(self._url, json.dumps({"routing_key": self._key, **payload(message)}).encode())


def payload(message: Message) -> dict[str, Any]:
    """What PagerDuty is sent, but for the key."""
    incident = message.incident
    action = _ACTIONS.get(message.event, "trigger")
    common = {"event_action": action, "dedup_key": words.incident_id(incident)}
    if action != "trigger":
        return common
    links = [
        {"href": uri, "text": name}
        for name, uri in (("Runbook", incident.runbook), ("Evidence", incident.evidence_uri))
        if uri.startswith(("http://", "https://"))
    ]
    return common | {
        "client": "mlops",
        "links": links,
        "payload": {
            "summary": f"{incident.model}: {incident.summary}"[:_SUMMARY],
            "source": incident.model,
            "severity": words.SEVERITY[incident.urgency],
            "timestamp": (incident.last_seen_at or message.created_at).isoformat(),
            "component": incident.model,
            "group": incident.owner or "mlops",
            "class": incident.kind,
            "custom_details": words.sections(message),
        },
    }

"""Prometheus' Alertmanager, by its API v2: grouping, routing and silences of a team's own.

An alert that is not posted again ends by itself there; so an open incident is posted with an end some days away, and
its reminders move that on.

References:
    prometheus/alertmanager, api/v2/openapi.yaml, `postAlerts`.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

from mlops.channel_settings import AlertmanagerSettings
from mlops.monitoring import message as words
from mlops.monitoring.channels.http import post
from mlops.monitoring.incidents import URGENCIES
from mlops.monitoring.outbox import Message
from mlops.records import Urgency


class AlertmanagerChannel:
    """Posts alerts."""

    secrets: tuple[str, ...] = ()

    def __init__(self, url: str, open_days: float) -> None:
        self._url = f"{url.rstrip('/')}/api/v2/alerts"
        self._open = timedelta(days=open_days)

    @classmethod
    def of(cls, settings: AlertmanagerSettings) -> AlertmanagerChannel:
        """The channel of these settings."""
        return cls(settings.url, settings.open_days)

    def send(self, message: Message) -> None:
        """Post one alert; an acknowledgement is none."""
        if message.event != "acknowledged":
            post(self._url, json.dumps(payload(message, self._open)).encode())


def payload(message: Message, stays_open: timedelta) -> list[dict[str, Any]]:
    """What Alertmanager is sent. Labels are the identity there: with a new severity the alert of the old one ends."""
    current = _alert(message, message.incident.urgency, stays_open)
    if message.event != "worse":
        return [current]
    less = URGENCIES[: URGENCIES.index(message.incident.urgency)]
    ended = [_alert(message, urgency, timedelta(0)) for urgency in less]
    return [current, *ended]


def _alert(message: Message, urgency: Urgency, stays_open: timedelta) -> dict[str, Any]:
    incident = message.incident
    since = incident.first_seen_at or message.created_at
    told = incident.told_at or message.created_at
    ends: datetime = (incident.resolved_at or message.created_at) if message.event == "resolved" else told + stays_open
    return {
        "labels": {
            "alertname": "MlopsIncident",
            "model": incident.model,
            "kind": incident.kind,
            "severity": words.SEVERITY[urgency],
            "incident": str(incident.number),
            "owner": incident.owner or "nobody",
        },
        "annotations": {"title": words.title(message)}
        | {heading.lower().replace(" ", "_"): text for heading, text in words.sections(message).items()},
        "startsAt": since.isoformat(),
        "endsAt": ends.isoformat(),
    }

"""Incidents: findings that a person should know of, told once and kept.

An incident is known by its key and date. It is kept as one JSON file below `incidents/<model>/`; raising it again
replaces the file and tells nobody. It is told first and kept then: a process killed in between tells twice rather than
never.

One rule: an alert says what happened, what that means and what goes on working, and what to do.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime

import fsspec

from mlops import log
from mlops.errors import ConfigError, did_you_mean
from mlops.records import Incident, from_dict, to_dict
from mlops.storage import Storage

Channel = Callable[[Incident, str], None]
RUNBOOK = "docs/runbook.md"
_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]+")
_log = log.get(__name__)


def to_log(incident: Incident, runbook: str) -> None:
    """The log channel: one WARNING line."""
    _log.warning(
        "%s %s What to do: %s  %s",
        incident.summary,
        incident.consequence,
        incident.action,
        log.facts(incident=incident.key, date=incident.date, urgency=incident.urgency, runbook=runbook),
    )


CHANNELS: Mapping[str, Channel] = {"log": to_log}


class Alerts:
    """The incidents of one installation.

    Args:
        storage: where they are kept.
        channels: by name, the ways to tell of one.
    """

    def __init__(self, storage: Storage, channels: Mapping[str, Channel] = CHANNELS) -> None:
        self._storage = storage
        self._channels = channels

    def raise_incident(self, incident: Incident, *, channels: Sequence[str] = ("log",), runbook: str = RUNBOOK) -> bool:
        """Tell of an incident, unless it has been told.

        Args:
            incident: what was found.
            channels: names of the channels to tell it on.
            runbook: the page that says what to do.

        Returns:
            True if it was told now; False if the same key was told for the same date.

        Raises:
            ConfigError: no channel of that name.
            StorageError: it could not be kept.
        """
        for name in channels:
            if name not in self._channels:
                raise ConfigError(f"There is no alert channel {name!r}.", hint=did_you_mean(name, self._channels))
        uri = self._uri(incident)
        new = not self._storage.exists(uri) or self._storage.read_json(uri).get("resolved_at") is not None
        if new:
            for name in channels:
                self._channels[name](incident, runbook)
        self._storage.write_json(uri, to_dict(incident))
        return new

    def resolve(self, model: str, kind: str, *, at: datetime, day: date | None = None) -> int:
        """Mark the open incidents of a kind as resolved: what they tell of is over. Raised again, one is told again.

        Args:
            model: whose.
            kind: which.
            at: since when it is over.
            day: only those of this date.

        Returns:
            How many were open.

        Raises:
            StorageError: one could not be written.
        """
        still = [
            one for one in self._read(model, f"{day or '*'}-{_UNSAFE.sub('-', kind)}.json") if one.resolved_at is None
        ]
        for incident in still:
            self._storage.write_json(self._uri(incident), to_dict(replace(incident, resolved_at=at)))
            _log.info("Incident is over  %s", log.facts(incident=incident.key, date=incident.date))
        return len(still)

    def list_incidents(self, model: str) -> list[Incident]:
        """The incidents of a model, oldest first."""
        return sorted(self._read(model, "*.json"), key=lambda incident: (incident.date, incident.key))

    def _read(self, model: str, names: str) -> list[Incident]:
        folder = self._storage.uri("incidents", model)
        fs, target = fsspec.core.url_to_fs(folder, **(self._storage.options if "://" in folder else {}))
        fs.invalidate_cache()
        return [from_dict(Incident, json.loads(fs.cat_file(path))) for path in fs.glob(f"{target.rstrip('/')}/{names}")]

    def _uri(self, incident: Incident) -> str:
        name = _UNSAFE.sub("-", incident.key.removeprefix(f"{incident.model}/"))
        return self._storage.uri("incidents", incident.model, f"{incident.date.isoformat()}-{name}.json")

"""Incidents are told once, kept, and say what to do."""

from __future__ import annotations

import dataclasses
import logging
from datetime import date
from pathlib import Path

import pytest

from mlops.errors import ConfigError
from mlops.monitoring.alerts import CHANNELS, Alerts
from mlops.records import Incident
from mlops.storage import Storage

INCIDENT = Incident(
    key="fleet/drift",
    model="fleet",
    kind="drift",
    date=date(2026, 3, 2),
    urgency="normal",
    summary="Half the columns moved.",
    consequence="Version 3 goes on scoring.",
    action="Open the report.",
)


def test_an_incident_is_told_once_per_key_and_date(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The same finding again tells nobody, also from another process; the next date or another kind is told."""
    caplog.set_level(logging.WARNING, logger="mlops")
    storage = Storage(str(tmp_path))
    assert Alerts(storage).raise_incident(INCIDENT) is True
    assert Alerts(storage).raise_incident(INCIDENT) is False
    assert len(caplog.records) == 1
    assert Alerts(storage).raise_incident(dataclasses.replace(INCIDENT, date=date(2026, 3, 3))) is True
    assert Alerts(storage).raise_incident(dataclasses.replace(INCIDENT, key="fleet/quarantine")) is True
    assert len(caplog.records) == 3


def test_the_log_line_says_what_it_means_and_what_to_do(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One WARNING line holds summary, consequence, action and runbook."""
    caplog.set_level(logging.WARNING, logger="mlops")
    Alerts(Storage(str(tmp_path))).raise_incident(INCIDENT, runbook="docs/other.md")
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    for text in (INCIDENT.summary, INCIDENT.consequence, INCIDENT.action, "docs/other.md", "2026-03-02"):
        assert text in record.getMessage()
    assert "\n" not in record.getMessage()


def test_incidents_are_listed_by_date_and_a_rerun_replaces_its_own(tmp_path: Path) -> None:
    """The list holds the newest text of each incident, oldest first, and those of one model alone."""
    alerts = Alerts(Storage(str(tmp_path)))
    later = dataclasses.replace(INCIDENT, date=date(2026, 3, 3))
    other = dataclasses.replace(INCIDENT, key="pump/drift", model="pump")
    for incident in (later, INCIDENT, other, dataclasses.replace(INCIDENT, summary="Anew.")):
        alerts.raise_incident(incident)
    assert alerts.list_incidents("fleet") == [dataclasses.replace(INCIDENT, summary="Anew."), later]
    assert alerts.list_incidents("nobody") == []


def test_a_kind_with_odd_characters_is_kept_within_its_folder(tmp_path: Path) -> None:
    """Slashes and dots in a key do not lead out of the model's folder."""
    alerts = Alerts(Storage(str(tmp_path)))
    odd = dataclasses.replace(INCIDENT, key="fleet/../../etc x")
    alerts.raise_incident(odd)
    assert alerts.list_incidents("fleet") == [odd]
    assert [p.parent for p in tmp_path.rglob("*.json")] == [tmp_path / "incidents" / "fleet"]


def test_a_channel_that_fails_is_tried_again(tmp_path: Path) -> None:
    """What could not be told is not kept as told."""
    told: list[str] = []

    def flaky(incident: Incident, runbook: str) -> None:
        told.append(incident.key)
        if len(told) == 1:
            raise ConnectionError("no answer")

    alerts = Alerts(Storage(str(tmp_path)), {**CHANNELS, "flaky": flaky})
    with pytest.raises(ConnectionError):
        alerts.raise_incident(INCIDENT, channels=("flaky",))
    assert alerts.raise_incident(INCIDENT, channels=("flaky",)) is True


def test_an_unknown_channel_is_refused_before_anything_is_told(tmp_path: Path) -> None:
    """A mistyped channel is named together with the known ones."""
    with pytest.raises(ConfigError, match=r"no alert channel 'logg'.*Did you mean 'log'"):
        Alerts(Storage(str(tmp_path))).raise_incident(INCIDENT, channels=("log", "logg"))
    assert Alerts(Storage(str(tmp_path))).list_incidents("fleet") == []

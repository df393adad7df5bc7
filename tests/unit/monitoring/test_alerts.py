"""Alerts reach the channels a spec names, say all there is to say, and never a secret."""

from __future__ import annotations

import ast
import dataclasses
import logging
import re
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from mlops.errors import ConfigError
from mlops.governance.database import Database
from mlops.monitoring import runbook
from mlops.monitoring.alerts import Alerts
from mlops.monitoring.incident_tables import STATEMENTS, TABLES
from mlops.records import Incident
from mlops.spec import AlertsSpec
from tests.receivers import http_receiver

ROOT = Path(__file__).parents[3]
NOW = datetime(2026, 3, 2, 1, tzinfo=UTC)
INCIDENT = Incident(
    key="fleet/drift",
    model="fleet",
    kind="drift",
    date=date(2026, 3, 2),
    urgency="normal",
    summary="Half the columns moved.",
    consequence="Its answers may be wrong.",
    action="Open the report.",
)


def alerts_in(folder: Path, **settings: dict[str, object]) -> Alerts:
    """The incidents of a folder, with these channels."""
    database = Database(f"sqlite:///{folder}/incidents.db", TABLES, STATEMENTS)
    variables = {"URL": "http://127.0.0.1:1/T0/very-secret", "KEY": "very-secret"}
    return Alerts(database, settings=settings, variables=variables, clock=lambda: NOW, sleep=lambda _: None)


def test_the_log_line_says_what_it_means_what_goes_on_and_what_to_do(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One WARNING line holds all four, the runbook's chapter and the command to acknowledge it; once."""
    caplog.set_level(logging.WARNING, logger="mlops")
    alerts = alerts_in(tmp_path)
    assert alerts.raise_incident(INCIDENT, runbook="docs/other.md") is True
    assert alerts_in(tmp_path).raise_incident(INCIDENT, runbook="docs/other.md") is False
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    said = (INCIDENT.summary, INCIDENT.consequence, runbook.CHAPTERS["drift"].goes_on, INCIDENT.action)
    for text in (*said, "docs/other.md#drift-the-world-has-moved", "2026-03-02", "mlops incidents ack 1"):
        assert text in record.getMessage()
    assert "\n" not in record.getMessage()


def test_another_kind_is_another_incident(tmp_path: Path) -> None:
    """What is told of one hides no other, of this model or another."""
    alerts = alerts_in(tmp_path)
    assert alerts.raise_incident(INCIDENT) is True
    assert alerts.raise_incident(dataclasses.replace(INCIDENT, key="fleet/quarantine", kind="quarantine")) is True
    assert alerts.raise_incident(dataclasses.replace(INCIDENT, key="pump/drift", model="pump")) is True
    assert [one.key for one in alerts.list_incidents("fleet")] == ["fleet/drift", "fleet/quarantine"]
    assert alerts.resolve("fleet", "drift", at=NOW) == 1
    assert [one.key for one in alerts.list_incidents(resolved=False)] == ["fleet/quarantine", "pump/drift"]


def test_an_unknown_channel_is_refused_before_anything_is_told(tmp_path: Path) -> None:
    """A mistyped channel is named together with the known ones."""
    with pytest.raises(ConfigError, match=r"no alert channel 'logg'.*Did you mean 'log'"):
        alerts_in(tmp_path).raise_incident(INCIDENT, channels=("log", "logg"))
    assert alerts_in(tmp_path).list_incidents("fleet") == []


def test_a_channel_hears_only_of_what_is_urgent_enough(tmp_path: Path) -> None:
    """`at_least: high` is not told of a normal incident, but when that becomes worse, and when it is over."""
    with http_receiver() as receiver:
        hook = {"type": "webhook", "url": receiver.url, "secret": "${KEY}", "at_least": "high"}
        alerts, terms = alerts_in(tmp_path, pager=hook), AlertsSpec(channels=("pager",))
        alerts.raise_incident(INCIDENT, terms=terms)
        assert receiver.requests == []
        alerts.raise_incident(dataclasses.replace(INCIDENT, urgency="high"), terms=terms)
        alerts.resolve("fleet", "drift", at=NOW)
        assert [b'"worse"' in request.body for request in receiver.requests] == [True, False]
        assert b'"resolved"' in receiver.requests[1].body


def test_a_secret_is_in_no_error_no_log_and_not_in_the_database(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A server that repeats what it was sent, and an address where nobody is: what is kept holds no secret."""
    with http_receiver() as receiver:
        receiver.answers = [(400, "I do not like very-secret")] * 3
        chat = {"type": "slack", "url": "${URL}"}
        hook = {"type": "webhook", "url": receiver.url, "secret": "${KEY}"}
        alerts = alerts_in(tmp_path, chat=chat, hook=hook)
        alerts.raise_incident(INCIDENT, terms=AlertsSpec(channels=("chat", "hook")))
    waiting = {message.channel: message.error for message in alerts.outbox.waiting()}
    assert set(waiting) == {"chat", "hook"}
    assert "I do not like ***" in waiting["hook"]
    for kept in (caplog.text, *waiting.values(), *(p.read_bytes().decode("latin-1") for p in tmp_path.iterdir())):
        assert "very-secret" not in kept


def test_a_secret_without_a_value_is_named_and_the_alert_waits(tmp_path: Path) -> None:
    """Who forgot to set it reads its name; the alert is told once it is set."""
    alerts = alerts_in(tmp_path, hook={"type": "webhook", "url": "http://127.0.0.1:1", "secret": "${NOT_SET}"})
    alerts.raise_incident(INCIDENT, terms=AlertsSpec(channels=("hook",)))
    (left,) = alerts.outbox.waiting()
    assert "NOT_SET" in left.error


def _kinds() -> list[str]:
    """The kinds of all `Incident(…)` in the package: constants whole, f-strings by their beginning."""
    found = []
    for path in sorted((ROOT / "mlops").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Incident":
                kind = next(word.value for word in node.keywords if word.arg == "kind")
                found.append(str(kind.value) if isinstance(kind, ast.Constant) else f"{path.stem}:{ast.unparse(kind)}")
    return found


def test_every_kind_of_incident_has_its_chapter_in_the_runbook() -> None:
    """Each kind that is raised is known, and each chapter's anchor is a heading."""
    from mlops.pipelines import incidents, reconcile, serving

    raised = _kinds()
    computed = {
        "ab_analysis:f'experiment_{state.spec.name}'": ["experiment_button"],
        "feature_checks:kind": ["checks of training", "checks of monitoring"],
        "incidents:_kind(step, task)": [incidents._kind(step, "fit[2]") for step in incidents.MEANING],
        "reconcile:finding.kind": sorted(reconcile.KINDS),
        "serving:KIND": [serving.KIND],
    }
    kinds = {kind for given in raised for kind in computed.get(given, [given])}
    assert {"quarantine", "drift", "checks of training", "alias_moved"} <= kinds
    text = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
    lines = [line.lstrip("# ").lower() for line in text.splitlines() if line.startswith("#")]
    headings = {re.sub(r"[^\w\- ]", "", line).replace(" ", "-") for line in lines}
    for kind in sorted(kinds):
        chapter = runbook.chapter(kind)
        assert chapter is not None, f"add {kind!r} to mlops/monitoring/runbook.py and docs/runbook.md"
        assert chapter.anchor in headings, kind
        assert chapter.goes_on.endswith(".")

"""Incidents and their outbox on SQLite and on PostgreSQL: one incident whoever finds it, and nothing untold."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import pytest

from mlops.errors import IncidentError, LedgerError
from mlops.governance.database import Database
from mlops.monitoring.alerts import Alerts
from mlops.monitoring.channels.log_channel import LogChannel
from mlops.monitoring.incident_tables import STATEMENTS, TABLES
from mlops.monitoring.outbox import Message
from mlops.records import Incident
from mlops.spec import AlertsSpec
from tests.faults.children import ended, fork
from tests.receivers import HttpReceiver, http_receiver

NOW = datetime(2026, 3, 2, 1, tzinfo=UTC)
FINDING = Incident("fleet/drift", "fleet", "drift", NOW.date(), "normal", "Half moved.", "It scores on.", "Look.")
TERMS = AlertsSpec(channels=("hook",))
FINDERS = 12


def alerts_at(url: str, hook: str = "", now: Callable[[], datetime] = lambda: NOW) -> Alerts:
    """The incidents of a database, with a webhook as channel `hook`."""
    database = Database(url, TABLES, STATEMENTS, what="incident store", setting="MLOPS_INCIDENTS_URL")
    hooks = {"hook": {"type": "webhook", "url": hook or "http://127.0.0.1:1/", "secret": "${KEY}"}}
    return Alerts(database, settings=hooks, variables={"KEY": "k"}, clock=now, sleep=lambda _: None)


def deliveries(receiver: HttpReceiver) -> list[str]:
    """The ids of what was received."""
    return [request.headers["Mlops-Delivery"] for request in receiver.requests]


def test_many_who_find_the_same_at_once_open_one_incident_and_tell_once(url: str) -> None:
    """Twelve processes' worth of connections: one number, one message."""
    with http_receiver() as receiver:
        barrier, told, errors = threading.Barrier(FINDERS), list[bool](), list[BaseException]()

        def find() -> None:
            own = alerts_at(url, receiver.url)
            own.list_incidents()  # the tables are there: only the incident is raced for
            barrier.wait()
            try:
                told.append(own.raise_incident(FINDING, terms=TERMS))
            except BaseException as error:  # noqa: BLE001 - whatever a thread raises fails the test
                errors.append(error)

        threads = [threading.Thread(target=find) for _ in range(FINDERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        alerts_at(url, receiver.url).deliver()
        assert errors == []
        assert sorted(told) == [False] * (FINDERS - 1) + [True]
        (one,) = alerts_at(url).list_incidents("fleet")
        assert (one.number, one.count, one.state) == (1, 1, "open")
        assert deliveries(receiver) == ["mlops/fleet/drift/1/1"]


def test_a_process_killed_before_it_could_tell_leaves_that_to_the_next(url: str) -> None:
    """The incident and its message are there or neither is; a retry finds the same incident and tells of it once."""
    with http_receiver() as receiver:
        own = alerts_at(url, receiver.url)

        def child() -> None:
            deadly = alerts_at(url, receiver.url)
            deadly.deliver = lambda: os._exit(9)  # type: ignore[method-assign]
            deadly.raise_incident(FINDING, terms=TERMS)

        assert ended(fork(child)) == 9
        assert receiver.requests == []
        assert own.raise_incident(FINDING, terms=TERMS) is False
        own.deliver()
        own.deliver()
        assert deliveries(receiver) == ["mlops/fleet/drift/1/1"]
        assert [(one.number, one.count) for one in own.list_incidents()] == [(1, 1)]


def test_a_process_killed_while_telling_tells_again_under_the_same_id(url: str) -> None:
    """What was sent and not noted down is sent once more, when the claim of the dead process has run out."""
    with http_receiver() as receiver:

        def child() -> None:
            own = alerts_at(url, receiver.url)
            own.outbox.sent = lambda *_: os._exit(9)  # type: ignore[method-assign]
            own.raise_incident(FINDING, terms=TERMS)

        assert ended(fork(child)) == 9
        own = alerts_at(url, receiver.url)
        assert own.deliver().sent == 0
        later = alerts_at(url, receiver.url, now=lambda: NOW + timedelta(minutes=5))
        assert later.deliver().sent == 1
        assert deliveries(receiver) == ["mlops/fleet/drift/1/1"] * 2


def test_two_that_deliver_at_once_send_a_message_once(url: str) -> None:
    """Who takes a message has it to itself."""
    own = alerts_at(url)
    own.store.raised("fleet/drift", lambda _: (FINDING, "opened"), channels=lambda _: ["hook"], now=NOW)
    claimed = [own.outbox.claim(1, NOW, seconds=60), alerts_at(url).outbox.claim(1, NOW, seconds=60)]
    assert [message is None for message in claimed] == [False, True]
    assert own.outbox.claim(1, NOW + timedelta(seconds=61), seconds=60) is not None


def test_what_a_channel_does_not_take_waits_and_is_told_in_order(url: str) -> None:
    """A channel that is down fails no step; back-off doubles to an hour; the log is told meanwhile; nothing is lost."""
    moment = [NOW]
    both = AlertsSpec(channels=("log", "hook"))
    with http_receiver() as receiver:
        receiver.answers = [(503, "down")] * 6
        own = alerts_at(url, receiver.url, now=lambda: moment[0])
        assert own.raise_incident(FINDING, terms=both) is True
        assert own.resolve("fleet", "drift", at=NOW) == 1
        assert len(receiver.requests) == 3  # one delivery is three tries; the second message waits behind the first
        waiting = own.outbox.waiting()
        assert [(m.channel, m.event, m.attempts) for m in waiting] == [("hook", "opened", 1), ("hook", "resolved", 0)]
        assert "503" in waiting[0].error
        for minutes, tries in ((0.5, 3), (1.1, 6), (2.5, 6), (3.2, 8)):
            moment[0] = NOW + timedelta(minutes=minutes)
            own.deliver()
            assert len(receiver.requests) == tries, minutes
        assert own.outbox.waiting() == []
        assert [json.loads(request.body)["event"] for request in receiver.requests[-2:]] == ["opened", "resolved"]


def test_the_end_of_what_comes_and_goes_is_kept_back(url: str) -> None:
    """Flapping, its end is told only when it has stayed away for `reopen_hours`; back before, the end is never told."""
    hour = [0.0]
    with http_receiver() as receiver:
        own = alerts_at(url, receiver.url, now=lambda: NOW + timedelta(hours=hour[0]))
        for _ in range(3):
            own.raise_incident(FINDING, terms=TERMS)
            hour[0] += 1
            own.resolve("fleet", "drift", at=NOW + timedelta(hours=hour[0]), terms=TERMS)
            hour[0] += 1
        told = [message.split("/")[-1] for message in deliveries(receiver)]
        assert len(told) == 5  # opened, over, back, over, comes and goes
        own.raise_incident(FINDING, terms=TERMS)
        hour[0] += 1
        own.resolve("fleet", "drift", at=NOW + timedelta(hours=hour[0]), terms=TERMS)
        hour[0] += 71
        assert own.deliver().sent == 0
        hour[0] += 2
        assert own.deliver().sent == 1
        assert own.outbox.waiting() == []


def test_who_did_what_and_why_is_kept(url: str) -> None:
    """Acknowledged, silenced and resolved by people: with name, reason and time; twice the same changes nothing."""
    own = alerts_at(url)
    own.raise_incident(FINDING)
    assert own.acknowledge(1, by="ann", note="on it") is True
    assert own.acknowledge(1, by="bob") is False
    assert own.silence(1, until=date(2026, 3, 9), by="ann", note="pumps are replaced") is True
    assert own.silence(1, until=date(2026, 3, 9), by="ann", note="pumps are replaced") is False
    assert own.resolve_by_hand(1, by="bob", note="replaced") is True
    assert own.resolve_by_hand(1, by="bob") is False
    assert [(act.what, act.by, act.note) for act in own.store.history(1)] == [
        ("opened", "", ""),
        ("acknowledged", "ann", "on it"),
        ("silenced until 2026-03-09", "ann", "pumps are replaced"),
        ("resolved", "bob", "replaced"),
    ]
    assert (own.find("fleet/drift").state, own.find("1").by) == ("resolved", "bob")
    with pytest.raises(IncidentError, match="Did you mean 'fleet/drift'"):
        own.find("fleet/drif")
    with pytest.raises(IncidentError, match="no incident 7"):
        own.find("7")


def test_what_cannot_be_kept_is_told_on_the_log_and_fails(caplog: pytest.LogCaptureFixture) -> None:
    """Without its database a finding is not lost in silence, and the step does not pass for done."""
    with caplog.at_level(logging.WARNING), pytest.raises(LedgerError, match="MLOPS_INCIDENTS_URL"):
        alerts_at("sqlite:////proc/none/incidents.db").raise_incident(FINDING)
    assert "Half moved." in caplog.text


def test_whatever_a_channel_does_the_step_goes_on(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that nobody foresaw in a channel is kept with the message, not raised into the step."""

    def broken(_self: LogChannel, _message: Message) -> None:
        raise ValueError("unforeseen")

    own = alerts_at(url)
    monkeypatch.setattr(LogChannel, "send", broken)
    assert own.raise_incident(FINDING) is True
    (left,) = own.outbox.waiting()
    assert left.error == "unforeseen"

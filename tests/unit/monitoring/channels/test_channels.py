"""What each channel sends, received by a server that speaks its protocol."""

from __future__ import annotations

import base64
import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops.errors import ConfigError, DeliveryError
from mlops.monitoring.channels import open_channel
from mlops.monitoring.channels.webhook import WebhookChannel, signature, verify
from mlops.monitoring.incidents import Event
from mlops.monitoring.outbox import Message
from mlops.records import Incident, from_dict
from tests.receivers import HttpReceiver, http_receiver, smtp_receiver

AT = datetime(2026, 3, 2, 1, tzinfo=UTC)
VARIABLES = {"KEY": "k-secret", "URL": ""}
FOUR = ("What happened", "What it means", "What goes on", "What to do")


def message(event: Event = "opened", number: int = 5, **changes: Any) -> Message:
    """Something to tell."""
    values = {
        "key": "fleet/drift", "model": "fleet", "kind": "drift", "date": date(2026, 3, 2), "urgency": "high",
        "summary": "Half of <b> & more moved.", "consequence": "Answers may be wrong.", "action": "Look.",
        "runbook": "https://docs.example.com/runbook.md#drift", "evidence_uri": "s3://bucket/drift.html", "number": 7,
        "first_seen_at": AT, "last_seen_at": AT, "told_at": AT, "parts": tuple(f"f{i}" for i in range(40)),
        "owner": "team@example.com",
    }  # fmt: skip
    return Message(number, "c", event, Incident(**(values | changes)), AT, 1)  # type: ignore[arg-type]


def sent(receiver: HttpReceiver, settings: dict[str, Any], *messages: Message) -> list[Any]:
    """The JSON that a channel of these settings posts."""
    for one in messages:
        open_channel("c", {"c": settings}, VARIABLES | {"URL": f"{receiver.url}/T0/B0"}).send(one)
    return [json.loads(request.body) for request in receiver.requests]


def test_slack_gets_all_four_parts_and_no_markup_of_ours() -> None:
    """Blocks with a header and a section per part; what Slack would read as a link or mention is escaped."""
    with http_receiver() as receiver:
        (posted,) = sent(receiver, {"type": "slack", "url": "${URL}"}, message(consequence="x" * 5000))
    assert receiver.requests[0].path == "/T0/B0"
    header, *blocks = posted["blocks"]
    assert header["text"]["text"] == "[high] fleet: drift new"
    texts = [block["text"]["text"] for block in blocks]
    assert [text.split("*")[1] for text in texts][:4] == list(FOUR)
    assert "Half of &lt;b&gt; &amp; more moved. (f0, f1, f2, f3, f4 and 35 more)" in texts[0]
    assert all(len(text) <= 3000 for text in texts)


def test_pagerduty_is_triggered_acknowledged_and_resolved_under_one_key() -> None:
    """Events API v2: the same `dedup_key` throughout, the severity in its words, links that are links."""
    with http_receiver() as receiver:
        settings = {"type": "pagerduty", "routing_key": "${KEY}", "url": f"{receiver.url}/v2/enqueue"}
        events: list[Event] = ["opened", "reminder", "acknowledged", "resolved"]
        posted = sent(receiver, settings, *(message(event) for event in events))
    assert [one["event_action"] for one in posted] == ["trigger", "trigger", "acknowledge", "resolve"]
    assert {one["dedup_key"] for one in posted} == {"mlops/fleet/drift/7"}
    assert {one["routing_key"] for one in posted} == {"k-secret"}
    payload = posted[0]["payload"]
    assert {"summary", "source", "severity"} <= set(payload)  # required by the API
    assert payload["severity"] == "critical"
    assert set(FOUR) <= set(payload["custom_details"])
    assert posted[0]["links"] == [{"href": "https://docs.example.com/runbook.md#drift", "text": "Runbook"}]


def test_alertmanager_keeps_one_alert_per_incident_and_severity() -> None:
    """Labels stay the same until it is over; then it ends; what has become worse ends under the old severity."""
    with http_receiver() as receiver:
        settings = {"type": "alertmanager", "url": f"{receiver.url}/", "open_days": 2}
        low, over = message(urgency="normal"), message("resolved", resolved_at=AT + timedelta(hours=3))
        posted = sent(receiver, settings, low, message("acknowledged"), message("worse"), over)
    assert {request.path for request in receiver.requests} == {"/api/v2/alerts"}
    (opened,), (worse, *ended), (ending,) = posted
    assert opened["labels"] == {
        "alertname": "MlopsIncident", "model": "fleet", "kind": "drift", "severity": "warning", "incident": "7",
        "owner": "team@example.com",
    }  # fmt: skip
    assert (opened["startsAt"], opened["endsAt"]) == (AT.isoformat(), (AT + timedelta(days=2)).isoformat())
    assert set(opened["annotations"]) >= {"what_happened", "what_it_means", "what_goes_on", "what_to_do"}
    assert opened["labels"] in [alert["labels"] for alert in ended]
    assert {alert["endsAt"] for alert in ended} == {AT.isoformat()}
    assert ending["labels"] == worse["labels"]
    assert ending["endsAt"] == (AT + timedelta(hours=3)).isoformat()


def test_mails_about_an_incident_are_one_thread_and_a_repeated_one_is_known() -> None:
    """Login, all four parts, Subject without line breaks, one `References`, a `Message-ID` that a retry repeats."""
    with smtp_receiver() as receiver:
        settings = {
            "type": "email", "host": "127.0.0.1", "port": receiver.port, "security": "none", "user": "mlops",
            "password": "${KEY}", "sender": "mlops <mlops@example.com>", "to": ["a@example.com", "b@example.com"],
        }  # fmt: skip
        channel = open_channel("c", {"c": settings}, VARIABLES)
        for one in (
            message(kind="drift\nBcc: x@y"),
            message(),
            message(),
            message("acknowledged"),
            message("resolved", 6),
        ):
            channel.send(one)
    assert {base64.b64decode(login.split()[-1]) for login in receiver.logins} == {b"\0mlops\0k-secret"}
    broken, first, again, over = receiver.mails
    assert "Bcc" not in broken
    assert first["To"] == "a@example.com, b@example.com"
    assert all(part in first.get_content() for part in FOUR)
    assert first["Message-ID"] == again["Message-ID"] != over["Message-ID"]
    assert first["References"] == over["References"]
    assert over["Subject"] == "[over] fleet: drift is over"


def test_a_mail_that_is_refused_was_not_delivered() -> None:
    """The answer after DATA counts: a server that is full is tried again later."""
    with smtp_receiver() as receiver:
        receiver.refuse = "452 full"
        settings = {"type": "email", "host": "127.0.0.1", "port": receiver.port, "security": "none"}
        channel = open_channel("c", {"c": settings | {"sender": "m@example.com", "to": ["a@example.com"]}}, VARIABLES)
        with pytest.raises(DeliveryError, match="452"):
            channel.send(message())


def test_a_webhook_is_signed_and_names_its_delivery() -> None:
    """The receiver verifies it with the secret; a second try is another timestamp and the same delivery."""
    with http_receiver() as receiver:
        for now in (1000.0, 1060.0):
            WebhookChannel(f"{receiver.url}/x", "k-secret", lambda now=now: now).send(message())  # type: ignore[misc]
    first, again = receiver.requests
    assert first.headers["Mlops-Delivery"] == again.headers["Mlops-Delivery"] == "mlops/fleet/drift/7/5"
    assert verify("k-secret", first.headers, first.body, now=1001.0)
    assert verify("k-secret", again.headers, again.body, now=1061.0)
    assert not verify("other", first.headers, first.body, now=1001.0)
    assert not verify("k-secret", first.headers, first.body, now=1000.0 + 301)
    assert not verify("k-secret", first.headers | {"Mlops-Timestamp": "1300"}, first.body, now=1301.0)
    assert not verify("k-secret", first.headers | {"Mlops-Delivery": "mlops/fleet/drift/7/6"}, first.body, now=1001.0)
    assert not verify("k-secret", {}, first.body, now=1001.0)
    body = json.loads(first.body)
    assert (body["event"], from_dict(Incident, body["incident"])) == ("opened", message().incident)
    assert set(FOUR) <= set(body["sections"])


@given(st.binary(min_size=1, max_size=60), st.integers(0, 59), st.integers(1, 255))
def test_a_byte_changed_on_the_way_breaks_the_signature(body: bytes, place: int, change: int) -> None:
    """Whatever byte it is."""
    headers = {"Mlops-Timestamp": "10", "Mlops-Delivery": "d", "Mlops-Signature": signature("s", "10", "d", body)}
    changed = bytearray(body)
    changed[place % len(body)] ^= change
    assert verify("s", headers, body, now=10)
    assert not verify("s", headers, bytes(changed), now=10)


@pytest.mark.parametrize("status", [302, 400, 404, 429, 500, 503])
def test_any_answer_but_2xx_was_not_delivered(status: int) -> None:
    """A redirect is not followed: what is sent goes to the address in the settings or nowhere."""
    with http_receiver() as receiver, http_receiver() as elsewhere:
        receiver.answers, receiver.headers = [(status, "no")], {"Location": elsewhere.url}
        with pytest.raises(DeliveryError, match=rf"127\.0\.0\.1 answered {status}"):
            sent(receiver, {"type": "slack", "url": "${URL}"}, message())
        assert elsewhere.requests == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"type": "slak", "url": "${URL}"}, "Did you mean 'slack'"),
        ({"type": "slack", "url": "https://hooks.example.com/T0/oops"}, "is secret"),
        ({"type": "webhook", "url": "http://x", "secret": "oops"}, "is secret"),
        ({"type": "pagerduty", "routing_key": "oops"}, "is secret"),
        ({"type": "pagerduty", "routing_ky": "${KEY}"}, "routing_key"),
        ({"type": "slack", "url": "${URL}", "at_leats": "high"}, "Did you mean 'at_least'"),
        ({"type": "email", "host": "h", "sender": "m@x", "to": []}, "to"),
    ],
)
def test_settings_of_a_channel_are_refused_without_repeating_a_secret(settings: dict[str, Any], words: str) -> None:
    """A secret written out is refused, and the message does not spread it further."""
    with pytest.raises(ConfigError, match=words) as raised:
        open_channel("c", {"c": settings}, VARIABLES)
    assert "oops" not in str(raised.value)

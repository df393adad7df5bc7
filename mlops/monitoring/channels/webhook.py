"""A webhook: JSON to any address, signed so that the receiver can tell who sent it, and when.

`Mlops-Signature: v1=HEX` is HMAC-SHA256 over `<Mlops-Timestamp>.<Mlops-Delivery>.<body>`. A receiver calls `verify`,
which refuses what was altered or is old, and passes over a `Mlops-Delivery` that it has seen: the same one is sent
again where the first answer was lost.

One rule: the timestamp is of the try, the delivery of the message.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from mlops.channel_settings import WebhookSettings, looked_up
from mlops.monitoring import message as words
from mlops.monitoring.channels.http import post
from mlops.monitoring.outbox import Message
from mlops.records import to_dict

TOLERANCE_SECONDS = 300.0
SIGNATURE, TIMESTAMP, DELIVERY = "Mlops-Signature", "Mlops-Timestamp", "Mlops-Delivery"


class WebhookChannel:
    """Posts signed JSON.

    Args:
        url: where to.
        secret: that the receiver knows, too.
        now: seconds since 1970; the receiver compares it with its own clock.
    """

    def __init__(self, url: str, secret: str, now: Callable[[], float] = time.time) -> None:
        self._url, self._secret, self._now = url, secret, now
        self.secrets: tuple[str, ...] = (secret,)

    @classmethod
    def of(cls, settings: WebhookSettings, variables: Mapping[str, str]) -> WebhookChannel:
        """The channel of these settings."""
        return cls(settings.url, looked_up(settings.secret, variables))

    def send(self, message: Message) -> None:
        """Post one message."""
        body = json.dumps(payload(message)).encode()
        stamp, delivery = str(int(self._now())), f"{words.incident_id(message.incident)}/{message.id}"
        headers = {TIMESTAMP: stamp, DELIVERY: delivery, SIGNATURE: signature(self._secret, stamp, delivery, body)}
        post(self._url, body, headers)


def payload(message: Message) -> dict[str, Any]:
    """What a webhook is sent: the event, the alert in words, and the incident."""
    return {
        "event": message.event,
        "at": message.created_at.isoformat(),
        "title": words.title(message),
        "sections": words.sections(message),
        "incident": to_dict(message.incident),
    }


def signature(secret: str, timestamp: str, delivery: str, body: bytes) -> str:
    """The signature of a body."""
    signed = f"{timestamp}.{delivery}.".encode() + body
    return f"v1={hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()}"


def verify(
    secret: str, headers: Mapping[str, str], body: bytes, *, now: float, tolerance: float = TOLERANCE_SECONDS
) -> bool:
    """Whether a request is from who knows the secret, unaltered and not replayed later. For receivers.

    Args:
        secret: as the sender has it.
        headers: of the request, names in any letters.
        body: as received, byte for byte.
        now: seconds since 1970.
        tolerance: how old a request may be [s].
    """
    given = {name.lower(): value for name, value in headers.items()}
    stamp = given.get(TIMESTAMP.lower(), "")
    expected = signature(secret, stamp, given.get(DELIVERY.lower(), ""), body)
    fits = hmac.compare_digest(expected.encode(), given.get(SIGNATURE.lower(), "").encode())
    return fits and stamp.isascii() and stamp.isdigit() and abs(now - int(stamp)) <= tolerance

"""Slack, by an incoming webhook.

References:
    Slack API, "Sending messages using incoming webhooks" and "Formatting text for app surfaces".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mlops.channel_settings import SlackSettings, looked_up
from mlops.monitoring import message as words
from mlops.monitoring.channels.http import post
from mlops.monitoring.outbox import Message

_SECTION, _HEADER = 3000, 150  # characters that Slack takes


class SlackChannel:
    """Posts blocks."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.secrets: tuple[str, ...] = (url,)

    @classmethod
    def of(cls, settings: SlackSettings, variables: Mapping[str, str]) -> SlackChannel:
        """The channel of these settings."""
        return cls(looked_up(settings.url, variables))

    def send(self, message: Message) -> None:
        """Post one message."""
        post(self._url, json.dumps(payload(message)).encode())


def payload(message: Message) -> dict[str, Any]:
    """What Slack is sent."""
    title = words.title(message)
    shown = words.sections(message)
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": _cut(title, _HEADER)}},
        *(
            {"type": "section", "text": {"type": "mrkdwn", "text": _cut(f"*{heading}*\n{_escape(text)}", _SECTION)}}
            for heading, text in shown.items()
        ),
    ]
    return {"text": _escape(f"{title}. {shown.get('What happened', '')}"), "blocks": blocks}


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _cut(text: str, size: int) -> str:
    return text if len(text) <= size else f"{text[: size - 1]}…"

"""Ways to tell people: the log, mail, Slack, a signed webhook, PagerDuty, Alertmanager.

One rule: a channel sends once and raises `DeliveryError` if that was not taken; trying again is the outbox's work.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from mlops.channel_settings import (
    LOG,
    AlertmanagerSettings,
    EmailSettings,
    PagerDutySettings,
    SlackSettings,
    WebhookSettings,
    channel_settings,
)
from mlops.errors import ConfigError, did_you_mean
from mlops.monitoring.outbox import Message


class Channel(Protocol):
    """One way to tell people."""

    secrets: tuple[str, ...]  # what may stand in no error and no log

    def send(self, message: Message) -> None:
        """Tell of one thing.

        Raises:
            DeliveryError: it was not taken.
        """


def known_channels(settings: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """The names that a spec may use."""
    return (LOG, *settings)


def open_channel(name: str, settings: Mapping[str, Mapping[str, Any]], variables: Mapping[str, str]) -> Channel:
    """A channel by its name.

    Args:
        name: as specs call it.
        settings: of all channels, by name.
        variables: the environment that secrets are looked up in.

    Raises:
        ConfigError: there is no such channel, or a secret of it has no value.
    """
    if name == LOG:
        from mlops.monitoring.channels.log_channel import LogChannel

        return LogChannel()
    if name not in settings:
        raise ConfigError(f"There is no alert channel {name!r}.", hint=did_you_mean(name, known_channels(settings)))
    found = channel_settings(name, settings[name])
    match found:
        case EmailSettings():
            from mlops.monitoring.channels.email import EmailChannel

            return EmailChannel.of(found, variables)
        case SlackSettings():
            from mlops.monitoring.channels.slack import SlackChannel

            return SlackChannel.of(found, variables)
        case WebhookSettings():
            from mlops.monitoring.channels.webhook import WebhookChannel

            return WebhookChannel.of(found, variables)
        case PagerDutySettings():
            from mlops.monitoring.channels.pagerduty import PagerDutyChannel

            return PagerDutyChannel.of(found, variables)
        case AlertmanagerSettings():
            from mlops.monitoring.channels.alertmanager import AlertmanagerChannel

            return AlertmanagerChannel.of(found)

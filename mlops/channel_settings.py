"""The channels that alerts are told on, as an installation's settings name them.

`channels: {pager: {type: pagerduty, routing_key: ${PAGERDUTY_KEY}, at_least: high}}`; a spec then says
`channels: [pager]`.

One rule: what is secret stands in the settings only as a reference, `${NAME}` of the environment or `file:/path`, and
is looked up when something is sent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from mlops.errors import ConfigError, did_you_mean

LOG = "log"  # the channel that is always there
_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}|file:(/.+)")


def _is_reference(value: str) -> str:
    if not _REFERENCE.fullmatch(value):
        raise ValueError("is secret: write ${NAME} (an environment variable) or file:/path, not the value itself")
    return value


Secret = Annotated[str, AfterValidator(_is_reference)]


class _Channel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    at_least: Literal["low", "normal", "high"] = Field("low", description="Less urgent incidents are not told here.")


class EmailSettings(_Channel):
    """Mail by SMTP."""

    type: Literal["email"]
    host: str
    port: int = Field(587, ge=1, le=65535)
    security: Literal["starttls", "tls", "none"] = "starttls"
    user: str = ""
    password: Secret | None = None
    sender: str = Field(description="From.")
    to: tuple[str, ...] = Field(min_length=1)


class SlackSettings(_Channel):
    """A Slack incoming webhook; its URL is the secret."""

    type: Literal["slack"]
    url: Secret


class WebhookSettings(_Channel):
    """JSON to any address, signed by HMAC-SHA256."""

    type: Literal["webhook"]
    url: str
    secret: Secret


class PagerDutySettings(_Channel):
    """PagerDuty, Events API v2."""

    type: Literal["pagerduty"]
    routing_key: Secret
    url: str = "https://events.pagerduty.com/v2/enqueue"


class AlertmanagerSettings(_Channel):
    """Prometheus' Alertmanager, API v2."""

    type: Literal["alertmanager"]
    url: str = Field(description="Its address, without /api/v2/alerts.")
    open_days: float = Field(7, gt=0, description="After so long without another word it ends there.")


ChannelSettings = EmailSettings | SlackSettings | WebhookSettings | PagerDutySettings | AlertmanagerSettings
_TYPES: dict[str, type[BaseModel]] = {
    "email": EmailSettings,
    "slack": SlackSettings,
    "webhook": WebhookSettings,
    "pagerduty": PagerDutySettings,
    "alertmanager": AlertmanagerSettings,
}
_ADAPTER: TypeAdapter[ChannelSettings] = TypeAdapter(Annotated[ChannelSettings, Field(discriminator="type")])


def channel_settings(name: str, values: Mapping[str, Any]) -> ChannelSettings:
    """The settings of one channel.

    Args:
        name: as specs call it.
        values: as the settings file has them.

    Raises:
        ConfigError: they are not those of a channel. The message holds no value that could be secret.
    """
    if name == LOG:
        raise ConfigError(f"A channel cannot be called {LOG!r}: that one is always there.", hint="Name it otherwise.")
    if not isinstance(values, Mapping) or values.get("type") not in _TYPES:
        given = values.get("type") if isinstance(values, Mapping) else values
        raise ConfigError(f"Channel {name!r} has no known type: {given!r}.", hint=did_you_mean(str(given), _TYPES))
    try:
        return _ADAPTER.validate_python(dict(values))
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        key = str(first["loc"][-1])
        known = _TYPES[values["type"]].model_fields
        hint = did_you_mean(key, known) if first["type"] == "extra_forbidden" else ""
        said = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"Channel {name!r}, {key}: {said}.", hint=hint) from None


def looked_up(reference: str, variables: Mapping[str, str]) -> str:
    """What a reference stands for.

    Raises:
        ConfigError: the variable has no value, or the file cannot be read.
    """
    found = _REFERENCE.fullmatch(reference)
    assert found is not None, "settings hold references only"
    name, path = found.groups()
    if path:
        try:
            value = Path(path).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ConfigError(f"The secret in {path} cannot be read: {error.strerror}.") from error
    else:
        value = variables.get(name, "")
    if not value:
        what = path or f"environment variable {name}"
        raise ConfigError(f"A channel needs {what}, which has no value.", hint="Set it where alerts are sent from.")
    return value

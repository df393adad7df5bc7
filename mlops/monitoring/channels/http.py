"""Posting JSON: no redirect is followed, so that what is sent arrives at the address in the settings or nowhere.

One rule: an error says the host and the status, never the whole address, which may be secret.
"""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from mlops.errors import DeliveryError

SECONDS = 5.0
_ANSWER = 200  # characters of an answer that an error quotes


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def post(url: str, body: bytes, headers: Mapping[str, str] | None = None, *, seconds: float = SECONDS) -> str:
    """Post a body of JSON.

    Args:
        url: http or https.
        body: JSON.
        headers: further ones.
        seconds: how long to wait for a connection, and for an answer [s].

    Returns:
        what was answered with a status of 2xx.

    Raises:
        DeliveryError: no answer, or another status.
    """
    parts = urlsplit(url)
    host = parts.hostname or "?"
    if parts.scheme not in ("http", "https"):
        raise DeliveryError(f"The address of a channel at {host} is not http(s).")
    request = urllib.request.Request(
        url, data=body, headers={"Content-Type": "application/json", "User-Agent": "mlops", **(headers or {})}
    )
    try:
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=seconds) as answer:
            said: bytes = answer.read(10_000)
    except urllib.error.HTTPError as error:
        with error:
            quoted = error.read(_ANSWER).decode("utf-8", "replace").strip()
        raise DeliveryError(f"{host} answered {error.code} {error.reason}: {quoted}".rstrip(": ")) from error
    except (OSError, http.client.HTTPException) as error:  # URLError is an OSError
        raise DeliveryError(f"{host} did not answer: {getattr(error, 'reason', None) or error}") from error
    return said.decode("utf-8", "replace")

"""A service on this machine, asked over HTTP, never by a proxy."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

from mlops.serving.targets.deployment import Ask, Reply

TIMEOUT_SECONDS = 10.0


def asks(url: str) -> Ask:
    """Asks the service at `url`; `OSError` where nobody answers."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def ask(path: str, body: dict[str, Any] | None) -> Reply:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{url}{path}", data=data, headers={"Content-Type": "application/json"})
        try:
            with opener.open(request, timeout=TIMEOUT_SECONDS) as answer:
                return Reply(answer.status, parsed(answer.read()))
        except urllib.error.HTTPError as error:
            with error:
                return Reply(error.code, parsed(error.read()))

    return ask


def parsed(body: bytes) -> Any:
    """The JSON of an answer, or None if it is none."""
    try:
        return json.loads(body)
    except ValueError:
        return None


def problem(reply: Reply) -> str:
    """Why a service cannot answer, from its `/health`; "" if it can, be it while a store is away."""
    said = reply.body if isinstance(reply.body, dict) else {}
    if reply.status == 200 or said.get("answering") is True:
        return ""
    models = said.get("models", {})
    words = [f"{name}: {of.get('problem') or of}" for name, of in models.items() if isinstance(of, dict)]
    return f"/health says {reply.status}" + (f" ({'; '.join(words)})" if words else "")

"""Whether the programs of the local platform are well, by their own word.

One rule: who does not answer is not well; nothing is inferred from a process that merely runs.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Mapping

HOST = "127.0.0.1"


def healthy(ports: Mapping[str, int]) -> set[str]:
    """Names of the processes that are well, by their own word."""
    found = set()
    if "data-docs" in ports and _get(f"http://{HOST}:{ports['data-docs']}/health") is not None:
        found.add("data-docs")
    if "feast" in ports and _get(f"http://{HOST}:{ports['feast']}/projects-list.json") is not None:
        found.add("feast")
    if _get(f"http://{HOST}:{ports['mlflow']}/health") is not None:
        found.add("mlflow")
    if (answer := _get(f"http://{HOST}:{ports['api-server']}/api/v2/monitor/health")) is not None:
        found.add("api-server")
        parts = json.loads(answer)
        for name in ("scheduler", "dag-processor", "triggerer"):
            if (parts.get(name.replace("-", "_")) or {}).get("status") == "healthy":
                found.add(name)
    return found


def _get(url: str) -> bytes | None:
    """The body of a page of this machine (never by a proxy), or None while nobody answers."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=5) as answer:
            body: bytes = answer.read()
            return body
    except OSError:
        return None

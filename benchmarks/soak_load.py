"""Callers that never stop asking: at a steady rate, on connections of their own, each answer kept and judged.

One rule: a request is one of three: answered (by any status), cut (its connection went away), or never sent.
"""

from __future__ import annotations

import asyncio
import json
import time
from array import array
from dataclasses import dataclass, field

PATIENCE_SECONDS = 30.0


@dataclass
class Heard:
    """What callers have heard. Request n has the id `c<n>`."""

    answered: array[int] = field(default_factory=lambda: array("q"))  # numbers of those answered with 200
    refused: list[tuple[float, int, str, str]] = field(default_factory=list)  # when, status, kind, what was said
    cut: list[float] = field(default_factory=list)  # when connections went away under a request
    at: array[float] = field(default_factory=lambda: array("d"))  # when each was answered [s, monotonic]
    version: array[int] = field(default_factory=lambda: array("q"))  # by which version
    late: array[float] = field(default_factory=lambda: array("d"))  # seconds from when it was due to the answer
    scores: dict[tuple[int, int], set[float]] = field(default_factory=dict)  # by version and row
    sent: int = 0


class Callers:
    """Callers of one service.

    Args:
        port: of the service on this machine.
        rows: feature rows that are asked in turn.
        entities: keys that are looked up, every tenth request; none: nothing is looked up.
    """

    def __init__(self, port: int, rows: list[dict[str, float]], entities: list[str]) -> None:
        self.heard = Heard()
        self._port, self._rows, self._entities = port, rows, entities
        self._texts = [json.dumps(row) for row in rows]

    async def run(self, *, connections: int, seconds: float, rate: float | None) -> float:
        """Ask for some seconds, by all connections together `rate` times a second; None: as often as they can.

        Returns:
            Answers per second.
        """
        began, before = time.monotonic(), len(self.heard.answered)
        every = connections / rate if rate else 0.0
        await asyncio.gather(
            *(self._ask(began + i * every / connections, began + seconds, every) for i in range(connections))
        )
        return (len(self.heard.answered) - before) / (time.monotonic() - began)

    async def _ask(self, due: float, until: float, every: float) -> None:
        reader: asyncio.StreamReader | None = None
        writer: asyncio.StreamWriter | None = None
        while (now := time.monotonic()) < until:
            if every:
                if due > now:
                    await asyncio.sleep(due - now)
                began, due = due, due + every
            else:
                began = now
            number = self.heard.sent
            self.heard.sent += 1
            try:
                if reader is None or writer is None:
                    reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
                writer.write(self._request(number))
                status, body = await asyncio.wait_for(_answer(reader), PATIENCE_SECONDS)
            except (OSError, EOFError, asyncio.IncompleteReadError, TimeoutError):
                self.heard.cut.append(time.monotonic())
                if writer is not None:
                    writer.close()
                reader = writer = None
                await asyncio.sleep(0.05)
                continue
            self._keep(number, status, body, began)
        if writer is not None:
            writer.close()

    def _row(self, number: int) -> int | None:
        """Which row a request asks for; None: it asks for an entity."""
        return None if self._entities and number % 10 == 9 else number % len(self._rows)

    def _request(self, number: int) -> bytes:
        row = self._row(number)
        entity = self._entities[number % len(self._entities)] if row is None else ""
        asked = f'"entity":"{entity}"' if row is None else f'"features":{self._texts[row]}'
        body = f'{{"request_id":"c{number}",{asked}}}'
        head = "POST /predict HTTP/1.1\r\nHost: s\r\nContent-Type: application/json\r\n"
        return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()

    def _keep(self, number: int, status: int, body: bytes, began: float) -> None:
        heard, now = self.heard, time.monotonic()
        row = self._row(number)
        if status != 200:
            heard.refused.append((now, status, "entity" if row is None else "features", body.decode()[:300]))
            return
        said = json.loads(body)
        heard.answered.append(number)
        heard.late.append(now - began)
        heard.at.append(now)
        heard.version.append(said["version"])
        if said["request_id"] != f"c{number}":
            raise RuntimeError(f"request c{number} got the answer of {said['request_id']}")
        if row is not None:
            heard.scores.setdefault((said["version"], row), set()).add(said["score"])


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    status = int(head.split(b" ", 2)[1])
    at = head.lower().index(b"content-length:") + len(b"content-length:")
    length = int(head[at : head.index(b"\r\n", at)])
    return status, await reader.readexactly(length)

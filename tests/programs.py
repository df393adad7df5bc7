"""Programs of other projects that tests start on ports of their own, and end again."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from tests.conftest import absent

PACKAGES = {
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "prometheus-alertmanager": "prometheus-alertmanager",
    "amtool": "prometheus-alertmanager",
}
T = TypeVar("T")


def program(name: str) -> str:
    """Where a program is; a skip where it is not installed, a failure in CI."""
    found = shutil.which(name)
    if found is None:
        absent(f"{name} is not installed: apt-get install {PACKAGES[name]}")
    assert found is not None
    return found


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running(command: Sequence[str], log: Path) -> Iterator[None]:
    """A program for as long as the block lasts; what it says goes to `log`."""
    with log.open("wb") as said, subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT) as process:
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()


def waited_for(ask: Callable[[], T], what: str, seconds: float = 60) -> T:
    """The first answer that is something; fails if there is none in time."""
    deadline = time.monotonic() + seconds
    last: object = None
    while time.monotonic() < deadline:
        try:
            if last := ask():
                return last
        except (urllib.error.URLError, ConnectionError) as error:
            last = error
        time.sleep(0.1)
    raise AssertionError(f"{what}: not within {seconds:g} s; last answer: {last!r}")


def get_json(url: str) -> Any:
    """What an address answers."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)

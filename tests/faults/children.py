"""Children that do one piece of work and end: forked, so that a SIGKILL is one, and nothing is shared with the next."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any


def fork(body: Callable[[], Any], answer: Path | None = None) -> int:
    """Start a child that runs `body` and ends: 0, or 1 with a traceback beside `answer`."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        result = body()
        if answer is not None:
            answer.write_text(json.dumps(result), encoding="utf-8")
        code = 0
    except BaseException:  # noqa: BLE001 - whatever ends a child is what the test is about
        if answer is not None:
            with contextlib.suppress(OSError):
                answer.with_suffix(".err").write_text(traceback.format_exc(), encoding="utf-8")
    finally:
        os._exit(code)


def ended(pid: int, seconds: float = 1200) -> int:
    """The exit code of a child: negative for a signal."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    raise AssertionError(f"a child was still at work after {seconds} s")

"""Programs that are started now and ended later by somebody else: who they are, and how to end exactly them.

Each leads a session of its own, so that whatever it starts in turn is found again by the session's id.

One rule: a process is ended only if it is the very one that was started, by process id *and* creation time.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped] # has no type stubs

_POLL_SECONDS = 0.1
_CLOCK_TICK = 1.0  # [s]; creation times of one process agree within this


@dataclass(frozen=True, slots=True)
class Process:
    """A program that was started, as kept in `<folder>/<name>.json`."""

    name: str
    pid: int
    created: float  # [s since epoch], as the operating system tells it
    port: int = 0  # 0: listens on none


def start(
    name: str, command: Sequence[str], *, environment: Mapping[str, str], log: Path, folder: Path, port: int = 0
) -> Process:
    """Start a program in a session of its own and keep a record of it.

    Args:
        name: its name in the record.
        command: the program and its arguments.
        environment: its whole environment.
        log: file that takes what it says; what was there before is lost.
        folder: where the record is kept.
        port: the port it listens on, for the record.
    """
    with log.open("wb") as output:
        child = subprocess.Popen(
            list(command),
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    child.returncode = 0  # it is meant to outlive this process: Popen would complain that nobody waits for it
    process = Process(name, child.pid, psutil.Process(child.pid).create_time(), port)
    (folder / f"{name}.json").write_text(json.dumps(asdict(process)), encoding="utf-8")
    return process


def recorded(folder: Path) -> list[Process]:
    """The programs of which a record is kept, running or not."""
    return [Process(**json.loads(path.read_text(encoding="utf-8"))) for path in sorted(folder.glob("*.json"))]


def forget(folder: Path, processes: Sequence[Process]) -> None:
    """Remove their records."""
    for process in processes:
        (folder / f"{process.name}.json").unlink(missing_ok=True)


def is_alive(process: Process) -> bool:
    """Whether the very program that was started still runs."""
    with contextlib.suppress(psutil.NoSuchProcess):
        found = psutil.Process(process.pid)
        return _is_same(found, process) and bool(found.status() != psutil.STATUS_ZOMBIE)
    return False


def end(processes: Sequence[Process], seconds: float) -> tuple[str, ...]:
    """End programs and all that they started: SIGTERM, and after `seconds` SIGKILL to what is left of their sessions.

    Returns:
        Names of those of which something was running.
    """
    ours = [process for process in processes if members(process)]
    for process in ours:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
    deadline = time.monotonic() + seconds
    while (left := [member for process in ours for member in members(process)]) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    for member in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    psutil.wait_procs(left, timeout=5)
    return tuple(process.name for process in ours)


def members(process: Process) -> list[psutil.Process]:
    """The living processes of the session that a program leads; none if its id now belongs to a stranger."""
    with contextlib.suppress(psutil.NoSuchProcess):
        if not _is_same(psutil.Process(process.pid), process):
            return []
    return [member for member in _living() if _session(member.pid) == process.pid]


def _is_same(found: psutil.Process, process: Process) -> bool:
    return bool(abs(found.create_time() - process.created) <= _CLOCK_TICK)


def _living() -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.status() != psutil.STATUS_ZOMBIE:
                yield process


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return -1

"""Who is at work: which process, for which Airflow task, at which try; and whether it may take over from another.

A lease is held in the words of an `Attempt`. Whoever finds it taken reads from them whether its holder can still be at
work: a later try of the same task replaces the earlier one, and so does anybody once the holder's process has gone.

One rule: whoever is taken over finds out by its fencing token; being sure that it is dead is never needed.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass

import psutil  # type: ignore[import-untyped] # has no type stubs

_CLOCK_TICK = 1.0  # [s]; creation times of one process agree within this
_HOLDER = re.compile(
    r"^(?P<who>.*) on (?P<host>\S+), process (?P<pid>\d+) since (?P<since>[\d.]+)"
    r"(?:, try (?P<number>\d+) of (?P<work>.+))?$"
)
_AIRFLOW = "AIRFLOW_CTX_"  # the environment of an Airflow task; the map index is added by plugins/listener.py


@dataclass(frozen=True, slots=True)
class Attempt:
    """One process at one piece of work."""

    who: str
    host: str
    pid: int
    since: float  # when the process was created [s since 1970], so that a pid used again is told apart
    work: str = ""  # "<dag>/<run>/<task>[<map index>]" in an Airflow task, else empty
    number: int = 0  # try number of the task, from 1; 0 outside Airflow

    @classmethod
    def current(cls, who: str, variables: Mapping[str, str]) -> Attempt:
        """The attempt that this process is.

        Args:
            who: the actor.
            variables: the environment, from which an Airflow task knows what it is.
        """
        work, number = "", 0
        if dag := variables.get(f"{_AIRFLOW}DAG_ID"):
            index = variables.get(f"{_AIRFLOW}MAP_INDEX", "-1")
            mapped = f"[{index}]" if index != "-1" else ""
            run, task = (variables.get(f"{_AIRFLOW}{name}", "") for name in ("DAG_RUN_ID", "TASK_ID"))
            work = f"{dag}/{run}/{task}{mapped}"
            number = int(variables.get(f"{_AIRFLOW}TRY_NUMBER", "1"))
        return cls(who, socket.gethostname(), os.getpid(), _created(os.getpid()), work, number)

    @classmethod
    def parse(cls, holder: str) -> Attempt | None:
        """The attempt behind the holder of a lease, or None if it was not written by `str`.

        >>> text = "anna on web-1, process 7 since 12.50, try 2 of training__fleet/r1/fit[0]"
        >>> str(Attempt.parse(text)) == text, Attempt.parse("somebody")
        (True, None)
        """
        found = _HOLDER.match(holder)
        if found is None:
            return None
        pid, since = int(found["pid"]), float(found["since"])
        return cls(found["who"], found["host"], pid, since, found["work"] or "", int(found["number"] or 0))

    def __str__(self) -> str:
        """As the holder of a lease, for people and for `parse`."""
        task = f", try {self.number} of {self.work}" if self.work else ""
        return f"{self.who} on {self.host}, process {self.pid} since {self.since:.2f}{task}"

    def supersedes(self, holder: str) -> bool:
        """Whether what `holder` holds may be taken at once: an earlier try of the same task, or a process that is gone.

        Args:
            holder: of a lease, in whatever words.
        """
        other = Attempt.parse(holder)
        if other is None:
            return False
        if self.work and other.work == self.work and other.number < self.number:
            return True
        return other.host == self.host and not _alive(other.pid, other.since)

    def tags(self) -> dict[str, str]:
        """What a run says of where it was made; Airflow's names only inside an Airflow task."""
        found = {"host": self.host, "pid": str(self.pid), "actor": self.who}
        if self.work:
            dag, run, task = self.work.split("/", 2)
            found |= {"airflow.dag": dag, "airflow.run": run, "airflow.task": task, "airflow.try": str(self.number)}
        return found


def _created(pid: int) -> float:
    return round(float(psutil.Process(pid).create_time()), 2)


def _alive(pid: int, since: float) -> bool:
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - since) <= _CLOCK_TICK
        return bool(same and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True

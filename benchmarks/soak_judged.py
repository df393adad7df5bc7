"""What became of a soak, and whether it held.

One rule: everything is judged, also when something did not hold, so that the report is whole.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field

import numpy as np

from benchmarks.soak_load import Heard
from mlops.serving import log_reading
from mlops.storage import Storage

CONNECTIONS = 16
WORKERS = 2
AFTER_REDIS_SECONDS = 5.0  # until a store that is back has been found


@dataclass
class Soak:
    """What became of a soak."""

    peak: float  # answers per second that the same callers reached [1/s]
    rate: float  # asked for [1/s]
    seconds: float
    load: tuple[float, float] = (0.0, 0.0)  # load average before and after
    heard: Heard = field(default_factory=Heard)
    moments: dict[str, float] = field(default_factory=dict)  # what happened when [s by the monotonic clock]
    moved: list[tuple[float, float, int]] = field(default_factory=list)  # from when to when, which version took over
    slow: float = 0.0  # longest time from a move to the last answer of another version [s]
    memory: dict[int, list[tuple[float, float]]] = field(default_factory=dict)  # by process: when [s], memory [MB]
    health: list[tuple[float, bool, bool]] = field(default_factory=list)  # when, answering, ready
    logged: int = 0
    faults: list[str] = field(default_factory=list)  # what did not hold


def judge(found: Soak, all_heard: list[Heard], storage: Storage, *, growth_mb: float, live_seconds: float) -> None:
    """Put into `found.faults` what did not hold.

    Args:
        found: the soak.
        all_heard: what all callers heard, also before it.
        storage: where the prediction log lies.
        growth_mb: by how much a process may grow [MB].
        live_seconds: within which every answer is of the version that took over [s].
    """
    said = found.faults
    moments = found.moments
    for kind in ("features", "entity"):
        wrong = [each for each in found.heard.refused if each[2] == kind]
        if kind == "entity":
            until = moments.get("Redis back", 0) + AFTER_REDIS_SECONDS
            wrong = [w for w in wrong if not (moments.get("Redis away", 0) - 1 <= w[0] <= until and w[1] == 503)]
        if wrong:
            said.append(f"{len(wrong)} requests with {kind} were refused, the first: {wrong[0]}")
    killed = moments.get("worker killed", float("inf"))
    stray = [at for at in found.heard.cut if not killed - 1 <= at <= killed + 5]
    if stray:
        said.append(f"{len(stray)} connections were cut by something else than the kill")
    if len(found.heard.cut) > CONNECTIONS:
        said.append(f"{len(found.heard.cut)} requests were cut, at most {CONNECTIONS} were open")
    mixed = {key: scores for key, scores in found.heard.scores.items() if len(scores) > 1}
    if mixed:
        said.append(f"answers of one version under another's name: {mixed}")
    versions = {version for version, _ in found.heard.scores}
    if versions != {1, 2, 3}:
        said.append(f"versions {sorted(versions)} answered, expected 1, 2 and 3")
    _judge_moves(found, live_seconds)
    _judge_log(found, all_heard, storage)
    _judge_health(found)
    for pid, growth in grown(found).items():
        if growth > growth_mb:
            said.append(f"process {pid} has grown by {growth:.0f} MB, at most {growth_mb:.0f} are flat")


def _judge_moves(found: Soak, live_seconds: float) -> None:
    """From the end of a move to the beginning of the next, every answer is of the version that took over."""
    at, version = np.array(found.heard.at), np.array(found.heard.version)
    ends = [began for began, _, _ in found.moved[1:]] + [float("inf")]
    for (_, done, number), end in zip(found.moved, ends, strict=True):
        others = at[(at > done) & (at < end) & (version != number)]
        found.slow = max(found.slow, float(others.max() - done) if len(others) else 0.0)
    if found.slow > live_seconds:
        found.faults.append(f"an answer came from the version before {found.slow:.1f} s after a move")


def _judge_log(found: Soak, all_heard: list[Heard], storage: Storage) -> None:
    days = log_reading.days(storage, "pumps")
    kept = log_reading.read(storage, "pumps", days[0], days[-1])
    asked = {f"c{number}" for heard in all_heard for number in heard.answered}
    found.logged = len(kept)
    lost = asked - set(kept["request_id"])
    if lost:
        found.faults.append(f"{len(lost)} of {len(asked)} answered requests are not in the log")
    cut = sum(len(heard.cut) for heard in all_heard)
    if len(kept) > len(asked) + cut:
        found.faults.append(f"the log has {len(kept)} rows for {len(asked)} answers and {cut} that were cut")


def _judge_health(found: Soak) -> None:
    moments, said = found.moments, found.faults
    if "Redis back" not in moments:
        said.append("Redis was never taken away")
        return
    away = [h for h in found.health if moments["Redis away"] + 4 < h[0] < moments["Redis starts"] - 0.5]
    back = [h for h in found.health if h[0] > moments["Redis back"] + AFTER_REDIS_SECONDS + 2]
    if not away or any(ready for _, _, ready in away):
        said.append("/health said ready while Redis was away")
    if not back or not back[-1][2]:
        said.append("/health did not become ready again")
    settled = [h for h in found.health if h[0] < moments.get("worker killed", float("inf"))]
    if not all(answering for _, answering, _ in settled):
        said.append("/health said that the versions do not answer")


def grown(found: Soak) -> dict[int, float]:
    """By process that lived from the second fifth of the time to its end: by how much its memory grew [MB]."""
    began, fifth = found.moments["began"], found.seconds / 5
    made = {}
    for pid, seen in found.memory.items():
        first = [mb for at, mb in seen if fifth <= at - began < 2 * fifth]
        last = [mb for at, mb in seen if 4 * fifth <= at - began and mb > 1]  # a killed one has none, and is no answer
        if first and last:
            made[pid] = statistics.median(last) - statistics.median(first)
    return made


def report(found: Soak) -> str:
    """What became of it, in lines."""
    heard = found.heard
    late = np.array(heard.late) if heard.late else np.zeros(1)
    away = [each for each in heard.refused if each[2] == "entity"]
    began = found.moments["began"]
    quick, slow = (1000 * np.quantile(late, share) for share in (0.5, 0.99))
    lines = [
        f"{found.seconds:.0f} s at {found.rate:,.0f} requests/s, {100 * found.rate / found.peak:.0f} % of a peak of "
        f"{found.peak:,.0f}; {WORKERS} workers, {CONNECTIONS} connections, "
        f"load {found.load[0]:.1f} to {found.load[1]:.1f}",
        "; ".join(f"{name} at {at - began:.0f} s" for name, at in found.moments.items() if at > began),
        f"answered {len(heard.answered):,}; with features refused {len(heard.refused) - len(away)}, lookups refused "
        f"{len(away)} while Redis was away; cut by the kill {len(heard.cut)}; rows in the log {found.logged:,}",
        f"from due to answered: p50 {quick:.1f} ms, p99 {slow:.0f} ms; a move is live within {found.slow:.2f} s",
        "memory and its growth [MB]: "
        + ", ".join(f"{found.memory[pid][-1][1]:.0f} ({mb:+.1f})" for pid, mb in grown(found).items()),
        *(f"DID NOT HOLD: {fault}" for fault in found.faults),
    ]
    return "\n".join(lines)

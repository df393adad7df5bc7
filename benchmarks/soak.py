"""Ten minutes in the life of `mlops serve`: load, promotions, a rollback, a lost Redis, a killed worker, flat memory.

BENCH_SOAK_SECONDS (default 600) at BENCH_SOAK_SHARE (default 0.7) of the peak that the same callers reach first, or at
BENCH_SOAK_RATE requests/s. Every tenth request is an entity whose features come from Redis (a server of its own on a
free port), the others bring their features. On the way: a promotion, 20 s without Redis, a promotion, SIGKILL for one
of the two workers, a rollback. What must hold, or the exit code is 1:

- no 5xx, but lookups while Redis is away and until it is found again; no request cut, but by the kill;
- every answer is of one version, promotions and the rollback are live within two seconds;
- every answered request is in the prediction log, once;
- `/health` is not ready while Redis is away, and answering throughout;
- no process grows by more than GROWTH_MB from the second fifth of the time to the last.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import psutil  # type: ignore[import-untyped]

from benchmarks.soak_home import ENTITIES, Home
from benchmarks.soak_judged import CONNECTIONS, Soak, judge, report
from benchmarks.soak_load import Callers
from mlops.pipelines import promotion, rollback
from tests.contenders import with_clock

SECONDS = float(os.environ.get("BENCH_SOAK_SECONDS", "600"))
SHARE = float(os.environ.get("BENCH_SOAK_SHARE", "0.7"))
RATE = float(os.environ.get("BENCH_SOAK_RATE", "0"))
GROWTH_MB = 24.0
LIVE_SECONDS = 2.0


def main() -> None:
    """Print what became of it; exit code 1 if something did not hold."""
    found = run(SECONDS, share=SHARE, rate=RATE)
    print(report(found))
    if found.faults:
        sys.exit(1)


def run(
    seconds: float,
    *,
    share: float = 0.7,
    rate: float = 0.0,
    peak_seconds: float = 5.0,
    growth_mb: float = GROWTH_MB,
    live_seconds: float = LIVE_SECONDS,
) -> Soak:
    """Live through a soak.

    Args:
        seconds: how long the load lasts [s].
        share: of the measured peak that is asked for; ignored if `rate` is given.
        rate: requests per second; 0: by `share`.
        peak_seconds: how long the peak is measured [s].
        growth_mb: by how much a process may grow [MB]; in a minute it is still warming up.
        live_seconds: within which every answer is of the version that took over [s].
    """
    if shutil.which("redis-server") is None:
        raise SystemExit("redis-server is not installed: apt-get install redis-server")
    with tempfile.TemporaryDirectory(prefix="bench-soak-") as folder:
        return _Life(Path(folder), seconds, growth_mb, live_seconds).lived(share, rate, peak_seconds)


class _Life:
    """What happens to an installation."""

    def __init__(self, folder: Path, seconds: float, growth_mb: float, live_seconds: float) -> None:
        self.seconds, self.growth_mb, self.live_seconds = seconds, growth_mb, live_seconds
        self.home = Home(folder)
        self.found = Soak(0.0, 0.0, seconds)

    def lived(self, share: float, rate: float, peak_seconds: float) -> Soak:
        """The whole life."""
        found = self.found
        try:
            self._promote(1)
            self.home.serve()
            rng = np.random.default_rng(0)
            rows = [dict(zip(("temperature", "pressure"), r, strict=True)) for r in rng.normal(size=(16, 2)).tolist()]
            found.load = os.getloadavg()[0], 0.0
            warm = Callers(self.home.port, rows, ENTITIES)
            asyncio.run(warm.run(connections=CONNECTIONS, seconds=1, rate=None))
            first = Callers(self.home.port, rows, ENTITIES)
            first.heard.sent = 10_000_000
            found.peak = asyncio.run(first.run(connections=CONNECTIONS, seconds=peak_seconds, rate=None))
            found.rate = rate or share * found.peak
            callers = Callers(self.home.port, rows, ENTITIES)
            callers.heard.sent = 20_000_000
            self._under_load(callers)
            found.heard = callers.heard
            found.load = found.load[0], os.getloadavg()[0]
            self.home.end()
            judge(
                found,
                [warm.heard, first.heard, callers.heard],
                self.home.contenders.services.storage,
                growth_mb=self.growth_mb,
                live_seconds=self.live_seconds,
            )
        finally:
            self.home.kill()
        return found

    def _under_load(self, callers: Callers) -> None:
        """Everything that happens, while callers ask."""
        ends, faults = threading.Event(), self.found.faults
        thread = threading.Thread(target=self._watch, args=(ends,), daemon=True)
        began = time.monotonic()
        self.found.moments["began"] = began

        def events() -> None:
            away = min(20.0, self.seconds / 6)
            plan: list[tuple[float, Callable[[], None]]] = [
                (0.15, lambda: self._promote(2)),
                (0.30, lambda: self._without_redis(away)),
                (0.55, lambda: self._promote(3)),
                (0.68, self._kill_worker),
                (0.85, self._roll_back),
            ]
            for share, happen in plan:
                time.sleep(max(0.0, began + share * self.seconds - time.monotonic()))
                happen()

        def watched() -> None:
            try:
                events()
            except Exception as error:  # noqa: BLE001 - a fault of the plan is a fault of the soak, told at its end
                faults.append(f"{type(error).__name__}: {error}")

        happening = threading.Thread(target=watched, daemon=True)
        thread.start()
        happening.start()
        asyncio.run(callers.run(connections=CONNECTIONS, seconds=self.seconds, rate=self.found.rate))
        happening.join(60)
        ends.set()
        thread.join(30)

    def _promote(self, version: int) -> None:
        began = time.monotonic()
        ahead = with_clock(self.home.contenders.services, lambda: datetime.now(UTC))
        self.home.contenders.judge(version)
        answer = promotion.run(ahead, self.home.contenders.spec, self.home.contenders.day(version))
        if answer.outcome != "done":
            raise RuntimeError(f"version {version} was not promoted: {answer}")
        self._moved(f"version {version} promoted", version, began)

    def _roll_back(self) -> None:
        began = time.monotonic()
        ahead = with_clock(self.home.contenders.services, lambda: datetime.now(UTC))
        answer = rollback.run(ahead, self.home.contenders.spec, datetime.now(UTC).date(), reason="soak")
        if answer.outcome != "done":
            raise RuntimeError(f"the champion was not rolled back: {answer}")
        self._moved("rolled back", 2, began)

    def _moved(self, what: str, version: int, began: float) -> None:
        self.found.moments[what] = time.monotonic()
        self.found.moved.append((began, self.found.moments[what], version))

    def _without_redis(self, seconds: float) -> None:
        self.home.redis.terminate()
        self.home.redis.wait(20)
        self.found.moments["Redis away"] = time.monotonic()
        time.sleep(seconds)
        self.found.moments["Redis starts"] = time.monotonic()
        self.home.redis = self.home.start_redis()
        self.found.moments["Redis back"] = time.monotonic()

    def _kill_worker(self) -> None:
        victim = self.home.workers()[0]
        self.found.moments["worker killed"] = time.monotonic()
        os.kill(victim, signal.SIGKILL)

    def _watch(self, ends: threading.Event) -> None:
        """Memory and health, some times a second."""
        while not ends.wait(max(0.5, min(2.0, self.seconds / 100))):
            at = time.monotonic()
            for process in self.home.family():
                try:
                    self.found.memory.setdefault(process.pid, []).append((at, process.memory_info().rss / 2**20))
                except psutil.Error:
                    continue
            try:
                said = self.home.health()
                self.found.health.append((at, said["answering"], said["ready"]))
            except OSError:
                self.found.health.append((at, False, False))

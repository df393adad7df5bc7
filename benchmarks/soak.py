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
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil  # type: ignore[import-untyped]
import yaml

from benchmarks.soak_load import Callers, Heard
from mlops.config import MLOpsConfig
from mlops.pipelines import promotion, rollback
from mlops.services import Services
from mlops.serving import log_reading
from tests.contenders import Contenders, logged_runs, with_clock
from tests.programs import free_port

SECONDS = float(os.environ.get("BENCH_SOAK_SECONDS", "600"))
SHARE = float(os.environ.get("BENCH_SOAK_SHARE", "0.7"))
RATE = float(os.environ.get("BENCH_SOAK_RATE", "0"))
GROWTH_MB = 24.0
CONNECTIONS = 16
AFTER_REDIS_SECONDS = 5.0  # until a store that is back has been found
LIVE_SECONDS = 2.0
WORKERS = 2
ROOT = Path(__file__).parents[1]
ENTITIES = [f"p{i}" for i in range(20)]
REPOSITORY = """
from datetime import timedelta
from feast import Entity, FeatureService, ValueType
from mlops.features.engineering import Recipe
from mlops.features.views import telemetry_view

pump = Entity(name="pump", join_keys=["device_id"], value_type=ValueType.STRING)
recipe = Recipe(("temperature", "pressure"))
levels = telemetry_view(name="levels", entity=pump, dataset="pumps", recipe=recipe, ttl=timedelta(0))
service = FeatureService(name="pumps_v1", features=[levels])
"""


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
    """An installation, its Redis, its service."""

    def __init__(self, home: Path, seconds: float, growth_mb: float, live_seconds: float) -> None:
        self.home, self.seconds = home, seconds
        self.growth_mb, self.live_seconds = growth_mb, live_seconds
        self.redis_port, self.port = free_port(), free_port()
        self.redis = self._redis()
        self.contenders, self.environ = self._installation()
        self.service: subprocess.Popen[bytes] | None = None
        self.found = Soak(0.0, 0.0, seconds)

    def lived(self, share: float, rate: float, peak_seconds: float) -> Soak:
        """The whole life."""
        found = self.found
        try:
            self._promote(1)
            self._serve()
            rng = np.random.default_rng(0)
            rows = [dict(zip(("temperature", "pressure"), r, strict=True)) for r in rng.normal(size=(16, 2)).tolist()]
            found.load = os.getloadavg()[0], 0.0
            warm = Callers(self.port, rows, ENTITIES)
            asyncio.run(warm.run(connections=CONNECTIONS, seconds=1, rate=None))
            first = Callers(self.port, rows, ENTITIES)
            first.heard.sent = 10_000_000
            found.peak = asyncio.run(first.run(connections=CONNECTIONS, seconds=peak_seconds, rate=None))
            found.rate = rate or share * found.peak
            callers = Callers(self.port, rows, ENTITIES)
            callers.heard.sent = 20_000_000
            self._under_load(callers)
            found.heard = callers.heard
            found.load = found.load[0], os.getloadavg()[0]
            self._end()
            self._judge([warm.heard, first.heard, callers.heard])
        finally:
            self._kill()
        return found

    # --- what happens ---------------------------------------------------------------------------------------------

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
        ahead = with_clock(self.contenders.services, lambda: datetime.now(UTC))
        self.contenders.judge(version)
        answer = promotion.run(ahead, self.contenders.spec, self.contenders.day(version))
        if answer.outcome != "done":
            raise RuntimeError(f"version {version} was not promoted: {answer}")
        self._moved(f"version {version} promoted", version, began)

    def _roll_back(self) -> None:
        began = time.monotonic()
        ahead = with_clock(self.contenders.services, lambda: datetime.now(UTC))
        answer = rollback.run(ahead, self.contenders.spec, datetime.now(UTC).date(), reason="soak")
        if answer.outcome != "done":
            raise RuntimeError(f"the champion was not rolled back: {answer}")
        self._moved("rolled back", 2, began)

    def _moved(self, what: str, version: int, began: float) -> None:
        self.found.moments[what] = time.monotonic()
        self.found.moved.append((began, self.found.moments[what], version))

    def _without_redis(self, seconds: float) -> None:
        self.redis.terminate()
        self.redis.wait(20)
        self.found.moments["Redis away"] = time.monotonic()
        time.sleep(seconds)
        self.found.moments["Redis starts"] = time.monotonic()
        self.redis = self._redis()
        self.found.moments["Redis back"] = time.monotonic()

    def _kill_worker(self) -> None:
        victim = self._workers()[0]
        self.found.moments["worker killed"] = time.monotonic()
        os.kill(victim, signal.SIGKILL)

    def _watch(self, ends: threading.Event) -> None:
        """Memory and health, some times a second."""
        while not ends.wait(max(0.5, min(2.0, self.seconds / 100))):
            at = time.monotonic()
            for process in self._family():
                try:
                    self.found.memory.setdefault(process.pid, []).append((at, process.memory_info().rss / 2**20))
                except psutil.Error:
                    continue
            try:
                said = self._health()
                self.found.health.append((at, said["answering"], said["ready"]))
            except OSError:
                self.found.health.append((at, False, False))

    # --- its parts ------------------------------------------------------------------------------------------------

    def _redis(self) -> subprocess.Popen[bytes]:
        folder = self.home / "redis"
        folder.mkdir(exist_ok=True)
        command = ["redis-server", "--port", str(self.redis_port), "--bind", "127.0.0.1", "--dir", str(folder)]
        log = (self.home / "redis.log").open("ab")
        made = subprocess.Popen([*command, "--save", "3600 1"], stdout=log, stderr=log)
        log.close()
        import redis

        client = redis.Redis(port=self.redis_port)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                if client.ping():
                    break
            except redis.exceptions.RedisError:
                time.sleep(0.05)
        client.close()
        return made

    def _installation(self) -> tuple[Contenders, dict[str, str]]:
        """Three versions that have passed their gates, features in Redis."""
        repo = self.home / "home" / "feature_repo"
        (self.home / "models").mkdir()
        repo.mkdir(parents=True)
        (repo / "pumps.py").write_text(REPOSITORY)
        online = {
            "type": "mlops.features.online.redis.GuardedRedisOnlineStore",
            "connection_string": f"127.0.0.1:{self.redis_port}",
            "timeout_seconds": 0.4,
        }
        settings = {
            "project": "soak", "provider": "local", "entity_key_serialization_version": 3, "online_store": online,
            "registry": {"registry_type": "sql", "path": "sqlite:///${MLOPS_STATE_DIR}/feast/registry.db"},
            "offline_store": {"type": "mlops.features.asof.store.AsOfOfflineStore"},
        }  # fmt: skip
        (repo / "feature_store.yaml").write_text(yaml.safe_dump(settings))
        fleet = yaml.safe_load((ROOT / "config" / "models" / "fleet_anomaly.yaml").read_text(encoding="utf-8"))
        promoted = {"promotion": {"approval": "automatic"}}
        spec = fleet | promoted | {"name": "pumps", "features": {"service": "pumps_v1"}}
        (self.home / "models" / "pumps.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
        environ = os.environ | {
            "MLOPS_HOME": str(self.home / "home"), "MLOPS_VAR": str(self.home / "var"), "MLOPS_ACTOR": "bench",
            "MLOPS_MODELS_DIR": str(self.home / "models"), "MLOPS_CODE_VERSION": "bench", "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        services = Services.open(MLOpsConfig.load(environ))
        services.features.apply()
        now = pd.Timestamp(datetime.now(UTC) - timedelta(minutes=1)).floor("us").as_unit("us")
        rows = pd.DataFrame({"device_id": ENTITIES, "event_timestamp": now, "created_timestamp": now})
        services.features.push("levels", rows.assign(temperature=0.1, pressure=-0.2))
        contenders = Contenders(services, services.spec("pumps"), logged_runs(services.tracker, 3))
        for _ in range(3):
            contenders.register()
        return contenders, environ

    def _serve(self) -> None:
        command = [sys.executable, "-m", "mlops.cli", "serve", "pumps", "--port", str(self.port)]
        with (self.home / "serve.log").open("wb") as log:
            self.service = subprocess.Popen(
                [*command, "--workers", str(WORKERS)], cwd=ROOT, env=self.environ, stdout=log, stderr=log
            )
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline:
            try:
                if self._health()["ready"] and len(self._workers()) == WORKERS:
                    return
            except OSError:
                pass
            if self.service.poll() is not None:
                break
            time.sleep(0.3)
        raise RuntimeError(f"mlops serve does not answer:\n{(self.home / 'serve.log').read_text()}")

    def _health(self) -> dict[str, Any]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5) as answer:
                said: dict[str, Any] = json.load(answer)
        except urllib.error.HTTPError as error:
            said = json.load(error)
        return said

    def _family(self) -> list[psutil.Process]:
        if self.service is None or self.service.poll() is not None:
            return []
        parent = psutil.Process(self.service.pid)
        return [parent, *parent.children(recursive=True)]

    def _workers(self) -> list[int]:
        """Those that listen."""
        found = []
        for process in self._family()[1:]:
            try:
                if any(each.status == psutil.CONN_LISTEN for each in process.net_connections("tcp")):
                    found.append(process.pid)
            except psutil.Error:
                continue
        return found

    def _end(self) -> None:
        """SIGTERM, and what waits is written."""
        if self.service is None:
            return
        self.service.send_signal(signal.SIGTERM)
        self.service.wait(120)

    def _kill(self) -> None:
        for process in self._family():
            try:
                process.kill()
            except psutil.Error:
                continue
        self.redis.terminate()
        self.redis.wait(20)

    # --- judgement ------------------------------------------------------------------------------------------------

    def _judge(self, all_heard: list[Heard]) -> None:
        found, said = self.found, self.found.faults
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
        self._judge_moves()
        self._judge_log(all_heard)
        self._judge_health()
        for pid, growth in grown(found).items():
            if growth > self.growth_mb:
                said.append(f"process {pid} has grown by {growth:.0f} MB, at most {self.growth_mb:.0f} are flat")

    def _judge_moves(self) -> None:
        """From the end of a move to the beginning of the next, every answer is of the version that took over."""
        at, version = np.array(self.found.heard.at), np.array(self.found.heard.version)
        ends = [began for began, _, _ in self.found.moved[1:]] + [float("inf")]
        for (_, done, number), end in zip(self.found.moved, ends, strict=True):
            others = at[(at > done) & (at < end) & (version != number)]
            self.found.slow = max(self.found.slow, float(others.max() - done) if len(others) else 0.0)
        if self.found.slow > self.live_seconds:
            self.found.faults.append(f"an answer came from the version before {self.found.slow:.1f} s after a move")

    def _judge_log(self, all_heard: list[Heard]) -> None:
        storage = self.contenders.services.storage
        days = log_reading.days(storage, "pumps")
        kept = log_reading.read(storage, "pumps", days[0], days[-1])
        asked = {f"c{number}" for heard in all_heard for number in heard.answered}
        self.found.logged = len(kept)
        lost = asked - set(kept["request_id"])
        if lost:
            self.found.faults.append(f"{len(lost)} of {len(asked)} answered requests are not in the log")
        cut = sum(len(heard.cut) for heard in all_heard)
        if len(kept) > len(asked) + cut:
            self.found.faults.append(f"the log has {len(kept)} rows for {len(asked)} answers and {cut} that were cut")

    def _judge_health(self) -> None:
        moments, said = self.found.moments, self.found.faults
        if "Redis back" not in moments:
            said.append("Redis was never taken away")
            return
        away = [h for h in self.found.health if moments["Redis away"] + 4 < h[0] < moments["Redis starts"] - 0.5]
        back = [h for h in self.found.health if h[0] > moments["Redis back"] + AFTER_REDIS_SECONDS + 2]
        if not away or any(ready for _, _, ready in away):
            said.append("/health said ready while Redis was away")
        if not back or not back[-1][2]:
            said.append("/health did not become ready again")
        settled = [h for h in self.found.health if h[0] < moments.get("worker killed", float("inf"))]
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

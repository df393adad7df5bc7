"""An installation to soak: a registry with three versions, a Redis of its own, `mlops serve` in front of them.

One rule: nothing of it is shared with the machine's own services, and all of it ends with `kill`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import psutil  # type: ignore[import-untyped]
import yaml

from benchmarks.soak_judged import WORKERS
from mlops.config import MLOpsConfig
from mlops.services import Services
from tests.contenders import Contenders, logged_runs
from tests.programs import free_port

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


class Home:
    """An installation, its Redis, its service.

    Args:
        folder: where all of it lies.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.redis_port, self.port = free_port(), free_port()
        self.redis = self.start_redis()
        self.contenders, self.environ = self._installed()
        self.service: subprocess.Popen[bytes] | None = None

    def start_redis(self) -> subprocess.Popen[bytes]:
        """A Redis of its own, with what it held when it was ended."""
        folder = self.folder / "redis"
        folder.mkdir(exist_ok=True)
        command = ["redis-server", "--port", str(self.redis_port), "--bind", "127.0.0.1", "--dir", str(folder)]
        log = (self.folder / "redis.log").open("ab")
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

    def _installed(self) -> tuple[Contenders, dict[str, str]]:
        """Three versions that have passed their gates, features in Redis."""
        repo = self.folder / "home" / "feature_repo"
        (self.folder / "models").mkdir()
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
        (self.folder / "models" / "pumps.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
        environ = os.environ | {
            "MLOPS_HOME": str(self.folder / "home"), "MLOPS_VAR": str(self.folder / "var"), "MLOPS_ACTOR": "bench",
            "MLOPS_MODELS_DIR": str(self.folder / "models"), "MLOPS_CODE_VERSION": "bench", "PYTHONPATH": str(ROOT),
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

    def serve(self) -> None:
        """Start the service; it is ready, all its workers listen."""
        command = [sys.executable, "-m", "mlops.cli", "serve", "pumps", "--port", str(self.port)]
        with (self.folder / "serve.log").open("wb") as log:
            self.service = subprocess.Popen(
                [*command, "--workers", str(WORKERS)], cwd=ROOT, env=self.environ, stdout=log, stderr=log
            )
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline:
            try:
                if self.health()["ready"] and len(self.workers()) == WORKERS:
                    return
            except OSError:
                pass
            if self.service.poll() is not None:
                break
            time.sleep(0.3)
        raise RuntimeError(f"mlops serve does not answer:\n{(self.folder / 'serve.log').read_text()}")

    def health(self) -> dict[str, Any]:
        """What `/health` says."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5) as answer:
                said: dict[str, Any] = json.load(answer)
        except urllib.error.HTTPError as error:
            said = json.load(error)
        return said

    def family(self) -> list[psutil.Process]:
        """The service's processes."""
        if self.service is None or self.service.poll() is not None:
            return []
        parent = psutil.Process(self.service.pid)
        return [parent, *parent.children(recursive=True)]

    def workers(self) -> list[int]:
        """Those that listen."""
        found = []
        for process in self.family()[1:]:
            try:
                if any(each.status == psutil.CONN_LISTEN for each in process.net_connections("tcp")):
                    found.append(process.pid)
            except psutil.Error:
                continue
        return found

    def end(self) -> None:
        """SIGTERM, and what waits is written."""
        if self.service is None:
            return
        self.service.send_signal(signal.SIGTERM)
        self.service.wait(120)

    def kill(self) -> None:
        """End whatever is left."""
        for process in self.family():
            try:
                process.kill()
            except psutil.Error:
                continue
        self.redis.terminate()
        self.redis.wait(20)

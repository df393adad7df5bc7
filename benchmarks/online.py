"""What it takes to fill the online store and to read from it: ours beside stock Feast, on SQLite and on Redis.

Every measure is a process of its own, so that its peak memory is its own. Redis: database 9 of 127.0.0.1:6379, keys of
a project of its own, deleted at the end; left out where no Redis answers. Settings: BENCH_ENTITIES (default
1,000,000), BENCH_STOCK_ENTITIES (default 100,000: stock Feast needs 8 to 9 GB for a million).
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import yaml
from rich.console import Console
from rich.table import Table

from benchmarks.memory import peak_mb

ENTITIES = int(os.environ.get("BENCH_ENTITIES", "1000000"))
STOCK_ENTITIES = int(os.environ.get("BENCH_STOCK_ENTITIES", "100000"))
FEATURES = 10
READS = 500
DAY = date(2026, 3, 1)
PROJECT = "benchonline"
REDIS = "127.0.0.1:6379,db=9"
REPOSITORY = f"""
from datetime import timedelta
from feast import Entity, FeatureService, ValueType
from mlops.features.engineering import Recipe
from mlops.features.views import telemetry_view

device = Entity(name="device", join_keys=["device_id"], value_type=ValueType.STRING)
wide = telemetry_view(
    name="wide", entity=device, dataset="wide", recipe=Recipe({tuple(f"f{i}" for i in range(FEATURES))}),
    ttl=timedelta(0),
)
service = FeatureService(name="wide_v1", features=[wide])
"""


def main() -> None:
    """Print the table."""
    kinds = ("sqlite", "redis") if _redis_answers() else ("sqlite",)
    table = Table("store", "by", "entities", "seconds", "entities/s", "peak [MB]", "1 entity [ms]", "100 entities [ms]")
    for kind in kinds:
        for by, entities in (("mlops", ENTITIES), ("mlops", STOCK_ENTITIES), ("Feast", STOCK_ENTITIES)):
            with tempfile.TemporaryDirectory(prefix="bench-online-") as folder:
                _child("deliver", folder, kind, by, entities)
                found = _child("fill", folder, kind, by, entities)
            table.add_row(
                kind,
                by,
                f"{entities:,}",
                f"{found['seconds']:.1f}",
                f"{entities / found['seconds']:,.0f}",
                f"{found['peak_mb']:,.0f}",
                f"{found['one_ms']:.3f}",
                f"{found['hundred_ms']:.2f}",
            )
    Console().print(table)
    print(f"load {os.getloadavg()[0]:.1f}, medians of {READS} reads")


def _child(what: str, folder: str, kind: str, by: str, entities: int) -> dict[str, float]:
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.online", what, folder, kind, by, str(entities)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _opened(folder: Path, kind: str, by: str) -> Any:
    from mlops.config import MLOpsConfig
    from mlops.features.store import FeatureStore
    from mlops.storage import Storage

    ours = {
        "sqlite": "mlops.features.online.sqlite.GuardedSqliteOnlineStore",
        "redis": "mlops.features.online.redis.GuardedRedisOnlineStore",
    }
    place = {"path": f"{folder}/online.db"} if kind == "sqlite" else {"connection_string": REDIS}
    repo = folder / "home" / "feature_repo"
    repo.mkdir(parents=True, exist_ok=True)
    (repo / "wide.py").write_text(REPOSITORY)
    settings = {
        "project": PROJECT,
        "provider": "local",
        "registry": {"registry_type": "sql", "path": f"sqlite:///{folder}/registry.db"},
        "offline_store": {"type": "mlops.features.asof.store.AsOfOfflineStore" if by == "mlops" else "file"},
        "online_store": {"type": ours[kind] if by == "mlops" else kind} | place,
        "entity_key_serialization_version": 3,
    }
    (repo / "feature_store.yaml").write_text(yaml.safe_dump(settings))
    config = MLOpsConfig.build({"home": folder / "home", "var": folder / "var"})
    return FeatureStore.open(config, Storage(config.var))


def deliver(folder: Path, kind: str, by: str, entities: int) -> dict[str, float]:
    """One delivery with a reading of each entity."""
    store = _opened(folder, kind, by)
    store.apply()
    rng = np.random.default_rng(1)
    start = int(datetime(DAY.year, DAY.month, DAY.day, tzinfo=UTC).timestamp() * 1_000_000)
    event = start + rng.integers(0, 86_000_000_000, entities)
    times = pa.array(event, pa.timestamp("us", "UTC"))
    columns = {"device_id": pa.array([f"device-{i:07d}" for i in range(entities)])}
    columns |= {"event_timestamp": times, "created_timestamp": times}
    columns |= {f"f{i}": pa.array(rng.normal(size=entities)) for i in range(FEATURES)}
    columns |= {"feature_timestamp": pa.array(event), "feature_known_at": pa.array(event)}
    (view,) = store.views_of("wide_v1")
    uri = store.storage.uri("features", "wide", f"date={DAY}")
    store.storage.write_table(uri, pa.table(columns), {"recipe": view.recipe.fingerprint, "view": "wide"})
    return {}


def fill(folder: Path, kind: str, by: str, entities: int) -> dict[str, float]:
    """Fill the online store from the delivery, then read."""
    store = _opened(folder, kind, by)
    start = datetime(DAY.year, DAY.month, DAY.day, tzinfo=UTC)
    end = start + timedelta(days=1)
    store.views_of("wide_v1")
    began = time.perf_counter()
    if by == "mlops":
        assert store.materialize("wide_v1", start, end) == entities
    else:
        store._feast.materialize(start, end)
    seconds = time.perf_counter() - began
    peak = peak_mb()
    names = [f"device-{i:07d}" for i in np.random.default_rng(2).integers(0, entities, READS)]
    refs = [f"wide:f{i}" for i in range(FEATURES)]

    def read(keys: list[str]) -> Any:
        if by == "mlops":
            return store.online_values("wide_v1", keys).values
        return store._feast.get_online_features(features=refs, entity_rows={"device_id": keys}).to_dict()

    one, hundred = (_median_ms(read, names, size) for size in (1, 100))
    if kind == "redis":
        _clean()
    return {"seconds": seconds, "peak_mb": peak, "one_ms": one, "hundred_ms": hundred}


def _median_ms(read: Any, names: list[str], size: int) -> float:
    read(names[:1])
    times = []
    for i in range(0, READS if size == 1 else 50):
        keys = [names[(i + j) % len(names)] for j in range(size)]
        began = time.perf_counter()
        read(keys)
        times.append(time.perf_counter() - began)
    return 1_000 * statistics.median(times)


def _clean() -> None:
    import redis

    client = redis.Redis(host="127.0.0.1", port=6379, db=9)
    keys: list[bytes] = []
    for key in client.scan_iter(f"*{PROJECT}*", count=10_000):
        keys.append(key)
        if len(keys) == 1_000:
            client.unlink(*keys)
            keys.clear()
    if keys:
        client.unlink(*keys)
    client.close()


def _redis_answers() -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", 6379)) == 0


if __name__ == "__main__":
    what, folder, kind, by, entities = sys.argv[1:]
    print(json.dumps({"deliver": deliver, "fill": fill}[what](Path(folder), kind, by, int(entities))))

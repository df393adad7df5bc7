"""A night of the sample fleet's model by number of readings, step and engine: seconds and peak memory.

Each step runs by itself in a process of its own, on the tables that the steps before it left. Memory is that of the
process and of all it started (the Java machine, Python workers), shared pages counted once; what needs more than
`MOST_GB` is stopped and told as such. `python -m benchmarks.scaling <engine> <rows> [<step> …]` measures a part.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

ENGINES = ("duckdb", "spark")
STEPS = ("ingestion", "features", "inference", "monitoring")
SIZES = (1_000_000, 10_000_000)
MOST_GB = 8.0
PER_DEVICE = 1_440  # a reading a minute
_PAST = 5  # days that the champion has learned from
_DEVICES_AT_ONCE = 700  # a file of about a million rows
_CHANNELS = {"temperature": 65.0, "pressure": 6.0, "vibration": 3.0, "rotation": 1480.0}


def services_of(engine: str, var: Path) -> tuple[Any, Any]:
    """An installation below `var`, and the spec of the model."""
    import yaml

    from mlops.config import MLOpsConfig
    from mlops.services import Services
    from mlops.spec import CandidateSpec, SplitSpec

    root = Path(__file__).parents[1]
    values = {"home": root, "var": str(var), "code_version": "bench", "actor": "bench"}
    config = MLOpsConfig.build(values)
    if engine == "spark":
        repo = var / "feature_repo"
        repo.mkdir(exist_ok=True)
        shutil.copy(root / "feature_repo" / "fleet.py", repo)
        local, spark = (
            yaml.safe_load((root / "feature_repo" / name).read_text())
            for name in ("feature_store.yaml", "feature_store.spark.yaml")
        )
        text = yaml.safe_dump(local | {"offline_store": spark["offline_store"]})
        (repo / "feature_store.spark.yaml").write_text(text)
        session = {"master": "local[2]", "driver.memory": "3g", "sql.shuffle.partitions": 8}
        changes = {"engine": "spark", "spark": session, "feature_repo": repo}
        config = config.model_copy(update=changes | {"feature_store_yaml": "feature_store.spark.yaml"})
    services = Services.open(config)
    spec = services.spec("fleet_anomaly")
    split = SplitSpec(window_days=3, holdout_days=1, calibration_days=1, folds=2, gap_hours=2)
    contract = spec.contract.model_copy(update={"volume_tolerance": None})
    source = spec.source.model_copy(update={"uri": f"{var}/inbox/fleet/{{date}}*.parquet"})
    changes = {"split": split, "contract": contract, "source": source}
    return services, spec.model_copy(update=changes | {"candidates": (CandidateSpec(algorithm="hbos"),)})


def prepare(var: Path, rows: int) -> None:
    """A champion of some pumps, and a delivery of `rows` readings for the night after."""
    from mlops.data import fleet
    from mlops.pipelines import features, ingestion, training

    services, spec = services_of("duckdb", var)
    pumps = fleet.FleetConfig()
    for i in range(_PAST):
        day = pumps.first_day + timedelta(days=i)
        fleet.write_delivery(pumps, day, f"{var}/inbox")
        ingestion.run(services, spec, day)
        features.run(services, spec, day)
    training.run(services, spec, day)
    services.registry.set_alias(spec.name, "champion", 1)
    night = pumps.first_day + timedelta(days=_PAST)
    devices = rows // PER_DEVICE
    for first in range(0, devices, _DEVICES_AT_ONCE):
        _write(
            var / "inbox" / "fleet" / f"{night}-{first:09d}.parquet",
            night,
            first,
            min(first + _DEVICES_AT_ONCE, devices),
        )


def _write(path: Path, night: date, first: int, last: int) -> None:
    rng = np.random.default_rng(first)
    count = (last - first) * PER_DEVICE
    names = np.array([f"pump-{i:08d}" for i in range(first, last)])
    minutes = np.datetime64(night, "us") + np.arange(PER_DEVICE) * np.timedelta64(60_000_000, "us")
    at = np.tile(minutes, last - first)
    instants = [pa.array(times, pa.timestamp("us", "UTC")) for times in (at, at + np.timedelta64(1, "us"))]
    columns = {"device_id": pa.array(np.repeat(names, PER_DEVICE)), "event_timestamp": instants[0]}
    columns["arrived_at"] = instants[1]
    for name, level in _CHANNELS.items():
        columns[name] = pa.array(rng.normal(level, 0.05 * level, count))
    pq.write_table(pa.table(columns), path)


class Memory(threading.Thread):
    """The most memory that this process and all below it held at once [MB]."""

    def __init__(self) -> None:
        """Look ten times a second."""
        super().__init__(daemon=True)
        self.peak, self.done = 0.0, threading.Event()
        self.worked: dict[int, float] = {}  # processor time by process [s]

    def run(self) -> None:
        """Look until told to stop; above the limit end this process and those it started."""
        me = psutil.Process()
        while not self.done.wait(0.1):
            held = 0
            family = [me, *me.children(recursive=True)]
            for each in family:
                try:
                    held += each.memory_full_info().pss
                    self.worked[each.pid] = sum(each.cpu_times()[:2])
                except (psutil.NoSuchProcess, psutil.AccessDenied):
                    continue
            self.peak = max(self.peak, held / 1e6)
            if held > MOST_GB * 1e9:
                print(f"TOO MUCH {held / 1e6:.0f}", flush=True)
                for each in family[1:]:
                    each.kill()
                os._exit(3)


def measure(engine: str, var: Path, step: str) -> None:
    """One step in this process: prints seconds and megabytes."""
    import importlib

    from mlops.data import fleet

    services, spec = services_of(engine, var)
    night = fleet.FleetConfig().first_day + timedelta(days=_PAST)
    pipeline = importlib.import_module(f"mlops.pipelines.{step}")
    if engine == "spark":
        services.spark.range(10).count()  # the start of the engine is no part of the step
    memory = Memory()
    memory.start()
    time.sleep(0.3)
    before = sum(memory.worked.values())
    started = time.perf_counter()
    told = pipeline.run(services, spec, night)
    seconds = time.perf_counter() - started
    time.sleep(0.3)
    memory.done.set()
    worked = sum(memory.worked.values()) - before
    print(f"DONE {seconds:.1f} {worked:.1f} {memory.peak:.0f} {told.outcome}", flush=True)


def _measured(engine: str, var: Path, step: str) -> str:
    command = [sys.executable, "-m", "benchmarks.scaling", "--step", engine, str(var), step]
    environ = os.environ | {"OMP_NUM_THREADS": "2", "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(
        command, cwd=Path(__file__).parents[1], env=environ, capture_output=True, text=True, check=False
    )
    last = done.stdout.strip().splitlines()[-1:] or [""]
    if last[0].startswith("DONE"):
        _, seconds, worked, megabytes, outcome = last[0].split()
        return f"{seconds} s | {worked} s | {float(megabytes) / 1000:.1f} GB | {outcome}"
    if last[0].startswith("TOO MUCH"):
        return f"– | – | more than {MOST_GB:g} GB | –"
    raise RuntimeError(done.stderr[-3000:])


def table(engines: tuple[str, ...], sizes: tuple[int, ...], steps: tuple[str, ...]) -> None:
    """Measure and print, one row per size, engine and step."""
    print("| readings | engine | step | time | of processors | peak memory | outcome |\n|---|---|---|---|---|---|---|")
    for rows in sizes:
        with tempfile.TemporaryDirectory(prefix="mlops-scaling-") as folder:
            past = Path(folder) / "past"
            prepare(past, rows)
            for engine in engines:
                var = Path(folder) / engine
                shutil.copytree(past, var, copy_function=_taken_along)
                for step in steps:
                    told = _measured(engine, var, step)
                    print(f"| {rows:,} | {engine} | {step} | {told} |", flush=True)
                    if told.startswith("–"):
                        break


def _taken_along(source: str, target: str) -> None:
    """Deliveries are read only, so they need not be there twice."""
    (os.link if "/inbox/" in source else shutil.copy2)(source, target)


def main(argv: tuple[str, ...] = ()) -> None:
    """All sizes on both engines, or what is named."""
    engines = tuple(name for name in argv if name in ENGINES) or ENGINES
    sizes = tuple(int(name.replace("_", "")) for name in argv if name[0].isdigit()) or SIZES
    steps = tuple(name for name in argv if name in STEPS) or STEPS
    table(engines, sizes, steps)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--step"]:
        measure(sys.argv[2], Path(sys.argv[3]), sys.argv[4])
    else:
        main(tuple(sys.argv[1:]))

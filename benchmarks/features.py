"""Point-in-time joins side by side: our store, Feast's two local stores, bare DuckDB and bare polars.

Each join runs in a process of its own, contenders taking turns; time is that of the question, from rows in memory to an
Arrow table, after imports and `feast apply`. Processor time hardly depends on what else the machine does. Readings
arrive seconds after they happened; in the late histories one in a hundred arrives up to five days later. The bare joins
know nothing of arrival, rows or registries: they are the floor.

`MLOPS_BENCH_FEATURES` names the sizes (`100k`, `1m`, `10m`; default the first two), `MLOPS_BENCH_RUNS` how often
(default 3) and `MLOPS_BENCH_DIR` a folder with room for the files (10m: 11 GB), which are removed afterwards. polars
comes with `uv pip install --group bench`; without it, it is left out.
"""

from __future__ import annotations

import importlib.util
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from benchmarks.memory import peak_mb

SIZES = {"100k": (100_000, 1_000_000), "1m": (1_000_000, 10_000_000), "10m": (10_000_000, 100_000_000)}
FEATURES, READINGS_PER_KEY, DAYS, SOURCES = 10, 100, 100, 4
_DAY = 86_400_000_000  # [µs]
_FIRST = 1_767_225_600_000_000  # 2026-01-01 [µs since 1970]
_TIMEOUT = 1_800  # [s]


@dataclass(frozen=True)
class Case:
    """One join."""

    size: str
    features: int
    views: int
    ttl_days: int  # 0: for ever
    late: bool
    sources: int = 1  # files that the views read: one for all, or one each

    @property
    def label(self) -> str:
        """As the table says it."""
        ttl = f"{self.ttl_days} d" if self.ttl_days else "none"
        views = f"{self.views} v{f' of {self.sources} sources' if self.sources > 1 else ''}"
        return f"{self.size}, {self.features} f, {views}, ttl {ttl}{', late' if self.late else ''}"

    def readings(self, folder: Path, view: int = 0) -> str:
        """The file that a view reads."""
        return str(folder / f"readings-{self.late}-{view % self.sources}.parquet")


def cases(size: str) -> list[Case]:
    """The joins of a size."""
    if size == "10m":
        return [Case(size, 3, 1, 0, late=False)]
    plain = [Case(size, f, v, ttl, late=False) for f, v, ttl in ((3, 1, 0), (10, 1, 0), (10, 1, 7), (3, 4, 0))]
    own = Case(size, 3, SOURCES, 0, late=False, sources=SOURCES)
    return [*plain, own, Case(size, 3, 1, 0, late=True), Case(size, 10, 1, 7, late=True)]


def main() -> None:
    """Print the table of every size asked for."""
    names = os.environ.get("MLOPS_BENCH_FEATURES", "100k,1m").split(",")
    for size in names:
        with tempfile.TemporaryDirectory(dir=os.environ.get("MLOPS_BENCH_DIR")) as folder:
            _measure(size, Path(folder))


def _measure(size: str, folder: Path) -> None:
    rows, readings = SIZES[size]
    for late in sorted({case.late for case in cases(size)}):
        write(folder, rows, readings, late=late)
    table = Table("join", "contender", "median [s]", "min–max [s]", "processor [s]", "peak [MB]", "answered", "load")
    for case in cases(size):
        found: dict[str, list[dict[str, Any]]] = {}
        for _ in range(int(os.environ.get("MLOPS_BENCH_RUNS", "3"))):
            for contender in contenders(case):
                found.setdefault(contender, []).append(_run(contender, case, folder))
        for contender, runs in found.items():
            table.add_row(case.label, contender, *_cells(runs))
        table.add_section()
    Console(width=140).print(table)


def contenders(case: Case) -> list[str]:
    """Who can do a join: a bare one cannot see arrivals, Feast's file store takes 14 GB for 10 million readings."""
    bare = ["duckdb ASOF", *(["polars"] if importlib.util.find_spec("polars") else [])]
    stock = [] if case.size == "10m" else ["feast duckdb", *(["feast file"] if case.size == "100k" else [])]
    return ["as-of store", *bare, *stock]


def _cells(runs: list[dict[str, Any]]) -> list[str]:
    done = [run for run in runs if "seconds" in run]
    if not done:
        return ["–", "–", "–", "–", str(runs[0]["error"])[:40], "–"]
    seconds = [run["seconds"] for run in done]
    return [
        f"{statistics.median(seconds):.2f}",
        f"{min(seconds):.2f}–{max(seconds):.2f}",
        f"{statistics.median(run['processor'] for run in done):.2f}",
        f"{statistics.median(run['peak_mb'] for run in done):,.0f}",
        f"{done[0]['rows']:,}/{done[0]['answered']:,}",
        f"{statistics.median(run['load'] for run in done):.0f}",
    ]


def _run(contender: str, case: Case, folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.features", contender, json.dumps(asdict(case))]
    try:
        done = subprocess.run([*command, str(folder)], capture_output=True, text=True, check=False, timeout=_TIMEOUT)
    except subprocess.TimeoutExpired:
        return {"error": f"more than {_TIMEOUT} s"}
    for line in done.stdout.splitlines():
        if line.startswith("RESULT "):
            found: dict[str, Any] = json.loads(line.removeprefix("RESULT "))
            return found
    return {"error": (done.stderr.strip().splitlines() or ["died"])[-1]}


def write(folder: Path, rows: int, readings: int, *, late: bool) -> None:
    """Readings as a log keeps them, in the order of arrival, and rows to join to them."""
    rng = np.random.default_rng(7)
    writer = None
    chunk = 10_000_000
    keys = readings // READINGS_PER_KEY
    for first in range(0, readings, chunk):  # of a stretch of time each, so the file is a log in order of time
        n = min(chunk, readings - first)
        event = rng.integers(0, DAYS * _DAY * n // readings, n) + DAYS * _DAY * first // readings
        created = event + rng.integers(1_000_000, 30_000_000, n)
        if late:
            created += np.where(rng.random(n) < 0.01, rng.integers(0, 5 * _DAY, n), 0)
        order = np.argsort(created)
        stamp = pa.timestamp("us", "UTC")
        columns = {
            "key": pa.array(rng.integers(0, keys, n)),
            "event": pa.array(_FIRST + event[order], stamp),
            "created": pa.array(_FIRST + created[order], stamp),
        }
        columns |= {f"f{i}": pa.array(rng.standard_normal(n)) for i in range(FEATURES)}
        table = pa.table(columns)
        writer = writer or pq.ParquetWriter(folder / f"readings-{late}-0.parquet", table.schema)
        writer.write_table(table, row_group_size=1_000_000)
    assert writer is not None
    writer.close()
    for source in range(1, SOURCES):
        os.link(folder / f"readings-{late}-0.parquet", folder / f"readings-{late}-{source}.parquet")
    moments = pa.array(_FIRST + rng.integers(0, DAYS * _DAY, rows), pa.timestamp("us", "UTC"))
    asked = pa.table({"key": rng.integers(0, keys, rows), "event_timestamp": moments})
    pq.write_table(asked, folder / f"rows-{late}.parquet")


def measured(contender: str, case: Case, folder: Path) -> dict[str, Any]:
    """One join, in this process."""
    rows = pq.read_table(folder / f"rows-{case.late}.parquet")
    join = _JOINS[contender](case, folder, rows)
    before, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    answer = join()
    seconds = time.perf_counter() - before
    after = resource.getrusage(resource.RUSAGE_SELF)
    last = answer.column(answer.num_columns - 1)
    return {
        "seconds": seconds,
        "processor": after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime,
        "peak_mb": peak_mb(),
        "rows": answer.num_rows,
        "answered": answer.num_rows - last.null_count,
        "load": os.getloadavg()[0],
    }


Join = Callable[[], pa.Table]


def _by_feast(kind: str) -> Callable[[Case, Path, pa.Table], Join]:
    def prepared(case: Case, folder: Path, rows: pa.Table) -> Join:
        from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
        from feast.types import Float64

        entity = Entity(name="key", join_keys=["key"], value_type=ValueType.INT64)
        views = [
            FeatureView(
                name=f"view{v}",
                entities=[entity],
                ttl=timedelta(days=case.ttl_days),
                schema=[Field(name=f"f{i}", dtype=Float64) for i in range(case.features)],
                source=FileSource(
                    name=f"source{v}",
                    path=case.readings(folder, v),
                    timestamp_field="event",
                    created_timestamp_column="created",
                ),
            )
            for v in range(case.views)
        ]
        with tempfile.TemporaryDirectory() as home:
            config = RepoConfig(
                project="bench",
                provider="local",
                registry=f"{home}/registry.db",
                offline_store={"type": kind},
                online_store={"type": "sqlite", "path": f"{home}/online.db"},
                entity_key_serialization_version=3,
            )
            store = FeatureStore(config=config)
            store.apply([entity, *views])
            references = [f"view{v}:f{i}" for v in range(case.views) for i in range(case.features)]
            frame = rows.to_pandas()
            flags = {"filter_by_created_timestamp": True} if case.late and kind != "file" else {}
            job = store.get_historical_features(frame, references, full_feature_names=True, **flags)
        take: Join = job.to_arrow
        return take

    return prepared


def _by_duckdb(case: Case, folder: Path, rows: pa.Table) -> Join:
    import duckdb

    shown = ", ".join(
        f"case when e.event_timestamp <= s.event + interval {case.ttl_days} day then s.f{i} end as f{i}"
        if case.ttl_days
        else f"s.f{i}"
        for i in range(case.features)
    )

    def join() -> pa.Table:
        connection = duckdb.connect()
        connection.register("e", rows)
        found = rows
        for v in range(case.views):
            part = connection.sql(
                f"select {'e.*, ' if v == 0 else ''}{shown} "
                f"from e asof left join read_parquet('{case.readings(folder, v)}') s "
                "on e.key = s.key and e.event_timestamp >= s.event"
            ).to_arrow_table()
            found = part if v == 0 else pa.table([*found.columns, *part.columns], _names(found, part, v))
        return found

    return join


def _by_polars(case: Case, folder: Path, rows: pa.Table) -> Join:
    import polars as pl

    names = [f"f{i}" for i in range(case.features)]
    tolerance = {"tolerance": f"{case.ttl_days}d"} if case.ttl_days else {}

    def join() -> pa.Table:
        asked = pl.from_arrow(rows).lazy().sort("event_timestamp")
        for v in range(case.views):
            read = pl.scan_parquet(case.readings(folder, v)).select(["key", "event", *names]).sort("event")
            asked = asked.join_asof(
                read, left_on="event_timestamp", right_on="event", by="key", suffix=f"_{v}", **tolerance
            )
        return asked.collect().to_arrow()

    return join


def _names(found: pa.Table, part: pa.Table, view: int) -> list[str]:
    return [*found.column_names, *(f"{name}_{view}" for name in part.column_names)]


_JOINS: dict[str, Callable[[Case, Path, pa.Table], Join]] = {
    "as-of store": _by_feast("mlops.features.asof.store.AsOfOfflineStore"),
    "feast duckdb": _by_feast("duckdb"),
    "feast file": _by_feast("file"),
    "duckdb ASOF": _by_duckdb,
    "polars": _by_polars,
}


if __name__ == "__main__":
    print("RESULT " + json.dumps(measured(sys.argv[1], Case(**json.loads(sys.argv[2])), Path(sys.argv[3]))))

"""What a delivery costs until it is published: a first look, its contract, publishing it, and quarantine.

Each measure is a process of its own: time from the open file to the answer, and the peak of its memory. The delivery is
made here: readings of 10,000 devices with four signals, keys and two times. `check` is DuckDB over Parquet, `publish`
and `quarantine` check it, too, and write it anew. Great Expectations gets sizes that a machine holds in memory; to its
time belongs reading the file, which DuckDB does while it looks.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, date, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.memory import peak_mb

DAY = date(2026, 3, 5)
SIZES = (1_000_000, 10_000_000, 100_000_000)
IN_MEMORY = 1_000_000  # rows that Great Expectations is given on pandas at most
DEVICES = 10_000
WAYS = tuple(os.environ.get("MLOPS_BENCH_WAYS", "profile check publish quarantine").split())
SIGNALS = ("temperature", "pressure", "vibration", "rotation")


def main() -> None:
    """Print the table."""
    table = Table("rows", "file MB", "what", "s", "peak MB", "verdict", box=None, header_style="bold")
    with tempfile.TemporaryDirectory(prefix="mlops-bench-") as folder:
        for rows in map(int, os.environ.get("MLOPS_BENCH_ROWS", "").split() or SIZES):
            path = Path(folder) / f"{DAY}.parquet"
            make(path, rows)
            for engine in (*WAYS, "pandas check") if rows <= IN_MEMORY else WAYS:
                found = in_a_process(engine, folder)
                table.add_row(
                    f"{rows:,}", f"{path.stat().st_size / 1e6:,.0f}", engine, f"{found['seconds']:.1f}",
                    f"{found['peak_mb']:,.0f}", "kept" if found["passed"] else "broken",
                )  # fmt: skip
            path.unlink()
    Console().print(table)
    print(f"1-minute load at the end: {os.getloadavg()[0]:.1f}")


def make(path: Path, rows: int) -> None:
    """Write a delivery of that many rows: by time, all devices in turn."""
    import duckdb

    step = 86_000_000_000 * DEVICES // rows  # microseconds between two readings of a device
    start = int(datetime(DAY.year, DAY.month, DAY.day, tzinfo=UTC).timestamp()) * 1_000_000
    at = f"make_timestamptz({start} + (i // {DEVICES}) * {step})"
    signals = ", ".join(f"50 + 10 * sin(i * {k + 1}) AS {name}" for k, name in enumerate(SIGNALS))
    query = f"SELECT 'device-' || (i % {DEVICES}) AS device_id, {at} AS at, {at} AS arrived_at, {signals} "
    with duckdb.connect(config={"memory_limit": "1GB", "threads": 2}) as duck:
        duck.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false")
        duck.execute(f"COPY ({query} FROM range({rows}) AS t(i)) TO '{path}' (FORMAT parquet, COMPRESSION zstd)")


def in_a_process(engine: str, folder: str) -> dict[str, float]:
    """Seconds, peak memory and verdict of one check."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.contracts", engine, folder], capture_output=True, text=True, check=True
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def check(way: str, folder: str) -> dict[str, float]:
    """Do one of `WAYS` with the delivery in `folder` and measure it."""
    from mlops.data import contracts, inspection, parquet, partitions, profile, quarantine, sources
    from mlops.data.rule import Terms
    from mlops.data.validated import Form
    from mlops.spec import ColumnContract, ContractSpec, SourceSpec, TimestampsSpec
    from mlops.storage import Storage

    source = SourceSpec(kind="parquet", uri=f"{folder}/{{date}}.parquet")
    columns = {name: ColumnContract(min=0, max=100) for name in SIGNALS}
    times = TimestampsSpec(event="at", arrival="arrived_at")
    contract = ContractSpec(columns=columns)
    terms = Terms(contract, "device_id", times, DAY)
    storage = Storage(f"{folder}/var")
    started = time.perf_counter()
    if way == "profile":
        passed = not profile.first_look(f"{folder}/{DAY}.parquet").broken
    elif way == "pandas check":
        frame = sources.read_delivery(source, entity="device_id", timestamps=times, day=DAY)
        assert frame is not None
        passed = contracts.check(frame, contract, entity="device_id", timestamps=times, day=DAY, usual_rows=[]).passed
    elif way == "check":
        parts = parquet.find(source, terms)
        assert parts is not None
        with parquet.opened(source, parts, terms) as opened:
            passed = contracts.check_table(opened, terms, []).passed
    else:
        found = inspection.inspect(source, terms, [])
        assert found is not None
        result, delivery = found
        passed = result.passed
        if way == "publish":
            partitions.publish(storage, "bench", delivery, Form(DAY, contract, "device_id", times))
        elif way == "quarantine":
            quarantine.put(storage, "bench", DAY, delivery, result)
    answer = {"seconds": time.perf_counter() - started, "peak_mb": peak_mb(), "passed": passed}
    storage.delete(storage.root)
    return answer


if __name__ == "__main__":
    print(json.dumps(check(*sys.argv[1:])))

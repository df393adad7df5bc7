"""A night of a hundred million rows: read once by DuckDB into drift profiles and a sample, and judged.

Each size in a process of its own. `MLOPS_BENCH_ROWS="1000000 10000000"` names other sizes.
`python -m benchmarks.profiles <rows> <folder>` measures one.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from benchmarks.memory import peak_mb

COLUMNS = ("temperature", "pressure", "vibration", "rotation")
REFERENCE, DAYS = 20_000, 14


def main() -> None:
    """Print the table."""
    sizes = [int(size) for size in os.environ.get("MLOPS_BENCH_ROWS", "1000000 10000000 100000000").split()]
    table = Table("rows", "Parquet [MB]", "wall [s]", "processor [s]", "before [MB]", "peak [MB]", "verdict")
    for rows in sizes:
        with tempfile.TemporaryDirectory() as folder:
            _write(Path(folder), rows)
            command = [sys.executable, "-m", "benchmarks.profiles", str(rows), folder]
            done = subprocess.run(
                command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True, timeout=3_600
            )
            size = (Path(folder) / "night.parquet").stat().st_size / 1e6
            table.add_row(f"{rows:,}", f"{size:,.0f}", *done.stdout.split("|"))
    Console().print(table)


def _write(folder: Path, rows: int) -> None:
    """Four signals of a thousand devices; the temperature lies half a standard deviation higher than it did."""
    normal = "sqrt(-2 * ln(1 - random())) * cos(2 * pi() * random())"
    signals = ", ".join(f"{normal} + {0.5 if name == 'temperature' else 0} AS {name}" for name in COLUMNS)
    with duckdb.connect(config={"memory_limit": "2GB", "threads": 2}) as duck:
        duck.execute(f"SELECT setseed(0.5); SET preserve_insertion_order = false; SET temp_directory = '{folder}'")
        told = f"SELECT i % 1000 AS device_id, {signals} FROM range({rows}) AS t(i)"
        duck.execute(f"COPY ({told}) TO '{folder}/night.parquet' (FORMAT parquet)")


def measure(rows: int, folder: str) -> None:
    """One size, in this process."""
    from mlops.data.duck_table import connection
    from mlops.monitoring.drift import detect, profile_duckdb
    from mlops.spec import DriftSpec

    rng = np.random.default_rng(0)
    reference = pd.DataFrame(rng.normal(size=(REFERENCE, len(COLUMNS))), columns=list(COLUMNS))
    times = pd.Series(
        pd.date_range("2026-03-01", periods=REFERENCE, freq=pd.Timedelta(days=DAYS) / REFERENCE, tz="UTC")
    )
    before, began, worked = peak_mb(), time.perf_counter(), time.process_time()
    divisions = profile_duckdb.divisions_of(reference, COLUMNS, times)
    picked = np.sort(rng.choice(rows, min(rows, 200_000), replace=False))
    with connection() as duck:
        found = profile_duckdb.scan(duck, f"SELECT * FROM '{folder}/night.parquet'", divisions, picked)
    told = detect.detect(
        reference, found.sample, spec=DriftSpec(), columns=COLUMNS, reference_times=times, profiles=found.profiles
    )
    assert told.current_rows == rows, told.current_rows
    moved = ", ".join(column.column for column in told.columns if column.verdict == "drift")
    spent, cpu = time.perf_counter() - began, time.process_time() - worked
    print(f"{spent:.1f}|{cpu:.1f}|{before:,.0f}|{peak_mb():,.0f}|{told.verdict}: {moved}")


if __name__ == "__main__":
    measure(int(sys.argv[1]), sys.argv[2])

"""`make demo` after installation: wall time and the peak memory of its process, over three runs."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
RUNS = 3


def main() -> None:
    """Print the table."""
    walls, peaks = [], []
    for _ in range(RUNS):
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            command = [sys.executable, "-m", "demo", "--folder", f"{folder}/demo"]
            subprocess.run(command, cwd=ROOT, env=dict(os.environ), check=True, stdout=subprocess.DEVNULL, timeout=900)
            walls.append(time.perf_counter() - started)
            summary = json.loads(Path(folder, "demo", "summary.json").read_text(encoding="utf-8"))
            peaks.append(summary["totals"]["peak_rss_mb"])
    table = Table("measure", "median", "min–max", "aim")
    table.add_row("wall [s]", f"{statistics.median(walls):.0f}", f"{min(walls):.0f}–{max(walls):.0f}", "≤ 150")
    table.add_row(
        "peak memory [MB]", f"{statistics.median(peaks):.0f}", f"{min(peaks):.0f}–{max(peaks):.0f}", "≤ 1,536"
    )
    Console().print(table)

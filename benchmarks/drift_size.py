"""A million rows of thirty columns against as many: seconds and memory, each way in a process of its own.

`python -m benchmarks.drift_size <way> <rows>` prints seconds, those of CPU, and megabytes beyond those of the tables.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import psutil

COLUMNS, DAYS = 30, 14
WAYS = ("this project", "Evidently")


def measured(way: str, rows: int) -> tuple[float, float, float]:
    """Seconds, seconds of CPU and megabytes of one way, in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.drift_size", way, str(rows)]
    environ = os.environ | {"DO_NOT_TRACK": "1", "OMP_NUM_THREADS": "1"}
    root = Path(__file__).parents[1]
    done = subprocess.run(command, cwd=root, env=environ, capture_output=True, text=True, check=True)
    seconds, cpu, megabytes = done.stdout.split()[-3:]
    return float(seconds), float(cpu), float(megabytes)


def _tables(rows: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(0)
    names = [f"c{i}" for i in range(COLUMNS)]
    reference, current = (pd.DataFrame(rng.normal(size=(rows, COLUMNS)), columns=names) for _ in range(2))
    at = pd.date_range("2026-03-01", periods=rows, freq=pd.Timedelta(days=DAYS) / rows, tz="UTC")
    return reference.assign(at=at), current


def main(way: str, rows: int) -> None:
    """Measure one way in this process."""
    reference, current = _tables(rows)
    names = list(current.columns)
    before = psutil.Process().memory_info().rss
    if way == "Evidently":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from evidently import DataDefinition, Dataset, Report
            from evidently.presets import DataDriftPreset

            started, worked = time.perf_counter(), time.process_time()
            definition = DataDefinition(numerical_columns=names)
            sides = [Dataset.from_pandas(side[names], data_definition=definition) for side in (current, reference)]
            Report([DataDriftPreset()]).run(*sides).dict()
    else:
        from mlops.monitoring.drift.detect import detect
        from mlops.spec import DriftSpec

        started, worked = time.perf_counter(), time.process_time()
        detect(reference, current, spec=DriftSpec(), reference_times=reference["at"], columns=names)
    seconds, cpu = time.perf_counter() - started, time.process_time() - worked
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(f"{seconds:.3f} {cpu:.3f} {(peak - before) / 1e6:.0f}")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))

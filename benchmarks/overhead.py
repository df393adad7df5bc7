"""The training step's own cost on the sample fleet: wall time by part, and what of it is not inside `fit`."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.table import Table

from mlops.config import MLOpsConfig
from mlops.data import fleet
from mlops.pipelines import training, validation
from mlops.pipelines.tasks import execute
from mlops.records import TrainingSet
from mlops.services import Services

ROOT = Path(__file__).parents[1]
HISTORY_DAYS = 14
RUNS = 5
R = TypeVar("R")


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        services = Services.open(MLOpsConfig.build({"home": ROOT, "var": f"{folder}/var", "code_version": "bench"}))
        spec = services.spec("fleet_anomaly")
        settings = fleet.FleetConfig()
        days = [settings.first_day + timedelta(days=i) for i in range(HISTORY_DAYS + RUNS + 1)]
        for day in days:
            fleet.write_delivery(settings, day, f"{folder}/var/inbox")
            for step in ("ingestion", "features"):
                execute(step, services, spec, day)
        parts: dict[str, list[float]] = {}
        for day in days[HISTORY_DAYS:]:
            spent: dict[str, float] = {}
            sets: list[TrainingSet] = []
            _timed(
                spent,
                "prepare",
                lambda day=day, sets=sets: training.prepare_report(services, spec, day, "schedule", sets.append),
            )
            made = sets[0]
            runs = [
                _timed(spent, "fit", lambda i=i, made=made: training.fit(services, spec, made, i))
                for i in range(len(spec.candidates))
            ]
            spent["inside fit"] = sum(run.fit_seconds for run in runs)
            spent["around fit"] = spent.pop("fit") - spent["inside fit"]
            _timed(spent, "select", lambda made=made, runs=runs: training.select(services, spec, made, runs))
            _timed(spent, "validation", lambda day=day: validation.run(services, spec, day))
            for name, seconds in spent.items():
                parts.setdefault(name, []).append(seconds)
    table = Table("part", "median [s]", "min–max [s]", title=f"{len(spec.candidates)} candidates, {made.rows:,} rows")
    for name, seconds in parts.items():
        warm = seconds[1:]  # the first night also imports
        table.add_row(name, f"{statistics.median(warm):.2f}", f"{min(warm):.2f}–{max(warm):.2f}")
    Console().print(table)


def _timed(spent: dict[str, float], name: str, run: Callable[[], R]) -> R:
    started = time.perf_counter()
    answer = run()
    spent[name] = spent.get(name, 0.0) + time.perf_counter() - started
    return answer

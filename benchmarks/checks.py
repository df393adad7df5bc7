"""What the nightly checks on features cost of the steps that they are part of, in processor time.

Nights of the sample fleet, at the size of the demo (30 devices, 4,300 rows a night, all steps) and of a million rows a
night (7,000 devices, ingestion and features). Steps run one after another in this process, so that what a step imports
is not counted; `in a process of its own` is the last features step again, as a task or a command runs it.
`BENCH_CHECKS_DEVICES` names other sizes.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from mlops.config import MLOpsConfig
from mlops.data import fleet
from mlops.pipelines import feature_checks
from mlops.pipelines.tasks import execute
from mlops.services import Services

ROOT = Path(__file__).parents[1]
DEMO_DEVICES = fleet.FleetConfig().devices
DEVICES = tuple(map(int, os.environ.get("BENCH_CHECKS_DEVICES", f"{DEMO_DEVICES} 7000").split()))
NIGHTS, HISTORY = 4, 14
CHECKS = ("of_join", "of_online_store", "of_predictions")
EARLY, LATE = ("ingestion", "features"), ("training", "validation", "promotion", "inference", "monitoring")


def main() -> None:
    """Print the table."""
    table = Table("rows a night", "step", "step [CPU s]", "of it checks [CPU s]", "share")
    for devices in DEVICES:
        rows, found = nights(devices)
        for step, costs in found.items():
            whole, checks = (statistics.median(column) for column in zip(*costs, strict=True))
            table.add_row(f"{rows:,}", step, f"{whole:.2f}", f"{checks:.3f}", f"{100 * checks / whole:.1f} %")
    Console(width=120).print(table)
    print(f"1-minute load at the end: {os.getloadavg()[0]:.1f}")


def nights(devices: int) -> tuple[int, dict[str, list[tuple[float, float]]]]:
    """Processor time of each step with checks and of its checks [s], night by night, the first ones left out."""
    whole = devices <= DEMO_DEVICES
    settings = fleet.FleetConfig(devices=devices)
    days = [settings.first_day + timedelta(days=i) for i in range(NIGHTS + (HISTORY if whole else 0))]
    found: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        var = f"{folder}/var"
        services = Services.open(MLOpsConfig.build({"home": ROOT, "var": var, "code_version": "bench"}))
        spec = services.spec("fleet_anomaly")
        roomy = {"max_outside_share": 0.01}  # of thousands of pumps a few leave the range of the thirty
        columns = {name: column.model_copy(update=roomy) for name, column in spec.contract.columns.items()}
        spec = spec.model_copy(update={"contract": spec.contract.model_copy(update={"columns": columns})})
        for i, day in enumerate(days):
            fleet.write_delivery(settings, day, f"{var}/inbox")
            for step in (*EARLY, *(LATE if whole and i >= HISTORY else ())):
                with Checks() as checks:
                    before = used()
                    execute(step, services, spec, day)
                    spent = used() - before
                if checks.seconds and i > len(days) - NIGHTS:
                    found.setdefault(step, []).append((spent, checks.seconds))
        alone = in_a_process(var, days[-1])
        found["features, in a process of its own"] = [(alone, checks_of) for _, checks_of in found["features"]]
        rows = services.storage.manifest(services.storage.uri("data", spec.dataset, f"date={days[-1]}"))
    assert rows is not None
    return rows.rows, found


def used() -> float:
    """Processor time of this process [s]."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def in_a_process(var: str, day: date) -> float:
    """Processor time of the features step as a command [s]."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "mlops.cli",
        "run",
        "features",
        "fleet_anomaly",
        "--date",
        str(day),
    ]
    subprocess.run(
        command, env=os.environ | {"MLOPS_HOME": str(ROOT), "MLOPS_VAR": var}, check=True, capture_output=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


class Checks:
    """Adds up the processor time that checks take, for as long as the block lasts."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._plain = {name: getattr(feature_checks, name) for name in CHECKS}

    def __enter__(self) -> Checks:
        for name, plain in self._plain.items():
            setattr(feature_checks, name, self._timed(plain))
        return self

    def __exit__(self, *_: object) -> None:
        for name, plain in self._plain.items():
            setattr(feature_checks, name, plain)

    def _timed(self, plain: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            before = used()
            try:
                return plain(*args, **kwargs)
            finally:
                self.seconds += used() - before

        return timed

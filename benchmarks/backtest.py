"""Sixty nights of real air under six retraining policies: what each costs, and nights per second.

History (ingestion and features) is made once and is not timed; `MLOPS_BENCH_NIGHTS` asks for fewer nights.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from mlops.config import MLOpsConfig
from mlops.pipelines import backtest
from mlops.pipelines.tasks import execute
from mlops.services import Services

ROOT = Path(__file__).parents[1]
SPECS = ROOT / "tests" / "realdata"
FIRST, HISTORY_DAYS = date(2013, 4, 1), 22


def main() -> None:
    """Print the standings and the speed."""
    data = Path(os.environ.get("MLOPS_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not data.is_dir():
        print(f"no real data at {data}; set MLOPS_TEST_DATA to the folder that holds beijing_air/")
        return
    nights = int(os.environ.get("MLOPS_BENCH_NIGHTS", "60"))
    last = FIRST + timedelta(days=nights - 1)
    with _installation(data) as services, Progress(console=Console(stderr=True)) as bars:
        spec = services.spec("beijing_air")
        days = [FIRST + timedelta(days=i) for i in range(-HISTORY_DAYS, nights)]
        for day in bars.track(days, description="history"):
            for step in ("ingestion", "features"):
                execute(step, services, spec, day)
        began = time.perf_counter()
        found = backtest.run(services, spec, FIRST, last, workers=os.cpu_count() or 1)
        spent = time.perf_counter() - began
        again = time.perf_counter()
        resumed = backtest.run(services, spec, FIRST, last, workers=1)
        again = time.perf_counter() - again
    table = Table("policy", found.metric, "95 %", "regret", "trainings", "promoted", "alarms", "CPU of trainings [s]")
    for one in found.standings:
        span = one.quality_interval or (float("nan"), float("nan"))
        table.add_row(
            one.policy,
            f"{one.quality:.2f}",
            f"{span[0]:.2f}–{span[1]:.2f}",
            "–" if one.regret is None else f"{one.regret:.2f}",
            str(one.trainings),
            str(one.promotions),
            str(one.alarms),
            f"{one.cpu_seconds:.0f}",
        )
    Console(width=120).print(table)
    lived = nights * len(found.standings)
    print(
        f"{lived} nights in {spent:.0f} s, {lived / spent:.1f} a second; once more from what it had kept, in one "
        f"process: {again:.0f} s, {'the same answer' if resumed.answer_hash == found.answer_hash else 'ANOTHER ANSWER'}"
    )


@contextmanager
def _installation(data: Path) -> Iterator[Services]:
    with tempfile.TemporaryDirectory() as folder:
        values = {
            "home": ROOT,
            "var": f"{folder}/var",
            "models_dir": SPECS / "models",
            "feature_repo": SPECS / "feature_repo",
        }
        environ = {"ASD": str(data / "asd"), "BEIJING": str(data / "beijing_air")}
        yield Services.open(MLOpsConfig.build(values, environ))

"""`python -m demo`: several nights of the default model through Airflow, from a clean start, ending in a report.

Exit codes: 0 all that should happen did; 1 something did not, or could not; 2 usage.
"""

from __future__ import annotations

import argparse
import faulthandler
import gc
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from demo import environment
from mlops.errors import MLOpsError

HOME = Path(__file__).parents[1]
# Allocations before a collection. A hundred runs of Airflow in one process hold millions of objects that stay: with
# Python's own settings looking at them takes a tenth of the demo; these cost 80 MB.
COLLECT_EVERY = (200_000, 50, 100)


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; the answer is the exit code."""
    parser = argparse.ArgumentParser(prog="mlops demo", description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument(
        "--folder", type=Path, default=HOME / "var" / "demo", help="the demo's own folder; it is deleted"
    )
    parser.add_argument("--devices", type=int, help="devices of the fleet")
    parser.add_argument("--seed", type=int, help="seed of the fleet; with another one the nights turn out differently")
    chosen = parser.parse_args(arguments)
    given = {name: value for name in ("devices", "seed") if (value := getattr(chosen, name)) is not None}
    if given.get("devices", 1) < 1 or given.get("seed", 0) < 0:
        parser.error("--devices must be at least 1, --seed at least 0")
    gc.set_threshold(*COLLECT_EVERY)
    folder = chosen.folder.absolute()
    began, started_at = time.perf_counter(), datetime.now(UTC)
    try:
        environment.enter(HOME, folder)
        faulthandler.enable()  # a crash of native code leaves its trace in the log
        with environment.quiet(folder / "demo.log") as terminal:
            environment.end_on_signal(folder, terminal)
            try:
                from demo.life import run  # Airflow reads its settings when it is imported
                from demo.plan import make_plan

                return run(HOME, folder, terminal, make_plan(**given), began, started_at)
            finally:
                environment.release(folder)
    except MLOpsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # all is written; taking thousands of modules and Airflow's threads apart takes seconds

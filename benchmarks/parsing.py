"""Time to parse all DAG files for 1 and for 200 specs, each in a process of its own, Airflow imported before."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
RUNS = 5
COUNTS = (1, 200)

_PARSE = """
import json, os, sys, time, logging
logging.disable(logging.CRITICAL)
from airflow.dag_processing.dagbag import BundleDagBag
started = time.perf_counter()
bag = BundleDagBag(dag_folder=os.environ["DAGS"], bundle_path=os.environ["DAGS"], bundle_name="dags-folder")
spent = time.perf_counter() - started
heavy = sorted({"mlflow", "feast", "evidently", "great_expectations", "pyod", "sklearn"} & set(sys.modules))
found = {"seconds": spent, "dags": len(bag.dags), "errors": len(bag.import_errors), "heavy": heavy}
print("RESULT " + json.dumps(found))
"""


def main() -> None:
    """Print the table."""
    table = Table("specs", "DAGs", "median [s]", "min–max [s]", "heavy imports")
    for count in COUNTS:
        found = [_parse(count) for _ in range(RUNS)]
        seconds = [run["seconds"] for run in found]
        assert not any(run["errors"] for run in found), "a DAG file could not be parsed"
        heavy = ", ".join(found[0]["heavy"]) or "none"
        spread = f"{min(seconds):.2f}–{max(seconds):.2f}"
        table.add_row(str(count), str(found[0]["dags"]), f"{statistics.median(seconds):.2f}", spread, heavy)
    Console().print(table)


def _parse(count: int) -> dict[str, object]:
    template = (ROOT / "config" / "models" / "fleet_anomaly.yaml").read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        for i in range(count):
            spec = template.replace("name: fleet_anomaly", f"name: model_{i:03d}")
            Path(folder, f"model_{i:03d}.yaml").write_text(spec, encoding="utf-8")
        environ = os.environ | {
            "AIRFLOW_HOME": f"{folder}/airflow",
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{folder}/airflow.db",
            "MLOPS_HOME": str(ROOT),
            "MLOPS_VAR": f"{folder}/var",
            "MLOPS_MODELS_DIR": folder,
            "DAGS": str(ROOT / "dags"),
        }
        command = [sys.executable, "-W", "ignore", "-c", _PARSE]
        done = subprocess.run(command, env=environ, cwd=ROOT, capture_output=True, text=True, check=True, timeout=300)
        line = next(line for line in done.stdout.splitlines() if line.startswith("RESULT "))
        parsed: dict[str, object] = json.loads(line.removeprefix("RESULT "))
        return parsed

"""Lives through a night on a platform that `docker compose up` has started; exit code 0 if all it asked for happened.

smoke.py [--nights 12] [--minutes 30]

The sample fleet is delivered, and every night ingested by the DAG as the form of Airflow's UI starts it; features
follow by themselves. Training is started the same way; validation, promotion, batch inference and monitoring must
follow, and a champion must stand. Standard library only: it runs where Docker runs. Without
Docker, `make demo` shows the same.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
MODEL = "fleet_anomaly"
FOLLOWING = ("validation", "promotion", "inference", "monitoring")
_POLL_SECONDS = 3.0


class Airflow:
    """Airflow's REST API, logged in with the password of .env."""

    def __init__(self, settings: dict[str, str]) -> None:
        self.url = f"http://127.0.0.1:{settings.get('AIRFLOW_PORT', '8080')}"
        self.token = ""
        login = {"username": "admin", "password": settings["AIRFLOW_ADMIN_PASSWORD"]}
        self.token = self.call("POST", "/auth/token", login)["access_token"]

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON of an answer."""
        headers = {"Content-Type": "application/json"} | (
            {"Authorization": f"Bearer {self.token}"} if self.token else {}
        )
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(self.url + path, data=data, headers=headers, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=60) as answer:
            return json.load(answer)

    def start(self, dag: str, date: str) -> None:
        """Start a DAG from its form."""
        self.call("POST", f"/api/v2/dags/{dag}/dagRuns", {"logical_date": None, "conf": {"date": date}})

    def waits(self, dag: str) -> bool:
        """Whether Assets have changed that a run of the DAG is still to be made for."""
        try:
            return bool(self.call("GET", f"/api/v2/dags/{dag}/assets/queuedEvents")["total_entries"])
        except urllib.error.HTTPError as error:
            if error.code != 404:  # Airflow's word for "none"
                raise
            return False

    def runs(self, dag: str) -> list[dict[str, Any]]:
        """The runs of a DAG but for cron's: those may come before there is anything to learn from."""
        found: list[dict[str, Any]] = self.call("GET", f"/api/v2/dags/{dag}/dagRuns?limit=100")["dag_runs"]
        return [run for run in found if run["run_type"] != "scheduled"]


def settings_of(text: str) -> dict[str, str]:
    """The assignments of an .env file."""
    lines = [line for line in text.splitlines() if "=" in line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def inside(*command: str) -> str:
    """What a command says in the worker's container.

    Raises:
        SystemExit: it failed.
    """
    done = subprocess.run(
        ["docker", "compose", "exec", "-T", "worker", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)} in the worker ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def ended(airflow: Airflow, dag: str, runs: int, deadline: float) -> None:
    """Wait until so many runs of a DAG have succeeded.

    Raises:
        SystemExit: one failed, or the time is over.
    """
    while True:
        states = [run["state"] for run in airflow.runs(dag)]
        if "failed" in states:
            sys.exit(f"{dag}: a run failed. Its log: {airflow.url}/dags/{dag}")
        if states.count("success") >= runs and set(states) == {"success"} and not airflow.waits(dag):
            print(f"{dag:32} {states.count('success')} of {runs} succeeded", flush=True)
            return
        if time.monotonic() > deadline:
            sys.exit(f"{dag}: the time is over; its runs are {states or 'none'}, {runs} should have succeeded.")
        time.sleep(_POLL_SECONDS)


def main() -> None:
    """Ask for everything, in order."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nights", type=int, default=12, help="nights to ingest before the training [12]")
    parser.add_argument("--minutes", type=float, default=30, help="longest time for all of it [30]")
    options = parser.parse_args()
    deadline = time.monotonic() + 60 * options.minutes
    last = dt.datetime.now(dt.UTC).date() - dt.timedelta(days=1)
    nights = [(last - dt.timedelta(days=back)).isoformat() for back in reversed(range(options.nights))]
    print(inside("mlops", "sample", "--from", nights[0], "--to", nights[-1]).strip(), flush=True)
    try:
        airflow = Airflow(settings_of((ROOT / ".env").read_text(encoding="utf-8")))
    except (OSError, KeyError) as error:
        sys.exit(f"Airflow cannot be reached with the settings of .env: {error}. Is `docker compose up --wait` done?")
    for night in nights:
        airflow.start(f"ingestion__{MODEL}", night)
    ended(airflow, f"ingestion__{MODEL}", len(nights), deadline)
    ended(airflow, f"features__{MODEL}", 1, deadline)
    airflow.start(f"training__{MODEL}", nights[-1])
    ended(airflow, f"training__{MODEL}", 1, deadline)
    for step in FOLLOWING:
        ended(airflow, f"{step}__{MODEL}", 1, deadline)
    print(inside("mlops", "champion", MODEL).strip())


if __name__ == "__main__":
    main()

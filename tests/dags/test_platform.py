"""`make up` for real: started, logged in, a run made from the form's fields, and ended without a trace."""

from __future__ import annotations

import json
import os
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from mlops import processes, standalone
from mlops.config import MLOpsConfig
from mlops.data import fleet

pytestmark = [pytest.mark.dags, pytest.mark.slow]
DAY = date(2026, 3, 2)
STEPS = ("ingestion", "features", "training", "validation", "promotion", "rollback", "inference", "monitoring")
DAGS = {f"{step}__fleet" for step in STEPS} | {"maintenance"}


def _free_ports() -> list[int]:
    """Two ports that nobody listens on."""
    with socket.socket() as one, socket.socket() as two:
        for probe in (one, two):
            probe.bind(("127.0.0.1", 0))
        return [one.getsockname()[1], two.getsockname()[1]]


def _listening(process: psutil.Process) -> set[str]:
    """Addresses that a process listens on; none if it has just ended."""
    try:
        return {c.laddr.ip for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN}
    except psutil.NoSuchProcess:
        return set()


class Api:
    """Airflow's REST API, logged in."""

    def __init__(self, platform: standalone.Platform) -> None:
        """Log in."""
        self.url = platform.airflow_url.replace("localhost", "127.0.0.1")
        self.token = ""
        login = {"username": platform.user, "password": platform.password}
        self.token = self.call("POST", "/auth/token", login)["access_token"]

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Ask for a page; its JSON."""
        headers = {"Content-Type": "application/json"} | (
            {"Authorization": f"Bearer {self.token}"} if self.token else {}
        )
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(self.url + path, data=data, headers=headers, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=60) as answer:
            return json.load(answer)

    def wait_for(self, path: str, done: Callable[[Any], bool], seconds: float = 240) -> Any:
        """Ask again until the answer is as wanted. A busy SQLite makes Airflow's API say 500 now and then."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                if done(found := self.call("GET", path)):
                    return found
            except urllib.error.HTTPError as error:
                found = error
                if error.code < 500:
                    raise
            assert time.monotonic() < deadline, f"{path} after {seconds} s: {found}"
            time.sleep(1)


def test_the_platform_starts_runs_a_dag_and_ends_without_a_trace(
    write_spec: Callable[..., Path], installation: SimpleNamespace
) -> None:
    """Two servers on loopback, nobody let in without the password, a run by its date that starts the next DAG."""
    write_spec("fleet")
    fleet.write_delivery(fleet.FleetConfig(), DAY, f"{installation.var}/inbox")
    config = MLOpsConfig.load()
    airflow_port, mlflow_port = _free_ports()
    said: list[str] = []
    platform = standalone.up(config, airflow_port=airflow_port, mlflow_port=mlflow_port, tell=said.append)
    try:
        assert platform.password in said[-1]
        started = processes.recorded(config.state_dir / "run")
        members = [member for process in started for member in processes.members(process)]
        listening = {address for member in members for address in _listening(member)}
        assert listening == {"127.0.0.1"}
        api = Api(platform)
        with pytest.raises(urllib.error.HTTPError, match="401"):
            Api(standalone.Platform(platform.airflow_url, "", "", platform.user, "wrong", platform.logs, ()))
        api.wait_for("/api/v2/dags", lambda found: {dag["dag_id"] for dag in found["dags"]} == DAGS)
        api.wait_for("/api/v2/importErrors", lambda found: found["total_entries"] == 0, seconds=30)
        form = {"logical_date": None, "conf": {"date": DAY.isoformat()}}
        run = api.call("POST", "/api/v2/dags/ingestion__fleet/dagRuns", form)
        path = f"/api/v2/dags/ingestion__fleet/dagRuns/{run['dag_run_id']}"
        assert api.wait_for(path, lambda found: found["state"] in ("success", "failed"))["state"] == "success"
        (event,) = api.wait_for("/api/v2/assets/events", lambda found: found["total_entries"] == 1)["asset_events"]
        assert (event["name"], event["extra"]["date"]) == ("fleet/validated_data", DAY.isoformat())
        api.wait_for("/api/v2/dags/features__fleet/dagRuns", lambda found: found["total_entries"] == 1)
    finally:
        ended = standalone.down(config, tell=said.append)
    assert set(ended) == {"api-server", "scheduler", "dag-processor", "triggerer", "mlflow"}
    assert [member for process in started for member in processes.members(process)] == []
    own = str(installation.var).encode()
    left = [pid for pid in psutil.pids() if pid != os.getpid() and own in _environment(pid)]
    assert left == []


def _environment(pid: int) -> bytes:
    """The environment of a process, where the system shows it."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""

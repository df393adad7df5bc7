"""`make up` for real: started, logged in, a run made from the form's fields, and ended without a trace."""

from __future__ import annotations

import os
import re
import socket
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import date
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from mlops import processes, standalone
from mlops.config import MLOpsConfig
from mlops.data import fleet
from tests.airflow_api import Api

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
            Api(standalone.Platform(platform.airflow_url, "", "", "", platform.user, "wrong", platform.logs, ()))
        api.wait_for("/api/v2/dags", lambda found: {dag["dag_id"] for dag in found["dags"]} == DAGS)
        api.wait_for("/api/v2/importErrors", lambda found: found["total_entries"] == 0, seconds=30)
        assert api.ended(api.start("ingestion__fleet", date=DAY.isoformat())) == "success"
        (event,) = api.wait_for("/api/v2/assets/events", lambda found: found["total_entries"] == 1)["asset_events"]
        assert (event["name"], event["extra"]["date"]) == ("fleet/validated_data", DAY.isoformat())
        api.wait_for("/api/v2/dags/features__fleet/dagRuns", lambda found: found["total_entries"] == 1)
        _models_are_shown_to_who_is_logged_in(api)
    finally:
        ended = standalone.down(config, tell=said.append)
    assert set(ended) == {"api-server", "scheduler", "dag-processor", "triggerer", "mlflow"}
    assert [member for process in started for member in processes.members(process)] == []
    own = str(installation.var).encode()
    left = [pid for pid in psutil.pids() if pid != os.getpid() and own in _environment(pid)]
    assert left == []


def _models_are_shown_to_who_is_logged_in(api: Api) -> None:
    """The plugin's pages, by Airflow's own rules of who may see a DAG, and its places in the UI."""
    plugins = {plugin["name"]: plugin for plugin in api.call("GET", "/api/v2/plugins")["plugins"]}
    views = {view["destination"]: view["href"] for view in plugins["mlops_models"]["external_views"]}
    assert views == {"nav": "/mlops/models", "dag": "/mlops/dags/{DAG_ID}"}
    assert 'href="models/fleet"' in api.page("/mlops/models")
    of_dag = api.page("/mlops/dags/ingestion__fleet")
    assert "There is no champion yet." in of_dag
    assert f"{DAY}</td>" in re.sub(r"\s", "", of_dag)
    assert api.page(f"/mlops/models/fleet/{DAY}/contract.html").startswith("<!doctype html>")
    api.token = ""
    with pytest.raises(urllib.error.HTTPError, match="401"):
        api.page("/mlops/models")


def _environment(pid: int) -> bytes:
    """The environment of a process, where the system shows it."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""

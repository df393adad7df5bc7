"""Target `local`, with real processes: up and proven, replaced, brought back when the new one does not come, ended."""

from __future__ import annotations

import json
import os
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from typer.testing import CliRunner

from mlops.cli.__main__ import app
from mlops.config import MLOpsConfig
from mlops.errors import MLOpsError
from mlops.services import Services
from tests.contenders import Contenders, logged_runs
from tests.programs import free_port

ROOT = Path(__file__).parents[4]


class Shell:
    """`mlops …` as people type it, in an installation with a champion."""

    def __init__(self, folder: Path) -> None:
        fleet = yaml.safe_load((ROOT / "config" / "models" / "fleet_anomaly.yaml").read_text(encoding="utf-8"))
        (folder / "models").mkdir()
        (folder / "models" / "pumps.yaml").write_text(yaml.safe_dump(fleet | {"name": "pumps"}), encoding="utf-8")
        self.environ = {
            "MLOPS_HOME": str(ROOT), "MLOPS_VAR": str(folder / "var"), "MLOPS_MODELS_DIR": str(folder / "models"),
            "MLOPS_CODE_VERSION": "test", "MLOPS_ACTOR": "ann",
        }  # fmt: skip
        self.state = folder / "var" / "deployments"
        services = Services.open(MLOpsConfig.load(self.environ))
        Contenders(services, services.spec("pumps"), logged_runs(services.tracker, 1)).register()
        services.registry.set_alias("pumps", "champion", 1)

    def run(self, *arguments: str, code: int = 0, **environ: str) -> str:
        """What a command prints; of an error, what it says."""
        with pytest.MonkeyPatch.context() as patch:
            for name, value in (self.environ | environ).items():
                patch.setenv(name, value)
            found = CliRunner().invoke(app, list(arguments))
        if found.exception is not None and not isinstance(found.exception, SystemExit | MLOpsError):
            raise found.exception
        assert found.exit_code == code, (found.output, found.exception)
        return f"{found.output}{found.exception or ''}" if code == 1 else found.output

    def json(self, *arguments: str, code: int = 0, **environ: str) -> Any:
        """What a command says to programs."""
        return json.loads(self.run(*arguments, "--json", code=code, **environ))

    def process(self) -> psutil.Process:
        """The one that answers."""
        record = json.loads((self.state / "processes" / "pumps.json").read_text(encoding="utf-8"))
        return psutil.Process(record["pid"])


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """An installation of its own, of which nothing runs afterwards."""
    made = Shell(tmp_path)
    yield made
    made.run("undeploy", "pumps")


def ended(process: psutil.Process) -> bool:
    """Whether it runs no more."""
    return not process.is_running() or bool(process.status() == psutil.STATUS_ZOMBIE)


def version_at(port: int) -> int:
    """Which version answers there."""
    body = json.dumps({"features": {"temperature": 0.1, "pressure": -0.2}}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/predict", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return int(json.load(answer)["version"])


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_life_on_this_machine(shell: Shell) -> None:
    """Up and proven; again is nothing to do; a change replaces it; a broken one gives way; back; down."""
    ports = free_port(), free_port()
    up = shell.json("deploy", "pumps", "--port", str(ports[0]))
    assert (up["outcome"], up["running"]["state"]) == ("done", "healthy")
    assert version_at(ports[0]) == 1
    first = shell.process()
    assert os.getsid(first.pid) == first.pid  # it outlives who deployed it
    assert "nothing to do" in shell.run("deploy", "pumps", "--port", str(ports[0]))
    assert shell.process().pid == first.pid

    told = shell.run("deploy", "pumps", "--port", str(ports[1]))
    assert "8 golden rows answered by version 1" in told
    assert ended(first)
    assert version_at(ports[1]) == 1

    broken = shell.run(
        "deploy", "pumps", "--port", str(ports[1]), code=1, MLOPS_DEPLOYMENT="{environment: {MLOPS_ENV: nowhere}}"
    )
    assert "pumps has ended" in broken
    assert "MLOPS_ENV=nowhere" in broken  # what the process said
    assert "What ran before answers again" in broken
    assert version_at(ports[1]) == 1
    (row,) = shell.json("deployments")
    assert (row["deployment"]["port"], row["running"]["state"], row["by"]) == (ports[1], "healthy", "ann")

    shell.process().kill()
    assert shell.json("deployments", code=3)[0]["running"]["state"] == "gone"
    back = shell.json("rollback-deployment", "pumps", "--reason", "it died")
    assert back["running"]["url"].endswith(str(ports[0]))
    assert version_at(ports[0]) == 1
    assert "nothing to go back to" in shell.run("rollback-deployment", "pumps", code=3)

    last = shell.process()
    assert "does not run" in shell.run("undeploy", "pumps")
    assert ended(last)
    assert "nothing to do" in shell.run("undeploy", "pumps")
    assert shell.json("deployments") == []
    kinds = [entry["kind"] for entry in shell.json("ledger", "show", "pumps")]
    made = ["deployment", "deployment", "deployment_failure", "deployment_rollback", "undeployment"]
    assert [kind for kind in kinds if "deployment" in kind] in (made, made[::-1])


@pytest.mark.timeout(300)
def test_a_port_of_a_stranger_and_a_missing_variable_are_told_before_anything_is_ended(shell: Shell) -> None:
    """Errors in words with what to do; nothing was started."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = shell.run("deploy", "pumps", "--port", str(port), code=1)
    assert f"Port {port} for pumps cannot be used" in said
    assert f"--port {port + 1}" in said
    said = shell.run("deploy", "pumps", code=1, MLOPS_DEPLOYMENT="{variables: [NOT_SET_ANYWHERE]}")
    assert "NOT_SET_ANYWHERE has no value" in said
    assert not (shell.state / "processes" / "pumps.json").exists()
    plan = shell.json("deploy", "pumps", "--dry-run")
    assert plan["changes"]["workers"] == [None, 1]

"""Airflow and MLflow without Docker: what is started, refused, kept secret and ended."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from mlops import airflow_settings, credentials, health, processes, standalone
from mlops.config import MLOpsConfig
from mlops.errors import ConfigError, MLOpsError, StorageError

SLEEP = "import time; time.sleep(600)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
)
PARENT = (
    f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SLEEP!r}]); print('born', flush=True); {SLEEP}"
)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder of process records; whatever is left running at the end of the test is killed."""
    made = tmp_path / "run"
    made.mkdir()
    yield made
    for process in processes.recorded(made):
        for member in processes.members(process):
            member.kill()


@pytest.fixture
def silent_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """No database is made: these tests start stand-ins for Airflow."""
    monkeypatch.setattr(standalone, "_migrate", lambda *_: None)


def _start(folder: Path, name: str, code: str, says: str = "") -> processes.Process:
    """Start a Python program and wait until it has said `says`."""
    log = folder.parent / f"{name}.log"
    command = [sys.executable, "-c", code]
    process = processes.start(name, command, environment=os.environ, log=log, folder=folder)
    deadline = time.monotonic() + 60
    while says not in log.read_text() and time.monotonic() < deadline:
        time.sleep(0.02)
    return process


def _free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


# --- processes -------------------------------------------------------------------------------------------------------


def test_a_program_is_ended_with_all_that_it_started(folder: Path) -> None:
    """A child of the program, which nobody has recorded, goes with it."""
    process = _start(folder, "parent", PARENT, says="born")
    family = processes.members(process)
    assert len(family) == 2
    assert processes.end([process], 20) == ("parent",)
    assert processes.members(process) == []
    assert not any(member.is_running() and member.status() != psutil.STATUS_ZOMBIE for member in family)


def test_a_program_that_ignores_the_polite_signal_is_ended_by_force(folder: Path) -> None:
    """After the bound there is nothing left, however deaf it is."""
    process = _start(folder, "stubborn", STUBBORN, says="deaf")
    assert processes.end([process], 0.3) == ("stubborn",)
    assert not processes.is_alive(process)


def test_a_stranger_with_the_same_process_id_is_left_alone(folder: Path) -> None:
    """A record of a process that died long ago does not end the one that has its number now."""
    process = _start(folder, "stranger", SLEEP)
    old = processes.Process("old", process.pid, process.created - 3600)
    assert not processes.is_alive(old)
    assert processes.end([old], 0.3) == ()
    assert processes.is_alive(process)


def test_what_a_killed_program_leaves_behind_is_still_ended(folder: Path) -> None:
    """The leader is gone, its child is not: the session finds it."""
    process = _start(folder, "parent", PARENT, says="born")
    psutil.Process(process.pid).kill()
    os.waitpid(process.pid, 0)
    assert not processes.is_alive(process)
    assert len(processes.members(process)) == 1
    assert processes.end([process], 20) == ("parent",)
    assert processes.members(process) == []


def test_records_are_found_again_by_another_process(folder: Path) -> None:
    """`down` is another process than `up`: the record is all it has."""
    process = _start(folder, "one", SLEEP)
    assert processes.recorded(folder) == [process]
    processes.forget(folder, [process])
    assert processes.recorded(folder) == []
    processes.end([process], 20)


# --- up and down -----------------------------------------------------------------------------------------------------


def test_a_taken_port_is_refused_before_anything_is_started(config: MLOpsConfig, silent_start: None) -> None:
    """The error names the port and the option that changes it; no process, no record."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"Port {port} for api-server .* --airflow-port {port + 1}"):
            standalone.up(config, airflow_port=port, mlflow_port=_free_port(), tell=lambda _: None)
        with pytest.raises(ConfigError, match=rf"Port {port} for mlflow .* --mlflow-port {port + 1}"):
            standalone.up(config, airflow_port=_free_port(), mlflow_port=port, tell=lambda _: None)
    assert processes.recorded(config.state_dir / "run") == []


def _living_children() -> set[int]:
    """Process ids; multiprocessing keeps one child for as long as its parent lives."""
    return {child.pid for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE}


def test_a_process_that_dies_at_once_is_told_with_its_last_words(
    config: MLOpsConfig, silent_start: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others that were started are ended again, and no record stays."""
    commands = {
        "api-server": [sys.executable, "-c", SLEEP],
        "scheduler": [sys.executable, "-c", "print('no such table: dag'); raise SystemExit(3)"],
    }
    monkeypatch.setattr(standalone, "_commands", lambda *_: commands)
    before = _living_children()
    with pytest.raises(MLOpsError, match=r"scheduler has ended(?s:.*)no such table: dag"):
        standalone.up(config, airflow_port=_free_port(), mlflow_port=_free_port(), tell=lambda _: None)
    assert processes.recorded(config.state_dir / "run") == []
    assert _living_children() <= before


def test_what_is_not_healthy_in_time_is_ended_again(
    config: MLOpsConfig, silent_start: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says which process, how long was waited, and where its log is."""
    monkeypatch.setattr(standalone, "_commands", lambda *_: {"triggerer": [sys.executable, "-c", SLEEP]})
    with pytest.raises(MLOpsError, match=r"triggerer not healthy after 0 s.*triggerer\.log"):
        standalone.up(config, airflow_port=_free_port(), mlflow_port=_free_port(), tell=lambda _: None, seconds=0.1)
    assert processes.recorded(config.state_dir / "run") == []


def test_a_second_up_says_that_it_is_running_and_starts_nothing(
    config: MLOpsConfig, silent_start: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Process ids stay, the address is the one of the first time, and `down` ends each exactly once."""
    monkeypatch.setattr(standalone, "_commands", lambda *_: {"api-server": [sys.executable, "-c", SLEEP]})
    monkeypatch.setattr(health, "healthy", lambda _: {"api-server"})
    said: list[str] = []
    port = _free_port()
    first = standalone.up(config, airflow_port=port, mlflow_port=_free_port(), tell=said.append)
    before = processes.recorded(config.state_dir / "run")
    said.clear()
    second = standalone.up(config, airflow_port=_free_port(), mlflow_port=_free_port(), tell=said.append)
    assert (first.started, second.started) == (("api-server",), ())
    assert second.airflow_url == first.airflow_url == f"http://localhost:{port}"
    assert said[0] == "Already running."
    assert second.password in said[1]
    assert processes.recorded(config.state_dir / "run") == before
    assert standalone.down(config, tell=said.append) == ("api-server",)
    assert said[-1] == "Ended api-server."
    assert standalone.down(config, tell=said.append) == ()
    assert said[-1] == "Nothing was running."


def test_state_that_cannot_be_written_is_refused_with_the_setting_that_changes_it(tmp_path: Path) -> None:
    """A file stands where the folder should be: the error names it and MLOPS_STATE_DIR."""
    (tmp_path / "var").write_text("a file")
    config = MLOpsConfig.build({"home": tmp_path, "var": str(tmp_path / "var")})
    with pytest.raises(StorageError, match=r"/var cannot be written: .* MLOPS_STATE_DIR"):
        standalone.up(config, tell=lambda _: None)


def test_secrets_are_made_once_and_are_for_this_user_alone(config: MLOpsConfig) -> None:
    """The login and the keys outlive a restart; files 600, folder 700; nothing secret in the shared environment."""
    first = airflow_settings._of_the_platform(config, 8080)
    password = credentials.password(config)
    assert airflow_settings._of_the_platform(config, 8080) == first
    assert credentials.password(config) == password
    files = list((config.state_dir / "run" / "secrets").iterdir())
    assert len(files) == 2
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert stat.S_IMODE(files[0].parent.stat().st_mode) == 0o700
    assert not set(first) & set(airflow_settings.airflow_environment(config))


def test_only_loopback_is_listened_on(config: MLOpsConfig) -> None:
    """Each server is told its host; the components that would serve logs on all interfaces are told not to."""
    commands = standalone._commands(config, {"api-server": 8080, "mlflow": 5000})
    for name in ("api-server", "mlflow"):
        assert commands[name][commands[name].index("--host") + 1] == "127.0.0.1"
    for name in ("scheduler", "triggerer"):
        assert "--skip-serve-logs" in commands[name]
    assert not {"feast", "data-docs"} & commands.keys()
    more = standalone._commands(config, {"api-server": 8080, "mlflow": 5000, "feast": 8888, "data-docs": 8090})
    assert more["feast"][-2:] == ["--port", "8888"]
    assert more["data-docs"][-5:] == ["data", "docs", "--serve", "--port", "8090"]


def test_a_tracking_server_of_somebody_else_is_used_and_not_started(tmp_path: Path) -> None:
    """With MLOPS_TRACKING_URI on http there is no MLflow of ours, and its address is the one that is told."""
    values = {"home": tmp_path, "var": str(tmp_path / "var"), "tracking_uri": "http://tracking.example:5000"}
    config = MLOpsConfig.build(values)
    assert "mlflow" not in standalone._commands(config, {"api-server": 8080, "mlflow": 5000})
    (tmp_path / "var").mkdir()
    credentials.keys(config)
    platform = standalone._platform(config, {"api-server": 8080, "mlflow": 5000}, ())
    assert platform.mlflow_url == "http://tracking.example:5000"


def test_airflows_processes_see_the_same_installation(config: MLOpsConfig) -> None:
    """A process with this environment, wherever it runs, loads settings equal to those of its maker."""
    several = {"trusted_types": ("plant.Model", "plant.Scaler"), "roles": {"model-approver": ("alice", "bob")}}
    deployment = {"target": "kubernetes", "variables": ["LEDGER_URL"], "environment": {"A": "1"}}
    config = MLOpsConfig.build(config.model_dump() | several | {"deployment": deployment})
    environ = {"PATH": os.environ["PATH"]} | airflow_settings.airflow_environment(config)
    code = "from mlops.config import MLOpsConfig; print(MLOpsConfig.load().model_dump_json(exclude={'variables'}))"
    run = subprocess.run([sys.executable, "-c", code], env=environ, cwd="/", capture_output=True, text=True, check=True)
    assert MLOpsConfig(**json.loads(run.stdout)) == config.model_copy(update={"variables": {}})


@pytest.mark.parametrize(("given", "threads"), [({}, 1), ({"OMP_NUM_THREADS": "2"}, 2)])
def test_tasks_side_by_side_take_one_core_each(tmp_path: Path, given: dict[str, str], threads: int) -> None:
    """Numeric libraries start one thread in each process of the platform, or as many as whoever starts it says."""
    config = MLOpsConfig.build({"home": tmp_path, "var": str(tmp_path / "var")}, given)
    environ = {"PATH": os.environ["PATH"]} | airflow_settings.airflow_environment(config)
    code = "import numpy, threadpoolctl; print({p['num_threads'] for p in threadpoolctl.threadpool_info()})"
    run = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == f"{{{min(threads, os.cpu_count() or 1)}}}"

"""Airflow, MLflow, Feast's UI and data docs on one machine, no Docker: `mlops up` starts, `mlops down` ends just them.

Four Airflow processes (API server with the UI, scheduler with LocalExecutor, DAG processor, triggerer), the MLflow
server, Feast's UI and the data docs, on loopback only. Who runs is written to `<state_dir>/run`, what they say to
`<state_dir>/logs`.

One rule: Airflow is run as a program, `python -m airflow`; it is never imported.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mlops import credentials, health, processes
from mlops.airflow_settings import platform_environment
from mlops.config import MLOpsConfig
from mlops.credentials import USER
from mlops.errors import ConfigError, MLOpsError, StorageError
from mlops.health import HOST

START_SECONDS = 240.0
STOP_SECONDS = 20.0
_POLL_SECONDS = 0.5

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Platform:
    """What `up` has found running or started."""

    airflow_url: str
    mlflow_url: str  # of the server started here, or of the one that the settings name
    feast_url: str  # empty: not asked for
    docs_url: str  # of the data docs; empty: not asked for
    user: str
    password: str
    logs: Path
    started: tuple[str, ...]  # names of the processes that this call started; empty when all were running


def up(
    config: MLOpsConfig,
    *,
    airflow_port: int = 8080,
    mlflow_port: int = 5000,
    feast_port: int = 0,
    docs_port: int = 0,
    tell: Tell | None = None,
    seconds: float = START_SECONDS,
    settings: Mapping[str, str] | None = None,
) -> Platform:
    """Start what is not running, wait until all of it is healthy, and say where it is and how to log in.

    Args:
        config: the settings.
        airflow_port: port of Airflow's UI and API.
        mlflow_port: port of MLflow's UI.
        feast_port: port of Feast's UI; 0: it is not started.
        docs_port: port of the data docs; 0: they are not served.
        tell: where progress goes, line by line; default: standard output.
        seconds: how long to wait for all to be healthy [s].
        settings: further environment variables, laid over those of `airflow_environment`.

    Raises:
        ConfigError: a port is taken.
        StorageError: `state_dir` cannot be written.
        MLOpsError: a process did not start; what this call started has been ended again.
    """
    tell = tell or _print
    run, logs = _folders(config)
    known = processes.recorded(run)
    running = {process.name: process for process in known if processes.is_alive(process)}
    processes.end([process for process in known if process.name not in running], STOP_SECONDS)  # what a crash has left
    asked = {"feast": feast_port, "data-docs": docs_port}
    ports = {"api-server": airflow_port, "mlflow": mlflow_port} | {name: port for name, port in asked.items() if port}
    ports |= {p.name: p.port for p in running.values() if p.port}
    missing = {name: args for name, args in _commands(config, ports).items() if name not in running}
    for name in missing:
        if name in ports:
            _refuse_taken(name, ports[name])
    environment = platform_environment(config, ports["api-server"], settings or {})
    if missing:
        tell(f"Preparing Airflow's database (log: {logs / 'migrate.log'})")
        _migrate(environment, logs)
        _start_all(missing, ports, environment, run, logs, tell, seconds)
    else:
        tell("Already running.")
    platform = _platform(config, ports, tuple(missing))
    tell(
        f"\n  Airflow  {platform.airflow_url}   user {platform.user}, password {platform.password}"
        f"\n  MLflow   {platform.mlflow_url}"
        + (f"\n  Feast    {platform.feast_url}" if platform.feast_url else "")
        + (f"\n  Data     {platform.docs_url}   deliveries and their contracts" if platform.docs_url else "")
        + f"\n  Logs     {platform.logs}\n\n`mlops down` (or `make down`) ends them."
    )
    return platform


def down(config: MLOpsConfig, *, tell: Tell | None = None, seconds: float = STOP_SECONDS) -> tuple[str, ...]:
    """End what `up` started, and nothing else: politely, and after `seconds` by force.

    Returns:
        Names of the processes that were ended.
    """
    tell = tell or _print
    run = config.state_dir / "run"
    known = processes.recorded(run)
    ended = processes.end(known, seconds)
    processes.forget(run, known)
    tell(f"Ended {', '.join(ended)}." if ended else "Nothing was running.")
    return ended


# --- what is run -----------------------------------------------------------------------------------------------------


def _commands(config: MLOpsConfig, ports: Mapping[str, int]) -> dict[str, list[str]]:
    """The processes by name. Task logs are read from the shared disk, so no component serves them on a port."""
    airflow = [sys.executable, "-m", "airflow"]
    commands = {
        "api-server": [*airflow, "api-server", "--host", HOST, "--port", str(ports["api-server"])],
        "scheduler": [*airflow, "scheduler", "--skip-serve-logs"],
        "dag-processor": [*airflow, "dag-processor"],
        "triggerer": [*airflow, "triggerer", "--skip-serve-logs"],
    }
    if not config.tracking_uri.startswith("http"):
        store = ["--backend-store-uri", config.tracking_uri, "--default-artifact-root", config.artifact_uri]
        where = ["--host", HOST, "--port", str(ports["mlflow"]), "--workers", "1"]
        commands["mlflow"] = [sys.executable, "-m", "mlflow", "server", *store, *where]
    if "feast" in ports:
        commands["feast"] = [sys.executable, "-m", "mlops.cli", "features", "ui", "--port", str(ports["feast"])]
    if "data-docs" in ports:
        docs = ["data", "docs", "--serve", "--port", str(ports["data-docs"])]
        commands["data-docs"] = [sys.executable, "-m", "mlops.cli", *docs]
    return commands


# --- starting --------------------------------------------------------------------------------------------------------


def _migrate(environment: dict[str, str], logs: Path) -> None:
    """Bring Airflow's database up to date; on the first start this makes it."""
    with (logs / "migrate.log").open("wb") as log:
        command = [sys.executable, "-m", "airflow", "db", "migrate"]
        code = subprocess.run(command, env=environment, stdout=log, stderr=subprocess.STDOUT, check=False).returncode
    if code:
        raise MLOpsError(f"`airflow db migrate` ended with {code}:\n{_tail(logs / 'migrate.log')}")


def _start_all(
    missing: Mapping[str, list[str]],
    ports: Mapping[str, int],
    environment: dict[str, str],
    run: Path,
    logs: Path,
    tell: Tell,
    seconds: float,
) -> None:
    tell(f"Starting {', '.join(missing)}")
    started: list[processes.Process] = []
    try:
        for name, command in missing.items():
            log_file, port = logs / f"{name}.log", ports.get(name, 0)
            started.append(processes.start(name, command, environment=environment, log=log_file, folder=run, port=port))
        _wait(started, ports, logs, tell, seconds)
    except BaseException:
        processes.end(started, STOP_SECONDS)
        processes.forget(run, started)
        raise


def _wait(started: list[processes.Process], ports: Mapping[str, int], logs: Path, tell: Tell, seconds: float) -> None:
    """Until every process answers for itself, or has died, or time is up."""
    begin = time.monotonic()
    waiting = {process.name: process for process in started}
    while waiting:
        well = health.healthy(ports)
        for name, process in list(waiting.items()):
            if not processes.is_alive(process):
                raise MLOpsError(f"{name} has ended. The end of {logs / name}.log:\n{_tail(logs / f'{name}.log')}")
            if name in well:
                del waiting[name]
                tell(f"  {name} is healthy after {time.monotonic() - begin:.0f} s")
        if waiting and time.monotonic() - begin > seconds:
            raise MLOpsError(
                f"{', '.join(waiting)} not healthy after {seconds:.0f} s; all was ended again.",
                hint=f"See {', '.join(str(logs / f'{name}.log') for name in waiting)}.",
            )
        time.sleep(_POLL_SECONDS if waiting else 0)


def _refuse_taken(name: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            option = f"--{ {'api-server': 'airflow', 'data-docs': 'docs'}.get(name, name) }-port"
            raise ConfigError(
                f"Port {port} for {name} cannot be used: {error.strerror}. Nothing was started.",
                hint=f"End what listens there, or choose another port: mlops up {option} {port + 1}",
            ) from error


# --- records ---------------------------------------------------------------------------------------------------------


def _folders(config: MLOpsConfig) -> tuple[Path, Path]:
    """Folders of process records and of logs, made if need be; those of SQLite files along with them."""
    run, logs = config.state_dir / "run", config.state_dir / "logs"
    try:
        for folder in (run, logs, config.state_dir / "airflow", config.state_dir / "mlflow"):
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"{config.state_dir} cannot be written: {error.strerror}.", hint="Set MLOPS_STATE_DIR to a folder that can."
        ) from error
    return run, logs


def _platform(config: MLOpsConfig, ports: Mapping[str, int], started: tuple[str, ...]) -> Platform:
    served = config.tracking_uri.startswith("http")
    return Platform(
        airflow_url=f"http://localhost:{ports['api-server']}",
        mlflow_url=config.tracking_uri if served else f"http://localhost:{ports['mlflow']}",
        feast_url=f"http://localhost:{ports['feast']}" if "feast" in ports else "",
        docs_url=f"http://localhost:{ports['data-docs']}" if "data-docs" in ports else "",
        user=USER,
        password=credentials.password(config),
        logs=config.state_dir / "logs",
        started=started,
    )


def _tail(path: Path, lines: int = 15) -> str:
    return "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()

"""The embedded platform for real, on ports and databases of its own, whose parts can be killed and started again."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil

from mlops import airflow_settings, health, processes, standalone
from mlops.config import MLOpsConfig
from tests.airflow_api import Api
from tests.faults.world import ROOT

START_SECONDS = 900
PLUGINS = (ROOT / "plugins" / "listener.py", Path(__file__).parent / "plugins" / "hold.py")
# What makes a test of it: DAGs start when they are told to, and many tasks may stand still at once. What is tested,
# the patience of tasks, is as shipped.
TEST_SETTINGS = {
    "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "True",
    "AIRFLOW__CORE__PARALLELISM": "20",
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "600",
}
# With MLOPS_FAULTS_AIRFLOW=defaults, to see the test fail.
PATIENCE = (
    "AIRFLOW__WORKERS__MAX_FAILED_HEARTBEATS",
    "AIRFLOW__WORKERS__EXECUTION_API_RETRIES",
    "AIRFLOW__WORKERS__EXECUTION_API_RETRY_WAIT_MIN",
    "AIRFLOW__WORKERS__EXECUTION_API_RETRY_WAIT_MAX",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT",
)
AIRFLOWS_OWN = dict(zip(PATIENCE, ("3", "5", "1.0", "90.0", "300"), strict=True))


class Stack:
    """A running platform."""

    def __init__(self, config: MLOpsConfig, folder: Path, database_url: str) -> None:
        """Make ready for it.

        Args:
            config: the installation.
            folder: for the plug-ins and the tasks that are held.
            database_url: Airflow's own database: SQLite answers twenty tasks at once with "database is locked".
        """
        self.config = config
        self.hold = folder / "hold"
        plugins = folder / "plugins"
        for made in (self.hold, plugins):
            made.mkdir(parents=True)
        for plugin in PLUGINS:
            shutil.copy(plugin, plugins)
        self._settings = TEST_SETTINGS | {
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(plugins),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database_url,
            "FAULTS_HOLD": str(self.hold),
        }
        if os.environ.get("MLOPS_FAULTS_AIRFLOW") == "defaults":
            self._settings |= AIRFLOWS_OWN
        self._ports = dict(zip(("api-server", "mlflow"), _free_ports(), strict=True))
        self._said: list[str] = []
        self.api_start_seconds = 0.0

    def begin(self) -> None:
        """Start it for the first time, and log in."""
        self.api = Api(self.start())
        (seconds,) = re.findall(r"api-server is healthy after (\d+) s", "\n".join(self._said))
        self.api_start_seconds = float(seconds)

    def start(self) -> standalone.Platform:
        """Start what is not running, as `mlops up` does."""
        return standalone.up(
            self.config,
            airflow_port=self._ports["api-server"],
            mlflow_port=self._ports["mlflow"],
            tell=self._said.append,
            seconds=START_SECONDS,
            settings=self._settings,
        )

    def api_server_away(self, seconds: float, meanwhile: Callable[[], None]) -> float:
        """SIGKILL the API server and have a new one answer after `seconds`, or as soon after it as it can.

        Args:
            seconds: how long.
            meanwhile: called in the middle of it.

        Returns:
            For how long nobody got an answer [s].
        """
        began = time.monotonic()
        self.kill("api-server")
        again: list[processes.Process] = []
        soon = max(0.0, seconds - 0.8 * self.api_start_seconds)  # so that it answers at about the right time
        planned = {seconds / 2: meanwhile, soon: lambda: again.append(self._start_alone("api-server"))}
        for moment, act in sorted(planned.items()):
            sleep_until(began + moment)
            act()
        wait(lambda: "api-server" in health.healthy(self._ports), "the API server is there again", START_SECONDS)
        if time.monotonic() < began + seconds:  # too early: it is silent for the rest
            os.kill(again[0].pid, signal.SIGSTOP)
            sleep_until(began + seconds)
            os.kill(again[0].pid, signal.SIGCONT)
        return time.monotonic() - began

    def _start_alone(self, name: str) -> processes.Process:
        """Start one process as it was, without waiting for it."""
        environment = airflow_settings.platform_environment(self.config, self._ports["api-server"], self._settings)
        command = standalone._commands(self.config, self._ports)[name]
        log, run = self.config.state_dir / "logs" / f"{name}.log", self.config.state_dir / "run"
        return processes.start(name, command, environment=environment, log=log, folder=run, port=self._ports[name])

    def kill(self, name: str) -> None:
        """SIGKILL one of Airflow's processes alone: not what it has started."""
        (process,) = [p for p in processes.recorded(self.config.state_dir / "run") if p.name == name]
        os.kill(process.pid, signal.SIGKILL)
        wait(lambda: not processes.is_alive(process), f"{name} is killed", 30)

    def end(self) -> None:
        """End all of it."""
        standalone.down(self.config, tell=lambda _line: None)

    # --- tasks that are held ------------------------------------------------------------------------------------------

    def hold_at(self, task: str, call: int) -> None:
        """Have the first try of a task (`<dag>.<task>`) stop right before its n-th outward call."""
        (self.hold / task).write_text(str(call), encoding="ascii")

    def held(self, tasks: Iterable[str], seconds: float = 900) -> dict[str, dict[str, int]]:
        """Wait until tasks stand still; their process ids and those of their supervisors."""
        places = {task: self.hold / f"{task}.held" for task in tasks}
        wait(lambda: all(path.exists() for path in places.values()), f"{', '.join(places)} are held", seconds)
        return {task: json.loads(path.read_text(encoding="utf-8")) for task, path in places.items()}

    def let_go(self, tasks: Iterable[str]) -> None:
        """Have tasks go on."""
        for task in tasks:
            (self.hold / f"{task}.go").touch()


def gone(pid: int) -> bool:
    """Whether a process has ended."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def sleep_until(moment: float) -> None:
    """Sleep until a moment of the monotonic clock."""
    time.sleep(max(0.0, moment - time.monotonic()))


def wait(done: Callable[[], bool], what: str, seconds: float) -> None:
    """Until something holds.

    Raises:
        AssertionError: it did not, in time.
    """
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, f"not so after {seconds} s: {what}"
        time.sleep(0.2)


def _free_ports() -> list[int]:
    with socket.socket() as one, socket.socket() as two:
        for probe in (one, two):
            probe.bind(("127.0.0.1", 0))
        return [one.getsockname()[1], two.getsockname()[1]]

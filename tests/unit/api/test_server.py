"""The processes of `mlops serve`: promotions live within two seconds, no answer lost, none of two versions."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

from mlops.config import MLOpsConfig
from mlops.services import Services
from mlops.serving import log_reading
from tests.contenders import Contenders, logged_runs

ROOT = Path(__file__).parents[3]
GOOD = {"features": {"temperature": 0.1, "pressure": -0.2}}
START_SECONDS = 120.0


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(process: psutil.Process) -> bool:
    """Whether a process has a listening socket."""
    return any(connection.status == psutil.CONN_LISTEN for connection in process.net_connections("tcp"))


class Serving:
    """`mlops serve` with two workers, and callers that never stop asking."""

    def __init__(self, environ: dict[str, str], folder: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = (folder / "serve.log").open("wb")
        command = [sys.executable, "-m", "mlops.cli", "serve", "pumps", "--port", str(self.port), "--workers", "2"]
        self.process = subprocess.Popen(
            [*command, "--no-lookups"], cwd=ROOT, env=environ, stdout=self.log, stderr=subprocess.STDOUT
        )
        self.answers: list[tuple[float, int, Any]] = []
        self.cut = 0
        self._ends = threading.Event()
        self._callers: list[threading.Thread] = []

    def wait_ready(self) -> None:
        """Until both workers answer."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            assert self.process.poll() is None, Path(self.log.name).read_text()
            try:
                if httpx.get(f"{self.url}/health", timeout=5).status_code == 200 and len(self.workers()) == 2:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.2)
        raise AssertionError(Path(self.log.name).read_text())

    def workers(self) -> list[int]:
        """Process ids of those that answer."""
        children = psutil.Process(self.process.pid).children()
        return [child.pid for child in children if listens(child)]

    def ask_on(self, callers: int = 3) -> None:
        """Ask from several threads, each on a connection of its own that it renews now and then."""
        for _ in range(callers):
            thread = threading.Thread(target=self._ask, daemon=True)
            thread.start()
            self._callers.append(thread)

    def stop_asking(self) -> None:
        """Let every caller finish what it has asked."""
        self._ends.set()
        for thread in self._callers:
            thread.join(20)

    def _ask(self) -> None:
        while not self._ends.is_set():
            with httpx.Client(base_url=self.url, timeout=10) as client:
                for _ in range(25):
                    if self._ends.is_set():
                        return
                    try:
                        answer = client.post("/predict", json=GOOD)
                    except httpx.TransportError:
                        self.cut += 1
                        break
                    self.answers.append((time.monotonic(), answer.status_code, answer.json()))
                    time.sleep(0.005)

    def end(self) -> int:
        """SIGTERM, and wait."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60)
        self.log.close()
        return code


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Contenders, dict[str, str]]:
    """An installation with a model of three versions, the first of them champion, and its environment."""
    folder = tmp_path_factory.mktemp("shop")
    fleet = yaml.safe_load((ROOT / "config" / "models" / "fleet_anomaly.yaml").read_text(encoding="utf-8"))
    (folder / "models").mkdir()
    (folder / "models" / "pumps.yaml").write_text(yaml.safe_dump(fleet | {"name": "pumps"}), encoding="utf-8")
    environ = {
        "MLOPS_HOME": str(ROOT), "MLOPS_VAR": str(folder / "var"), "MLOPS_MODELS_DIR": str(folder / "models"),
        "MLOPS_CODE_VERSION": "test", "MLOPS_ACTOR": "ann",
    }  # fmt: skip
    services = Services.open(MLOpsConfig.load(environ))
    contenders = Contenders(services, services.spec("pumps"), logged_runs(services.tracker, 3))
    for _ in range(3):
        contenders.register()
    services.registry.set_alias("pumps", "champion", 1)
    return contenders, os.environ | environ


@pytest.fixture
def serving(shop: tuple[Contenders, dict[str, str]], tmp_path: Path) -> Iterator[Serving]:
    """The service, ended at the end."""
    made = Serving(shop[1], tmp_path)
    try:
        made.wait_ready()
        yield made
    finally:
        made._ends.set()
        if made.process.poll() is None:
            made.process.kill()
            for child in psutil.process_iter():
                if child.ppid() == made.process.pid:
                    child.kill()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_life_of_the_service(shop: tuple[Contenders, dict[str, str]], serving: Serving) -> None:
    """Promotions, a rollback, a killed worker and SIGTERM under load: every answer is whole, in time, and logged."""
    registry = shop[0].services.registry
    silent = serving.workers()[0]  # as one is that imports its libraries on a busy machine
    os.kill(silent, signal.SIGSTOP)
    time.sleep(8)
    os.kill(silent, signal.SIGCONT)
    time.sleep(2)
    assert silent in serving.workers()
    serving.ask_on()
    time.sleep(1)
    moved: list[tuple[float, int]] = []
    for version in (2, 3, 2):
        registry.set_alias("pumps", "champion", version)
        moved.append((time.monotonic(), version))
        time.sleep(3)
    before = len(serving.answers)
    assert serving.cut == 0
    os.kill(serving.workers()[0], signal.SIGKILL)
    deadline = time.monotonic() + START_SECONDS
    while len(serving.workers()) < 2 and time.monotonic() < deadline:
        time.sleep(0.5)
    assert len(serving.workers()) == 2, Path(serving.log.name).read_text()
    time.sleep(1)
    assert len(serving.answers) > before + 20
    summary = httpx.get(f"{serving.url}/metrics/summary").json()
    serving.stop_asking()
    assert serving.cut <= 3  # the connections that the kill itself cut
    assert serving.end() in (0, -signal.SIGTERM)

    assert {status for _, status, _ in serving.answers} == {200}
    scores: dict[int, set[float]] = {}
    for _, _, said in serving.answers:
        scores.setdefault(said["version"], set()).add(said["score"])
    assert set(scores) == {1, 2, 3}
    assert all(len(each) == 1 for each in scores.values())  # no answer of one version under another's name
    for (at, version), until in zip(moved, [*(m[0] for m in moved[1:]), float("inf")], strict=True):
        late = [said["version"] for when, _, said in serving.answers if at + 2.0 < when < until]
        assert late
        assert set(late) == {version}

    assert summary["prediction_log"]["lost_rows"] == 0
    assert sum(summary["models"]["pumps"]["predictions"].values()) >= before
    storage = shop[0].services.storage
    (day, *more) = log_reading.days(storage, "pumps")
    logged = log_reading.read(storage, "pumps", day, more[-1] if more else None)
    asked = {said["request_id"] for _, _, said in serving.answers}
    assert len(asked) == len(serving.answers)
    assert asked <= set(logged["request_id"])
    assert logged["request_id"].is_unique
    assert len(logged) <= len(asked) + 3
    versions = dict(zip(logged["request_id"], logged["model_version"], strict=True))
    assert all(versions[said["request_id"]] == said["version"] for _, _, said in serving.answers)


def test_a_taken_port_is_told(shop: tuple[Contenders, dict[str, str]]) -> None:
    """An error in words, before anything is started."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "mlops.cli", "serve", "pumps", "--port", str(port)]
        done = subprocess.run(command, cwd=ROOT, env=shop[1], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert f"127.0.0.1:{port} cannot be listened on" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_model_is_told(shop: tuple[Contenders, dict[str, str]]) -> None:
    """An unknown model is told by name, with the one that was meant."""
    command = [sys.executable, "-m", "mlops.cli", "serve", "pump", "--port", "0"]
    done = subprocess.run(command, cwd=ROOT, env=shop[1], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "Did you mean 'pumps'?" in done.stderr

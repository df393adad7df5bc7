"""What all tests share: a home of their own, the real data if it is there, and the rule for absent servers."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from hypothesis import settings

from mlops.config import MLOpsConfig
from mlops.services import Services

# Tests run side by side: a thread per core in each of them would spend the time waiting for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).parents[1]
# How long one example takes says more about the machine and its other work than about the promise.
settings.register_profile("shared machine", deadline=None)
settings.load_profile("shared machine")

IN_CI = os.environ.get("CI", "").lower() in ("1", "true")


def absent(reason: str) -> None:
    """Skip because something is absent on this machine; in CI nothing may be absent, so there it fails."""
    if IN_CI:
        pytest.fail(f"in CI this must be present: {reason}")
    pytest.skip(reason)


@pytest.fixture(autouse=True)
def plain_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the caller's terminal asks of colours and width is not what a test asks."""
    for name in ("COLUMNS", "LINES", "FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")


@pytest.fixture
def config(tmp_path: Path) -> MLOpsConfig:
    """Settings of an installation of its own: the repository's code and feature views, all state below tmp_path."""
    state = tmp_path / "var"
    return MLOpsConfig.build(
        {"home": ROOT, "var": str(state), "models_dir": ROOT / "config" / "models", "code_version": "test"}
    )


@pytest.fixture
def services(config: MLOpsConfig) -> Services:
    """The adapters of that installation."""
    return Services.open(config)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of the real data sets."""
    folder = Path(os.environ.get("MLOPS_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        absent(f"no real data at {folder}; set MLOPS_TEST_DATA to the folder that holds asd/ and beijing_air/")
    return folder


def _reachable(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="session")
def postgres_server() -> str:
    """`host:port` of a PostgreSQL that lets the current user in."""
    if not _reachable(5432):
        absent("no PostgreSQL on 127.0.0.1:5432; start one: pg_ctlcluster 15 main start")
    return "127.0.0.1:5432"


@pytest.fixture(scope="session")
def redis_server() -> str:
    """`host:port` of a Redis."""
    if not _reachable(6379):
        absent("no Redis on 127.0.0.1:6379; start one: redis-server --port 6379")
    return "127.0.0.1:6379"


# --- the matrix of tests/faults, which runs in several processes ------------------------------------------------------

_CELLS: dict[tuple[str, str], str] = {}


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Collect what the tests of tests/faults found, from whichever process."""
    for name, value in report.user_properties if report.when == "call" else ():
        if name == "faults" and isinstance(value, list | tuple):
            step, fault, text = value
            _CELLS[str(step), str(fault)] = str(text)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the matrix step × fault."""
    if not _CELLS:
        return
    terminalreporter.section("faults: does the retry leave what an undisturbed run leaves?")
    for step in dict.fromkeys(step for step, _ in _CELLS):
        found = [f"{fault}: {text}" for (known, fault), text in _CELLS.items() if known == step]
        terminalreporter.write_line(f"{step:<11} {'; '.join(found)}")

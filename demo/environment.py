"""The demo's own place: a folder that is deleted at every start, settings that lead nowhere else, and a quiet terminal.

One rule: nothing outside the demo's folder is written, and no folder is deleted that the demo has not made.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from types import FrameType
from typing import IO

from mlops.errors import ConfigError

MODEL = "fleet_anomaly"
MARKER = ".mlops-demo"  # holds the process id of the demo that is running, and nothing once it has ended


def fresh_folder(folder: Path) -> None:
    """Make `folder` an empty demo folder, deleting what an earlier demo left in it.

    Raises:
        ConfigError: there is something that no demo has made, or a demo is running in it.
    """
    marker = folder / MARKER
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not marker.exists())):
        raise ConfigError(
            f"{folder} exists and was not made by the demo; it would have been deleted.",
            hint="Move it away, or give the demo another folder: mlops demo --folder PATH.",
        )
    if marker.exists() and (other := _alive(marker.read_text(encoding="ascii"))):
        raise ConfigError(
            f"A demo is running in {folder} (process {other}).",
            hint=f"Wait for it or end it. If process {other} is something else, delete {marker}.",
        )
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.mkdir(parents=True)
        marker.write_text(str(os.getpid()), encoding="ascii")
    except OSError as error:
        raise ConfigError(
            f"{folder} cannot be made: {error.strerror}.",
            hint="Mend the permissions, or give the demo another folder: mlops demo --folder PATH.",
        ) from error


def release(folder: Path) -> None:
    """Say that the demo in `folder` has ended."""
    (folder / MARKER).write_text("", encoding="ascii")


def settings(home: Path, folder: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of a demo.

    Args:
        home: the repository.
        folder: the demo's folder.
        environ: the environment it was started in. Its settings of this project and of Airflow are left out, so that
            the demo never writes to a ledger, a registry or an Airflow that somebody uses.
    """
    kept = {key: value for key, value in environ.items() if not key.startswith(("MLOPS_", "AIRFLOW_"))}
    airflow = folder / "airflow"
    search_path = os.pathsep.join(filter(None, [str(home), kept.get("PYTHONPATH", "")]))
    return kept | {
        "PYTHONPATH": search_path,
        "MLOPS_HOME": str(home),
        "MLOPS_VAR": str(folder),
        "MLOPS_STATE_DIR": str(folder),
        "MLOPS_MODELS_DIR": str(folder / "models"),
        "AIRFLOW_HOME": str(airflow),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{airflow}/airflow.db",
        "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(home / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",  # Airflow queues consumers of Assets only for these
        "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "1",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "INFO",
        "AIRFLOW__LOGGING__NAMESPACE_LEVELS": "airflow=WARNING alembic=WARNING py.warnings=ERROR",
        "MLFLOW_CONFIGURE_LOGGING": "0",
        "GX_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }


def enter(home: Path, folder: Path) -> None:
    """Make the folder and take on its settings; to be called before Airflow is imported."""
    fresh_folder(folder)
    chosen = settings(home, folder, os.environ)
    for name in set(os.environ) - set(chosen):
        del os.environ[name]
    os.environ.update(chosen)
    if str(home) not in sys.path:
        sys.path.insert(0, str(home))  # DAG files import `dags.*`
    models = folder / "models"
    models.mkdir()
    shutil.copy(home / "config" / "models" / f"{MODEL}.yaml", models)


@contextlib.contextmanager
def quiet(log: Path) -> Iterator[IO[str]]:
    """Send whatever this process writes, libraries included, into `log`; yields the terminal as it was."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    terminal = os.fdopen(os.dup(1), "w", encoding=sys.stdout.encoding or "utf-8", errors="replace")
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(file, 1)
    os.dup2(file, 2)
    try:
        yield terminal
    finally:
        with contextlib.suppress(BrokenPipeError):
            terminal.close()
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor, copy in enumerate(kept, start=1):
            os.dup2(copy, descriptor)
            os.close(copy)
        os.close(file)


def end_on_signal(folder: Path, terminal: IO[str]) -> None:
    """End at once on Ctrl-C and SIGTERM, even inside a task: Airflow's task runner would take the signal for itself."""

    def stop(number: int, _frame: FrameType | None) -> None:
        release(folder)
        terminal.write("\x1b[?25h" if terminal.isatty() else "")  # the cursor, which the live line has hidden
        terminal.write("\nEnded by hand. Nothing is left running; the next demo starts anew.\n")
        terminal.flush()
        os._exit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)


def _alive(text: str) -> int | None:
    """The process id in `text`, if that process is alive and another one."""
    if not text.strip().isdigit() or int(text) == os.getpid():
        return None
    try:
        os.kill(int(text), 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return int(text)


def live_at(day: date, hour: int) -> None:
    """From now on records are stamped as of that hour of that day, UTC: who asks later finds the nights apart."""
    moment = datetime(day.year, day.month, day.day, hour, tzinfo=UTC)
    os.environ["MLOPS_CLOCK_OFFSET_SECONDS"] = str((moment - datetime.now(UTC)).total_seconds())

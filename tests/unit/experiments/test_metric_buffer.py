"""Metrics one at a time are written in batches, and what was flushed survives SIGKILL."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mlops.config import MLOpsConfig
from mlops.experiments.metric_buffer import BATCH, MAX_AGE, MetricBuffer
from mlops.experiments.tracking import ExperimentTracker

NOW = datetime(2026, 3, 1, tzinfo=UTC)


class Store:
    """A store that counts, and refuses when told to: the wire to MLflow."""

    def __init__(self) -> None:
        """Empty and willing."""
        self.batches: list[int] = []
        self.refuse = False

    def log_batch(self, run_id: str, metrics: list[Any]) -> None:
        """Take a batch."""
        assert run_id == "r"
        if self.refuse:
            raise OSError("no space left")
        self.batches.append(len(metrics))


def test_it_writes_when_it_is_full_when_it_is_old_and_when_it_is_told() -> None:
    """A full buffer goes out by itself, an old one with the next metric, the rest with `flush`; NaN never."""
    store, ages = Store(), iter([timedelta(0)] * (BATCH + 2) + [MAX_AGE] * 2)
    buffer = MetricBuffer(store, "r", lambda: NOW + next(ages))  # type: ignore[arg-type]
    for step in range(BATCH):
        buffer.log("loss", 1.0, step)
    assert store.batches == [BATCH]
    buffer.log("loss", float("nan"), 0)
    buffer.log("loss", 1.0, 1)
    buffer.log("loss", 1.0, 2)
    buffer.log("loss", 1.0, 3)
    assert store.batches == [BATCH, 3]
    buffer.log("loss", 1.0, 4)
    buffer.flush()
    buffer.flush()
    assert store.batches == [BATCH, 3, 1]


def test_what_the_store_refuses_still_waits() -> None:
    """A failed write loses nothing: the next flush writes it all."""
    store = Store()
    buffer = MetricBuffer(store, "r", lambda: NOW)  # type: ignore[arg-type]
    buffer.log("loss", 1.0)
    store.refuse = True
    with pytest.raises(OSError, match="no space"):
        buffer.flush()
    store.refuse = False
    buffer.flush()
    assert store.batches == [1]


_CHILD = """
import os, signal, sys
from pathlib import Path
from mlops.config import MLOpsConfig
from mlops.experiments.tracking import ExperimentTracker
tracker = ExperimentTracker(MLOpsConfig.build({"home": Path(sys.argv[1]), "var": sys.argv[2]}))
with tracker.run("m/training/1", experiment="m") as run:
    for step in range(2500):
        run.log_metric("loss", 1 / (step + 1), step=step)
    run.flush()
    run.log_metric("late", 1.0)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_loses_nothing_that_was_flushed(tmp_path: Path) -> None:
    """A child that is killed right after `flush`: all 2,500 metrics are in MLflow."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _CHILD, str(tmp_path), str(tmp_path / "var")], check=False, timeout=120
    )
    assert done.returncode == -9
    tracker = ExperimentTracker(MLOpsConfig.build({"home": tmp_path, "var": str(tmp_path / "var")}))
    (run,) = tracker.client.search_runs(["1"])
    history = tracker.client.get_metric_history(run.info.run_id, "loss")
    assert [metric.step for metric in sorted(history, key=lambda metric: metric.step)] == list(range(2500))
    assert history[0].value == pytest.approx(1 / (history[0].step + 1))


def test_a_run_that_ends_writes_what_waits(tmp_path: Path) -> None:
    """Nobody needs to flush: the end of the run does, also when the run fails."""
    tracker = ExperimentTracker(MLOpsConfig.build({"home": tmp_path, "var": str(tmp_path / "var")}))
    with tracker.run("m/training/1", experiment="m") as run:
        run.log_metric("loss", 0.5, step=1)
    with contextlib.suppress(ZeroDivisionError), tracker.run("m/training/2", experiment="m") as failed:
        failed.log_metric("loss", 0.25, step=1)
        raise ZeroDivisionError
    for handle, value in ((run, 0.5), (failed, 0.25)):
        assert tracker.client.get_run(handle.run_id).data.metrics == {"loss": value}

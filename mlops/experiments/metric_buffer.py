"""Metrics one at a time, written many at a time: MLflow takes a single metric as slowly as a thousand.

What `flush` has returned from is in MLflow's store, and a SIGKILL after it loses none of it; what was logged since is
lost with the process. The buffer flushes by itself when it is full and when what it holds has become old.

One rule: a metric leaves the buffer only after the store has taken it.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

BATCH = 1000  # MLflow's limit of metrics a call
MAX_AGE = timedelta(seconds=5)


class MetricBuffer:
    """The metrics of one run that are still to be written.

    Args:
        client: of the store that the run is in.
        run_id: the run.
        clock: the time that metrics are stamped with.
    """

    def __init__(self, client: MlflowClient, run_id: str, clock: Callable[[], datetime]) -> None:
        self._client = client
        self._run_id = run_id
        self._clock = clock
        self._waiting: list[Metric] = []
        self._oldest: datetime | None = None
        self._lock = threading.Lock()

    def log(self, name: str, value: float, step: int = 0) -> None:
        """Add a metric; one that is not finite is left out. Writes when the buffer is full or old.

        Raises:
            MlflowException: the store refused; nothing of the buffer is lost.
        """
        from mlflow.entities import Metric

        if not math.isfinite(value):
            return
        now = self._clock()
        with self._lock:
            self._oldest = self._oldest or now
            self._waiting.append(Metric(name, float(value), int(now.timestamp() * 1000), step))
            if len(self._waiting) >= BATCH or now - self._oldest >= MAX_AGE:
                self._write()

    def flush(self) -> None:
        """Write all that waits; when it returns, the store has it.

        Raises:
            MlflowException: the store refused; what it has not taken still waits.
        """
        with self._lock:
            self._write()

    def _write(self) -> None:
        while self._waiting:
            batch = self._waiting[:BATCH]
            self._client.log_batch(self._run_id, metrics=batch)
            del self._waiting[: len(batch)]
        self._oldest = None

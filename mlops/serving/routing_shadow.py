"""A shadow: a version that answers as well, unseen, and is compared with the answer that was given.

One rule: whatever the shadow does, the answer is neither later nor different. What does not fit into its queue is
dropped and counted; what it raises is counted.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, Full, Queue
from threading import Lock, Thread

from mlops import log

_log = log.get(__name__)
_WAIT = 0.2  # how long an idle worker sleeps before it looks whether it shall end [s]


@dataclass(frozen=True, slots=True)
class ShadowReport:
    """What a shadow has done so far."""

    asked: int = 0
    compared: int = 0
    differing: int = 0  # of these, further apart than the tolerance
    failed: int = 0  # raised, or answered something that is no number
    dropped: int = 0  # did not fit into the queue
    largest_difference: float = 0.0
    mean_difference: float = 0.0  # shadow − answer
    mean_seconds: float = 0.0  # of the shadow's own work [s]


class Shadow:
    """Compares the answers of one version with those of another, in threads of its own.

    Args:
        tolerance: how far apart two answers may be, ≥ 0.
        queue: how many may wait.
        workers: how many threads.
    """

    def __init__(self, *, tolerance: float = 1e-9, queue: int = 256, workers: int = 1) -> None:
        self._tolerance = tolerance
        self._queue: Queue[tuple[float, Callable[[], float]]] = Queue(queue)
        self._lock = Lock()
        self._open = True
        self._counts = dict.fromkeys(("asked", "compared", "differing", "failed", "dropped"), 0)
        self._sums = dict.fromkeys(("largest", "difference", "seconds"), 0.0)
        self._threads = [Thread(target=self._work, name=f"shadow-{i}", daemon=True) for i in range(workers)]
        for thread in self._threads:
            thread.start()

    def submit(self, answer: float, ask: Callable[[], float]) -> bool:
        """Have an answer compared, later.

        Args:
            answer: what was answered.
            ask: gives what the shadow answers; called in another thread.

        Returns:
            False if it was dropped. It neither waits nor raises.
        """
        fits = self._open
        if fits:
            try:
                self._queue.put_nowait((answer, ask))
            except Full:
                fits = False
        with self._lock:
            self._counts["asked"] += 1
            self._counts["dropped"] += not fits
        return fits

    def report(self) -> ShadowReport:
        """What it has done so far."""
        with self._lock:
            compared = max(self._counts["compared"], 1)
            return ShadowReport(
                **self._counts,
                largest_difference=self._sums["largest"],
                mean_difference=self._sums["difference"] / compared,
                mean_seconds=self._sums["seconds"] / compared,
            )

    def close(self, seconds: float = 5.0) -> None:
        """Compare what waits, for so long at most, and end. A worker that hangs is left behind."""
        until = time.monotonic() + seconds
        self._open = False
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _work(self) -> None:
        while True:
            try:
                answer, ask = self._queue.get(timeout=_WAIT)
            except Empty:
                if not self._open:
                    return
                continue
            self._compare(answer, ask)

    def _compare(self, answer: float, ask: Callable[[], float]) -> None:
        began = time.perf_counter()
        try:
            difference = float(ask()) - answer
        except Exception as error:  # noqa: BLE001 (a shadow may fail in any way, and only counts)
            _log.debug("The shadow failed  %s", log.facts(error=f"{type(error).__name__}: {error}"))
            difference = math.nan
        seconds = time.perf_counter() - began
        with self._lock:
            if math.isnan(difference):
                self._counts["failed"] += 1
                return
            self._counts["compared"] += 1
            self._counts["differing"] += abs(difference) > self._tolerance
            self._sums["largest"] = max(self._sums["largest"], abs(difference))
            self._sums["difference"] += difference
            self._sums["seconds"] += seconds

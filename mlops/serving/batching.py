"""What cannot be answered at once waits in a bounded queue, and is answered together with all that wait beside it.

While one batch is at work in a thread, what comes gathers; the next batch takes it all. So nobody waits for company,
and under load a scorer that takes as long for a hundred rows as for one is asked a hundred times less often.

One rule: what would wait longer than anybody wants is refused at the door, with the time to come back.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from mlops.serving.errors import not_ready, too_busy

T = TypeVar("T")
R = TypeVar("R")
_SMOOTHING = 0.2  # weight of the newest batch in the rate


@dataclass(frozen=True, slots=True)
class _Waiting(Generic[T]):
    item: T
    rows: int
    answer: asyncio.Future[Any]


class Batcher(Generic[T, R]):
    """A bounded queue before one function that runs in a thread.

    Args:
        work: from the items of a batch to an answer, or an exception, for each.
        executor: the thread that it runs in.
        max_waiting_rows: more are refused with 429; a single item is taken whenever nothing waits.
        max_batch_rows: a batch takes no more, unless one item alone is larger.
        timeout_seconds: longest wait for an answer [s].
    """

    def __init__(
        self,
        work: Callable[[Sequence[T]], Sequence[R | Exception]],
        executor: Executor,
        *,
        max_waiting_rows: int = 4096,
        max_batch_rows: int = 1024,
        timeout_seconds: float = 5.0,
    ) -> None:
        self._work = work
        self._executor = executor
        self._max_waiting = max_waiting_rows
        self._max_batch = max_batch_rows
        self._timeout = timeout_seconds
        self._queue: deque[_Waiting[T]] = deque()
        self._runs: asyncio.Task[None] | None = None
        self._rate = 0.0  # [rows/s]
        self.waiting_rows = 0
        self.batches = 0

    async def ask(self, item: T, rows: int = 1) -> R:
        """The answer for an item, once its batch is done.

        Raises:
            RequestError: 429 the queue is full, 503 no answer in time.
        """
        if self.waiting_rows and self.waiting_rows + rows > self._max_waiting:
            seconds = max(1, math.ceil(self.waiting_rows / self._rate)) if self._rate else 1
            raise too_busy(
                f"{self.waiting_rows:,} rows are waiting, at most {self._max_waiting:,} may.", retry_after=seconds
            )
        answer: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._queue.append(_Waiting(item, rows, answer))
        self.waiting_rows += rows
        if self._runs is None:
            self._runs = asyncio.create_task(self._run())
        try:
            return await asyncio.wait_for(answer, self._timeout)
        except TimeoutError as error:
            raise not_ready(f"There was no answer within {self._timeout:g} s.") from error

    async def drained(self) -> None:
        """Wait until nothing waits."""
        while self._runs is not None:
            await asyncio.shield(self._runs)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while batch := self._next():
                began = time.perf_counter()
                try:
                    found = await loop.run_in_executor(self._executor, self._work, [each.item for each in batch])
                except Exception as error:  # noqa: BLE001 - the work answers for each item; this is a fault of all
                    found = [error] * len(batch)
                rows = sum(each.rows for each in batch)
                self._answered(batch, found, rows / max(time.perf_counter() - began, 1e-9))
        finally:
            self._runs = None

    def _next(self) -> list[_Waiting[T]]:
        batch: list[_Waiting[T]] = []
        rows = 0
        while self._queue and (not batch or rows + self._queue[0].rows <= self._max_batch):
            first = self._queue.popleft()
            if first.answer.done():  # nobody waits for it any more
                self.waiting_rows -= first.rows
                continue
            batch.append(first)
            rows += first.rows
        return batch

    def _answered(self, batch: list[_Waiting[T]], found: Sequence[R | Exception], rate: float) -> None:
        self.batches += 1
        self._rate = rate if not self._rate else (1 - _SMOOTHING) * self._rate + _SMOOTHING * rate
        for each, answer in zip(batch, found, strict=True):
            self.waiting_rows -= each.rows
            if each.answer.done():
                continue
            if isinstance(answer, Exception):
                each.answer.set_exception(answer)
            else:
                each.answer.set_result(answer)

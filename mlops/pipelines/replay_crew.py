"""The processes of a backtest: trainings side by side first, then policies side by side.

A process is told names, dates and URIs and opens its own adapters. What it makes lies in the backtest's folder, written
whole, so that two that make the same lesson do not disturb one another.

One rule: the answer does not depend on the number of processes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import date
from multiprocessing import get_context
from typing import Any, TypeVar

from threadpoolctl import threadpool_limits

from mlops.config import MLOpsConfig
from mlops.pipelines.replay import Replay, replay
from mlops.pipelines.replay_pool import Pool
from mlops.services import Services
from mlops.spec import BacktestPolicy, ModelSpec

T = TypeVar("T")


@dataclass(frozen=True)
class Crew:
    """Whom the work is given to.

    Args:
        services: of the installation.
        spec: the model.
        place: URI of the backtest's folder.
        last: date up to which truths are known.
        workers: processes; with 1 all is done in this one.
    """

    services: Services
    spec: ModelSpec
    place: str
    last: date
    workers: int

    def teach(self, days: Sequence[date], progress: Callable[[int], None]) -> None:
        """Make the lessons of all days, by schedule."""
        self._each([(_lesson, (day,)) for day in days], progress)

    def live(
        self, policies: Mapping[str, BacktestPolicy], days: Sequence[date], progress: Callable[[int], None]
    ) -> list[Replay]:
        """Live through all policies; in their order, whichever ends first."""
        return self._each([(replay, (name, policy, list(days))) for name, policy in policies.items()], progress)

    def _each(
        self, tasks: Sequence[tuple[Callable[..., T], tuple[Any, ...]]], progress: Callable[[int], None]
    ) -> list[T]:
        if self.workers == 1:
            pool = Pool(self.services, self.spec, self.place, self.last)
            found = []
            with threadpool_limits(1):
                for done, (work, given) in enumerate(tasks, 1):
                    found.append(work(pool, *given))
                    progress(done)
            return found
        own = (self.services.config, self.spec, self.place, self.last)
        with ProcessPoolExecutor(
            self.workers, mp_context=get_context("spawn"), initializer=_begin, initargs=own
        ) as processes:
            futures: list[Future[T]] = [processes.submit(_work, work, given) for work, given in tasks]
            try:
                for done, future in enumerate(as_completed(futures), 1):
                    future.result()
                    progress(done)
            except BaseException:
                processes.shutdown(cancel_futures=True)
                raise
            return [future.result() for future in futures]


_OPEN: list[Pool] = []  # of this process


def _begin(config: MLOpsConfig, spec: ModelSpec, place: str, last: date) -> None:
    threadpool_limits(1)  # processes side by side must not fight over cores
    _OPEN.append(Pool(Services.open(config), spec, place, last))


def _work(work: Callable[..., T], given: tuple[Any, ...]) -> T:
    return work(_OPEN[0], *given)


def _lesson(pool: Pool, day: date) -> None:
    pool.lesson(day, "schedule")

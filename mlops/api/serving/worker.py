"""What one process of the service holds: models, queues, its spool, and the thread that follows the champions.

One rule: what takes long or may fail happens beside the event loop, which answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import threading
import time
import uuid
from concurrent.futures import Future
from dataclasses import dataclass, field

from mlops import log
from mlops.api.serving.options import ServeOptions
from mlops.config import MLOpsConfig
from mlops.errors import ConfigError
from mlops.pipelines import serving as pipeline
from mlops.services import Services
from mlops.serving.log_spool import Spool, spool_folder
from mlops.serving.lookups import Lookups
from mlops.serving.metrics import ServingMetrics
from mlops.serving.routing_table import TableReader
from mlops.serving.served import Follower
from mlops.serving.service import Service
from mlops.serving.work import Limits
from mlops.spec import ModelSpec

_TICK_SECONDS = 0.5
_FIRST_SECONDS = (
    60.0  # the first look imports Feast; a store that hangs must not keep those from answering who need none
)
_logger = log.get(__name__)


@dataclass
class Worker:
    """One process of the service. Use `Worker.open`, then `start`, then `stop`."""

    services: Services
    options: ServeOptions
    specs: list[ModelSpec]
    service: Service
    metrics: ServingMetrics
    followers: list[Follower]
    routes: list[pipeline.Routes]
    table: TableReader
    spool: Spool | None
    lookups: dict[str, Lookups] = field(default_factory=dict)  # by model, where features are looked up
    started_at: float = field(default_factory=time.time)
    _looks: dict[str, Future[None]] = field(default_factory=dict)
    _ends: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _ticks: asyncio.Task[None] | None = None
    _counted: tuple[int, int] = (0, 0)  # rows written and lost that the metrics know of

    @classmethod
    def open(cls, config: MLOpsConfig, options: ServeOptions) -> Worker:
        """A process's parts; no model is loaded yet.

        Raises:
            ConfigError: there is no model to serve.
            StorageError: the spool cannot be written.
        """
        services = Services.open(config)
        specs = pipeline.specs_of(services, options.models)
        if not specs:
            raise ConfigError("There is no model to serve.", hint=f"Write a spec into {config.models_dir}.")
        metrics = ServingMetrics(options.metrics_folder)
        worker = uuid.uuid4().hex[:16]
        spool = Spool(spool_folder(config.state_dir), worker) if options.log else None
        models = {spec.name: pipeline.served(services, spec, lookups=options.lookups) for spec in specs}
        lookups = {}
        for name, served in models.items():
            if served.fetch is not None:
                served.fetch = lookups[name] = Lookups(served.fetch)
        count = itertools.count(1)
        table = TableReader(services.storage)
        followers, routes = [], []
        for spec in specs:
            loader = pipeline.Loader(services, spec, spool, lambda: next(count))
            followers.append(pipeline.follower(services, spec, models[spec.name], loader, metrics))
            routes.append(pipeline.Routes(models[spec.name], table, loader))
        limits = Limits(max_rows=options.max_rows, timeout_seconds=options.timeout_seconds)
        service = Service(
            list(models.values()),
            metrics=metrics,
            worker=worker,
            spool=spool,
            limits=limits,
            stale=config.stale_features,
        )
        return cls(services, options, specs, service, metrics, followers, routes, table, spool, lookups)

    async def start(self) -> None:
        """Load the champions there are, and follow them from now on."""
        await asyncio.to_thread(self._look)
        self._ask_stores()  # imports Feast and reads its registry, before the first caller has to wait for it
        if self._looks:
            await asyncio.wait([asyncio.wrap_future(each) for each in self._looks.values()], timeout=_FIRST_SECONDS)
        for name, lookups in self.lookups.items():
            if lookups.problem:
                _logger.warning("%s: features cannot be looked up yet: %s", name, lookups.problem)
        self._thread = threading.Thread(target=self._follow, name="champions", daemon=True)
        self._thread.start()
        self._ticks = asyncio.create_task(self._tick())
        gc.collect()
        gc.freeze()  # what is loaded stays: it need not be looked at again and again while requests wait

    async def stop(self) -> None:
        """Answer what waits, keep what was answered, and end."""
        self._ends.set()
        if self._ticks is not None:
            self._ticks.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._ticks
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, 5)
        await self.service.close()
        self._count()

    @property
    def answering(self) -> bool:
        """Whether every model has a verified version that answers."""
        return all(served.live is not None for served in self.service.models.values())

    @property
    def ready(self) -> bool:
        """Whether, besides, all stores can be reached: the registry, and the online store where it is asked."""
        stores = [not lookups.problem for lookups in self.lookups.values()]
        return self.answering and all(follower.reachable for follower in self.followers) and all(stores)

    def _follow(self) -> None:
        while not self._ends.wait(self.options.poll_seconds):
            self._look()

    def _look(self) -> None:
        for follower, routes in zip(self.followers, self.routes, strict=True):
            follower.step()
            routes.step()

    def _ask_stores(self) -> None:
        """Have the online store looked at where nobody has asked it of late."""
        for name, lookups in self.lookups.items():
            if lookups.due and (name not in self._looks or self._looks[name].done()):
                self._looks[name] = self.service.look(name)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            if self.spool is not None:
                self.spool.tend()
            self._count()
            self._ask_stores()

    def _count(self) -> None:
        for name, queue in self.service.queues.items():
            self.metrics.waiting.labels(name).set(queue.waiting_rows)
        for name, monitor in self.service.monitors.items():
            for column in monitor.detect_drift():
                if column.value is not None:
                    self.metrics.drift.labels(name, column.column).set(column.value)
        if self.spool is not None:
            written, lost = self.spool.written_rows, self.spool.lost_rows
            self.metrics.logged.inc(written - self._counted[0])
            self.metrics.lost.inc(lost - self._counted[1])
            self.metrics.log_waiting.set(self.spool.waiting_rows)
            self._counted = written, lost

"""Fitted models and a service of them in this process: what the tests of serving share, without registry or MLflow."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np
import pandas as pd
import uvicorn

from mlops.api.serving.app import App
from mlops.api.serving.options import ServeOptions
from mlops.api.serving.worker import Worker
from mlops.models import catalogue
from mlops.models.scoring import Scorer
from mlops.records import ModelVersion
from mlops.services import Services
from mlops.serving.compiled_proof import prove
from mlops.serving.log_frames import Columns
from mlops.serving.log_spool import Spool
from mlops.serving.metrics import ServingMetrics
from mlops.serving.predictor import Predictor
from mlops.serving.privacy import Mask
from mlops.serving.routing_table import TableReader
from mlops.serving.served import Fetch, Live, Served
from mlops.serving.service import Service
from mlops.serving.work import Limits
from mlops.spec import CandidateSpec, Task
from tests.programs import free_port

GOOD: dict[str, float | None] = {"temperature": 21.5, "pressure": 1, "vibration": -0.25, "rotation": None}
FEATURES = ("temperature", "pressure", "vibration", "rotation")


def rows(count: int = 400, seed: int = 0) -> pd.DataFrame:
    """Rows of four devices, some values missing, one column skewed and one with ties."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(count, len(FEATURES))), columns=list(FEATURES))
    frame["pressure"] = rng.exponential(size=count)
    frame["rotation"] = frame["rotation"].round(1)
    frame["temperature"] = 20 + 5 * frame["temperature"]
    frame = frame.mask(rng.uniform(size=frame.shape) < 0.03)
    return frame.assign(device_id=[f"d{i % 4}" for i in range(count)])


def labels(frame: pd.DataFrame, task: Task, classes: int = 2) -> Any:
    """Labels that follow from the features; None for anomaly."""
    if task == "anomaly":
        return None
    value = frame["temperature"].fillna(20) / 5 + frame["pressure"].fillna(1) + frame["vibration"].fillna(0)
    if task == "regression":
        return value.to_numpy()
    return pd.qcut(value, classes, labels=False).to_numpy()


def fitted(algorithm: str, task: Task = "anomaly", *, classes: int = 2, **options: Any) -> Scorer:
    """A fitted scorer with a threshold where it can have one."""
    params = {"n_estimators": 20} if "forest" in algorithm or "trees" in algorithm else {}
    candidate = CandidateSpec(algorithm=algorithm, params=params | options.pop("params", {}), **options)
    made = catalogue.build(candidate, task=task, features=FEATURES, entity="device_id", seed=3)
    frame = rows()
    scorer = made.fit(frame, labels(frame, task, classes))
    if task == "anomaly":
        return scorer.with_threshold(float(np.nanquantile(scorer.score(frame), 0.95)))
    return scorer


def version(number: int = 1, model: str = "pumps") -> ModelVersion:
    """The record of a version."""
    return ModelVersion(model, number, "run", f"{model}/training/2026-03-01/x", "models:/m", "d" * 64, "i", "x")


def predictor(
    scorer: Scorer, golden: pd.DataFrame | None = None, *, number: int = 1, model: str = "pumps"
) -> Predictor:
    """A version with the proof that a training makes."""
    return Predictor.of(version(number, model), scorer, golden, proof=prove(scorer, rows(80, seed=7)))


def live(scorer: Scorer, number: int = 1, spool: Spool | None = None, model: str = "pumps", **mask: Any) -> Live:
    """A version that answers."""
    kept = Mask.of(scorer.features, scorer.entity, **({"hashed": (), "dropped": ()} | mask))
    columns = tuple(scorer.features[i] for i in kept.kept), tuple(scorer.features[i] for i in kept.hashed)
    if spool is not None:
        names = tuple(str(name) for name in scorer.classes)
        spool.declare(Columns(number, model, number, scorer.entity, *columns, scorer.threshold, names))
    return Live.of(predictor(scorer, rows(50), number=number, model=model), kept, number)


@dataclass
class House:
    """A service in this process, asked as over HTTP."""

    worker: Worker
    client: httpx.AsyncClient = field(init=False)

    def __post_init__(self) -> None:
        transport = httpx.ASGITransport(app=App(self.worker), raise_app_exceptions=False)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://serving")

    @property
    def service(self) -> Service:
        """What answers."""
        return self.worker.service


def post(made: House, path: str, body: Any, **headers: str) -> httpx.Response:
    """A POST; a body that is no bytes is sent as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {"content-type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
    return asyncio.run(made.client.post(path, content=content, headers=given))


def get(made: House, path: str) -> httpx.Response:
    """A GET."""
    return asyncio.run(made.client.get(path))


def house(
    services: Services,
    models: dict[str, Live | None],
    *,
    spool: Spool | None = None,
    fetch: Fetch | None = None,
    limits: Limits | None = None,
    **options: Any,
) -> House:
    """A service of versions that are there already."""
    served = [Served(name, "device_id", fetch, found) for name, found in models.items()]
    metrics = ServingMetrics()
    service = Service(served, metrics=metrics, worker="w", spool=spool, limits=limits, **options)
    return House(Worker(services, ServeOptions(), [], service, metrics, [], [], TableReader(services.storage), spool))


@contextmanager
def listening(made: House) -> Iterator[str]:
    """The service over HTTP, in a thread of this process."""
    port = free_port()
    app = App(made.worker)
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", lifespan="off", http="httptools"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 60
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.05)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(20)

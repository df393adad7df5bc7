"""`mlops gc` where production keeps things: S3, PostgreSQL, and MLflow behind its server; one body for all of them."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import s3fs
from moto.server import ThreadedMotoServer

from mlops.config import MLOpsConfig
from mlops.errors import StorageError
from mlops.experiments.tracking import Parent
from mlops.governance.retention import Collected
from mlops.models import catalogue
from mlops.pipelines import retention
from mlops.records import from_dict
from mlops.services import Services
from mlops.spec import CandidateSpec, ModelSpec
from tests.contenders import spec_of

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
FEATURES = ("a", "b")
ROWS = pd.DataFrame(np.random.default_rng(0).normal(size=(50, 2)), columns=list(FEATURES)).assign(device_id="x")
LATER = datetime.now(UTC) + timedelta(days=60)  # everything made here is old then
LIMITS = {"keep_versions": 1, "keep_days": 7, "predictions_days": 30, "reports_days": 30}
LIMITS |= {"prediction_log_days": 30, "backtests_days": 30}
TOPS = ("training_sets", "predictions", "reports", "prediction_log", "backtests")


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    """A client of an S3 with a bucket `plant`; the environment names its address and keys, as in production."""
    started = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    started.start()
    host, port = started.get_host_and_port()
    address = f"http://{host}:{port}"
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ENDPOINT_URL", "MLFLOW_S3_ENDPOINT_URL"):
            patch.setenv(name, address)
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        s3fs.S3FileSystem.clear_instance_cache()  # clients remember the address they were made with
        client = boto3.client("s3")
        client.create_bucket(Bucket="plant")
        yield client
    s3fs.S3FileSystem.clear_instance_cache()
    started.stop()


@pytest.fixture(scope="module")
def database(postgres_server: str) -> Iterator[Callable[[str], str]]:
    """Makes empty databases on PostgreSQL, dropped afterwards."""
    import psycopg

    made: list[str] = []
    with psycopg.connect(f"postgresql://{postgres_server}/postgres", autocommit=True) as connection:

        def make(what: str) -> str:
            made.append(f"gc_{what}_{uuid.uuid4().hex[:12]}")
            connection.execute(f"CREATE DATABASE {made[-1]}")
            return f"postgresql+psycopg://{postgres_server}/{made[-1]}"

        yield make
        for name in made:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextlib.contextmanager
def mlflow_server(store: str, artifacts: str, folder: Path) -> Iterator[str]:
    """MLflow's server, which alone reaches database and artifacts; its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", store, "--artifacts-destination", artifacts]
    environ = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "server.log").open("wb") as said:
        process = subprocess.Popen(command, env=environ, stdout=said, stderr=said, start_new_session=True)
    try:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        deadline = time.monotonic() + 300
        while True:
            assert process.poll() is None, (folder / "server.log").read_text()[-2000:]
            assert time.monotonic() < deadline, "MLflow's server does not answer"
            with contextlib.suppress(OSError), opener.open(f"http://127.0.0.1:{port}/health", timeout=5):
                break
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=60)


@pytest.fixture(scope="module", params=["PostgreSQL and S3", "server on PostgreSQL and S3"])
def services(
    request: pytest.FixtureRequest, s3: Any, database: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Services]:
    """An installation as in production, whose clock runs two months ahead of its stores."""
    folder = tmp_path_factory.mktemp("gc")
    prefix = f"s3://plant/{folder.name}-{uuid.uuid4().hex[:8]}"
    values: dict[str, Any] = {"home": ROOT, "var": f"{prefix}/var", "state_dir": folder / "state", "actor": "ann"}
    values |= {"code_version": "test", "ledger_url": database("ledger"), "artifact_uri": f"{prefix}/artifacts"}
    store = database("mlflow")
    with contextlib.ExitStack() as stack:
        if request.param.startswith("server"):
            uri = stack.enter_context(mlflow_server(store, f"{prefix}/artifacts", folder))
            values["artifact_uri"] = "mlflow-artifacts:/"
        else:
            uri = store
        yield Services(MLOpsConfig.build(values | {"tracking_uri": uri}), lambda: LATER)


@pytest.fixture
def spec(services: Services) -> ModelSpec:
    """A model with three versions: 1 was refused, 2 was champion before 3; and folders of every kind."""
    name = f"m{uuid.uuid4().hex[:8]}"
    for number in (1, 2, 3):
        _night(services, name, number)
    for number, age in ((2, 200), (3, 100)):
        at = LATER - timedelta(days=age)
        services.ledger.append("promotion", name, {"version": number}, actor="policy", at=at, key=f"{name}/{number}")
    services.registry.set_alias(name, "champion", 3)
    storage, one = services.storage, pa.table({"x": [1]})
    for day in (date(2026, 3, 1), LATER.date()):
        storage.write_table(storage.uri("predictions", name, f"date={day}"), one)
        storage.write_json(storage.uri("reports", name, str(day), "drift.json"), {})
        for process in ("a-1", "b-1"):
            storage.write_table(storage.uri("prediction_log", name, f"date={day}", process), one)
    storage.write_table(storage.uri("backtests", name, "2026-03-01_2026-03-09_ab", "day"), one)
    spec = spec_of(services, name)
    return spec.model_copy(update={"retention": spec.retention.model_copy(update=LIMITS)})


def _night(services: Services, name: str, number: int) -> None:
    """A training: a set, a parent run, a candidate with a model, a version."""
    day = date(2026, 3, number)
    uri = services.storage.uri("training_sets", name, f"date={day}", f"f{number}")
    services.storage.write_table(uri, pa.table({"x": [number]}))
    candidate = CandidateSpec(algorithm="hbos")
    scorer = catalogue.build(candidate, task="anomaly", features=FEATURES, entity="device_id", seed=0).fit(ROWS)
    key = f"{name}/training/{day}"
    with services.tracker.run(f"{key}/hbos", experiment=name, parent=Parent(key, str(day))) as run:
        run.log_dataset(uri, f"f{number}", 1)
        model_uri, digest = run.log_scorer(scorer, ROWS.head(2))
        record = run.record(candidate="hbos", algorithm="hbos", model_uri=model_uri, digest=digest)
    services.registry.register(name, run=record, inputs_hash=f"{name}{number}", training_set_uri=uri)


def keys(s3: Any, services: Services, what: str) -> list[str]:
    """Keys of the objects of an installation whose name contains `what`, as S3 itself lists them."""
    prefix = services.config.var.removeprefix("s3://plant/").removesuffix("var")
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket="plant", Prefix=prefix)
    return [item["Key"] for page in pages for item in page.get("Contents", []) if what in item["Key"]]


def test_what_goes_is_gone_from_the_bucket_and_what_stays_still_loads(
    services: Services, spec: ModelSpec, s3: Any
) -> None:
    """The dry run deletes no object; then exactly the old and unused ones go, records and files; the rest verifies."""
    before = keys(s3, services, "")
    answer = retention.run(services, spec)
    gone = {(i.kind, i.name.rsplit("/", 1)[-1]) for i in from_dict(Collected, answer.record).items if not i.keep}
    assert {kind for kind, _ in gone} == {
        *("version", "runs", "training_set", "predictions", "reports", "prediction_log", "backtest")
    }
    assert keys(s3, services, "") == before
    files = [key for key in before if "/artifacts/" in key]
    assert files  # the bucket holds MLflow's artifacts too
    retention.run(services, spec, apply=True)
    registry, storage = services.registry, services.storage
    assert sorted(version.version for version in registry.versions(spec.name)) == [2, 3]
    for number in (2, 3):
        version = registry.get(spec.name, number)
        assert np.isfinite(registry.load(version).score(ROWS)).all()
        assert storage.read_table(version.training_set_uri).num_rows == 1
    left = {top: len(keys(s3, services, f"/{top}/{spec.name}/")) for top in TOPS}
    assert left == {"training_sets": 2, "predictions": 1, "reports": 1, "prediction_log": 2, "backtests": 0}
    assert len(keys(s3, services, "/artifacts/")) == len(files) * 2 // 3
    assert retention.run(services, spec, apply=True).outcome == "nothing_to_do"
    assert services.ledger.verify() == []


@pytest.mark.parametrize("services", ["PostgreSQL and S3"], indirect=True)
def test_artifacts_that_cannot_be_reached_are_an_error_in_words_and_the_next_run_finishes(
    services: Services, spec: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bucket of MLflow's artifacts is away: the error names it, what stays is there, and the next run goes on."""
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_S3_ENDPOINT_URL", "http://127.0.0.1:9")
        with pytest.raises(
            StorageError, match=r"The artifacts at s3://plant/.* could not be deleted: .*127\.0\.0\.1:9"
        ):
            retention.run(services, spec, apply=True)
    retention.run(services, spec, apply=True)
    assert sorted(version.version for version in services.registry.versions(spec.name)) == [2, 3]
    services.registry.load(services.registry.get(spec.name, 2))
    assert retention.run(services, spec, apply=True).outcome == "nothing_to_do"

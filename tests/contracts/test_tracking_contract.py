"""Runs on every store that MLflow may keep them in: SQLite, PostgreSQL, and a server; one body for all of them."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mlops.config import MLOpsConfig
from mlops.errors import LeaseError, StorageError
from mlops.experiments.run import ERROR, SUPERSEDED_BY
from mlops.experiments.tracking import ExperimentTracker, Parent
from mlops.models import catalogue
from mlops.pipelines import reaper
from mlops.services import Services
from mlops.spec import CandidateSpec

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.integration


def _sqlite(_request: pytest.FixtureRequest, folder: Path) -> Iterator[str]:
    yield f"sqlite:///{folder}/mlflow.db"


def _postgresql(request: pytest.FixtureRequest, _folder: Path) -> Iterator[str]:
    import psycopg

    server, name = request.getfixturevalue("postgres_server"), f"life_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(f"postgresql://{server}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield f"postgresql+psycopg://{server}/{name}"
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def _server(_request: pytest.FixtureRequest, folder: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += [
        "--backend-store-uri",
        f"sqlite:///{folder}/server.db",
        "--default-artifact-root",
        str(folder / "files"),
    ]
    environ = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "server.log").open("wb") as said:
        process = subprocess.Popen(command, env=environ, stdout=said, stderr=said, start_new_session=True)
    try:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline:
            assert process.poll() is None, (folder / "server.log").read_text()[-2000:]
            with contextlib.suppress(OSError), opener.open(f"http://127.0.0.1:{port}/health", timeout=5):
                break
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        import signal

        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)


STORES: dict[str, Callable[[pytest.FixtureRequest, Path], Iterator[str]]] = {
    "sqlite": _sqlite,
    "postgresql": _postgresql,
    "server": _server,
}


@pytest.fixture(scope="module", params=STORES)
def config(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MLOpsConfig]:
    """An installation on each store."""
    folder = tmp_path_factory.mktemp(request.param)
    for uri in STORES[request.param](request, folder):
        values = {"home": ROOT, "var": str(folder / "var"), "tracking_uri": uri, "code_version": "c0ffee"}
        yield MLOpsConfig.build(values)


@pytest.fixture(scope="module")
def services(config: MLOpsConfig) -> Services:
    """The adapters on that store, leases included."""
    return Services.open(config)


@pytest.fixture
def tracker(services: Services) -> ExperimentTracker:
    """Runs on that store."""
    return services.tracker


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """An experiment of the test's own."""
    return str(request.node.originalname)[:60]


def status(tracker: ExperimentTracker, run_id: str) -> str:
    """What MLflow says of a run."""
    return str(tracker.client.get_run(run_id).info.status)


def count(tracker: ExperimentTracker, name: str) -> int:
    """How many runs an experiment has."""
    found = tracker.client.get_experiment_by_name(name)
    return len(tracker.client.search_runs([found.experiment_id]))


def test_a_retry_reopens_its_run_and_its_parent(tracker: ExperimentTracker, name: str) -> None:
    """FAILED with the error on both, then FINISHED on both, and two runs in all."""
    parent = Parent(f"{name}/training/2026-03-01", "2026-03-01 training", "asked")
    with (
        pytest.raises(RuntimeError),
        tracker.run(f"{name}/1/ecod", experiment=name, parent=parent, inputs_hash="h", name="ecod") as first,
    ):
        raise RuntimeError("no memory")
    assert status(tracker, first.run_id) == status(tracker, first.parent_run_id) == "FAILED"
    assert "no memory" in tracker.client.get_run(first.parent_run_id).data.tags[ERROR]
    with tracker.run(f"{name}/1/ecod", experiment=name, parent=parent, inputs_hash="h") as second:
        assert status(tracker, second.parent_run_id) == "RUNNING"
        second.describe({"mlops.outcome": "done"}, {"rows": 3.0}, "Three rows.")
    assert (second.run_id, second.parent_run_id) == (first.run_id, first.parent_run_id)
    for run_id in (second.run_id, second.parent_run_id):
        run = tracker.client.get_run(run_id)
        assert (run.info.status, run.data.metrics["rows"]) == ("FINISHED", 3.0)
        assert ERROR not in run.data.tags
    assert count(tracker, name) == 2


def test_a_connection_that_is_cut_is_told_in_words(services: Services, name: str) -> None:
    """The server ends the connection in the middle of a statement: the error is ours, and the retry reopens the run."""
    url = services.config.tracking_uri
    if not url.startswith("postgresql"):
        return  # a file has no connection to cut, a server has its own
    import psycopg
    import sqlalchemy as sa

    database, cut = sa.make_url(url).database, list[int]()

    def cutting(connection: sa.Connection, _cursor: object, statement: str, *_: object) -> None:
        if not cut and connection.engine.url.database == database and statement.startswith("INSERT INTO metrics"):
            with psycopg.connect(
                url.replace("+psycopg", "").replace(str(database), "postgres"), autocommit=True
            ) as admin:
                (pid,) = connection.exec_driver_sql("SELECT pg_backend_pid()").one()
                admin.execute("SELECT pg_terminate_backend(%s)", [pid])
                cut.append(pid)

    sa.event.listen(sa.Engine, "before_cursor_execute", cutting)
    try:
        with (
            pytest.raises(StorageError, match=r"MLflow refused to log to the run of .*run the step again"),
            services.tracker.run(f"{name}/1", experiment=name) as run,
        ):
            run.log_metrics({"a": 1.0})  # written at the end of the run
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", cutting)
    assert cut
    with services.tracker.run(f"{name}/1", experiment=name) as again:
        again.log_metrics({"a": 1.0})
    assert (again.run_id, status(services.tracker, again.run_id)) == (run.run_id, "FINISHED")


def test_changed_inputs_supersede(tracker: ExperimentTracker, name: str) -> None:
    """A new run, and the old one names it."""
    with tracker.run("k", experiment=name, inputs_hash="old") as old:
        pass
    with tracker.run("k", experiment=name, inputs_hash="new") as new:
        pass
    assert tracker.client.get_run(old.run_id).data.tags[SUPERSEDED_BY] == new.run_id


def test_a_finished_run_with_its_model_is_reused(tracker: ExperimentTracker, services: Services, name: str) -> None:
    """Model, dataset, params and metrics are logged; the same inputs hand out the record of the first."""
    rows = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 2)), columns=["t", "p"]).assign(device_id="a")
    built = catalogue.build(
        CandidateSpec(algorithm="hbos"), task="anomaly", features=("t", "p"), entity="device_id", seed=0
    )
    scorer = built.fit(rows).with_threshold(5.0)
    for expected in (False, True):
        with tracker.run("k", experiment=name, inputs_hash="h", reuse=True) as run:
            assert (run.done is not None) == expected
            if run.done is None:
                run.log_params({"n": 1})
                run.log_dataset("/data/x", "ab" * 32, 60)
                uri, digest = run.log_scorer(scorer, rows.head(3))
                made = run.record(candidate="hbos", algorithm="hbos", model_uri=uri, digest=digest)
    assert run.done is not None
    assert (run.done.model_uri, run.done.digest) == (made.model_uri, made.digest)
    version = services.registry.register(name, run=made, inputs_hash="h")
    assert services.registry.register(name, run=made, inputs_hash="h").version == version.version == 1
    np.testing.assert_array_equal(services.registry.load(version).score(rows), scorer.score(rows))


def test_two_attempts_at_once_make_one_run(
    config: MLOpsConfig, name: str, tracker: ExperimentTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second waits for the first, or is refused by name; there is one run."""
    ids: list[str] = []
    barrier = threading.Barrier(2)

    def attempt() -> None:
        own = Services.open(config).tracker
        own.client.search_experiments(max_results=1)
        barrier.wait(timeout=60)
        with contextlib.suppress(LeaseError), own.run("k", experiment=name, inputs_hash="h") as run:
            ids.append(run.run_id)
            time.sleep(0.3)

    threads = [threading.Thread(target=attempt) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert len(set(ids)) == 1
    assert count(tracker, name) == 1


def test_the_reaper_ends_what_nobody_is_at_work_on(services: Services, tracker: ExperimentTracker, name: str) -> None:
    """A run whose process is gone becomes KILLED, its unfinished model FAILED; one at work is left alone."""
    with tracker.run("gone", experiment=name) as run:
        number = tracker.client.get_run(run.run_id).info.experiment_id
        tags = {"mlops.run_key": "gone"}
        model = tracker.client.create_logged_model(number, name="cut", source_run_id=run.run_id, tags=tags)
    tracker.client.update_run(run.run_id, status="RUNNING")  # as after a SIGKILL, its lease free
    with tracker.run("at work", experiment=name) as other:
        found = reaper.reap(services)
        assert (found.killed, found.alive) == (("gone",), ("at work",))
        assert status(tracker, other.run_id) == "RUNNING"
    assert status(tracker, run.run_id) == "KILLED"
    assert str(tracker.client.get_logged_model(model.model_id).status) == "FAILED"


def test_many_metrics_are_all_there(tracker: ExperimentTracker, name: str) -> None:
    """More than MLflow takes at once, and none is lost."""
    with tracker.run("k", experiment=name) as run:
        run.log_metrics({f"m{i}": float(i) for i in range(2500)})
    assert len(tracker.client.get_run(run.run_id).data.metrics) == 2500

"""Runs of a step and what is left when its process is killed: the runs themselves, and the reaper."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from datetime import date
from pathlib import Path

import pytest

from mlops.config import MLOpsConfig
from mlops.errors import LeaseError
from mlops.experiments.run import PARENT, RUN_KEY
from mlops.pipelines import lifecycle, reaper
from mlops.records import StepReport
from mlops.services import Services
from mlops.spec import ModelSpec

DAY = date(2026, 3, 19)
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Services:
    """One installation for the module; each test has a date of its own."""
    var = tmp_path_factory.mktemp("home") / "var"
    return Services.open(MLOpsConfig.build({"home": ROOT, "var": str(var), "code_version": "c0ffee"}, os.environ))


@pytest.fixture(scope="module")
def spec(services: Services) -> ModelSpec:
    """The sample fleet's model."""
    return services.spec("fleet_anomaly")


def runs(services: Services, spec: ModelSpec, day: date) -> dict[str, str]:
    """Status of the runs of a date, by name."""
    found = services.tracker.client.get_experiment_by_name(spec.name)
    words = f"tags.date = '{day}'"
    listed = services.tracker.client.search_runs([found.experiment_id], words) if found else []
    return {run.info.run_name: run.info.status for run in listed}


def test_a_step_is_a_parent_and_a_child_that_say_how_it_ended(services: Services, spec: ModelSpec) -> None:
    """Short names, outcome and reason in words, the record's numbers as metrics, on both."""
    record = {
        "rows": 12,
        "version": 3,
        "reused": False,
        "report_uri": "var/reports/x.html",
        "metrics": {"roc_auc": 0.9},
    }
    answer = StepReport("inference", spec.name, DAY, "done", "Scored 12 rows.", 1.5, record)
    assert lifecycle.tracked(services, spec, "inference", DAY, lambda: answer) == answer
    assert runs(services, spec, DAY) == {"2026-03-19 inference": "FINISHED", "score": "FINISHED"}
    number = services.tracker.client.get_experiment_by_name(spec.name).experiment_id
    for run in services.tracker.client.search_runs([number], f"tags.date = '{DAY}'"):
        assert run.data.tags["mlops.outcome"] == "done"
        assert run.data.tags["mlops.reason"] == "Scored 12 rows."
        assert "var/reports/x.html" in run.data.tags["mlflow.note.content"]
        assert run.data.metrics == {"rows": 12, "version": 3, "roc_auc": 0.9, "seconds": 1.5}


def test_a_step_that_needs_no_mlflow_does_not_import_it() -> None:
    """Ingestion and features have no runs: importing MLflow would take longer than their work."""
    code = """
    import sys
    from datetime import date
    from mlops.pipelines import lifecycle
    lifecycle.tracked(None, None, "ingestion", date(2026, 3, 1), lambda: None)
    print("mlflow" in sys.modules)
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert run.stdout.strip() == "False"


def test_a_failed_step_is_failed_on_both(services: Services, spec: ModelSpec) -> None:
    """The parent says which task and why; the retry brings both back."""
    day = date(2026, 3, 20)
    with (
        pytest.raises(ValueError, match="no columns"),
        lifecycle.task_run(services, spec, "validation", day, "validate"),
    ):
        raise ValueError("no columns")
    assert runs(services, spec, day) == {"2026-03-20 validation": "FAILED", "validate": "FAILED"}
    with lifecycle.task_run(services, spec, "validation", day, "validate"):
        assert runs(services, spec, day) == {"2026-03-20 validation": "RUNNING", "validate": "RUNNING"}
    assert runs(services, spec, day) == {"2026-03-20 validation": "FINISHED", "validate": "FINISHED"}


def test_sigterm_ends_the_run_as_killed(services: Services, spec: ModelSpec) -> None:
    """A task that is marked as failed in the UI, or whose pod is evicted, leaves nothing RUNNING."""
    day, before = date(2026, 3, 21), signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit), lifecycle.task_run(services, spec, "validation", day, "validate"):
        signal.raise_signal(signal.SIGTERM)
    assert runs(services, spec, day) == {"2026-03-21 validation": "FAILED", "validate": "KILLED"}
    assert signal.getsignal(signal.SIGTERM) == before


WORKER = """
import sys, time
from datetime import date
from mlops.config import MLOpsConfig
from mlops.pipelines import lifecycle
from mlops.services import Services
services = Services.open(MLOpsConfig.build({{"home": {home!r}, "var": {var!r}, "code_version": "c0ffee"}}))
spec = services.spec("fleet_anomaly")
with lifecycle.task_run(services, spec, "training", date.fromisoformat({day!r}), "ecod") as run:
    number = services.tracker.client.get_run(run.run_id).info.experiment_id
    tags = {{"mlops.run_key": run.run_key}}
    services.tracker.client.create_logged_model(number, name="cut", source_run_id=run.run_id, tags=tags)
    print(run.run_id, flush=True)
    time.sleep(300)
"""


@pytest.fixture
def worker(services: Services) -> object:
    """Starts a process that opens a run, begins a model, and works on until it is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(day: date) -> tuple[subprocess.Popen[str], str]:
        code = WORKER.format(home=str(ROOT), var=services.config.var, day=str(day))
        process = subprocess.Popen([sys.executable, "-W", "ignore", "-c", code], stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        return process, process.stdout.readline().strip()

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_the_reaper_ends_what_a_killed_process_left_and_spares_the_living(
    services: Services, spec: ModelSpec, worker: object
) -> None:
    """Run, parent and half-logged model of a dead process are closed; the same of a living one are not touched."""
    dead_day, living_day = date(2026, 3, 22), date(2026, 3, 23)
    dead, dead_id = worker(dead_day)  # type: ignore[operator]
    _, living_id = worker(living_day)  # type: ignore[operator]
    dead.kill()
    dead.wait()
    found = reaper.reap(services)
    assert found.killed == (f"{spec.name}/training/{dead_day}/ecod",)
    assert found.alive == (f"{spec.name}/training/{living_day}/ecod",)
    assert found.parents == (f"{spec.name}/training/{dead_day}",)
    assert runs(services, spec, dead_day) == {"2026-03-22 training": "FAILED", "ecod": "KILLED"}
    assert runs(services, spec, living_day) == {"2026-03-23 training": "RUNNING", "ecod": "RUNNING"}
    models = services.tracker.client.search_logged_models(
        [services.tracker.client.get_experiment_by_name(spec.name).experiment_id]
    )
    assert {m.source_run_id: str(m.status) for m in models} == {dead_id: "FAILED", living_id: "PENDING"}
    assert reaper.reap(services).killed == ()


def test_the_reaper_goes_on_where_somebody_deleted_runs(services: Services) -> None:
    """A parent in MLflow's bin, and an unfinished model whose run is gone for good, hold nobody up."""
    client = services.tracker.client
    experiment = client.create_experiment("deleted", artifact_location=f"{services.config.var}/deleted")
    parent, gone = (client.create_run(experiment, tags={RUN_KEY: f"deleted/{name}"}).info.run_id for name in "pg")
    left = client.create_run(experiment, tags={RUN_KEY: "deleted/left", PARENT: parent}).info.run_id
    client.delete_run(parent)
    model = client.create_logged_model(experiment, name="m", source_run_id=gone, tags={RUN_KEY: "deleted/g"})
    client.delete_run(gone)
    client._tracking_client.store._hard_delete_run(gone)  # as `mlflow gc` does
    found = reaper.reap(services)
    assert "deleted/left" in found.killed
    assert model.model_id in found.models
    assert client.get_run(left).info.status == "KILLED"
    assert str(client.get_logged_model(model.model_id).status) == "FAILED"


def test_a_second_process_waits_for_a_living_one_and_replaces_a_dead_one(
    services: Services, spec: ModelSpec, worker: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the first is at work the second is refused by name; once it was killed, the second need not wait."""
    monkeypatch.setattr("mlops.services.RUN_WAIT_SECONDS", 0.2)
    day = date(2026, 3, 24)
    process, run_id = worker(day)  # type: ignore[operator]
    with (
        pytest.raises(LeaseError, match=f"process {process.pid}.*holds it until"),
        lifecycle.task_run(services, spec, "training", day, "ecod"),
    ):
        pass
    process.kill()
    process.wait()
    started = time.monotonic()
    with lifecycle.task_run(services, spec, "training", day, "ecod") as run:
        assert run.run_id == run_id
    assert time.monotonic() - started < 20  # the lease of the dead would have lasted for a minute
    assert runs(services, spec, day) == {"2026-03-24 training": "FINISHED", "ecod": "FINISHED"}

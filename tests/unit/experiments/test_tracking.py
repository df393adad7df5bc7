"""Tracking: one run per run key whatever happens on the way, and everything about it written down."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mlops.config import MLOpsConfig
from mlops.errors import LeaseError, StorageError, TrainingError
from mlops.experiments.run import ERROR, INPUTS_HASH, RUN_KEY, SUPERSEDED_BY, Run
from mlops.experiments.tracking import ExperimentTracker, Parent
from mlops.mlflow_store import digest_of, file_digests
from mlops.models import catalogue
from mlops.models.scoring import Scorer
from mlops.spec import CandidateSpec

ROOT = Path(__file__).parents[3]

FEATURES = ("temperature", "pressure")
KEY = "fleet/training/2026-03-01/ecod"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> MLOpsConfig:
    """One store for the module, as MLflow needs seconds to make its tables; each test has its own experiment."""
    home = tmp_path_factory.mktemp("home")
    return MLOpsConfig.build({"home": home, "var": str(home / "var")})


@pytest.fixture(scope="module")
def tracker(config: MLOpsConfig) -> ExperimentTracker:
    """A tracker on that store."""
    return ExperimentTracker(config, code_version="c0ffee")


@pytest.fixture
def experiment(request: pytest.FixtureRequest) -> str:
    """An experiment of the test's own."""
    return str(request.node.name)[:100]


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """Two devices."""
    values = np.random.default_rng(0).normal(size=(200, 2))
    return pd.DataFrame(values, columns=list(FEATURES)).assign(device_id=np.repeat(["a", "b"], 100))


@pytest.fixture(scope="module")
def scorer(rows: pd.DataFrame) -> Scorer:
    """A fitted scorer with a threshold."""
    candidate = CandidateSpec(algorithm="ecod")
    built = catalogue.build(candidate, task="anomaly", features=FEATURES, entity="device_id", seed=0)
    return built.fit(rows).with_threshold(5.0)


def run_ids(tracker: ExperimentTracker, experiment: str) -> list[str]:
    """All runs of an experiment."""
    found = tracker.client.get_experiment_by_name(experiment)
    return [] if found is None else [run.info.run_id for run in tracker.client.search_runs([found.experiment_id])]


def test_a_retried_task_reopens_the_same_run(tracker: ExperimentTracker, experiment: str) -> None:
    """The second attempt of a failed task finds the run of the first, which then ends well, the old error gone."""
    with pytest.raises(RuntimeError), tracker.run(KEY, experiment=experiment, inputs_hash="h") as first:
        raise RuntimeError("no memory")
    failed = tracker.client.get_run(first.run_id)
    assert (failed.info.status, failed.data.tags[ERROR]) == ("FAILED", "RuntimeError: no memory")
    with tracker.run(KEY, experiment=experiment, inputs_hash="h") as second:
        assert tracker.client.get_run(second.run_id).info.status == "RUNNING"
    assert second.run_id == first.run_id
    ended = tracker.client.get_run(second.run_id)
    assert ended.info.status == "FINISHED"
    assert ERROR not in ended.data.tags
    assert run_ids(tracker, experiment) == [first.run_id]


def test_a_task_that_is_told_to_end_leaves_a_killed_run(tracker: ExperimentTracker, experiment: str) -> None:
    """SystemExit and Ctrl-C go on their way, and the run does not stay RUNNING."""
    with pytest.raises(SystemExit), tracker.run(KEY, experiment=experiment) as run:
        raise SystemExit(143)
    assert tracker.client.get_run(run.run_id).info.status == "KILLED"


def test_a_run_whose_process_was_killed_is_taken_up_again(tracker: ExperimentTracker, experiment: str) -> None:
    """After SIGKILL a run stays RUNNING; the retry reopens and finishes it."""
    killed = tracker.run(KEY, experiment=experiment, inputs_hash="h")
    left = killed.__enter__()  # never exited, as a killed process never does
    with tracker.run(KEY, experiment=experiment, inputs_hash="h") as run:
        assert run.run_id == left.run_id
    assert tracker.client.get_run(run.run_id).info.status == "FINISHED"
    assert len(run_ids(tracker, experiment)) == 1


def test_changed_inputs_start_a_new_run_and_the_old_one_says_so(tracker: ExperimentTracker, experiment: str) -> None:
    """A re-run with other inputs supersedes; the old run keeps its params and does not stay RUNNING."""
    killed = tracker.run(KEY, experiment=experiment, inputs_hash="old")
    old = killed.__enter__()
    old.log_params({"rows": 1})
    with tracker.run(KEY, experiment=experiment, inputs_hash="new") as new:
        new.log_params({"rows": 2})
    assert new.run_id != old.run_id
    before = tracker.client.get_run(old.run_id)
    assert before.data.tags[SUPERSEDED_BY] == new.run_id
    assert before.info.status == "KILLED"
    assert before.data.params["rows"] == "1"
    assert tracker.client.get_run(new.run_id).data.tags[INPUTS_HASH] == "new"
    with tracker.run(KEY, experiment=experiment, inputs_hash="new") as again:
        assert again.run_id == new.run_id


def test_a_superseded_run_is_never_taken_up_again(tracker: ExperimentTracker, experiment: str) -> None:
    """Even if it says that it began later, because the clock of its machine was ahead."""
    with tracker.run("another", experiment=experiment):
        pass
    number = tracker.client.get_experiment_by_name(experiment).experiment_id
    tags = {RUN_KEY: KEY, INPUTS_HASH: "old"}
    tracker.client.create_run(number, start_time=int(datetime(2100, 1, 1, tzinfo=UTC).timestamp() * 1000), tags=tags)
    with tracker.run(KEY, experiment=experiment, inputs_hash="new") as first:
        pass
    with tracker.run(KEY, experiment=experiment, inputs_hash="new") as second:
        pass
    assert first.run_id == second.run_id


def test_a_param_that_changes_on_a_retry_does_not_break_it(tracker: ExperimentTracker, experiment: str) -> None:
    """MLflow keeps the first value for good; the new one is kept beside it, and the other params are logged."""
    with tracker.run(KEY, experiment=experiment) as run:
        run.log_params({"reason": "schedule"})
    with tracker.run(KEY, experiment=experiment) as run:
        run.log_params({"reason": "drift", "depth": 3})
    data = tracker.client.get_run(run.run_id).data
    assert (data.params["reason"], data.params["depth"]) == ("schedule", "3")
    assert data.tags["mlops.now.reason"] == "drift"


def test_two_attempts_at_once_share_one_run(config: MLOpsConfig, experiment: str) -> None:
    """Find-or-create is inside the guard: of two attempts that start together, one creates and the other finds."""
    lock, barrier, held = threading.Lock(), threading.Barrier(2), []

    class Held:
        """A lock that notes what it was asked for and holds on to it for a moment."""

        def __init__(self, name: str) -> None:
            held.append(name)

        def __enter__(self) -> None:
            lock.acquire()

        def __exit__(self, *_: object) -> None:
            lock.release()

    ids: list[str] = []

    def attempt() -> None:
        tracker = ExperimentTracker(config, guard=Held)
        tracker.client.search_experiments(max_results=1)
        barrier.wait(timeout=60)
        with tracker.run(KEY, experiment=experiment, inputs_hash="h") as run:
            ids.append(run.run_id)

    threads = [threading.Thread(target=attempt) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert len(ids) == 2
    assert len(set(ids)) == 1
    assert held == [f"mlflow/{KEY}"] * 2


def test_a_finished_run_gives_its_record_back(tracker: ExperimentTracker, experiment: str) -> None:
    """With the same inputs the record comes back, marked as reused; with others, or of a failed run, none does."""
    assert tracker.finished(KEY, experiment=experiment, inputs_hash="h") is None
    with pytest.raises(RuntimeError), tracker.run(KEY, experiment=experiment, inputs_hash="h") as run:
        _record_and_fail(run)
    assert tracker.finished(KEY, experiment=experiment, inputs_hash="h") is None
    with tracker.run(KEY, experiment=experiment, inputs_hash="h") as run:
        made = run.record(candidate="ecod", algorithm="ecod", metrics={"cv_roc_auc": 0.75}, fit_seconds=1.5, seconds=2)
    found = tracker.finished(KEY, experiment=experiment, inputs_hash="h")
    assert found == replace(made, reused=True)
    assert (found.run_id, found.status, made.reused) == (run.run_id, "FINISHED", False)
    assert tracker.finished(KEY, experiment=experiment, inputs_hash="other") is None


def _record_and_fail(run: Run) -> None:
    """What a task does that dies after its last write."""
    run.record(candidate="ecod", algorithm="ecod", metrics={"cv_roc_auc": 0.5})
    raise RuntimeError("after the record")


def test_candidates_are_children_of_the_run_of_their_night(tracker: ExperimentTracker, experiment: str) -> None:
    """A child names its parent's run; a parent that is not there is an error that says what to do."""
    with (
        pytest.raises(TrainingError, match=r"no run of 'night'.*first step first"),
        tracker.run(KEY, experiment=experiment, parent="night"),
    ):
        pass
    with tracker.run("night", experiment=experiment) as parent:
        pass
    with tracker.run(KEY, experiment=experiment, parent="night") as child:
        record = child.record(candidate="ecod", algorithm="ecod")
    assert record.parent_run_id == parent.run_id
    assert tracker.client.get_run(child.run_id).data.tags["mlflow.parentRunId"] == parent.run_id


NIGHT = Parent("fleet/training/2026-03-01", "2026-03-01 training", "asked")


def status(tracker: ExperimentTracker, run_id: str) -> str:
    """The status that MLflow shows."""
    return str(tracker.client.get_run(run_id).info.status)


def test_a_parent_follows_its_children(tracker: ExperimentTracker, experiment: str) -> None:
    """RUNNING while one of them is; FAILED with the reason after one failed; FINISHED once its retry has succeeded."""
    with tracker.run("n/a", experiment=experiment, parent=NIGHT) as first:
        above = first.parent_run_id
        assert status(tracker, above) == "RUNNING"
        with pytest.raises(RuntimeError), tracker.run("n/b", experiment=experiment, parent=NIGHT, name="b") as second:
            raise RuntimeError("no memory")
        assert status(tracker, above) == "RUNNING"
    found = tracker.client.get_run(above)
    assert (found.info.status, found.info.run_name) == ("FAILED", "2026-03-01 training")
    assert found.data.tags[ERROR] == "b: RuntimeError: no memory"
    with tracker.run("n/b", experiment=experiment, parent=NIGHT) as retry:
        assert status(tracker, above) == "RUNNING"
    assert (retry.run_id, retry.parent_run_id) == (second.run_id, above)
    assert status(tracker, above) == "FINISHED"
    assert ERROR not in tracker.client.get_run(above).data.tags
    assert len(run_ids(tracker, experiment)) == 3


def test_another_question_gets_another_parent(tracker: ExperimentTracker, experiment: str) -> None:
    """A night asked for with another spec has a parent of its own, and the old one says that it is superseded."""
    with tracker.run("n/a", experiment=experiment, parent=NIGHT) as first:
        pass
    other = replace(NIGHT, inputs_hash="asked otherwise")
    with tracker.run("n/a", experiment=experiment, parent=other) as second:
        pass
    assert tracker.client.get_run(first.parent_run_id).data.tags[SUPERSEDED_BY] == second.parent_run_id


class Lost:
    """A hold that a later attempt takes over after some checks."""

    def __init__(self, good: int = 1) -> None:
        self.good = good

    def check(self) -> None:
        """It is ours, and then no longer."""
        self.good -= 1
        if self.good < 0:
            raise LeaseError("taken over")


def test_who_was_taken_over_at_once_takes_back_what_it_created(config: MLOpsConfig, experiment: str) -> None:
    """An attempt that stood still before it created its runs leaves none behind."""
    for good in (0, 1):
        tracker = ExperimentTracker(config, keeper=lambda _name, good=good: nullcontext(Lost(good)))
        with pytest.raises(LeaseError), tracker.run("n/a", experiment=experiment, parent=NIGHT):
            pass
        assert run_ids(tracker, experiment) == []


def test_who_was_taken_over_writes_no_end(config: MLOpsConfig, experiment: str) -> None:
    """An orphan that comes to its end, well or not, leaves the run to its successor and is told so."""
    tracker = ExperimentTracker(config, keeper=lambda _name: nullcontext(Lost()))
    with pytest.raises(LeaseError, match="taken over"), tracker.run(KEY, experiment=experiment) as well:
        pass
    assert status(tracker, well.run_id) == "RUNNING"
    with pytest.raises(RuntimeError), tracker.run(KEY, experiment=experiment) as badly:
        raise RuntimeError("at the end of its way")
    assert status(tracker, badly.run_id) == "RUNNING"


def test_who_was_taken_over_logs_no_model(
    config: MLOpsConfig, experiment: str, scorer: Scorer, rows: pd.DataFrame
) -> None:
    """An orphan neither adds a model nor takes away that of its successor."""
    ours = ExperimentTracker(config)
    with ours.run(KEY, experiment=experiment) as successor:
        uri, _ = successor.log_scorer(scorer, rows.head(5))
    tracker = ExperimentTracker(config, keeper=lambda _name: nullcontext(Lost()))
    with pytest.raises(LeaseError), tracker.run(KEY, experiment=experiment) as orphan:
        orphan.log_scorer(scorer, rows.head(5))
    number = ours.client.get_experiment_by_name(experiment).experiment_id
    assert [m.model_id for m in ours.client.search_logged_models([number])] == [uri.removeprefix("models:/")]


def test_what_has_finished_is_not_opened_again(tracker: ExperimentTracker, experiment: str) -> None:
    """With `reuse` a finished run hands out its record and stays as it is, seen from inside the lease."""
    for expected in (None, "ecod"):
        with tracker.run(KEY, experiment=experiment, inputs_hash="h", reuse=True) as run:
            assert (run.done.candidate if run.done else None) == expected
            if run.done is None:
                run.record(candidate="ecod", algorithm="ecod")
            else:
                assert status(tracker, run.run_id) == "FINISHED"


def test_everything_about_a_run_is_written_down(tracker: ExperimentTracker, experiment: str, tmp_path: Path) -> None:
    """Params, finite metrics, the data's own fingerprint, the commit, the spec hash and the environment are logged."""
    fingerprint = "ab" * 32
    with tracker.run(KEY, experiment=experiment, tags={"spec_hash": "5pec"}) as run:
        run.log_params({f"p{i}": i for i in range(120)})  # more than MLflow takes at once
        run.log_metrics({f"m{i}": float(i) for i in range(1200)} | {"nan": float("nan"), "inf": float("inf")})
        run.log_dataset("/var/training_sets/fleet", fingerprint, 42)
        run.log_text("hello", "notes.txt")
    found = tracker.client.get_run(run.run_id)
    assert len(found.data.params) == 120
    assert len(found.data.metrics) == 1200
    assert {"nan", "inf"}.isdisjoint(found.data.metrics)
    assert found.data.tags["mlflow.source.git.commit"] == "c0ffee"
    assert found.data.tags["spec_hash"] == "5pec"
    (logged,) = found.inputs.dataset_inputs
    assert fingerprint.startswith(logged.dataset.digest)
    assert json.loads(logged.dataset.profile) == {"num_rows": 42, "fingerprint": fingerprint}
    environment = json.loads(
        Path(tracker.client.download_artifacts(run.run_id, "environment.json", str(tmp_path))).read_text()
    )
    assert {"mlflow", "scikit-learn", "pyod"} <= environment["packages"].keys()
    assert environment["python"].startswith("3.")


def test_a_logged_scorer_answers_a_plain_mlflow_client_as_it_answers_us(
    tracker: ExperimentTracker, experiment: str, scorer: Scorer, rows: pd.DataFrame
) -> None:
    """`mlflow.pyfunc.load_model(uri).predict(frame)` gives score and flag; a missing column is refused."""
    import mlflow
    from mlflow.exceptions import MlflowException

    with tracker.run(KEY, experiment=experiment) as run:
        uri, _ = run.log_scorer(scorer, rows.head(5))
    location = tracker.client.get_logged_model(uri.removeprefix("models:/")).artifact_location
    plain = mlflow.pyfunc.load_model(location)
    pd.testing.assert_frame_equal(plain.predict(rows[["pressure", "device_id", "temperature"]]), scorer.predict(rows))
    assert plain.metadata.signature.inputs.input_names() == ["device_id", *FEATURES]
    assert list(plain.input_example.columns) == ["device_id", *FEATURES]
    with pytest.raises(MlflowException, match="pressure"):
        plain.predict(rows[["temperature"]])


def test_a_logged_scorer_pins_only_what_it_needs(
    tracker: ExperimentTracker, experiment: str, scorer: Scorer, rows: pd.DataFrame
) -> None:
    """Requirements are the pinned packages of the model, no others; the digest is that of the stored files."""
    from importlib.metadata import version

    with tracker.run(KEY, experiment=experiment) as run:
        uri, digest = run.log_scorer(scorer, rows.head(5))
    location = Path(tracker.client.get_logged_model(uri.removeprefix("models:/")).artifact_location)
    wanted = {"mlflow", "scikit-learn", "numpy", "pandas", "scipy", "skops", "cloudpickle"}
    assert set((location / "requirements.txt").read_text().split()) == {f"{name}=={version(name)}" for name in wanted}
    assert digest == digest_of(file_digests(location))


def test_a_retry_replaces_the_model_that_a_killed_attempt_had_logged(
    tracker: ExperimentTracker, experiment: str, scorer: Scorer, rows: pd.DataFrame
) -> None:
    """One run has one logged model, however often its task was cut short after logging."""
    killed = tracker.run(KEY, experiment=experiment, inputs_hash="h")
    killed.__enter__().log_scorer(scorer, rows.head(5))
    with tracker.run(KEY, experiment=experiment, inputs_hash="h") as run:
        uri, _ = run.log_scorer(scorer, rows.head(5))
    found = tracker.client.search_logged_models([tracker.client.get_experiment_by_name(experiment).experiment_id])
    assert [f"models:/{model.model_id}" for model in found] == [uri]


def test_artifacts_lie_where_the_settings_say(
    config: MLOpsConfig, tracker: ExperimentTracker, experiment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is written into the current folder, where MLflow's defaults would put it."""
    monkeypatch.chdir(tmp_path)
    with tracker.run(KEY, experiment=experiment) as run:
        run.log_text("hello", "notes.txt")
    assert tracker.client.get_run(run.run_id).info.artifact_uri.startswith(config.artifact_uri)
    assert list(tmp_path.iterdir()) == []


def test_a_deleted_experiment_is_an_error_that_says_how_to_restore_it(
    tracker: ExperimentTracker, experiment: str
) -> None:
    """Somebody deleted the experiment in the UI: the message names the command."""
    with tracker.run(KEY, experiment=experiment):
        pass
    tracker.client.delete_experiment(tracker.client.get_experiment_by_name(experiment).experiment_id)
    with (
        pytest.raises(TrainingError, match=r"was deleted.*mlflow experiments restore"),
        tracker.run(KEY, experiment=experiment),
    ):
        pass


def test_a_store_that_cannot_be_written_is_an_error_that_says_where(tmp_path: Path) -> None:
    """A file stands where the folder of the database should be."""
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "mlflow").write_text("in the way")
    config = MLOpsConfig.build({"home": tmp_path})
    with pytest.raises(StorageError, match=r"MLflow at sqlite.*cannot be opened.*folder can be written"):
        ExperimentTracker(config).client  # noqa: B018 - the property opens the store


FULL = """
import resource, signal, sys
from mlops.config import MLOpsConfig
from mlops.errors import StorageError
from mlops.mlflow_store import open_client
import mlflow, sqlalchemy  # their own caches are no part of this

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
try:
    open_client(MLOpsConfig.build({"home": sys.argv[1]}))
except StorageError as error:
    sys.exit(f"words: {error}")
"""


def test_a_disk_that_is_full_before_the_tables_are_made_is_told_in_words(tmp_path: Path) -> None:
    """The kernel lets the new database grow to 100 kB: MLflow's migrations fail, and what leaves is ours."""
    command = [sys.executable, "-c", FULL, str(tmp_path)]
    run = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
    assert "words: MLflow at sqlite" in run.stderr
    assert "mlflow.db cannot be opened: disk I/O error. Check that" in run.stderr.replace("\n", " ")


def test_a_store_that_fails_on_the_way_is_an_error_that_says_what_to_do(
    tracker: ExperimentTracker, experiment: str
) -> None:
    """MLflow's own exceptions (here: a metric without a name) leave as ours, and the run is FAILED."""
    with (
        pytest.raises(StorageError, match=r"MLflow refused.*run the step again"),
        tracker.run(KEY, experiment=experiment) as run,
    ):
        run.log_metrics({"": 1.0})
    assert tracker.client.get_run(run.run_id).info.status == "FAILED"


def test_metrics_carry_the_time_of_the_clock(config: MLOpsConfig, experiment: str) -> None:
    """The clock is passed in; a metric is stamped with it."""
    at = datetime(2026, 3, 1, 3, tzinfo=UTC)
    tracker = ExperimentTracker(config, clock=lambda: at)
    with tracker.run(KEY, experiment=experiment) as run:
        run.log_metrics({"rows": 3})
    (metric,) = tracker.client.get_metric_history(run.run_id, "rows")
    assert metric.timestamp == at.timestamp() * 1000

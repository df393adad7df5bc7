"""Registry: one version per inputs, legal moves only, and nothing is loaded that is not what was registered."""

from __future__ import annotations

import pickle
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mlops.config import MLOpsConfig
from mlops.errors import IntegrityError, PromotionError, RegistryError
from mlops.experiments.tracking import ExperimentTracker
from mlops.models import catalogue
from mlops.models.moves import LEGAL_MOVES
from mlops.models.registry import ModelRegistry
from mlops.models.scoring import Scorer
from mlops.records import ModelVersion, RunRecord, Stage
from mlops.spec import CandidateSpec

FEATURES = ("temperature", "pressure")
ROWS = pd.DataFrame(np.random.default_rng(0).normal(size=(200, 2)), columns=list(FEATURES)).assign(device_id="a")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> MLOpsConfig:
    """One store for the module, as MLflow needs seconds to make its tables; each test has its own model."""
    home = tmp_path_factory.mktemp("home")
    return MLOpsConfig.build({"home": home, "var": str(home / "var")})


@pytest.fixture(scope="module")
def tracker(config: MLOpsConfig) -> ExperimentTracker:
    """Runs on that store."""
    return ExperimentTracker(config)


@pytest.fixture(scope="module")
def registry(config: MLOpsConfig) -> ModelRegistry:
    """The registry of that store."""
    return ModelRegistry(config)


@pytest.fixture
def model(request: pytest.FixtureRequest) -> str:
    """A registered model of the test's own."""
    return re.sub(r"\W", "_", request.node.name)[:100]


@pytest.fixture
def run(tracker: ExperimentTracker, model: str) -> RunRecord:
    """A finished run with a logged scorer."""
    return trained(tracker, model, seed=0)


def trained(tracker: ExperimentTracker, model: str, seed: int) -> RunRecord:
    """Fit, log and record one candidate."""
    candidate = CandidateSpec(algorithm="hbos", params={"n_bins": 5 + seed})
    built = catalogue.build(candidate, task="anomaly", features=FEATURES, entity="device_id", seed=seed)
    scorer = built.fit(ROWS).with_threshold(2.0)
    with tracker.run(f"{model}/training/{seed}", experiment=model) as handle:
        uri, digest = handle.log_scorer(scorer, ROWS.head(3))
        return handle.record(
            candidate="hbos", algorithm="hbos", model_uri=uri, digest=digest, metrics={"cv_roc_auc": 0.5}
        )


def folder_of(registry: ModelRegistry, version: ModelVersion) -> Path:
    """Where the files of a version lie."""
    return Path(registry.client.get_logged_model(version.model_uri.removeprefix("models:/")).artifact_location)


def test_who_stood_still_while_another_registered_the_same_makes_no_second_version(
    config: MLOpsConfig, run: RunRecord, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process whose lease ran out before it writes finds the version of who took over, and withdraws its own."""
    slow, quick = ModelRegistry(config), ModelRegistry(config)
    create = slow.client.create_model_version
    found = []

    def late(*args: object, **options: object) -> object:
        found.append(quick.register(model, run=run, inputs_hash="same"))
        return create(*args, **options)

    monkeypatch.setattr(slow.client, "create_model_version", late)
    told = slow.register(model, run=run, inputs_hash="same")
    assert (told.version, told.reused) == (1, True)
    assert [version.version for version in quick.versions(model)] == [1]
    assert quick.verify(quick.get(model, 1)) == found[0].signed_by


def test_the_same_inputs_give_the_same_version(
    registry: ModelRegistry, tracker: ExperimentTracker, model: str, run: RunRecord
) -> None:
    """Registering twice makes one version, marked as reused the second time; other inputs make the next."""
    first = registry.register(model, run=run, inputs_hash="aa", training_set_uri="/sets/1", tags={"reason": "schedule"})
    again = registry.register(model, run=run, inputs_hash="aa")
    assert (first.version, first.stage, first.reused) == (1, "development", False)
    assert again == replace(first, reused=True)
    assert (first.metrics, first.training_set_uri, first.run_key) == ({"cv_roc_auc": 0.5}, "/sets/1", run.run_key)
    other = registry.register(model, run=trained(tracker, model, seed=1), inputs_hash="bb")
    assert [version.version for version in registry.versions(model)] == [1, 2]
    assert other.version == 2


def test_a_version_comes_back_by_number_and_alias(registry: ModelRegistry, model: str, run: RunRecord) -> None:
    """What was registered is what is read; an alias that nobody set is None, whether or not the model is there."""
    made = registry.register(model, run=run, inputs_hash="aa")
    registry.set_alias(model, "champion", made.version)
    assert registry.get(model, 1) == made == registry.by_alias(model, "champion")
    assert registry.by_alias(model, "challenger") is None
    assert registry.by_alias("nobody", "champion") is None
    assert registry.versions("nobody") == ()


def test_unknown_versions_and_odd_aliases_are_refused_in_words(
    registry: ModelRegistry, model: str, run: RunRecord
) -> None:
    """The message names the versions that there are; `Champion` would be another alias than `champion`."""
    registry.register(model, run=run, inputs_hash="aa")
    with pytest.raises(RegistryError, match=r"has no version 7\. Known: 1"):
        registry.get(model, 7)
    with pytest.raises(RegistryError, match="has no version 7"):
        registry.set_alias(model, "champion", 7)
    with pytest.raises(RegistryError, match=r"lower case.*Did you mean 'champion'"):
        registry.set_alias(model, "Champion", 1)


def test_an_alias_that_does_not_move_is_an_error(
    registry: ModelRegistry, model: str, run: RunRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that loses the write is noticed, because the alias is read back."""
    registry.register(model, run=run, inputs_hash="aa")
    monkeypatch.setattr(type(registry.index), "set_alias", lambda *_: None)
    with pytest.raises(RegistryError, match="reads back as None"):
        registry.set_alias(model, "champion", 1)


@pytest.mark.parametrize(
    "path",
    [
        ("staging", "production", "archived", "production"),
        ("archived", "production"),
        ("staging", "archived"),
    ],
)
def test_stages_move_by_legal_steps(
    registry: ModelRegistry, model: str, run: RunRecord, path: tuple[Stage, ...]
) -> None:
    """Forwards, out, and back from the archive for a rollback; setting a stage twice changes nothing."""
    registry.register(model, run=run, inputs_hash="aa")
    for stage in path:
        assert registry.set_stage(model, 1, stage).stage == stage
        assert registry.set_stage(model, 1, stage).stage == stage
    assert registry.get(model, 1).stage == path[-1]


def test_a_leap_is_refused_and_the_legal_moves_are_named(registry: ModelRegistry, model: str, run: RunRecord) -> None:
    """From development straight into production goes nobody; the version stays where it was."""
    registry.register(model, run=run, inputs_hash="aa")
    with pytest.raises(PromotionError, match=r"in development and cannot move to production.*staging or archived"):
        registry.set_stage(model, 1, "production")
    assert registry.get(model, 1).stage == "development"
    assert "staging" not in LEGAL_MOVES["production"]


def test_the_size_of_a_version_is_that_of_all_files_that_are_signed(
    registry: ModelRegistry, model: str, run: RunRecord
) -> None:
    """Counted in the folder itself; a pickle of the same scorer has another size."""
    version = registry.register(model, run=run, inputs_hash="h")
    loaded = registry.load_whole(version)
    scorer, size = loaded.scorer, loaded.stored_bytes
    files = [path for path in folder_of(registry, version).rglob("*") if path.is_file()]
    assert {"MLmodel", "model.skops"} <= {path.name for path in files}
    assert size == sum(path.stat().st_size for path in files)
    assert size != len(pickle.dumps(scorer, protocol=5))


def test_a_loaded_scorer_gives_the_answers_it_gave_before(registry: ModelRegistry, model: str, run: RunRecord) -> None:
    """Threshold and scores survive; so does the version after a plain MLflow client has loaded it."""
    import mlflow

    version = registry.register(model, run=run, inputs_hash="aa")
    loaded = registry.load(version)
    built = catalogue.build(
        CandidateSpec(algorithm="hbos", params={"n_bins": 5}),
        task="anomaly",
        features=FEATURES,
        entity="device_id",
        seed=0,
    )
    pd.testing.assert_frame_equal(loaded.predict(ROWS), built.fit(ROWS).with_threshold(2.0).predict(ROWS))
    (folder_of(registry, version) / "registered_model_meta").write_text("MLflow writes this on load_model")
    assert mlflow.pyfunc.load_model(str(folder_of(registry, version))).predict(ROWS)["score"].notna().all()
    assert isinstance(registry.load(version), Scorer)


class Trap:
    """Unpickling this would leave a trace."""

    def __init__(self, trace: Path) -> None:
        """`trace` is the file that unpickling would make."""
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return (Path.touch, (self.trace,))


def test_a_changed_file_is_found_before_anything_is_unpickled(
    registry: ModelRegistry, model: str, run: RunRecord, tmp_path: Path
) -> None:
    """Somebody swaps the pickle: the file is named, and the code in it does not run."""
    version = registry.register(model, run=run, inputs_hash="aa")
    trace = tmp_path / "trace"
    (folder_of(registry, version) / "model.skops").write_bytes(pickle.dumps(Trap(trace)))
    with pytest.raises(IntegrityError, match=r"changed: model\.skops.*not loaded.*roll back"):
        registry.load(version)
    assert not trace.exists()


@pytest.mark.parametrize(("act", "words"), [("add", r"added: extra\.py"), ("remove", r"missing: conda\.yaml")])
def test_an_added_or_missing_file_is_named(
    registry: ModelRegistry, model: str, run: RunRecord, act: str, words: str
) -> None:
    """Not only the pickle counts."""
    version = registry.register(model, run=run, inputs_hash="aa")
    folder = folder_of(registry, version)
    if act == "add":
        (folder / "extra.py").write_text("")
    else:
        (folder / "conda.yaml").unlink()
    with pytest.raises(IntegrityError, match=words):
        registry.load(version)


def test_a_record_with_another_digest_is_refused(registry: ModelRegistry, model: str, run: RunRecord) -> None:
    """The record that was judged and the registry must agree on what the version is."""
    version = registry.register(model, run=run, inputs_hash="aa")
    with pytest.raises(IntegrityError, match=r"record says digest 0{12}"):
        registry.load(replace(version, digest="0" * 64))


def test_files_that_are_gone_are_an_error_that_says_so(registry: ModelRegistry, model: str, run: RunRecord) -> None:
    """The artifact folder was emptied: nothing is loaded, all is missing."""
    version = registry.register(model, run=run, inputs_hash="aa")
    for file in folder_of(registry, version).iterdir():
        file.unlink()
    with pytest.raises(RegistryError, match=r"missing: .*model\.skops|cannot be read"):
        registry.load(version)


def test_a_model_that_changed_since_its_run_is_not_registered(
    registry: ModelRegistry, model: str, run: RunRecord
) -> None:
    """Between logging and registering the files were touched: no version is made."""
    folder = Path(registry.client.get_logged_model(run.model_uri.removeprefix("models:/")).artifact_location)
    (folder / "model.skops").write_bytes(b"other")
    with pytest.raises(IntegrityError, match="has changed since it was logged"):
        registry.register(model, run=run, inputs_hash="aa")
    assert registry.versions(model) == ()


def test_a_run_without_a_model_cannot_be_registered(registry: ModelRegistry, model: str, run: RunRecord) -> None:
    """A failed candidate has nothing to register."""
    with pytest.raises(RegistryError, match="has no model to register"):
        registry.register(model, run=replace(run, model_uri="", digest=""), inputs_hash="aa")


def test_a_version_registered_by_hand_does_not_disturb(registry: ModelRegistry, model: str, run: RunRecord) -> None:
    """Somebody adds a version in the UI: ours are listed as before, and asking for theirs says what is missing."""
    registry.register(model, run=run, inputs_hash="aa")
    registry.client.create_model_version(model, source="/somewhere", run_id=run.run_id)
    assert [version.version for version in registry.versions(model)] == [1]
    with pytest.raises(RegistryError, match=r"has no tag mlops\.digest"):
        registry.get(model, 2)


def test_nothing_is_written_into_the_current_folder(
    registry: ModelRegistry, model: str, run: RunRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow resolves `models:/…` sources in a database of the current folder; we never give it one."""
    monkeypatch.chdir(tmp_path)
    registry.load(registry.register(model, run=run, inputs_hash="aa"))
    assert list(tmp_path.iterdir()) == []

"""Serialisation: what comes back answers as before to the last bit; nothing is built that the reader does not trust."""

from __future__ import annotations

import contextlib
import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import skops.io

from mlops.errors import RegistryError, TrainingError, UntrustedTypeError
from mlops.experiments.model_files import save
from mlops.models import catalogue, serialization
from mlops.models.scoring import Scorer
from mlops.models.trusted_types import TRUSTED_TYPES
from mlops.spec import CandidateSpec, Task

FEATURES = ("temperature", "pressure", "speed")
COUNT = 160
_rng = np.random.default_rng(0)
ROWS = pd.DataFrame(_rng.normal(size=(COUNT, 3)), columns=list(FEATURES)).assign(
    device_id=np.repeat(["a", "b"], COUNT // 2), line=np.repeat([7, 8], COUNT // 2)
)
LABELS: dict[Task, Any] = {
    "anomaly": None,
    "classification": (ROWS["temperature"] + _rng.normal(size=COUNT) > 0).astype(int).to_numpy(),
    "regression": ROWS["temperature"].to_numpy(),
}
CATALOGUE = [(task, name, {}) for task in catalogue.ALGORITHMS for name in catalogue.names(task)]
# PyOD's other detectors that judge a row alone, and params that make other types inside of the estimators
OTHERS: list[tuple[Task, str, dict[str, Any]]] = [
    *(("anomaly", name, {}) for name in ("abod", "cblof", "gmm", "inne", "kde", "kpca", "loda", "mcd", "qmcd")),
    ("anomaly", "sampling", {}),
    ("anomaly", "knn", {"algorithm": "ball_tree", "metric": "manhattan"}),
    ("anomaly", "lof", {"metric": "chebyshev"}),
    ("anomaly", "sklearn.ensemble.IsolationForest", {}),
    ("anomaly", "sklearn.neighbors.LocalOutlierFactor", {"novelty": True}),
    ("classification", "mlp", {"solver": "sgd"}),
    ("classification", "sklearn.calibration.CalibratedClassifierCV", {}),
    ("classification", "sklearn.gaussian_process.GaussianProcessClassifier", {}),
    ("regression", "sklearn.linear_model.TweedieRegressor", {}),
]


def fitted(
    task: Task, algorithm: str, params: dict[str, Any], *, per_entity: bool = False, entity: str = "device_id"
) -> Scorer:
    """A scorer fitted on the rows; PyOD prints while it works."""
    candidate = CandidateSpec(algorithm=algorithm, params=params, per_entity=per_entity)
    built = catalogue.build(candidate, task=task, features=FEATURES, entity=entity, seed=0)
    with contextlib.redirect_stdout(io.StringIO()):
        scorer = built.fit(ROWS, LABELS[task])
    return scorer if task == "regression" else scorer.with_threshold(0.4)


def kept(scorer: Any, folder: Path) -> Path:
    """A folder that holds it as skops writes it."""
    written = serialization.dumps(scorer) if isinstance(scorer, Scorer) else skops.io.dumps(scorer)
    (folder / serialization.SKOPS_FILE).write_bytes(written)
    return folder


def same(first: Scorer, second: Scorer) -> None:
    """Both give the same answers to the last bit, and are the same otherwise."""
    with contextlib.redirect_stdout(io.StringIO()):
        pd.testing.assert_frame_equal(first.predict(ROWS), second.predict(ROWS), check_exact=True)
        assert first.score(ROWS).tobytes() == second.score(ROWS).tobytes()
    assert list(first.units) == list(second.units)
    fields = [name for name in vars(first) if name != "units"]
    assert {name: getattr(second, name) for name in fields} == {name: getattr(first, name) for name in fields}


@pytest.mark.parametrize(("task", "algorithm", "params"), CATALOGUE, ids=str)
def test_the_whole_catalogue_comes_back_as_it_was(
    task: Task, algorithm: str, params: dict[str, Any], tmp_path: Path
) -> None:
    """Every algorithm of the catalogue is kept by skops with the packaged types alone, and scores as before."""
    scorer = fitted(task, algorithm, params)
    same(scorer, serialization.load(kept(scorer, tmp_path), name="v", allow_pickle=False))


@pytest.mark.parametrize(("task", "algorithm", "params"), OTHERS, ids=str)
def test_other_detectors_and_estimators_come_back_as_they_were(
    task: Task, algorithm: str, params: dict[str, Any], tmp_path: Path
) -> None:
    """So are PyOD's other detectors and what scikit-learn puts inside of its estimators."""
    scorer = fitted(task, algorithm, params)
    same(scorer, serialization.load(kept(scorer, tmp_path), name="v", allow_pickle=False))


@pytest.mark.parametrize("entity", ["device_id", "line"])
@pytest.mark.parametrize(
    ("task", "algorithm"),
    [("anomaly", "isolation_forest"), ("anomaly", "knn"), ("classification", "random_forest"), ("regression", "ridge")],
)
def test_one_model_per_entity_comes_back_whole(task: Task, algorithm: str, entity: str, tmp_path: Path) -> None:
    """Entities named by text and by numbers keep their type, so that their rows find their model again."""
    scorer = fitted(task, algorithm, {}, per_entity=True, entity=entity)
    loaded = serialization.load(kept(scorer, tmp_path), name="v", allow_pickle=False)
    same(scorer, loaded)
    assert [type(name) for name in loaded.units] == [type(name) for name in scorer.units]
    assert len(loaded.units) == 2


@pytest.mark.parametrize("algorithm", ["isolation_forest", "ecod"])
def test_a_pickle_comes_back_as_it_was_too(algorithm: str, tmp_path: Path) -> None:
    """What skops cannot hold goes this way; an unfitted scorer keeps its class, from which it can be fitted."""
    scorer = fitted("anomaly", algorithm, {})
    (tmp_path / serialization.PICKLE_FILE).write_bytes(pickle.dumps(scorer))
    same(scorer, serialization.load(tmp_path, name="v"))
    unfitted = catalogue.build(
        CandidateSpec(algorithm=algorithm), task="anomaly", features=FEATURES, entity="device_id", seed=0
    )
    assert pickle.loads(pickle.dumps(unfitted)) == unfitted
    same(scorer, pickle.loads(pickle.dumps(unfitted)).fit(ROWS).with_threshold(0.4))


def test_a_loaded_scorer_can_be_fitted_again(tmp_path: Path) -> None:
    """The estimator's class is had from the estimator, so that it need not be trusted by itself."""
    scorer = fitted("classification", "random_forest", {"n_estimators": 5})
    loaded = serialization.load(kept(scorer, tmp_path), name="v")
    assert loaded.make is scorer.make
    same(scorer, loaded.fit(ROWS, LABELS["classification"]).with_threshold(0.4))


def test_the_file_is_one_that_skops_itself_writes_and_reads(tmp_path: Path) -> None:
    """Only the blanks are missing: skops loads it, and what skops writes is loaded here."""
    scorer = fitted("anomaly", "knn", {})
    data, theirs = serialization.dumps(scorer), skops.io.dumps(scorer)
    assert len(data) < 0.8 * len(theirs)
    same(scorer, skops.io.loads(data, trusted=list(TRUSTED_TYPES)))
    (tmp_path / serialization.SKOPS_FILE).write_bytes(theirs)
    same(scorer, serialization.load(tmp_path, name="v"))


class Trap:
    """Building this from a file leaves a trace."""

    def __init__(self, trace: str) -> None:
        """`trace` is the file that building it makes."""
        self.trace = trace

    def __setstate__(self, state: dict[str, str]) -> None:
        Path(state["trace"]).touch()

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Something to predict with, as MLflow asks for."""
        return frame


class Odd:
    """A detector that nobody knows."""

    def __init__(self, random_state: int = 0) -> None:
        """A seed, as the catalogue gives one to everything that takes it."""
        self.random_state = random_state

    def fit(self, X: np.ndarray) -> Odd:
        """Keep a sum."""
        self.total_ = X.sum()
        return self

    def score_samples(self, X: np.ndarray) -> np.ndarray:
        """The first column, more or less."""
        return X[:, 0] + self.total_


def odd() -> Scorer:
    """A scorer with that detector."""
    built = catalogue.build(
        CandidateSpec(algorithm="sklearn.ensemble.IsolationForest"),
        task="anomaly",
        features=FEATURES,
        entity="device_id",
        seed=0,
    )
    import dataclasses

    return dataclasses.replace(built, make=Odd, params={}, algorithm="odd").fit(ROWS).with_threshold(1.0)


ODD, TRAP = f"{Odd.__module__}.Odd", f"{Trap.__module__}.Trap"


def test_types_that_are_not_trusted_are_named_and_not_built(tmp_path: Path) -> None:
    """The message names them and the setting; with the setting they are built."""
    folder = kept(Trap(str(tmp_path / "trace")), tmp_path)
    with pytest.raises(UntrustedTypeError, match=rf"pumps version 3 holds types .*{TRAP}.*MLOPS_TRUSTED_TYPES"):
        serialization.load(folder, name="pumps version 3")
    assert not (tmp_path / "trace").exists()
    serialization.load(folder, name="pumps version 3", trusted_types=[TRAP])
    assert (tmp_path / "trace").exists()


def test_a_model_cannot_whitelist_itself(tmp_path: Path) -> None:
    """MLflow believes the list that comes with a model (GHSA-w582-9x45-8mpx); we do not read it."""
    import mlflow.sklearn

    folder = tmp_path / "model"
    mlflow.sklearn.save_model(
        Trap(str(tmp_path / "trace")),
        folder,
        serialization_format="skops",
        skops_trusted_types=[TRAP],
        pip_requirements=[],
    )
    (tmp_path / "trace").unlink()
    assert TRAP in (folder / "MLmodel").read_text()
    with pytest.raises(UntrustedTypeError, match=TRAP):
        serialization.load(folder, name="v")
    assert not (tmp_path / "trace").exists()
    mlflow.sklearn.load_model(str(folder))
    assert (tmp_path / "trace").exists()  # so the trap is a trap


def test_a_pickle_is_not_touched_where_settings_forbid_it(tmp_path: Path) -> None:
    """Not even one that is signed."""

    class Touch:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "trace",))

    (tmp_path / serialization.PICKLE_FILE).write_bytes(pickle.dumps(Touch()))
    with pytest.raises(UntrustedTypeError, match=r"pickle, which runs code.*MLOPS_ALLOW_PICKLE"):
        serialization.load(tmp_path, name="v", allow_pickle=False)
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize("names", [(), (serialization.SKOPS_FILE, serialization.PICKLE_FILE)])
def test_a_folder_with_no_model_or_with_two_is_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    """Which of two would be the model?"""
    for name in names:
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(RegistryError, match=r"expected model\.skops or model\.pkl"):
        serialization.load(tmp_path, name="v")


@pytest.mark.parametrize("name", [serialization.SKOPS_FILE, serialization.PICKLE_FILE])
def test_what_cannot_be_read_says_that_other_code_made_it(tmp_path: Path, name: str) -> None:
    """Packages have changed since, or it never was a model."""
    (tmp_path / name).write_bytes(b"no model")
    with pytest.raises(RegistryError, match=r"cannot be read by this code.*retrain"):
        serialization.load(tmp_path, name="v")


def folder_of(scorer: Scorer, path: Path, **options: Any) -> list[str]:
    """What saving a scorer makes."""
    save(scorer, ROWS.head(3), ["scikit-learn"], path, model_id="m-1", run_id="r", **options)
    return sorted(file.name for file in path.iterdir())


def test_what_is_not_trusted_here_is_kept_as_a_pickle_if_settings_allow(tmp_path: Path) -> None:
    """Own detectors work out of the box, in the form that only a signature makes loadable."""
    scorer = odd()
    assert "model.pkl" in folder_of(scorer, tmp_path / "free")
    same(scorer, serialization.load(tmp_path / "free", name="v"))


def test_where_pickles_are_forbidden_training_says_which_types_to_trust(tmp_path: Path) -> None:
    """The refusal comes when the candidate is logged, not when somebody wants to load it; the setting mends it."""
    with pytest.raises(TrainingError, match=rf"odd holds types that are not trusted here: {ODD}.*MLOPS_TRUSTED_TYPES"):
        folder_of(odd(), tmp_path / "refused", allow_pickle=False)
    assert "model.skops" in folder_of(odd(), tmp_path / "trusted", allow_pickle=False, trusted_types=[ODD])
    same(odd(), serialization.load(tmp_path / "trusted", name="v", allow_pickle=False, trusted_types=[ODD]))


def test_what_skops_cannot_hold_says_so(tmp_path: Path) -> None:
    """A function is not a type that could be trusted."""
    import dataclasses

    scorer = odd()
    (unit,) = scorer.units.values()
    unit.estimator.random_state = lambda: 0
    broken = dataclasses.replace(scorer)
    with pytest.raises(TrainingError, match=r"odd.*MLOPS_ALLOW_PICKLE"):
        folder_of(broken, tmp_path / "refused", allow_pickle=False)
    assert "model.pkl" in folder_of(broken, tmp_path / "free")


@pytest.mark.parametrize("algorithm", ["isolation_forest", "hbos", "knn", "pca"])
def test_plain_mlflow_clients_load_the_folder(tmp_path: Path, algorithm: str) -> None:
    """`mlflow.sklearn` gives the scorer, `mlflow.pyfunc` its predictions."""
    import mlflow

    scorer = fitted("anomaly", algorithm, {})
    assert "model.skops" in folder_of(scorer, tmp_path / "model")
    assert ("pyod.models.knn.KNN" in (tmp_path / "model" / "MLmodel").read_text()) == (algorithm == "knn")
    same(scorer, mlflow.sklearn.load_model(str(tmp_path / "model")))
    answers = mlflow.pyfunc.load_model(str(tmp_path / "model")).predict(ROWS[["device_id", *FEATURES]])
    pd.testing.assert_frame_equal(answers, scorer.predict(ROWS), check_exact=True)


def test_the_packaged_list_names_types_that_exist() -> None:
    """A type that moved to another module would be refused in production, not here."""
    import importlib

    for path in TRUSTED_TYPES:
        module, _, name = path.rpartition(".")
        assert isinstance(getattr(importlib.import_module(module), name), type), path
    assert len(set(TRUSTED_TYPES)) == len(TRUSTED_TYPES)

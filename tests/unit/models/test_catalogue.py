"""Catalogue: a name gives the algorithm that was meant, or an error that says which was."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pandas as pd
import pytest

from mlops.errors import MissingDependencyError, TrainingError, UnknownAlgorithmError
from mlops.models import catalogue
from mlops.models.detectors import FrozenCOPOD, FrozenECOD
from mlops.models.scoring import Scorer
from mlops.spec import CandidateSpec, Task

FEATURES = ("temperature", "pressure")
ROWS = pd.DataFrame(np.random.default_rng(0).normal(size=(120, 2)), columns=list(FEATURES)).assign(device_id="a")


def build(algorithm: str, task: Task = "anomaly", seed: int = 0, **params: object) -> Scorer:
    """An unfitted scorer."""
    candidate = CandidateSpec(algorithm=algorithm, params=params)
    return catalogue.build(candidate, task=task, features=FEATURES, entity="device_id", seed=seed)


def test_the_names_that_the_readme_promises_are_there() -> None:
    """Eight detectors, a dozen classifiers, a dozen regressors."""
    wanted = {"isolation_forest", "lof", "one_class_svm", "knn", "ecod", "hbos", "copod", "pca"}
    assert set(catalogue.names("anomaly")) == wanted
    assert {"logistic_regression", "random_forest", "hist_gradient_boosting"} <= set(catalogue.names("classification"))
    assert {"ridge", "random_forest", "hist_gradient_boosting"} <= set(catalogue.names("regression"))
    assert len(catalogue.names("classification")) >= 12 <= len(catalogue.names("regression"))


@pytest.mark.parametrize(
    ("task", "name"),
    [(task, name) for task in get_args(Task) if task != "anomaly" for name in catalogue.names(task)],
)
def test_every_estimator_of_the_catalogue_fits_and_answers(task: Task, name: str) -> None:
    """Each short name stands for a class that is there, of the right kind, and gives finite scores."""
    y = (ROWS["temperature"] > 0).to_numpy(float)
    scorer = build(name, task).fit(ROWS, y)
    assert np.isfinite(scorer.score(ROWS)).all()


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("loda", "LODA"),
        ("GMM", "GMM"),
        ("pyod.models.knn.KNN", "KNN"),
        ("sklearn.ensemble.IsolationForest", "IsolationForest"),
    ],
)
def test_any_other_detector_goes_by_its_name_or_path(given: str, found: str) -> None:
    """PyOD's own names, in any case, and dotted paths."""
    assert catalogue.resolve(given, "anomaly").__name__ == found


@pytest.mark.parametrize("given", ["ecod", "ECOD", "pyod.models.ecod.ECOD"])
def test_ecod_is_always_the_frozen_one(given: str) -> None:
    """However it is named, nobody gets the form whose scores depend on the batch."""
    assert catalogue.resolve(given, "anomaly") is FrozenECOD
    assert catalogue.resolve(given.replace("ecod", "copod").replace("ECOD", "COPOD"), "anomaly") is FrozenCOPOD


@pytest.mark.parametrize(
    ("given", "task", "words"),
    [
        ("isolation_forrest", "anomaly", "no detector 'isolation_forrest'.*Did you mean 'isolation_forest'"),
        ("logistic_regresion", "classification", "no classifier.*Did you mean 'logistic_regression'"),
        ("pyod.models.knn.KNNN", "anomaly", "pyod.models.knn has no class 'KNNN'.*Did you mean 'KNN'"),
        ("pyod.models.nope.KNN", "anomaly", "no module 'pyod.models.nope'"),
        ("nowhere.Thing", "regression", "no module 'nowhere'"),
        ("sklearn.linear_model.ridge_regression", "regression", "has no class 'ridge_regression'"),
    ],
)
def test_an_unknown_name_says_which_was_meant(given: str, task: Task, words: str) -> None:
    """Short names and dotted paths alike."""
    with pytest.raises(UnknownAlgorithmError, match=words):
        build(given, task)


@pytest.mark.parametrize(
    ("given", "task", "words"),
    [
        ("logistic_regression", "regression", "is a classifier, the task regression needs a regressor"),
        ("sklearn.linear_model.LogisticRegression", "regression", "is a classifier, .*needs a regressor"),
        ("knn", "classification", "is a detector, the task classification needs a classifier"),
        ("ridge", "anomaly", "is a regressor, the task anomaly needs a detector"),
        ("sklearn.preprocessing.StandardScaler", "anomaly", "is no estimator of scikit-learn or PyOD"),
        ("sklearn.linear_model.RidgeClassifier", "classification", "gives no probabilities"),
        ("sklearn.neighbors.LocalOutlierFactor", "anomaly", "cannot score rows.*novelty"),
    ],
)
def test_an_algorithm_of_another_kind_is_refused(given: str, task: Task, words: str) -> None:
    """The message says what it is, what is needed and what is known."""
    with pytest.raises(TrainingError, match=words):
        build(given, task)


def test_a_wrong_parameter_is_named_with_the_known_ones() -> None:
    """`n_estimator` is no parameter of the isolation forest; the message lists those that are."""
    with pytest.raises(
        TrainingError,
        match=r"isolation_forest has no parameter 'n_estimator'.*max_samples.*Did you mean 'n_estimators'",
    ):
        build("isolation_forest", n_estimator=10)
    with pytest.raises(TrainingError, match=r"ecod has no parameter 'bins'; it takes contamination, n_jobs"):
        build("ecod", bins=10)


def test_a_refused_value_is_told_with_the_params() -> None:
    """Values that can be checked when the detector is made are refused before any row is read."""
    with pytest.raises(TrainingError, match=r"hbos refuses its params .*n_bins is 1, expected a whole number from 2"):
        build("hbos", n_bins=1)
    with pytest.raises(TrainingError, match=r"knn refuses its params \{'contamination': 2\}"):
        build("knn", contamination=2)


def test_an_algorithm_whose_package_is_absent_names_it() -> None:
    """PyOD's deep detectors need torch, which is not installed."""
    with pytest.raises(MissingDependencyError, match=r"auto_encoder needs a package.*torch"):
        build("auto_encoder")


def test_no_feature_is_nothing_to_learn_from() -> None:
    """An empty feature service is refused."""
    with pytest.raises(TrainingError, match="was given no feature"):
        catalogue.build(CandidateSpec(algorithm="knn"), task="anomaly", features=(), entity="device_id", seed=0)


def test_the_seed_goes_into_what_is_random_unless_the_spec_says_otherwise() -> None:
    """`random_state` of the params wins; an algorithm without one is left alone."""
    assert build("isolation_forest", seed=7).params["random_state"] == 7
    assert build("isolation_forest", seed=7, random_state=1).params["random_state"] == 1
    assert "random_state" not in build("knn", seed=7).params
    first, second = (build("isolation_forest", seed=seed).fit(ROWS).score(ROWS) for seed in (1, 2))
    assert (first != second).any()


def test_a_scorer_needs_only_the_packages_of_its_algorithm() -> None:
    """PyOD is required of those who load a PyOD detector, not of others."""
    assert "pyod" in build("knn").packages
    assert "pyod" not in build("ecod").packages
    assert "pyod" not in build("ridge", "regression").packages

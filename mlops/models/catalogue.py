"""Algorithms by name: what a spec's `candidates` may say.

Short names stand for PyOD's detectors and scikit-learn's estimators with the defaults of their libraries. Any other
PyOD detector goes by its own name (`loda`, `GMM`) or dotted path, any scikit-learn classifier or regressor by its path.

One rule: a candidate is refused before it is fitted, with the name that was probably meant.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Sequence
from typing import Any

from mlops.errors import MissingDependencyError, TrainingError, UnknownAlgorithmError, did_you_mean
from mlops.models.detectors import FrozenCOPOD, FrozenECOD, FrozenHBOS, FrozenPCA
from mlops.models.scoring import How, Scorer
from mlops.spec import CandidateSpec, Task

_DETECTORS = {
    "copod": "mlops.models.detectors.FrozenCOPOD",
    "ecod": "mlops.models.detectors.FrozenECOD",
    "hbos": "mlops.models.detectors.FrozenHBOS",
    "isolation_forest": "pyod.models.iforest.IForest",
    "knn": "pyod.models.knn.KNN",
    "lof": "pyod.models.lof.LOF",
    "one_class_svm": "pyod.models.ocsvm.OCSVM",
    "pca": "mlops.models.detectors.FrozenPCA",
}
_CLASSIFIERS = {
    "ada_boost": "sklearn.ensemble.AdaBoostClassifier",
    "decision_tree": "sklearn.tree.DecisionTreeClassifier",
    "dummy": "sklearn.dummy.DummyClassifier",
    "extra_trees": "sklearn.ensemble.ExtraTreesClassifier",
    "gaussian_naive_bayes": "sklearn.naive_bayes.GaussianNB",
    "gradient_boosting": "sklearn.ensemble.GradientBoostingClassifier",
    "hist_gradient_boosting": "sklearn.ensemble.HistGradientBoostingClassifier",
    "k_neighbors": "sklearn.neighbors.KNeighborsClassifier",
    "linear_discriminant": "sklearn.discriminant_analysis.LinearDiscriminantAnalysis",
    "logistic_regression": "sklearn.linear_model.LogisticRegression",
    "mlp": "sklearn.neural_network.MLPClassifier",
    "quadratic_discriminant": "sklearn.discriminant_analysis.QuadraticDiscriminantAnalysis",
    "random_forest": "sklearn.ensemble.RandomForestClassifier",
}
_REGRESSORS = {
    "bayesian_ridge": "sklearn.linear_model.BayesianRidge",
    "decision_tree": "sklearn.tree.DecisionTreeRegressor",
    "dummy": "sklearn.dummy.DummyRegressor",
    "elastic_net": "sklearn.linear_model.ElasticNet",
    "extra_trees": "sklearn.ensemble.ExtraTreesRegressor",
    "gradient_boosting": "sklearn.ensemble.GradientBoostingRegressor",
    "hist_gradient_boosting": "sklearn.ensemble.HistGradientBoostingRegressor",
    "huber": "sklearn.linear_model.HuberRegressor",
    "k_neighbors": "sklearn.neighbors.KNeighborsRegressor",
    "lasso": "sklearn.linear_model.Lasso",
    "linear_regression": "sklearn.linear_model.LinearRegression",
    "mlp": "sklearn.neural_network.MLPRegressor",
    "random_forest": "sklearn.ensemble.RandomForestRegressor",
    "ridge": "sklearn.linear_model.Ridge",
    "svr": "sklearn.svm.SVR",
}
ALGORITHMS: dict[Task, dict[str, str]] = {
    "anomaly": _DETECTORS,
    "classification": _CLASSIFIERS,
    "regression": _REGRESSORS,
}
_NOUNS = {"anomaly": "a detector", "classification": "a classifier", "regression": "a regressor"}
# PyOD's own ECOD and COPOD score a row differently in every batch, its HBOS compiles for seconds in every process, its
# PCA scores every row infinite if one column is constant; whoever names them gets the frozen form.
_FROZEN: dict[str, type[Any]] = {"ECOD": FrozenECOD, "COPOD": FrozenCOPOD, "HBOS": FrozenHBOS, "PCA": FrozenPCA}
_PACKAGES = ("mlflow", "scikit-learn", "numpy", "pandas", "scipy", "skops", "cloudpickle")


def names(task: Task) -> tuple[str, ...]:
    """Short names for a task, sorted."""
    return tuple(sorted(ALGORITHMS[task]))


def build(candidate: CandidateSpec, *, task: Task, features: Sequence[str], entity: str, seed: int) -> Scorer:
    """An unfitted scorer for a candidate.

    Args:
        candidate: algorithm and params; a param `random_state` takes precedence over `seed`.
        task: what is predicted.
        features: feature columns.
        entity: entity column.
        seed: seed of everything random in the algorithm.

    Raises:
        UnknownAlgorithmError: no algorithm of that name.
        TrainingError: the algorithm does another task, has no such parameter or refuses a value.
        MissingDependencyError: the algorithm needs a package that is not installed.
    """
    if not features:
        raise TrainingError(
            f"{candidate.algorithm} was given no feature.", hint="Name features in the feature service."
        )
    make = resolve(candidate.algorithm, task)
    known = _parameters(make)
    params = dict(candidate.params)
    for name in params:
        if known is not None and name not in known:
            raise TrainingError(
                f"{candidate.algorithm} has no parameter {name!r}; it takes {', '.join(sorted(known))}.",
                hint=did_you_mean(name, known) if did_you_mean(name, known).startswith("Did") else "",
            )
    if known is not None and "random_state" in known:
        params.setdefault("random_state", seed)
    how = _how(make, params, candidate.algorithm, task)
    pyod = make.__module__.startswith("pyod.")
    return Scorer(
        algorithm=candidate.algorithm,
        task=task,
        features=tuple(features),
        entity=entity,
        make=make,
        params=params,
        how=how,
        scale=candidate.scale,
        per_entity=candidate.per_entity,
        packages=_PACKAGES + (("pyod", "numba") if pyod else ()),
        proven=candidate.algorithm in ALGORITHMS[task],
        threshold=0.5 if task == "classification" else None,
    )


def resolve(algorithm: str, task: Task) -> type[Any]:
    """The class that an algorithm's name stands for.

    Raises:
        UnknownAlgorithmError: no algorithm of that name.
        TrainingError: it does another task.
        MissingDependencyError: it needs a package that is not installed.
    """
    path = ALGORITHMS[task].get(algorithm, algorithm)
    found = _imported(path, algorithm) if "." in path else _by_name(algorithm, task)
    if found.__module__.startswith("pyod."):
        found = _FROZEN.get(found.__name__, found)
    _refuse_other_kind(found, algorithm, task)
    return found


def _by_name(algorithm: str, task: Task) -> type[Any]:
    """A PyOD detector that is not in the catalogue; anything else is refused in the words that help most."""
    others: list[Task] = [other for other in ALGORITHMS if algorithm in ALGORITHMS[other]]
    if others:
        raise TrainingError(
            f"{algorithm!r} is {_NOUNS[others[0]]}, the task {task} needs {_NOUNS[task]}.",
            hint=f"Known: {', '.join(names(task))}.",
        )
    if task == "anomaly" and (found := _pyod_detector(algorithm)):
        return found
    known = {*ALGORITHMS[task], *(_pyod_modules() if task == "anomaly" else ())}
    raise UnknownAlgorithmError(
        f"There is no {_NOUNS[task].split()[1]} {algorithm!r}.",
        hint=f"{did_you_mean(algorithm, known)} The dotted path of a class goes too.",
    )


def _imported(path: str, algorithm: str) -> type[Any]:
    module_name, _, name = path.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise UnknownAlgorithmError(
                f"{algorithm!r} cannot be imported: there is no module {error.name!r}.",
                hint="Write the path as package.module.Class.",
            ) from error
        raise _missing(algorithm, error) from error
    except ImportError as error:
        raise _missing(algorithm, error) from error
    found = getattr(module, name, None)
    if not isinstance(found, type):
        classes = [key for key, value in vars(module).items() if isinstance(value, type) and not key.startswith("_")]
        raise UnknownAlgorithmError(f"{module_name} has no class {name!r}.", hint=did_you_mean(name, classes))
    return found


def _missing(algorithm: str, error: ImportError) -> MissingDependencyError:
    return MissingDependencyError(
        f"{algorithm} needs a package that is not installed: {error}.",
        hint=f"Install {error.name.split('.')[0]}." if error.name else "Install what it names.",
    )


def _pyod_modules() -> tuple[str, ...]:
    import pyod.models

    return tuple(item.name for item in pkgutil.iter_modules(pyod.models.__path__) if not item.name.startswith("_"))


def _pyod_detector(name: str) -> type[Any] | None:
    """PyOD's detector of a name such as `loda`, `LODA` or `feature_bagging`; None if there is none."""
    plain = name.lower().replace("_", "")
    for module_name in _pyod_modules():
        if module_name.replace("_", "") == plain:
            path = f"pyod.models.{module_name}"
            try:
                module = importlib.import_module(path)
            except ImportError as error:
                raise _missing(name, error) from error
            for key, value in vars(module).items():
                if key.lower() == plain and isinstance(value, type) and value.__module__ == path:
                    return value
    return None


def _refuse_other_kind(found: type[Any], algorithm: str, task: Task) -> None:
    kinds = _kinds(found)
    if task not in kinds:
        is_a = f"is {_NOUNS[kinds[0]]}" if kinds else "is no estimator of scikit-learn or PyOD"
        raise TrainingError(
            f"{algorithm!r} {is_a}, the task {task} needs {_NOUNS[task]}.", hint=f"Known: {', '.join(names(task))}."
        )


def _kinds(found: type[Any]) -> list[Task]:
    from sklearn.base import ClassifierMixin, OutlierMixin, RegressorMixin

    kinds: list[Task] = []
    if found in _FROZEN.values() or issubclass(found, OutlierMixin) or _is_pyod(found):
        kinds.append("anomaly")
    if issubclass(found, ClassifierMixin):
        kinds.append("classification")
    if issubclass(found, RegressorMixin):
        kinds.append("regression")
    return kinds


def _is_pyod(found: type[Any]) -> bool:
    if not any(parent.__module__.startswith("pyod.") for parent in found.__mro__):
        return False
    from pyod.models.base import BaseDetector

    return issubclass(found, BaseDetector)


def _parameters(make: type[Any]) -> set[str] | None:
    """Names of its arguments; None if it takes any."""
    parameters = inspect.signature(make).parameters.values()
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters):
        return None
    return {p.name for p in parameters if p.kind is not inspect.Parameter.VAR_POSITIONAL}


def _how(make: type[Any], params: dict[str, Any], algorithm: str, task: Task) -> How:
    """The method that scores come from, found on an instance, which also tries the values of the params."""
    try:
        instance = make(**params)
    except ImportError as error:
        raise _missing(algorithm, error) from error
    except Exception as error:
        raise TrainingError(f"{algorithm} refuses its params {params}: {error}") from error
    if task == "regression":
        return "predict"
    if task == "anomaly":
        if hasattr(instance, "decision_function") and (make in _FROZEN.values() or _is_pyod(make)):
            return "decision_function"
        if hasattr(instance, "score_samples"):
            return "score_samples"
        raise TrainingError(
            f"{algorithm} cannot score rows that it was not fitted on.",
            hint="scikit-learn's LocalOutlierFactor needs the param novelty: true; or use lof.",
        )
    if not hasattr(instance, "predict_proba"):
        raise TrainingError(
            f"{algorithm} gives no probabilities (no predict_proba).",
            hint=f"Known with probabilities: {', '.join(names(task))}.",
        )
    return "predict_proba"

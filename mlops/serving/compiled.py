"""The compiled form of a fitted scorer, where there is one.

Which algorithms have one, and what it costs, is the table of docs/serving.md. A form is looked up by the estimator's
class and the method that its score is made from; nothing heavy is imported before.

One rule: a compiled form is used only after it has answered as the plain scorer does (`mlops.serving.compiled_proof`).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mlops.serving.compiled_form import Floats, Form, NotCompiledError, PlainUnit, Preparation

_TREES, _TAILS, _LINEAR = (f"mlops.serving.compiled_{name}" for name in ("trees", "tails", "linear"))
# package and class of the estimator -> method that answers, module and function that compile it
FORMS: dict[str, tuple[str, str, str]] = {
    "mlops.FrozenCOPOD": ("decision_function", _TAILS, "copod"),
    "mlops.FrozenECOD": ("decision_function", _TAILS, "ecod"),
    "mlops.FrozenHBOS": ("decision_function", _TAILS, "hbos"),
    "mlops.FrozenPCA": ("decision_function", _TAILS, "pca"),
    "pyod.IForest": ("decision_function", _TREES, "pyod_isolation_forest"),
    "sklearn.IsolationForest": ("score_samples", _TREES, "isolation_forest"),
    "sklearn.BayesianRidge": ("predict", _LINEAR, "value"),
    "sklearn.ElasticNet": ("predict", _LINEAR, "value"),
    "sklearn.HuberRegressor": ("predict", _LINEAR, "value"),
    "sklearn.Lasso": ("predict", _LINEAR, "value"),
    "sklearn.LinearRegression": ("predict", _LINEAR, "value"),
    "sklearn.Ridge": ("predict", _LINEAR, "value"),
    "sklearn.GaussianNB": ("predict_proba", _LINEAR, "naive_bayes"),
    "sklearn.LinearDiscriminantAnalysis": ("predict_proba", _LINEAR, "probabilities"),
    "sklearn.LogisticRegression": ("predict_proba", _LINEAR, "probabilities"),
    "sklearn.DecisionTreeClassifier": ("predict_proba", _TREES, "decision_tree"),
    "sklearn.DecisionTreeRegressor": ("predict", _TREES, "decision_tree"),
    "sklearn.ExtraTreesClassifier": ("predict_proba", _TREES, "forest"),
    "sklearn.ExtraTreesRegressor": ("predict", _TREES, "forest"),
    "sklearn.GradientBoostingClassifier": ("predict_proba", _TREES, "gradient_boosting"),
    "sklearn.GradientBoostingRegressor": ("predict", _TREES, "gradient_boosting"),
    "sklearn.HistGradientBoostingClassifier": ("predict_proba", _TREES, "hist_gradient_boosting"),
    "sklearn.HistGradientBoostingRegressor": ("predict", _TREES, "hist_gradient_boosting"),
    "sklearn.RandomForestClassifier": ("predict_proba", _TREES, "forest"),
    "sklearn.RandomForestRegressor": ("predict", _TREES, "forest"),
}


def compiled(unit: PlainUnit, how: str, classes: Sequence[Any] = ()) -> Form:
    """The compiled form of one fitted unit.

    Args:
        unit: imputation, scale and estimator.
        how: method of the estimator that answers.
        classes: those of the scorer; an estimator that has not seen all of them answers 0 for the others.

    Returns:
        From rows, shape (n, features), NaN where missing, to answers, shape (n, classes or 1), NaN where nothing is
        known of a row.

    Raises:
        NotCompiledError: there is none; the message says why.
    """
    estimator = unit.estimator
    kind = type(estimator)
    name = f"{kind.__module__.partition('.')[0]}.{kind.__name__}"
    method, module, function = FORMS.get(name, ("", "", ""))
    if method != how:
        raise NotCompiledError(f"{kind.__name__} has no compiled form")
    build: Callable[[Any, Preparation], Form] = getattr(importlib.import_module(module), function)
    try:
        form = build(estimator, Preparation.of(unit))
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:  # arranged otherwise than known
        raise NotCompiledError(f"this {kind.__name__} is arranged otherwise: {error}") from error
    own = getattr(estimator, "classes_", ())
    if how != "predict_proba" or not len(classes) or len(own) == len(classes):
        return form
    where = np.searchsorted(np.asarray(classes), own)

    def spread(found: Floats) -> Floats:
        wide = np.where(np.isnan(found[:, :1]), np.nan, np.zeros((len(found), len(classes))))
        wide[:, where] = found
        return wide

    return form.then(spread, where, len(classes))

"""Linear models, linear discriminants and naive Bayes: one compiled sum and the estimator's own link.

One rule: sums run over the features in their order; a matrix product of a library may add them in another, which moves
the last bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mlops.serving.compiled_form import Floats, Form, NotCompiledError, Preparation
from mlops.serving.compiled_rows import jit, prepared


def value(estimator: Any, preparation: Preparation) -> Form:
    """The value of a linear regression."""
    return _affine(estimator, preparation)


def probabilities(estimator: Any, preparation: Preparation) -> Form:
    """Probabilities of logistic regression or a linear discriminant."""
    from scipy.special import expit
    from sklearn.utils.extmath import softmax

    decision, classes = _affine(estimator, preparation), len(estimator.classes_)
    if classes > 2:
        return decision.then(lambda values: np.asarray(softmax(values, copy=False), dtype=np.float64), "softmax")

    def link(values: Floats) -> Floats:
        second = expit(values)
        return np.concatenate([1 - second, second], axis=1)

    return decision.then(link, "expit")


def naive_bayes(estimator: Any, preparation: Preparation) -> Form:
    """Probabilities of Gaussian naive Bayes."""
    variance = np.ascontiguousarray(estimator.var_, dtype=np.float64)
    theta = np.ascontiguousarray(estimator.theta_, dtype=np.float64)
    start = np.log(estimator.class_prior_) - 0.5 * np.log(2.0 * np.pi * variance).sum(axis=1)
    arrays = (*preparation.parts, theta, variance, np.ascontiguousarray(start))
    return Form(lambda rows: _naive_bayes(rows, *arrays), arrays)


@jit
def _naive_bayes(
    rows: Floats, medians: Floats, center: Floats, spread: Floats, theta: Floats, variance: Floats, start: Floats
) -> Floats:
    X = prepared(rows, medians, center, spread)
    n, d = X.shape
    out = np.empty((n, len(start)))
    for i in range(n):
        for c in range(len(start)):
            total = 0.0
            for j in range(d):
                away = X[i, j] - theta[c, j]
                total += away * away / variance[c, j]
            out[i, c] = start[c] - 0.5 * total
        top = out[i].max()
        whole = 0.0
        for c in range(len(start)):
            whole += np.exp(out[i, c] - top)
        for c in range(len(start)):
            out[i, c] = np.exp(out[i, c] - (top + np.log(whole)))
    return out


def _affine(estimator: Any, preparation: Preparation) -> Form:
    weights = np.ascontiguousarray(np.atleast_2d(estimator.coef_), dtype=np.float64)
    width = preparation.medians.shape[0]
    if weights.shape[1] != width:
        raise NotCompiledError(f"its weights have shape {weights.shape}, expected (answers, {width})")
    constant = np.ascontiguousarray(
        np.broadcast_to(np.ravel(np.asarray(estimator.intercept_, dtype=np.float64)), (len(weights),))
    )
    arrays = (*preparation.parts, weights, constant)
    return Form(lambda rows: _sums(rows, *arrays), arrays)


@jit
def _sums(rows: Floats, medians: Floats, center: Floats, spread: Floats, weights: Floats, constant: Floats) -> Floats:
    X = prepared(rows, medians, center, spread)
    n, d = X.shape
    out = np.empty((n, len(weights)))
    for i in range(n):
        for c in range(len(weights)):
            total = 0.0
            for j in range(d):
                total += X[i, j] * weights[c, j]
            out[i, c] = total + constant[c]
    return out

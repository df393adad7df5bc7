"""Trees as flat arrays, walked by one compiled loop: forests, boosted trees, isolation forests.

One rule: a row goes through a tree as scikit-learn sends it, rounded to float32 where it rounds, and what the leaves
say is added in scikit-learn's order.

References:
    Liu, Ting, Zhou (2008). Isolation Forest. ICDM, eq. 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlops.serving.compiled_form import Floats, Form, NotCompiledError, Preparation
from mlops.serving.compiled_rows import jit, prepared

Ints = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Tree:
    """One tree; `feature` is negative at a leaf, `value` has shape (nodes, answers)."""

    feature: NDArray[Any]
    threshold: Floats
    left: NDArray[Any]
    right: NDArray[Any]
    value: Floats


@dataclass(frozen=True, slots=True)
class Trees:
    """All nodes of all trees, one tree after the other."""

    roots: Ints  # shape (trees,)
    feature: Ints  # shape (nodes,)
    threshold: Floats
    children: Ints  # shape (nodes, 2): where a value at most, and above, the threshold goes
    value: Floats  # shape (nodes, answers)

    @classmethod
    def of(cls, trees: Sequence[Tree]) -> Trees:
        """Trees one after the other."""
        sizes = np.array([len(tree.feature) for tree in trees])
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        children = [
            np.where(tree.feature[:, None] >= 0, np.column_stack([tree.left, tree.right]) + start, 0)
            for tree, start in zip(trees, starts, strict=True)
        ]
        return cls(
            starts.astype(np.int32),
            np.ascontiguousarray(np.concatenate([tree.feature for tree in trees]), dtype=np.int32),
            np.ascontiguousarray(np.concatenate([tree.threshold for tree in trees]), dtype=np.float64),
            np.ascontiguousarray(np.concatenate(children), dtype=np.int32),
            np.ascontiguousarray(np.concatenate([tree.value for tree in trees]), dtype=np.float64),
        )

    def sums(self, preparation: Preparation, start: Floats, *, single: bool) -> Form:
        """What the leaves say, added to `start`, shape (answers,)."""
        arrays = (*preparation.parts, self.roots, self.feature, self.threshold, self.children, self.value, start)

        return Form(lambda rows: _sums(rows, *arrays, single), (*arrays, single))


@jit
def _sums(
    rows: Floats,
    medians: Floats,
    center: Floats,
    spread: Floats,
    roots: Ints,
    feature: Ints,
    threshold: Floats,
    children: Ints,
    value: Floats,
    start: Floats,
    single: bool,
) -> Floats:
    X = prepared(rows, medians, center, spread)
    n, d = X.shape
    answers = value.shape[1]
    if single:
        for i in range(n):
            for j in range(d):
                X[i, j] = np.float64(np.float32(X[i, j]))
    out = np.empty((n, answers))
    for i in range(n):
        out[i, :] = start
    for root in roots:  # a tree stays in the cache for all rows
        for i in range(n):
            node = root
            while feature[node] >= 0:
                node = children[node, 0] if X[i, feature[node]] <= threshold[node] else children[node, 1]
            for c in range(answers):
                out[i, c] += value[node, c]
    for i in range(n):
        if np.isnan(X[i, 0]):
            out[i, :] = np.nan
    return out


def isolation_forest(forest: Any, preparation: Preparation) -> Form:
    """scikit-learn's `IsolationForest`: higher = more anomalous, before its offset."""
    lengths = zip(forest._decision_path_lengths, forest._average_path_length_per_tree, strict=True)
    trees = [
        _tree(estimator.tree_, (path + average - 1.0)[:, None], columns)
        for estimator, columns, (path, average) in zip(
            forest.estimators_, forest.estimators_features_, lengths, strict=True
        )
    ]
    usual = _average_path_length(float(forest._max_samples))
    if not usual:
        raise NotCompiledError("its trees were grown from one row")
    depths = Trees.of(trees).sums(preparation, np.zeros(1), single=True)
    denominator = len(trees) * usual

    def link(found: Floats) -> Floats:
        score: Floats = 2 ** (-(found / denominator))
        return score

    return depths.then(link, denominator)


def pyod_isolation_forest(detector: Any, preparation: Preparation) -> Form:
    """PyOD's `IForest`: scikit-learn's decision function, turned round."""
    scores, offset = isolation_forest(detector.detector_, preparation), float(detector.detector_.offset_)
    return scores.then(lambda found: -1 * (-found - offset), offset)


def forest(estimator: Any, preparation: Preparation) -> Form:
    """The mean of a forest's trees: probabilities of a classifier, the value of a regressor."""
    trees = [_tree(each.tree_, _leaf_values(each)) for each in estimator.estimators_]
    total = Trees.of(trees)
    sums, count = total.sums(preparation, np.zeros(total.value.shape[1]), single=True), len(trees)

    def link(found: Floats) -> Floats:
        found /= count
        return found

    return sums.then(link, count)


def decision_tree(estimator: Any, preparation: Preparation) -> Form:
    """One tree."""
    tree = Trees.of([_tree(estimator.tree_, _leaf_values(estimator))])
    return tree.sums(preparation, np.zeros(tree.value.shape[1]), single=True)


def gradient_boosting(estimator: Any, preparation: Preparation) -> Form:
    """A prior and a sum of small trees, through the loss's link where it is a classifier."""
    if estimator.init_ != "zero" and not type(estimator.init_).__name__.startswith("Dummy"):
        raise NotCompiledError(f"it starts from a {type(estimator.init_).__name__}")
    start = estimator._raw_predict_init(np.zeros((1, estimator.n_features_in_), dtype=np.float32))[0]
    width = estimator.estimators_.shape[1]
    trees = [
        _tree(each.tree_, _in_column(estimator.learning_rate * each.tree_.value[:, 0, 0], column, width))
        for stage in estimator.estimators_
        for column, each in enumerate(stage)
    ]
    raw = Trees.of(trees).sums(preparation, np.ascontiguousarray(start, dtype=np.float64), single=True)
    if not hasattr(estimator, "predict_proba"):
        return raw
    loss = estimator._loss
    return raw.then(lambda found: np.asarray(loss.predict_proba(found), dtype=np.float64), type(loss).__name__)


def hist_gradient_boosting(estimator: Any, preparation: Preparation) -> Form:
    """The same with trees that were grown on histograms, over numbers in full precision."""
    width = estimator.n_trees_per_iteration_
    trees = []
    for stage in estimator._predictors:
        for column, predictor in enumerate(stage):
            nodes = predictor.nodes
            if nodes["is_categorical"].any():
                raise NotCompiledError("it splits by categories")
            feature = np.where(nodes["is_leaf"] == 1, -1, nodes["feature_idx"])
            value = _in_column(nodes["value"], column, width)
            trees.append(Tree(feature, nodes["num_threshold"], nodes["left"], nodes["right"], value))
    start = np.ascontiguousarray(np.broadcast_to(np.ravel(estimator._baseline_prediction), (width,)), dtype=np.float64)
    raw = Trees.of(trees).sums(preparation, start, single=False)
    loss = estimator._loss
    if hasattr(estimator, "predict_proba"):
        return raw.then(lambda found: np.asarray(loss.predict_proba(found), dtype=np.float64), type(loss).__name__)
    return raw.then(lambda found: np.asarray(loss.link.inverse(found), dtype=np.float64), type(loss.link).__name__)


def _tree(tree: Any, value: Floats, columns: NDArray[Any] | None = None) -> Tree:
    """scikit-learn's tree; `columns`: which of the features its own are."""
    leaf = tree.children_left < 0
    feature = tree.feature if columns is None else np.asarray(columns)[np.maximum(tree.feature, 0)]
    return Tree(np.where(leaf, -1, feature), tree.threshold, tree.children_left, tree.children_right, value)


def _leaf_values(estimator: Any) -> Floats:
    """Shape (nodes, classes or 1)."""
    if estimator.n_outputs_ != 1:
        raise NotCompiledError(f"it answers with {estimator.n_outputs_} values")
    return np.asarray(estimator.tree_.value[:, 0, :], dtype=np.float64)


def _in_column(values: Floats, column: int, width: int) -> Floats:
    """Values in one column of zeros."""
    table = np.zeros((len(values), width))
    table[:, column] = values
    return table


def _average_path_length(rows: float) -> float:
    """The path length of an unsuccessful search in a tree of so many rows."""
    if rows <= 1:
        return 0.0
    if rows == 2:
        return 1.0
    return float(2.0 * (np.log(rows - 1.0) + np.euler_gamma) - 2.0 * (rows - 1.0) / rows)

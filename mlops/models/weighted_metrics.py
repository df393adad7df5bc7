"""Metrics that are computed for many weightings of the same rows at once, for the bootstrap.

A resample of blocks is a vector of weights, so the rows are sorted once and a thousand resamples are a cumulated sum.

One rule: each equals scikit-learn's with `sample_weight`; the tests hold them against it.

References:
    Fawcett, T. (2006), An introduction to ROC analysis, Pattern Recognition Letters 27, algorithm 2 (ties).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Metric = Callable[[npt.NDArray[Any], npt.NDArray[Any]], float | None]
# (y, score, block of every row, how often each block is drawn (n_resamples, n_blocks)) -> (n_resamples,)
Resampled = Callable[[Floats, Floats, npt.NDArray[np.intp], npt.NDArray[np.int64]], Floats]


def average_precision(y: npt.ArrayLike, score: npt.ArrayLike, weight: npt.ArrayLike | None = None) -> float | None:
    """Area under the precision-recall curve as a step function; tied scores are one step. None without a positive.

    Args:
        y: shape (n_rows,), 0 or 1.
        score: shape (n_rows,), higher is more likely 1; NaN ranks last.
        weight: shape (n_rows,), ≥ 0.

    >>> average_precision([1, 0, 1, 0], [0.9, 0.8, 0.7, 0.1])
    0.8333333333333333
    """
    return _weighted(_average_precisions, y, score, weight)


def roc_auc(y: npt.ArrayLike, score: npt.ArrayLike, weight: npt.ArrayLike | None = None) -> float | None:
    """Probability that a positive scores above a negative, ties counting half. None unless both classes are there.

    Args:
        y: shape (n_rows,), 0 or 1.
        score: shape (n_rows,), higher is more likely 1; NaN ranks last.
        weight: shape (n_rows,), ≥ 0.

    >>> roc_auc([1, 0, 1, 0], [0.9, 0.8, 0.7, 0.1])
    0.75
    """
    return _weighted(_roc_aucs, y, score, weight)


def mean_absolute_error(y: npt.ArrayLike, score: npt.ArrayLike) -> float | None:
    """Mean of |y − score|. None without rows."""
    loss = np.abs(np.asarray(y, dtype=np.float64) - np.asarray(score, dtype=np.float64))
    return float(loss.mean()) if len(loss) else None


def root_mean_squared_error(y: npt.ArrayLike, score: npt.ArrayLike) -> float | None:
    """Square root of the mean of (y − score)². None without rows."""
    loss = (np.asarray(y, dtype=np.float64) - np.asarray(score, dtype=np.float64)) ** 2
    return float(np.sqrt(loss.mean())) if len(loss) else None


def brier(y: npt.ArrayLike, score: npt.ArrayLike) -> float | None:
    """Mean of (y − score)² of a probability. None without rows."""
    error = root_mean_squared_error(y, score)
    return None if error is None else error**2


def log_loss(y: npt.ArrayLike, score: npt.ArrayLike) -> float | None:
    """Mean of −ln of the probability given to the true class. None without rows."""
    losses = log_losses(np.asarray(y, dtype=np.float64), np.asarray(score, dtype=np.float64))
    return float(losses.mean()) if len(losses) else None


def accuracy(y: npt.ArrayLike, score: npt.ArrayLike) -> float | None:
    """Share of rows on the right side of a probability of .5. None without rows."""
    wrong = mistakes(np.asarray(y, dtype=np.float64), np.asarray(score, dtype=np.float64))
    return 1 - float(wrong.mean()) if len(wrong) else None


def f1(y: npt.ArrayLike, score: npt.ArrayLike) -> float | None:
    """Harmonic mean of precision and recall at a probability of .5. None where nothing is or is called positive."""
    positive, said = np.asarray(y) == 1, np.asarray(score) > 0.5
    total = int(positive.sum() + said.sum())
    return 2 * int((positive & said).sum()) / total if total else None


def median_absolute_error(y: npt.ArrayLike, score: npt.ArrayLike) -> float | None:
    """Median of |y − score|. None without rows."""
    loss = np.abs(np.asarray(y, dtype=np.float64) - np.asarray(score, dtype=np.float64))
    return float(np.median(loss)) if len(loss) else None


def r2(y: npt.ArrayLike, score: npt.ArrayLike) -> float | None:
    """Share of the variance of y that is explained. None where y does not vary."""
    truth = np.asarray(y, dtype=np.float64)
    around = float(((truth - truth.mean()) ** 2).sum()) if len(truth) else 0.0
    return 1 - float(((truth - np.asarray(score, dtype=np.float64)) ** 2).sum()) / around if around > 0 else None


def _weighted(
    curve: Callable[[_Steps], Floats], y: npt.ArrayLike, score: npt.ArrayLike, weight: npt.ArrayLike | None
) -> float | None:
    truth, scores = np.asarray(y, dtype=np.float64), np.asarray(score, dtype=np.float64)
    ranks = _ranks(truth, scores)
    if ranks is None:
        return None
    weights = np.ones(len(truth)) if weight is None else np.asarray(weight, dtype=np.float64)
    value = float(curve(_steps(ranks, weights[None, ranks.order]))[0])
    return value if np.isfinite(value) else None


@dataclass(frozen=True, slots=True)
class _Ranks:
    """Rows from highest to lowest score. Only ties (rows of one score) that hold a positive change the curves."""

    order: npt.NDArray[np.intp]  # (n_rows,)
    positives: npt.NDArray[np.intp]  # positions of positives in the order
    first: npt.NDArray[np.intp]  # (n_ties,) position of the first row of every tie with a positive
    last: npt.NDArray[np.intp]  # (n_ties,) position of its last row
    last_hit: npt.NDArray[np.intp]  # (n_ties,) index, within `positives`, of its last positive


@dataclass(frozen=True, slots=True)
class _Steps:
    """Weights down to every tie with a positive, for every resample."""

    hits: Floats  # (n_resamples, n_ties) positives down to the end of the tie
    seen: Floats  # likewise, all rows
    before: Floats  # likewise, all rows above the tie
    total: Floats  # (n_resamples,) all rows


def _ranks(y: Floats, score: Floats) -> _Ranks | None:
    comparable = np.where(np.isnan(score), -np.inf, score)
    order = np.argsort(-comparable, kind="stable")
    ordered = comparable[order]
    positives = np.flatnonzero(y[order] > 0)
    if not len(positives):
        return None
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    tie = np.searchsorted(starts, positives, side="right") - 1  # of every positive
    last_hit = np.append(np.flatnonzero(tie[1:] != tie[:-1]), len(tie) - 1)
    ends = np.append(starts[1:], len(ordered)) - 1
    return _Ranks(order, positives, starts[tie[last_hit]], ends[tie[last_hit]], last_hit)


def _steps(ranks: _Ranks, weights: Floats) -> _Steps:
    """Args: weights: shape (n_resamples, n_rows), rows in the order of `ranks`."""
    seen = np.cumsum(weights, axis=1)
    hits = np.cumsum(weights[:, ranks.positives], axis=1)[:, ranks.last_hit]
    return _Steps(hits, seen[:, ranks.last], seen[:, ranks.first] - weights[:, ranks.first], seen[:, -1])


def _average_precisions(steps: _Steps) -> Floats:
    gained = np.diff(steps.hits, axis=1, prepend=0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(steps.seen > 0, steps.hits / steps.seen, 0.0)
        return np.asarray((gained * precision).sum(axis=1) / steps.hits[:, -1])


def _roc_aucs(steps: _Steps) -> Floats:
    gained = np.diff(steps.hits, axis=1, prepend=0.0)
    above = (steps.before - (steps.hits - gained) + steps.seen - steps.hits) / 2  # negatives, those of the tie half
    negatives = steps.total - steps.hits[:, -1]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((gained * (negatives[:, None] - above)).sum(axis=1) / (steps.hits[:, -1] * negatives))


def _ranked(curve: Callable[[_Steps], Floats]) -> Resampled:
    def resampled(y: Floats, score: Floats, codes: npt.NDArray[np.intp], counts: npt.NDArray[np.int64]) -> Floats:
        ranks = _ranks(y, score)
        if ranks is None:
            return np.full(len(counts), np.nan)
        return curve(_steps(ranks, np.take(counts.astype(np.float64), codes[ranks.order], axis=1)))

    return resampled


def _averaged(loss: Callable[[Floats, Floats], Floats], finish: Callable[[Floats], Floats]) -> Resampled:
    def resampled(y: Floats, score: Floats, codes: npt.NDArray[np.intp], counts: npt.NDArray[np.int64]) -> Floats:
        losses, rows = np.bincount(codes, weights=loss(y, score)), np.bincount(codes)
        return np.asarray(finish((counts @ losses) / (counts @ rows)))

    return resampled


def distances(y: Floats, score: Floats) -> Floats:
    return np.abs(y - score)


def squares(y: Floats, score: Floats) -> Floats:
    return np.asarray((y - score) ** 2)


def log_losses(y: Floats, score: Floats) -> Floats:
    clipped = np.clip(score, 1e-15, 1 - 1e-15)
    return np.asarray(-(y * np.log(clipped) + (1 - y) * np.log(1 - clipped)))


def mistakes(y: Floats, score: Floats) -> Floats:
    return np.asarray((score > 0.5) != (y == 1), dtype=np.float64)


METRICS: Mapping[str, Metric] = {
    "average_precision": average_precision,
    "roc_auc": roc_auc,
    "log_loss": log_loss,
    "brier": brier,
    "accuracy": accuracy,
    "f1": f1,
    "mean_absolute_error": mean_absolute_error,
    "root_mean_squared_error": root_mean_squared_error,
    "median_absolute_error": median_absolute_error,
    "r2": r2,
}
# Where a row without a score can be ranked: below all others, as it raises no alarm.
RANKING: frozenset[Metric] = frozenset({average_precision, roc_auc})
# The others are called for every resample.
RESAMPLED: Mapping[Metric, Resampled] = {
    average_precision: _ranked(_average_precisions),
    roc_auc: _ranked(_roc_aucs),
    log_loss: _averaged(log_losses, np.asarray),
    brier: _averaged(squares, np.asarray),
    accuracy: _averaged(mistakes, lambda wrong: 1 - wrong),
    mean_absolute_error: _averaged(distances, np.asarray),
    root_mean_squared_error: _averaged(squares, np.sqrt),
}


def one_against_the_rest(name: str, y: npt.NDArray[np.intp], probabilities: Floats) -> tuple[Floats, Floats]:
    """Labels and scores of several classes, so that the mean over columns of a binary metric is the metric of them all.

    Args:
        name: of a metric of `METRICS`.
        y: shape (n_rows,), index of the true class; -1 where it is not known.
        probabilities: shape (n_rows, n_classes).

    Returns:
        Labels (NaN where not known) and scores, shape (n_rows, n_columns): for ROC AUC, average precision and F1 each
        class against the rest; for log loss the probability of the true class; for accuracy whether it was right; for
        Brier's score the distance of the whole vector.
    """
    known, classes = np.asarray(y >= 0), np.arange(probabilities.shape[1])
    truth = (y[:, None] == classes).astype(np.float64)
    if name in ("roc_auc", "average_precision"):
        labels, scores = truth, probabilities
    elif name == "f1":
        labels, scores = truth, (probabilities.argmax(axis=1)[:, None] == classes).astype(np.float64)
    elif name == "brier":
        scores = np.sqrt(((probabilities - truth) ** 2).sum(axis=1, keepdims=True))
        labels = np.zeros_like(scores)
    else:
        given = (probabilities * truth).sum(axis=1, keepdims=True)
        right = (probabilities.argmax(axis=1) == y)[:, None].astype(np.float64)
        scores = right if name == "accuracy" else given
        labels = np.ones_like(scores)
    unscored = np.asarray(np.isnan(probabilities).any(axis=1))
    return np.where(known[:, None], labels, np.nan), np.where(unscored[:, None], np.nan, scores)

"""Metrics of a classifier without labels: scores are calibrated, and labels drawn from the probabilities many times.

Calibration is learned on labelled rows that the classifier has not learned from, each time on other blocks of them, so
that the interval knows how well it is known. Rows that depend on one another widen it.

References:
    Guillory, Shankar, Ebrahimi, Darrell, Schmidt (2021). Predicting with Confidence on Unseen Distributions. ICCV.
    Kull, Silva Filho, Flach (2017). Beyond sigmoids: beta calibration. Electronic Journal of Statistics 11(2).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlops.monitoring.estimates import (
    DRAWS,
    LEVEL,
    MIN_REFERENCE,
    MOST_OUTSIDE,
    Estimate,
    Floats,
    design_effect,
    interval,
    resampled,
)

MIN_PER_CLASS = 10


def of_classifier(
    reference_scores: Floats,
    reference_labels: NDArray[np.int64],
    reference_blocks: NDArray[Any],
    scores: Floats,
    *,
    rng: np.random.Generator,
    level: float = LEVEL,
) -> dict[str, Estimate]:
    """Metrics of a classifier of two classes on rows without labels.

    Args:
        reference_scores: shape (n_reference,), probabilities of rows it has not learned from; no NaN.
        reference_labels: shape (n_reference,), 0 or 1.
        reference_blocks: shape (n_reference,), rows that depend on one another share a value, such as entity and day.
        scores: shape (n_rows,), probabilities of the chunk; no NaN.
        rng: all randomness.
        level: of the interval.

    Returns:
        By metric; under "" alone where nothing can be told.
    """
    if problem := _too_little(reference_labels, scores):
        return {"": Estimate("", None, rows=len(scores), reason=problem)}
    drawn, wider = _drawn(reference_scores, reference_labels, reference_blocks, scores, rng)
    if drawn is None:
        return {"": Estimate("", None, rows=len(scores), reason=_outside(reference_scores, scores))}
    return {
        name: interval(name, values[np.isfinite(values)], wider, len(scores), level)
        for name, values in metrics_of_draws(drawn, scores).items()
        if np.isfinite(values).any()
    }


def of_several_classes(
    reference_scores: Floats,
    reference_right: NDArray[np.int64],
    reference_blocks: NDArray[Any],
    scores: Floats,
    *,
    rng: np.random.Generator,
    level: float = LEVEL,
) -> dict[str, Estimate]:
    """The `accuracy` of a classifier of more than two classes on rows without labels.

    Args:
        reference_scores: shape (n_reference,), probability of the class it answered, of rows it has not learned from.
        reference_right: shape (n_reference,), 1 where that was the class.
        reference_blocks: shape (n_reference,), see `of_classifier`.
        scores: shape (n_rows,), probability of the class answered, of the chunk.
        rng: all randomness.
        level: of the interval.
    """
    if not len(scores) or len(reference_right) < MIN_REFERENCE or len(np.unique(reference_right)) < 2:
        said = f"{len(reference_right):,} labelled rows to calibrate on, {int(np.sum(reference_right)):,} of them right"
        return {"": Estimate("", None, rows=len(scores), reason=said if len(scores) else "no rows")}
    drawn, wider = _drawn(reference_scores, reference_right, reference_blocks, scores, rng)
    if drawn is None:
        return {"": Estimate("", None, rows=len(scores), reason=_outside(reference_scores, scores))}
    return {"accuracy": interval("accuracy", drawn.mean(axis=1), wider, len(scores), level)}


def _drawn(
    reference_scores: Floats,
    reference_labels: NDArray[np.int64],
    blocks: NDArray[Any],
    scores: Floats,
    rng: np.random.Generator,
) -> tuple[NDArray[np.bool_] | None, float]:
    """Labels of the chunk, shape (DRAWS, n_rows), and how much wider intervals are; None: too many scores outside."""
    if _beyond(reference_scores, scores) > MOST_OUTSIDE:
        return None, 1.0
    chances = np.empty((DRAWS, len(scores)))
    for draw in range(DRAWS):
        picked = resampled(blocks, rng)
        chances[draw] = _calibrated(reference_scores[picked], reference_labels[picked], scores)
    drawn = rng.random(chances.shape) < chances
    fitted = _calibrated(reference_scores, reference_labels, reference_scores)
    wider = float(np.sqrt(design_effect(reference_labels - fitted, fitted * (1 - fitted), blocks)))
    return drawn, wider


def _beyond(reference_scores: Floats, scores: Floats) -> float:
    return float(np.mean((scores < reference_scores.min()) | (scores > reference_scores.max())))


def _outside(reference_scores: Floats, scores: Floats) -> str:
    share = _beyond(reference_scores, scores)
    return f"{share:.0%} of the scores lie outside of all that were held against labels"


def metrics_of_draws(labels: NDArray[np.bool_], scores: Floats) -> dict[str, Floats]:
    """The metrics of a classifier for many sets of labels of the same rows at once, as validation has them.

    Args:
        labels: shape (n_draws, n_rows).
        scores: shape (n_rows,), probabilities; above a half is called positive.

    Returns:
        By metric, shape (n_draws,); NaN where a draw has one class only and the metric needs two.
    """
    from scipy import stats

    said, rows = scores > 0.5, len(scores)
    positives = labels.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        above = labels @ stats.rankdata(scores) - positives * (positives + 1) / 2
        ranked = above / (positives * (rows - positives))
        f1 = 2 * (labels & said).sum(axis=1) / (said.sum() + positives)
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, [True]))  # rows of one score come in together
    hits = labels[:, order].cumsum(axis=1)[:, ends]
    gained = np.diff(hits, axis=1, prepend=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        precise = np.where(positives == rows, np.nan, (gained * hits / (ends + 1)).sum(axis=1) / positives)
    clipped = np.clip(scores, 1e-15, 1 - 1e-15)
    return {
        "roc_auc": ranked,
        "average_precision": precise,
        "log_loss": -np.where(labels, np.log(clipped), np.log(1 - clipped)).mean(axis=1),
        "brier": ((scores - labels) ** 2).mean(axis=1),
        "accuracy": (labels == said).mean(axis=1),
        "f1": f1,
    }


def _too_little(labels: NDArray[np.int64], scores: Floats) -> str:
    positives = int(labels.sum())
    if not len(scores):
        return "no rows"
    if len(labels) < MIN_REFERENCE or min(positives, len(labels) - positives) < MIN_PER_CLASS:
        needed = f"{MIN_REFERENCE} with {MIN_PER_CLASS} of each class are needed"
        return f"{len(labels):,} labelled rows to calibrate on, {positives:,} of them positive; {needed}"
    return ""


def _calibrated(scores: Floats, labels: NDArray[np.int64], at: Floats) -> Floats:
    """Probabilities by beta calibration: a logistic regression on log(s) and log(1 - s), with a trace of ridge."""
    X, target = _logs(scores), labels.astype(np.float64)
    start, ridge = np.array([0.0, 1.0, 1.0]), np.array([0.0, 0.1, 0.1])  # the start leaves the scores as they are

    def loss(weights: Floats) -> float:
        logit = X @ weights
        own = np.logaddexp(0.0, logit) - target * logit
        return float(own.sum() + 0.5 * (ridge * (weights - start) ** 2).sum())

    found, before = start, loss(start)
    for _ in range(30):
        chance = _logistic(X @ found)
        slope = X.T @ (target - chance) - ridge * (found - start)
        step = np.linalg.solve((X.T * (chance * (1 - chance))) @ X + np.diag(ridge + 1e-6), slope)
        while (after := loss(found + step)) > before and np.abs(step).max() > 1e-8:
            step = step / 2
        found, gained, before = found + step, before - after, after
        if gained < 1e-6:
            break
    return _logistic(_logs(at) @ found)


def _logs(scores: Floats) -> Floats:
    clipped = np.clip(scores, 1e-6, 1 - 1e-6)
    return np.column_stack([np.ones(len(scores)), np.log(clipped), -np.log(1 - clipped)])


def _logistic(at: Floats) -> Floats:
    return 1 / (1 + np.exp(-np.clip(at, -35.0, 35.0)))

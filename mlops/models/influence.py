"""How much every single row pulls a metric up or down: the metric, linearised.

With these values the error of a difference is a sum over rows, so it needs no resampling, and rows that depend on one
another are added up before they are squared. For ROC AUC they are DeLong's placements; for a mean of losses they are
the losses themselves.

One rule: the mean of a metric's influence values is 0, and moving a weight to a row moves the metric as its value says;
the tests hold each against the metric computed with weights.

References:
    DeLong, E., DeLong, D. and Clarke-Pearson, D. (1988), Comparing the areas under two or more correlated receiver
        operating characteristic curves, Biometrics 44.
    Hampel, F. (1974), The influence curve and its role in robust estimation, JASA 69.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from mlops.models import weighted_metrics as wm

Floats = npt.NDArray[np.float64]
# (y, score) -> shape (n_rows,), mean 0; both without NaN but for scores of a ranking metric
Influence = Callable[[Floats, Floats], Floats]


def roc_auc(y: Floats, score: Floats) -> Floats:
    """Placements: of a positive the share of negatives below it, of a negative the share of positives above it.

    >>> roc_auc(np.array([1.0, 1.0, 0.0, 0.0]), np.array([0.9, 0.3, 0.5, 0.1])).tolist()
    [0.5, -0.5, -0.5, 0.5]
    """
    value = np.where(np.isnan(score), -np.inf, score)
    positive = y > 0
    hits, others = np.sort(value[positive]), np.sort(value[~positive])
    found = np.empty(len(y))
    found[positive] = _share_below(others, value[positive])
    found[~positive] = 1 - _share_below(hits, value[~positive])
    area = found[positive].mean()
    return np.asarray((found - area) * np.where(positive, len(y) / len(hits), len(y) / len(others)))


def average_precision(y: Floats, score: Floats) -> Floats:
    """Of a positive its precision and what it adds to those below; of every row what it takes from those below it."""
    value = np.where(np.isnan(score), -np.inf, score)
    order = np.argsort(-value, kind="stable")
    ordered, truth = value[order], y[order] > 0
    last = np.append(ordered[1:] != ordered[:-1], True)  # tied rows are one step
    ends = np.flatnonzero(last)
    step = np.searchsorted(ends, np.arange(len(ordered)))
    seen = (ends + 1).astype(np.float64)
    hits = np.cumsum(truth)[ends].astype(np.float64)
    gained = np.diff(hits, prepend=0.0)
    total = hits[-1]
    precision = hits / seen
    area = float((gained * precision).sum() / total)
    # A row counts as seen from its own step on downwards.
    adds = np.cumsum((gained / seen)[::-1])[::-1][step]
    takes = np.cumsum((gained * hits / seen**2)[::-1])[::-1][step]
    pull = len(y) / total * (truth * (precision[step] - area + adds) - takes)
    found = np.empty(len(y))
    found[order] = pull
    return found


def f1(y: Floats, score: Floats) -> Floats:
    """A ratio of means: twice the hits over positives and alarms."""
    positive, said = y == 1, score > 0.5
    total = (positive.astype(np.float64) + said).mean()
    value = 2 * (positive & said).mean() / total
    return np.asarray((2.0 * (positive & said) - value * (positive.astype(np.float64) + said)) / total)


def root_mean_squared_error(y: Floats, score: Floats) -> Floats:
    """The square's own pull, over twice the root; 0 where nothing is wrong."""
    square = (y - score) ** 2
    root = float(np.sqrt(square.mean()))
    return np.asarray((square - square.mean()) / (2 * root)) if root > 0 else np.zeros(len(y))


def r2(y: Floats, score: Floats) -> Floats:
    """Squares left over against squares around the mean."""
    left, around = (y - score) ** 2, (y - y.mean()) ** 2
    spread = around.mean()
    return np.asarray((left.mean() / spread * around - left) / spread)


def median_absolute_error(y: Floats, score: Floats) -> Floats:
    """Below or above the median, over the density of the errors there (Gaussian kernel, Silverman's width)."""
    loss = np.abs(y - score)
    middle = float(np.median(loss))
    low, high = np.quantile(loss, (0.25, 0.75))
    width = 0.9 * min(float(loss.std()), float(high - low) / 1.34) * len(loss) ** -0.2
    if not width > 0:
        return np.zeros(len(loss))
    density = float(np.exp(-0.5 * ((loss - middle) / width) ** 2).mean()) / (width * np.sqrt(2 * np.pi))
    side = np.sign(loss - middle)
    return np.asarray((side - side.mean()) / (2 * density))


def _share_below(values: Floats, at: Floats) -> Floats:
    """Share of sorted `values` below, ties counting half."""
    ranks = np.searchsorted(values, at, "left") + np.searchsorted(values, at, "right")
    return np.asarray(ranks / (2 * len(values)))


def _mean(loss: Callable[[Floats, Floats], Floats], sign: float = 1.0) -> Influence:
    def influence(y: Floats, score: Floats) -> Floats:
        losses = loss(y, score)
        return np.asarray(sign * (losses - losses.mean()))

    return influence


INFLUENCE: Mapping[wm.Metric, Influence] = {
    wm.average_precision: average_precision,
    wm.roc_auc: roc_auc,
    wm.log_loss: _mean(wm.log_losses),
    wm.brier: _mean(wm.squares),
    wm.accuracy: _mean(wm.mistakes, -1.0),
    wm.f1: f1,
    wm.mean_absolute_error: _mean(wm.distances),
    wm.root_mean_squared_error: root_mean_squared_error,
    wm.median_absolute_error: median_absolute_error,
    wm.r2: r2,
}
# Metrics judged by their influence. The difference is a mean over rows (for ROC AUC: over pairs), so that this is exact
# also where rows are few; of average precision it is not, but docs/gates.md shows that it keeps its error rate and has
# the power that the estimate allows, where the bootstrap's lower bound loses some. The others are resampled.
CLOSED: frozenset[wm.Metric] = frozenset(
    {wm.roc_auc, wm.average_precision, wm.log_loss, wm.brier, wm.accuracy, wm.mean_absolute_error}
)

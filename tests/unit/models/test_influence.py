"""Influence values against the metrics themselves: a little more weight moves the metric as its value says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from mlops.models.comparison import METRICS
from mlops.models.influence import CLOSED, INFLUENCE

Weighted = Callable[..., float]
EPSILON = 1e-6


def clipped_log_loss(y: Any, score: Any, sample_weight: Any) -> float:
    """scikit-learn's log loss, of labels whose classes are known."""
    return float(sk.log_loss(y, np.clip(score, 1e-15, 1 - 1e-15), sample_weight=sample_weight, labels=[0, 1]))


WITH_WEIGHTS: dict[str, Weighted] = {
    "average_precision": sk.average_precision_score,
    "roc_auc": sk.roc_auc_score,
    "log_loss": clipped_log_loss,
    "brier": sk.brier_score_loss,
    "accuracy": lambda y, s, sample_weight: sk.accuracy_score(y, s > 0.5, sample_weight=sample_weight),
    "f1": lambda y, s, sample_weight: sk.f1_score(y, s > 0.5, sample_weight=sample_weight),
    "mean_absolute_error": sk.mean_absolute_error,
    "root_mean_squared_error": lambda y, s, sample_weight: np.sqrt(
        sk.mean_squared_error(y, s, sample_weight=sample_weight)
    ),
    "r2": sk.r2_score,
}


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), levels=st.integers(2, 30))
@pytest.mark.parametrize("name", sorted(WITH_WEIGHTS))
def test_a_little_more_weight_moves_the_metric_as_the_influence_says(name: str, seed: int, levels: int) -> None:
    """The derivative of scikit-learn's weighted metric by each row's weight is the row's influence, ties included."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, 30).astype(float)
    y[:2] = (0, 1)
    score = (rng.integers(0, levels, 30) + 0.25) / levels
    metric, rows = WITH_WEIGHTS[name], len(y)
    found = INFLUENCE[METRICS[name]](y, score)
    assert abs(found.mean()) < 1e-12
    at = metric(y, score, sample_weight=np.ones(rows))
    moved = [metric(y, score, sample_weight=1 + EPSILON * rows * (np.arange(rows) == i)) for i in range(rows)]
    assert found == pytest.approx((np.array(moved) - at) / EPSILON, abs=2e-3)


def test_the_median_s_influence_gives_its_known_error() -> None:
    """Of exponential losses the median's standard error is 1 / √n: 1 / (2 f(m) √n) with f(m) = ½."""
    rng = np.random.default_rng(1)
    y = np.zeros(20_000)
    found = INFLUENCE[METRICS["median_absolute_error"]](y, rng.exponential(size=20_000))
    assert found.std() == pytest.approx(1.0, rel=0.05)


def test_a_row_without_a_score_pulls_like_the_lowest_score() -> None:
    """A missing score ranks last, in the influence as in the metric."""
    y, score = np.array([1.0, 0.0, 1.0, 0.0]), np.array([0.9, 0.3, np.nan, 0.2])
    for name in ("roc_auc", "average_precision"):
        influence = INFLUENCE[METRICS[name]]
        assert influence(y, score).tolist() == influence(y, np.nan_to_num(score, nan=-1.0)).tolist()


def test_every_metric_that_decides_has_an_influence() -> None:
    """Slices and stretches of time can be judged by whatever metric a spec names."""
    assert set(INFLUENCE) == set(METRICS.values())
    assert set(INFLUENCE) >= CLOSED

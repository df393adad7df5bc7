"""The paired block bootstrap: exact metrics, right error rate, the same rows for both."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops.experiments.metrics import evaluate
from mlops.models.comparison import METRICS, Interval, Metric, paired_difference, time_blocks
from mlops.models.weighted_metrics import average_precision, f1, mean_absolute_error, one_against_the_rest, roc_auc

HIGHER = {"average_precision", "roc_auc", "accuracy", "f1", "r2"}


def compare(metric: Any, y: Any, a: Any, b: Any, blocks: Any, **more: Any) -> Interval | None:
    """`paired_difference` with the usual settings."""
    settings_ = {"higher_is_better": True, "alpha": 0.05, "resamples": 200, "rng": np.random.default_rng(1)} | more
    return paired_difference(metric, y, a, b, blocks=blocks, **settings_)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), rows=st.integers(2, 60), levels=st.integers(1, 12))
def test_ranking_metrics_equal_sklearns_with_weights_and_ties(seed: int, rows: int, levels: int) -> None:
    """Average precision and ROC AUC equal scikit-learn's to 1e-12 for any weights, zero among them, and any ties."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, rows)
    y[:2] = (0, 1)
    score = rng.integers(0, levels, rows) / levels
    weight = rng.integers(0, 3, rows) * rng.random(rows)
    weight[:2] = (1.0, 0.5)
    ours, theirs = average_precision(y, score, weight), average_precision_score(y, score, sample_weight=weight)
    assert ours == pytest.approx(theirs, abs=1e-12)
    assert roc_auc(y, score, weight) == pytest.approx(roc_auc_score(y, score, sample_weight=weight), abs=1e-12)


def test_a_row_without_a_score_ranks_last() -> None:
    """A positive without a score is a positive not found: it does not vanish from the metric."""
    y = [1, 1, 0, 0]
    assert average_precision(y, [3.0, np.nan, 2.0, 1.0]) == average_precision(y, [3.0, -np.inf, 2.0, 1.0])
    # one positive first (precision 1), the other at the end (precision 2/4): (1 + 1/2) / 2
    assert average_precision(y, [3.0, np.nan, 2.0, 1.0]) == pytest.approx(0.75)


@pytest.mark.parametrize("y", [[], [0, 0, 0], [1, 1]])
def test_roc_auc_of_one_class_is_not_a_number_of_any_kind(y: list[int]) -> None:
    """Without both classes there is no ROC AUC; without positives there is no average precision."""
    assert roc_auc(y, np.arange(len(y))) is None
    if not any(y):
        assert average_precision(y, np.arange(len(y))) is None


@pytest.mark.parametrize("name", sorted(METRICS))
def test_the_fast_path_equals_calling_the_metric_on_repeated_rows(name: str) -> None:
    """For every metric, all resamples at once give what the metric itself gives on the rows drawn."""
    rng = np.random.default_rng(3)
    y = (rng.random(120) < 0.2).astype(float)
    a, b = np.round(rng.random(120), 1), np.round(rng.random(120), 1)
    blocks = np.arange(120) // 8
    metric = METRICS[name]

    def slow(truth: npt.NDArray[Any], score: npt.NDArray[Any]) -> float | None:
        return metric(truth, score)

    better = name in HIGHER
    blocks = 2 * blocks  # no neighbours: of a function whose influence nobody knows they count for nothing
    fast = compare(metric, y, a, b, blocks, higher_is_better=better, method="bootstrap")
    plain = compare(slow, y, a, b, blocks, higher_is_better=better)
    assert fast is not None
    assert plain is not None
    assert fast.low == pytest.approx(plain.low, abs=1e-12)
    assert fast.estimate == pytest.approx(plain.estimate, abs=1e-12)


@pytest.mark.parametrize("name", sorted(METRICS))
def test_metrics_equal_those_of_the_experiments(name: str) -> None:
    """A name means the same number in a comparison as in the metrics of a run, and has a better end there."""
    from mlops.experiments import metrics

    rng = np.random.default_rng(4)
    y, score = (rng.random(300) < 0.3).astype(float), np.round(rng.random(300), 2)
    task: Any = "regression" if name == "r2" or name.endswith("_error") else "classification"
    assert METRICS[name](y, score) == pytest.approx(metrics.evaluate(task, y=y, scores=score)[name], abs=1e-12)
    assert metrics.higher_is_better(name) == (name in HIGHER)
    assert METRICS[name](np.array([]), np.array([])) is None


def test_the_bound_of_a_mean_is_students() -> None:
    """For a mean over equal blocks the bound is Student's from the block means, up to the noise of resampling."""
    from scipy.stats import t

    rng = np.random.default_rng(5)
    y, blocks = np.zeros(400) + 0.5, np.arange(400) // 10
    a, b = y + rng.normal(size=400), y + 1.2 * rng.normal(size=400)
    found = compare(mean_absolute_error, y, a, b, blocks, higher_is_better=False, resamples=20_000)
    gains = (np.abs(b - y) - np.abs(a - y)).reshape(40, 10).mean(axis=1)
    expected = gains.mean() - t.ppf(0.95, 39) * gains.std(ddof=1) / np.sqrt(40)
    assert found is not None
    assert found.estimate == pytest.approx(gains.mean())
    assert found.low == pytest.approx(expected, abs=0.03 * (gains.mean() - expected))
    assert (found.blocks, found.positives, found.rows) == (40, None, 400)


def test_dependent_rows_widen_the_bound() -> None:
    """Rows that repeat each other within a block count as one: the bound ignores how often a block repeats itself."""
    rng = np.random.default_rng(6)
    y, a, b = rng.normal(size=30), rng.normal(size=30), rng.normal(size=30)
    once = compare(mean_absolute_error, y, a, b, np.arange(30), higher_is_better=False)
    often = compare(mean_absolute_error, *(np.repeat(x, 50) for x in (y, a, b)), np.repeat(np.arange(30), 50),
                    higher_is_better=False)  # fmt: skip
    assert once is not None
    assert often is not None
    assert often.low == pytest.approx(once.low)


def test_the_sign_means_better_whichever_way_the_metric_points() -> None:
    """A smaller error is a positive difference, and exchanging the two models turns the sign."""
    y = np.arange(40.0)
    near, far, blocks = y + 0.1, y + np.tile([1.0, 2.0], 20), np.arange(40) // 4
    found = compare(mean_absolute_error, y, near, far, blocks, higher_is_better=False)
    turned = compare(mean_absolute_error, y, far, near, blocks, higher_is_better=False)
    assert found is not None
    assert turned is not None
    assert found.estimate == pytest.approx(1.4)
    assert turned.estimate == pytest.approx(-1.4)
    assert found.low > 0 > turned.low


@pytest.mark.parametrize(
    ("y", "blocks"),
    [([], []), ([0, 0, 0, 0], [0, 1, 2, 3]), ([1, 1, 0, 0], [0, 0, 1, 2]), ([np.nan] * 4, [0, 1, 2, 3])],
)
def test_what_cannot_be_compared_is_none(y: list[float], blocks: list[int]) -> None:
    """No rows, no labels, no positive, or all positives in one block: there is no interval to give."""
    score = np.arange(len(y), dtype=float)
    assert compare(average_precision, y, score, score[::-1], blocks) is None


def test_the_same_seed_gives_the_same_bound() -> None:
    """The comparison depends on its arguments alone."""
    rng = np.random.default_rng(8)
    y, a, b = (rng.random(200) < 0.3).astype(float), rng.random(200), rng.random(200)
    first, second = (compare(average_precision, y, a, b, np.arange(200) // 5) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("metric", [roc_auc, f1])
def test_neighbouring_blocks_that_go_together_widen_the_bound(metric: Metric) -> None:
    """What moves two blocks in a row counts as one; where they go apart nothing is taken off."""
    rng = np.random.default_rng(3)
    y = np.tile([1.0, 0.0], 400)
    shift = np.repeat(rng.normal(size=40), 20)  # of two blocks of ten rows each
    a = (y + shift * (2 * y - 1) + rng.normal(size=800)) / 2
    b = y / 2 + rng.normal(size=800) / 2
    blocks = np.arange(800) // 10

    def error(codes: np.ndarray) -> float:
        found = compare(metric, y, a, b, codes)
        assert found is not None
        return found.error

    apart, together = error(2 * blocks), error(blocks)
    assert 1.1 * apart < together < 1.5 * apart
    assert error(blocks // 2 * 2) == pytest.approx(together, rel=0.15)
    against = np.tile([0, 1], 40)[blocks]  # one block up, the next down
    a = y / 2 + (2 * against - 1) * (2 * y - 1) / 3
    assert error(blocks) == pytest.approx(error(2 * blocks))


def test_blocks_are_entities_times_stretches_of_the_clock() -> None:
    """A block ends with its entity or on the hour, in whatever unit or zone the times come; neighbours count on."""
    times = pd.to_datetime(
        ["2026-01-01 05:59:59", "2026-01-01 06:00:00", "2026-01-01 11:59:00", "2026-01-01 06:00:00"], utc=True
    )
    entities = np.array(["a", "a", "a", "b"], dtype=object)
    assert time_blocks(entities, times, 6).tolist() == [0, 1, 1, 4]
    assert time_blocks(entities, pd.Series(times.tz_convert("Asia/Tokyo")), 6).tolist() == [0, 1, 1, 4]
    assert time_blocks(entities, times.tz_localize(None).to_numpy(), 6).tolist() == [0, 1, 1, 4]


@pytest.mark.parametrize("name", ["roc_auc", "average_precision", "f1", "log_loss", "accuracy", "brier"])
def test_several_classes_are_compared_by_the_metric_that_training_reports(name: str) -> None:
    """The mean over columns equals what `metrics.evaluate` says of several classes, so gates and training agree."""
    rng = np.random.default_rng(9)
    proba = rng.dirichlet(np.ones(3), size=200)
    y = np.array([rng.choice(3, p=p) for p in proba])
    labels, scores = one_against_the_rest(name, y, proba)
    found = np.mean([METRICS[name](labels[:, j], scores[:, j]) for j in range(labels.shape[1])])
    told = evaluate("classification", y=y, scores=proba.max(axis=1), probabilities=proba, classes=np.arange(3))
    assert found == pytest.approx(told[name], abs=1e-12)


@pytest.mark.parametrize("name", ["roc_auc", "log_loss", "accuracy", "f1"])
def test_of_several_classes_the_better_model_is_shown_to_be_better(name: str) -> None:
    """A model that knows the classes beats one that does not; a row without label or score does not spoil it."""
    rng = np.random.default_rng(10)
    y = rng.integers(0, 3, 600)
    knowing, guessing = (np.exp(rng.normal(size=(600, 3)) + k * np.eye(3)[y]) for k in (2.0, 0.5))
    knowing, guessing = (each / each.sum(axis=1, keepdims=True) for each in (knowing, guessing))
    y[:5] = -1
    labels, good = one_against_the_rest(name, y, knowing)
    _, bad = one_against_the_rest(name, y, guessing)
    better = name != "log_loss"
    found = compare(METRICS[name], labels, good, bad, np.arange(600), higher_is_better=better)
    assert found is not None
    assert found.rows == 595
    assert found.low > 0
    turned = compare(METRICS[name], labels, bad, good, np.arange(600), higher_is_better=better)
    assert turned is not None
    assert turned.low < -found.low


def test_where_rows_depend_in_two_ways_the_wider_bound_counts() -> None:
    """A shock that hits all entities at once makes blocks by entity too small: the bound by time, lower, is taken."""
    rng = np.random.default_rng(11)
    who, when = np.divmod(np.arange(20 * 48), 48)
    shock = np.repeat(rng.normal(size=8), 6)
    y = np.zeros(len(who))
    a, b = np.abs(1 + 0.1 * rng.normal(size=len(who))), np.abs(1 + shock[when] + 0.1 * rng.normal(size=len(who)))
    by_entity, by_time = who * 8 + when // 6, when // 6
    each = [compare(mean_absolute_error, y, a, b, way, higher_is_better=False) for way in (by_entity, by_time)]
    both = compare(mean_absolute_error, y, a, b, np.column_stack([by_entity, by_time]), higher_is_better=False)
    assert each[0] is not None
    assert each[1] is not None
    assert both is not None
    assert each[1].low < each[0].low
    assert (both.low, both.blocks) == (each[1].low, 8)

"""Estimates without labels: their intervals hold the truth as often as they say, and some things cannot be told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mlops.experiments.metrics import evaluate
from mlops.monitoring import estimates
from mlops.monitoring.confidence_estimation import metrics_of_draws, of_classifier, of_several_classes
from mlops.monitoring.estimates import Estimate
from mlops.monitoring.loss_estimation import of_regressor

SEEDS = 20
LEAST = 14  # of 20 intervals of 90 %, fewer hold by chance twice in a thousand times: binom.cdf(13, 20, 0.9) = 0.0024

Blocks = NDArray[Any]


def classified(
    rng: np.random.Generator, rows: int, blocks: int, shift: float = 0.0, together: float = 0.0, flip: bool = False
) -> tuple[NDArray[np.float64], NDArray[np.int64], Blocks]:
    """An overconfident classifier on rows whose blocks share an effect: scores, labels, blocks."""
    block = np.arange(rows) % blocks
    x, noise = rng.normal(shift, 1, rows), rng.normal(0, 0.5, rows)
    chance = 1 / (1 + np.exp(-((-1.5 if flip else 1.5) * x + rng.normal(0, together, blocks)[block])))
    return 1 / (1 + np.exp(-(3 * x + noise))), (rng.random(rows) < chance).astype(np.int64), block


@pytest.mark.parametrize(("shift", "together"), [(0.0, 0.0), (0.7, 0.0), (-0.5, 0.7)], ids=["same", "moved", "blocks"])
def test_an_interval_of_a_classifier_holds_the_truth(shift: float, together: float) -> None:
    """Also where the world has moved, though scores are far from calibrated; and it is narrow enough to be of use."""
    held: dict[str, int] = {}
    widths = []
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        reference = classified(rng, 600, 60, 0.0, together)
        scores, truth, _ = classified(rng, 300, 30, shift, together)
        measured = evaluate("classification", y=truth, scores=scores)
        found = of_classifier(*reference, scores, rng=rng)
        for name, one in found.items():
            held[name] = held.get(name, 0) + bool(one.holds(measured[name]))
        widths.append((found["accuracy"].high or 1) - (found["accuracy"].low or 0))
    assert set(held) == {"roc_auc", "average_precision", "log_loss", "brier", "accuracy", "f1"}
    assert min(held.values()) >= LEAST, held
    assert np.mean(widths) < (0.25 if together else 0.15)  # with 300 labels alone it would be 0.07


def test_scores_as_they_are_would_be_wrong() -> None:
    """What the overconfident scores say of themselves is not what is measured; the calibrated estimate is nearer."""
    rng = np.random.default_rng(1)
    reference = classified(rng, 2000, 100)
    scores, truth, _ = classified(rng, 4000, 100)
    accuracy = float(((scores > 0.5) == truth).mean())
    naive = float(np.maximum(scores, 1 - scores).mean())
    found = of_classifier(*reference, scores, rng=rng)["accuracy"].value
    assert found is not None
    assert abs(found - accuracy) < 0.03 < abs(naive - accuracy)


def test_metrics_of_many_draws_are_those_of_validation() -> None:
    """Row by row what `mlops.experiments.metrics` gives, ties among scores included; one class is NaN."""
    rng = np.random.default_rng(3)
    scores = np.round(rng.random(60), 1)
    labels = np.vstack([rng.random((20, 60)) < 0.3, np.ones((1, 60), dtype=bool)])
    found = metrics_of_draws(labels, scores)
    for draw, label in enumerate(labels):
        expected = evaluate("classification", y=label.astype(int), scores=scores)
        for name, values in found.items():
            assert values[draw] == pytest.approx(expected.get(name, np.nan), nan_ok=True), name


def regressed(
    rng: np.random.Generator, rows: int, blocks: int, shift: float = 0.0
) -> tuple[NDArray[np.float64], NDArray[np.float64], Blocks]:
    """A regressor whose errors grow with x: features and prediction, errors, blocks."""
    block = np.arange(rows) % blocks
    x, other = rng.normal(shift, 1, rows), rng.normal(0, 1, rows)
    return np.column_stack([x, other, x + other]), rng.normal(0, 1, rows) * np.exp(0.6 * x), block


@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_an_interval_of_a_regressor_holds_the_truth(shift: float) -> None:
    """Also where more rows fall where errors are large, which the mean error of the past would not know."""
    held: dict[str, int] = {}
    past = 0
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        reference = regressed(rng, 800, 40)
        rows, errors, blocks = regressed(rng, 400, 20, shift)
        measured = evaluate("regression", y=np.zeros(len(errors)), scores=errors)
        found = of_regressor(*reference, rows, blocks, rng=rng)
        for name, one in found.items():
            held[name] = held.get(name, 0) + bool(one.holds(measured[name]))
        past += bool(found["mean_absolute_error"].holds(float(np.abs(reference[1]).mean())))
    assert set(held) == {"mean_absolute_error", "median_absolute_error", "root_mean_squared_error", "bias"}
    assert min(held.values()) >= LEAST, held
    if shift:
        assert past < held["mean_absolute_error"] / 2


@pytest.mark.parametrize("shift", [0.0, 0.6])
def test_an_interval_of_a_classifier_of_several_classes_holds_its_accuracy(shift: float) -> None:
    """Overconfident probabilities of the class answered, here and where easy rows have become rarer."""
    held, as_said = 0, 0
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)

        def answered(rows: int, hard: float, rng: np.random.Generator = rng) -> tuple[Any, Any]:
            said = np.clip(rng.beta(6, 2 + 3 * hard, rows), 0.34, 1.0)
            return said, (rng.random(rows) < 0.1 + 0.5 * said).astype(np.int64)  # right less often than it says

        reference, (scores, right) = answered(600, 0.0), answered(300, shift)
        found = of_several_classes(*reference, np.arange(600) % 60, scores, rng=rng)["accuracy"]
        held += bool(found.holds(float(right.mean())))
        as_said += bool(found.holds(float(scores.mean())))
    assert held >= LEAST
    assert as_said < held / 2, "what the probabilities say of themselves would have done"
    (few,) = of_several_classes(scores[:50], right[:50], np.arange(50), scores, rng=rng).values()
    assert few.value is None
    assert "50 labelled rows" in few.reason


def test_without_enough_to_learn_from_nothing_is_said() -> None:
    """Too few labels, one class only, no rows, or rows beyond all that was judged: a reason instead of a number."""
    rng = np.random.default_rng(0)
    scores, truth, blocks = classified(rng, 600, 60)
    cases = {
        "50 labelled rows": (scores[:50], truth[:50], blocks[:50], scores),
        "0 of them positive": (scores, np.zeros_like(truth), blocks, scores),
        "no rows": (scores, truth, blocks, scores[:0]),
        "outside": (scores[scores < 0.6], truth[scores < 0.6], blocks[scores < 0.6], scores),
    }
    for words, given in cases.items():
        (only,) = of_classifier(*given, rng=rng).values()
        assert only.value is None
        assert words in only.reason
        assert only.holds(0.5) is None
    rows, errors, blocks = regressed(rng, 600, 40)
    for words, (reference, chunk) in {
        "20 labelled rows": ((rows[:20], errors[:20], blocks[:20]), rows),
        "outside": ((rows, errors, blocks), rows + 9),
        "no rows": ((rows, errors, blocks), rows[:0]),
    }.items():
        (only,) = of_regressor(*reference, chunk, blocks[: len(chunk)], rng=rng).values()
        assert only.value is None
        assert words in only.reason


def test_when_the_relation_changes_estimates_are_found_out() -> None:
    """Labels turned round: every estimate misses, and soon they count as void; one miss does not do it."""
    held = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        reference = classified(rng, 600, 60)
        scores, truth, _ = classified(rng, 300, 30, flip=True)
        found = of_classifier(*reference, scores, rng=rng)["roc_auc"]
        held.append(bool(found.holds(evaluate("classification", y=truth, scores=scores)["roc_auc"])))
    assert held == [False] * 5
    assert estimates.void(held[:1]) == ""
    assert "3 of the last 3" in estimates.void(held[:3])
    assert estimates.void([]) == ""


def test_rows_that_depend_on_one_another_widen_the_interval() -> None:
    """Independent rows have a design effect of about 1; blocks of ten equal rows have one of about ten."""
    rng = np.random.default_rng(2)
    alone = rng.normal(size=2000)
    assert estimates.design_effect(alone, np.ones(2000), np.arange(2000) % 200) == pytest.approx(1, abs=0.3)
    same = np.repeat(rng.normal(size=200), 10)
    assert estimates.design_effect(same, np.ones(2000), np.arange(2000) // 10) == pytest.approx(10, rel=0.3)


def test_an_estimate_says_whether_the_truth_lies_in_it() -> None:
    """Both ends belong to it."""
    one = Estimate("m", 0.5, 0.4, 0.6, 10)
    assert [one.holds(value) for value in (0.39, 0.4, 0.6, 0.61)] == [False, True, True, False]

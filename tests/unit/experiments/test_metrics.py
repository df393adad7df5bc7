"""Metrics: worked by hand, absent when they cannot be computed."""

from __future__ import annotations

from datetime import timedelta
from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops.errors import SpecError
from mlops.experiments.metrics import evaluate, higher_is_better
from mlops.models.thresholds import entity_days, onsets

START = pd.Timestamp("2026-03-01", tz="UTC")


def every(minutes: int, rows: int) -> pd.DatetimeIndex:
    """Equally spaced timestamps."""
    return pd.date_range(START, periods=rows, freq=f"{minutes}min")


def test_events_are_counted_once_and_delays_start_with_the_event() -> None:
    """Of three events the first is flagged after 20 minutes, the second at once, the third never: 2/3, 10 minutes."""
    y = np.array([0, 1, 1, 1, 0, 0, 1, 1, 0, 1])
    flags = np.array([0, 0, 0, 1, 1, 0, 1, 0, 0, 0], dtype=bool)
    found = evaluate("anomaly", y=y, scores=flags.astype(float), flags=flags, entities=["a"] * 10, times=every(10, 10))
    assert found["event_recall"] == pytest.approx(2 / 3)
    assert found["detection_delay_minutes"] == pytest.approx((20 + 0) / 2)
    assert found["precision_at_budget"] == pytest.approx(2 / 3)
    # two onsets (rows 3 and 6) in 10 rows of 10 minutes
    assert found["alarms_per_entity_day"] == pytest.approx(2 / (100 / 1440))


def test_an_event_does_not_continue_in_the_next_entity() -> None:
    """The last row of one entity and the first of the next are two events, whatever the order of the rows."""
    entities, times = np.array(["a", "b", "a", "b"]), every(10, 2)[[1, 0, 0, 1]]
    y = np.array([1, 1, 0, 0])  # a ends positive, b starts positive
    found = evaluate("anomaly", y=y, scores=[9.0, 1, 1, 1], flags=[1, 0, 0, 0], entities=entities, times=times)
    assert found["event_recall"] == 0.5


def test_ranking_metrics_by_hand() -> None:
    """Scores 4 > 3 > 2 > 1 with positives first and third: AUC 3/4, average precision (1/1 + 2/3) / 2."""
    found = evaluate("anomaly", y=[1, 0, 1, 0], scores=[4.0, 3.0, 2.0, 1.0])
    assert found["roc_auc"] == pytest.approx(3 / 4)
    assert found["average_precision"] == pytest.approx((1 + 2 / 3) / 2)


@given(
    positives=st.lists(st.integers(0, 5), min_size=1, max_size=8),
    negatives=st.lists(st.integers(0, 5), min_size=1, max_size=8),
)
def test_roc_auc_is_the_share_of_pairs_in_the_right_order(positives: list[int], negatives: list[int]) -> None:
    """AUC is the probability that a positive outranks a negative, ties counting half (Hanley, McNeil 1982)."""
    wins = [(p > n) + 0.5 * (p == n) for p, n in product(positives, negatives)]
    y = [1] * len(positives) + [0] * len(negatives)
    found = evaluate("anomaly", y=y, scores=np.array(positives + negatives, dtype=float))
    assert found["roc_auc"] == pytest.approx(np.mean(wins))


def test_without_labels_only_alarms_are_counted() -> None:
    """No label is mature: no recall, no precision, nothing that reads as zero; alarms need no labels."""
    flags = np.array([1, 0, 1, 0], dtype=bool)
    found = evaluate(
        "anomaly",
        y=np.full(4, np.nan),
        scores=np.arange(4.0),
        flags=flags,
        entities=list("aabb"),
        times=every(360, 4),
        step=timedelta(hours=12),
    )
    assert found == {"alarms_per_entity_day": 1.0}


def test_one_class_only_has_no_ranking() -> None:
    """All rows normal: ROC AUC and average precision are absent."""
    found = evaluate(
        "anomaly", y=[0, 0], scores=[1.0, 2.0], flags=[False, True], entities=["a", "a"], times=every(10, 2)
    )
    assert {"roc_auc", "average_precision", "event_recall"}.isdisjoint(found)
    assert found["precision_at_budget"] == 0.0


def test_rows_that_were_not_scored_are_left_out() -> None:
    """A NaN score is "cannot tell": it neither helps nor hurts."""
    assert evaluate("regression", y=[1.0, 2.0, 100.0], scores=[1.0, 3.0, np.nan])["mean_absolute_error"] == 0.5
    assert evaluate("anomaly", y=[1, 0, 1], scores=[2.0, 1.0, np.nan])["roc_auc"] == 1.0


def test_nothing_to_judge_gives_nothing() -> None:
    """No rows: an empty answer for every task."""
    for task in ("anomaly", "classification", "regression"):
        assert evaluate(task, y=[], scores=[], flags=[], entities=[], times=pd.DatetimeIndex([])) == {}


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.integers(0, 30), st.booleans()),
        min_size=1,
        max_size=40,
        unique_by=lambda r: r[:2],
    )
)
def test_alarms_are_counted_as_the_threshold_counts_them(rows: list[tuple[str, int, bool]]) -> None:
    """The two rooms agree on what an alarm and a day watched are."""
    entities, hours, flags = (np.array(column) for column in zip(*rows, strict=True))
    times = START + pd.to_timedelta(hours, unit="h")
    found = evaluate(
        "anomaly", y=np.full(len(rows), np.nan), scores=flags.astype(float), flags=flags, entities=entities, times=times
    )
    wanted = onsets(flags.astype(float), entities, times, 0.5) / entity_days(entities, times)
    assert found["alarms_per_entity_day"] == pytest.approx(wanted)


def test_probabilities_are_judged_by_hand() -> None:
    """Two rows, truth 1 and 0, probabilities .8 and .4: log loss, Brier score, accuracy and F1 by their definitions."""
    found = evaluate("classification", y=[1, 0], scores=[0.8, 0.4])
    assert found["log_loss"] == pytest.approx(-(np.log(0.8) + np.log(0.6)) / 2)
    assert found["brier"] == pytest.approx((0.2**2 + 0.4**2) / 2)
    assert (found["accuracy"], found["f1"], found["roc_auc"]) == (1.0, 1.0, 1.0)


def test_f1_by_hand() -> None:
    """One hit, one miss, one false alarm: F1 = 2·1 / (2 + 2)."""
    found = evaluate("classification", y=[1, 1, 0, 0], scores=[0.9, 0.1, 0.9, 0.1], flags=[True, False, True, False])
    assert (found["f1"], found["accuracy"]) == (0.5, 0.5)


def test_several_classes_need_all_probabilities() -> None:
    """Three classes, all predicted right but one: accuracy 2/3; without the probabilities nothing can be said."""
    proba = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.5, 0.2, 0.3]])
    found = evaluate(
        "classification", y=["a", "b", "c"], scores=proba.max(axis=1), probabilities=proba, classes=["a", "b", "c"]
    )
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["log_loss"] == pytest.approx(-np.log([0.8, 0.8, 0.3]).mean())
    assert found["roc_auc"] == 1.0
    assert evaluate("classification", y=["a", "b", "c"], scores=proba.max(axis=1)) == {}


def test_regression_by_hand() -> None:
    """Errors 1, -1 and 3 on truths 0, 2 and 4 (squares: 8): MAE 5/3, RMSE √(11/3), median 1, bias 1, R² 1 - 11/8."""
    found = evaluate("regression", y=[0.0, 2.0, 4.0], scores=[1.0, 1.0, 7.0])
    assert found["mean_absolute_error"] == pytest.approx(5 / 3)
    assert found["root_mean_squared_error"] == pytest.approx(np.sqrt(11 / 3))
    assert found["median_absolute_error"] == 1.0
    assert found["bias"] == pytest.approx(1.0)
    assert found["r2"] == pytest.approx(1 - 11 / 8)


def test_a_constant_truth_has_no_r2() -> None:
    """Nothing varies, so no share of the variation can be explained."""
    assert "r2" not in evaluate("regression", y=[2.0, 2.0], scores=[1.0, 2.0])


def test_the_better_end_of_each_metric_is_known() -> None:
    """Errors and delays are better small; an unknown name and `bias`, best at 0, are refused with what was meant."""
    assert higher_is_better("average_precision")
    assert higher_is_better("injected_recall")
    assert not higher_is_better("mean_absolute_error")
    assert not higher_is_better("detection_delay_minutes")
    with pytest.raises(SpecError, match=r"Did you mean 'roc_auc'"):
        higher_is_better("roc_aux")
    with pytest.raises(SpecError, match=r"'bias'"):
        higher_is_better("bias")

"""Thresholds: the alert budget is kept on the calibration rows, and no lower threshold keeps it."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mlops.errors import TrainingError
from mlops.models.thresholds import entity_days, onsets, threshold_for_budget

START = pd.Timestamp("2026-03-01", tz="UTC")
HOUR = timedelta(hours=1)


def hours(*values: int) -> pd.DatetimeIndex:
    """Timestamps that many hours after the start."""
    return pd.DatetimeIndex([START + timedelta(hours=int(value)) for value in values])


SCORES = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.integers(0, 40),
        st.one_of(st.integers(0, 6).map(float), st.just(float("nan"))),
    ),
    min_size=1,
    max_size=60,
    unique_by=lambda row: (row[0], row[1]),
)


@given(rows=SCORES, budget=st.sampled_from([0.2, 1.0, 3.0, 8.0, 100.0]))
@example(rows=[("a", hour, 5.0) for hour in range(10)], budget=0.2)
def test_the_budget_is_kept_and_the_next_lower_score_would_break_it(
    rows: list[tuple[str, int, float]], budget: float
) -> None:
    """At the threshold and at every higher score alarms stay within the budget; one score lower they do not."""
    entities, times, scores = (np.array(column) for column in zip(*rows, strict=True))
    at = hours(*times)
    distinct = np.unique(scores[~np.isnan(scores)])
    if not len(distinct):
        return
    found = threshold_for_budget(scores, entities, at, alerts_per_entity_day=budget, step=HOUR)
    allowed = budget * np.count_nonzero(~np.isnan(scores)) / 24
    assert found in distinct
    for score in distinct[distinct >= found]:
        assert onsets(scores, entities, at, score) <= allowed + 1e-9
    if len(lower := distinct[distinct < found]):
        assert onsets(scores, entities, at, lower[-1]) > allowed


def test_two_alarms_a_day_are_found_by_hand() -> None:
    """Hourly scores for a day with peaks 9, 8 and 7 and a budget of two: the third peak is the threshold."""
    scores = np.zeros(24)
    scores[[2, 3]], scores[10], scores[[18, 19, 20]] = 9, 8, 7
    found = threshold_for_budget(scores, ["a"] * 24, hours(*range(24)), alerts_per_entity_day=2)
    assert found == 7
    assert onsets(scores, ["a"] * 24, hours(*range(24)), found) == 2


def test_rows_in_any_order_give_the_same_threshold() -> None:
    """Alarms follow time within each entity, not the order of the rows."""
    rng = np.random.default_rng(3)
    scores, entities, times = rng.normal(size=200), np.repeat(["a", "b"], 100), hours(*range(100), *range(100))
    shuffled = rng.permutation(200)
    ordered = threshold_for_budget(scores, entities, times, alerts_per_entity_day=1)
    assert (
        threshold_for_budget(scores[shuffled], entities[shuffled], times[shuffled], alerts_per_entity_day=1) == ordered
    )


def test_an_alarm_of_one_entity_does_not_continue_in_the_next() -> None:
    """The last row of one entity and the first of the next are two alarms."""
    assert onsets([0, 9, 9, 0], list("aabb"), hours(0, 1, 0, 1), 5) == 2


def test_constant_scores_raise_no_alarm() -> None:
    """When all rows score the same, none is above the threshold."""
    found = threshold_for_budget(np.full(48, 3.0), ["a"] * 48, hours(*range(48)), alerts_per_entity_day=0.5)
    assert found == 3.0
    assert onsets(np.full(48, 3.0), ["a"] * 48, hours(*range(48)), found) == 0


def test_rows_without_a_score_are_never_flagged() -> None:
    """NaN is no alarm, at any threshold."""
    assert onsets([np.nan, np.nan], ["a", "a"], hours(0, 1), -np.inf) == 0


def test_no_score_at_all_is_an_error_that_says_what_to_do() -> None:
    """A threshold out of nothing is refused."""
    with pytest.raises(TrainingError, match=r"none of the 2 calibration rows has a score.*entities"):
        threshold_for_budget([np.nan, np.nan], ["a", "b"], hours(0, 0), alerts_per_entity_day=1)


def test_time_watched_is_rows_times_their_usual_distance() -> None:
    """Two entities with 144 rows at 10 minutes each are two entity-days, whatever gap lies between two rows."""
    minutes = np.r_[np.arange(144), np.arange(144)] * 10
    minutes[143] += 5000
    times = START + pd.to_timedelta(minutes, unit="min")
    assert entity_days(np.repeat(["a", "b"], 144), times) == pytest.approx(2.0)
    assert entity_days(["a"], hours(0)) == 1.0


def test_timestamps_may_come_as_objects_or_numpy() -> None:
    """What `Series.to_numpy()` makes of zoned timestamps counts like the timestamps themselves."""
    times = hours(*range(24))
    scores = np.arange(24.0)
    wanted = threshold_for_budget(scores, ["a"] * 24, times, alerts_per_entity_day=1)
    for given_times in (pd.Series(times).to_numpy(), times.tz_localize(None).to_numpy()):
        assert threshold_for_budget(scores, ["a"] * 24, given_times, alerts_per_entity_day=1) == wanted

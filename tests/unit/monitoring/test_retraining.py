"""A retraining policy decides on what a night knows, and says why."""

from __future__ import annotations

import dataclasses
from datetime import date, timedelta

import pytest
from pydantic import ValidationError

from mlops.monitoring.retraining import Situation, decide, loss_of_waiting
from mlops.spec import CostTrigger, PerformanceTrigger, RetrainingSpec

TODAY = date(2026, 3, 20)


def night(*values: float, **facts: object) -> Situation:
    """Tonight: the last training ten days ago, and the champion's metric on the nights before."""
    realised = tuple((TODAY - timedelta(days=len(values) - i), value) for i, value in enumerate(values))
    plain = Situation(TODAY, (TODAY - timedelta(days=10),), None, realised, higher_is_better=False, labels=0)
    return dataclasses.replace(plain, **facts)  # type: ignore[arg-type]


def test_without_triggers_nothing_is_ever_trained() -> None:
    """The empty policy says so."""
    assert not decide(RetrainingSpec(), night(labels=10**6, drift=True)).train


@pytest.mark.parametrize(("age", "trains"), [(6, False), (7, True), (8, True)])
def test_a_schedule_counts_from_the_last_training(age: int, trains: bool) -> None:
    """Every seven days: on the seventh, not before."""
    found = decide(RetrainingSpec(every_days=7), night(trained=(TODAY - timedelta(days=age),)))
    assert found.train is trains
    assert f"{age} days old" in found.reason


@pytest.mark.parametrize(("drift", "trains"), [(True, True), (False, False), (None, False)])
def test_drift_that_cannot_be_told_asks_for_nothing(drift: bool | None, trains: bool) -> None:
    """Only drift that was found does; what cannot be told is named."""
    found = decide(RetrainingSpec(drift=True), night(drift=drift))
    assert found.train is trains
    assert ("cannot be told" in found.reason) is (drift is None)


def test_a_training_on_drift_waits_until_there_is_something_to_learn_from() -> None:
    """The day before it is due the reason names the date; on it, and where nothing is to be waited for, it starts."""
    policy = RetrainingSpec(drift=True)
    early = decide(policy, night(drift=True, drift_due=TODAY + timedelta(days=1)))
    assert not early.train
    assert str(TODAY + timedelta(days=1)) in early.reason
    assert decide(policy, night(drift=True, drift_due=TODAY)).train
    assert not decide(policy, night(drift=False, drift_due=TODAY)).train


def test_performance_compares_the_newest_nights_with_the_first_ones() -> None:
    """An error of 13 against 10 is worse by 3; too few nights cannot tell; where more is better it is turned round."""
    policy = RetrainingSpec(performance=PerformanceTrigger(worse_by=3, nights=2))
    assert decide(policy, night(10, 10, 11, 13, 13)).train
    assert not decide(policy, night(10, 10, 11, 12, 13)).train
    few = decide(policy, night(10, 99, 99))
    assert not few.train
    assert "3 nights of this champion have their truth, 4 are needed" in few.reason
    assert decide(policy, night(13, 13, 10, 10, higher_is_better=True)).train
    assert not decide(policy, night(10, 10, 13, 13, higher_is_better=True)).train


def test_the_cost_of_waiting_adds_up_and_better_nights_pay_back() -> None:
    """Nights of +1 against the first three add up to the price of 4; a better night takes back what it is better by."""
    policy = RetrainingSpec(cost=CostTrigger(training_cost=4))
    assert decide(policy, night(10, 10, 10, 11, 11, 11, 11)).train
    assert not decide(policy, night(10, 10, 10, 11, 11, 11, 10.5)).train
    assert not decide(policy, night(10, 10, 10, 11, 11, 5, 11, 11)).train
    assert loss_of_waiting([10, 10, 10, 0, 12], higher_is_better=False) == 2


def test_labels_are_counted_since_the_last_training() -> None:
    """At the number asked for, not one below."""
    policy = RetrainingSpec(labels=500)
    assert decide(policy, night(labels=500)).train
    assert not decide(policy, night(labels=499)).train


def test_all_means_that_every_trigger_agrees() -> None:
    """Drift alone is not enough where labels are needed, too; "any" is content with it."""
    both = RetrainingSpec(drift=True, labels=500, need="all")
    assert not decide(both, night(drift=True, labels=10)).train
    assert decide(both, night(drift=True, labels=500)).train
    assert decide(both.model_copy(update={"need": "any"}), night(drift=True, labels=10)).train


def test_cool_down_and_budget_hold_back_and_say_so() -> None:
    """A trigger that fires within the cool-down, or beyond the budget of 30 days, starts nothing."""
    cooling = decide(RetrainingSpec(drift=True, cooldown_days=11), night(drift=True))
    assert (cooling.train, cooling.fired) == (False, ("drift",))
    assert "No training before 2026-03-21" in cooling.reason
    assert decide(RetrainingSpec(drift=True, cooldown_days=10), night(drift=True)).train
    trained = tuple(TODAY - timedelta(days=age) for age in (31, 29, 10))
    spent = decide(RetrainingSpec(drift=True, budget_per_month=2), night(drift=True, trained=trained))
    assert not spent.train
    assert "2 in 30 days are all that the budget allows" in spent.reason
    assert decide(RetrainingSpec(drift=True, budget_per_month=3), night(drift=True, trained=trained)).train


def test_all_with_one_trigger_is_refused() -> None:
    """It would read as if something else were asked for."""
    with pytest.raises(ValidationError, match="two triggers or more"):
        RetrainingSpec(drift=True, need="all")

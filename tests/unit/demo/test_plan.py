"""The plan of deliveries."""

from __future__ import annotations

from datetime import timedelta

from demo.plan import make_plan
from mlops.config import MLOpsConfig
from mlops.services import Services


def test_the_history_is_long_enough_to_train_in_the_first_night(config: MLOpsConfig) -> None:
    """The training window of the first night, moved back by the labels' maturity, lies within what was delivered."""
    plan, spec = make_plan(), Services.open(config).spec("fleet_anomaly")
    assert spec.label is not None
    first = plan.nights[0].date + timedelta(days=1 - spec.label.maturity_days - spec.split.window_days)
    assert first >= plan.history[0]


def test_days_follow_one_another_without_a_gap() -> None:
    """History and nights are consecutive dates, and the fleet starts with them."""
    plan = make_plan()
    days = [*plan.history, *(night.date for night in plan.nights)]
    assert days == [plan.fleet.first_day + timedelta(days=i) for i in range(len(days))]


def test_every_night_gets_its_own_delivery_and_the_corrupt_one_comes_again() -> None:
    """Each date is delivered in its night; only the corrupt date is delivered a second time, in the night after."""
    plan = make_plan()
    for night in plan.nights:
        assert night.deliveries[-1].date == night.date
    corrupt = [night for night in plan.nights if night.deliveries[-1].kind == "corrupt"]
    again = [night for night in plan.nights if night.deliveries[0].kind == "re-delivery"]
    assert [night.number for night in corrupt] == [3]
    assert [night.number for night in again] == [4]
    assert again[0].deliveries[0].date == corrupt[0].date


def test_the_fleet_changes_on_the_fifth_night() -> None:
    """The day from which the fleet runs differently is that of the night which announces it."""
    plan = make_plan()
    announced = [night for night in plan.nights for d in night.deliveries if d.kind == "new regime"]
    assert [night.number for night in announced] == [5]
    assert plan.fleet.regime_day == announced[0].date

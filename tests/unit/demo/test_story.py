"""What the demo should show: each expectation notices that it did not happen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest

from demo import story
from demo.summary import Night, Summary, step_of
from tests.unit.demo.by_hand import dag_run, incident, ingested, judged, promoted, scored, trained, watched

Broken = Callable[..., Summary]


def missed(summary: Summary) -> list[str]:
    """The expectations that did not hold."""
    return [expectation.text for expectation in story.check(summary, []) if not expectation.held]


def without(night: Night, step: str) -> Night:
    """The night without the runs of one pipeline."""
    return replace(night, steps=tuple(found for found in night.steps if found.step != step))


def test_nights_in_which_all_happened_miss_nothing(summary: Summary) -> None:
    """The nights written down by hand meet every expectation."""
    assert missed(summary) == []


def test_a_failed_run_is_noticed(broken: Broken) -> None:
    """A failed DAG run breaks the first expectation and is named with its error."""

    def fail(night: Night) -> Night:
        first = replace(night.steps[0], outcome="failed", status="failed", reason="disk full")
        return replace(night, steps=(first, *night.steps[1:]))

    found = story.check(broken(2, fail), [])[0]
    assert not found.held
    assert found.found == "night 2 ingestion: disk full"


def test_no_first_champion_is_noticed(summary: Summary) -> None:
    """Without a promotion in night 1 there is no first champion."""
    assert "Night 1 makes exactly one champion, the first." in missed(replace(summary, champions=summary.champions[1:]))


def test_a_first_night_with_two_champions_is_noticed(summary: Summary) -> None:
    """Two changes in night 1 are one too many."""
    twice = (summary.champions[0], replace(summary.champions[1], night=1))
    assert "Night 1 makes exactly one champion, the first." in missed(replace(summary, champions=twice))


def test_challengers_that_always_win_are_noticed(summary: Summary) -> None:
    """If no challenger is ever refused, the demo has not shown what gates are for."""
    won = {
        night.number: replace(night, steps=tuple(replace(s, outcome="done") if s.gates else s for s in night.steps))
        for night in summary.nights
    }
    always = replace(summary, nights=tuple(won[night.number] for night in summary.nights))
    assert missed(always) == ["In some night the challenger does not win, and the champion stays."]


def test_a_corrupt_delivery_that_gets_through_is_noticed(broken: Broken, summary: Summary) -> None:
    """Night 3 must quarantine; a corrupt delivery that is published breaks that and leaves its date unscored."""
    day = summary.nights[2].date
    through = broken(3, lambda night: replace(night, steps=(step_of(dag_run("ingestion", ingested(day))),)))
    assert "In night 3 the corrupt delivery is quarantined, and the champion stands." in missed(through)


def test_a_champion_that_changes_on_the_corrupt_night_is_noticed(broken: Broken) -> None:
    """The champion before and after the corrupt night must be the same."""
    changed = broken(3, lambda night: replace(night, champion=9))
    assert "In night 3 the corrupt delivery is quarantined, and the champion stands." in missed(changed)


def test_a_delivery_that_is_not_released_is_noticed(broken: Broken) -> None:
    """The good delivery of night 4 must release the quarantined date."""
    assert "In night 4 a good delivery of that date releases it." in missed(
        broken(4, lambda night: without(night, "ingestion"))
    )


def test_an_early_drift_alarm_is_noticed(broken: Broken, summary: Summary) -> None:
    """An alarm while nothing has changed is a false one."""

    def alarm(night: Night) -> Night:
        step = step_of(watched([night.date], 1, moved=True))
        return replace(night, steps=(*without(night, "monitoring").steps, step))

    assert missed(broken(2, alarm)) == [
        "There is no drift alarm before night 5, when the fleet begins to run differently."
    ]


@pytest.mark.parametrize("step", ["monitoring", "training"])
def test_a_change_of_the_fleet_that_starts_no_training_is_noticed(summary: Summary, step: str) -> None:
    """Neither an alarm without a training because of it, nor no alarm at all, will do."""
    nights = tuple(without(night, step) if night.number >= 5 else night for night in summary.nights)
    assert "Drift then starts one training, whose reason is drift." in missed(replace(summary, nights=nights))


def test_a_training_before_the_alarm_does_not_count(broken: Broken) -> None:
    """The training because of drift must come after the alarm."""

    def reversed_(night: Night) -> Night:
        return replace(night, steps=night.steps[::-1])

    assert "Drift then starts one training, whose reason is drift." in missed(broken(5, reversed_))


def test_a_second_training_because_of_drift_is_noticed(broken: Broken) -> None:
    """One change starts one training."""
    again = broken(6, lambda night: replace(night, steps=(*night.steps, step_of(trained(night.date, 8, "drift")))))
    assert missed(again) == ["Drift then starts one training, whose reason is drift."]


@pytest.mark.parametrize(
    "change",
    [
        {"since": date(2026, 1, 1)},
        {"entities": ("pump-01",)},
        {"degree": "without_consequence"},
        {"columns": ()},
    ],
)
def test_drift_that_is_put_down_to_the_wrong_cause_is_noticed(broken: Broken, change: dict[str, Any]) -> None:
    """Date, devices, what they measure and that it matters: each must be right."""

    def wrong(night: Night) -> Night:
        steps = [replace(step, drift=tuple(replace(report, **change) for report in step.drift)) for step in night.steps]
        return replace(night, steps=tuple(steps))

    assert missed(broken(5, wrong)) == [
        "That night the drift is found, put down to its date, to the devices and to what they measure."
    ]


@pytest.mark.parametrize(
    "change",
    [{"number": 3}, {"told_at": datetime(2026, 3, 18, 2, tzinfo=UTC)}],
    ids=["another incident", "told once more"],
)
def test_more_than_one_incident_or_alert_is_noticed(broken: Broken, change: dict[str, Any]) -> None:
    """In the second night of drift: a second incident, a second alert instead of a reminder."""

    def twice(night: Night) -> Night:
        again = [replace(s, incidents=tuple(replace(i, **change) for i in s.incidents)) for s in night.steps]
        return replace(night, steps=tuple(again))

    assert missed(broken(6, twice)) == [
        "People hear of it by one incident and one alert; after that only reminders come."
    ]


def test_drift_that_nobody_hears_of_is_noticed(summary: Summary) -> None:
    """No incident at all."""
    deaf = [replace(n, steps=tuple(replace(s, incidents=()) for s in n.steps)) for n in summary.nights]
    assert missed(replace(summary, nights=tuple(deaf))) == [
        "People hear of it by one incident and one alert; after that only reminders come."
    ]


def test_a_champion_that_stays_after_drift_is_noticed(summary: Summary) -> None:
    """After the fleet has changed, the evidence must bring a new champion."""
    stays = replace(summary, champions=summary.champions[:1])
    assert missed(stays) == ["The champion changes once more after that."]


def test_a_date_without_predictions_is_noticed(broken: Broken) -> None:
    """Every validated date must have been scored; the missing one is named."""
    gone = broken(6, lambda night: without(night, "inference"))
    found = next(e for e in story.check(gone, []) if e.text == "Every validated date has predictions.")
    assert not found.held
    assert found.found == f"Missing: {gone.nights[5].date}."


def test_an_incident_in_the_last_night_is_noticed(broken: Broken) -> None:
    """The last night must be quiet: no incident, no drift."""

    def loud(night: Night) -> Night:
        first = replace(night.steps[0], incidents=(incident("quarantine", night.date),))
        return replace(night, steps=(first, *night.steps[1:]))

    assert missed(broken(8, loud)) == ["The last night is quiet."]


def test_a_broken_ledger_is_noticed(summary: Summary) -> None:
    """What the ledger says against itself is told."""
    found = story.check(summary, ["entry 2 was edited"])[-1]
    assert not found.held
    assert found.found == "entry 2 was edited"


def test_a_refusal_of_the_first_challenger_is_not_a_lost_comparison(summary: Summary) -> None:
    """A first challenger below the floor has no champion to lose against, so it does not count as "did not win"."""
    day = date(2026, 3, 13)
    only = replace(summary.nights[0], steps=(step_of(judged(day, 1, None, -0.1)),))
    text = "In some night the challenger does not win, and the champion stays."
    found = next(e for e in story.check(replace(summary, nights=(only, *_unjudged(summary))), []) if e.text == text)
    assert found.found == "Every challenger won."


def _unjudged(summary: Summary) -> list[Night]:
    return [without(night, "validation") for night in summary.nights[1:]]


def test_the_helpers_of_these_tests_are_whole() -> None:
    """A promotion and a scoring written by hand read as such, lest the tests above pass for want of them."""
    day = date(2026, 3, 13)
    assert step_of(promoted(day, 2, 1)).promoted
    assert step_of(scored([day], 2)).outcome == "done"

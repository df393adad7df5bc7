"""Which dates a run is about, and what it tells the next."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from dags import nights
from mlops.errors import ConfigError

MOMENT = datetime(2026, 3, 9, 1, tzinfo=UTC)


def test_the_date_of_the_form_outweighs_events_and_schedule() -> None:
    """A person who names a date gets that date and no other."""
    assert nights.dates("2026-02-01", [{"date": "2026-03-05"}], MOMENT) == ["2026-02-01"]


def test_events_that_waited_together_give_each_date_once_and_oldest_first() -> None:
    """Coalesced events lose no date, repeat none, and are worked off in time's order."""
    facts = [{"date": "2026-03-05"}, {"date": "2026-03-03"}, {"date": "2026-03-05"}]
    assert nights.dates(None, facts, MOMENT) == ["2026-03-03", "2026-03-05"]


def test_a_scheduled_run_is_about_the_day_that_ended_before_it() -> None:
    """The run at 01:00 of the 9th, whose interval began at 01:00 of the 8th, works on the 8th."""
    assert nights.dates(None, [], MOMENT) == ["2026-03-08"]


def test_events_without_a_date_count_as_none() -> None:
    """An event made by hand without facts falls back to the last whole day."""
    assert nights.dates("", [{}, {"note": "by hand"}], MOMENT) == ["2026-03-08"]


@pytest.mark.parametrize("text", ["5 March", "2026-02-30", "20260305x"])
def test_what_is_no_date_is_refused_with_an_example(text: str) -> None:
    """The message names the text and shows how a date is written."""
    with pytest.raises(ConfigError, match=rf"'{text}' is not a date.*2026-03-05"):
        nights.dates(text, [], MOMENT)


@pytest.mark.parametrize(
    ("chosen", "facts", "run_type", "reason"),
    [
        ("new pumps", [{"date": "2026-03-05"}], "manual", "new pumps"),
        (None, [{"date": "2026-03-05"}], "asset_triggered", "drift"),
        (None, [], "manual", "manual"),
        (None, [], "scheduled", "schedule"),
        (None, [], "backfill", "schedule"),
    ],
)
def test_a_training_knows_why_it_runs(
    chosen: str | None, facts: list[dict[str, str]], run_type: str, reason: str
) -> None:
    """The form says it, else what started the run."""
    assert nights.training_reason(chosen, facts, run_type) == reason


def _report(step: str, outcome: str, record: dict[str, object]) -> dict[str, object]:
    """A step's report as a dict."""
    return {"step": step, "model": "m", "date": "2026-03-05", "outcome": outcome, "reason": "why", "record": record}


@pytest.mark.parametrize("outcome", ["nothing_to_do", "no", "cannot_tell"])
def test_only_what_is_done_is_news(outcome: str) -> None:
    """A quarantined delivery, a refused challenger or an empty night starts nothing."""
    assert nights.news(_report("validation", outcome, {"version": 3})) is None


def test_news_carries_model_date_reason_and_version() -> None:
    """The next DAG and a reader of the event learn what it is about."""
    facts = nights.news(_report("training", "done", {"version": 3, "metrics": {"auc": 0.9}}))
    assert facts == {"model": "m", "date": "2026-03-05", "reason": "why", "version": 3}


def test_drift_is_news_exactly_when_it_asks_for_a_training() -> None:
    """Monitoring answers "no" when it finds drift: the event depends on `retrain`, not on the outcome."""
    assert nights.news(_report("monitoring", "no", {"retrain": True, "share": 0.5})) is not None
    assert nights.news(_report("monitoring", "no", {"retrain": False, "share": 0.5})) is None
    assert nights.news(_report("monitoring", "done", {"retrain": False, "share": 0.0})) is None
    assert nights.news(_report("monitoring", "nothing_to_do", {})) is None

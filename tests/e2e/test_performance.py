"""`mlops performance` over real nights: estimated before labels come, measured after, and held against each other."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from mlops.pipelines import performance
from mlops.pipelines.night import report_uri
from mlops.pipelines.night_performance import Performance
from mlops.records import from_dict, to_dict
from tests.e2e.conftest import Team

pytestmark = [pytest.mark.slow]


def test_an_estimate_is_made_before_labels_come_and_held_against_them(team: Team) -> None:
    """Labels that take two days: the night is estimated at once, measured later, and the estimate is kept as it was."""
    team.write_spec(label={"maturity_days": 2}, split={"holdout_days": 3, "window_days": 7})
    day = team.history()
    for step in ("training", "validation", "promotion", "inference"):
        assert team.run(step, day).outcome == "done"
    spec = team.services.spec("presses")
    first = performance.run(team.services, spec, day)
    (night,) = from_dict(Performance, first.record).nights
    assert (first.outcome, night.labelled, night.realised) == ("done", 0, ())
    assert "have a mature label" in night.reason
    guess = {one.metric: one for one in night.estimated}["roc_auc"]
    assert guess.low is not None
    assert guess.high is not None
    assert 0.5 < guess.low < guess.high <= 1.0
    for back in (1, 2):
        team.deliver(day + timedelta(days=back))
        assert team.run("ingestion", day + timedelta(days=back)).outcome == "done"
    later = performance.run(team.services, spec, day + timedelta(days=2))
    (again,) = from_dict(Performance, later.record).nights
    assert again.estimated == night.estimated
    measured = {one.metric: one for one in again.realised}["roc_auc"]
    assert again.labelled == night.rows
    assert measured.value is not None
    assert measured.low is not None
    assert measured.low <= measured.value
    assert again.held is not None
    assert again.held["roc_auc"] is (guess.low <= measured.value <= guess.high)
    assert "roc_auc" in later.reason
    early = performance.run(team.services, spec, day - timedelta(days=1))
    assert early.outcome == "nothing_to_do"
    uri = report_uri(team.services, spec, day, "performance.json")
    team.services.storage.write_json(uri, to_dict(replace(again, labelled=17)))
    late, mature = (
        from_dict(Performance, performance.run(team.services, spec, night, tonight=True).record).nights
        for night in (day + timedelta(days=5), day + timedelta(days=2))
    )
    assert [one.labelled for one in late] == [17], "what is neither new nor newly mature is read as it was found"
    assert mature == (again,), "what has just become mature is measured"

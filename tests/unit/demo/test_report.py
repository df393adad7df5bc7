"""The page."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest

from demo import charts, report
from demo.series import Series
from demo.summary import Night, Summary, step_of
from tests.unit.demo.by_hand import dag_run, ingested, judged, watched


@pytest.fixture
def page(summary: Summary, series: Series) -> str:
    """The page without the text of plotly.js."""
    return without_plotly(report.render(summary, series, {"log": "demo.log"}))


def without_plotly(page: str) -> str:
    """The page, the longest script left out."""
    longest = max(re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL), key=len)
    assert len(longest) > 1_000_000, "plotly.js is not in the page"
    return page.replace(longest, "")


def test_the_page_needs_no_network(page: str) -> None:
    """No script, style, font or picture is loaded from anywhere; links lead to files beside the page."""
    assert not re.findall(r"(?:src|href)=\"(?:https?:)?//", page)
    assert not re.findall(r"@import|url\(", page)
    assert re.findall(r"<(?:script|link|img|iframe)[^>]* (?:src|href)=", page) == []
    assert 'href="demo.log"' in page


def test_every_run_is_a_field_with_its_reason(page: str, summary: Summary) -> None:
    """The strip has one field per DAG run; the reason is in it, escaped."""
    fields = re.findall(r'<button class="run (\w+)"', page)
    assert len(fields) == len(summary.steps)
    assert fields.count("failed") == 0
    assert "Quarantined: temperature: 2,988 of 3,524 rows" in page


def test_what_a_pipeline_says_cannot_become_markup(summary: Summary, series: Series) -> None:
    """A reason with tags in it is shown as text, in fields and in the data of figures."""
    bad = '</script><script>alert("x")</script>'
    loud = replace(summary.nights[0], steps=tuple(replace(s, reason=bad) for s in summary.nights[0].steps))
    gates = tuple(replace(gate, reason=bad) for gate in summary.nights[1].of("validation")[0].gates)
    judged_ = replace(
        summary.nights[1], steps=tuple(replace(s, gates=gates) if s.gates else s for s in summary.nights[1].steps)
    )
    made = report.render(replace(summary, nights=(loud, judged_, *summary.nights[2:])), series, {})
    assert bad not in made
    assert "alert(" in made


def test_figures_are_valid_json_without_plotly_being_imported(page: str) -> None:
    """What the page draws is JSON: no NaN, which a browser refuses."""
    found = re.search(r"const FIGURES = (.*);\n", page)
    assert found is not None

    def refuse(name: str) -> Any:
        raise ValueError(name)

    figures = json.loads(found.group(1), parse_constant=refuse)
    assert set(figures) == {"challengers", "drift", "alarms"}


def test_every_figure_has_its_place(page: str) -> None:
    """Each figure that is drawn has an element of its name."""
    for name in ("challengers", "drift", "alarms", "trace"):
        assert f'id="{name}"' in page


def test_nights_are_told_from_facts(summary: Summary) -> None:
    """Each kind of night is told by what happened in it, and a quiet one as quiet."""
    told = {night.number: report.tale(night) for night in summary.nights}
    assert told[1] == "v1 became champion."
    assert told[2] == "Challenger v2 did not beat v1."
    assert told[3] == "The delivery broke its contract and is in quarantine."
    assert told[4].startswith("The quarantined date came again, kept its contract and was released.")
    assert told[5] == (
        "Challenger v5 did not beat v1. Drift alarm: 65% of the columns moved. "
        "Drift started a training, which made v6. Challenger v6 did not beat v1."
    )
    assert "Drift goes on: 65% of the columns moved." in told[6]
    assert "Drift alarm" not in told[6] + told[7]
    assert told[7].endswith("v7 became champion.")
    quiet = Night(
        9, summary.nights[-1].date, (), (step_of(dag_run("ingestion", ingested(summary.nights[-1].date))),), 7, 1.0
    )
    assert report.tale(quiet) == "Quiet: scored and looked at, nothing to tell."


def test_a_judgement_that_cannot_tell_is_not_told_as_a_loss(summary: Summary) -> None:
    """ "Cannot tell" is told as such, with the gate that could not."""
    step = step_of(judged(summary.nights[1].date, 2, 1, 0.1))
    gates = tuple(replace(g, verdict="cannot_tell") if g.name == "alert_budget_kept" else g for g in step.gates)
    night = replace(summary.nights[1], steps=(replace(step, outcome="cannot_tell", gates=gates),))
    assert report.tale(night) == "Challenger v2 did not pass “alert budget kept”; v1 stays."


def test_the_headline_counts_what_happened(page: str) -> None:
    """The headline's numbers are those of the summary: 2 champions, 1 quarantine, one drift from night 5 to 7."""
    assert "<h1>8 nights, two champions, one quarantined delivery and one drift</h1>" in page


def test_a_demo_without_a_champion_can_be_drawn(summary: Summary, series: Series) -> None:
    """Where everything failed, the page still shows what there is."""
    nights = tuple(replace(night, champion=None, steps=night.steps[:1]) for night in summary.nights)
    nothing = replace(series, alarms=tuple(tuple(None for _ in line) for line in series.alarms), traces=())
    made = report.render(replace(summary, nights=nights, champions=()), nothing, {})
    assert "no champions" in made
    assert "In no looks no alarm was raised." in made


def test_a_date_looked_at_twice_has_two_columns(summary: Summary) -> None:
    """The same date and version twice on one axis would be drawn over one another: labels are all different."""
    night = summary.nights[-1]
    again = replace(night, steps=(*night.steps, step_of(watched([night.date], 7, moved=True))))
    figure = charts.drift(replace(summary, nights=(*summary.nights[:-1], again)))
    labels = figure["data"][1]["x"]
    assert len(labels) == len(set(labels)) == 10
    assert figure["data"][1]["y"][-2:] == [0.0, pytest.approx(13 / 20)]


def test_drift_is_drawn_in_thresholds(summary: Summary) -> None:
    """A cell is value over threshold: .16 + .05 · 3 over .1 is 3.1 for the column that moved most."""
    heat = charts.drift(summary)["data"][0]
    assert max(max(row) for row in heat["z"]) == pytest.approx(3.1)
    assert len(heat["y"]) == 20


def test_the_challenger_is_drawn_beside_the_champion(summary: Summary) -> None:
    """Both metrics, the difference and its lower bound come from the gate's own numbers."""
    figure = charts.challengers(summary)
    by_name = {trace["name"]: trace for trace in figure["data"] if "name" in trace}
    assert by_name["lower bound"]["y"][0] == pytest.approx(-0.028)
    assert by_name["difference"]["y"][0] == pytest.approx(-0.008)
    assert by_name["lower bound"]["x"][0].startswith("2<br>"), "the first champion has no champion to beat"
    assert by_name["challenger"]["y"][0] == pytest.approx(0.63)
    assert len(set(by_name["challenger"]["x"])) == 9


def test_alarms_and_faults_are_where_they_were(series: Series) -> None:
    """Each cell of the map is the count of its device and date; every day with a fault has one mark."""
    heat, caught, missed = charts.alarms(series)["data"]
    row = heat["y"].index(series.devices[3])
    assert heat["z"][row] == list(series.alarms[3])
    days = {(fault.device, fault.start.date()) for fault in series.faults}
    assert len(caught["x"]) + len(missed["x"]) == len(days)


def test_a_trace_is_cut_to_its_day(series: Series) -> None:
    """A fault that lasts beyond midnight is shaded up to the last reading, so that the axis keeps to the day."""
    one = series.traces[0]
    longer = replace(one, faults=tuple(replace(f, end=f.end.replace(day=f.end.day + 1)) for f in one.faults))
    shape = charts.trace(longer)["layout"]["shapes"][0]
    assert shape["x1"] == one.times[-1].strftime("%Y-%m-%d %H:%M")


def test_a_gate_that_does_not_decide_is_shown_but_is_no_reason(page: str) -> None:
    """What cannot be told stands in the table; the story names only the gates that kept a challenger out."""
    assert "0 of 30 slices have enough rows" in page
    assert "did not beat v1." in page
    assert "nor pass" not in page

"""Evidently's page agrees with the decision it explains."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlops.monitoring.drift import evidently_report
from mlops.monitoring.drift.detect import Detection, detect, strength
from mlops.spec import DriftSpec


def finding(method: Any) -> tuple[pd.DataFrame, pd.DataFrame, Detection]:
    """Two columns that drifted, one close to it, one quiet with nulls, one that cannot be judged, and text."""
    rng = np.random.default_rng(0)
    reference = pd.DataFrame(rng.normal(size=(1500, 5)), columns=list("abcde"))
    current = pd.DataFrame(rng.normal(size=(600, 5)), columns=list("abcde"))
    current["a"], current["b"], current["c"] = current["a"] + 9, current["b"] * 40, current["c"] + 0.1
    reference.loc[::4, "d"] = np.nan
    current.loc[::5, "d"] = np.nan
    current["e"] = np.nan
    reference["f"], current["f"] = np.where(reference["a"] > 0, "x", "y"), np.where(current["b"] > 0, "x", "new")
    times = pd.date_range("2026-03-01", periods=1500, freq="10min", tz="UTC")
    spec = DriftSpec(method=method, false_alarms_per_month=10, columns=tuple("abcdef"))
    return reference, current, detect(reference, current, spec=spec, reference_times=times)


@pytest.mark.parametrize("method", ["wasserstein", "ks", "psi"])
def test_evidently_finds_the_same_values_and_verdicts(method: Any) -> None:
    """For every judged column Evidently's value equals ours to 1e-6 and its test fails exactly where we say drift."""
    reference, current, found = finding(method)
    result = evidently_report.snapshot(reference, current, found.judged).dict()
    shown = [column for column in found.judged if column.column in "abcdf"]
    assert len(result["metrics"]) == len(result["tests"]) == len(shown) == 5
    for column, metric, test in zip(shown, result["metrics"], result["tests"], strict=True):
        assert f"column={column.column}," in metric["metric_name"]
        assert float(metric["value"]) == pytest.approx(column.value, abs=1e-6)
        assert ("FAIL" in str(test["status"])) == (column.verdict == "drift")
    assert {c.column for c in shown if c.verdict == "drift"} >= {"a", "b"}


def test_the_threshold_of_the_decision_is_the_one_evidently_applies() -> None:
    """A value at its threshold is drift, one just below it is not: for every column its own threshold."""
    reference, current, found = finding("wasserstein")
    for factor, status in ((1 - 1e-6, "FAIL"), (1 + 1e-6, "SUCCESS")):
        columns = [dataclasses.replace(c, threshold=(c.value or 0.0) * factor) for c in found.judged]
        tests = evidently_report.snapshot(reference, current, columns).dict()["tests"]
        assert [status in str(test["status"]) for test in tests] == [True] * 5
    never = [dataclasses.replace(c, threshold=None) for c in found.judged]
    tests = evidently_report.snapshot(reference, current, never).dict()["tests"]
    assert ["SUCCESS" in str(test["status"]) for test in tests] == [True] * 5


def test_the_page_is_whole_and_names_what_it_leaves_out() -> None:
    """One HTML document without anything to load: our table with all columns, Evidently's plots of the judged ones."""
    reference, current, found = finding("wasserstein")
    page = evidently_report.html(reference, current, found.columns, title="Drift of <x>", summary="Two moved.").decode()
    assert "Drift of &lt;x&gt;" in page
    assert "Two moved." in page
    assert "current: all 600 values are null" in page
    assert page.index(">a</td>") < page.index(">e</td>") < page.index(">d</td>")
    assert "Drift in column" in page
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=.?https?:", page)


def test_a_page_without_any_judged_column_is_still_a_page() -> None:
    """Where nothing could be judged the page says why, for every column."""
    reference, current, found = finding("wasserstein")
    unjudged = [column for column in found.columns if column.verdict == "cannot_tell"]
    page = evidently_report.html(reference, current[:0], unjudged).decode()
    assert "all 600 values are null" in page
    assert page.startswith("<!DOCTYPE html>")


def test_large_data_is_sampled_for_the_plots_and_the_page_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the limit a seeded sample is drawn; the same seed draws the same page."""
    monkeypatch.setattr(evidently_report, "MOST_ROWS", 500)
    reference, current, found = finding("wasserstein")
    page = evidently_report.html(reference, current, found.columns[:1], seed=3).decode()
    assert "Plots are drawn from a sample of 500 rows a side" in page
    drawn = [evidently_report.sampled(reference, 3) for _ in range(2)]
    assert drawn[0].equals(drawn[1])
    assert len(drawn[0]) == 500


def test_of_many_columns_the_page_plots_those_that_moved_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """With room for two plots, the two strongest are plotted; the other three are said to be in the table."""
    monkeypatch.setattr(evidently_report, "MOST_PLOTS", 2)
    reference, current, found = finding("wasserstein")
    page = evidently_report.html(reference, current, found.columns).decode()
    assert "Plotted are the 2 columns that moved most; 3 more are in the table." in page
    assert all(f">{name}</td>" in page for name in "abcde")
    strongest = sorted((c for c in found.judged if c.column in "abcdf"), key=strength)[-2:]
    assert set(re.findall(r"Drift in column '(\w)'", page)) == {c.column for c in strongest}

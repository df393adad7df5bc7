"""Evidently's page of a drift finding: the distributions that a person reads beside the verdict.

Evidently is told measure, value and threshold of every column, so that page and decision cannot disagree, also where
its plots are drawn from a sample: its own "ks" and "psi" are a p-value and an index over other bins. Columns that it
cannot take (nothing but nulls, infinite values, missing) are those that could not be judged: they are named on top,
and so is what no plot of a column shows.

One rule: the page explains a decision that has been made; it decides nothing.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import jinja2
import numpy as np
import numpy.typing as npt
import pandas as pd

from mlops.monitoring.drift import columns as cols
from mlops.monitoring.drift.measures import Floats
from mlops.records import ColumnDrift

MOST_ROWS = 20_000  # Evidently takes minutes on millions
MOST_PLOTS = 12  # as many as a person looks at; Evidently takes 50 ms for each
_NEVER = 1e9  # Evidently wants a threshold where none would be enough
_TITLES = {
    "wasserstein": "Wasserstein distance, normed",
    "ks": "K-S statistic",
    "psi": "PSI",
    "jensen_shannon": "Jensen-Shannon distance",
    "total_variation": "Total variation",
    "chi2": "χ² per row",
}

_BANNER = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string("""
<section style="font:15px/1.5 system-ui,sans-serif;max-width:1240px;margin:24px auto;padding:0 24px;color:#1d2433">
<style>.found{border-collapse:collapse;width:100%;font-size:14px}
.found td,.found th{text-align:left;padding:4px 12px 4px 0;border-bottom:1px solid #e3e7ee}
.found td.n{text-align:right;font-variant-numeric:tabular-nums}
.drift{color:#b42318;font-weight:600}.no_drift{color:#1a7f4b}.cannot_tell{color:#8a6100}</style>
<h1 style="font-size:24px;margin:0 0 4px">{{ title }}</h1>
<p style="margin:0 0 12px">{{ summary }} Reference {{ reference_rows }} rows, current {{ current_rows }} rows.
{% if drawn %}Plots are drawn from a sample of {{ drawn }} rows a side, numbers are of all rows.{% endif %}
{% if left_out %}Plotted are the {{ plotted }} columns that moved most; {{ left_out }} more are in the table.
{% endif %}</p>
<table class="found"><tr><th>column</th><th></th><th>measure</th><th style="text-align:right">value</th>
<th style="text-align:right;padding-right:24px">threshold</th><th>why</th></tr>
{% for c in columns %}
<tr><td>{{ c.column }}</td><td class="{{ c.verdict }}">{{ c.verdict.replace("_", " ") }}</td><td>{{ c.method }}</td>
<td class="n">{{ "%.3f"|format(c.value) if c.value is not none else "–" }}</td>
<td class="n" style="padding-right:24px">{{ "%.3f"|format(c.threshold) if c.threshold is not none else "–" }}</td>
<td>{{ c.reason }}</td></tr>
{% endfor %}
</table></section>
""")


def html(
    reference: pd.DataFrame,
    current: pd.DataFrame,
    columns: Sequence[ColumnDrift],
    *,
    title: str = "Drift",
    summary: str = "",
    seed: int = 0,
) -> bytes:
    """One self-contained page.

    Args:
        reference: the rows that `detect` was given; above `MOST_ROWS` a sample is drawn.
        current: likewise.
        columns: what `detect` found. All are listed; of those that could be judged, the `MOST_PLOTS` that moved most
            are plotted.
        title: the page's headline.
        summary: a sentence or two below it.
        seed: of the sample.

    Returns:
        UTF-8 HTML of some megabytes that needs no network.
    """
    ordered = sorted(columns, key=_rank)
    judged = _plotted(ordered, reference, current)
    plotted = judged[:MOST_PLOTS]
    banner = _BANNER.render(
        title=title,
        summary=summary,
        columns=ordered,
        reference_rows=f"{len(reference):,}",
        current_rows=f"{len(current):,}",
        plotted=len(plotted),
        left_out=len(judged) - len(plotted),
        drawn=f"{MOST_ROWS:,}" if max(len(reference), len(current)) > MOST_ROWS else "",
    )
    if not plotted:
        return f"<!DOCTYPE html><html><head><meta charset='utf-8'></head><body>{banner}</body></html>".encode()
    page = snapshot(sampled(reference, seed), sampled(current, seed), plotted).get_html_str(as_iframe=False)
    head, body, rest = page.partition("<body>")
    return f"{head}{body}{banner}{rest}".encode()


def most_moved(columns: Sequence[ColumnDrift], reference: pd.DataFrame, current: pd.DataFrame) -> Sequence[ColumnDrift]:
    """The columns that are plotted: at most `MOST_PLOTS`, drifted ones first, the strongest on top."""
    return _plotted(sorted(columns, key=_rank), reference, current)[:MOST_PLOTS]


def snapshot(
    reference: pd.DataFrame,
    current: pd.DataFrame,
    columns: Sequence[ColumnDrift],
    *,
    at: datetime | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Any:
    """Evidently's own result for columns that were judged: measure, value and threshold are those of the decision.

    Args:
        reference: rows, all or a sample.
        current: likewise.
        columns: those to show; what is no column of both tables (`missing(…)`, `joint(…)`) is left out.
        at: when it was. Default: now.
        metadata: what else is said of it.
    """
    os.environ["DO_NOT_TRACK"] = "1"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Evidently's and plotly's own deprecations
        from evidently import DataDefinition, Dataset, Report
        from evidently.metrics import ValueDrift

        shown = _plotted(columns, reference, current)
        sides, kinds = _sides(reference, current, [column.column for column in shown])
        definition = DataDefinition(
            numerical_columns=[name for name, kind in kinds.items() if kind == "number"],
            categorical_columns=[name for name, kind in kinds.items() if kind == "category"],
        )
        metrics = [
            ValueDrift(
                column=c.column,
                method=_register(c, kinds[c.column]),
                threshold=_NEVER if c.threshold is None else c.threshold,
            )
            for c in shown
        ]
        data = (Dataset.from_pandas(side, data_definition=definition) for side in sides)
        return Report(metrics, include_tests=True).run(*data, timestamp=at, metadata=dict(metadata or {}))


def _plotted(columns: Sequence[ColumnDrift], reference: pd.DataFrame, current: pd.DataFrame) -> list[ColumnDrift]:
    there = set(reference.columns) & set(current.columns)
    return [column for column in columns if column.verdict != "cannot_tell" and column.column in there]


def _register(column: ColumnDrift, kind: str) -> str:
    """A measure of Evidently's that answers what was decided for one column; its name."""
    from evidently.legacy.calculations.stattests import StatTest, register_stattest
    from evidently.legacy.core import ColumnType

    name = f"mlops_{column.method}_{column.column}"
    types = [ColumnType.Numerical if kind == "number" else ColumnType.Categorical]
    value = float(column.value or 0.0)

    def decided(_reference: Any, _current: Any, _kind: Any, threshold: float) -> tuple[float, bool]:
        return value, value >= threshold

    register_stattest(StatTest(name, _TITLES.get(column.method, column.method), types), default_impl=decided)
    return name


def _sides(
    reference: pd.DataFrame, current: pd.DataFrame, names: Sequence[str]
) -> tuple[tuple[pd.DataFrame, pd.DataFrame], dict[str, str]]:
    """Current and reference as they were compared: numbers (hours for times), and categories as text."""
    taught: dict[str, Any] = {}
    seen: dict[str, Any] = {}
    kinds: dict[str, str] = {}
    for name in names:
        column = cols.of_reference(reference, name)
        now = cols.like(current, name, column) if isinstance(column, cols.Column) else ""
        assert isinstance(column, cols.Column)
        assert isinstance(now, cols.Column)
        kinds[name] = column.kind
        if column.labels is None:
            taught[name], seen[name] = column.values, now.values
        else:
            words = np.array([*map(str, column.labels), "(other)"], dtype=object)
            taught[name], seen[name] = _words(column.values, words), _words(now.values, words)
    return (pd.DataFrame(seen), pd.DataFrame(taught)), kinds


def _words(codes: Floats, words: npt.NDArray[np.object_]) -> npt.NDArray[np.object_]:
    there = ~np.isnan(codes)
    found = np.full(len(codes), None, dtype=object)
    found[there] = words[codes[there].astype(int)]
    return found


def sampled(frame: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Rows that Evidently can plot in seconds: all, or `MOST_ROWS` of them, drawn by `seed`."""
    if len(frame) <= MOST_ROWS:
        return frame
    return frame.iloc[np.sort(np.random.default_rng(seed).choice(len(frame), MOST_ROWS, replace=False))]


def _rank(column: ColumnDrift) -> tuple[int, float]:
    """Drifted columns first, the strongest on top; what could not be judged next; then the rest."""
    order = {"drift": 0, "cannot_tell": 1, "no_drift": 2}
    return order[column.verdict], -(column.value or 0.0) / (column.threshold or 1.0)

"""Evidently's page of a drift finding: the distributions that a person reads beside the verdict.

Evidently is told measure and threshold of every column, so that page and decision cannot disagree; its "ks" and "psi"
are a p-value and an index over other bins, so ours are registered with it under names of their own. Columns that it
cannot take (nothing but nulls, infinite values, missing) are those that could not be judged: they are named on top.

One rule: the page explains a decision that has been made; it decides nothing.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from typing import Any

import jinja2
import numpy as np
import pandas as pd

from mlops.monitoring.drift.measures import MEASURES
from mlops.records import ColumnDrift

MOST_ROWS = 20_000  # Evidently takes minutes on millions
_METHODS = {"wasserstein": "wasserstein", "ks": "mlops_ks_statistic", "psi": "mlops_psi_deciles"}
_TITLES = {"ks": "K-S statistic", "psi": "PSI over deciles of the reference"}

_BANNER = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string("""
<section style="font:15px/1.5 system-ui,sans-serif;max-width:1240px;margin:24px auto;padding:0 24px;color:#1d2433">
<style>.found{border-collapse:collapse;width:100%;font-size:14px}
.found td,.found th{text-align:left;padding:4px 12px 4px 0;border-bottom:1px solid #e3e7ee}
.found td.n{text-align:right;font-variant-numeric:tabular-nums}
.drift{color:#b42318;font-weight:600}.no_drift{color:#1a7f4b}.cannot_tell{color:#8a6100}</style>
<h1 style="font-size:24px;margin:0 0 4px">{{ title }}</h1>
<p style="margin:0 0 12px">{{ summary }} Reference {{ reference_rows }} rows, current {{ current_rows }} rows.
{% if drawn %}Plots are drawn from a sample of {{ drawn }} rows a side, numbers are of all rows.{% endif %}</p>
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
        columns: what `detect` found; those that could not be judged are listed, not plotted.
        title: the page's headline.
        summary: a sentence or two below it.
        seed: of the sample.

    Returns:
        UTF-8 HTML of some megabytes that needs no network.
    """
    ordered = sorted(columns, key=_rank)
    plotted = [column for column in ordered if column.verdict != "cannot_tell"]
    banner = _BANNER.render(
        title=title,
        summary=summary,
        columns=ordered,
        reference_rows=f"{len(reference):,}",
        current_rows=f"{len(current):,}",
        drawn=f"{MOST_ROWS:,}" if max(len(reference), len(current)) > MOST_ROWS else "",
    )
    if not plotted:
        return f"<!DOCTYPE html><html><head><meta charset='utf-8'></head><body>{banner}</body></html>".encode()
    page = snapshot(_sampled(reference, seed), _sampled(current, seed), plotted).get_html_str(as_iframe=False)
    head, body, rest = page.partition("<body>")
    return f"{head}{body}{banner}{rest}".encode()


def snapshot(reference: pd.DataFrame, current: pd.DataFrame, columns: Sequence[ColumnDrift]) -> Any:
    """Evidently's own result for columns that were judged: measure and threshold of each are those of the decision."""
    os.environ["DO_NOT_TRACK"] = "1"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Evidently's and plotly's own deprecations
        from evidently import DataDefinition, Dataset, Report
        from evidently.metrics import ValueDrift

        _register()
        names = [column.column for column in columns]
        definition = DataDefinition(numerical_columns=names)
        metrics = [ValueDrift(column=c.column, method=_METHODS[c.method], threshold=c.threshold) for c in columns]
        sides = (Dataset.from_pandas(_floats(side, names), data_definition=definition) for side in (current, reference))
        return Report(metrics, include_tests=True).run(*sides)


def _register() -> None:
    from evidently.legacy.calculations.stattests import StatTest, register_stattest
    from evidently.legacy.core import ColumnType

    for method, title in _TITLES.items():
        test = StatTest(_METHODS[method], title, [ColumnType.Numerical])

        def compare(
            reference: Any, current: Any, _kind: Any, threshold: float, method: str = method
        ) -> tuple[float, bool]:
            value = MEASURES[method](reference.to_numpy(dtype=np.float64), current.to_numpy(dtype=np.float64))
            return value, value >= threshold

        register_stattest(test, default_impl=compare)


def _floats(frame: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    return pd.DataFrame({name: frame[name].to_numpy(dtype=np.float64, na_value=np.nan) for name in names})


def _sampled(frame: pd.DataFrame, seed: int) -> pd.DataFrame:
    if len(frame) <= MOST_ROWS:
        return frame
    return frame.iloc[np.sort(np.random.default_rng(seed).choice(len(frame), MOST_ROWS, replace=False))]


def _rank(column: ColumnDrift) -> tuple[int, float]:
    """Drifted columns first, the strongest on top; what could not be judged next; then the rest."""
    order = {"drift": 0, "cannot_tell": 1, "no_drift": 2}
    return order[column.verdict], -(column.value or 0.0) / (column.threshold or 1.0)

"""The page of a contract's check: one HTML file without anything from elsewhere, which opens offline and for ever.

One rule: the verdict is the first thing to be seen, the reason the second, the rows the third.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date
from functools import cache

import jinja2
import pandas as pd

from mlops.data.finding import Finding


def page(day: date, rows: int, entities: int | None, findings: Sequence[Finding]) -> str:
    """The page.

    Args:
        day: date of the delivery.
        rows: rows delivered.
        entities: different entities among them; None where they were not counted.
        findings: what became of each rule, in the order of the contract.
    """
    broken = [finding for finding in findings if finding.verdict == "broken"]
    counts = {verdict: sum(f.verdict == verdict for f in findings) for verdict in ("kept", "broken", "not checked")}
    return _template().render(
        day=day, rows=rows, entities=entities, findings=findings, broken=broken, counts=counts, cell=_cell
    )


def _cell(value: object) -> str:
    if value is None or value is pd.NaT or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return "null"
    if isinstance(value, pd.Timestamp):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    return f"{value:.6g}" if isinstance(value, float) else str(value)


@cache
def _template() -> jinja2.Template:
    return jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(_PAGE)


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ "Refused" if broken else "Accepted" }}: delivery of {{ day }}</title>
<style>
:root { --ink: #1d2733; --soft: #64707d; --line: #e3e7ec; --paper: #fff; --ground: #f5f7f9;
        --good: #1a7f4b; --good-soft: #e4f4eb; --bad: #b3261e; --bad-soft: #fdecea; --idle: #eceff2; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6eaef; --soft: #98a3af; --line: #313a44; --paper: #1b222a; --ground: #12171d;
          --good: #6fd39b; --good-soft: #17382a; --bad: #ff9d94; --bad-soft: #472421; --idle: #2a323b; } }
* { box-sizing: border-box }
body { margin: 0; padding: 2rem 1rem 4rem; background: var(--ground); color: var(--ink);
       font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif }
main { max-width: 66rem; margin: auto }
header { padding: 1.4rem 1.6rem; border-radius: 12px; border-left: 6px solid; background: var(--paper) }
header.good { border-color: var(--good) } header.bad { border-color: var(--bad) }
h1 { margin: 0; font-size: 1.5rem; letter-spacing: -.01em }
.good h1 { color: var(--good) } .bad h1 { color: var(--bad) }
h2 { margin: 2rem 0 .7rem; font-size: 1.05rem }
p { margin: .3rem 0 0; color: var(--soft) }
ul { margin: .9rem 0 0; padding-left: 1.2rem } li { margin: .25rem 0 }
.scroll { overflow-x: auto; border-radius: 12px; background: var(--paper) }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .55rem .9rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top }
thead th { color: var(--soft); font-size: .78rem; font-weight: 600; letter-spacing: .04em; text-transform: uppercase }
tbody tr:last-child td { border-bottom: 0 }
td.n, th.n { text-align: right; white-space: nowrap } .subject { font-weight: 600; min-width: 10.5rem }
.badge { padding: .12rem .55rem; border-radius: 99px; font-size: .8rem; font-weight: 600; white-space: nowrap }
.kept { background: var(--good-soft); color: var(--good) } .broken { background: var(--bad-soft); color: var(--bad) }
.not { background: var(--idle); color: var(--soft) }
tr.why td { padding-top: 0 } tr.head td { border-bottom: 0 }
.examples { width: auto; font-size: .86rem; border: 1px solid var(--line) } .examples th { text-transform: none }
.examples th, .examples td { padding: .25rem .7rem } .reason { margin: 0 0 .5rem; color: var(--bad) }
</style>
</head>
<body><main>
<header class="{{ "bad" if broken else "good" }}">
<h1>{% if broken %}Refused: {{ broken | length }} of {{ counts.kept + counts.broken }} rules are broken
{% else %}Accepted: all {{ counts.kept }} rules are kept{% endif %}</h1>
<p>Delivery of {{ day }} (UTC): {{ "{:,}".format(rows) }} rows
{%- if entities is not none %} of {{ "{:,}".format(entities) }} entities{% endif %}.
{% if counts["not checked"] %}{{ counts["not checked"] }} rules could not be checked.{% endif %}</p>
{% if broken %}
<ul>
{% for finding in broken %}<li>{{ finding.reason }}</li>
{% endfor %}
</ul>
{% endif %}
</header>
<h2>Every rule</h2>
<div class="scroll"><table>
<thead><tr><th>About</th><th>Promised</th><th>Observed</th><th class="n">Rows against it</th><th>Verdict</th></tr>
</thead>
<tbody>
{% for finding in findings %}
<tr{% if finding.verdict == "broken" %} class="head"{% endif %}><td class="subject">{{ finding.subject }}</td>
<td>{{ finding.promise }}</td><td>{{ finding.observed }}</td>
<td class="n">{{ "{:,}".format(finding.unexpected) if finding.unexpected is not none else "–" }}</td>
<td><span class="badge {{ finding.verdict }}">{{ finding.verdict }}</span></td></tr>
{% if finding.verdict == "broken" %}
<tr class="why"><td></td><td colspan="4"><p class="reason">{{ finding.reason }}</p>
{% if finding.examples | length %}
<table class="examples"><thead><tr><th class="n">row</th>
{% for name in finding.examples.columns %}<th>{{ name }}</th>{% endfor %}</tr></thead><tbody>
{% for row in finding.examples.itertuples() %}
<tr>{% for value in row %}<td{% if loop.first %} class="n"{% endif %}>{{ cell(value) }}</td>{% endfor %}</tr>
{% endfor %}
</tbody></table>
{% endif %}
</td></tr>
{% endif %}
{% endfor %}
</tbody></table></div>
</main></body></html>
"""

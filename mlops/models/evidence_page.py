"""The evidence as a page that a person reads: the verdict, the difference with its interval, who pays, and why.

One rule: the page shows what is in the bundle and nothing else, and needs no network.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import jinja2

from mlops.models.intervals import Bar, picture, said
from mlops.models.page_style import STYLE
from mlops.models.wording import number
from mlops.records import GateDecision, GateResult, ModelVersion, TrainingSet, from_dict

_COMPARISONS = ("better_than_champion", "reaches_floor_and_beats_dummy")
_PARTS = {"no_slice_harmed": "Slices", "stable_over_time": "Over time"}
_MOST_BARS = 24
_HEADLINES = {
    "pass": "may be promoted",
    "fail": "is refused",
    "cannot_tell": "is not promoted: the evidence does not suffice",
}
_WORDS = {"pass": "pass", "fail": "fail", "cannot_tell": "cannot tell"}


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture with its words."""

    title: str
    reason: str
    svg: str


def page(decision: GateDecision, facts: dict[str, Any], sealed: str) -> bytes:
    """One self-contained HTML page, UTF-8.

    Args:
        decision: what the gates said.
        facts: the bundle, as it is hashed.
        sealed: its hash.
    """
    challenger = from_dict(ModelVersion, facts["challenger"])
    opponent = (
        f"against champion version {decision.champion_version}" if decision.champion_version else "no champion yet"
    )
    shown = _PAGE.render(
        style=STYLE,
        decision=decision,
        headline=_HEADLINES[decision.verdict],
        opponent=opponent,
        blocking=[gate for gate in decision.gates if gate.decides and gate.verdict != "pass"],
        figures=figures(decision),
        metrics=sorted(challenger.metrics.items()),
        facts=_told(challenger, facts),
        settings={key: value for key, value in facts["settings"].items() if value not in (None, [], ())},
        sealed=sealed,
    )
    return shown.encode()


def figures(decision: GateDecision) -> list[Figure]:
    """The comparison, then slices and stretches, as far as they were judged."""
    opponent = "the champion" if decision.champion_version else "knowing nothing"
    found = []
    for gate in decision.gates:
        if gate.name in _COMPARISONS and "low" in gate.numbers:
            found.append(_comparison(gate, opponent))
        elif gate.name in _PARTS and gate.parts:
            found.append(_parts(gate, opponent))
    return found


def _comparison(gate: GateResult, opponent: str) -> Figure:
    numbers = gate.numbers
    limit = (gate.limit or 0.0) if gate.name == "better_than_champion" else 0.0
    low, high = numbers["low"], numbers.get("high", 2 * numbers["difference"] - numbers["low"])
    bar = Bar("all rows", low, numbers["difference"], high, limit, gate.verdict)
    bar = replace(bar, note=said(bar, opponent))
    title = f"The difference from {opponent}"
    return Figure(title, gate.reason, picture([bar], title))


def _parts(gate: GateResult, opponent: str) -> Figure:
    """Of many parts the worst; stretches in their order."""
    parts = list(gate.parts)
    cut = ""
    if gate.name == "no_slice_harmed":
        parts.sort(key=lambda part: part.estimate - part.limit)
        if len(parts) > _MOST_BARS:
            cut = f" The {_MOST_BARS} closest to their limit of {len(parts):,} are shown."
            parts = parts[:_MOST_BARS]
    bars = []
    for part in parts:
        kind = "fail" if part.harmed else "pass" if part.low > part.limit else "cannot_tell"
        bar = Bar(part.name, part.low, part.estimate, part.high, part.limit, kind)
        bars.append(replace(bar, note=f"{said(bar, opponent)}, {part.rows:,} rows"))
    return Figure(_PARTS[gate.name], f"{gate.reason}{cut}", picture(bars, _PARTS[gate.name]))


def _told(challenger: ModelVersion, facts: dict[str, Any]) -> dict[str, str]:
    rows = from_dict(TrainingSet, facts["training_set"])
    window = f"{rows.window_start:%Y-%m-%d %H:%M} to {rows.window_end:%Y-%m-%d %H:%M} UTC"
    champion, code = facts["champion"], facts["code"]
    told = {
        "candidate": challenger.candidate,
        "window": f"{window}, holdout from {rows.holdout_start:%Y-%m-%d %H:%M}",
        "rows": f"{rows.rows:,} of {rows.entities:,} entities: {rows.fit_rows:,} to fit, "
        f"{rows.calibration_rows:,} to calibrate, {rows.holdout_rows:,} to judge",
        "labels": f"{rows.labelled_rows:,} rows of the holdout, {rows.positives:,} positive",
        "features": f"{len(rows.features)}",
        "started by": rows.reason,
        "run": challenger.run_id,
        "training set": rows.fingerprint,
        "model files": challenger.digest,
        "champion files": champion["digest"] if champion else "",
        "code": code.get("version", ""),
        "code of the gates": code.get("gates", ""),
    }
    return {name: value for name, value in told.items() if value}


def _shown(value: float | None) -> str:
    return "–" if value is None else number(value)


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"shown": _shown, "word": _WORDS.__getitem__}
    return environment


_PAGE = _environment().from_string("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>{{ decision.model }} version {{ decision.version }} {{ headline }}</title>
<style>
{{ style|safe }}
table,.cards div { background:var(--card); border-radius:8px; box-shadow:0 1px 3px var(--shade); }
header ul { margin:12px 0 0; padding-left:20px; }
table { overflow:hidden; } th,td { vertical-align:top; } .facts tr:first-child td { border-top:0; }
td.wide { overflow-wrap:anywhere; } td small { color:var(--faint); } .facts td { font-size:14px; padding:7px 16px; }
.badge { color:var(--card); border-radius:999px; padding:2px 12px; font-size:13px; font-weight:600;
  white-space:nowrap; }
.badge.pass { background:var(--pass); } .badge.fail { background:var(--fail); }
.badge.cannot_tell { background:var(--cannot_tell); } .badge.aside { opacity:.55; }
.cards { display:grid; grid-template-columns:repeat(auto-fill,minmax(170px,1fr)); gap:12px; }
.cards div { padding:12px 16px; font-size:13px; color:var(--faint); }
.cards b { display:block; font-size:22px; color:var(--ink); }
@media (max-width:620px) { table,tbody { display:block; } tr { display:flex; flex-wrap:wrap; gap:2px 12px;
  padding:10px 14px; border-top:1px solid var(--line); } td,.facts td { border:0; padding:0; }
  tr:has(th) { display:none; }
  td.name { flex:1 0 60%; white-space:normal; } td.wide,td.why { flex:0 0 100%; } td.n:empty { display:none; }
  td.n[data-name]::before { content:attr(data-name) " "; color:var(--faint); font-size:13px; }
  .cards { grid-template-columns:repeat(2,1fr); } }
details { margin-top:12px; } summary { cursor:pointer; color:var(--faint); }
</style></head><body><main>
<header class="{{ decision.verdict }}">
<h1>{{ decision.model }} version {{ decision.version }} <em>{{ headline }}</em></h1>
<p>{{ decision.date }} · {{ opponent }} · {{ decision.gates|length }} gates</p>
{% if blocking %}
<ul>
{% for gate in blocking %}
<li><b>{{ gate.name.replace("_", " ")|capitalize }}:</b> {{ gate.reason }}</li>
{% endfor %}
</ul>
{% endif %}
</header>
{% for figure in figures %}
<div class="figure"><h2>{{ figure.title }}</h2><p>{{ figure.reason }}</p>
{{ figure.svg|safe }}</div>
{% endfor %}
{% if figures %}
<p class="key">Dot: estimate, right is better. Band: from the lower to the upper one-sided bound. Dashed: what must be
exceeded; in slices and stretches, what is tolerated (red: shown to be worse, amber: neither shown nor ruled out).</p>
{% endif %}
<h2>Gates</h2>
<table><tr><th>gate</th><th>verdict</th><th class="n">value</th><th class="n">limit</th><th>why</th></tr>
{% for gate in decision.gates %}
<tr><td class="name">{{ gate.name.replace("_", " ") }}</td>
<td><span class="badge {{ gate.verdict }}{{ '' if gate.decides else ' aside' }}">{{ gate.verdict|word }}</span></td>
<td class="n" data-name="value">{{ gate.value|shown }}</td><td class="n" data-name="limit">{{ gate.limit|shown }}</td>
<td class="why">{{ gate.reason }}{% if not gate.decides %} <small>Does not decide.</small>{% endif %}</td></tr>
{% endfor %}
</table>
{% if metrics %}
<h2>Measured in training</h2>
<div class="cards">
{% for name, value in metrics %}
<div><b>{{ value|shown }}</b>{{ name.replace("_", " ") }}</div>
{% endfor %}
</div>
{% endif %}
<h2>What it stands on</h2>
<table class="facts">
{% for name, value in facts.items() %}
<tr><td class="name">{{ name }}</td><td class="wide">{{ value }}</td></tr>
{% endfor %}
</table>
{% if settings %}
<details><summary>Settings of the gates</summary><table class="facts">
{% for name, value in settings.items() %}
<tr><td class="name">{{ name }}</td><td class="wide">{{ value if value is string else value|tojson }}</td></tr>
{% endfor %}
</table></details>
{% endif %}
<footer>Evidence sha256 {{ sealed }}</footer>
</main></body></html>
""")

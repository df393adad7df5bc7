"""A backtest as a page: the table, cost against quality, and every policy's nights beside the oracle's.

One rule: the page shows what the backtest holds and nothing else, and needs no network and no script.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import jinja2
import numpy as np

from mlops.pipelines.backtest import ORACLE, Backtest, Standing
from mlops.pipelines.replay import Replay

WIDTH, HEIGHT, LEFT, TOP, BOTTOM, MARKS = 420.0, 200.0, 52.0, 10.0, 22.0, 18.0  # [px]
ROLLING = 7  # nights


@dataclass(frozen=True, slots=True)
class Card:
    """One policy on the page."""

    name: str
    facts: str
    svg: str


@dataclass(frozen=True, slots=True)
class _Scale:
    """Nights and values as places on a picture."""

    nights: int
    low: float
    high: float

    def x(self, place: float) -> float:
        return round(LEFT + (WIDTH - LEFT - 10) * (place + 0.5) / max(self.nights, 1), 1)

    def y(self, value: float) -> float:
        floor = HEIGHT - BOTTOM - MARKS
        return round(TOP + (floor - TOP) * (self.high - value) / (self.high - self.low), 1)


def page(found: Backtest) -> bytes:
    """One self-contained HTML page, UTF-8."""
    ideal = next((one for one in found.replays if one.policy == ORACLE), None)
    lines = [rolling(one.values) for one in found.replays]
    scale = _scale(lines)
    cards = [
        Card(one.policy, _facts(standing), picture(one, ideal, scale))
        for one, standing in zip(found.replays, found.standings, strict=True)
    ]
    return _PAGE.render(
        found=found,
        metric=found.metric.replace("_", " "),
        cards=cards,
        scatter=scatter(found),
        rows=_rows(found),
        rolling=ROLLING,
    ).encode()


def rolling(values: np.ndarray) -> np.ndarray:
    """Mean of the last `ROLLING` nights that have a value; NaN before the first, shape as given."""
    means = np.full(len(values), np.nan)
    for i in range(len(values)):
        recent = values[max(0, i - ROLLING + 1) : i + 1]
        if np.isfinite(recent).any():
            means[i] = np.nanmean(recent)
    return means


def picture(one: Replay, ideal: Replay | None, scale: _Scale) -> str:
    """A policy's nights as SVG: its rolling mean, the oracle's behind it, and what happened in which night."""
    label = f"{one.policy}: {one.trainings} trainings, {one.promotions} promotions, {one.alarms} alarms"
    parts = [f'<svg viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" role="img" aria-label="{escape(label, quote=True)}">']
    for value in np.linspace(scale.low, scale.high, 4)[1:-1]:
        y = scale.y(value)
        parts.append(f'<line class="grid" x1="{LEFT}" y1="{y}" x2="{WIDTH - 10}" y2="{y}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{value:.3g}</text>')
    if ideal is not None and one.policy != ideal.policy:
        parts += _lines("ideal", rolling(ideal.values), scale)
    parts += _lines("own", rolling(one.values), scale)
    base = HEIGHT - BOTTOM - MARKS / 2
    for i, night in enumerate(one.nights):
        kind = "promoted" if night.promoted else "trained" if night.trained and one.policy != ORACLE else ""
        if kind:
            parts.append(f'<circle class="{kind}" cx="{scale.x(i)}" cy="{base}" r="3"/>')
        if night.alarm:
            parts.append(f'<rect class="alarm" x="{scale.x(i) - 1}" y="{base - 9}" width="2" height="18"/>')
        value = "no truth" if night.value is None else f"{night.value:.4g}"
        words = escape(f"{night.date}: {value}, answered by {night.champion}. {night.decision} {night.verdict}".strip())
        step = (WIDTH - LEFT - 10) / max(len(one.nights), 1)
        box = f'x="{scale.x(i) - step / 2:.1f}" y="{TOP}" width="{step:.1f}" height="{HEIGHT - TOP - BOTTOM}"'
        parts.append(f'<rect class="touch" {box}><title>{words}</title></rect>')
    for place, anchor in ((0, "start"), (len(one.nights) - 1, "end")):
        x = LEFT if anchor == "start" else WIDTH - 10
        day = f"{one.nights[place].date:%d %b %Y}"
        parts.append(f'<text class="tick" x="{x}" y="{HEIGHT - 6}" text-anchor="{anchor}">{day}</text>')
    return "".join([*parts, "</svg>"])


def scatter(found: Backtest) -> str:
    """Quality over cost, one point a policy with its interval, as SVG; empty if none has a quality."""
    shown = [one for one in found.standings if one.quality is not None and one.policy != ORACLE]
    if not shown:
        return ""
    spans = [one.quality_interval or (one.quality or 0.0, one.quality or 0.0) for one in shown]
    low, high = min(s[0] for s in spans), max(s[1] for s in spans)
    room = 0.08 * (high - low) or abs(high) * 0.05 or 1.0
    most = max(one.trainings for one in shown) or 1
    scale = _Scale(1, low - room, high + room)
    parts = [f'<svg viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" role="img" aria-label="{found.metric} over trainings">']
    for value in (low, (low + high) / 2, high):
        y = scale.y(value)
        parts.append(f'<line class="grid" x1="{LEFT}" y1="{y}" x2="{WIDTH - 10}" y2="{y}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{value:.3g}</text>')
    alike = [sum(other.trainings == one.trainings for other in shown[:i]) for i, one in enumerate(shown)]
    texts: list[tuple[int, float]] = []
    for one, place, (bottom, top) in zip(shown, alike, spans, strict=True):
        x = round(LEFT + 14 + (WIDTH - LEFT - 150) * one.trainings / most + 7 * place, 1)
        y = scale.y(one.quality or 0.0)
        parts.append(f'<line class="span" x1="{x}" y1="{scale.y(bottom)}" x2="{x}" y2="{scale.y(top)}"/>')
        parts.append(f'<circle class="promoted" cx="{x}" cy="{y}" r="3.5"/>')
        text = y + 4
        while any(trainings == one.trainings and abs(text - other) < 12 for trainings, other in texts):
            text += 12
        texts.append((one.trainings, text))
        beside = x + 8 + 7 * (sum(other.trainings == one.trainings for other in shown) - 1 - place)
        parts.append(f'<text class="name" x="{beside}" y="{text}">{escape(one.policy)}</text>')
    parts.append(f'<text class="tick" x="{LEFT}" y="{HEIGHT - 6}">0 trainings</text>')
    parts.append(f'<text class="tick" x="{WIDTH - 10}" y="{HEIGHT - 6}" text-anchor="end">{most} trainings</text>')
    return "".join([*parts, "</svg>"])


def _lines(kind: str, values: np.ndarray, scale: _Scale) -> list[str]:
    """Unbroken runs of values as lines."""
    found, run = [], list[str]()
    for i, value in enumerate([*values, np.nan]):
        if np.isfinite(value):
            run.append(f"{scale.x(i)},{scale.y(float(value))}")
        elif run:
            found.append(f'<polyline class="{kind}" points="{" ".join(run)}"/>')
            run = []
    return found


def _scale(lines: Sequence[np.ndarray]) -> _Scale:
    known = np.concatenate([line[np.isfinite(line)] for line in lines])
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    room = 0.06 * (high - low) or max(abs(high), 1.0) * 0.05
    return _Scale(max(len(line) for line in lines), low - room, high + room)


def _facts(one: Standing) -> str:
    if one.policy == ORACLE:
        return "Every night the version that its truth prefers: nobody can do better with these models."
    lost = f", {one.regret:.3g} behind the oracle" if one.regret is not None else ""
    return f"{one.trainings} trainings, {one.promotions} promoted{lost}."


def _rows(found: Backtest) -> list[list[str]]:
    def number(value: float | None) -> str:
        return "–" if value is None else f"{value:.4g}"

    def span(value: tuple[float, float] | None) -> str:
        return "–" if value is None else f"{value[0]:.4g} … {value[1]:.4g}"

    return [
        [
            one.policy,
            number(one.quality),
            span(one.quality_interval),
            number(one.regret),
            span(one.regret_interval),
            str(one.trainings),
            str(one.promotions),
            str(one.alarms),
            str(one.false_alarms),
            f"{one.cpu_seconds:.1f}",
        ]
        for one in found.standings
    ]


_PAGE = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>Backtest of {{ found.model }}</title>
<style>
:root { color-scheme:light dark; --ink:#1d2433; --faint:#667085; --line:#e3e7ee; --card:#fff; --ground:#f6f7f9;
  --band:#2f6fde; --alarm:#b42318; --ideal:#98a2b3; --shade:#1d243318; }
@media (prefers-color-scheme:dark) { :root { --ink:#e6e9f0; --faint:#98a2b3; --line:#2b3242; --card:#171c28;
  --ground:#0f131c; --band:#7aa7ff; --alarm:#ff7b6e; --ideal:#5b6579; --shade:#0006; } }
body { font:16px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif; color:var(--ink); background:var(--ground);
  margin:0; }
main { max-width:1320px; margin:32px auto; padding:0 20px; }
h1 { font-size:26px; margin:0 0 4px; overflow-wrap:anywhere; } h2 { font-size:15px; margin:0; }
p { margin:0; color:var(--faint); font-size:14px; }
.wide { overflow-x:auto; margin:16px 0; background:var(--card); border-radius:8px; box-shadow:0 1px 3px var(--shade); }
table { border-collapse:collapse; width:100%; font-size:14px; font-variant-numeric:tabular-nums; white-space:nowrap; }
th,td { text-align:right; padding:6px 14px; border-bottom:1px solid var(--line); } th { color:var(--faint); }
th:first-child,td:first-child { text-align:left; }
.cards { display:grid; grid-template-columns:repeat(auto-fill,minmax(min(360px,100%),1fr)); gap:14px; }
.card { background:var(--card); border-radius:8px; box-shadow:0 1px 3px var(--shade); padding:12px 14px 6px; }
svg { display:block; width:100%; height:auto; margin-top:6px; font:11px system-ui,sans-serif; }
.tick { fill:var(--faint); } .name { fill:var(--ink); } .grid { stroke:var(--line); }
.own { fill:none; stroke:var(--band); stroke-width:1.8; } .ideal { fill:none; stroke:var(--ideal); stroke-width:1.4; }
.trained { fill:none; stroke:var(--faint); } .promoted { fill:var(--band); } .span { stroke:var(--band); opacity:.5; }
.alarm { fill:var(--alarm); } .touch { fill:transparent; } .touch:hover { fill:var(--band); opacity:.1; }
footer { color:var(--faint); font-size:13px; margin:20px 0 50px; }
</style></head><body><main>
<h1>When to retrain {{ found.model }}</h1>
<p>{{ found.start }} to {{ found.end }}, night by night. {{ metric }},
{{ "more" if found.higher_is_better else "less" }} is better.</p>
<div class="wide"><table><tr><th>policy</th><th>{{ metric }}</th><th>95 %</th><th>regret</th><th>95 %</th>
<th>trainings</th><th>promoted</th><th>alarms</th><th>in vain</th><th>CPU [s]</th></tr>
{% for row in rows %}
<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}
</table></div>
<div class="cards">
{% if scatter %}
<section class="card"><h2>Quality and what it took</h2><p>{{ metric }} over trainings; lines are 95 %.</p>
{{ scatter|safe }}</section>
{% endif %}
{% for card in cards %}
<section class="card"><h2>{{ card.name }}</h2><p>{{ card.facts }}</p>
{{ card.svg|safe }}</section>
{% endfor %}
</div>
<footer>Lines: mean of {{ rolling }} nights; grey: the oracle. Circles: trainings, filled where the challenger was
promoted. Red: drift to act on. Regret: how much worse than the oracle on the same nights. In vain: alarms whose
training brought nobody better. Point at a night for its decision. Answer {{ found.answer_hash[:12] }}.</footer>
</main></body></html>
""")

"""A feature view as a page: of every feature its distribution over the days, and how much of it is missing.

One rule: the page shows what the profile holds and nothing else, and needs no network and no script.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

import jinja2

from mlops.features.profile import FeatureDay, ViewProfile

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, NULLS = 420.0, 190.0, 58.0, 22.0, 8.0, 26.0  # [px]


@dataclass(frozen=True, slots=True)
class Card:
    """One feature on the page."""

    name: str
    meaning: str
    facts: str
    svg: str


def page(profile: ViewProfile, meanings: Mapping[str, str], facts: Mapping[str, str]) -> bytes:
    """One self-contained HTML page, UTF-8.

    Args:
        profile: what is shown.
        meanings: feature to sentence.
        facts: what stands at the top, name to text.
    """
    cards = [
        Card(feature, meanings.get(feature, ""), told(days), picture(feature, days))
        for feature, days in profile.features.items()
    ]
    return _PAGE.render(profile=profile, cards=cards, facts=facts).encode()


def told(days: Sequence[FeatureDay]) -> str:
    """The newest day of a feature in words."""
    if not days:
        return "nothing stored yet"
    last = days[-1]
    missing = f"{_percent(last.null_share)} missing"
    if not last.quantiles:
        return f"{last.day}: no value, {missing}"
    return f"{last.day}: median {number(last.quantiles[2])}, {missing}"


def picture(feature: str, days: Sequence[FeatureDay]) -> str:
    """Bands of the quantiles over the days with the median as a line, and below a bar per day for what is missing.

    Args:
        feature: for the screen reader.
        days: oldest first; a day without values leaves a gap.
    """
    valued = [day for day in days if day.quantiles]
    label = escape(f"{feature} over {len(days)} days: {told(days)}", quote=True)
    parts = [f'<svg viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" role="img" aria-label="{label}">']
    if not valued:
        middle = HEIGHT / 2
        parts.append(f'<text class="tick" x="{WIDTH / 2}" y="{middle}" text-anchor="middle">no value on any day</text>')
        return "".join([*parts, "</svg>"])
    low, high = min(day.quantiles[0] for day in valued), max(day.quantiles[-1] for day in valued)
    room = 0.05 * (high - low) or max(abs(high), 1.0) * 0.05
    low, high = low - room, high + room
    floor = HEIGHT - BOTTOM - NULLS

    def x(position: int) -> float:
        return round(LEFT + (WIDTH - LEFT - 8) * (position + 0.5) / len(days), 1)

    def y(value: float) -> float:
        return round(TOP + (floor - TOP) * (high - value) / (high - low), 1)

    for value in (low + room, (low + high) / 2, high - room):
        parts.append(f'<line class="grid" x1="{LEFT}" y1="{y(value)}" x2="{WIDTH - 8}" y2="{y(value)}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 6}" y="{y(value) + 4}" text-anchor="end">{number(value)}</text>')
    for stretch in _stretches(days):
        for name, lower, upper in (("wide", 0, 4), ("narrow", 1, 3)):
            top = [f"{x(i)},{y(days[i].quantiles[upper])}" for i in stretch]
            bottom = [f"{x(i)},{y(days[i].quantiles[lower])}" for i in reversed(stretch)]
            parts.append(f'<polygon class="{name}" points="{" ".join(top + bottom)}"/>')
        line = " ".join(f"{x(i)},{y(days[i].quantiles[2])}" for i in stretch)
        parts.append(f'<polyline class="median" points="{line}"/>')
    step = (WIDTH - LEFT - 8) / len(days)
    for i, day in enumerate(days):
        parts += _day(day, x(i), y, floor, step)
    for i in sorted({0, len(days) - 1}):
        anchor = "start" if i == 0 and len(days) > 1 else "end" if i else "middle"
        at = LEFT if anchor == "start" else WIDTH - 8 if anchor == "end" else x(i)
        parts.append(
            f'<text class="tick" x="{at}" y="{HEIGHT - 6}" text-anchor="{anchor}">{days[i].day:%d %b %Y}</text>'
        )
    return "".join([*parts, "</svg>"])


def number(value: float) -> str:
    """A number in few digits.

    >>> [number(value) for value in (0.0, 12.3456, -0.00123, 1234567.0)]
    ['0', '12.3', '−0.00123', '1.23e+06']
    """
    return f"{value:.3g}".replace("-", "−", 1) if value else "0"


def _day(day: FeatureDay, x: float, y: Callable[[float], float], floor: float, step: float) -> list[str]:
    share = day.null_share or 0.0
    words = f"{day.day}: {day.rows:,} rows, {_percent(day.null_share)} missing"
    parts = []
    if day.quantiles:
        words += (
            f", 5–95 %: {number(day.quantiles[0])} to {number(day.quantiles[-1])}, median {number(day.quantiles[2])}"
        )
        parts.append(f'<circle class="dot" cx="{x}" cy="{y(day.quantiles[2])}" r="2.6"/>')
    if share:
        tall, width = max(1.0, (NULLS - 8) * share), max(2.0, step * 0.6)
        parts.append(_box("missing", x - width / 2, floor + NULLS - tall, width, tall) + "/>")
    touch = _box("touch", x - step / 2, TOP, step, HEIGHT - BOTTOM - TOP)
    parts.append(f"{touch}><title>{escape(words)}</title></rect>")
    return parts


def _box(kind: str, x: float, y: float, width: float, height: float) -> str:
    return f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'


def _stretches(days: Sequence[FeatureDay]) -> list[list[int]]:
    """Positions of days with values, in unbroken runs."""
    runs: list[list[int]] = []
    for i, day in enumerate(days):
        if not day.quantiles:
            continue
        if runs and runs[-1][-1] == i - 1:
            runs[-1].append(i)
        else:
            runs.append([i])
    return runs


def _percent(share: float | None) -> str:
    """A share as people read it; a little is never shown as nothing.

    >>> _percent(0.0), _percent(0.0001), _percent(0.123), _percent(None)
    ('0 %', '< 0.1 %', '12.3 %', '– %')
    """
    if share is None:
        return "– %"
    if 0 < share < 0.001:
        return "< 0.1 %"
    return f"{100 * share:.1f}".removesuffix(".0") + " %"


_PAGE = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>Feature view {{ profile.view }}</title>
<style>
:root { color-scheme:light dark; --ink:#1d2433; --faint:#667085; --line:#e3e7ee; --card:#fff; --ground:#f6f7f9;
  --band:#2f6fde; --gap:#b42318; --shade:#1d243318; }
@media (prefers-color-scheme:dark) { :root { --ink:#e6e9f0; --faint:#98a2b3; --line:#2b3242; --card:#171c28;
  --ground:#0f131c; --band:#7aa7ff; --gap:#ff7b6e; --shade:#0006; } }
body { font:16px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif; color:var(--ink); background:var(--ground);
  margin:0; }
main { max-width:1320px; margin:32px auto; padding:0 20px; }
h1 { font-size:26px; margin:0 0 4px; overflow-wrap:anywhere; } h2 { font-size:15px; margin:0; overflow-wrap:anywhere; }
p { margin:0; color:var(--faint); font-size:14px; }
dl { display:grid; grid-template-columns:max-content 1fr; gap:2px 18px; font-size:14px; margin:14px 0 20px; }
dt { color:var(--faint); } dd { margin:0; overflow-wrap:anywhere; }
.cards { display:grid; grid-template-columns:repeat(auto-fill,minmax(min(340px,100%),1fr)); gap:14px; }
.card { background:var(--card); border-radius:8px; box-shadow:0 1px 3px var(--shade); padding:12px 14px 6px; }
svg { display:block; width:100%; height:auto; margin-top:6px; font:11px system-ui,sans-serif; }
.tick { fill:var(--faint); } .grid { stroke:var(--line); } .wide { fill:var(--band); opacity:.16; }
.narrow { fill:var(--band); opacity:.3; } .median { fill:none; stroke:var(--band); stroke-width:1.8; }
.dot { fill:var(--band); } .missing { fill:var(--gap); } .touch { fill:transparent; }
.touch:hover { fill:var(--band); opacity:.1; }
footer { color:var(--faint); font-size:13px; margin:20px 0 50px; }
</style></head><body><main>
<h1>{{ profile.view }}</h1>
<dl>
{% for name, value in facts.items() %}
<dt>{{ name }}</dt><dd>{{ value }}</dd>
{% endfor %}
</dl>
<div class="cards">
{% for card in cards %}
<section class="card"><h2>{{ card.name }}</h2><p>{{ card.meaning }}</p><p>{{ card.facts }}</p>
{{ card.svg|safe }}</section>
{% endfor %}
</div>
<footer>Line: median. Bands: 25–75 % and 5–95 % of the values of the day. Red bars: share of rows without a value.
Point at a day for its numbers.</footer>
</main></body></html>
""")

"""Differences with their intervals as small inline SVG pictures.

One rule: a picture needs no script and no network, and takes its colours from the page's style variables.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from mlops.models.wording import number, signed

AXIS = 34.0  # below the bars [px]


@dataclass(frozen=True, slots=True)
class Bar:
    """One difference, positive is better."""

    name: str
    low: float
    estimate: float
    high: float
    limit: float  # what it has to stay above
    kind: str  # pass, fail or cannot_tell: its colour
    note: str = ""  # shown when pointed at


@dataclass(frozen=True, slots=True)
class Shape:
    """Where things stand, all in px: names left of the bars, or above them where there is no room beside."""

    name: str
    width: float
    left: float  # of the first bar's start
    right: float  # room for numbers
    row: float
    above: bool  # names stand above
    ticks: int  # at most


_SHAPES = (
    Shape("wide", 880.0, 190.0, 90.0, 26.0, above=False, ticks=7),
    Shape("narrow", 340.0, 6.0, 62.0, 42.0, above=True, ticks=4),
)


def picture(bars: Sequence[Bar], title: str) -> str:
    """Bars below one another on one axis with 0; of each the interval, the estimate as a dot and the limit as a tick.

    Args:
        bars: at least one.
        title: what a screen reader says.

    Returns:
        The picture twice, as `<svg class="wide">` and `<svg class="narrow">`; the page shows the one that fits.
    """
    return "".join(_drawn(bars, title, shape) for shape in _SHAPES)


def _drawn(bars: Sequence[Bar], title: str, shape: Shape) -> str:
    low = min(0.0, *(min(bar.low, bar.limit) for bar in bars))
    high = max(0.0, *(max(bar.high, bar.limit) for bar in bars))
    room = 0.06 * (high - low) or 1e-3
    low, high = low - room, high + room
    inner = shape.width - shape.left - shape.right

    def x(value: float) -> float:
        return round(shape.left + inner * (value - low) / (high - low), 1)

    height = shape.row * len(bars) + AXIS
    box = f'viewBox="0 0 {shape.width:.0f} {height:.0f}"'
    parts = [f'<svg class="{shape.name}" {box} role="img" aria-label="{escape(title, quote=True)}">']
    for tick in ticks(low, high, shape.ticks):
        at = x(tick)
        parts.append(f'<line class="grid" x1="{at}" y1="4" x2="{at}" y2="{height - AXIS + 4:.0f}"/>')
        parts.append(f'<text class="tick" x="{at}" y="{height - 12:.0f}" text-anchor="middle">{signed(tick)}</text>')
    parts.append(f'<line class="zero" x1="{x(0)}" y1="0" x2="{x(0)}" y2="{height - AXIS + 6:.0f}"/>')
    for i, bar in enumerate(bars):
        parts += _bar(bar, shape.row * i, shape, x)
    return "".join([*parts, "</svg>"])


def ticks(low: float, high: float, most: int = 7) -> list[float]:
    """Round numbers in [low, high], 0 among them if it is inside.

    >>> ticks(-0.012, 0.031)
    [-0.01, 0.0, 0.01, 0.02, 0.03]
    """
    rough = (high - low) / most
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * size for factor in (1.0, 2.0, 5.0, 10.0) if factor * size >= rough)
    first, last = math.ceil(low / step), math.floor(high / step)
    digits = max(0, 2 - math.floor(math.log10(step)))
    return [round(i * step, digits) + 0.0 for i in range(first, last + 1)]


def _bar(bar: Bar, top: float, shape: Shape, x: Callable[[float], float]) -> list[str]:
    name = bar.name if len(bar.name) <= 26 else f"{bar.name[:25]}…"
    y = top + shape.row - 13
    label = f'x="{shape.left}" y="{y - 14}"' if shape.above else f'x="{shape.left - 12}" y="{y + 4}" text-anchor="end"'
    return [
        f'<g class="{bar.kind}"><title>{escape(bar.note or bar.name)}</title>',
        f'<text class="label" {label}>{escape(name)}</text>',
        f'<line class="limit" x1="{x(bar.limit)}" y1="{y - 10}" x2="{x(bar.limit)}" y2="{y + 10}"/>',
        f'<line class="bar" x1="{x(bar.low)}" y1="{y}" x2="{x(bar.high)}" y2="{y}"/>',
        f'<circle class="dot" cx="{x(bar.estimate)}" cy="{y}" r="4.5"/>',
        f'<text class="value" x="{shape.width - 4}" y="{y + 4}" text-anchor="end">{signed(bar.estimate)}</text></g>',
    ]


def said(bar: Bar, opponent: str) -> str:
    """A bar in words.

    >>> said(Bar("site a", -0.01, 0.02, 0.05, -0.02, "pass"), "the champion")
    'site a: +.020 against the champion (−.010 to +.050), limit −.020'
    """
    interval = f"{signed(bar.low)} to {signed(bar.high)}"
    return f"{bar.name}: {signed(bar.estimate)} against {opponent} ({interval}), limit {number(bar.limit)}"

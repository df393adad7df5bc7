"""The report's charts as Plotly figures in plain JSON values; the page draws them.

Colours are names of the page's CSS variables (`var:--accent`, with opacity `var:--accent@.2`), resolved when drawn, so
that light and dark mode share one figure.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import date, datetime
from typing import Any

from demo.series import KnownFault, Series, Trace
from demo.summary import Night, Step, Summary
from mlops.records import DriftReport, GateResult

Figure = dict[str, Any]

_UNITS = {"temperature": "°C", "pressure": "bar", "vibration": "mm/s", "rotation": "rpm"}
_VERDICT_COLOURS = {"pass": "var:--done", "fail": "var:--no", "cannot_tell": "var:--unsure"}
_COMPARISONS = ("better_than_champion", "reaches_floor_and_beats_dummy")
_DRIFT_ROWS = 28  # columns in the heat map, those that moved most
_DRIFT_TOP = 3.0  # times the threshold at which the colour ends


def judgements(summary: Summary) -> list[tuple[Night, Step]]:
    """All judgements of challengers, in order."""
    return [(night, step) for night in summary.nights for step in night.of("validation") if step.gates]


def comparison_of(step: Step) -> GateResult | None:
    """The gate that compared the challenger with the champion, or with knowing nothing."""
    return next((gate for gate in step.gates if gate.name in _COMPARISONS), None)


def challengers(summary: Summary) -> Figure:
    """Above: each challenger's metric beside its opponent's. Below: by how much it beats the champion, at least."""
    found = [(n, s, g) for n, s in judgements(summary) if (g := comparison_of(s)) is not None]
    labels = _told_apart([f"{night.number}<br>v{step.challenger}" for night, step, _ in found])
    gates = [gate for _, _, gate in found]
    own = [gate.numbers.get("challenger") for gate in gates]
    rival = [gate.numbers.get("champion", gate.numbers.get("baseline")) for gate in gates]
    colours = [_VERDICT_COLOURS[gate.verdict] for gate in gates]
    reasons = [_wrapped(gate.reason) for gate in gates]
    against = ["the champion" if step.champion is not None else "knowing nothing" for _, step, _ in found]
    duels = [i for i, (_, step, _) in enumerate(found) if step.champion is not None]
    data = [
        *(_link(x, a, b, "var:--line", "y") for x, a, b in zip(labels, own, rival, strict=True)),
        _points("champion (or knowing nothing)", labels, rival, "var:--muted", "circle-open", against),
        _points("challenger", labels, own, colours, "circle", reasons),
        *_differences([labels[i] for i in duels], [gates[i] for i in duels]),
    ]
    layout = _layout(440) | {
        "margin": {"l": 62, "r": 12, "t": 26, "b": 64},
        "legend": {"orientation": "h", "x": 0, "y": 1.12},
        "xaxis": {
            "type": "category",
            "anchor": "y2",
            "categoryarray": labels,
            "categoryorder": "array",
            "title": {"text": "night, and its challenger", "standoff": 14},
        },
        "yaxis": {"domain": [0.5, 1], "title": {"text": summary.metric.replace("_", " ")}},
        "yaxis2": {"domain": [0, 0.4], "title": {"text": "difference"}},
    }
    limit = next((gates[i].limit for i in reversed(duels)), None)
    if limit is not None:
        layout["shapes"] = [_line(limit, "y2")]
        layout["annotations"] = [_note(limit, "y2", f"the lower bound must be above {limit:g}")]
    return {"data": data, "layout": layout}


def _differences(labels: list[str], gates: list[GateResult]) -> list[Figure]:
    """By how much each challenger beats the champion, and the lower bound of that."""
    shift = [gate.numbers.get("difference") for gate in gates]
    low = [gate.numbers.get("low", gate.value) for gate in gates]
    colours = [_VERDICT_COLOURS[gate.verdict] for gate in gates]
    reasons = [_wrapped(gate.reason) for gate in gates]
    place = {"yaxis": "y2", "showlegend": False}
    return [
        *(_link(x, a, b, colour, "y2") for x, a, b, colour in zip(labels, low, shift, colours, strict=True)),
        _points("difference", labels, shift, colours, "circle", reasons) | place,
        _points("lower bound", labels, low, colours, "line-ew-open", reasons) | place,
    ]


def _link(x: str, start: float | None, end: float | None, colour: str, axis: str) -> Figure:
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [x, x],
        "y": [start, end],
        "yaxis": axis,
        "line": {"color": colour, "width": 3},
        "hoverinfo": "skip",
        "showlegend": False,
    }


def drift_reports(summary: Summary) -> list[tuple[Night, DriftReport]]:
    """What monitoring found, in the order in which it looked."""
    return [(night, report) for night in summary.nights for step in night.of("monitoring") for report in step.drift]


def drift(summary: Summary) -> Figure:
    """Above: the share of columns in drift per date and champion. Below: how far each has moved, in thresholds."""
    found = drift_reports(summary)
    moved: dict[str, dict[int, float]] = defaultdict(dict)
    for position, (_, report) in enumerate(found):
        for column in report.columns:
            if column.value is not None and column.threshold:
                moved[column.column][position] = column.value / column.threshold
    ranked = sorted(moved, key=lambda name: max(moved[name].values()), reverse=True)[:_DRIFT_ROWS]
    rows = ranked[::-1]
    labels = _drift_labels(found)
    cells = [[moved[name].get(position) for position in range(len(found))] for name in rows]
    bars_height, rows_height = 170, 19 * max(len(rows), 1)
    height = bars_height + rows_height + 110
    share_of_rows = rows_height / (height - 70)
    heat = {
        "type": "heatmap",
        "x": labels,
        "y": [name.replace("__", " ") for name in rows],
        "z": cells,
        "zmin": 0,
        "zmax": _DRIFT_TOP,
        "xgap": 2,
        "ygap": 2,
        "colorscale": [
            [0, "var:--accent@.06"],
            [0.333, "var:--accent@.5"],
            [0.3334, "var:--no@.6"],
            [0.66, "var:--no"],
            [1, "var:--bad"],
        ],
        "colorbar": _colourbar("× threshold", share_of_rows)
        | {"tickvals": [0, 1, 2, 3], "ticktext": ["0", "1", "2", "≥ 3"]},
        "hovertemplate": "%{y}<br>%{x}<br>%{z:.2f} × its threshold<extra></extra>",
        "hoverongaps": False,
    }
    layout = _layout(height) | {
        "xaxis": {"type": "category", "anchor": "y"},
        "yaxis": _names_axis() | {"domain": [0, share_of_rows]},
        "yaxis2": {
            "domain": [1 - (bars_height - 30) / (height - 70), 1],
            "range": [0, 1.15],
            "tickformat": ".0%",
            "tickvals": [0, 0.5, 1],
        },
        "showlegend": False,
    }
    return {"data": [heat, _share_bars(found, labels)], "layout": layout}


def _share_bars(found: list[tuple[Night, DriftReport]], labels: list[str]) -> Figure:
    colour = {"drift": "var:--no", "no_drift": "var:--done", "cannot_tell": "var:--unsure"}
    return {
        "type": "bar",
        "x": labels,
        "y": [report.share for _, report in found],
        "yaxis": "y2",
        "marker": {"color": [colour[report.verdict] for _, report in found]},
        "text": [f"{report.share:.0%}" for _, report in found],
        "textposition": "outside",
        "constraintext": "none",
        "textfont": {"size": 11},
        "cliponaxis": False,
        "customdata": [_wrapped(report.reason) for _, report in found],
        "hovertemplate": "%{customdata}<extra></extra>",
        "width": 0.6,
    }


def alarms(series: Series) -> Figure:
    """Alarms per device and date, with the faults that were really there."""
    labels = [_day(day) for day in series.dates]
    rows = list(series.devices)[::-1]
    counts = dict(zip(series.devices, series.alarms, strict=True))
    most = max((value for line in series.alarms for value in line if value is not None), default=1)
    heat = {
        "type": "heatmap",
        "x": labels,
        "y": rows,
        "z": [list(counts[device]) for device in rows],
        "zmin": 0,
        "zmax": max(most, 3),
        "xgap": 2,
        "ygap": 2,
        "colorscale": [[0, "var:--accent@.06"], [0.001, "var:--accent@.3"], [1, "var:--accent"]],
        "colorbar": _colourbar("alarms", 1.0) | {"tickformat": "d", "nticks": 5},
        "hovertemplate": "%{y}, %{x}: %{z} alarms<extra></extra>",
        "hoverongaps": False,
    }
    marks = [_fault_marks(series, caught=True), _fault_marks(series, caught=False)]
    layout = _layout(110 + 19 * len(rows)) | {
        "xaxis": {"type": "category", "categoryarray": labels, "categoryorder": "array"},
        "yaxis": _names_axis() | {"categoryarray": rows, "categoryorder": "array", "range": [-0.5, len(rows) - 0.5]},
        "legend": {"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom"},
    }
    return {"data": [heat, *marks], "layout": layout}


def trace(one: Trace) -> Figure:
    """Signals and score of a device's day; faults and alarms as shaded stretches."""
    times = [moment.strftime("%Y-%m-%d %H:%M") for moment in one.times]
    names = (*one.signals, "score")
    data: list[Figure] = []
    layout = _layout(130 * len(names)) | {"showlegend": False, "margin": {"l": 84, "r": 12, "t": 26, "b": 44}}
    step = 1 / len(names)
    for index, name in enumerate(names):
        suffix = "" if index == 0 else str(index + 1)
        values = one.score if name == "score" else one.signals[name]
        unit = _UNITS.get(name, "")
        data.append(
            {
                "type": "scatter",
                "mode": "lines",
                "x": times,
                "y": list(values),
                "yaxis": f"y{suffix}",
                "line": {"color": "var:--ink" if name == "score" else "var:--accent", "width": 1.6},
                "hovertemplate": f"%{{x|%H:%M}}  {name} %{{y}} {unit}<extra></extra>",
            }
        )
        top = 1 - index * step
        title = f"{name}<br>[{unit}]" if unit else name
        layout[f"yaxis{suffix}"] = {"domain": [top - step * 0.84, top], "title": {"text": title}, "nticks": 4}
    last, floor = f"y{len(names)}", step * 0.16
    layout["xaxis"] = {"type": "date", "anchor": last, "tickformat": "%H:%M", "nticks": 9}
    layout["shapes"] = [
        *(_band(fault.start, fault.end, "var:--no@.22", (floor, 1.0), one) for fault in one.faults),
        *(_band(first, last_, "var:--bad@.25", (floor, step), one) for first, last_ in one.alarms),
        *([_line(one.threshold, last)] if one.threshold is not None else []),
    ]
    return {"data": [*data, _flagged(one, last)], "layout": layout}


def _flagged(one: Trace, axis: str) -> Figure:
    """The readings that are alarms, as points on the score."""
    hits = [i for i, moment in enumerate(one.times) if any(a <= moment <= b for a, b in one.alarms)]
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [one.times[i].strftime("%Y-%m-%d %H:%M") for i in hits],
        "y": [one.score[i] for i in hits],
        "yaxis": axis,
        "marker": {"color": "var:--bad", "size": 7},
        "hovertemplate": "%{x|%H:%M}  above the threshold<extra></extra>",
    }


def _fault_marks(series: Series, *, caught: bool) -> Figure:
    cells: dict[tuple[str, date], list[KnownFault]] = defaultdict(list)
    for fault in series.faults:
        cells[(fault.device, fault.start.date())].append(fault)
    chosen = {cell: found for cell, found in cells.items() if any(fault.caught for fault in found) is caught}
    texts = [
        "<br>".join(f"{f.kind.replace('_', ' ')} of {f.channel}, {f.start:%H:%M}–{f.end:%H:%M}" for f in found)
        for found in chosen.values()
    ]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "fault, an alarm fell into it" if caught else "fault, missed",
        "x": [_day(day) for _, day in chosen],
        "y": [device for device, _ in chosen],
        "text": texts,
        "hovertemplate": "%{y}, %{x}<br>%{text}<extra></extra>",
        "marker": {
            "symbol": "circle" if caught else "circle-open",
            "size": 8,
            "color": "var:--no" if caught else "var:--bad",
            "line": {"color": "var:--card" if caught else "var:--bad", "width": 1 if caught else 2},
        },
    }


def _points(name: str, x: list[str], y: list[Any], colour: Any, symbol: str, texts: list[str]) -> Figure:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": x,
        "y": y,
        "text": texts,
        "hovertemplate": f"{name} %{{y:.3f}}<br>%{{text}}<extra></extra>",
        "marker": {"color": colour, "size": 11, "symbol": symbol, "line": {"width": 2, "color": colour}},
    }


def _band(start: datetime, end: datetime, colour: str, height: tuple[float, float], one: Trace) -> Figure:
    """A shaded stretch of time, cut to the day that is shown; a single reading stays visible."""
    first, last = max(start, one.times[0]), min(end, one.times[-1])
    form = "%Y-%m-%d %H:%M"
    return {
        "type": "rect",
        "xref": "x",
        "yref": "paper",
        "x0": first.strftime(form),
        "x1": last.strftime(form),
        "y0": height[0],
        "y1": height[1],
        "fillcolor": colour,
        "line": {"width": 1 if first == last else 0, "color": colour},
        "layer": "below",
    }


def _line(value: float, axis: str) -> Figure:
    line = {"color": "var:--bad", "width": 1.5, "dash": "dot"}
    return {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "yref": axis, "y0": value, "y1": value, "line": line}


def _note(value: float, axis: str, text: str) -> Figure:
    font = {"color": "var:--bad", "size": 11}
    place = {"x": 0, "xref": "paper", "xanchor": "left", "y": value, "yref": axis, "yanchor": "bottom"}
    return place | {"text": text, "showarrow": False, "font": font}


def _colourbar(title: str, length: float) -> Figure:
    look = {"thickness": 10, "outlinewidth": 0, "y": 0, "yanchor": "bottom", "len": length, "lenmode": "fraction"}
    return look | {"title": {"text": title, "side": "right"}}


def _layout(height: int) -> Figure:
    return {"height": height, "margin": {"l": 62, "r": 12, "t": 26, "b": 44}, "hovermode": "closest"}


def _names_axis() -> Figure:
    return {"type": "category", "automargin": True, "tickfont": {"size": 10.5}, "dtick": 1}


def _drift_labels(found: list[tuple[Night, DriftReport]]) -> list[str]:
    return _told_apart([f"{_day(report.date)}<br>v{report.version}" for _, report in found])


def _told_apart(labels: list[str]) -> list[str]:
    """The same labels, none twice: one that comes again gets an invisible mark, lest an axis puts both in one place."""
    return [label + "\u200b" * labels[:position].count(label) for position, label in enumerate(labels)]


def _day(day: date) -> str:
    return f"{day.day} {day:%b}"


def _wrapped(text: str, width: int = 64) -> str:
    """Text broken into lines for a hover box."""
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "<br>".join(lines)

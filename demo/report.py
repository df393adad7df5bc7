"""`report.html`: the summary as one page that needs no network, for light and dark, wide and narrow screens.

One rule: every number and sentence on the page comes from the summary or the series; nothing else is told.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from demo import charts
from demo.series import Series
from demo.summary import Night, Step, Summary
from demo.wording import STEPS, outcome_word, started
from mlops.errors import MissingDependencyError

_GLYPHS = {"done": "✓", "nothing_to_do": "·", "no": "!", "cannot_tell": "?", "failed": "✗"}
_GATE_GLYPHS = {"pass": "✓", "fail": "✗", "cannot_tell": "?"}


@dataclass(frozen=True, slots=True)
class Tile:
    """A big number."""

    number: str
    words: str


@dataclass(frozen=True, slots=True)
class Reign:
    """A champion's time as columns of the night grid."""

    version: int
    candidate: str
    first: int  # number of the night
    last: int
    reason: str


def render(summary: Summary, series: Series, links: dict[str, str]) -> str:
    """The page.

    Args:
        summary: the demo.
        series: what is drawn beside it.
        links: text to address of what the page points to, relative to it.

    Raises:
        MissingDependencyError: plotly is not installed.
    """
    folder = Path(__file__).parent
    jinja = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    figures = {
        "challengers": charts.challengers(summary),
        "drift": charts.drift(summary),
        "alarms": charts.alarms(series),
    }
    page = jinja.get_template("report.html.j2").render(
        summary=summary,
        headline=_headline(summary),
        tiles=_tiles(summary, series),
        steps=STEPS,
        cells={
            (night.number, step): [_cell(run) for run in night.of(step)] for night in summary.nights for step in STEPS
        },
        tale=[(night, tale(night)) for night in summary.nights],
        reigns=_reigns(summary),
        judged=charts.judgements(summary),
        gates=_gate_rows(summary),
        drift_words=_drift_words(summary),
        alarm_words=_alarm_words(summary, series),
        seconds=_seconds(summary),
        figures=figures,
        traces=[{"title": one.title, "figure": charts.trace(one)} for one in series.traces],
        links=links,
    )
    return page.replace("/*plotly*/", _plotly(), 1)


def tale(night: Night) -> str:
    """What a night was about, in a sentence or two, from its facts, in the order in which they came about."""
    told = [sentence for step in night.steps for sentence in _sentences(step)]
    return " ".join(told) or "Quiet: scored and looked at, nothing to tell."


def _sentences(step: Step) -> list[str]:
    """What is worth telling of a run; most often nothing."""
    told: list[str] = []
    if step.outcome == "failed":
        told.append(f"{step.step} failed: {step.reason}")
    if step.step == "ingestion" and step.outcome == "no":
        told.append("The delivery broke its contract and is in quarantine.")
    if step.step == "ingestion" and any(report.record.get("released") for report in step.reports):
        told.append("The quarantined date came again, kept its contract and was released.")
    if step.trained_because == "drift" and step.challenger is not None:
        told.append(f"Drift started a training, which made v{step.challenger}.")
    if step.step == "validation" and step.champion is not None and step.outcome in ("no", "cannot_tell"):
        told.append(_refusal(step))
    if step.promoted:
        told.append(f"v{step.champion} became champion.")
    if drifted := [report for report in step.drift if report.verdict == "drift"]:
        goes_on = all(report.since is not None and report.since < report.date for report in drifted)
        share = max(report.share for report in drifted)
        told.append(f"{'Drift goes on' if goes_on else 'Drift alarm'}: {share:.0%} of the columns moved.")
    return told


def _refusal(step: Step) -> str:
    """Why a challenger was not promoted."""
    held = [gate.name for gate in step.gates if gate.decides and gate.verdict != "pass"]
    others = " and ".join(f"“{name.replace('_', ' ')}”" for name in held if name != "better_than_champion")
    if "better_than_champion" in held:
        return f"Challenger v{step.challenger} did not beat v{step.champion}{f', nor pass {others}' if others else ''}."
    return f"Challenger v{step.challenger} did not pass {others}; v{step.champion} stays."


def _headline(summary: Summary) -> str:
    changes = len(summary.champions)
    quarantined = sum(s.outcome == "no" for s in summary.steps if s.step == "ingestion")
    drifts = len({report.since for _, report in charts.drift_reports(summary) if report.verdict == "drift"})
    parts = [
        f"{len(summary.nights)} nights",
        _count(changes, "champion"),
        _count(quarantined, "quarantined delivery", "quarantined deliveries"),
        _count(drifts, "drift"),
    ]
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def _tiles(summary: Summary, series: Series) -> list[Tile]:
    rows = sum(int(r.record.get("scored_rows", 0)) for s in summary.steps if s.step == "inference" for r in s.reports)
    caught = sum(fault.caught for fault in series.faults)
    fits = sum(len(step.candidates) for step in summary.steps)
    champion = summary.nights[-1].champion
    return [
        Tile(f"v{champion}" if champion else "none", "champion in the end"),
        Tile(f"{fits}", f"models fitted, {len(charts.judgements(summary))} challengers judged"),
        Tile(f"{rows:,}", "rows scored"),
        Tile(f"{caught}/{len(series.faults)}", "faults with an alarm in them"),
        Tile(f"{summary.history.runs + len(summary.steps)}", "DAG runs"),
        Tile(f"{summary.seconds:.0f} s", f"in all, {summary.peak_rss_mb / 1000:.1f} GB at most"),
    ]


def _cell(run: Step) -> dict[str, Any]:
    days = ", ".join(f"{_day(day)}" for day in run.dates)
    return {
        "kind": _kind(run),
        "glyph": _GLYPHS[run.outcome],
        "word": outcome_word(run.step, run.outcome),
        "head": f"{run.step}: {outcome_word(run.step, run.outcome)}",
        "reason": run.reason,
        "foot": f"{started(run)} · for {days or '–'} · {run.seconds:.1f} s",
    }


def _kind(run: Step) -> str:
    """The look of a run: a refusal changes nothing and nobody need hear of it, unlike a quarantine or an alarm."""
    return "refused" if run.outcome == "no" and run.step in ("validation", "promotion") else run.outcome


def _reigns(summary: Summary) -> list[Reign]:
    """The champions' times; a reign ends in the night in which the next one begins."""
    found = []
    for position, change in enumerate(summary.champions):
        later = summary.champions[position + 1 :]
        last = later[0].night if later else summary.nights[-1].number
        found.append(Reign(change.version, change.candidate, change.night, last, change.reason))
    return found


def _gate_rows(summary: Summary) -> list[tuple[str, list[dict[str, str]]]]:
    """Gate by judgement: a glyph, a verdict, a reason."""
    judged = charts.judgements(summary)
    names = list(dict.fromkeys(gate.name for _, step in judged for gate in step.gates))
    rows = []
    for name in names:
        cells = []
        for _, step in judged:
            gate = next((gate for gate in step.gates if gate.name == name), None)
            verdict = gate.verdict if gate else ""
            cells.append(
                {"verdict": verdict, "glyph": _GATE_GLYPHS.get(verdict, ""), "reason": gate.reason if gate else ""}
            )
        rows.append((name.replace("_", " "), cells))
    return rows


def _drift_words(summary: Summary) -> str:
    found = charts.drift_reports(summary)
    loud = [(night, report) for night, report in found if report.verdict == "drift"]
    if not loud:
        return f"In {_count(len(found), 'look', 'looks')} no alarm was raised."
    night, report = loud[0]
    strongest = report.drifted[0] if report.drifted else ""
    column = next((c for c in report.columns if c.column == strongest), None)
    most = ""
    if column is not None and column.value is not None and column.threshold:
        most = f", most of all {strongest.replace('__', ' ')} ({column.value / column.threshold:.1f} × its threshold)"
    return f"First alarm in night {night.number}: {report.share:.0%} of the columns moved{most}."


def _alarm_words(summary: Summary, series: Series) -> str:
    told = [value for line in series.alarms for value in line if value is not None]
    rate = sum(told) / len(told) if told else 0.0
    caught = sum(fault.caught for fault in series.faults)
    return (
        f"{sum(told):,} alarms, {rate:.2f} per device and night; the budget of the spec is "
        f"{summary.alerts_per_entity_day:g}. An alarm fell into {caught} of {len(series.faults)} faults."
    )


def _seconds(summary: Summary) -> list[dict[str, Any]]:
    """Seconds by step and night, and those that the pipelines themselves took."""
    spent = {step: [sum(run.seconds for run in night.of(step)) for night in summary.nights] for step in STEPS}
    most = max((value for nights in spent.values() for value in nights), default=0.0) or 1.0
    return [
        {
            "step": step,
            "nights": nights,
            "shades": [value / most for value in nights],
            "total": sum(nights),
            "work": sum(run.work_seconds for night in summary.nights for run in night.of(step)),
        }
        for step, nights in spent.items()
    ]


def _plotly() -> str:
    """The text of plotly.js, from the installed package (importing the package itself would take a second)."""
    spec = importlib.util.find_spec("plotly")
    if spec is None or spec.origin is None:
        raise MissingDependencyError("plotly is not installed.", hint="Run make setup.")
    return (Path(spec.origin).parent / "package_data" / "plotly.min.js").read_text(encoding="utf-8")


def _count(number: int, one: str, many: str = "") -> str:
    words = {0: "no", 1: "one", 2: "two", 3: "three", 4: "four", 5: "five", 6: "six"}
    return f"{words.get(number, number)} {one if number == 1 else many or one + 's'}"


def _day(day: date) -> str:
    return f"{day.day} {day:%b}"

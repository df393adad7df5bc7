"""What the person at the terminal sees while the nights go by: one line per step, and a table at the end.

On a terminal the running task is shown too; in a pipe or a log there are plain lines only.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from demo.plan import Plan, PlannedNight
from demo.summary import GRAVITY, Night, Step, StepOutcome, Summary
from demo.wording import STEPS, delivered, outcome_word

_STYLES: dict[StepOutcome, tuple[str, str]] = {
    "done": ("green", "✓"),
    "nothing_to_do": ("bright_black", "·"),
    "no": ("yellow", "!"),
    "cannot_tell": ("magenta", "?"),
    "failed": ("bold red", "✗"),
}
_OUTCOMES: dict[StepOutcome, str] = {
    "done": "done",
    "nothing_to_do": "nothing to do",
    "no": "no",
    "cannot_tell": "cannot tell",
    "failed": "failed",
}
_SHORT = ("ingest", "feat.", "train", "valid.", "prom.", "score", "monit.")  # heads of a table without words
_WORDY_WIDTH = 130  # columns that a table with words needs
_PLAIN_WIDTH = 160  # columns, where nobody says how wide the page is


@dataclass
class Screen:
    """The terminal, or the file that stands for it.

    Args:
        file: where to write.
    """

    file: IO[str]
    console: Console = field(init=False)
    _bar: Progress | None = field(default=None, init=False)
    _status: str = field(default="", init=False)

    def __post_init__(self) -> None:
        width = None if self.file.isatty() or os.environ.get("COLUMNS") else _PLAIN_WIDTH
        self.console = Console(file=self.file, width=width, highlight=False)

    def title(self, plan: Plan, model: str) -> None:
        """What is about to happen."""
        self.console.print(
            f"[bold]{len(plan.nights)} nights of {model}[/]: {plan.fleet.devices} pumps, a reading every "
            f"{plan.fleet.step_minutes} minutes, through Airflow, on this machine only.\n"
        )

    @contextmanager
    def working(self, words: str, total: int | None = None) -> Iterator[None]:
        """Show that something is under way; `task` and `advance` tell more of it. A line stays when it is done."""
        started = time.perf_counter()
        columns = [BarColumn(28), MofNCompleteColumn()] if total else []
        bar = Progress(
            TextColumn("  {task.description}"),
            *columns,
            TimeElapsedColumn(),
            TextColumn("[bright_black]{task.fields[now]}"),
            console=self.console,
            transient=True,
            redirect_stdout=False,  # what libraries print goes into the log, not here
            redirect_stderr=False,
            disable=not self.console.is_terminal,
        )
        with bar:
            bar.add_task(words, total=total, now="")
            self._bar = bar
            yield
        self._bar = None
        self.console.print(f"  {words:<52} [bright_black]{time.perf_counter() - started:6.1f} s[/]")

    @contextmanager
    def night(self, night: PlannedNight) -> Iterator[None]:
        """The head of a night, and below its lines what is running now."""
        self.console.print(f"\n[bold]Night {night.number}[/]  {night.date:%a %d %b %Y}  {delivered(night)}")
        bar = Progress(
            TextColumn("  [bright_black]{task.fields[now]}"),
            console=self.console,
            transient=True,
            redirect_stdout=False,  # what libraries print goes into the log, not here
            redirect_stderr=False,
            disable=not self.console.is_terminal,
        )
        with bar:
            bar.add_task("", total=None, now="…")
            self._bar = bar
            yield
        self._bar = None

    def task(self, dag_id: str, task_id: str) -> None:
        """A task starts."""
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], now=f"{dag_id.partition('__')[0]} · {task_id.rpartition('.')[2]} …")

    def advance(self) -> None:
        """One more of what `working` counts is done."""
        if self._bar is not None:
            self._bar.advance(self._bar.task_ids[0])

    def step(self, step: Step) -> None:
        """The line of a step."""
        style, glyph = _STYLES[step.outcome]
        word = outcome_word(step.step, step.outcome)
        left = Text.assemble("  ", f"{step.step:<11}", (f"{glyph} {word:<14}", style))
        right = Text(f"{step.seconds:6.1f} s", "bright_black")
        room = self.console.width - left.cell_len - right.cell_len - 1
        reason = Text(step.reason.split("\n")[0])
        reason.truncate(max(room, 10), overflow="ellipsis", pad=True)
        self.console.print(Text.assemble(left, reason, " ", right), no_wrap=True, overflow="crop", soft_wrap=True)

    def table(self, summary: Summary) -> None:
        """Night × step; on a narrow page signs instead of words, and what they mean below."""
        wordy = self.console.width >= _WORDY_WIDTH
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        for name in ("night", *(STEPS if wordy else _SHORT), "champion", "s"):
            table.add_column(name, justify="right" if name in ("champion", "s") else "left", no_wrap=True)
        for night in summary.nights:
            cells = [_cell(night, step, wordy=wordy) for step in STEPS]
            champion = f"v{night.champion}" if night.champion else "–"
            table.add_row(f"{night.number}  {night.date:%d %b}", *cells, champion, f"{night.seconds:.1f}")
        self.console.print()
        self.console.print(table)
        if not wordy:
            signs = [f"{_STYLES[outcome][1]} {word}" for outcome, word in _OUTCOMES.items()]
            self.console.print("  ".join([*signs, "– not run"]), style="bright_black")

    def expectations(self, summary: Summary) -> None:
        """What did not happen that should have."""
        broken = [expectation for expectation in summary.expectations if not expectation.held]
        if not broken:
            self.console.print(f"\n[green]✓[/] All {len(summary.expectations)} expectations held.")
        for expectation in broken:
            self.console.print(f"\n[bold red]✗[/] Expected: {expectation.text}\n  Found: {expectation.found}")

    def end(self, summary: Summary, files: dict[str, str], commands: dict[str, str]) -> None:
        """Where things are, and what to try next."""
        self.console.print(f"\n{summary.seconds:.0f} s in all, {summary.peak_rss_mb:,.0f} MB at most.\n")
        for head, rows in (("Look at", files), ("Try next", commands)):
            self.console.print(f"[bold]{head}[/]")
            width = max(len(value) for value in rows.values())
            for what, value in rows.items():
                self.console.print(f"  {value:<{width}}  [bright_black]{what}[/]", soft_wrap=True)


def _cell(night: Night, step: str, *, wordy: bool) -> Text:
    runs = night.of(step)
    if not runs:
        return Text("–", "bright_black")
    cell = Text()
    for run in _telling(runs):
        style, glyph = _STYLES[run.outcome]
        gap = ("  " if wordy else " ") if cell else ""
        cell.append(f"{gap}{glyph} {outcome_word(step, run.outcome)}" if wordy else f"{gap}{glyph}", style)
    return cell


def _telling(runs: tuple[Step, ...]) -> list[Step]:
    """The runs that tell something new: the same outcome twice in a row is told once."""
    kept: list[Step] = []
    for run in runs:
        if not kept or GRAVITY.index(kept[-1].outcome) != GRAVITY.index(run.outcome):
            kept.append(run)
    return kept

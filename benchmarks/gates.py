"""How often the gates promote a challenger whose true difference from the champion is known.

Three tables: promotion probability by true difference and rows, beside `>=` and the plain bootstrap; the same on
dependent rows, with and without blocks; planted challengers that must never get through.

One rule: every probability stands with its exact 95 % interval (Clopper and Pearson), and every cell has its own seed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from multiprocessing import get_context
from typing import TypeVar

import numpy as np
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn
from rich.table import Table
from scipy.stats import binomtest

from benchmarks import planted, worlds
from mlops.models import gates
from mlops.models.comparison import METRICS, Method
from mlops.records import GateResult
from mlops.spec import GatesSpec

DELTAS = (0.0, -0.005, -0.01, -0.02, 0.01, 0.02)
ROWS = (500, 2_000, 10_000)
MARGIN = 0.01  # of the non-inferiority test
STEPS_PER_HOUR = 6
RULES = ("at_least", "superiority", "non_inferiority")
_RULE_NAMES = {"at_least": ">=", "superiority": "superiority", "non_inferiority": f"not worse by {MARGIN}"}
_CHUNK = 50  # worlds a process lives through at a time


@dataclass(frozen=True, slots=True)
class Cell:
    """One probability to find.

    Args:
        rule: who decides, one of `RULES`; at_least is `>=`.
        method: how the bound is made.
        metric: name in `METRICS`.
        rows: held-out rows; for `fleet` worlds entities × steps.
        delta: true difference of the metric.
        repeats: worlds.
        block_hours: None: independent rows; else a fleet with dependent rows, judged in blocks so long (0: each row).
        correlation: of the two models' scores.
    """

    rule: str
    method: Method
    metric: str
    rows: int
    delta: float
    repeats: int
    block_hours: float | None = None
    correlation: float = worlds.CORRELATION

    @property
    def world(self) -> tuple[int, ...]:
        """Entropy of the worlds: cells that differ in the rule alone see the same ones."""
        dependent = self.block_hours is not None
        return (sorted(METRICS).index(self.metric), self.rows, round(1e4 * (1 + self.delta)), int(dependent))


def promoted(cell: Cell, chunk: int, repeats: int) -> int:
    """In how many of a chunk's worlds the challenger is promoted."""
    rng = np.random.default_rng([chunk, *cell.world])
    return sum(_promoted_once(cell, rng) for _ in range(repeats))


def verdicts(cell: Cell, chunk: int, repeats: int) -> tuple[int, ...]:
    """In how many of a chunk's worlds each of `RULES` promotes, all of them from one comparison a world."""
    rng = np.random.default_rng([chunk, *cell.world])
    counts = np.zeros(len(RULES), dtype=int)
    for _ in range(repeats):
        result = _compared(replace(cell, rule="superiority"), rng)
        assert result.value is not None
        counts += [result.numbers["difference"] >= 0, result.verdict == "pass", result.value > -MARGIN]
    return tuple(counts.tolist())


def _promoted_once(cell: Cell, rng: np.random.Generator) -> bool:
    if cell.rule == "at_least":
        return _compared(replace(cell, rule="superiority"), rng).numbers["difference"] >= 0
    return _compared(cell, rng).verdict == "pass"


def _compared(cell: Cell, rng: np.random.Generator) -> GateResult:
    """What the gate says in the next world."""
    if cell.block_hours is None:
        y, challenger, champion = worlds.pair(rng, cell.metric, cell.rows, cell.delta, correlation=cell.correlation)
        blocks = _apart(y)
    else:
        (y, challenger, champion), who, when = worlds.fleet(rng)
        length = int(cell.block_hours * STEPS_PER_HOUR)
        blocks = who * 1_000 + when // length if length else _apart(y)
    margin = MARGIN if cell.rule == "non_inferiority" else 0.0
    return gates.better_than_champion(
        METRICS[cell.metric],
        cell.metric,
        y,
        challenger,
        champion,
        blocks=blocks,
        higher_is_better=not cell.metric.endswith("error"),
        spec=GatesSpec.model_validate({"comparison": cell.rule, "margin": margin, "method": cell.method}),
        rng=np.random.default_rng(int(rng.integers(2**32))),
    )


def _apart(y: worlds.Floats) -> np.ndarray:
    """A block for each row, none of them another's neighbour."""
    return 2 * np.arange(len(y))


C = TypeVar("C", Cell, "Planted")


def tallied(cells: Sequence[C], work: Callable[[C, int, int], tuple[int, ...]]) -> dict[C, list[int]]:
    """How often challengers were promoted in each cell, found by two processes, with a progress bar."""
    jobs = [
        (cell, chunk, min(_CHUNK, cell.repeats - chunk * _CHUNK))
        for cell in cells
        for chunk in range(-(-cell.repeats // _CHUNK))
    ]
    found: dict[C, list[int]] = {}
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    with (
        ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool,
        Progress(*columns, transient=True, console=Console(stderr=True)) as bar,
    ):
        task = bar.add_task("worlds", total=sum(repeats for *_, repeats in jobs))
        waiting = {pool.submit(work, *job): job for job in jobs}
        for done in as_completed(waiting):
            cell, _, repeats = waiting[done]
            before = found.get(cell, [0] * len(done.result()))
            found[cell] = [old + new for old, new in zip(before, done.result(), strict=True)]
            bar.advance(task, repeats)
    return found


def shown(count: int, repeats: int) -> str:
    """A probability with its exact interval, in per cent.

    >>> shown(5, 100)
    '5.0 (1.6–11.3)'
    """
    interval = binomtest(count, repeats).proportion_ci(0.95, "exact")
    return f"{100 * count / repeats:.1f} ({100 * interval.low:.1f}–{100 * interval.high:.1f})"


def main() -> None:
    """Print the tables, each as soon as it is known."""
    started = time.perf_counter()
    console = Console(width=110)
    by_difference(console, "roc_auc", 1_000, ("auto",))
    by_difference(console, "roc_auc", 60, ("bootstrap",), deltas=(0.0, 0.02))
    dependent(console, 1_000)
    planted_challengers(console, 50)
    by_difference(console, "mean_absolute_error", 1_000, ("auto",))
    by_difference(console, "average_precision", 1_000, ("auto",), deltas=(0.0, -0.01, -0.02, 0.02))
    console.print(f"{time.perf_counter() - started:.0f} s")


def by_difference(
    console: Console, metric: str, repeats: int, methods: Sequence[Method], deltas: Sequence[float] = DELTAS
) -> None:
    """One metric: every rule at every difference and number of rows."""
    cells = [
        Cell("superiority", method, metric, n, delta, repeats) for method in methods for delta in deltas for n in ROWS
    ]
    found = tallied(cells, verdicts)
    world = f"champion {worlds.CHAMPION[metric]}, correlation {worlds.CORRELATION}"
    if metric != "mean_absolute_error":
        world += f", {100 * worlds.RATE:.0f} % positive"
    told = metric.replace("_", " ")
    table = Table("rule", "Δ", *(f"{n:,} rows" for n in ROWS), title=f"Promoted [%]: {told} ({world})")
    for method in methods:
        for position, rule in enumerate(RULES):
            name = f"{_RULE_NAMES[rule]}{'' if method == 'auto' or rule == 'at_least' else f' ({method})'}"
            for delta in deltas:
                row = [cell for cell in cells if (cell.method, cell.delta) == (method, delta)]
                table.add_row(name, f"{delta:+.3f}", *(shown(found[cell][position], repeats) for cell in row))
            table.add_section()
    console.print(table)


def dependent(console: Console, repeats: int) -> None:
    """Equal models on a fleet whose rows remember the past and whose faults last two hours."""
    title = "Promoted [%] though equal: 40 entities × 2 days, every 10 min, AR(1) .95, faults of 2 h"
    table = Table("metric", "each row by itself", "blocks of 1 h", "blocks of 6 h", title=title)
    for metric in ("roc_auc", "average_precision", "mean_absolute_error"):
        cells = [Cell("superiority", "auto", metric, 11_520, 0.0, repeats, hours) for hours in (0.0, 1.0, 6.0)]
        found = tallied(cells, verdicts)
        table.add_row(metric.replace("_", " "), *(shown(found[cell][1], repeats) for cell in cells))
    console.print(table)


@dataclass(frozen=True, slots=True)
class Planted:
    """A planted challenger to judge over and over."""

    kind: str
    repeats: int


def planted_promotions(case: Planted, chunk: int, repeats: int) -> tuple[int, ...]:
    """How many of a chunk's seeds pass all gates."""
    return (planted.promotions(case.kind, chunk * _CHUNK, repeats),)


def planted_challengers(console: Console, seeds: int) -> None:
    """Challengers that must never be promoted, one that may as often as chance allows, and one that must."""
    cases = [Planted(kind, seeds) for kind in planted.KINDS]
    found = tallied(cases, planted_promotions)
    table = Table("challenger", "promoted [%]", "refused by (first seed)", title="Planted, before all gates")
    for case in cases:
        refused = [gate.name for gate in planted.judged(case.kind, 0) if gate.verdict == "fail" and gate.decides]
        table.add_row(case.kind, shown(found[case][0], seeds), ", ".join(refused).replace("_", " ") or "–")
    console.print(table)


if __name__ == "__main__":
    main()

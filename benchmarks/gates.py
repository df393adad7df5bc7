"""How often the gates promote a challenger whose true difference from the champion is known.

Three tables: promotion probability by true difference and rows, beside `>=` and the plain bootstrap; the same on
dependent rows, with and without blocks; planted challengers that must never get through.

One rule: every probability stands with its exact 95 % interval (Clopper and Pearson), and every cell has its own seed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
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
from mlops.spec import GatesSpec

DELTAS = (0.0, -0.005, -0.01, -0.02, 0.01, 0.02)
ROWS = (500, 2_000, 10_000)
MARGIN = 0.01  # of the non-inferiority test
STEPS_PER_HOUR = 6
_CHUNK = 50  # worlds a process lives through at a time


@dataclass(frozen=True, slots=True)
class Cell:
    """One probability to find.

    Args:
        rule: who decides: at_least (`>=`), superiority or non_inferiority.
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


def _promoted_once(cell: Cell, rng: np.random.Generator) -> bool:
    metric = METRICS[cell.metric]
    higher = not cell.metric.endswith("error")
    if cell.block_hours is None:
        y, challenger, champion = worlds.pair(rng, cell.metric, cell.rows, cell.delta, correlation=cell.correlation)
        blocks = np.arange(len(y))
    else:
        (y, challenger, champion), who, when = worlds.fleet(rng)
        length = int(cell.block_hours * STEPS_PER_HOUR)
        blocks = who * 1_000 + when // length if length else np.arange(len(y))
    seed = int(rng.integers(2**32))
    if cell.rule == "at_least":
        ours, theirs = metric(y, challenger), metric(y, champion)
        assert ours is not None
        assert theirs is not None
        return ours >= theirs if higher else ours <= theirs
    result = gates.better_than_champion(
        metric,
        cell.metric,
        y,
        challenger,
        champion,
        blocks=blocks,
        higher_is_better=higher,
        spec=GatesSpec.model_validate(
            {
                "comparison": cell.rule,
                "margin": MARGIN if cell.rule == "non_inferiority" else 0.0,
                "method": cell.method,
            }
        ),
        rng=np.random.default_rng(seed),
    )
    return result.verdict == "pass"


C = TypeVar("C", Cell, "Planted")


def probabilities(cells: Sequence[C], work: Callable[[C, int, int], int]) -> dict[C, int]:
    """How often the challenger of each cell was promoted, found by two processes, with a progress bar."""
    jobs = [
        (cell, chunk, min(_CHUNK, cell.repeats - chunk * _CHUNK))
        for cell in cells
        for chunk in range(-(-cell.repeats // _CHUNK))
    ]
    found = dict.fromkeys(cells, 0)
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    with (
        ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool,
        Progress(*columns, transient=True, console=Console(stderr=True)) as bar,
    ):
        task = bar.add_task("worlds", total=sum(repeats for *_, repeats in jobs))
        waiting = {pool.submit(work, *job): job for job in jobs}
        for done in as_completed(waiting):
            cell, _, repeats = waiting[done]
            found[cell] += done.result()
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
    """Print the tables."""
    started = time.perf_counter()
    console = Console(width=150)
    plans = (_by_difference("roc_auc", 1_000, 100), _by_difference("average_precision", 200, 100),
             _by_difference("mean_absolute_error", 1_000, 0), _dependent(400))  # fmt: skip
    found = probabilities([cell for _, rows in plans for _, cells in rows for cell in cells], promoted)
    for title, rows in plans:
        heads = (
            ("Δ", *ROWS) if "dependent" not in title else ("metric", "each row by itself", "blocks of 1 h", "of 6 h")
        )
        table = Table("gate", *(f"{head:,}" if isinstance(head, int) else head for head in heads), title=title)
        for names, cells in rows:
            table.add_row(*names, *(shown(found[cell], cell.repeats) for cell in cells))
        console.print(table)
    planted_table(console)
    console.print(f"{time.perf_counter() - started:.0f} s")


Plan = tuple[str, list[tuple[tuple[str, ...], list[Cell]]]]


def _by_difference(metric: str, repeats: int, bootstraps: int) -> Plan:
    """One metric: every rule at every difference, as far as the rule has something to say there."""
    make = partial(Cell, metric=metric)
    rows: list[tuple[tuple[str, ...], list[Cell]]] = []
    for name, rule, method, deltas, times in (
        (">=", "at_least", "auto", DELTAS, repeats),
        ("superiority", "superiority", "auto", DELTAS, repeats if metric != "average_precision" else bootstraps),
        (f"not worse by {MARGIN}", "non_inferiority", "auto", DELTAS if metric == "roc_auc" else (), repeats),
        ("superiority, bootstrap", "superiority", "bootstrap", (0.0, 0.02) if metric == "roc_auc" else (), bootstraps),
        ("superiority, linear", "superiority", "linear", DELTAS if metric == "average_precision" else (), repeats),
    ):
        for delta in deltas:
            cells = [make(rule=rule, method=method, rows=n, delta=delta, repeats=times) for n in ROWS]  # type: ignore[arg-type]
            rows.append(((name, f"{delta:+.3f}"), cells))
    champion = worlds.CHAMPION[metric]
    world = f"champion {champion}, correlation {worlds.CORRELATION}"
    if metric != "mean_absolute_error":
        world += f", {100 * worlds.RATE:.0f} % positive"
    return f"Promoted [%] by true difference and held-out rows: {metric.replace('_', ' ')} ({world})", rows


def _dependent(repeats: int) -> Plan:
    """Equal models on a fleet whose rows remember the past and whose faults last two hours."""
    rows: list[tuple[tuple[str, ...], list[Cell]]] = []
    for metric in ("roc_auc", "mean_absolute_error"):
        cells = [Cell("superiority", "auto", metric, 11_520, 0.0, repeats, hours) for hours in (0.0, 1.0, 6.0)]
        rows.append((("superiority", metric.replace("_", " ")), cells))
    return "Promoted [%] though equal, dependent rows: 40 entities × 2 days, AR(1) .95, faults of 2 h", rows


def planted_table(console: Console, seeds: int = 60) -> None:
    """Challengers that must never be promoted, one as often as chance allows, and one that must."""
    found = probabilities([Planted(kind, seeds) for kind in planted.KINDS], planted_promotions)
    table = Table("challenger", "promoted [%]", "refused by (first seed)", title="Planted challengers before all gates")
    for case, count in found.items():
        refused = [gate.name for gate in planted.judged(case.kind, 0) if gate.verdict == "fail" and gate.decides]
        table.add_row(case.kind, shown(count, seeds), ", ".join(refused).replace("_", " ") or "–")
    console.print(table)


@dataclass(frozen=True, slots=True)
class Planted:
    """A planted challenger to judge over and over."""

    kind: str
    repeats: int


def planted_promotions(case: Planted, chunk: int, repeats: int) -> int:
    """How many of a chunk's seeds pass all gates."""
    return planted.promotions(case.kind, chunk * _CHUNK, repeats)


if __name__ == "__main__":
    main()

"""Drift: false alarms on worlds that do not change, how long a change takes to be told, size, and real data.

| variable | what it does |
|---|---|
| `BENCH_DRIFT` | parts to measure, of `false_alarms delays size real`; by default all |
| `BENCH_LIVES` | months of each world without a change; by default 12 |
| `BENCH_KEEP` | a folder that keeps each life as it comes, so that a run which is cut short goes on where it was |
| `BENCH_NANNYML`, `BENCH_ALIBI_DETECT` | virtual environments that hold them, see `drift_others` |
| `MLOPS_BENCH_QUICK` | 1: a tenth of it |

Every life has its own seed, so that all tools see the same nights and a second run counts the same.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from rich.console import Console
from rich.table import Table
from scipy import stats

from benchmarks import drift_others, drift_real, drift_size, drift_worlds, kept
from benchmarks.drift_worlds import BEFORE, CHANGED_NIGHTS, SHIFTS, WORLDS
from mlops.monitoring.drift.detect import detect
from mlops.spec import DriftSpec

QUICK = os.environ.get("MLOPS_BENCH_QUICK", "") not in ("", "0")
ROWS, FEATURES = (100, 1_000, 5_000), (1, 10, 50)
LIVES = int(os.environ.get("BENCH_LIVES", "1" if QUICK else "12"))  # of each world without a change
OTHER_LIVES = min(LIVES, 2)  # of tools without a memory: ten nights of each (five of fifty columns)
DELAY_LIVES = 2 if QUICK else 12
OTHER_DELAY_LIVES = 2 if QUICK else 4
SIZE = 100_000 if QUICK else 1_000_000
SPEC = DriftSpec(min_rows=80)
OURS = "this project"
CONSOLE = Console(width=170)

Job = tuple[Any, ...]


def main() -> None:
    """Print the tables."""
    os.environ["DO_NOT_TRACK"] = "1"
    parts = {"false_alarms": false_alarms, "delays": delays, "size": size, "real": real}
    asked = os.environ.get("BENCH_DRIFT", "").split() or list(parts)
    if unknown := [name for name in asked if name not in parts]:
        raise SystemExit(f"BENCH_DRIFT names {unknown[0]!r}; known: {', '.join(parts)}")
    for name in asked:
        started = time.perf_counter()
        parts[name]()
        CONSOLE.print(f"{time.perf_counter() - started:.0f} s\n")


def false_alarms() -> None:
    """Alarms per hundred nights on which nothing has changed."""
    cells = [(world, rows, features) for rows in ROWS for features in FEATURES for world in WORLDS]
    lives = [("quiet", *cell, life) for life in range(LIVES) for cell in cells]
    ours = _answers(OURS, lives)
    others = {
        tool: _answers(tool, [life for life in lives if life[-1] < OTHER_LIVES])
        for tool in drift_others.TOOLS
        if drift_others.there(tool)
    }
    table = Table("rows a night", "features", *WORLDS, title=f"false alarms per 100 nights; budget {per_hundred():.1f}")
    spent = []
    for rows in ROWS:
        for features in FEATURES:
            row = []
            for world in WORLDS:
                verdicts = [verdict for verdict, _ in _of_cell(ours, world, rows, features)]
                alarms = verdicts.count("drift")
                spent.append((alarms, len(verdicts), f"{world}, {rows:,} × {features}"))
                told = [f"{100 * alarms / len(verdicts):.1f}"]
                told += [_rate(tool, _of_cell(seen, world, rows, features)) for tool, seen in others.items()]
                row.append(" / ".join(told))
            table.add_row(f"{rows:,}", str(features), *row)
    CONSOLE.print(table)
    shown = [OURS, *("Evidently (any column, its verdict)" if tool == "Evidently" else tool for tool in others)]
    CONSOLE.print(" / ".join(shown), highlight=False)
    CONSOLE.print(_within(spent), highlight=False)


def _of_cell(answers: dict[Job, Any], *cell: Any) -> list[Any]:
    return [night for job, told in answers.items() if job[1:4] == cell for night in told]


def _rate(tool: str, nights: Sequence[tuple[bool, float, float]]) -> str:
    drift = 100 * float(np.mean([drift for drift, _, _ in nights]))
    any_column = 100 * float(np.mean([share > 0 for _, share, _ in nights]))
    return f"{any_column:.0f}, {drift:.0f}" if tool == "Evidently" else f"{drift:.0f}"


def _within(spent: Sequence[tuple[int, int, str]]) -> str:
    """All cells in a sentence, and those in which more was spent than the budget."""
    alarms, nights = sum(cell[0] for cell in spent), sum(cell[1] for cell in spent)
    over = [(a, n, cell) for a, n, cell in spent if a > n * per_hundred() / 100]
    told = f"{alarms} alarms in {nights:,} nights; budget {nights * per_hundred() / 100:,.0f}. "
    told += f"Largest in a cell: {max(100 * a / n for a, n, _ in spent):.1f} per 100."
    for a, n, cell in over:
        chance = float(stats.poisson.sf(a - 1, n * per_hundred() / 100))
        told += f" Over it: {cell}, {a} in {n} (as many by chance, were the budget just spent: {chance:.2f})."
    return told


def per_hundred() -> float:
    """The budget, per hundred nights."""
    return 100 * SPEC.false_alarms_per_month / 30


def _answers(tool: str, jobs: Sequence[Job]) -> dict[Job, Any]:
    name = f"drift-{tool.replace(' ', '-')}"
    return kept.answers(name, jobs, _ask if tool == OURS else lambda wanted: drift_others.ask(tool, wanted))


def _ask(jobs: Sequence[Job]) -> Iterator[tuple[Job, Any]]:
    """What this project says of each job, as it comes."""
    pool = Parallel(n_jobs=os.cpu_count(), return_as="generator_unordered")
    yield from pool(delayed(live)(job) for job in jobs)


def live(job: Job) -> tuple[Job, list[tuple[str, int]]]:
    """Each night's verdict, with the memory of those before it, and the night that a change is dated to."""
    reference, nights, columns = drift_worlds.scene(job)
    before: list[Any] = []
    known: dict[str, Any] = {}
    told = []
    for night in nights:
        found = detect(
            reference,
            night,
            spec=SPEC,
            reference_times=reference["at"],
            columns=columns,
            nights=before,
            known=known,
            thresholds=False,
        )
        told.append((found.verdict, -1 if found.changed is None else found.changed))
        before = [] if found.verdict == "drift" else [*before, found.distances]
    return job, told


def delays() -> None:
    """Nights until a change is told: ours, and the distances of other tools under thresholds that an oracle sets.

    The oracle knows quiet nights of the same world, and spends the same budget.
    """
    asked = [(shift, size) for shift, sizes in SHIFTS.items() for size in sizes]
    jobs = [("change", *one, life) for life in range(DELAY_LIVES) for one in asked]
    quiet = [("oracle", life) for life in range(DELAY_LIVES * 2)]
    ours = _answers(OURS, jobs)
    limits, others = {}, {}
    for tool in (tool for tool in drift_others.TOOLS if drift_others.there(tool)):
        usual = [far for night in _answers(tool, quiet).values() for _, _, far in night]
        limits[tool] = float(np.quantile(usual, 1 - per_hundred() / 100))
        others[tool] = _answers(tool, [job for job in jobs if job[-1] < OTHER_DELAY_LIVES])
    title = f"nights until a change is told; 20 devices, 1,000 rows, 11 columns, {DELAY_LIVES} lives"
    table = Table("change", "size", OURS, "dated to the night", *(f"{tool}, oracle's" for tool in others), title=title)
    for shift, amount in asked:
        of = [("change", shift, amount, life) for life in range(DELAY_LIVES)]
        nights, off = zip(*(_told(ours[job]) for job in of), strict=True)
        dates = [one for one in off if one is not None]
        row = [_median(nights), f"± {np.median(dates):.0f}" if dates else "–"]
        for tool, answers in others.items():
            seen = [answers[job] for job in of if job in answers]
            row.append(_median([_first([far >= limits[tool] for _, _, far in nights]) for nights in seen]))
        table.add_row(shift, f"{amount:g}", *row)
    CONSOLE.print(table)


def _told(nights: Sequence[tuple[str, int]]) -> tuple[float, int | None]:
    """Nights until the change is told, and how far its date is off, unless there was a false alarm before."""
    alarms = [verdict == "drift" for verdict, _ in nights]
    after = _first(alarms[BEFORE:])
    if not np.isfinite(after) or any(alarms[:BEFORE]):
        return after, None
    return after, abs(nights[BEFORE + int(after) - 1][1] - BEFORE)


def _first(alarms: Sequence[bool]) -> float:
    return next((i + 1.0 for i, alarm in enumerate(alarms) if alarm), np.inf)


def _median(nights: Sequence[float]) -> str:
    found = [night for night in nights if np.isfinite(night)]
    middle = float(np.median(nights))
    told = f"{middle:g}" if np.isfinite(middle) else f"> {CHANGED_NIGHTS - BEFORE}"
    return f"{len(found)} of {len(nights)}, {told}"


def size() -> None:
    """Seconds and memory of one comparison."""
    table = Table("way", "s", "CPU s", "MB beyond the tables", title=f"{SIZE:,} × {drift_size.COLUMNS} against as many")
    for way in drift_size.WAYS:
        seconds, cpu, megabytes = drift_size.measured(way, SIZE)
        table.add_row(way, f"{seconds:.1f}", f"{cpu:.1f}", f"{megabytes:,.0f}")
    CONSOLE.print(table)


def real() -> None:
    """Servers without drift, and air with its seasons."""
    folder = Path(os.environ.get("MLOPS_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        print(f"no real data at {folder}; set MLOPS_TEST_DATA to the folder that holds asd/ and beijing_air/")
        return
    table = Table("data", "nights", "alarms", "first alarm after", "most of all", title="real data")
    for anomalies, told in ((True, "with its labelled anomalies"), (False, "rows labelled as anomalies left out")):
        still = drift_real.servers(folder, anomalies=anomalies)
        table.add_row(f"ASD: two weeks, then a month without drift, {told}", *_watched([still]))
    months = ("04-01", "10-01") if QUICK else ("01-01", "04-01", "07-01", "10-01")
    years = (2013, 2014) if QUICK else (2013, 2014, 2015)
    starts = [f"{year}-{month}" for year in years for month in months if f"{year}-{month}" >= "2013-03-01"]
    asked = [("weather", drift_real.WEATHER), ("weather and pollutants", drift_real.AIR)]
    for name, columns in asked[: 1 if QUICK else 2]:
        later = drift_real.air(folder, columns, starts, later_days=90, nights=30)
        table.add_row(f"Beijing, {name}: a season later, {len(starts)} × 30 nights", *_watched(later))
        again = drift_real.air(folder, columns, starts, later_days=365, nights=30)
        table.add_row(f"Beijing, {name}: the same season a year later, {len(starts)} × 30 nights", *_watched(again))
    CONSOLE.print(table)


def _watched(found: list[drift_real.Watched]) -> tuple[str, str, str, str]:
    first = sorted(one.first for one in found if one.first is not None)
    told = f"{len(first)} of {len(found)}" + (f", night {np.median(first):.0f}" if first else "")
    named = [one.columns[0] for one in found if one.columns]
    most = max(set(named), key=named.count) if named else "–"
    return str(sum(one.nights for one in found)), str(sum(one.alarms for one in found)), told, most

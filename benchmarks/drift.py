"""Drift: false alarms on worlds that do not change, how long a change takes to be told, size, and real data.

`MLOPS_BENCH_QUICK=1` measures a tenth of it. Every cell has its own seed; competitors see the same nights.
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from rich.console import Console
from rich.table import Table

from benchmarks import drift_real, drift_size, drift_worlds
from benchmarks.drift_worlds import SHIFTS, WORLDS
from mlops.monitoring.drift.detect import detect
from mlops.spec import DriftSpec

QUICK = os.environ.get("MLOPS_BENCH_QUICK", "") not in ("", "0")
ROWS, FEATURES = (100, 1_000, 5_000), (1, 10, 50)
REFERENCE_DAYS, NIGHTS = 14, 30
LEAST_LIVES = 1 if QUICK else 2
SECONDS = 0.6 if QUICK else 8.0  # a cell starts another month until so much time has gone
DELAY_LIVES = 2 if QUICK else 12
DELAY_NIGHTS = 20
SIZE = 100_000 if QUICK else 1_000_000
SPEC = DriftSpec(min_rows=80)
CONSOLE = Console(width=150)


def main() -> None:
    """Print the tables."""
    os.environ["DO_NOT_TRACK"] = "1"
    for part in (false_alarms, delays, size, real):
        started = time.perf_counter()
        part()
        CONSOLE.print(f"{time.perf_counter() - started:.0f} s\n")


def false_alarms() -> None:
    """Alarms per hundred nights on which nothing has changed."""
    table = Table("rows a night", "features", *WORLDS, title=f"false alarms per 100 nights; budget {per_hundred():.1f}")
    cells = [(world, rows, features) for rows in ROWS for features in FEATURES for world in WORLDS]
    found: dict[tuple[str, int, int], str] = {}
    jobs = Parallel(n_jobs=os.cpu_count(), return_as="generator")
    for cell, told in zip(cells, jobs(delayed(_quiet)(*cell) for cell in cells), strict=True):
        found[cell] = told
        print(*cell, told, file=sys.stderr, flush=True)  # a run that is cut short has told what it found
    for rows in ROWS:
        for features in FEATURES:
            table.add_row(f"{rows:,}", str(features), *(found[world, rows, features] for world in WORLDS))
    CONSOLE.print(table)
    CONSOLE.print(
        "ours (nights looked at) / Evidently's defaults: any column drifted / half of the columns drifted.",
        highlight=False,
    )


def per_hundred() -> float:
    """The budget, per hundred nights."""
    return 100 * SPEC.false_alarms_per_month / 30


def _quiet(world: str, rows: int, features: int) -> str:
    """One cell: months without a change, until its time is over."""
    entropy = [WORLDS.index(world), rows, features]
    alarms, nights, any_column, half, looked = 0, 0, 0, 0, 0
    started, life = time.perf_counter(), 0
    while life < LEAST_LIVES or time.perf_counter() - started < SECONDS:
        rng = np.random.default_rng([*entropy, life])
        days = drift_worlds.days_of(world, rng, days=REFERENCE_DAYS + NIGHTS, rows=rows, features=features)
        reference = pd.concat(days[:REFERENCE_DAYS], ignore_index=True)
        names = [f"c{i}" for i in range(features)]
        for verdict, _ in _live(reference, days[REFERENCE_DAYS:], names):
            alarms, nights = alarms + (verdict == "drift"), nights + 1
        if life < LEAST_LIVES:
            for night in days[REFERENCE_DAYS :: 3 if features < 50 else 6]:
                drifted = [_evidently(reference[name], night[name])[0] for name in names]
                any_column, half, looked = any_column + any(drifted), half + (np.mean(drifted) >= 0.5), looked + 1
        life += 1
    return f"{100 * alarms / nights:.1f} ({nights}) / {100 * any_column / looked:.0f} / {100 * half / looked:.0f}"


def _live(reference: pd.DataFrame, nights: list[pd.DataFrame], columns: list[str]) -> Iterator[tuple[str, int]]:
    """The verdict of each night, with the memory of those before it, and the night it is dated to."""
    before: list[Any] = []
    known: dict[str, Any] = {}
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
        yield found.verdict, -1 if found.changed is None else found.changed
        before = [] if found.verdict == "drift" else [*before, found.distances]


def _evidently(reference: pd.Series, current: pd.Series) -> tuple[bool, float]:
    """Whether Evidently's default test calls a column drifted, and its score."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from evidently.legacy.calculations.stattests import get_stattest
        from evidently.legacy.core import ColumnType

        kind = ColumnType.Numerical if pd.api.types.is_numeric_dtype(reference) else ColumnType.Categorical
        sides = reference.dropna(), current.dropna()
        test = get_stattest(*sides, kind, None)
        result = test(*sides, kind, None)
        return bool(result.drifted), float(result.drift_score)


def delays() -> None:
    """Nights until a change is told: ours beside Evidently's own distances under a threshold that an oracle sets."""
    columns = [*(f"c{i}" for i in range(10)), "kind"]
    limit = _oracle(columns)
    table = Table(
        "change",
        "size",
        "ours: found, median night",
        "dated to the night",
        "Evidently's distances, oracle's threshold",
        title=f"nights until a change is told; 20 devices, 1,000 rows, 11 columns, {DELAY_LIVES} lives",
    )
    asked = [(shift, size) for shift, sizes in SHIFTS.items() for size in sizes]
    jobs = Parallel(n_jobs=os.cpu_count(), return_as="generator")
    answers = jobs(delayed(_delay)(shift, amount, columns, limit) for shift, amount in asked)
    for (shift, amount), told in zip(asked, answers, strict=True):
        table.add_row(shift, f"{amount:g}", *told)
        print(shift, amount, *told, sep=" | ", file=sys.stderr, flush=True)
    CONSOLE.print(table)


def _changed_life(life: int, shift: str, amount: float, quiet: int) -> tuple[pd.DataFrame, list[pd.DataFrame]]:
    """A reference and nights, of which the first `quiet` have not changed."""
    rng = np.random.default_rng([77, life])
    days = drift_worlds.days_of("20 devices", rng, days=REFERENCE_DAYS + DELAY_NIGHTS, rows=1_000, features=10)
    days = [drift_worlds.with_more(day, rng) for day in days]
    late = [drift_worlds.shifted(day, shift, amount, rng) for day in days[REFERENCE_DAYS + quiet :]]
    return pd.concat(days[:REFERENCE_DAYS], ignore_index=True), [*days[REFERENCE_DAYS : REFERENCE_DAYS + quiet], *late]


def _oracle(columns: list[str]) -> float:
    """What the largest of Evidently's distances reaches on one quiet night in thirty over the budget."""
    found = []
    for life in range(DELAY_LIVES * 2):
        reference, nights = _changed_life(1_000 + life, "mean", 0.0, DELAY_NIGHTS)
        found += [_largest(reference, night, columns) for night in nights[::4]]
    return float(np.quantile(found, 1 - per_hundred() / 100))


def _largest(reference: pd.DataFrame, night: pd.DataFrame, columns: list[str]) -> float:
    return max(_evidently(reference[name], night[name])[1] for name in columns)


def _delay(shift: str, amount: float, columns: list[str], limit: float) -> tuple[str, str, str]:
    """Ours, how far its date is off, and the oracle's."""
    quiet = 3
    ours, theirs, off = [], [], []
    for life in range(DELAY_LIVES):
        reference, nights = _changed_life(life, shift, amount, quiet)
        verdicts = list(_live(reference, nights, columns))
        alarm = next((i for i, (verdict, _) in enumerate(verdicts) if verdict == "drift" and i >= quiet), None)
        ours.append(np.inf if alarm is None else alarm - quiet + 1)
        if alarm is not None and not any(verdict == "drift" for verdict, _ in verdicts[:alarm]):
            off.append(abs(verdicts[alarm][1] - quiet))
        over = (i for i, night in enumerate(nights[quiet:]) if _largest(reference, night, columns) >= limit)
        theirs.append(next(over, np.inf) + 1)
    dated = f"± {np.median(off):.0f}" if off else "–"
    return _median(ours), dated, _median(theirs)


def _median(nights: list[float]) -> str:
    found = [night for night in nights if np.isfinite(night)]
    middle = float(np.median(nights))
    told = f"{middle:.0f}" if np.isfinite(middle) else f"> {DELAY_NIGHTS - 3}"
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

"""Twelve real servers, fifteen labelled nights: what detectors reach on raw metrics and on the pipeline's own features.

One model per server and night, learned on the 14 days before it; ROC AUC per server over all nights, mean over servers.
The choice takes, night by night, the detector with the best ROC AUC on faults injected into the last two days: no
label is used. Its scores of different nights are made comparable as quantiles of the window's own scores.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress
from rich.table import Table
from sklearn.metrics import roc_auc_score

from mlops.experiments.injection import inject_faults
from mlops.features.engineering import Recipe, engineer
from mlops.models import catalogue
from mlops.models.scoring import Scorer
from mlops.spec import CandidateSpec

FIRST_NIGHT, NIGHTS, WINDOW_DAYS, JUDGE_DAYS = date(2020, 1, 31), 15, 14, 2
METRICS = tuple(f"metric_{i:02d}" for i in range(19))
DETECTORS = ("isolation_forest", "ecod", "hbos", "pca", "knn")
CHOSEN = "chosen"
RECIPES = {
    "raw metrics": Recipe(columns=METRICS, statistics=("value",)),
    "value and 1 h mean": Recipe(columns=METRICS, windows=("1h",), statistics=("value", "mean")),
    "value, 1 h mean and spread": Recipe(columns=METRICS, windows=("1h",), statistics=("value", "mean", "std")),
}
KEYS = ["device_id", "event_timestamp"]


def main() -> None:
    """Print the table; nights are lived side by side, one a core."""
    folder = Path(os.environ.get("MLOPS_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        print(f"no real data at {folder}; set MLOPS_TEST_DATA to the folder that holds asd/")
        return
    rows = pd.read_parquet(folder / "asd" / "metrics.parquet").astype({"device_id": str})
    faulty, mask = inject_faults(
        rows, columns=METRICS, entity="device_id", event="event_timestamp", rng=np.random.default_rng(0)
    )
    table = Table("features", *DETECTORS, "chosen without labels", "chosen how often")
    with Progress(*Progress.get_default_columns(), MofNCompleteColumn(), console=Console(stderr=True)) as progress:
        bar = progress.add_task("nights", total=len(RECIPES) * NIGHTS)
        for name, recipe in RECIPES.items():
            progress.update(bar, description=name)
            tables = _featured(rows, recipe), _featured(faulty.assign(injected=mask), recipe)
            nights = []
            for night in _replay(*tables, recipe):
                nights.append(night)
                progress.advance(bar)
            found = {of: _mean_auc([night.scored[of] for night in nights]) for of in (*DETECTORS, CHOSEN)}
            told = ", ".join(f"{of} {value:.3f}" for of, value in found.items())
            progress.console.print(f"{name}: {told}")  # a run that is cut short has told what it found
            often = Counter(night.chosen for night in nights).most_common()
            table.add_row(
                name,
                *(f"{found[of]:.3f}" for of in (*DETECTORS, CHOSEN)),
                ", ".join(f"{detector} {count}" for detector, count in often),
            )
    Console(width=160).print(table)


def _featured(rows: pd.DataFrame, recipe: Recipe) -> pd.DataFrame:
    made = engineer(rows, recipe, entity="device_id", event="event_timestamp", known_at="event_timestamp")
    kept = [column for column in ("anomaly", "injected") if column in rows]
    made = made.merge(rows[[*KEYS, *kept]], on=KEYS)
    return made.assign(day=made["event_timestamp"].dt.date)


@dataclass(frozen=True)
class Night:
    """Scores of one night by detector, with the labels; the chosen one's once more under CHOSEN."""

    scored: dict[str, pd.DataFrame]
    chosen: str


def _replay(table: pd.DataFrame, injected: pd.DataFrame, recipe: Recipe) -> Iterator[Night]:
    jobs = Parallel(n_jobs=os.cpu_count(), return_as="generator_unordered")
    days = [FIRST_NIGHT + timedelta(days=i) for i in range(NIGHTS)]
    windows = (
        (table[_between(table, day, WINDOW_DAYS, 1)], injected[_between(injected, day, JUDGE_DAYS)]) for day in days
    )
    yield from jobs(delayed(_live)(rows, trial, recipe) for rows, trial in windows)


def _between(table: pd.DataFrame, night: date, before: int, after: int = 0) -> pd.Series:
    """Rows of some days before the night, and of the night itself if `after` is 1."""
    return (table["day"] >= night - timedelta(days=before)) & (table["day"] < night + timedelta(days=after))


def _live(rows: pd.DataFrame, trial: pd.DataFrame, recipe: Recipe) -> Night:
    """One night: `rows` are those of its window and its own, `trial` the window's end with injected faults."""
    night = rows["day"].max()
    window, judged = rows[rows["day"] < night], rows[rows["day"] == night]
    early = window[window["day"] < night - timedelta(days=JUDGE_DAYS)]
    trials: dict[str, float] = {}
    scored: dict[str, pd.DataFrame] = {}
    comparable: dict[str, pd.DataFrame] = {}
    for name in DETECTORS:
        trials[name] = float(roc_auc_score(trial["injected"], _fit(name, recipe, early).score(trial)))
        full = _fit(name, recipe, window)
        scored[name] = judged[["device_id", "anomaly"]].assign(score=full.score(judged))
        comparable[name] = scored[name].assign(score=_quantiles(full.score(window), scored[name]["score"].to_numpy()))
    chosen = max(trials, key=lambda name: trials[name])
    return Night(scored | {CHOSEN: comparable[chosen]}, chosen)


def _fit(name: str, recipe: Recipe, rows: pd.DataFrame) -> Scorer:
    candidate = CandidateSpec(algorithm=name, per_entity=True)
    scorer = catalogue.build(candidate, task="anomaly", features=recipe.feature_names, entity="device_id", seed=0)
    return scorer.fit(rows)


def _quantiles(usual: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """How much of the window lies below, with the distance beyond its largest score as a continuation."""
    ordered = np.sort(usual)
    beyond = np.maximum(scores - ordered[-1], 0) / (ordered[-1] - ordered[0] + 1e-12)
    return np.searchsorted(ordered, scores) / len(ordered) + beyond


def _mean_auc(nights: list[pd.DataFrame]) -> float:
    """Mean over servers; a score that is not finite is refused by scikit-learn."""
    groups = pd.concat(nights).groupby("device_id")
    return float(np.mean([roc_auc_score(of["anomaly"].to_numpy(dtype=float), of["score"]) for _, of in groups]))

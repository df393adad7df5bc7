"""Twelve real servers, fifteen labelled nights: what detectors reach on raw metrics and on the pipeline's own features.

One model per server and night, learned on the 14 days before it; ROC AUC per server over all nights, mean over servers.
The choice takes, night by night, the detector with the best ROC AUC on faults injected into the last two days: no
label is used. Its scores of different nights are made comparable as quantiles of the window's own scores.
"""

from __future__ import annotations

import os
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
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
RECIPES = {
    "raw metrics": Recipe(columns=METRICS, statistics=("value",)),
    "value and 1 h mean": Recipe(columns=METRICS, windows=("1h",), statistics=("value", "mean")),
    "value, 1 h mean and spread": Recipe(columns=METRICS, windows=("1h",), statistics=("value", "mean", "std")),
}
KEYS = ["device_id", "event_timestamp"]


def main() -> None:
    """Print the table."""
    folder = Path(os.environ.get("MLOPS_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        print(f"no real data at {folder}; set MLOPS_TEST_DATA to the folder that holds asd/")
        return
    rows = pd.read_parquet(folder / "asd" / "metrics.parquet").astype({"device_id": str})
    faulty, mask = inject_faults(
        rows, columns=METRICS, entity="device_id", event="event_timestamp", rng=np.random.default_rng(0)
    )
    table = Table("features", *DETECTORS, "chosen without labels")
    for name, recipe in RECIPES.items():
        found = _replay(_featured(rows, recipe), _featured(faulty.assign(injected=mask), recipe), recipe)
        table.add_row(name, *(f"{found[detector]:.3f}" for detector in (*DETECTORS, "chosen")))
    Console().print(table)


def _featured(rows: pd.DataFrame, recipe: Recipe) -> pd.DataFrame:
    made = engineer(rows, recipe, entity="device_id", event="event_timestamp", known_at="event_timestamp")
    kept = [column for column in ("anomaly", "injected") if column in rows]
    made = made.merge(rows[[*KEYS, *kept]], on=KEYS)
    return made.assign(day=made["event_timestamp"].dt.date)


def _replay(table: pd.DataFrame, injected: pd.DataFrame, recipe: Recipe) -> dict[str, float]:
    """Mean ROC AUC by detector, and of the nightly choice."""
    scored: dict[str, list[pd.DataFrame]] = {name: [] for name in (*DETECTORS, "chosen")}
    for night in (FIRST_NIGHT + timedelta(days=i) for i in range(NIGHTS)):
        window = table[(table["day"] >= night - timedelta(days=WINDOW_DAYS)) & (table["day"] < night)]
        cut = night - timedelta(days=JUDGE_DAYS)
        trial = injected[(injected["day"] >= cut) & (injected["day"] < night)]
        judged = table[table["day"] == night]
        trials: dict[str, float] = {}
        comparable: dict[str, pd.DataFrame] = {}
        for name in DETECTORS:
            early = _fit(name, recipe, window[window["day"] < cut])
            trials[name] = float(roc_auc_score(trial["injected"], np.nan_to_num(early.score(trial))))
            full = _fit(name, recipe, window)
            part = judged[["device_id", "anomaly"]].assign(score=full.score(judged))
            scored[name].append(part)
            comparable[name] = part.assign(score=_quantiles(full.score(window), part["score"].to_numpy()))
        scored["chosen"].append(comparable[max(trials, key=lambda name: trials[name])])
    return {name: _mean_auc(pd.concat(parts)) for name, parts in scored.items()}


def _fit(name: str, recipe: Recipe, rows: pd.DataFrame) -> Scorer:
    candidate = CandidateSpec(algorithm=name, per_entity=True)
    scorer = catalogue.build(candidate, task="anomaly", features=recipe.feature_names, entity="device_id", seed=0)
    return scorer.fit(rows)


def _quantiles(usual: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """How much of the window lies below, with the distance beyond its largest score as a continuation."""
    ordered = np.sort(usual[np.isfinite(usual)])
    if not len(ordered):  # a detector that cannot score a window at all (PCA on constant columns) tells nothing apart
        return np.zeros(len(scores))
    scores = np.nan_to_num(scores, posinf=np.finfo(np.float32).max)
    beyond = np.maximum(scores - ordered[-1], 0) / (ordered[-1] - ordered[0] + 1e-12)
    return np.searchsorted(ordered, scores) / len(ordered) + beyond


def _mean_auc(scored: pd.DataFrame) -> float:
    """By rank, so that a score without bound (a value outside all bins) is simply the highest."""
    groups = scored.assign(rank=scored["score"].rank()).groupby("device_id")
    return float(np.mean([roc_auc_score(of["anomaly"].to_numpy(dtype=float), of["rank"]) for _, of in groups]))

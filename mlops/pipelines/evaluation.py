"""How good a scorer is on a part of a training set: metrics by task, with and without labels.

One rule: a metric that cannot be computed is absent, never 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from mlops.experiments import metrics
from mlops.models import thresholds
from mlops.models.scoring import Scorer
from mlops.pipelines.night import instants
from mlops.spec import ModelSpec


def with_threshold(scorer: Scorer, rows: pd.DataFrame, spec: ModelSpec) -> Scorer:
    """The scorer with the lowest threshold that keeps the alert budget on `rows` (anomaly only; others as they are)."""
    if spec.task != "anomaly":
        return scorer
    threshold = thresholds.threshold_for_budget(
        scorer.score(rows),
        rows[spec.entity].to_numpy(),
        instants(rows["observed_at"]),
        alerts_per_entity_day=spec.alerts_per_entity_day,
    )
    return scorer.with_threshold(threshold)


def measure(scorer: Scorer, rows: pd.DataFrame, injected: pd.DataFrame, spec: ModelSpec) -> dict[str, float]:
    """All metrics of the task on `rows`; for detectors also `injected_recall` on `injected`.

    Args:
        scorer: fitted, with its threshold.
        rows: a part of a training set; rows without a label count for alarms only.
        injected: the same part with injected faults; may be empty.
        spec: the model.

    Returns:
        Metric name to value; those that cannot be computed are absent.
    """
    found = measure_scores(scorer.predict(rows), rows, spec, scorer.classes)
    if spec.task == "anomaly" and len(injected):
        flags = scorer.predict(injected)["flag"].fillna(value=False).astype(bool)
        truth = injected["label"] == 1
        if truth.any():
            found["injected_recall"] = float(flags[truth.to_numpy()].mean())
    return found


def measure_scores(
    predicted: pd.DataFrame, rows: pd.DataFrame, spec: ModelSpec, classes: Sequence[Any] = ()
) -> dict[str, float]:
    """All metrics of the task from predictions that have been made for `rows`.

    Args:
        predicted: `score`, `flag` and for classes `proba_<class>`, as `Scorer.predict` gives them.
        rows: entity, `observed_at` and `label`, row by row the same.
        spec: the model.
        classes: labels of a classifier, in the order of its `proba_…` columns.
    """
    proba = [name for name in predicted.columns if str(name).startswith("proba_")]
    flags = predicted["flag"].fillna(value=False).to_numpy(dtype=bool) if "flag" in predicted else None
    found: dict[str, float] = metrics.evaluate(
        spec.task,
        y=rows["label"].to_numpy(),
        scores=predicted["score"].to_numpy(dtype=float),
        flags=flags,
        entities=rows[spec.entity].to_numpy(),
        times=instants(rows["observed_at"]),
        probabilities=predicted[proba].to_numpy(dtype=float) if classes else None,
        classes=list(classes) if classes else None,
    )
    return found


def sampled(rows: pd.DataFrame, most: int, seed: int) -> pd.DataFrame:
    """At most `most` rows, drawn without replacement by `seed`, in time order."""
    if len(rows) > most:
        keep = np.sort(np.random.default_rng(seed).choice(len(rows), most, replace=False))
        rows = rows.iloc[keep]
    return rows.sort_values("observed_at", kind="stable").reset_index(drop=True)

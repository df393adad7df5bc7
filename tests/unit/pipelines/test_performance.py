"""Intervals of what was measured: all resamples at once are what each of them gives by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pytest

from mlops.config import MLOpsConfig
from mlops.monitoring import estimates
from mlops.pipelines import performance
from mlops.pipelines.evaluation import measure_scores
from mlops.spec import ModelSpec, find_spec

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def spec() -> ModelSpec:
    """The default use case."""
    config = MLOpsConfig.build({"home": ROOT, "var": "/nowhere", "code_version": "test"})
    return find_spec(config.models_dir, "fleet_anomaly", config.variables)


@pytest.mark.parametrize(
    ("task", "wanted"),
    [
        ("anomaly", ("roc_auc", "average_precision")),
        ("regression", ("mean_absolute_error", "root_mean_squared_error")),
    ],
)
def test_all_resamples_at_once_are_each_of_them(
    spec: ModelSpec, task: Literal["anomaly", "regression"], wanted: tuple[str, ...]
) -> None:
    """Ties, a block that is not drawn and one that is drawn twice included; what is not known at once is left out."""
    rng = np.random.default_rng(5)
    label = rng.integers(0, 2, 60).astype(float) if task == "anomaly" else rng.normal(size=60)
    rows = pd.DataFrame(
        {
            spec.entity: np.repeat([f"p{i}" for i in range(6)], 10),
            "observed_at": pd.date_range("2026-01-01", periods=60, freq="h", tz="UTC"),
            "label": label,
            "score": (label + rng.normal(size=60)).round(1),
        }
    )
    asked = spec.model_copy(update={"task": task})
    codes = estimates.numbered(rows[spec.entity].to_numpy())
    counts = estimates.block_counts(codes, 30, np.random.default_rng(6))
    assert (counts.sum(axis=1) == 6).all()
    assert counts.min() == 0
    assert counts.max() > 1
    found = performance._at_once(asked, rows, [*wanted, "r2", "event_recall"], codes, counts)
    assert set(found) == set(wanted)
    for number, drawn in enumerate(counts):
        part = rows.iloc[np.repeat(np.arange(len(rows)), drawn[codes])]
        alone = measure_scores(part, part, asked)
        for name in wanted:
            assert found[name][number] == pytest.approx(alone[name], abs=1e-12)


def test_labels_of_classes_are_not_taken_for_numbers(spec: ModelSpec) -> None:
    """A classifier's labels may be any values, so its metrics are worked out resample by resample."""
    rows = pd.DataFrame({"label": ["a", "b"], "score": [0.1, 0.9]})
    asked = spec.model_copy(update={"task": "classification"})
    assert performance._at_once(asked, rows, ["roc_auc"], np.arange(2), np.ones((1, 2), dtype=np.int64)) == {}

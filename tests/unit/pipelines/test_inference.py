"""What a batch of predictions says of itself."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlops import metric_names as names
from mlops.config import MLOpsConfig
from mlops.pipelines import inference, metrics
from mlops.spec import ModelSpec, find_spec
from mlops.storage import Manifest
from tests.unit.pipelines.conftest import ROOT

DAY = date(2026, 3, 5)


@pytest.fixture(scope="module")
def spec() -> ModelSpec:
    """The default use case."""
    config = MLOpsConfig.build({"home": ROOT, "var": "/nowhere", "code_version": "test"})
    return find_spec(config.models_dir, "fleet_anomaly", config.variables)


def batch(spec: ModelSpec, **columns: Any) -> inference.PredictionBatch:
    """A batch of rows with these columns."""
    table = pd.DataFrame({"threshold": np.nan, "score": 0.5, **columns})
    return inference.batch_of(table, spec, DAY, "uri", Manifest(len(table), {}, "hash", {"version": "3"}))


@pytest.mark.parametrize("classes", [("a", "b", "c"), (0.0, 1.0, 2.0)], ids=["text", "numbers"])
def test_a_classifier_tells_how_sure_it_was(spec: ModelSpec, classes: tuple[Any, ...]) -> None:
    """The mean probability of what was answered, also where another class had a larger one; rows without an answer
    count for nothing; three of four answers lie at .6 or above.
    """
    first, second, third = classes
    named = [f"proba_{name:g}" if isinstance(name, float) else f"proba_{name}" for name in classes]
    rows = np.array([[0.9, 0.1, 0.0], [0.2, 0.6, 0.2], [0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [np.nan] * 3])
    task = spec.model_copy(update={"task": "classification"})
    labels = [first, second, second, third, None]
    found = batch(task, label=labels, **dict(zip(named, rows.T, strict=True)))
    assert found.confidence == pytest.approx((0.9 + 0.6 + 0.3 + 0.8) / 4)
    assert found.unsure_rows == 1
    told = {sample.metric: sample.value for sample in metrics.of_predictions(found)}
    assert told[names.PREDICTION_CONFIDENCE] == found.confidence
    assert told[names.PREDICTION_UNSURE_ROWS] == 1
    assert "of 1 it is unsure" in inference._words(found, task)


def test_other_models_say_nothing_of_it(spec: ModelSpec) -> None:
    """A detector or a regressor has no probability: absent, not zero."""
    found = batch(spec, flag=[True, False, True])
    assert (found.confidence, found.unsure_rows) == (None, 0)
    assert {names.PREDICTION_CONFIDENCE, names.PREDICTION_UNSURE_ROWS}.isdisjoint(
        sample.metric for sample in metrics.of_predictions(found)
    )

"""What one row and a hundred rows cost, by algorithm: the plain scorer beside the form that `mlops serve` answers with.

Ten features, fitted on 5,000 rows (forests with 100 trees). Prints the table of docs/serving.md.
"""

from __future__ import annotations

import os
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from mlops.models import catalogue
from mlops.records import ModelVersion
from mlops.serving.predictor import Predictor
from mlops.spec import CandidateSpec

FEATURES = [f"f{i}" for i in range(10)]
ROWS = 5_000
REPEATS = 30


def main() -> None:
    """Print the table."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(ROWS, len(FEATURES))), columns=FEATURES)
    value = frame.sum(axis=1).to_numpy()
    labels = {"anomaly": None, "classification": (value > 0).astype(int), "regression": value}
    print("| algorithm | served | plain, 1 row [µs] | served, 1 row [µs] | 100 rows [µs] | largest difference |")
    print("|---|---|---|---|---|---|")
    for task, names in catalogue.ALGORITHMS.items():
        for name in names:
            print(_line(task, name, frame, labels[task]), flush=True)
    print(f"load {os.getloadavg()[0]:.1f}, medians of {REPEATS}")


def _line(task: Any, name: str, frame: pd.DataFrame, y: Any) -> str:
    params = {"n_estimators": 100} if "forest" in name or "trees" in name else {}
    built = catalogue.build(
        CandidateSpec(algorithm=name, params=params), task=task, features=FEATURES, entity="k", seed=0
    )
    few = slice(0, 1_000) if name in ("svr", "one_class_svm", "mlp") else slice(None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scorer = built.fit(frame[few], None if y is None else y[few])
        predictor = Predictor.of(ModelVersion("m", 1, "", "", "", "", "", ""), scorer, frame.head(64))
    X, table = np.ascontiguousarray(frame.to_numpy()), frame
    plain = _microseconds(lambda i: scorer.predict(table[i : i + 1]))
    ours = _microseconds(lambda i: predictor.answers(X[i : i + 1], [None]))
    many = _microseconds(lambda i: predictor.answers(X[i : i + 100], [None] * 100))
    served = "compiled" if predictor.compiled else "plain"
    apart = f"{predictor.largest_difference:.0e}" if predictor.compiled else ""
    apart = "0" if predictor.compiled and not predictor.largest_difference else apart
    return f"| `{task}/{name}` | {served} | {plain:,.0f} | {ours:,.0f} | {many:,.0f} | {apart} |"


def _microseconds(call: Callable[[int], object]) -> float:
    call(0)
    times = []
    for i in range(REPEATS):
        began = time.perf_counter()
        call(i)
        times.append(time.perf_counter() - began)
    return 1e6 * statistics.median(times)

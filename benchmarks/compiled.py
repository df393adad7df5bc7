"""What one row and a hundred rows cost, by algorithm: the plain scorer beside the form that `mlops serve` answers with.

Ten features, fitted on 5,000 rows (forests of 100 trees), proven on 2,000 others. Prints the table of docs/serving.md.
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
from mlops.models.scoring import Scorer
from mlops.records import ModelVersion
from mlops.serving.compiled import FORMS
from mlops.serving.compiled_proof import prove
from mlops.serving.predictor import Predictor
from mlops.spec import CandidateSpec

FEATURES = [f"f{i}" for i in range(10)]
ROWS, VALIDATION_ROWS = 5_000, 2_000
REPEATS = 30


def main() -> None:
    """Print the table."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(ROWS, len(FEATURES))), columns=FEATURES)
    unseen = pd.DataFrame(rng.normal(size=(VALIDATION_ROWS, len(FEATURES))), columns=FEATURES)
    value = frame.sum(axis=1).to_numpy()
    labels = {"anomaly": None, "classification": (value > 0).astype(int), "regression": value}
    print("| algorithm | served | form | plain, 1 row [µs] | served, 1 row [µs] | 100 rows [µs] | largest difference |")
    print("|---|---|---|---|---|---|---|")
    for task, names in catalogue.ALGORITHMS.items():
        for name in names:
            print(_line(task, name, (frame, unseen), labels[task]), flush=True)
    print(f"load {os.getloadavg()[0]:.1f}, medians of {REPEATS}")


def _line(task: Any, name: str, frames: tuple[pd.DataFrame, pd.DataFrame], y: Any) -> str:
    frame, unseen = frames
    params = {"n_estimators": 100} if "forest" in name or "trees" in name else {}
    built = catalogue.build(
        CandidateSpec(algorithm=name, params=params), task=task, features=FEATURES, entity="k", seed=0
    )
    few = slice(0, 1_000) if name in ("svr", "one_class_svm", "mlp") else slice(None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scorer = built.fit(frame[few], None if y is None else y[few])
        proof = prove(scorer, unseen)
        predictor = Predictor.of(ModelVersion("m", 1, "", "", "", "", "", ""), scorer, frame.head(64), proof=proof)
    X, table = np.ascontiguousarray(frame.to_numpy()), frame
    plain = _microseconds(lambda i: scorer.predict(table[i : i + 1]))
    ours = _microseconds(lambda i: predictor.answers(X[i : i + 1], [None]))
    many = _microseconds(lambda i: predictor.answers(X[i : i + 100], [None] * 100))
    served = "compiled" if predictor.compiled else "plain"
    apart = "" if proof.largest_difference is None else f"{proof.largest_difference or 0:.0e}".replace("0e+00", "0")
    form = _form(scorer) if predictor.compiled else ""
    return f"| `{task}/{name}` | {served} | {form} | {plain:,.0f} | {ours:,.0f} | {many:,.0f} | {apart} |"


def _form(scorer: Scorer) -> str:
    """Which kind of kernel it is: the module that makes it."""
    kind = type(scorer.units[None].estimator)
    _, module, function = FORMS[f"{kind.__module__.partition('.')[0]}.{kind.__name__}"]
    return f"{module.rpartition('_')[2]}: {function.replace('_', ' ')}"


def _microseconds(call: Callable[[int], object]) -> float:
    call(0)
    times = []
    for i in range(REPEATS):
        began = time.perf_counter()
        call(i)
        times.append(time.perf_counter() - began)
    return 1e6 * statistics.median(times)

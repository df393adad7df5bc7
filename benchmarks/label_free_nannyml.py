"""NannyML's estimates without labels, from an environment of its own, and the worlds that both are asked about.

`python -m benchmarks.label_free_nannyml <job> …` answers jobs, a line of JSON each; see `drift_others` for how the
environment is made.

One rule: no tool is imported at the top, so that each can be asked from where it is installed.
"""

from __future__ import annotations

import json
import sys
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

REFERENCE, CHUNK = 800, 400
BLOCKS = 40  # of the reference: entity and day; a chunk has half as many
WORLDS: dict[str, tuple[float, float]] = {  # by how much x has moved, and how far rows of a block go together
    "as it was": (0.0, 0.0),
    "features moved up": (0.5, 0.0),
    "features moved down": (-0.7, 0.0),
    "rows depend on one another": (0.0, 0.7),
}
TASKS = ("classification", "regression")
METRICS = {"classification": ("roc_auc", "accuracy", "f1"), "regression": ("mae", "rmse")}

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Rows:
    """Rows of a world.

    Args:
        features: shape (n, 2).
        said: shape (n,), probability or value predicted.
        truth: shape (n,), label or value.
        blocks: shape (n,), rows of one depend on one another.
    """

    features: Floats
    said: Floats
    truth: Floats
    blocks: npt.NDArray[np.intp]


def scene(job: tuple[Any, ...]) -> tuple[Rows, Rows]:
    """The reference and a chunk of a job: (task, world, seed)."""
    task, world, seed = job
    shift, together = WORLDS[world]
    rng = np.random.default_rng([TASKS.index(task), list(WORLDS).index(world), seed])
    return _rows(task, rng, REFERENCE, BLOCKS, 0.0, together), _rows(task, rng, CHUNK, BLOCKS // 2, shift, together)


def _rows(task: str, rng: np.random.Generator, rows: int, blocks: int, shift: float, together: float) -> Rows:
    """An overconfident classifier of one feature; a regressor whose errors grow with it."""
    block = np.arange(rows) % blocks
    features = np.column_stack([rng.normal(shift, 1, rows), rng.normal(0, 1, rows)])
    x, common = features[:, 0], rng.normal(0, together, blocks)[block]
    if task == "classification":
        said = 1 / (1 + np.exp(-(3 * x + rng.normal(0, 0.5, rows))))
        truth = (rng.random(rows) < 1 / (1 + np.exp(-(1.5 * x + common)))).astype(float)
    else:
        said = features.sum(axis=1)
        truth = said + rng.normal(0, 1, rows) * np.exp(0.6 * x + common)
    return Rows(features, said, truth, block)


def answer(job: tuple[Any, ...]) -> dict[str, list[float]]:
    """By metric: NannyML's estimate, its sampling error, and the ends of the band that it draws."""
    import nannyml as nml

    task, (reference, chunk) = job[0], scene(job)
    frames = [
        pd.DataFrame(side.features, columns=["x", "other"]).assign(said=side.said, truth=side.truth)
        for side in (reference, chunk)
    ]
    asked: dict[str, Any] = {"metrics": list(METRICS[task]), "y_true": "truth", "chunk_size": CHUNK}
    if task == "classification":
        frames = [frame.assign(called=(frame["said"] > 0.5).astype(int)) for frame in frames]
        frames = [frame.astype({"truth": int}) for frame in frames]
        kind = "classification_binary"
        estimator = nml.CBPE(y_pred="called", y_pred_proba="said", problem_type=kind, **asked)
    else:
        estimator = nml.DLE(feature_column_names=["x", "other"], y_pred="said", **asked)
    table = estimator.fit(frames[0]).estimate(frames[1].drop(columns="truth")).to_df()
    last = table.iloc[-1]
    parts = ("value", "sampling_error", "lower_confidence_boundary", "upper_confidence_boundary")
    return {metric: [float(last[metric, part]) for part in parts] for metric in METRICS[task]}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    for line in sys.argv[1:]:
        print(json.dumps({"job": json.loads(line), "answer": answer(tuple(json.loads(line)))}), flush=True)

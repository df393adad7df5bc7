"""How often the truth lies in intervals of 90 % that were estimated without labels, over seeds and shifts.

Beside ours NannyML's confidence-based estimation and direct loss estimation, where `BENCH_NANNYML` names an
environment with it (`drift_others`): its band as it is drawn, three sampling errors to either side, and one of
1.645, which is as sure as ours says to be. `BENCH_SEEDS` (200) lives of each world; `BENCH_KEEP` as in `drift`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from rich.console import Console
from rich.table import Table

from benchmarks import drift_others, kept
from benchmarks import label_free_nannyml as worlds
from mlops.experiments.metrics import evaluate
from mlops.monitoring.confidence_estimation import of_classifier
from mlops.monitoring.loss_estimation import of_regressor

SEEDS = int(os.environ.get("BENCH_SEEDS", "200"))
NAMES = {"mae": "mean_absolute_error", "rmse": "root_mean_squared_error"}
SURE = 1.645  # of a normal law, 90 % lie within so many standard errors

Job = tuple[Any, ...]


def main() -> None:
    """Print the table."""
    jobs = [(task, world, seed) for seed in range(SEEDS) for task in worlds.TASKS for world in worlds.WORLDS]
    ours = kept.answers("label-free-this-project", jobs, _ask)
    theirs: dict[Job, Any] = {}
    if drift_others.there("NannyML"):
        module = "benchmarks.label_free_nannyml"
        theirs = kept.answers("label-free-nannyml", jobs, lambda asked: drift_others.run("NannyML", module, asked))
    table = Table("world", "metric", "ours, 90 %", "width", title=f"truth in the interval, % of {SEEDS}; mean width")
    for column in ("NannyML, as drawn", "width", "NannyML, 90 %", "width") if theirs else ():
        table.add_column(column)
    for task in worlds.TASKS:
        for world in worlds.WORLDS:
            of = [(task, world, seed) for seed in range(SEEDS)]
            for metric in worlds.METRICS[task]:
                row = _told([ours[job][metric] for job in of])
                if theirs:
                    truths = [ours[job][metric][0] for job in of]
                    said = [theirs[job][metric] for job in of]
                    drawn = [(truth, low, high) for truth, (_, _, low, high) in zip(truths, said, strict=True)]
                    sure = [(t, v - SURE * e, v + SURE * e) for t, (v, e, _, _) in zip(truths, said, strict=True)]
                    row += [*_told(drawn), *_told(sure)]
                table.add_row(f"{task}, {world}", metric, *row)
    Console(width=150).print(table)


def _ask(jobs: Sequence[Job]) -> Iterator[tuple[Job, Any]]:
    pool = Parallel(n_jobs=os.cpu_count(), return_as="generator_unordered")
    yield from pool(delayed(answer)(job) for job in jobs)


def answer(job: Job) -> tuple[Job, dict[str, tuple[float, float, float]]]:
    """By metric: the truth, and the ends of our interval."""
    task, (reference, chunk) = job[0], worlds.scene(job)
    rng = np.random.default_rng([job[2], 1])
    if task == "classification":
        labels = reference.truth.astype(np.int64)
        found = of_classifier(reference.said, labels, reference.blocks, chunk.said, rng=rng)
        measured = evaluate(task, y=chunk.truth.astype(int), scores=chunk.said)
    else:
        sides = [np.column_stack([side.features, side.said]) for side in (reference, chunk)]
        errors = reference.said - reference.truth
        found = of_regressor(sides[0], errors, reference.blocks, sides[1], chunk.blocks, rng=rng)
        measured = evaluate("regression", y=chunk.truth, scores=chunk.said)
    told = {}
    for metric in worlds.METRICS[task]:
        name = NAMES.get(metric, metric)
        one = found[name]
        assert one.low is not None
        assert one.high is not None
        told[metric] = (float(measured[name]), one.low, one.high)
    return job, told


def _told(intervals: Sequence[tuple[float, float, float]]) -> list[str]:
    held = [low <= truth <= high for truth, low, high in intervals]
    return [f"{100 * np.mean(held):.0f}", f"{np.mean([high - low for _, low, high in intervals]):.3f}"]

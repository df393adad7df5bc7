"""Training: a point-in-time set is made and kept, candidates are fitted on it, the best becomes a version.

Reads: validated rows, features as they were known, mature labels. Writes: the training set, one MLflow run per
candidate below one parent run, one registered version. The same inputs give the same version back.

Three parts, so that candidates can be fitted in parallel: `prepare` → `fit` (once per candidate) → `select`.
"""

from __future__ import annotations

import hashlib
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mlops.data import partitions, quarantine
from mlops.errors import TrainingError
from mlops.experiments import metrics, splits
from mlops.models import catalogue
from mlops.models.scoring import Scorer
from mlops.pipelines import signing
from mlops.pipelines import training_set as sets
from mlops.pipelines.evaluation import measure, sampled, with_threshold
from mlops.pipelines.lifecycle import describe, task_run
from mlops.pipelines.night import inputs_hash, report
from mlops.records import RunRecord, StepReport, TrainingSet
from mlops.services import Services
from mlops.serving import compiled_proof
from mlops.serving.compiled_proof import prove
from mlops.spec import CandidateSpec, ModelSpec

if TYPE_CHECKING:
    from mlops.experiments.run import Run

SPEC_FILE = "spec.json"  # of a candidate's run: what it was asked for, to be made again by


def run(services: Services, spec: ModelSpec, day: date, reason: str = "schedule", started_by: str = "") -> StepReport:
    """Train for the night of `day`, all candidates one after the other.

    Returns:
        done or nothing_to_do (no validated delivery of that date); the record is a `ModelVersion`.

    Raises:
        NoDataError, TrainingError: there is too little to learn from, or no candidate could be fitted.
    """
    made: list[TrainingSet] = []
    answer = prepare_report(services, spec, day, reason, made.append, started_by)
    if not made:
        return answer
    runs = [fit(services, spec, made[0], index) for index in range(len(spec.candidates))]
    return select(services, spec, made[0], runs)


def prepare_report(
    services: Services,
    spec: ModelSpec,
    day: date,
    reason: str,
    made: Callable[[TrainingSet], None],
    started_by: str = "",
) -> StepReport:
    """Make the training set and hand it to `made`; the report says what it holds, or why there is none.

    Args:
        services: the adapters.
        spec: the model.
        day: the date.
        reason: why this training was started.
        made: takes the training set.
        started_by: who started it; default: the actor.
    """
    with task_run(services, spec, "training", day, "prepare", asked=_asked(spec, reason)) as run:
        started = time.perf_counter()
        answer = _prepared(services, spec, day, reason, made, started_by or services.actor, run)
        describe(run, replace(answer, seconds=round(time.perf_counter() - started, 3)))
    return answer


def _prepared(
    services: Services,
    spec: ModelSpec,
    day: date,
    reason: str,
    made: Callable[[TrainingSet], None],
    started_by: str,
    run: Run,
) -> StepReport:
    if day not in partitions.delivered_days(services.storage, spec.dataset):
        held = quarantine.waiting(services.storage, spec.dataset, day)
        why = "is in quarantine" if held else "has not been validated"
        return report("training", spec, day, "nothing_to_do", f"The delivery of {day} {why}; the champion stays.")
    training_set = sets.make(services, spec, day, reason, started_by)
    run.describe({"reason": reason, "started_by": started_by, "fingerprint": training_set.fingerprint})
    run.log_dataset(training_set.uri, training_set.fingerprint, training_set.rows)
    run.check()
    made(training_set)
    words = (
        f"{training_set.rows:,} rows of {training_set.entities:,} entities, {training_set.window_start:%Y-%m-%d %H:%M} "
        f"to {training_set.window_end:%Y-%m-%d %H:%M}; {training_set.fit_rows:,} to fit, "
        f"{training_set.holdout_rows:,} to judge ({training_set.positives:,} positive)."
    )
    return report("training", spec, day, "done", words, training_set)


def fit(services: Services, spec: ModelSpec, training_set: TrainingSet, index: int) -> RunRecord:
    """Fit one candidate: cross-validate, fit on the fit part, set the threshold, measure, log.

    Args:
        services: the adapters.
        spec: the model.
        training_set: what to learn from.
        index: position in `spec.candidates`.

    Raises:
        TrainingError: the candidate cannot be built or fitted; its MLflow run ends FAILED.
    """
    started = time.perf_counter()
    candidate = spec.candidates[index]
    with task_run(
        services,
        spec,
        "training",
        training_set.date,
        candidate.label,
        asked=_asked(spec, training_set.reason),
        inputs_hash=_hash(services, spec, training_set, candidate.label),
        tags=facts(services, spec, training_set) | {"candidate": candidate.label},
        reuse=True,
        environment=True,
    ) as run:
        if run.done is not None:
            return run.done
        tables = sets.read(services, training_set)
        run.log_params(
            {
                "algorithm": candidate.algorithm,
                "per_entity": candidate.per_entity,
                "scale": candidate.scale,
                **candidate.params,
            }
        )
        run.log_dataset(training_set.uri, training_set.fingerprint, training_set.rows)
        run.log_dict(spec.model_dump(mode="json"), SPEC_FILE)
        scorer, found, seconds = fitted(spec, candidate, training_set, tables)
        run.log_metrics(found | {"fit_seconds": seconds})
        example = tables.part("holdout")[[spec.entity, *training_set.features]].head(5)
        proof = prove(scorer, tables.part("holdout"))
        model_uri, digest = run.log_scorer(scorer, example, beside={compiled_proof.FILE: proof.to_json})
        return run.record(
            candidate=candidate.label,
            algorithm=candidate.algorithm,
            model_uri=model_uri,
            digest=digest,
            metrics=found,
            fit_seconds=seconds,
            seconds=time.perf_counter() - started,
        )


def select(services: Services, spec: ModelSpec, training_set: TrainingSet, runs: Sequence[RunRecord]) -> StepReport:
    """Register the best candidate.

    Raises:
        TrainingError: no candidate finished, or none has a metric to be chosen by.
    """
    with task_run(
        services, spec, "training", training_set.date, "select", asked=_asked(spec, training_set.reason)
    ) as run:
        started = time.perf_counter()
        answer = _selected(services, spec, training_set, runs, run)
        describe(run, replace(answer, seconds=round(time.perf_counter() - started, 3)))
    return answer


def _selected(
    services: Services, spec: ModelSpec, training_set: TrainingSet, runs: Sequence[RunRecord], run: Run
) -> StepReport:
    finished = [run for run in runs if run.status == "FINISHED"]
    if not finished:
        raise TrainingError(
            f"{spec.name}: none of the {len(runs)} candidates finished.", hint="See their runs in MLflow."
        )
    name, place = _chosen(spec, [run.metrics for run in finished])
    best = finished[place]
    run.check()
    signing.refuse_numbers_again(services, spec.name)
    version = services.registry.register(
        spec.name,
        run=best,
        inputs_hash=_hash(services, spec, training_set, best.candidate),
        training_set_uri=training_set.uri,
        tags=facts(services, spec, training_set)
        | {"training_date": training_set.date.isoformat(), "reason": training_set.reason},
    )
    if not version.signed_by:  # registered before versions were signed, or its process was killed on the way
        signing.sign(services, spec.name, version.version)
        version = replace(services.registry.get(spec.name, version.version), reused=version.reused)
    signing.record_registration(services, version, training_set.fingerprint, training_set.reason)
    run.describe({"mlops.candidate": best.candidate}, {f"best_{name}": best.metrics[name]})
    table = ", ".join(f"{run.candidate} {run.metrics[name]:.3f}" for run in finished)
    how = "is reused: nothing it learns from has changed" if version.reused else "is new"
    reason = f"Version {version.version} ({best.candidate}) {how}; {name}: {table}."
    return report("training", spec, training_set.date, "done", reason, version)


def fitted(
    spec: ModelSpec, candidate: CandidateSpec, training_set: TrainingSet, tables: sets.Tables
) -> tuple[Scorer, dict[str, float], float]:
    """The scorer with its threshold, its metrics by part (`cv_…`, `calibration_…`, `holdout_…`), and seconds in fit."""
    split = sets.split_of(spec, training_set.reason)
    rows = sampled(tables.part("fit"), split.max_fit_rows, spec.seed)
    seconds, found = 0.0, {}
    scores: list[dict[str, float]] = []
    for train, test in splits.folds(rows["observed_at"], split.folds, timedelta(hours=split.gap_hours)):
        fold, spent = _fit(spec, candidate, training_set, rows.iloc[train])
        seconds += spent
        judged = rows.iloc[test]
        scores.append(measure(with_threshold(fold, judged, spec), judged, tables.injected.iloc[:0], spec))
    for name in {name for fold_scores in scores for name in fold_scores}:
        values = [fold_scores[name] for fold_scores in scores if name in fold_scores]
        found[f"cv_{name}"] = float(np.mean(values))
    scorer, spent = _fit(spec, candidate, training_set, rows)
    seconds += spent
    calibration = tables.part("calibration") if split.calibration_days > 0 else rows
    scorer = with_threshold(scorer, calibration, spec)
    for part, judged in (("calibration", tables.part("calibration")), ("holdout", tables.part("holdout"))):
        if len(judged):
            values_by_name = measure(scorer, judged, tables.injected_part(part), spec)
            found |= {f"{part}_{name}": value for name, value in values_by_name.items()}
    return scorer, found, seconds


def _fit(
    spec: ModelSpec, candidate: CandidateSpec, training_set: TrainingSet, rows: pd.DataFrame
) -> tuple[Scorer, float]:
    scorer = catalogue.build(
        candidate, task=spec.task, features=training_set.features, entity=spec.entity, seed=spec.seed
    )
    started = time.perf_counter()
    labels = None if spec.task == "anomaly" else rows["label"].to_numpy()
    fitted = scorer.fit(rows[[spec.entity, *training_set.features]], labels)
    return fitted, time.perf_counter() - started


def best_of(
    spec: ModelSpec, training_set: TrainingSet, tables: sets.Tables
) -> tuple[CandidateSpec, Scorer, dict[str, float]]:
    """Fit all candidates and choose as a night does, without MLflow: the candidate, its scorer, its metrics.

    Raises:
        TrainingError: none could be fitted, or none has a metric to be chosen by.
    """
    made, problems = [], []
    for candidate in spec.candidates:
        try:
            scorer, found, _ = fitted(spec, candidate, training_set, tables)
        except TrainingError as error:
            problems.append(f"{candidate.label}: {error}")
            continue
        made.append((candidate, scorer, found))
    if not made:
        raise TrainingError(f"{spec.name}: no candidate could be fitted. {' '.join(problems)}")
    _, place = _chosen(spec, [found for _, _, found in made])
    return made[place]


def _chosen(spec: ModelSpec, found: Sequence[Mapping[str, float]]) -> tuple[str, int]:
    """The first metric that every candidate has, and the place of the best by it.

    The holdout is never among them, it belongs to the gates.
    """
    wanted = [f"cv_{spec.metric}", f"calibration_{spec.metric}"]
    if spec.task == "anomaly":
        wanted.append(f"calibration_{spec.objective.unlabelled}")
    for name in wanted:
        if all(name in values for values in found):
            sign = 1 if metrics.higher_is_better(name.split("_", 1)[1]) else -1
            return name, max(range(len(found)), key=lambda place: sign * found[place][name])
    raise TrainingError(
        f"{spec.name}: no candidate can be chosen: none of {', '.join(wanted)} could be computed for all of them.",
        hint="Without labels a detector needs split.calibration_days > 0 and features engineered by a recipe.",
    )


def _hash(services: Services, spec: ModelSpec, training_set: TrainingSet, candidate: str) -> str:
    return inputs_hash(spec, training_set.fingerprint, services.code_version, candidate)


def _asked(spec: ModelSpec, reason: str) -> str:
    """What sets this training apart from another one of the same date: how time is cut."""
    return sets.split_of(spec, reason).model_dump_json()


def facts(services: Services, spec: ModelSpec, training_set: TrainingSet) -> dict[str, str]:
    """What a version must know to be made again: data, code, spec, lock, seed, Python; and who started it."""
    return {
        "fingerprint": training_set.fingerprint,
        "code_version": services.code_version,
        "spec_hash": spec.training_hash,
        "lock_hash": lock_hash(services),
        "seed": str(spec.seed),
        "python": platform.python_version(),
        "started_by": training_set.started_by,
    }


def lock_hash(services: Services) -> str:
    """sha256 of requirements.txt, the versions of all packages; "unknown" where there is none."""
    path = services.config.home / "requirements.txt"
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "unknown"

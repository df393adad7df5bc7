"""Training: a point-in-time set is made and kept, candidates are fitted on it, the best becomes a version.

Reads: validated rows, features as they were known, mature labels. Writes: the training set, one MLflow run per
candidate below one parent run, one registered version. The same inputs give the same version back.

Three parts, so that candidates can be fitted in parallel: `prepare` → `fit` (once per candidate) → `select`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pandas as pd

from mlops.data import partitions
from mlops.errors import TrainingError
from mlops.experiments import metrics, splits
from mlops.models import catalogue
from mlops.models.scoring import Scorer
from mlops.pipelines import signing
from mlops.pipelines import training_set as sets
from mlops.pipelines.evaluation import measure, sampled, with_threshold
from mlops.pipelines.night import inputs_hash, report
from mlops.records import RunRecord, StepReport, TrainingSet
from mlops.services import Services
from mlops.spec import CandidateSpec, ModelSpec


def run(services: Services, spec: ModelSpec, day: date, reason: str = "schedule") -> StepReport:
    """Train for the night of `day`, all candidates one after the other.

    Returns:
        done or nothing_to_do (no validated delivery of that date); the record is a `ModelVersion`.

    Raises:
        NoDataError, TrainingError: there is too little to learn from, or no candidate could be fitted.
    """
    made: list[TrainingSet] = []
    answer = prepare_report(services, spec, day, reason, made.append)
    if not made:
        return answer
    runs = [fit(services, spec, made[0], index) for index in range(len(spec.candidates))]
    return select(services, spec, made[0], runs)


def prepare_report(
    services: Services, spec: ModelSpec, day: date, reason: str, made: Callable[[TrainingSet], None]
) -> StepReport:
    """Make the training set and hand it to `made`; the report says what it holds, or why there is none."""
    if day not in partitions.delivered_days(services.storage, spec.dataset):
        held = partitions.quarantined(services.storage, spec.dataset, day)
        why = "is in quarantine" if held else "has not been validated"
        return report("training", spec, day, "nothing_to_do", f"The delivery of {day} {why}; the champion stays.")
    training_set = prepare(services, spec, day, reason)
    made(training_set)
    words = (
        f"{training_set.rows:,} rows of {training_set.entities:,} entities, {training_set.window_start:%Y-%m-%d %H:%M} "
        f"to {training_set.window_end:%Y-%m-%d %H:%M}; {training_set.fit_rows:,} to fit, "
        f"{training_set.holdout_rows:,} to judge ({training_set.positives:,} positive)."
    )
    return report("training", spec, day, "done", words, training_set)


def prepare(services: Services, spec: ModelSpec, day: date, reason: str = "schedule") -> TrainingSet:
    """Make and keep the training set of a night, and open the parent run of its candidates."""
    training_set = sets.make(services, spec, day, reason)
    with services.tracker.run(
        training_set.run_key,
        experiment=spec.name,
        inputs_hash=_hash(services, spec, training_set, "*"),
        tags=_tags(spec),
    ) as parent:
        parent.log_params(
            {"reason": reason, "window_start": training_set.window_start, "window_end": training_set.window_end}
        )
        parent.log_dataset(training_set.uri, training_set.fingerprint, training_set.rows)
        parent.log_metrics(
            {"rows": training_set.rows, "fit_rows": training_set.fit_rows, "positives": training_set.positives}
        )
    return training_set


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
    key = f"{training_set.run_key}/{candidate.label}"
    wanted = _hash(services, spec, training_set, candidate.label)
    if done := services.tracker.finished(key, experiment=spec.name, inputs_hash=wanted):
        return done
    tables = sets.read(services, training_set)
    with services.tracker.run(
        key,
        experiment=spec.name,
        parent=training_set.run_key,
        inputs_hash=wanted,
        tags=_tags(spec) | {"candidate": candidate.label},
    ) as run:
        run.log_params(
            {
                "algorithm": candidate.algorithm,
                "per_entity": candidate.per_entity,
                "scale": candidate.scale,
                **candidate.params,
            }
        )
        run.log_dataset(training_set.uri, training_set.fingerprint, training_set.rows)
        scorer, found, seconds = _fitted(spec, candidate, training_set, tables)
        run.log_metrics(found | {"fit_seconds": seconds})
        example = tables.part("holdout")[[spec.entity, *training_set.features]].head(5)
        model_uri, digest = run.log_scorer(scorer, example)
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
    finished = [run for run in runs if run.status == "FINISHED"]
    if not finished:
        raise TrainingError(
            f"{spec.name}: none of the {len(runs)} candidates finished.", hint="See their runs in MLflow."
        )
    name = _deciding_metric(spec, finished)
    sign = 1 if metrics.higher_is_better(name.split("_", 1)[1]) else -1
    best = max(finished, key=lambda run: sign * run.metrics[name])
    version = services.registry.register(
        spec.name,
        run=best,
        inputs_hash=_hash(services, spec, training_set, best.candidate),
        training_set_uri=training_set.uri,
        tags={"training_date": training_set.date.isoformat(), "reason": training_set.reason},
    )
    if not version.signed_by:  # registered before versions were signed, or its process was killed on the way
        signing.sign(services, spec.name, version.version)
        version = replace(services.registry.get(spec.name, version.version), reused=version.reused)
    signing.record_registration(services, version, training_set.fingerprint)
    with services.tracker.run(
        training_set.run_key, experiment=spec.name, inputs_hash=_hash(services, spec, training_set, "*")
    ) as parent:
        parent.log_metrics({f"best_{name}": best.metrics[name], "version": version.version})
    table = ", ".join(f"{run.candidate} {run.metrics[name]:.3f}" for run in finished)
    how = "is reused: nothing it learns from has changed" if version.reused else "is new"
    reason = f"Version {version.version} ({best.candidate}) {how}; {name}: {table}."
    return report("training", spec, training_set.date, "done", reason, version)


def _fitted(
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


def _deciding_metric(spec: ModelSpec, runs: Sequence[RunRecord]) -> str:
    """The first metric that every candidate has; the holdout is never among them, it belongs to the gates."""
    wanted = [f"cv_{spec.metric}", f"calibration_{spec.metric}"]
    if spec.task == "anomaly":
        wanted.append(f"calibration_{spec.objective.unlabelled}")
    for name in wanted:
        if all(name in run.metrics for run in runs):
            return name
    raise TrainingError(
        f"{spec.name}: no candidate can be chosen: none of {', '.join(wanted)} could be computed for all of them.",
        hint="Without labels a detector needs split.calibration_days > 0 and features engineered by a recipe.",
    )


def _hash(services: Services, spec: ModelSpec, training_set: TrainingSet, candidate: str) -> str:
    return inputs_hash(spec, training_set.fingerprint, services.code_version, candidate)


def _tags(spec: ModelSpec) -> dict[str, str]:
    return {"model": spec.name, "task": spec.task, "owner": spec.owner, "spec_hash": spec.training_hash}

"""Validation: named gates decide on evidence whether a challenger may be promoted.

Reads: the night's newest version, the champion, and the holdout that neither has learned from. Writes: the decision as
JSON and as a page, both also among the artifacts of the challenger's run; the stage of the version; the alias
`challenger` when it passed.
"""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd

from mlops.experiments import metrics
from mlops.models import evidence, gates, thresholds
from mlops.models.comparison import METRICS, time_blocks
from mlops.models.scoring import Scorer
from mlops.pipelines import training_set as sets
from mlops.pipelines.night import instants, report, report_uri
from mlops.records import GateDecision, GateResult, ModelVersion, Outcome, StepReport, TrainingSet, Verdict, to_dict
from mlops.services import Services
from mlops.spec import ModelSpec

LATENCY_CALLS = 30
_OUTCOME: dict[Verdict, Outcome] = {"pass": "done", "fail": "no", "cannot_tell": "cannot_tell"}


@dataclass(frozen=True)
class Judged:
    """Rows to judge on, and the scores of those who are judged.

    Args:
        rows: the holdout, or its copy with injected faults where labels are too few.
        truth: shape (n_rows,), NaN where there is no mature label.
        metric: name in `METRICS`.
        source: "labels" or "injected faults", for people.
        challenger: shape (n_rows,).
        champion: shape (n_rows,), or None.
    """

    rows: pd.DataFrame
    truth: np.ndarray
    metric: str
    source: str
    challenger: np.ndarray
    champion: np.ndarray | None


def run(services: Services, spec: ModelSpec, day: date) -> StepReport:
    """Judge the version that the night of `day` trained.

    Returns:
        done (all gates passed), no (one failed), cannot_tell, or nothing_to_do (no version, or it is champion already);
        the record is a `GateDecision`.

    Raises:
        IntegrityError: the files of a version are not those that were registered.
    """
    challenger = trained_on(services, spec, day)
    if challenger is None:
        return report("validation", spec, day, "nothing_to_do", f"No version was trained for {day}.")
    champion = services.registry.by_alias(spec.name, "champion")
    if champion is not None and champion.version == challenger.version:
        return report("validation", spec, day, "nothing_to_do", f"Version {champion.version} is the champion already.")
    training_set = sets.find(services, challenger.training_set_uri)
    tables = sets.read(services, training_set)
    first = services.registry.load(challenger)
    second = services.registry.load(champion) if champion else None
    results = _gates(spec, training_set, tables, challenger, champion, first, second)
    decision = GateDecision(
        model=spec.name,
        version=challenger.version,
        champion_version=champion.version if champion else None,
        verdict=gates.judge(results),
        gates=tuple(results),
        date=day,
        digest=challenger.digest,
    )
    decision = _keep(services, spec, decision, challenger, training_set)
    return report("validation", spec, day, _OUTCOME[decision.verdict], _words(decision), decision)


def decision_uri(services: Services, spec: ModelSpec, day: date) -> str:
    """Where the newest decision of a date is kept."""
    return report_uri(services, spec, day, "evidence.json")


def trained_on(services: Services, spec: ModelSpec, day: date) -> ModelVersion | None:
    """The newest version that was trained for a date, or None."""
    prefix = f"{spec.name}/training/{day.isoformat()}/"
    found = [version for version in services.registry.versions(spec.name) if version.run_key.startswith(prefix)]
    return max(found, key=lambda version: version.version, default=None)


def _gates(
    spec: ModelSpec,
    training_set: TrainingSet,
    tables: sets.Tables,
    challenger: ModelVersion,
    champion: ModelVersion | None,
    first: Scorer,
    second: Scorer | None,
) -> list[GateResult]:
    """All gates, cheap ones first; every one is judged, so that the evidence is whole."""
    holdout = tables.part("holdout").reset_index(drop=True)
    scores = first.score(holdout)
    others = second.score(holdout) if second else None
    judged = _judged(spec, tables, holdout, first, second)
    keys = [spec.entity, "observed_at"]
    taught = tables.rows[tables.rows["part"].isin(("fit", "calibration"))]
    found = [
        gates.not_the_champion(
            challenger.digest, champion.digest if champion else None, scores, () if others is None else others
        ),
        gates.no_leakage(
            fit_keys=taught[keys],
            holdout_keys=holdout[keys],
            decided_at=holdout["event_timestamp"],
            feature_times=holdout["feature_timestamp"],
            features=holdout[list(training_set.features)],
            y=_truth(spec, holdout, first),
        ),
        gates.scores_finite(scores),
        _enough(spec, judged),
        _better(spec, tables, judged),
        gates.latency(_milliseconds(first, holdout), limit=spec.gates.max_row_latency_ms),
    ]
    if spec.task == "anomaly":
        entities, times = holdout[spec.entity].to_numpy(), instants(holdout["observed_at"])
        alarms = None if first.threshold is None else thresholds.onsets(scores, entities, times, first.threshold)
        days = thresholds.entity_days(entities, times)
        budget, slack = spec.alerts_per_entity_day, spec.gates.budget_slack
        found.append(gates.alert_budget_kept(alarms, days, budget=budget, slack=slack))
    return found


def _judged(
    spec: ModelSpec, tables: sets.Tables, holdout: pd.DataFrame, first: Scorer, second: Scorer | None
) -> Judged:
    """The labelled holdout; for a detector with too few labels, the holdout with injected faults."""
    truth = _truth(spec, holdout, first)
    known = truth[np.isfinite(truth)]
    enough = (
        len(known) >= spec.gates.min_rows and min((known == 1).sum(), (known != 1).sum()) >= spec.gates.min_positives
    )
    rows, source, metric = holdout, "labels", spec.metric
    injected = tables.injected_part("holdout")
    if spec.task == "anomaly" and not enough and len(injected):
        rows, source, metric = injected.reset_index(drop=True), "injected faults", "average_precision"
        truth = rows["label"].to_numpy(dtype=float)
    return Judged(rows, truth, metric, source, first.score(rows), second.score(rows) if second else None)


def _truth(spec: ModelSpec, rows: pd.DataFrame, scorer: Scorer) -> np.ndarray:
    """Labels as numbers; of two classes the second is 1, as in the score."""
    labels = rows["label"]
    if spec.task == "classification" and len(scorer.classes) == 2:
        return np.where(labels.isna(), np.nan, (labels == scorer.classes[1]).astype(float))
    return labels.to_numpy(dtype=float)


def _enough(spec: ModelSpec, judged: Judged) -> GateResult:
    known = judged.truth[np.isfinite(judged.truth)]
    positives = None if spec.task == "regression" else int((known == 1).sum())
    result = gates.enough_evidence(len(known), positives, spec.gates)
    if judged.source == "labels":
        return result
    return dataclasses.replace(
        result, reason=f"Too few mature labels, so injected faults are judged on: {result.reason}"
    )


def _better(spec: ModelSpec, tables: sets.Tables, judged: Judged) -> GateResult:
    """Against the champion; a first champion against the floor and against knowing nothing."""
    baseline = gates.constant_baseline(spec.task, tables.part("fit")["label"], len(judged.rows))
    opponent = baseline if judged.champion is None else judged.champion
    compare = gates.reaches_floor_and_beats_dummy if judged.champion is None else gates.better_than_champion
    return compare(
        METRICS[judged.metric],
        judged.metric if judged.source == "labels" else f"{judged.metric} on {judged.source}",
        judged.truth,
        judged.challenger,
        opponent,
        blocks=time_blocks(judged.rows[spec.entity], judged.rows["observed_at"], spec.gates.block_hours),
        higher_is_better=metrics.higher_is_better(judged.metric),
        spec=spec.gates,
        rng=np.random.default_rng(spec.seed),
    )


def _milliseconds(scorer: Scorer, rows: pd.DataFrame) -> list[float]:
    """Time of calls with one row, the first left out."""
    spent = []
    for i in range(min(LATENCY_CALLS, len(rows))):
        row = rows.iloc[[i]]
        started = time.perf_counter()
        scorer.score(row)
        spent.append(1_000 * (time.perf_counter() - started))
    return spent[1:]


def _keep(
    services: Services, spec: ModelSpec, decision: GateDecision, challenger: ModelVersion, training_set: TrainingSet
) -> GateDecision:
    """Keep the evidence, tag the version, and move it to staging or into the archive."""
    newest = decision_uri(services, spec, decision.date)
    uri = newest.replace(".json", f"-v{decision.version}.json")  # stays when the date brings another challenger
    bundle = evidence.bundle(decision, challenger=challenger, training_set=training_set)
    decision = dataclasses.replace(decision, evidence_uri=uri, evidence_hash=bundle.hash)
    for place in (uri, newest):
        services.storage.write_bytes(place.replace(".json", ".html"), bundle.html)
        services.storage.write_json(place, {"decision": to_dict(decision), "evidence": bundle.facts})
    services.tracker.client.log_text(challenger.run_id, bundle.html.decode(), "evidence.html")
    if decision.verdict == "pass":
        if challenger.stage == "development":
            services.registry.set_stage(spec.name, challenger.version, "staging")
        services.registry.set_alias(spec.name, "challenger", challenger.version)
    elif challenger.stage == "development":
        services.registry.set_stage(spec.name, challenger.version, "archived")
    return decision


def _words(decision: GateDecision) -> str:
    against = f"against champion {decision.champion_version}" if decision.champion_version else "as first champion"
    if decision.verdict == "pass":
        best = next((g for g in decision.gates if g.name.startswith(("better", "reaches"))), None)
        why = best.reason if best else ""
        return f"Version {decision.version} passed all {len(decision.gates)} gates {against}. {why}"
    word = "was refused" if decision.verdict == "fail" else "cannot be judged"
    return f"Version {decision.version} {word} {against}: {' '.join(decision.reasons)}"

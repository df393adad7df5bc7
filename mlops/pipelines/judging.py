"""All gates of one challenger: what is measured on the holdout, and what each gate makes of it.

One rule: every gate is judged, also when one has failed, so that the evidence is whole.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mlops.experiments import metrics
from mlops.models import gates, thresholds
from mlops.models.comparison import METRICS, stretches, time_blocks
from mlops.models.scoring import Scorer
from mlops.models.weighted_metrics import one_against_the_rest
from mlops.pipelines import players
from mlops.pipelines import training_set as sets
from mlops.pipelines.night import instants
from mlops.pipelines.players import Player
from mlops.records import GateResult, TrainingSet
from mlops.spec import ModelSpec

INJECTED = "injected faults"


@dataclass(frozen=True)
class Judged:
    """Rows to judge on, and the scores of those who are judged.

    Args:
        rows: the holdout, or its copy with injected faults where labels are too few.
        truth: shape (n_rows,), NaN where there is no mature label; of several classes the class's number.
        metric: name in `METRICS`.
        source: "labels" or `INJECTED`, for people.
        challenger: shape (n_rows,).
        champion: shape (n_rows,), or None.
        blocks: shape (n_rows,) or (n_rows, n_ways).
        contest: challenger against champion, or against knowing nothing.
    """

    rows: pd.DataFrame
    truth: np.ndarray
    metric: str
    source: str
    challenger: np.ndarray
    champion: np.ndarray | None
    blocks: np.ndarray
    contest: gates.Contest


def judge_all(
    spec: ModelSpec, training_set: TrainingSet, tables: sets.Tables, challenger: Player, champion: Player | None
) -> list[GateResult]:
    """What every gate says, in the order in which a person asks."""
    holdout = tables.part("holdout").reset_index(drop=True)
    scores = challenger.scorer.score(holdout)
    others = champion.scorer.score(holdout) if champion else None
    judged = _judged(spec, tables, holdout, (challenger, scores), (champion, others))
    found = [
        gates.not_the_champion(
            challenger.version.digest,
            champion.version.digest if champion else None,
            scores,
            () if others is None else others,
        ),
        _leakage(spec, training_set, tables, holdout, challenger.scorer),
        *_labels(spec, training_set, tables, holdout, challenger.scorer, champion, others),
        gates.scores_finite(scores),
        gates.score_distribution(scores, most=spec.gates.max_tied_share),
        _enough(spec, judged),
        _better(spec, judged),
        *_parts(spec, judged),
        *_alarms(spec, judged, holdout, scores, challenger.scorer, champion),
        *_agreement(spec, judged),
        *players.as_served(spec, challenger, champion, holdout),
    ]
    advisory = set(spec.gates.advisory)
    return [dataclasses.replace(gate, decides=gate.decides and gate.name not in advisory) for gate in found]


def blocks_of(spec: ModelSpec, rows: pd.DataFrame) -> np.ndarray:
    """The blocks of chance of each row, one column for every way in which rows may depend on one another."""
    hours = spec.gates.block_hours
    ways: dict[str, Callable[[], Any]] = {
        "entity": lambda: time_blocks(rows[spec.entity], rows["observed_at"], hours),
        "time": lambda: stretches(rows["observed_at"], hours),
    }
    chosen = spec.gates.blocks or ("both" if spec.task == "regression" else "entity")
    return np.column_stack([make() for name, make in ways.items() if chosen in (name, "both")])


def _judged(
    spec: ModelSpec,
    tables: sets.Tables,
    holdout: pd.DataFrame,
    challenger: tuple[Player, np.ndarray],
    champion: tuple[Player | None, np.ndarray | None],
) -> Judged:
    """The labelled holdout; for a detector with too few labels, the holdout with injected faults."""
    first, second = challenger[0].scorer, champion[0].scorer if champion[0] else None
    own, theirs = challenger[1], champion[1]
    truth = _truth(spec, holdout, first)
    known = truth[np.isfinite(truth)]
    enough = (
        len(known) >= spec.gates.min_rows and min((known == 1).sum(), (known != 1).sum()) >= spec.gates.min_positives
    )
    rows, source, metric = holdout, "labels", spec.metric
    injected = tables.injected_part("holdout")
    if spec.task == "anomaly" and not enough and len(injected):
        rows, source, metric = injected.reset_index(drop=True), INJECTED, "average_precision"
        truth = rows["label"].to_numpy(dtype=float)
        own, theirs = first.score(rows), second.score(rows) if second else None
    blocks = blocks_of(spec, rows)
    baseline = gates.constant_baseline(spec.task, _fit_truth(spec, tables, first), len(rows))
    labels, ours, opponents = truth, own, baseline if theirs is None else theirs
    if len(first.classes) > 2:
        labels, ours, opponents = _several_classes(metric, truth, tables, rows, first, second)
    contest = gates.Contest(
        METRICS[metric],
        metric if source == "labels" else f"{metric} on {source}",
        labels,
        ours,
        opponents,
        blocks,
        metrics.higher_is_better(metric),
        "knowing nothing" if second is None else "the champion",
    )
    return Judged(rows, truth, metric, source, own, theirs, blocks, contest)


def _several_classes(
    metric: str, truth: np.ndarray, tables: sets.Tables, rows: pd.DataFrame, first: Scorer, second: Scorer | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, challenger's and opponent's scores, shape (n_rows, n_columns), so that all classes count alike."""
    codes = np.where(np.isfinite(truth), truth, -1).astype(np.intp)
    own = _probabilities(first, rows, first.classes)
    if second is not None:
        other = _probabilities(second, rows, first.classes)
    else:
        known = tables.part("fit")["label"]
        shares = [float((known == name).mean()) for name in first.classes]
        other = np.tile(shares, (len(rows), 1))
    labels, ours = one_against_the_rest(metric, codes, own)
    return labels, ours, one_against_the_rest(metric, codes, other)[1]


def _probabilities(scorer: Scorer, rows: pd.DataFrame, classes: tuple[Any, ...]) -> np.ndarray:
    """Of each class, shape (n_rows, n_classes); 0 for one that the scorer does not know."""
    told = scorer.predict(rows)
    columns = [column for column in told.columns if str(column).startswith("proba_")]
    by_class = dict(zip(scorer.classes, columns, strict=True))
    return np.column_stack(
        [told[by_class[name]].to_numpy(dtype=float) if name in by_class else np.zeros(len(rows)) for name in classes]
    )


def _truth(spec: ModelSpec, rows: pd.DataFrame, scorer: Scorer) -> np.ndarray:
    """Labels as numbers; of two classes the second is 1, as in the score; of several each has its number."""
    labels = rows["label"]
    if spec.task == "classification" and scorer.classes:
        numbers = {name: float(position) for position, name in enumerate(scorer.classes)}
        return labels.map(numbers).to_numpy(dtype=float)
    return labels.to_numpy(dtype=float)


def _fit_truth(spec: ModelSpec, tables: sets.Tables, scorer: Scorer) -> np.ndarray:
    return _truth(spec, tables.part("fit"), scorer)


def _leakage(
    spec: ModelSpec, training_set: TrainingSet, tables: sets.Tables, holdout: pd.DataFrame, scorer: Scorer
) -> GateResult:
    keys, features = [spec.entity, "observed_at"], list(training_set.features)
    taught = tables.rows[tables.rows["part"].isin(("fit", "calibration"))]
    return gates.no_leakage(
        fit_keys=taught[keys],
        holdout_keys=holdout[keys],
        decided_at=holdout["event_timestamp"],
        feature_times=holdout["feature_timestamp"],
        features=holdout[features],
        y=_truth(spec, holdout, scorer),
        fit_features=taught[features],
        in_time_order=True,
        entities_apart=spec.gates.entities == "apart",
        believable=spec.gates.believable,
        most_copies=spec.gates.max_copies,
    )


def _labels(
    spec: ModelSpec,
    training_set: TrainingSet,
    tables: sets.Tables,
    holdout: pd.DataFrame,
    scorer: Scorer,
    champion: Player | None,
    others: np.ndarray | None,
) -> list[GateResult]:
    """The health of labels, where a model has any."""
    if spec.label is None:
        return []
    several = len(scorer.classes) > 2
    return [
        gates.label_health(
            _truth(spec, holdout, scorer),
            task=spec.task,
            times=holdout["observed_at"],
            mature_until=training_set.window_end,
            fit_labels=_fit_truth(spec, tables, scorer),
            champion=None if several else others,
            champion_auc=champion.version.metrics.get("holdout_roc_auc") if champion else None,
            blocks=blocks_of(spec, holdout)[:, 0],
            spec=spec.gates,
        )
    ]


def _enough(spec: ModelSpec, judged: Judged) -> GateResult:
    known = judged.truth[np.isfinite(judged.truth)]
    binary = spec.task != "regression" and judged.contest.y.ndim == 1
    result = gates.enough_evidence(len(known), int((known == 1).sum()) if binary else None, spec.gates)
    if judged.source == "labels":
        return result
    return dataclasses.replace(
        result, reason=f"Too few mature labels, so injected faults are judged on: {result.reason}"
    )


def _better(spec: ModelSpec, judged: Judged) -> GateResult:
    """Against the champion; a first champion against the floor and against knowing nothing."""
    contest = judged.contest
    compare = gates.reaches_floor_and_beats_dummy if judged.champion is None else gates.better_than_champion
    return compare(
        contest.metric,
        contest.name,
        contest.y,
        contest.challenger,
        contest.opponent,
        blocks=contest.blocks,
        higher_is_better=contest.higher_is_better,
        spec=spec.gates,
        rng=np.random.default_rng(spec.seed),
    )


def _parts(spec: ModelSpec, judged: Judged) -> list[GateResult]:
    """Slices and stretches of time, as far as the spec asks for them."""
    found = []
    columns = (spec.entity,) if spec.gates.slices is None else spec.gates.slices
    if columns:
        found.append(gates.no_slice_harmed(judged.contest, judged.rows[list(columns)], spec.gates))
    if spec.gates.stretches:
        found.append(gates.stable_over_time(judged.contest, judged.rows["observed_at"], spec.gates))
    return found


def _alarms(
    spec: ModelSpec,
    judged: Judged,
    holdout: pd.DataFrame,
    scores: np.ndarray,
    first: Scorer,
    champion: Player | None,
) -> list[GateResult]:
    """Of a detector: are faults found at its threshold, and is the alert budget kept."""
    if spec.task != "anomaly":
        return []
    rows = judged.rows
    found = gates.events_found(
        judged.truth,
        rows[spec.entity].to_numpy(),
        instants(rows["observed_at"]),
        (judged.challenger, first.threshold),
        None if champion is None or judged.champion is None else (judged.champion, champion.scorer.threshold),
        blocks=judged.blocks[:, 0],
        spec=spec.gates,
    )
    entities, times = holdout[spec.entity].to_numpy(), instants(holdout["observed_at"])
    alarms = None if first.threshold is None else thresholds.onsets(scores, entities, times, first.threshold)
    days = thresholds.entity_days(entities, times)
    budget, slack = spec.alerts_per_entity_day, spec.gates.budget_slack
    return [found, gates.alert_budget_kept(alarms, days, budget=budget, slack=slack)]


def _agreement(spec: ModelSpec, judged: Judged) -> list[GateResult]:
    """Without labels the champion's view is all there is."""
    if judged.source == "labels" or judged.champion is None:
        return []
    return [gates.agrees_with_champion(judged.challenger, judged.champion, least=spec.gates.min_agreement)]

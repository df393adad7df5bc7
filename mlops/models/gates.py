"""The named gates a challenger must pass before it may be promoted.

A gate is a pure function of what was measured: verdict, number, limit, and a reason that a person can read. It does no
I/O and draws nothing but what its `rng` gives.

One rule: what cannot be judged is "cannot tell", and a decision is only as good as its worst gate.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mlops.models.comparison import Interval, Metric, paired_difference
from mlops.models.label_health import label_health
from mlops.models.leakage import no_leakage
from mlops.models.packaging import compiled_equals_plain, latency, serialised_bytes, signature_unchanged, size
from mlops.models.scores import (
    agrees_with_champion,
    events_found,
    not_the_champion,
    score_distribution,
    scores_finite,
)
from mlops.models.slices import Contest, no_slice_harmed, stable_over_time
from mlops.models.wording import number, signed
from mlops.records import GateResult, Verdict
from mlops.spec import GatesSpec

__all__ = [
    "Contest",
    "agrees_with_champion",
    "alert_budget_kept",
    "better_than_champion",
    "compiled_equals_plain",
    "constant_baseline",
    "enough_evidence",
    "events_found",
    "judge",
    "label_health",
    "latency",
    "no_leakage",
    "no_slice_harmed",
    "not_the_champion",
    "reaches_floor_and_beats_dummy",
    "score_distribution",
    "scores_finite",
    "serialised_bytes",
    "signature_unchanged",
    "size",
    "stable_over_time",
]


def judge(results: Sequence[GateResult]) -> Verdict:
    """The verdict of all gates that decide: a fail beats "cannot tell", which beats a pass; none at all: cannot tell.

    >>> judge([GateResult("a", "pass", ""), GateResult("b", "cannot_tell", ""), GateResult("c", "fail", "")])
    'fail'
    """
    verdicts = {result.verdict for result in results if result.decides}
    order: tuple[Verdict, ...] = ("fail", "cannot_tell", "pass")
    return next((verdict for verdict in order if verdict in verdicts), "cannot_tell")


def better_than_champion(
    metric: Metric,
    metric_name: str,
    y: npt.ArrayLike,
    challenger: npt.ArrayLike,
    champion: npt.ArrayLike,
    *,
    blocks: npt.ArrayLike,
    higher_is_better: bool,
    spec: GatesSpec,
    rng: np.random.Generator,
) -> GateResult:
    """The challenger beats the champion by more than the margin, or is not worse by more than it.

    Args:
        metric: see `paired_difference`.
        metric_name: its name, for people.
        y: shape (n_rows,), labels; NaN where there is none.
        challenger: shape (n_rows,), scores of the same rows.
        champion: likewise.
        blocks: shape (n_rows,), see `time_blocks`.
        higher_is_better: which way the metric points.
        spec: comparison, margin, alpha and resamples.
        rng: source of randomness.

    Returns:
        value: the lower bound of the difference (positive is better); limit: what it must exceed.
    """
    name = "better_than_champion"
    found = paired_difference(
        metric,
        y,
        challenger,
        champion,
        blocks=blocks,
        higher_is_better=higher_is_better,
        alpha=spec.alpha,
        resamples=spec.resamples,
        rng=rng,
        method=spec.method,
    )
    if found is None:
        return GateResult(name, "cannot_tell", f"{_words(metric_name)} cannot be compared on these rows.")
    superiority = spec.comparison == "superiority"
    limit = spec.margin if superiority else -spec.margin
    shown = found.low > limit
    claim = f"{'superiority by more' if superiority else 'being worse by no more'} than {number(spec.margin)}"
    reason = (
        f"{_words(metric_name)} {number(found.value_a)} against the champion's {number(found.value_b)} "
        f"on {_rows(found)}: {signed(found.estimate)}, {'and' if shown else 'but'} the {_level(spec)} lower bound is "
        f"{signed(found.low)}: {claim} is {'' if shown else 'not '}shown."
    )
    return GateResult(name, "pass" if shown else "fail", reason, found.low, limit, _numbers(found, "champion"))


def reaches_floor_and_beats_dummy(
    metric: Metric,
    metric_name: str,
    y: npt.ArrayLike,
    challenger: npt.ArrayLike,
    dummy: npt.ArrayLike,
    *,
    blocks: npt.ArrayLike,
    higher_is_better: bool,
    spec: GatesSpec,
    rng: np.random.Generator,
) -> GateResult:
    """For a first champion: the metric reaches the floor, and is better than knowing nothing (`constant_baseline`).

    Args:
        dummy: shape (n_rows,), scores of one who has not seen the features.
        spec: floor (for a metric where less is better: the ceiling), alpha and resamples.

    The other arguments are those of `better_than_champion`.

    Returns:
        value: the metric; limit: the floor, or the dummy's value where no floor is set.
    """
    name = "reaches_floor_and_beats_dummy"
    found = paired_difference(
        metric,
        y,
        challenger,
        dummy,
        blocks=blocks,
        higher_is_better=higher_is_better,
        alpha=spec.alpha,
        resamples=spec.resamples,
        rng=rng,
        method=spec.method,
    )
    if found is None:
        return GateResult(name, "cannot_tell", f"{_words(metric_name)} cannot be computed on these rows.")
    value, floor = found.value_a, spec.floor
    reached = floor is None or (value >= floor if higher_is_better else value <= floor)
    beaten = found.low > 0
    floor_says = ""
    if floor is not None:
        side = "floor" if higher_is_better else "ceiling"
        floor_says = f", {side} {number(floor)} {'kept' if reached else 'not kept'}"
    reason = (
        f"{_words(metric_name)} {number(value)} on {_rows(found)}{floor_says}; knowing nothing gives "
        f"{number(found.value_b)}, and to be better than that is {'' if beaten else 'not '}shown "
        f"({_level(spec)} lower bound {signed(found.low)})."
    )
    limit = found.value_b if floor is None else floor
    verdict: Verdict = "pass" if reached and beaten else "fail"
    return GateResult(name, verdict, reason, value, limit, _numbers(found, "baseline"))


def constant_baseline(task: str, fit_labels: npt.ArrayLike, rows: int) -> npt.NDArray[np.float64]:
    """What one would answer who has only seen the labels of the fit part.

    Args:
        task: anomaly, classification or regression.
        fit_labels: shape (n_fit_rows,), NaN where there is none; may be empty.
        rows: length of the answer.

    Returns:
        Their mean everywhere: the training mean of a regression, the rate of positives of a class; 0 without labels.
    """
    labels = np.asarray(fit_labels, dtype=np.float64)
    known = labels[np.isfinite(labels)]
    return np.full(rows, known.mean() if len(known) and task != "anomaly" else 0.0)


def enough_evidence(rows: int, positives: int | None, spec: GatesSpec) -> GateResult:
    """There are enough rows, and positives, with a mature label to judge on.

    Args:
        rows: rows with a label.
        positives: of these, positive; None where classes do not count (regression).
    """
    name = "enough_evidence"
    told = f"{rows:,} labelled rows" + ("" if positives is None else f", {positives:,} positive")
    if rows < spec.min_rows:
        reason = f"{told}: fewer than {spec.min_rows:,} rows."
        return GateResult(name, "cannot_tell", reason, float(rows), float(spec.min_rows))
    if positives is not None and min(positives, rows - positives) < spec.min_positives:
        few = "positives" if positives < spec.min_positives else "negatives"
        reason = f"{told}: fewer than {spec.min_positives:,} {few}."
        return GateResult(
            name, "cannot_tell", reason, float(min(positives, rows - positives)), float(spec.min_positives)
        )
    return GateResult(name, "pass", f"{told}.", float(rows), float(spec.min_rows))


def alert_budget_kept(alarms: int | None, entity_days: float, *, budget: float, slack: float) -> GateResult:
    """On the holdout the challenger raises no more alarms than the budget allows.

    Args:
        alarms: alarm onsets; None when the model has no threshold.
        entity_days: entities times days watched.
        budget: alarms per entity and day.
        slack: how many times the budget may be spent, ≥ 1.

    Returns:
        value: alarms per entity and day; limit: budget × slack.
    """
    name, limit = "alert_budget_kept", budget * slack
    if alarms is None or entity_days <= 0:
        missing = "the model has no threshold" if alarms is None else "no rows were watched"
        return GateResult(name, "cannot_tell", f"Alarms cannot be counted: {missing}.", None, limit)
    rate = alarms / entity_days
    kept = rate <= limit
    reason = (
        f"{alarms:,} alarms in {entity_days:,.1f} entity-days: {number(rate)} per entity and day, "
        f"{'within' if kept else 'above'} {number(limit)} (budget {number(budget)} × {slack:g})."
    )
    return GateResult(name, "pass" if kept else "fail", reason, rate, limit)


def _words(metric_name: str) -> str:
    return metric_name.replace("_", " ")


def _numbers(found: Interval, opponent: str) -> dict[str, float]:
    """What a plot of the comparison needs: both values, their difference (positive is better) and its lower bound."""
    return {
        "challenger": found.value_a,
        opponent: found.value_b,
        "difference": found.estimate,
        "low": found.low,
        "high": found.high,
        "rows": float(found.rows),
        "blocks": float(found.blocks),
    }


def _level(spec: GatesSpec) -> str:
    return f"{100 * (1 - spec.alpha):g} %"


def _rows(found: Interval) -> str:
    return f"{found.rows:,} rows" + ("" if found.positives is None else f" ({found.positives:,} positive)")

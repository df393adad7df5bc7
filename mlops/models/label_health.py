"""Can the labels be trusted that challengers are judged by? A gate that looks at labels, not at models.

Swapped labels are the one fault that every other gate would praise: a challenger that learned from them beats the
champion on them.

One rule: labels that look wrong refuse; labels that are merely few are left to the evidence gate.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mlops.models.comparison import paired_difference
from mlops.models.weighted_metrics import roc_auc
from mlops.models.wording import number
from mlops.records import GateResult
from mlops.spec import GatesSpec, Task

Floats = npt.NDArray[np.float64]
_USUAL_AUC = 0.8  # of a champion whose own is not known
_FLIPPED_LOGITS = 2.0  # the rate of positives has turned round if it moved at least so far
_TURNED = -0.25  # rank correlation of the champion's forecasts with the labels, at most
_STILL_COMING = 0.5  # of the usual share of labelled rows, below which the newest labels are still coming in


def label_health(
    y: npt.ArrayLike,
    *,
    task: Task,
    times: Any,
    mature_until: datetime,
    fit_labels: npt.ArrayLike,
    champion: npt.ArrayLike | None,
    champion_auc: float | None,
    blocks: npt.ArrayLike,
    spec: GatesSpec,
) -> GateResult:
    """Labels are not constant, not swapped, and none counts before its time.

    Args:
        y: shape (n_rows,), labels of the holdout: 0 or 1, class numbers, or values; NaN where there is none.
        task: what is predicted.
        times: shape (n_rows,), when the rows happened.
        mature_until: labels of younger rows cannot count yet.
        fit_labels: shape (n_fit_rows,), labels of the fit part.
        champion: shape (n_rows,), the champion's scores; None without one.
        champion_auc: its ROC AUC when it was trained; None if not known.
        blocks: shape (n_rows,), see `time_blocks`.
        spec: alpha, least positives.

    Returns:
        value: what gave it away, or the share of labelled rows.
    """
    name = "label_health"
    truth, taught = np.asarray(y, dtype=np.float64), np.asarray(fit_labels, dtype=np.float64)
    known = np.isfinite(truth)
    values, taught = truth[known], taught[np.isfinite(taught)]
    if not len(values):
        return GateResult(name, "cannot_tell", "No row has a label.", 0.0, None, decides=False)
    stamps = pd.DatetimeIndex(pd.to_datetime(times, utc=True))
    early = int((stamps[known] > pd.Timestamp(mature_until)).sum())
    if early:
        reason = f"{early:,} of {len(values):,} labels count before they are mature ({mature_until:%Y-%m-%d %H:%M})."
        return GateResult(name, "fail", reason, float(early), 0.0)
    wrong = _constant(values, taught, task) or _turned_round(values, taught, task)
    if wrong is None and champion is not None:
        judge = _against_the_values if task == "regression" else _against_the_champion
        wrong = judge(truth, np.asarray(champion, dtype=np.float64), champion_auc, np.asarray(blocks), spec)
    if wrong is not None:
        reason, value, limit = wrong
        return GateResult(name, "fail", reason, value, limit)
    share = float(known.mean())
    if _still_coming(known, stamps):
        told = f"{len(values):,} of {len(truth):,} rows have a label"
        reason = f"{told}; those of the newest quarter are still coming in."
        return GateResult(name, "cannot_tell", reason, share, None)
    reason = f"{len(values):,} of {len(truth):,} rows have a label; nothing looks constant, swapped or immature."
    return GateResult(name, "pass", reason, share, None)


_Finding = tuple[str, float, float | None] | None


def _constant(values: Floats, taught: Floats, task: Task) -> _Finding:
    if task == "regression" and len(values) > 1 and np.ptp(values) == 0:
        return f"All {len(values):,} labels are {number(float(values[0]))}.", 0.0, 0.0
    both = len(taught) and np.ptp(taught) > 0
    if task == "classification" and both and len(values) > 1 and np.ptp(values) == 0 and values[0] != 0:
        return f"All {len(values):,} labels are of one class; the fit part has more.", 0.0, 0.0
    return None


def _turned_round(values: Floats, taught: Floats, task: Task) -> _Finding:
    """The rate of positives is closer to its mirror image than to itself, or anomalies are the rule."""
    if task == "regression" or not np.isin(values, (0.0, 1.0)).all():
        return None
    rate = float(values.mean())
    if task == "anomaly" and rate > 0.5:
        return f"{100 * rate:.0f} % of the labelled rows are anomalies: the labels look swapped.", rate, 0.5
    if not len(taught) or not np.isin(taught, (0.0, 1.0)).all():
        return None
    before = float(taught.mean())
    moved = abs(_logit(rate, len(values)) - _logit(before, len(taught)))
    if abs(rate - (1 - before)) < abs(rate - before) and moved > _FLIPPED_LOGITS:
        reason = (
            f"{100 * rate:.1f} % of the holdout are positive, {100 * before:.1f} % of the fit part: "
            "the labels look swapped."
        )
        return reason, rate, before
    return None


def _against_the_champion(
    truth: Floats, champion: Floats, usual: float | None, blocks: npt.NDArray[Any], spec: GatesSpec
) -> _Finding:
    """The champion ranks positives below negatives, by more than half of what it used to rank them above."""
    values = truth[np.isfinite(truth)]
    if not np.isin(values, (0.0, 1.0)).all() or min(values.sum(), (1 - values).sum()) < spec.min_positives:
        return None
    found = paired_difference(
        roc_auc, truth, champion, np.zeros(len(truth)), blocks=blocks, higher_is_better=True, alpha=spec.alpha,
        resamples=spec.resamples, rng=np.random.default_rng(0), method="linear",
    )  # fmt: skip
    limit = 0.5 - max(0.0, (usual or _USUAL_AUC) - 0.5) / 2
    if found is None or 0.5 + found.high >= limit:
        return None
    reason = (
        f"The champion, whose ROC AUC was {number(usual or _USUAL_AUC)}, ranks the positives last "
        f"({number(found.value_a)}, at most {number(0.5 + found.high)}): the labels look swapped."
    )
    return reason, found.value_a, limit


def _against_the_values(
    truth: Floats, champion: Floats, _usual: float | None, blocks: npt.NDArray[Any], spec: GatesSpec
) -> _Finding:
    """The champion's forecasts fall where the values rise: their sign has turned."""
    from scipy.stats import norm, spearmanr

    both = np.isfinite(truth) & np.isfinite(champion)
    first = blocks if blocks.ndim == 1 else blocks[:, 0]
    independent = len(np.unique(first[both]))
    if independent < 10 or np.ptp(champion[both]) == 0 or np.ptp(truth[both]) == 0:
        return None
    found = float(spearmanr(truth[both], champion[both]).statistic)
    reach = float(norm.ppf(1 - spec.alpha)) / np.sqrt(independent - 3)
    upper = float(np.tanh(np.arctanh(np.clip(found, -0.999999, 0.999999)) + reach))
    if upper >= _TURNED:
        return None
    reason = f"The champion's forecasts and the labels are rank-correlated by {number(found)}: their sign looks turned."
    return reason, found, _TURNED


def _still_coming(known: npt.NDArray[np.bool_], stamps: pd.DatetimeIndex) -> bool:
    """Labels thin out towards the end of the holdout."""
    at = stamps.as_unit("us").asi8
    newest = at >= at.min() + 0.75 * (at.max() - at.min())
    if not newest.any() or newest.all():
        return False
    before = float(known[~newest].mean())
    return before > 0 and float(known[newest].mean()) < _STILL_COMING * before


def _logit(rate: float, rows: int) -> float:
    """Of a rate that is kept half a row away from 0 and 1."""
    inside = min(max(rate, 0.5 / rows), 1 - 0.5 / rows)
    return float(np.log(inside / (1 - inside)))

"""Metrics by task, under the names that MLflow, reports and specs use.

Anomaly: `average_precision`, `roc_auc`, `precision_at_budget`, `event_recall`, `detection_delay_minutes`,
`alarms_per_entity_day`. Classification: `roc_auc`, `average_precision`, `log_loss`, `brier`, `accuracy`, `f1`.
Regression: `mean_absolute_error`, `root_mean_squared_error`, `r2`, `median_absolute_error`, `bias`.

One rule: a metric that cannot be computed (no labels, one class only, no flags) is absent, never 0.

References:
    Davis, Goadrich (2006). The Relationship Between Precision-Recall and ROC Curves. ICML.
    Tatbul, Lee, Zdonik, Alam, Gottschlich (2018). Precision and Recall for Time Series. NeurIPS.
    Brier (1950). Verification of Forecasts Expressed in Terms of Probability. Monthly Weather Review 78(1).
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from mlops.errors import SpecError, did_you_mean
from mlops.spec import Task

_HIGHER_IS_BETTER = {
    "average_precision": True,
    "roc_auc": True,
    "precision_at_budget": True,
    "event_recall": True,
    "injected_recall": True,
    "detection_delay_minutes": False,
    "alarms_per_entity_day": False,
    "log_loss": False,
    "brier": False,
    "accuracy": True,
    "f1": True,
    "mean_absolute_error": False,
    "root_mean_squared_error": False,
    "median_absolute_error": False,
    "r2": True,
}
_MICROSECONDS_PER_DAY = 86_400_000_000


def higher_is_better(name: str) -> bool:
    """Whether more of a metric is better.

    Raises:
        SpecError: no metric of that name, or one that has no better and worse (`bias`: 0 is best).
    """
    if name not in _HIGHER_IS_BETTER:
        raise SpecError(
            f"Candidates cannot be ranked by {name!r}: it is no metric with a better and a worse end.",
            hint=did_you_mean(name, _HIGHER_IS_BETTER),
        )
    return _HIGHER_IS_BETTER[name]


def evaluate(
    task: Task,
    *,
    y: ArrayLike,
    scores: ArrayLike,
    flags: ArrayLike | None = None,
    entities: ArrayLike | None = None,
    times: ArrayLike | None = None,
    step: timedelta | None = None,
    probabilities: ArrayLike | None = None,
    classes: ArrayLike | None = None,
) -> dict[str, float]:
    """All metrics of a task that can be computed.

    Args:
        task: what was predicted.
        y: shape (n_rows,), truth; 1 = anomalous, or positive (unless `classes` says otherwise). Null: not known (yet);
            such rows count for alarms only.
        scores: shape (n_rows,), as `Scorer.score` gives them; rows with NaN are left out: nothing was said about them.
        flags: shape (n_rows,), alarms or positives; null counts as not flagged.
        entities: shape (n_rows,), for what is counted per event or per day.
        times: shape (n_rows,), timestamps, for the same.
        step: time that a row stands for, for `alarms_per_entity_day`; default: the usual distance of rows.
        probabilities: shape (n_rows, n_classes), for more than two classes.
        classes: shape (n_classes,), sorted, the columns of `probabilities`.

    Returns:
        Name to value. Metrics that cannot be computed are absent.
    """
    truth, said = np.asarray(y), np.asarray(scores, dtype=np.float64)
    flagged = None if flags is None else pd.array(np.asarray(flags), dtype="boolean").fillna(False).to_numpy(bool)
    judged = ~pd.isna(truth) & ~np.isnan(said)
    if task == "regression":
        return _regression(truth[judged].astype(np.float64), said[judged])
    if task == "classification":
        proba = None if probabilities is None else np.asarray(probabilities, dtype=np.float64)[judged]
        names = None if classes is None else np.asarray(classes)
        return _classification(truth[judged], said[judged], None if flagged is None else flagged[judged], proba, names)
    found = _ranking((truth[judged] == 1).astype(int), said[judged])
    if flagged is None:
        return found
    if judged.any() and flagged[judged].any():
        found["precision_at_budget"] = float((truth[judged] == 1)[flagged[judged]].mean())
    if entities is None or times is None:
        return found
    who, when = np.asarray(entities), _microseconds(times)
    found |= _events(truth[judged] == 1, flagged[judged], who[judged], when[judged])
    scored = ~np.isnan(said)
    return found | _alarms(flagged[scored], who[scored], when[scored], step)


def _ranking(y: NDArray[Any], scores: NDArray[np.float64]) -> dict[str, float]:
    from sklearn.metrics import average_precision_score, roc_auc_score

    if len(np.unique(y)) < 2:
        return {}
    return {
        "average_precision": float(average_precision_score(y, scores)),
        "roc_auc": float(roc_auc_score(y, scores)),
    }


def _events(
    positive: NDArray[np.bool_], flagged: NDArray[np.bool_], entities: NDArray[Any], when: NDArray[np.int64]
) -> dict[str, float]:
    """Per labelled segment, i.e. consecutive positive rows of one entity: was it found, and how late.

    `event_recall`: share of segments with at least one flag. `detection_delay_minutes`: mean time from the start of a
    segment to its first flag, over the segments found [min].
    """
    order, starts = _by_entity_and_time(entities, when)
    inside, flag, at = positive[order], flagged[order], when[order]
    begins = inside & (starts | ~np.concatenate([[False], inside[:-1]]))
    if not begins.any():
        return {}
    segment = np.cumsum(begins)[inside] - 1
    rows = pd.DataFrame({"segment": segment, "flag": flag[inside], "at": at[inside]})
    first = rows[rows["flag"]].groupby("segment")["at"].min()
    found = {"event_recall": len(first) / int(begins.sum())}
    if len(first):
        delays = first.to_numpy() - at[begins][first.index.to_numpy()]
        found["detection_delay_minutes"] = float(delays.mean() / 60_000_000)
    return found


def _alarms(
    flagged: NDArray[np.bool_], entities: NDArray[Any], when: NDArray[np.int64], step: timedelta | None
) -> dict[str, float]:
    """Onsets (flagged rows whose previous row of the entity is not) per time watched; as in `models.thresholds`."""
    if not len(flagged):
        return {}
    order, starts = _by_entity_and_time(entities, when)
    flag = flagged[order]
    onsets = flag & ~(np.concatenate([[False], flag[:-1]]) & ~starts)
    if step is not None:
        microseconds = step / timedelta(microseconds=1)
    else:
        distances = np.diff(when[order])[~starts[1:]]
        distances = distances[distances > 0]
        usual = float(np.median(distances)) if len(distances) else _MICROSECONDS_PER_DAY
        microseconds = min(usual, _MICROSECONDS_PER_DAY)
    return {"alarms_per_entity_day": float(onsets.sum() / (len(flag) * microseconds / _MICROSECONDS_PER_DAY))}


def _classification(
    y: NDArray[Any],
    scores: NDArray[np.float64],
    flagged: NDArray[np.bool_] | None,
    probabilities: NDArray[np.float64] | None,
    classes: NDArray[Any] | None,
) -> dict[str, float]:
    if probabilities is not None and classes is not None and len(classes) > 2:
        return _several_classes(y, probabilities, classes)
    if not len(y) or len(np.unique(y)) > 2:
        return {}
    positive = (y == (classes[1] if classes is not None else 1)).astype(int)
    said = scores > 0.5 if flagged is None else flagged
    hits = int((said & (positive == 1)).sum())
    found = _ranking(positive, scores)
    clipped = np.clip(scores, 1e-15, 1 - 1e-15)
    found["log_loss"] = float(-np.mean(positive * np.log(clipped) + (1 - positive) * np.log(1 - clipped)))
    found["brier"] = float(np.mean((scores - positive) ** 2))
    found["accuracy"] = float((said == (positive == 1)).mean())
    if said.any() or positive.any():
        found["f1"] = float(2 * hits / (said.sum() + positive.sum()))
    return found


def _several_classes(y: NDArray[Any], proba: NDArray[np.float64], classes: NDArray[Any]) -> dict[str, float]:
    """Accuracy, macro F1, log loss, and the mean over classes of each against the rest for the ranking metrics."""
    from sklearn.metrics import f1_score

    if not len(y):
        return {}
    truth = y[:, None] == classes[None, :]
    said = classes[proba.argmax(axis=1)]
    found = {
        "accuracy": float((said == y).mean()),
        "f1": float(f1_score(y, said, average="macro")),
        "log_loss": float(-np.mean(np.log(np.clip((proba * truth).sum(axis=1), 1e-15, 1.0)))),
        "brier": float(np.mean(((proba - truth) ** 2).sum(axis=1))),
    }
    each = [_ranking(truth[:, j].astype(int), proba[:, j]) for j in range(len(classes))]
    if all(each):
        found |= {name: float(np.mean([one[name] for one in each])) for name in ("roc_auc", "average_precision")}
    return found


def _regression(y: NDArray[np.float64], predicted: NDArray[np.float64]) -> dict[str, float]:
    """`bias` is the mean of prediction minus truth; all but `r2` are in the label's unit."""
    if not len(y):
        return {}
    errors = predicted - y
    found = {
        "mean_absolute_error": float(np.abs(errors).mean()),
        "root_mean_squared_error": float(np.sqrt((errors**2).mean())),
        "median_absolute_error": float(np.median(np.abs(errors))),
        "bias": float(errors.mean()),
    }
    spread = float(((y - y.mean()) ** 2).sum())
    if spread > 0:
        found["r2"] = 1 - float((errors**2).sum()) / spread
    return found


def _by_entity_and_time(entities: NDArray[Any], when: NDArray[np.int64]) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    codes = pd.factorize(entities)[0]
    order = np.lexsort((when, codes))
    starts = np.ones(len(order), dtype=bool)
    starts[1:] = codes[order][1:] != codes[order][:-1]
    return order, starts


def _microseconds(times: ArrayLike) -> NDArray[np.int64]:
    return pd.DatetimeIndex(pd.to_datetime(np.asarray(times), utc=True)).as_unit("us").asi8

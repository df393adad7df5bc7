"""The gate that catches a model which has seen the answer.

One rule: a feature may be good, but not perfect: one that is perfect by itself was made from the label.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mlops.models.weighted_metrics import roc_auc
from mlops.models.wording import number
from mlops.records import GateResult

BELIEVABLE = 0.999  # ROC AUC of a single feature; for regression, share of rows in which it equals the label
FEWEST_FOR_SUSPICION = 5  # of each class, below which chance does the same


def no_leakage(
    *,
    fit_keys: pd.DataFrame,
    holdout_keys: pd.DataFrame,
    decided_at: Any,
    feature_times: Any,
    features: pd.DataFrame,
    y: npt.ArrayLike,
) -> GateResult:
    """Nothing the model is judged on was learned from, comes from the future, or is the answer itself.

    Args:
        fit_keys: entity and event time of every row that taught (fit and calibration).
        holdout_keys: the same columns of every row that judges, shape (n_rows, …).
        decided_at: shape (n_rows,), when each row became known.
        feature_times: shape (n_rows,), event time of the features joined to it; NaT where there are none.
        features: shape (n_rows, n_features), numbers.
        y: shape (n_rows,), labels; NaN where there is none.

    Returns:
        value: what was found: rows, or how much the feature closest to the answer knows; limit: what is allowed.
    """
    name = "no_leakage"
    both = holdout_keys.drop_duplicates().merge(fit_keys.drop_duplicates(), on=list(holdout_keys.columns))
    if len(both):
        return GateResult(name, "fail", f"{len(both):,} rows both taught and judge.", float(len(both)), 0.0)
    known, used = (pd.DatetimeIndex(pd.to_datetime(times, utc=True)) for times in (decided_at, feature_times))
    early = int((used > known).sum())
    if early:
        latest = (used - known).max()
        reason = f"{early:,} of {len(known):,} rows use features from their future, up to {latest} ahead."
        return GateResult(name, "fail", reason, float(early), 0.0)
    labels = np.asarray(y, dtype=np.float64)
    column, value, measure = _closest_to_the_answer(features, labels)
    if column is not None and value > BELIEVABLE:
        reason = f"Feature {column} knows the answer by itself: {measure} {value:.4f}, above {BELIEVABLE}."
        return GateResult(name, "fail", reason, value, BELIEVABLE)
    closest = f"; the feature closest to the answer is {column} ({measure} {number(value)})" if column else ""
    reason = f"No row both taught and judges, no feature is younger than its row{closest}."
    return GateResult(name, "pass", reason, value if column else None, BELIEVABLE)


def _closest_to_the_answer(features: pd.DataFrame, labels: npt.NDArray[np.float64]) -> tuple[str | None, float, str]:
    """The feature that alone knows most: its name, how much, and by which measure."""
    known = np.isfinite(labels)
    truth = labels[known]
    if not len(truth) or np.ptp(truth) == 0:
        return None, 0.0, ""
    binary = bool(np.isin(truth, (0.0, 1.0)).all())
    best: tuple[str | None, float] = (None, 0.0)
    for column in features.columns:
        values = features[column].to_numpy(dtype=np.float64)[known]
        there = np.isfinite(values)
        strength = _separation(truth[there], values[there]) if binary else _equality(truth[there], values[there])
        if strength > best[1]:
            best = (str(column), strength)
    return best[0], best[1], "ROC AUC" if binary else "share of rows equal to the label"


def _separation(truth: npt.NDArray[np.float64], values: npt.NDArray[np.float64]) -> float:
    positives = int(truth.sum())
    if min(positives, len(truth) - positives) < FEWEST_FOR_SUSPICION:
        return 0.0
    auc = roc_auc(truth, values)
    return 0.0 if auc is None else max(auc, 1 - auc)


def _equality(truth: npt.NDArray[np.float64], values: npt.NDArray[np.float64]) -> float:
    return float(np.mean(truth == values)) if len(truth) >= FEWEST_FOR_SUSPICION else 0.0

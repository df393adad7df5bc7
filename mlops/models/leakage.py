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
RANKED_ALIKE = 0.9999  # rank correlation of a single feature with a regression label
MOST_COPIES = 0.05  # share of judging rows that may be copies of teaching rows, beyond natural repeats
FEWEST_FOR_SUSPICION = 5  # of each class, below which chance does the same


def no_leakage(
    *,
    fit_keys: pd.DataFrame,
    holdout_keys: pd.DataFrame,
    decided_at: Any,
    feature_times: Any,
    features: pd.DataFrame,
    y: npt.ArrayLike,
    fit_features: pd.DataFrame | None = None,
    in_time_order: bool = False,
    entities_apart: bool = False,
    believable: float = BELIEVABLE,
    most_copies: float = MOST_COPIES,
) -> GateResult:
    """Nothing the model is judged on was learned from, comes from the future, or is the answer itself.

    Args:
        fit_keys: entity and event time of every row that taught (fit and calibration).
        holdout_keys: the same columns of every row that judges, shape (n_rows, …).
        decided_at: shape (n_rows,), when each row became known.
        feature_times: shape (n_rows,), event time of the features joined to it; NaT where there are none.
        features: shape (n_rows, n_features), numbers.
        y: shape (n_rows,), labels; NaN where there is none.
        fit_features: shape (n_fit_rows, n_features), to find rows that were copied under another key.
        in_time_order: rows that judge must all be younger than those that taught.
        entities_apart: an entity that taught must not judge.
        believable: ROC AUC of a single feature above which it has seen the label.
        most_copies: share of judging rows that may be copies of teaching rows, beyond natural repeats.

    Returns:
        value: what was found: rows, or how much the feature closest to the answer knows; limit: what is allowed.
    """
    name = "no_leakage"
    taught = _taught(fit_keys, holdout_keys, in_time_order=in_time_order, entities_apart=entities_apart)
    copies = 0.0 if fit_features is None else _copies(features, fit_features)
    if copies > most_copies:
        reason = f"{100 * copies:.1f} % of the rows are copies of rows that taught, at most {100 * most_copies:g} %."
        taught = taught or (reason, copies, most_copies)
    if taught is not None:
        return GateResult(name, "fail", *taught)
    known, used = (pd.DatetimeIndex(pd.to_datetime(times, utc=True)) for times in (decided_at, feature_times))
    early = int((used > known).sum())
    if early:
        latest = (used - known).max()
        reason = f"{early:,} of {len(known):,} rows use features from their future, up to {latest} ahead."
        return GateResult(name, "fail", reason, float(early), 0.0)
    labels = np.asarray(y, dtype=np.float64)
    column, value, measure = _closest_to_the_answer(features, labels)
    limit = RANKED_ALIKE if measure == _RANKS else believable
    if column is not None and value > limit:
        reason = f"Feature {column} knows the answer by itself: {measure} {value:.4f}, above {limit:g}."
        return GateResult(name, "fail", reason, value, limit)
    closest = f"; the feature closest to the answer is {column} ({measure} {number(value)})" if column else ""
    reason = f"No row both taught and judges, no feature is younger than its row{closest}."
    return GateResult(name, "pass", reason, value if column else None, limit)


def _taught(
    fit_keys: pd.DataFrame, holdout_keys: pd.DataFrame, *, in_time_order: bool, entities_apart: bool
) -> tuple[str, float, float] | None:
    """Rows that judge but taught, or that are not apart from those that did: why, how many, how many may be."""
    both = holdout_keys.drop_duplicates().merge(fit_keys.drop_duplicates(), on=list(holdout_keys.columns))
    if len(both):
        return f"{len(both):,} rows both taught and judge.", float(len(both)), 0.0
    entity, observed = holdout_keys.columns[:2]
    if entities_apart and (met := sorted(set(fit_keys[entity]) & set(holdout_keys[entity]), key=str)):
        reason = f"{len(met):,} entities both taught and judge, such as {met[0]}; the spec wants them apart."
        return reason, float(len(met)), 0.0
    if in_time_order and len(fit_keys) and len(holdout_keys):
        young = int((fit_keys[observed] >= holdout_keys[observed].min()).sum())
        if young:
            reason = f"{young:,} of {len(fit_keys):,} rows that taught are as young as rows that judge."
            return reason, float(young), 0.0
    return None


def _copies(features: pd.DataFrame, fit_features: pd.DataFrame) -> float:
    """Share of rows whose features all equal those of a teaching row, less the share that repeat within either part."""
    rows, taught = _row_hashes(features), _row_hashes(fit_features[list(features.columns)])
    if not len(rows) or not len(taught):
        return 0.0
    natural = max(float(part.duplicated(keep=False).mean()) for part in (rows, taught))
    return max(0.0, float(rows.isin(set(taught)).mean()) - natural)


def _row_hashes(features: pd.DataFrame) -> pd.Series:
    """One number for each row that has a value."""
    there = features.notna().any(axis=1).to_numpy()
    return pd.util.hash_pandas_object(features[there].astype(np.float64), index=False)


_RANKS = "rank correlation"


def _closest_to_the_answer(features: pd.DataFrame, labels: npt.NDArray[np.float64]) -> tuple[str | None, float, str]:
    """The feature that alone knows most: its name, how much, and by which measure."""
    known = np.isfinite(labels)
    truth = labels[known]
    if not len(truth) or np.ptp(truth) == 0:
        return None, 0.0, ""
    strength = _separation if np.isin(truth, (0.0, 1.0)).all() else _sameness
    best: tuple[str | None, float, str] = (None, 0.0, "")
    for column in features.columns:
        values = features[column].to_numpy(dtype=np.float64)[known]
        there = np.isfinite(values)
        value, measure = strength(truth[there], values[there])
        if value > best[1]:
            best = (str(column), value, measure)
    return best


def _separation(truth: npt.NDArray[np.float64], values: npt.NDArray[np.float64]) -> tuple[float, str]:
    positives = int(truth.sum())
    if min(positives, len(truth) - positives) < FEWEST_FOR_SUSPICION:
        return 0.0, ""
    auc = roc_auc(truth, values)
    return (0.0 if auc is None else max(auc, 1 - auc)), "ROC AUC"


def _sameness(truth: npt.NDArray[np.float64], values: npt.NDArray[np.float64]) -> tuple[float, str]:
    """Equal to the label, or a scaled copy of it that has its ranks."""
    if len(truth) < FEWEST_FOR_SUSPICION or np.ptp(values) == 0:
        return 0.0, ""
    equal = float(np.mean(truth == values))
    ranks = abs(float(np.corrcoef(_ranked(truth), _ranked(values))[0, 1]))
    return (equal, "share of rows equal to the label") if equal > BELIEVABLE else (ranks, _RANKS)


def _ranked(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    from scipy.stats import rankdata

    return np.asarray(rankdata(values), dtype=np.float64)

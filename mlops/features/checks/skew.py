"""Skew: what a model was served is what the offline store says it should have been served."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from mlops.errors import FeatureError, did_you_mean
from mlops.features.checks.difference import first_difference
from mlops.features.definitions import ViewInfo
from mlops.records import GateResult

NAME = "served_equals_offline"


def skew(
    log: pd.DataFrame,
    offline: pd.DataFrame,
    *,
    views: Sequence[ViewInfo],
    at: str,
    tolerance: float = 1e-9,
    name: str = NAME,
) -> GateResult:
    """What was served equals what the offline store answers for the same entities and times.

    Args:
        log: what was served, one row per prediction: the entity, when it was asked for, each feature; shape (n, …).
        offline: `FeatureStore.historical` for these rows, in their order.
        views: the views of the service.
        at: column of `log` that says when it was asked for.
        tolerance: largest difference allowed, relative to the offline value.
        name: of the gate.

    Returns:
        value: values that differ. Cannot tell with no row, or with no feature on either side.

    Raises:
        FeatureError: a column is missing from the log, or the tables have different lengths.
    """
    features = [feature for view in views for feature in view.features]
    for column in (views[0].entity, at, *features):
        if column not in log.columns:
            hint = did_you_mean(column, map(str, log.columns))
            raise FeatureError(f"The log of what was served lacks {column!r}.", hint=hint)
    if len(log) != len(offline):
        raise FeatureError(f"The log has {len(log):,} rows, the recomputation {len(offline):,}.")
    numbers = {"rows": float(len(log))}
    if not (log[features].notna().any(axis=None) or offline[features].notna().any(axis=None)):
        reason = f"None of {len(log):,} predictions was made from a feature."
        return GateResult(name, "cannot_tell", reason, numbers=numbers)
    log, offline = log.reset_index(drop=True), offline.reset_index(drop=True)
    found = first_difference(log, offline, views, tolerance)
    if found is not None:
        asked = log[at].iat[found.row]
        reason = f"{found} served {found.left!s} at {asked}, offline {found.right!s}."
        return GateResult(name, "fail", reason, float(found.values), 0.0, numbers)
    reason = f"{len(features) * len(log):,} values of {len(log):,} predictions are those of the offline store."
    return GateResult(name, "pass", reason, 0.0, 0.0, numbers)

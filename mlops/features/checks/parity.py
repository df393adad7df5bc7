"""Parity: the online store answers what the offline store would answer at the same moment."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import pandas as pd

from mlops.features.checks.difference import first_difference
from mlops.features.definitions import FEATURE_KNOWN_AT, ViewInfo
from mlops.records import GateResult


def parity(
    offline: pd.DataFrame,
    online: pd.DataFrame,
    *,
    views: Sequence[ViewInfo],
    as_of: datetime | None = None,
    tolerance: float = 1e-9,
) -> GateResult:
    """The online store answers what the offline store would answer at the same moment.

    Args:
        offline: `FeatureStore.historical` with one row per entity, all asked for at the same moment.
        online: `FeatureStore.online` for the same entities, `as_of` that moment.
        views: the views of the service.
        as_of: that moment; entities of which the online store knows something later are ahead and not compared.
        tolerance: largest difference allowed, relative to the offline value.

    Returns:
        value: values that differ. Cannot tell with no entity, or with no feature on either side.
    """
    name, entity = "online_equals_offline", views[0].entity
    features = [feature for view in views for feature in view.features]
    right = online.set_index(entity).reindex(offline[entity])
    kept = pd.Series(data=True, index=right.index)
    if as_of is not None and FEATURE_KNOWN_AT in right:
        kept = ~(right[FEATURE_KNOWN_AT] > as_of)
    ahead = int((~kept).sum())
    told = f" {ahead:,} have been pushed to since and are not compared." if ahead else ""
    left = offline.loc[kept.to_numpy(), [entity, *features]]
    right = right.loc[kept.to_numpy(), features].reset_index(drop=True)
    numbers = {"entities": float(len(left)), "ahead": float(ahead)}
    if not (left[features].notna().any(axis=None) or right.notna().any(axis=None)):
        reason = f"None of {len(left):,} entities has a feature, online or offline.{told}"
        return GateResult(name, "cannot_tell", reason, numbers=numbers)
    found = first_difference(left.reset_index(drop=True), right, views, tolerance)
    if found is not None:
        reason = f"{found} offline {found.left!s}, online {found.right!s}.{told}"
        return GateResult(name, "fail", reason, float(found.values), 0.0, numbers)
    reason = f"{len(features) * len(left):,} values of {len(left):,} entities agree.{told}"
    return GateResult(name, "pass", reason, 0.0, 0.0, numbers)

"""What must hold of any training set and of any online store, as gates that say what they saw.

One rule: a check that had nothing to look at cannot tell; it never passes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from mlops.errors import FeatureError
from mlops.features.definitions import FEATURE_KNOWN_AT, FEATURE_TIMESTAMP, ViewInfo
from mlops.features.engineering import EVENT
from mlops.records import GateResult


def conservation(before: pd.DataFrame, after: pd.DataFrame) -> GateResult:
    """Every row that went into a join came out, in its place and unchanged.

    Args:
        before: the rows to join.
        after: the joined rows; further columns are not looked at.

    Returns:
        value: rows lost, added, moved or changed. Cannot tell with no row.
    """
    name = "rows_conserved"
    if before.empty:
        return GateResult(name, "cannot_tell", "No row went into the join.")
    if gone := [column for column in before.columns if column not in after.columns]:
        return GateResult(name, "fail", f"The join dropped the columns {', '.join(gone)}.", float(len(before)), 0.0)
    if len(before) != len(after):
        off = abs(len(before) - len(after))
        word = "lost" if len(after) < len(before) else "added"
        return GateResult(
            name, "fail", f"{len(before):,} rows went in, {len(after):,} came out: {off:,} {word}.", float(off), 0.0
        )
    left, right = before.reset_index(drop=True), after[list(before.columns)].reset_index(drop=True)
    differs = ((left != right) & ~(left.isna() & right.isna())).to_numpy(dtype=bool)
    if changed := int(differs.any(axis=1).sum()):
        row, column = (int(index[0]) for index in np.nonzero(differs))
        reason = (
            f"{changed:,} of {len(left):,} rows were moved or changed, first row {row}: {left.columns[column]} was "
            f"{left.iat[row, column]!s}, is {right.iat[row, column]!s}."
        )
        return GateResult(name, "fail", reason, float(changed), 0.0)
    return GateResult(name, "pass", f"{len(before):,} rows went in and came out, in order.", 0.0, 0.0)


def leakage(frame: pd.DataFrame) -> GateResult:
    """No row holds a feature that had not happened, or was not known, at the row's own time.

    Args:
        frame: as `FeatureStore.historical` returns it.

    Returns:
        value: rows that hold something from the future. Cannot tell where no feature joined.

    Raises:
        FeatureError: the frame does not say when its features were read.
    """
    name = "nothing_from_the_future"
    for column in (EVENT, FEATURE_TIMESTAMP):
        if column not in frame.columns:
            raise FeatureError(f"Column {column!r} is missing.", hint="Pass the frame that `historical` returned.")
    clocks = [column for column in (FEATURE_TIMESTAMP, FEATURE_KNOWN_AT) if column in frame.columns]
    joined = int(frame[FEATURE_TIMESTAMP].notna().sum())
    if not joined:
        return GateResult(name, "cannot_tell", f"No feature joined any of {len(frame):,} rows.")
    late = pd.DataFrame({column: frame[column] > frame[EVENT] for column in clocks})
    leaking = late.any(axis=1).to_numpy()
    if leaking.any():
        at = int(np.flatnonzero(leaking)[0])
        row = frame.iloc[at]
        column = next(column for column in clocks if late[column].iloc[at])
        word = "happened" if column == FEATURE_TIMESTAMP else "became known"
        reason = (
            f"{int(leaking.sum()):,} of {joined:,} rows hold a reading from their future, first row {at}: asked for at "
            f"{row[EVENT]}, the reading {word} at {row[column]}."
        )
        return GateResult(name, "fail", reason, float(leaking.sum()), 0.0)
    return GateResult(name, "pass", f"None of {joined:,} rows holds a reading from its future.", 0.0, 0.0)


def parity(
    offline: pd.DataFrame, online: pd.DataFrame, *, views: Sequence[ViewInfo], tolerance: float = 1e-9
) -> GateResult:
    """The online store answers what the offline store would answer at the same moment.

    Args:
        offline: `FeatureStore.historical` with one row per entity, all asked for at the same moment.
        online: `FeatureStore.online` for the same entities, `as_of` that moment.
        views: the views of the service.
        tolerance: largest difference allowed, relative to the offline value.

    Returns:
        value: values that differ. Cannot tell with no entity, or with no feature on either side.
    """
    name = "online_equals_offline"
    entity = views[0].entity
    owner = {feature: view.name for view in views for feature in view.features}
    left = offline.set_index(entity)[list(owner)]
    right = online.set_index(entity)[list(owner)].reindex(left.index)
    if not (left.notna().any(axis=None) or right.notna().any(axis=None)):
        return GateResult(name, "cannot_tell", f"None of {len(left):,} entities has a feature, online or offline.")
    close = np.isclose(right.to_numpy(), left.to_numpy(), rtol=tolerance, atol=0.0, equal_nan=True)
    if not close.all():
        row, column = (int(index[0]) for index in np.nonzero(~close))
        feature, who = left.columns[column], str(left.index[row])
        reason = (
            f"{int((~close).sum()):,} of {close.size:,} values differ, first {owner[feature]}:{feature} of {entity} "
            f"{who}: offline {left.iat[row, column]!s}, online {right.iat[row, column]!s}."
        )
        return GateResult(name, "fail", reason, float((~close).sum()), 0.0)
    return GateResult(name, "pass", f"{close.size:,} values of {len(left):,} entities agree.", 0.0, 0.0)

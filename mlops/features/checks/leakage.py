"""Leakage: no row holds what had not happened, or was not known, at its own time."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mlops.errors import FeatureError
from mlops.features.definitions import FEATURE_KNOWN_AT, FEATURE_TIMESTAMP
from mlops.features.engineering import EVENT
from mlops.records import GateResult


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

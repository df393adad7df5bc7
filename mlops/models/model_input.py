"""What may go into an algorithm: columns that are there and hold numbers, labels that can be learned from.

One rule: nothing is cast or dropped in silence; what does not fit is refused with the algorithm that was asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mlops.errors import SchemaError, TrainingError, did_you_mean
from mlops.spec import Task

Floats = NDArray[np.float64]
Scale = Literal["standard", "robust", "none"]


def matrix(frame: pd.DataFrame, features: Sequence[str], algorithm: str, *, also: Sequence[str] = ()) -> Floats:
    """Features as numbers, in the order of their names; infinite values count as missing.

    Args:
        frame: its further columns are ignored.
        features: names of numeric columns.
        algorithm: who asks, for messages.
        also: columns that must be there, of any type.

    Returns:
        shape (n_rows, n_features), NaN where missing.

    Raises:
        SchemaError: a column is missing, occurs twice or is not numeric.
    """
    for name in (*features, *also):
        if name not in frame.columns:
            close = did_you_mean(name, [str(column) for column in frame.columns])
            raise SchemaError(f"{algorithm} needs the column {name!r}, which is not there.", hint=close)
    chosen = frame.loc[:, list(features)]
    if len(chosen.columns) != len(features):
        raise SchemaError(f"{algorithm}: a feature column occurs twice in {list(frame.columns)}.")
    for column, kind in chosen.dtypes.items():
        if not pd.api.types.is_numeric_dtype(kind) or pd.api.types.is_complex_dtype(kind):
            raise SchemaError(
                f"{algorithm}: feature {column!r} is of type {kind}, expected numbers.",
                hint="Convert it where features are engineered; text is not cast in silence.",
            )
    X = chosen.to_numpy(dtype=np.float64, na_value=np.nan)
    return np.ascontiguousarray(np.where(np.isinf(X), np.nan, X))  # sums must not depend on a frame's layout


def checked_labels(y: NDArray[Any] | None, rows: int, algorithm: str, task: Task) -> NDArray[Any]:
    """Labels that a classifier or regressor can learn from.

    Args:
        y: shape (n_rows,).
        rows: how many rows there are.
        algorithm: who asks, for messages.
        task: a classification needs two classes.

    Raises:
        TrainingError: labels are missing, null, of another number than rows, or of one class.
    """
    if y is None or len(y) != rows:
        given = "none" if y is None else f"{len(y):,}"
        raise TrainingError(f"{algorithm} needs a label for each of {rows:,} rows, {given} given.")
    labels = np.asarray(y)
    if missing := int(pd.isna(labels).sum()):
        raise TrainingError(
            f"{algorithm}: {missing:,} of {rows:,} labels are null.", hint="Fit on rows whose label is mature."
        )
    if task == "classification" and len(np.unique(labels)) < 2:
        raise TrainingError(
            f"{algorithm}: all {rows:,} fit rows have the label {labels[0]}; a classifier needs two classes.",
            hint="Lengthen split.window_days, or check the label source.",
        )
    return labels


def center_and_spread(X: Floats, scale: Scale) -> tuple[Floats, Floats]:
    """What scikit-learn's scaler of that name subtracts and divides by (constant columns are divided by 1)."""
    from sklearn.preprocessing import RobustScaler, StandardScaler

    if scale == "standard":
        standard = StandardScaler().fit(X)
        return standard.mean_, standard.scale_
    if scale == "robust":
        robust = RobustScaler().fit(X)
        return robust.center_, robust.scale_
    return np.zeros(X.shape[1]), np.ones(X.shape[1])

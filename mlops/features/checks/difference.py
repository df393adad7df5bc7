"""Where two tables of features differ, told so that one can go and look: view, feature, entity, both values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mlops.features.definitions import ViewInfo


@dataclass(frozen=True, slots=True)
class Difference:
    """Values that differ, and the first of them."""

    values: int  # that differ
    of: int  # that were compared
    row: int  # position of the first
    view: str
    feature: str
    entity: str  # "pump p2"
    left: float
    right: float

    def __str__(self) -> str:
        return f"{self.values:,} of {self.of:,} values differ, first {self.view}:{self.feature} of {self.entity}:"


def first_difference(
    left: pd.DataFrame, right: pd.DataFrame, views: Sequence[ViewInfo], tolerance: float
) -> Difference | None:
    """The first feature that differs between rows at the same positions, or None.

    Args:
        left: the entity and the features, shape (n, ≥ 1 + features), plain index.
        right: the features, shape (n, ≥ features), plain index.
        views: whose features.
        tolerance: largest difference allowed, relative to the left value. Two nulls are equal.
    """
    entity = views[0].entity
    owner = {feature: view.name for view in views for feature in view.features}
    one, two = (table[list(owner)].to_numpy(dtype=np.float64) for table in (left, right))
    close = np.isclose(two, one, rtol=tolerance, atol=0.0, equal_nan=True)
    if close.all():
        return None
    row, column = (int(index[0]) for index in np.nonzero(~close))
    feature = list(owner)[column]
    who = f"{entity} {left[entity].iat[row]}"
    return Difference(
        values=int((~close).sum()),
        of=close.size,
        row=row,
        view=owner[feature],
        feature=feature,
        entity=who,
        left=float(one[row, column]),
        right=float(two[row, column]),
    )

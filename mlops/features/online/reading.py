"""The newest features of entities, from the online store, and what becomes of those past their time to live.

One rule: an answer says how old it is, and a value past its time to live is never handed out as if it were fresh.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from mlops.errors import FeatureError
from mlops.features.definitions import CLOCK, FEATURE_TIMESTAMP, ViewInfo, references
from mlops.features.tables import times_of

Stale = Literal["refuse", "mark", "allow"]
STALE = "feature_stale"

_MICROSECONDS = 1_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ONE = timedelta(microseconds=1)


@dataclass(frozen=True)
class OnlineValues:
    """The newest features of n entities."""

    features: tuple[str, ...]
    values: npt.NDArray[np.float64]  # shape (n, features); NaN: none, or withheld as stale
    clocks: dict[str, npt.NDArray[np.float64]]  # `feature_timestamp`, `feature_known_at` [µs since 1970], NaN: none
    stale: npt.NDArray[np.bool_]  # shape (n,): some value of the entity is past its time to live

    def frame(self, entity: str, keys: Sequence[Any]) -> pd.DataFrame:
        """As a table: the key, features (NaN: none), times of the newest reading, UTC (NaT: entity never seen).

        Args:
            entity: name of the join key.
            keys: that were asked for, shape (n,).
        """
        columns: dict[str, Any] = {entity: pd.Series(keys, dtype=None if len(keys) else object)}
        columns |= {name: self.values[:, i] for i, name in enumerate(self.features)}
        return pd.DataFrame(columns | {field: times_of(moments) for field, moments in self.clocks.items()})


def read(
    feast: Any, service: str, views: Sequence[ViewInfo], keys: Sequence[Any], *, as_of: datetime, stale: Stale
) -> OnlineValues:
    """The features of a service for some entities.

    Args:
        feast: an open `feast.FeatureStore`.
        service: name of the feature service.
        views: its views.
        keys: values of the join key, shape (n,).
        as_of: the moment at which values are past their time to live, or not.
        stale: `refuse`: such values are withheld, as they are offline; `mark`: handed out, and marked; `allow`: handed
            out, not looked at.

    Raises:
        FeatureError: the online store does not answer.
    """
    features = tuple(feature for view in views for feature in view.features)
    if not len(keys):
        return OnlineValues(features, np.empty((0, len(features))), {f: np.empty(0) for f in CLOCK}, np.empty(0, bool))
    undated = any(not view.dated for view in views)
    try:
        answer = feast.get_online_features(
            features=references(views), entity_rows={views[0].entity: list(keys)}, full_feature_names=True
        ).to_dict(include_event_timestamps=undated)
    except Exception as error:
        raise FeatureError(
            f"The online store does not answer for {service!r}: {type(error).__name__}: {error}",
            hint="Run the features step once, and check the online store's address.",
        ) from error
    values = np.array([answer[view.column(f)] for view in views for f in view.features], dtype=np.float64).T
    past = np.zeros(len(keys), dtype=bool)
    clocks = {field: np.full(len(keys), np.nan) for field in CLOCK}
    now, column = (as_of - _EPOCH) // _ONE, 0
    for view in views:
        times = {field: np.array(answer[view.column(field)], dtype=np.float64) for field in CLOCK if view.dated}
        if stale != "allow" and view.ttl:
            happened = times[FEATURE_TIMESTAMP] if view.dated else _seconds(answer, view)
            late = happened < now - view.ttl // _ONE
            if late.any():
                past |= late
                if stale == "refuse":
                    values[late, column : column + len(view.features)] = np.nan
                    for moments in times.values():
                        moments[late] = np.nan
        for field, moments in times.items():
            clocks[field] = np.fmax(clocks[field], moments)
        column += len(view.features)
    return OnlineValues(features, values, clocks, past)


def _seconds(answer: dict[str, list[Any]], view: ViewInfo) -> npt.NDArray[np.float64]:
    """Event times of a view that carries none of its own, as Feast keeps them: whole seconds; 0 where there is none."""
    found = np.array(answer[f"{view.column(view.features[0])}__ts"], dtype=np.float64) * _MICROSECONDS
    return np.where(found > 0, found, np.nan)

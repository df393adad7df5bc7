"""Features from a stream, into the online store as they are made.

One rule: a pushed row passes the same checks as a row of a batch, and is held to the same order of readings.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pandas as pd

from mlops.errors import FeatureError
from mlops.features.engineering import CREATED, EVENT
from mlops.features.online.encoding import encode
from mlops.features.online.materialisation import online_store_of
from mlops.features.tables import sealed

CLOCKS_DIFFER = timedelta(minutes=5)  # by which the clock of a sender may be ahead


def push(feast: Any, view: Any, rows: pd.DataFrame, *, now: datetime) -> int:
    """Write rows into the online store; see `FeatureStore.push`."""
    if rows.empty:
        return 0
    table = sealed(rows, view)
    for column in (EVENT, CREATED):
        ahead = (rows[column] > now + CLOCKS_DIFFER).to_numpy()
        if ahead.any():
            first = rows.loc[ahead].iloc[0]
            raise FeatureError(
                f"{int(ahead.sum()):,} of {len(rows):,} rows for view {view.name!r} have a {column} in the future, "
                f"first {first[column]} of {first[view.join_keys[0]]!r}; it is {now.isoformat(timespec='seconds')}.",
                hint="Nothing was pushed. Correct the clock of the sender, or drop these rows.",
            )
    store = online_store_of(feast)
    try:
        return int(store.write(feast.config, view, encode(table, view)))
    except Exception as error:
        raise FeatureError(
            f"The online store took no rows of view {view.name!r}: {type(error).__name__}: {error}.",
            hint="Push them again: a row that is in already does no harm.",
        ) from error

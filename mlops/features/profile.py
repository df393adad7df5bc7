"""What the values of a feature view look like, day by day: how many, how many missing, and where they lie.

One rule: a day without values has no statistics; it is never a day of zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mlops.features import partitions
from mlops.features.engineering import EVENT
from mlops.storage import Storage

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)  # of the quantiles kept


@dataclass(frozen=True, slots=True)
class FeatureDay:
    """One feature in the delivery of one date. Statistics are over the values that are neither null nor infinite."""

    day: date
    rows: int
    null_share: float | None  # share of rows without a value, 0…1; None: no rows
    mean: float | None
    std: float | None  # sample standard deviation; None with fewer than 2 values
    minimum: float | None
    maximum: float | None
    quantiles: tuple[float, ...]  # at `LEVELS`; empty without values


@dataclass(frozen=True, slots=True)
class ViewProfile:
    """A feature view over some of its dates."""

    view: str
    days: tuple[date, ...]  # looked at, oldest first
    stored_days: int  # all that are stored
    rows: int  # of the days looked at
    entities: int  # of the newest day
    newest_at: datetime | None  # event time of the newest reading; None: no rows
    features: dict[str, tuple[FeatureDay, ...]]


def profile(storage: Storage, view: str, entity: str, features: Sequence[str], last_days: int) -> ViewProfile:
    """Look at the newest dates of a view. One date is in memory at a time.

    Args:
        storage: where the tables are.
        view: name of the view.
        entity: its join key.
        features: which features; one that a date does not hold (an older recipe) has no value on that date.
        last_days: how many of the stored dates, counted from the newest.

    Raises:
        StorageError: a table cannot be read.
    """
    stored = partitions.stored_days(storage, view)
    days = tuple(stored[-last_days:])
    found: dict[str, list[FeatureDay]] = {feature: [] for feature in features}
    rows, entities, newest = 0, 0, None
    for day in days:
        uri = partitions.uri_of(storage, view, day)
        held = storage.manifest(uri)
        columns = [name for name in (entity, EVENT, *features) if held and name in held.schema]
        table = storage.read_table(uri, columns)
        rows += table.num_rows
        entities = int(pc.count_distinct(table[entity]).as_py())
        latest = pc.max(table[EVENT]).as_py()
        newest = max(filter(None, (newest, latest)), default=None)
        for feature in features:
            values = table[feature] if feature in columns else pa.nulls(table.num_rows, pa.float64())
            found[feature].append(_day(day, values))
    return ViewProfile(
        view=view,
        days=days,
        stored_days=len(stored),
        rows=rows,
        entities=entities,
        newest_at=newest,
        features={feature: tuple(made) for feature, made in found.items()},
    )


def _day(day: date, column: pa.ChunkedArray | pa.Array) -> FeatureDay:
    values = np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)
    finite = values[np.isfinite(values)]
    share = float(np.isnan(values).mean()) if len(values) else None
    if not len(finite):
        return FeatureDay(day, len(values), share, None, None, None, None, ())
    return FeatureDay(
        day=day,
        rows=len(values),
        null_share=share,
        mean=float(finite.mean()),
        std=float(finite.std(ddof=1)) if len(finite) > 1 else None,
        minimum=float(finite.min()),
        maximum=float(finite.max()),
        quantiles=tuple(float(q) for q in np.quantile(finite, LEVELS)),
    )

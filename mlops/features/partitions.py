"""What is stored of a feature view: one table per delivery date, each vouched for by its manifest.

One rule: what can be known from a table's footer is not read from its rows.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import pandas as pd
import pyarrow.compute as pc

from mlops.errors import FeatureError, NoDataError
from mlops.features.definitions import ViewInfo, recipe_of
from mlops.features.engineering import EVENT
from mlops.features.tables import of_day, sealed
from mlops.storage import Manifest, Storage

_DAYS_LOOKED_AT = 7  # for the newest reading: later deliveries bring later readings


def uri_of(storage: Storage, view: str, day: date | None = None) -> str:
    """The folder of a view, or of one of its dates."""
    return storage.uri("features", view, *([] if day is None else [f"date={day.isoformat()}"]))


def stored_days(storage: Storage, view: str) -> list[date]:
    """Delivery dates of which features are stored, sorted."""
    return storage.partitions(uri_of(storage, view))


def write(storage: Storage, view: Any, day: date, frame: pd.DataFrame) -> tuple[str, Manifest]:
    """Publish the features of one delivery; see `FeatureStore.write_batch`.

    Args:
        storage: where.
        view: the registered `feast.FeatureView`.
        day: date of the delivery.
        frame: as `engineer` returns it.
    """
    table = sealed(frame, view)
    of_day(frame, str(view.name), day)
    recipe = recipe_of(view)
    facts = {
        "view": str(view.name),
        "date": day.isoformat(),
        "entities": str(pc.count_distinct(table.column(0)).as_py()),
        "recipe": recipe.fingerprint if recipe else "",
        "newest": pc.max(table[EVENT]).as_py().isoformat() if table.num_rows else "",
    }
    uri = uri_of(storage, view.name, day)
    return uri, storage.write_table(uri, table, facts)


def check(storage: Storage, view: ViewInfo, times: pd.Series[pd.Timestamp], *, shards: bool = True) -> None:
    """Refuse a view without features, or with features of another recipe among those that may join at `times`.

    Args:
        storage: where they are.
        view: whose they are.
        times: of the rows to join.
        shards: whether the store that will join reads tables of many files.

    Raises:
        NoDataError: nothing is stored.
        FeatureError: some dates were made with another recipe, or written in many files that the store would miss.
    """
    stored = stored_days(storage, view.name)
    if not stored:
        raise NoDataError(
            f"View {view.name!r} holds no features yet.", hint="Run the features step for the dates you need."
        )
    if view.recipe is None or times.empty:
        return
    first = (times.min() - view.ttl).date() if view.ttl else stored[0]
    near = [day for day in stored if first <= day <= times.max().date()]
    found = {day: storage.manifest(uri_of(storage, view.name, day)) for day in near}
    other = [day for day, made in found.items() if made and made.facts.get("recipe") != view.recipe.fingerprint]
    if other:
        raise FeatureError(
            f"{len(other)} of {len(near)} dates of view {view.name!r} ({other[0]} … {other[-1]}) hold features of "
            "another recipe than the one declared now.",
            hint="Run the features step for these dates again, or give the changed view and service new names.",
        )
    split = [day for day, made in found.items() if made and made.shards and not shards]
    if split:
        raise FeatureError(
            f"{len(split)} of {len(near)} dates of view {view.name!r} ({split[0]} … {split[-1]}) were written by Spark "
            "in many files, which the local offline store does not read.",
            hint="Set `feature_store_yaml: feature_store.spark.yaml`, or run the features step for them on `duckdb`.",
        )


def newest_reading(storage: Storage, view: str) -> datetime | None:
    """When the newest reading among the latest deliveries of a view happened; None if there is none."""
    found = []
    for day in stored_days(storage, view)[-_DAYS_LOOKED_AT:]:
        uri = uri_of(storage, view, day)
        manifest = storage.manifest(uri)
        said = manifest.facts.get("newest") if manifest else None
        if said is None:  # written before deliveries said so
            times = storage.read_table(uri, [EVENT])[EVENT]
            said = pc.max(times).as_py().isoformat() if len(times) else ""
        if said:
            found.append(datetime.fromisoformat(said))
    return max(found, default=None)


def entities(storage: Storage, view: ViewInfo, day: date) -> list[Any]:
    """The entities of one delivery, each once, sorted; none if there was none."""
    uri = uri_of(storage, view.name, day)
    if storage.manifest(uri) is None:
        return []
    return sorted(pc.unique(storage.read_table(uri, [view.entity])[view.entity]).to_pylist())

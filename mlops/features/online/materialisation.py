"""Brings the online store up to date with the deliveries, by a watermark of our own.

The watermark of a view is the list of its deliveries that are in, each with the hash of its content. It lies in the
online store itself: whoever deletes or restores the one has deleted or restored the other, and what Feast's registry
thinks has no part in it. A delivery that failed, was killed, arrived late or was written anew is not on the list as it
stands now, so the next call brings it in.

One rule: a delivery is noted as in only after all of it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mlops.errors import ConfigError
from mlops.features import partitions
from mlops.features.definitions import recipe_of
from mlops.features.online.encoding import EncodedRows, encode
from mlops.features.online.newest import DELIVERY, newest_readings
from mlops.storage import Storage

_WITHDRAWN_PER_PASS = 100_000


@dataclass(frozen=True, slots=True)
class Brought:
    """What one call has brought into the online store."""

    days: tuple[date, ...]  # deliveries
    entities: int  # rows handed over, one per entity
    withdrawn: int  # entities whose reading is in no delivery any more, and was replaced or dropped


def online_store_of(feast: Any) -> Any:
    """The online store of a `feast.FeatureStore`.

    Raises:
        ConfigError: it is none of ours.
    """
    store = feast._get_provider().online_store
    if not hasattr(store, "set_windows"):
        raise ConfigError(
            f"The online store is of type {feast.config.online_store.type!r}, which can put older readings in place of "
            "newer ones.",
            hint="Use mlops.features.online.sqlite.GuardedSqliteOnlineStore or "
            "mlops.features.online.redis.GuardedRedisOnlineStore in feature_store.yaml.",
        )
    return store


def bring(feast: Any, storage: Storage, view: Any, first: date, last: date, *, spill: Path) -> Brought:
    """Write the newest reading of each entity of the deliveries that are due; see `FeatureStore.materialize`.

    Args:
        feast: an open `feast.FeatureStore`.
        storage: holds the feature tables.
        view: the registered `feast.FeatureView`.
        first: first delivery that is written whatever the watermark says.
        last: last delivery that is looked at.
        spill: folder for what does not fit into memory.
    """
    store, config = online_store_of(feast), feast.config
    done = store.windows(config, view)
    stored = {day: content for day, content in _contents(storage, view).items() if day <= last}
    due = [day for day, content in stored.items() if day >= first or done.get(day.isoformat()) != content]
    if not due:
        return Brought((), 0, 0)
    entities = 0
    for rows in _encoded(storage, view, {day: stored[day] for day in due}, spill=spill):
        store.write(config, view, rows)
        entities += len(rows)
    replaced = [
        _origin(day, before)
        for day in due
        if (before := done.get(day.isoformat())) is not None and before != stored[day]
    ]
    withdrawn = 0
    if replaced:
        known = {day: content for day, content in stored.items() if day in due or day.isoformat() in done}
        withdrawn = _replace_withdrawn(feast, storage, view, replaced, known, spill=spill)
    store.set_windows(config, view, {day.isoformat(): stored[day] for day in due})
    return Brought(tuple(due), entities, withdrawn)


def _contents(storage: Storage, view: Any) -> dict[date, str]:
    """The deliveries made with the view's recipe -> hash of their content, by date."""
    recipe = recipe_of(view)
    found = {}
    for day in partitions.stored_days(storage, view.name):
        manifest = storage.manifest(partitions.uri_of(storage, view.name, day))
        if manifest and (recipe is None or manifest.facts.get("recipe") == recipe.fingerprint):
            found[day] = manifest.content_hash
    return found


def _encoded(
    storage: Storage, view: Any, contents: dict[date, str], *, spill: Path, entities: pa.Table | None = None
) -> Iterator[EncodedRows]:
    """The newest reading of each entity, each with the delivery it comes from."""
    origins = pa.array([_origin(day, content).encode() for day, content in contents.items()], pa.binary())
    for table in newest_readings(storage, view, list(contents), spill=spill, entities=entities):
        which = np.asarray(table[DELIVERY].to_numpy())
        yield encode(table, view, origins.take(pa.array(which)))


def _replace_withdrawn(
    feast: Any, storage: Storage, view: Any, replaced: Sequence[str], known: dict[date, str], *, spill: Path
) -> int:
    """Entities that still hold a reading of a delivery as it was before: give them the newest there is now, or none."""
    from feast.infra.key_encoding_utils import deserialize_entity_key
    from feast.type_map import feast_value_type_to_python_type

    store, config = online_store_of(feast), feast.config
    keys = iter(store.entities_from(config, view, replaced))
    count = 0
    while part := list(islice(keys, _WITHDRAWN_PER_PASS)):
        names: dict[str, list[Any]] = {field.name: [] for field in view.entity_columns}
        for key in part:
            message = deserialize_entity_key(key)
            for name, value in zip(message.join_keys, message.entity_values, strict=True):
                names[name].append(feast_value_type_to_python_type(value))
        found: set[bytes] = set()
        for rows in _encoded(storage, view, known, spill=spill, entities=pa.table(names)):
            store.write(config, view, rows, force=True)
            found.update(rows.keys.to_pylist())
        store.forget(config, view, [key for key in part if key not in found])
        count += len(part)
    return count


def _origin(day: date, content: str) -> str:
    return f"{day.isoformat()}@{content[:16]}"

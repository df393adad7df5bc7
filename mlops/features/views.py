"""Declarations for `feature_repo/`: a feature view over the readings of a data set, in one call.

The view carries its data set and its recipe in Feast's tags, so the registry alone says how to make the features. Two
integer fields ride along beside the features: when the reading happened and when it became known. Feast returns neither
from a join, and without them nobody could tell a fresh feature from a stale or a leaked one.

One rule: what is declared here needs no data; a repository applies before the first delivery.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta

from feast import Entity, FeatureView, Field, FileSource, ValueType
from feast.data_format import ParquetFormat
from feast.types import Float64, Int64, String

from mlops.config import MLOpsConfig
from mlops.errors import FeatureError
from mlops.features.definitions import CLOCK, DATASET_TAG, RECIPE_TAG
from mlops.features.engineering import CREATED, EVENT, Recipe
from mlops.storage import TABLE_FILE, Storage

_TYPES = {ValueType.STRING: String, ValueType.INT64: Int64}
_root: ContextVar[str | None] = ContextVar("root of the feature tables", default=None)


def telemetry_view(
    *,
    name: str,
    entity: Entity,
    dataset: str,
    recipe: Recipe,
    ttl: timedelta,
    description: str = "",
    owner: str = "",
) -> FeatureView:
    """A feature view of what `recipe` makes of the readings of `dataset`.

    Args:
        name: name of the view; its tables lie in the folder `features/<name>`.
        entity: what the readings are about; `value_type` STRING or INT64.
        dataset: name of the data set, as model specs name it.
        recipe: which features.
        ttl: older features count as missing. Zero: never.
        description: one sentence for people.
        owner: team or e-mail that answers for it.

    Raises:
        FeatureError: the entity's type is none of the two, or a feature's name is taken.
    """
    if entity.value_type not in _TYPES:
        given = getattr(entity.value_type, "name", entity.value_type)
        raise FeatureError(
            f"Entity {entity.name!r} has the value type {given}, expected STRING or INT64.",
            hint="Write Entity(…, value_type=ValueType.STRING).",
        )
    taken = {entity.join_key, EVENT, CREATED, *CLOCK} & set(recipe.feature_names)
    if taken:
        raise FeatureError(
            f"View {name!r} makes features named {', '.join(sorted(taken))}, which mean something else here.",
            hint="Rename the columns of the data set.",
        )
    source = FileSource(
        name=f"{name}_source",
        path=Storage(_root_of_tables()).uri("features", name, "date=*", TABLE_FILE),
        file_format=ParquetFormat(),
        timestamp_field=EVENT,
        created_timestamp_column=CREATED,
    )
    schema = [Field(name=entity.join_key, dtype=_TYPES[entity.value_type])]
    schema += [Field(name=feature, dtype=Float64) for feature in recipe.feature_names]
    schema += [Field(name=field, dtype=Int64) for field in CLOCK]
    return FeatureView(
        name=name,
        entities=[entity],
        ttl=ttl,
        schema=schema,
        source=source,
        description=description,
        owner=owner,
        tags={DATASET_TAG: dataset, RECIPE_TAG: recipe.to_json()},
    )


@contextmanager
def rooted_at(root: str) -> Iterator[None]:
    """Within it, views put their tables below `root`. Outside (Feast's own command line) the settings say where."""
    token = _root.set(root)
    try:
        yield
    finally:
        _root.reset(token)


def _root_of_tables() -> str:
    if (root := _root.get()) is not None:
        return root
    config = MLOpsConfig.load()
    (config.state_dir / "feast").mkdir(
        parents=True, exist_ok=True
    )  # Feast's SQLite files go there, it does not make it
    return config.var

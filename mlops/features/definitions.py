"""What a feature service is made of, read from Feast's registry and checked for what this project keeps.

One rule: the order of features is the one declared; it never comes from an answer of a store.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from mlops.errors import FeatureError, did_you_mean
from mlops.features.derived import bound
from mlops.features.engineering import Recipe
from mlops.features.repository import column_functions

FEATURE_TIMESTAMP = "feature_timestamp"
FEATURE_KNOWN_AT = "feature_known_at"
CLOCK = (FEATURE_TIMESTAMP, FEATURE_KNOWN_AT)  # integer fields [µs since 1970] that views carry beside their features
DATASET_TAG = "mlops.dataset"
RECIPE_TAG = "mlops.recipe"


@dataclass(frozen=True, slots=True)
class ViewInfo:
    """What the pipelines need to know of a feature view."""

    name: str
    dataset: str  # name of the data set it is made of; empty for a view that this project does not fill
    recipe: Recipe | None
    entity: str  # join key
    lookback: timedelta  # history that the features of a reading depend on
    features: tuple[str, ...]  # those the service uses, in the order declared
    ttl: timedelta  # older features count as missing; zero: never
    dated: bool  # whether it carries the times of its readings
    whole_keys: bool = False  # whether its keys are whole numbers, not texts

    @property
    def fields(self) -> tuple[str, ...]:
        """What is asked of Feast: the features, and the times of the readings if there are any."""
        return (*self.features, *(CLOCK if self.dated else ()))

    def column(self, field: str) -> str:
        """Name of a field's column in Feast's answers."""
        return f"{self.name}__{field}"


def references(views: Sequence[ViewInfo]) -> list[str]:
    """Feast's names of all fields of the views."""
    return [f"{view.name}:{field}" for view in views for field in view.fields]


def columns(views: Sequence[ViewInfo]) -> list[str]:
    """Columns that Feast answers `references` with."""
    return [view.column(field) for view in views for field in view.fields]


def read_service(feast: Any, name: str) -> tuple[ViewInfo, ...]:
    """The views of a registered feature service, in the order declared.

    Args:
        feast: an open `feast.FeatureStore`.
        name: name of the service.

    Raises:
        FeatureError: no such service, or one that this project cannot keep.
    """
    from feast.errors import FeatureServiceNotFoundException

    try:
        found = feast.get_feature_service(name)
    except FeatureServiceNotFoundException as error:
        known = [each.name for each in feast.list_feature_services()]
        raise FeatureError(
            f"No feature service {name!r}.",
            hint=f"{did_you_mean(name, known)} Services are declared in {feast.config.repo_path}.",
        ) from error
    views = tuple(_read_view(feast, projection, name) for projection in found.feature_view_projections)
    features = [feature for view in views for feature in view.features]
    if twice := sorted({feature for feature in features if features.count(feature) > 1}):
        raise FeatureError(
            f"Feature service {name!r} has {', '.join(twice)} from more than one view.",
            hint="Leave one out: FeatureService(features=[view[[…]], …]).",
        )
    if len({view.entity for view in views}) != 1:
        raise FeatureError(
            f"Feature service {name!r} joins on {', '.join(sorted({v.entity for v in views})) or 'nothing'}, "
            "expected one entity.",
            hint="Split it into one service per entity.",
        )
    return views


def _read_view(feast: Any, projection: Any, service: str) -> ViewInfo:
    from feast.errors import FeatureViewNotFoundException

    try:
        view = feast.get_feature_view(projection.name)
    except FeatureViewNotFoundException as error:
        raise FeatureError(
            f"Feature service {service!r} uses {projection.name!r}, which is not a stored feature view.",
            hint="On-demand views are not kept here; make the feature in a recipe.",
        ) from error
    if projection.name_alias or projection.join_key_map:
        raise FeatureError(
            f"Feature service {service!r} uses view {view.name!r} under another name or key, which is not supported.",
            hint="Declare one view per use, with telemetry_view.",
        )
    if len(view.join_keys) != 1:
        raise FeatureError(
            f"View {view.name!r} joins on {', '.join(view.join_keys) or 'nothing'}, expected one key.",
            hint="Give the view one entity.",
        )
    recipe = recipe_of(view)
    if recipe is not None and recipe.derived:
        functions = column_functions(Path(feast.config.repo_path))
        recipe = replace(recipe, derived=bound(recipe.derived, functions))
    return ViewInfo(
        name=view.name,
        dataset=view.tags.get(DATASET_TAG, ""),
        recipe=recipe,
        entity=view.join_keys[0],
        lookback=recipe.lookback if recipe else timedelta(0),
        features=tuple(field.name for field in projection.features if field.name not in CLOCK),
        ttl=view.ttl or timedelta(0),
        dated=set(CLOCK) <= {field.name for field in view.features},
        whole_keys=[str(column.dtype) for column in view.entity_columns] == ["Int64"],
    )


def recipe_of(view: Any) -> Recipe | None:
    """The recipe that rides in a registered view's tags; None for a view that this project does not fill."""
    text = view.tags.get(RECIPE_TAG)
    return Recipe.from_json(text) if text else None


def read_view(feast: Any, name: str) -> Any:
    """A registered feature view, as Feast knows it.

    Raises:
        FeatureError: no such view.
    """
    from feast.errors import FeatureViewNotFoundException

    try:
        return feast.get_feature_view(name)
    except FeatureViewNotFoundException as error:
        known = [each.name for each in feast.list_feature_views()]
        raise FeatureError(f"No feature view {name!r}.", hint=did_you_mean(name, known)) from error

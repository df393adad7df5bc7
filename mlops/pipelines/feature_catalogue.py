"""The features of an installation, for people: what is declared, what is stored of it, how fresh it is, who uses it.

Reads: the Python files of the feature repository, the stored feature tables, the model specs, and the ledger (for the
champions). Writes nothing and registers nothing.

One rule: what is declared but not stored yet is shown as such; its freshness cannot be told.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from mlops.errors import FeatureError, did_you_mean
from mlops.features import profile as profiles
from mlops.features.definitions import CLOCK, DATASET_TAG, recipe_of
from mlops.features.meaning import meanings
from mlops.features.profile import ViewProfile
from mlops.features.repository import declared
from mlops.governance import champions
from mlops.services import Services
from mlops.spec import ModelSpec

Freshness = Literal["fresh", "stale", "no limit", "cannot tell"]


@dataclass(frozen=True, slots=True)
class Use:
    """One model that uses a view."""

    model: str
    service: str
    task: str
    features: tuple[str, ...]  # of the view, that the service takes
    champion: int | None  # version that now serves with these features; None: none yet


@dataclass(frozen=True, slots=True)
class ViewEntry:
    """A feature view as the catalogue shows it."""

    name: str
    description: str
    owner: str
    entity: str  # join key
    dataset: str  # made of; empty for a view that this project does not fill
    ttl_hours: float  # older values count as missing; 0: never
    features: dict[str, str]  # feature to meaning; empty where nobody said
    services: tuple[str, ...]
    used_by: tuple[Use, ...]
    profile: ViewProfile
    age_hours: float | None  # of the newest reading at the time asked; None: nothing stored
    freshness: Freshness
    recipe: dict[str, Any] | None  # as it rides in the registry


def catalogue(services: Services, last_days: int = 1) -> tuple[ViewEntry, ...]:
    """All declared views, by name.

    Args:
        services: the adapters.
        last_days: how many of the stored dates are looked at.

    Raises:
        FeatureError: the feature repository cannot be read.
    """
    found = _declared(services)
    return tuple(_entry(services, found, name, last_days) for name in sorted(found.views))


def view(services: Services, name: str, last_days: int) -> ViewEntry:
    """One declared view.

    Raises:
        FeatureError: no such view, or the feature repository cannot be read.
    """
    found = _declared(services)
    if name not in found.views:
        repository = services.config.feature_repo
        hint = f"{did_you_mean(name, found.views)} Views are declared in {repository}."
        raise FeatureError(f"No feature view {name!r}.", hint=hint)
    return _entry(services, found, name, last_days)


@dataclass(frozen=True, slots=True)
class _Declared:
    views: dict[str, Any]
    services: dict[str, Any]
    specs: dict[str, ModelSpec]


def _declared(services: Services) -> _Declared:
    from feast import FeatureService, FeatureView

    objects = declared(services.config.feature_repo, services.storage.root)
    return _Declared(
        views={thing.name: thing for thing in objects if isinstance(thing, FeatureView)},
        services={thing.name: thing for thing in objects if isinstance(thing, FeatureService)},
        specs=services.specs(),
    )


def _entry(services: Services, found: _Declared, name: str, last_days: int) -> ViewEntry:
    declaration = found.views[name]
    features = [field.name for field in declaration.features if field.name not in CLOCK]
    recipe = recipe_of(declaration)
    uses = _uses(services, found, name)
    told = meanings(recipe, _units(found.specs.values(), declaration.tags.get(DATASET_TAG, ""))) if recipe else {}
    seen = profiles.profile(services.storage, name, declaration.join_keys[0], features, last_days)
    age = services.clock() - seen.newest_at if seen.newest_at else None
    ttl = declaration.ttl or timedelta(0)
    return ViewEntry(
        name=name,
        description=declaration.description,
        owner=declaration.owner,
        entity=declaration.join_keys[0],
        dataset=declaration.tags.get(DATASET_TAG, ""),
        ttl_hours=ttl / timedelta(hours=1),
        features={feature: told.get(feature, "") for feature in features},
        services=tuple(sorted(each for each, held in found.services.items() if _taken(held, name) is not None)),
        used_by=uses,
        profile=seen,
        age_hours=age / timedelta(hours=1) if age is not None else None,
        freshness=_freshness(age, ttl),
        recipe=json.loads(recipe.to_json()) if recipe else None,
    )


def _uses(services: Services, found: _Declared, view: str) -> tuple[Use, ...]:
    uses = []
    for spec in found.specs.values():
        held = found.services.get(spec.features.service)
        taken = _taken(held, view) if held is not None else None
        if taken is not None:
            uses.append(Use(spec.name, spec.features.service, spec.task, taken, _champion(services, spec.name)))
    return tuple(sorted(uses, key=lambda use: use.model))


def _taken(service: Any, view: str) -> tuple[str, ...] | None:
    """The features of a view that a service takes; None if it does not use the view."""
    for projection in service.feature_view_projections:
        if projection.name == view:
            return tuple(field.name for field in projection.features if field.name not in CLOCK)
    return None


def _champion(services: Services, model: str) -> int | None:
    reigns = champions.reigns(services.ledger.entries(model))
    return reigns[-1].version if reigns else None


def _units(specs: Iterable[ModelSpec], dataset: str) -> dict[str, str]:
    """Column to unit, from the contracts of the models on a data set."""
    columns = [spec.contract.columns for spec in specs if spec.dataset == dataset]
    return {name: column.unit for held in columns for name, column in held.items() if column.unit}


def _freshness(age: timedelta | None, ttl: timedelta) -> Freshness:
    if age is None:
        return "cannot tell"
    if not ttl:
        return "no limit"
    return "fresh" if age <= ttl else "stale"

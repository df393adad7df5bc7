"""What can be known of a model before its first night: whether spec, catalogue and feature repository agree.

Reads: the spec, and the Python files of the feature repository. Writes nothing, registers nothing, asks no server.

One rule: what would fail at night for certain is said here, with the name that was probably meant.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlops.config import MLOpsConfig
from mlops.errors import MLOpsError, did_you_mean
from mlops.features.definitions import CLOCK, DATASET_TAG, recipe_of
from mlops.features.repository import declared
from mlops.models import catalogue
from mlops.monitoring.channels import known_channels
from mlops.spec import ModelSpec


def problems(config: MLOpsConfig, spec: ModelSpec) -> list[str]:
    """What cannot work about a spec that reads well, one sentence or two each, by the key it is about.

    Args:
        config: says where the feature repository is.
        spec: the model.

    Returns:
        Nothing if every candidate can be built, the feature service fits and the settings define the channels.
    """
    return [*_candidates(spec), *_features(config, spec), *_channels(config, spec)]


def _candidates(spec: ModelSpec) -> list[str]:
    found = []
    for position, candidate in enumerate(spec.candidates):
        try:
            catalogue.build(candidate, task=spec.task, features=["any"], entity=spec.entity, seed=spec.seed)
        except MLOpsError as error:
            found.append(f"candidates.{position}: {error}")
    return found


def _channels(config: MLOpsConfig, spec: ModelSpec) -> list[str]:
    known = known_channels(config.channels)
    return [
        f"alerts.channels: the settings define no channel {name!r}. {did_you_mean(name, known)}"
        for name in spec.alerts.channels
        if name not in known
    ]


def _features(config: MLOpsConfig, spec: ModelSpec) -> list[str]:
    from feast import FeatureService, FeatureView

    try:
        objects = declared(config.feature_repo, config.var)
    except MLOpsError as error:
        return [f"features: {error}"]
    services = {thing.name: thing for thing in objects if isinstance(thing, FeatureService)}
    views = {thing.name: thing for thing in objects if isinstance(thing, FeatureView)}
    if (service := services.get(spec.features.service)) is None:
        hint = did_you_mean(spec.features.service, services)
        return [f"features.service: {config.feature_repo} declares no service {spec.features.service!r}. {hint}"]
    used = [views[each.name] for each in service.feature_view_projections if each.name in views]
    names = [field.name for each in service.feature_view_projections for field in each.features]
    fit = [problem for view in used for problem in _view(spec, view)]
    return fit + _kept(spec, [name for name in names if name not in CLOCK])


def _kept(spec: ModelSpec, features: Sequence[str]) -> list[str]:
    """Names in `serving.log` that no row of the prediction log will have."""
    known, log = [*features, spec.entity], spec.serving.log
    found = [
        f"serving.log.{key}: {name!r} is no feature of service {spec.features.service!r}, nor the entity. "
        f"{did_you_mean(name, known)}"
        for key, names in (("hash", log.hash), ("drop", log.drop))
        for name in names
        if name not in known
    ]
    twice = sorted(set(log.hash) & set(log.drop))
    return found + [f"serving.log: {name!r} is both hashed and dropped. Choose one." for name in twice]


def _view(spec: ModelSpec, view: Any) -> list[str]:
    """How a view does not fit the model that uses it."""
    found = []
    if list(view.join_keys) != [spec.entity]:
        keys = ", ".join(view.join_keys) or "nothing"
        found.append(f"entity: {spec.entity!r}, but view {view.name!r} joins on {keys}. Name the same column in both.")
    recipe = recipe_of(view)
    if recipe is None or view.tags.get(DATASET_TAG) != spec.dataset:
        return found  # another model's data set, under that model's contract
    for column in recipe.inputs:
        if column not in spec.contract.columns:
            near = did_you_mean(column, spec.contract.columns)
            found.append(f"contract.columns: lacks {column!r}, which view {view.name!r} is made of. {near}")
        elif (kind := spec.contract.columns[column].type) == "string":
            found.append(
                f"contract.columns.{column}: is {kind}, but view {view.name!r} computes with it. Use a number."
            )
    return found

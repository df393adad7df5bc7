"""The part of a spec about answering in real time."""

from __future__ import annotations

from pydantic import Field

from mlops.spec.deployment import DeploymentSpec
from mlops.spec.frozen import Frozen


class PredictionLogSpec(Frozen):
    """What of a prediction is not kept as it is. Everything else is."""

    hash: tuple[str, ...] = Field(
        (), description="Entity or features kept as keyed hashes: rows can be joined, values not be read."
    )
    drop: tuple[str, ...] = Field((), description="Entity or features that are not kept at all.")


class ServingSpec(Frozen):
    """How `mlops serve` answers for the model."""

    log: PredictionLogSpec = PredictionLogSpec()
    deployment: DeploymentSpec = DeploymentSpec()

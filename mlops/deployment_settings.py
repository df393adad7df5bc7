"""Where the services of an installation run: the setting `deployment`.

`deployment: {target: kubernetes, image: registry.example/mlops:1.4, namespace: models, secret: mlops-env}`

One rule: values that are secret never stand here; `variables` names them, and each target gets them by reference.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from mlops.errors import ConfigError, did_you_mean

TargetName = Literal["local", "docker", "kubernetes"]
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


class DeploymentSettings(BaseModel):
    """Where services run, and with what."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    target: TargetName = Field("local", description="Where `mlops deploy` runs services if it is not told otherwise.")
    image: str = Field("mlops:local", description="Image that Docker and Kubernetes run.")
    port: int = Field(8000, ge=1, le=65535, description="Port on this machine (local, docker): a model each.")
    namespace: str = Field("default", description="Kubernetes namespace.")
    context: str = Field("", description="Context of the kubeconfig. Default: the current one.")
    kubeconfig: str = Field("", description="Path of the kubeconfig. Default: $KUBECONFIG, ~/.kube/config, in-cluster.")
    environment: dict[str, str] = Field(
        default_factory=dict, description="Environment variables that are no secret, with their values."
    )
    variables: tuple[str, ...] = Field(
        (), description="Names of variables whose values are secret: taken from this environment, or from `secret`."
    )
    network: str = Field("", description="Docker network, such as that of the compose file. Default: the engine's own.")
    volumes: tuple[str, ...] = Field((), description="Docker volumes, as `docker run --volume` takes them.")
    secret: str = Field("", description="Kubernetes Secret that holds the values of `variables`, a key each.")
    keys_secret: str = Field("", description="Kubernetes Secret of trusted keys: its keys are files of trusted/.")

    @field_validator("environment", "variables")
    @classmethod
    def _are_names(cls, value: Any) -> Any:
        for name in value:
            if not _VARIABLE.fullmatch(name):
                raise ValueError(f"{name!r} is no name of an environment variable")
        return value

    @model_validator(mode="after")
    def _once(self) -> DeploymentSettings:
        if both := sorted(set(self.environment) & set(self.variables)):
            raise ValueError(f"{both[0]} stands in environment and in variables")
        return self

    @field_validator("namespace", "secret", "keys_secret")
    @classmethod
    def _are_labels(cls, value: str) -> str:
        if value and not _LABEL.fullmatch(value):
            raise ValueError(f"{value!r} is no name in Kubernetes: lower case letters, digits and -, at most 63")
        return value


def deployment_settings(given: Mapping[str, Any]) -> DeploymentSettings:
    """The setting `deployment`, checked.

    Raises:
        ConfigError: an unknown key or a wrong value.
    """
    try:
        return DeploymentSettings.model_validate(dict(given))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        hint = did_you_mean(key, DeploymentSettings.model_fields) if first["type"] == "extra_forbidden" else ""
        raise ConfigError(f"Setting deployment.{key}: {first['msg']}.", hint=hint) from error

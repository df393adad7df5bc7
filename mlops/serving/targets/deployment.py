"""What is deployed, as a value; and the port that every target implements.

A `Deployment` says all that a target needs to bring a service up, and nothing that changes by itself: which version
answers is the registry's to say (the service follows the alias `champion`). So two equal values are the same
deployment, whoever asks and however often, and going back is deploying an earlier value.

One rule: no secret is in it, only the names of variables.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from mlops.errors import DeploymentError
from mlops.records import to_dict

SERVICE_PORT = 8000  # within a container
_SLUG_MAX = 40  # leaves room for a suffix within the 63 of a DNS label
_DIGEST_LETTERS = 8

Colour = Literal["plain", "blue", "green"]  # of a set of pods; plain: exchanged in place (rolling)


@dataclass(frozen=True, slots=True)
class Resources:
    """What one replica asks for and may take, in Kubernetes' quantities."""

    cpu: str
    memory: str
    cpu_limit: str
    memory_limit: str


@dataclass(frozen=True, slots=True)
class Deployment:
    """A model's service, as it shall run."""

    model: str
    target: str  # local, docker or kubernetes
    place: str  # Kubernetes: context/namespace; docker: the engine's address; local: the host
    image: str  # "": the code that is installed here
    port: int  # on this machine; 0: none
    workers: int
    resources: Resources
    min_replicas: int = 1
    max_replicas: int = 1
    cpu_percent: int = 70
    strategy: Literal["rolling", "blue_green"] = "rolling"
    environment: dict[str, str] = field(default_factory=dict)  # not secret
    variables: tuple[str, ...] = ()  # names whose values are secret
    secret: str = ""  # Kubernetes Secret of their values
    keys_secret: str = ""  # Kubernetes Secret of trusted keys
    network: str = ""  # of Docker
    volumes: tuple[str, ...] = ()  # of Docker: name:/path or /path:/path

    @property
    def digest(self) -> str:
        """sha256 over all fields but `place`: equal for what runs alike, wherever it does."""
        facts = to_dict(self)
        del facts["place"]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Running:
    """What a target says of a model's service."""

    model: str
    target: str
    place: str
    state: Literal["healthy", "unhealthy", "gone", "cannot_tell"]  # gone: it was deployed and does not run any more
    reason: str  # why, in words
    digest: str = ""  # of the deployment it runs; "": unknown
    url: str = ""  # where it answers
    replicas: int = 1  # ready ones


@dataclass(frozen=True, slots=True)
class Reply:
    """What a service answered to a request over HTTP."""

    status: int
    body: Any  # of its JSON


Ask = Callable[[str, dict[str, Any] | None], Reply]  # (path, body or None for GET); OSError where it is not reached
Prove = Callable[[Ask], str]  # asks the golden rows; what was found, in words; DeploymentError where it is wrong
Tell = Callable[[str], None]  # takes progress, line by line


class DeploymentTarget(Protocol):
    """Where services run.

    `deploy` may be called again at any time, after any interruption, and ends in the same state.
    """

    def deploy(self, deployment: Deployment, prove: Prove, tell: Tell, seconds: float) -> Running:
        """Bring it up instead of what runs now.

        Args:
            deployment: what shall run.
            prove: asks the golden rows; called before, or as soon as, callers are answered by it.
            tell: where progress goes.
            seconds: how long to wait for it to be healthy [s].

        Raises:
            DeploymentError: it did not come up, in words; what ran before still answers, or answers again, unless the
                message says otherwise.
        """
        ...

    def undeploy(self, model: str) -> bool:
        """End it and remove what belongs to it; whether there was anything."""
        ...

    def running(self, model: str) -> Running | None:
        """What runs for a model; None: nothing is there."""
        ...


def slug(model: str) -> str:
    """A model's name as a DNS label of at most 40 characters; two models never share one.

    >>> slug("fleet_anomaly")
    'mlops-fleet-anomaly'
    >>> slug("pump_") == slug("pump")
    False
    """
    plain = f"mlops-{model.replace('_', '-')}"
    if len(plain) <= _SLUG_MAX and not plain.endswith("-"):
        return plain
    digest = hashlib.sha256(model.encode()).hexdigest()[:_DIGEST_LETTERS]
    return f"{plain[: _SLUG_MAX - _DIGEST_LETTERS - 1].rstrip('-')}-{digest}"


def refuse_missing(deployment: Deployment, environment: Mapping[str, str]) -> None:
    """Make sure that every variable has a value.

    Raises:
        DeploymentError: one has none.
    """
    if missing := [name for name in deployment.variables if name not in environment]:
        raise DeploymentError(
            f"{deployment.model} was not deployed: {', '.join(missing)} has no value in this environment.",
            hint="Set it, or take it off the setting deployment.variables.",
        )


def arguments(deployment: Deployment, host: str, port: int) -> list[str]:
    """The arguments of `mlops` that serve it."""
    where = ["--host", host, "--port", str(port)]
    return ["serve", deployment.model, *where, "--workers", str(deployment.workers)]

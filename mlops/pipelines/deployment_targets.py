"""Deployments as spec and settings ask for them, and the targets as the settings name them.

One rule: nothing here changes anything.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from mlops.deployment_settings import TargetName
from mlops.errors import ConfigError, MLOpsError
from mlops.pipelines.deployment_history import Deployed
from mlops.services import Services
from mlops.serving.targets.deployment import Deployment, DeploymentTarget, Resources, Running
from mlops.spec import ModelSpec

if TYPE_CHECKING:
    from mlops.serving.targets.kubeconfig import Access
    from mlops.serving.targets.kubernetes import KubernetesTarget


def wanted(
    services: Services,
    spec: ModelSpec,
    target: TargetName | None = None,
    port: int | None = None,
    where: str | None = None,
) -> Deployment:
    """The deployment that spec and settings ask for.

    Args:
        services: the adapters.
        spec: the model.
        target: where; default: as the settings say.
        port: on this machine; default: as the settings say.
        where: the place; default: asked of the target's settings.
    """
    settings, asked = services.config.deployment, spec.serving.deployment
    name = target or settings.target
    resources = Resources(**asked.resources.model_dump())
    base = Deployment(
        model=spec.name,
        target=name,
        place=place(services, name) if where is None else where,
        image="" if name == "local" else settings.image,
        port=port or settings.port,
        workers=asked.workers,
        resources=resources,
        environment=dict(sorted(settings.environment.items())),
        variables=settings.variables,
    )
    if name == "docker":
        return replace(base, network=settings.network, volumes=settings.volumes)
    if name == "local":
        return base
    if settings.variables and not settings.secret:
        raise ConfigError(
            f"Setting deployment.variables names {', '.join(settings.variables)}, but no Secret holds their values.",
            hint="Set deployment.secret to the name of one: kubectl create secret generic mlops-env --from-literal=…",
        )
    return replace(
        base,
        port=0,
        min_replicas=asked.min_replicas,
        max_replicas=asked.max_replicas,
        cpu_percent=asked.cpu_percent,
        strategy=asked.strategy,
        secret=settings.secret,
        keys_secret=settings.keys_secret,
    )


def place(services: Services, target: str) -> str:
    """Where a target is, so that two clusters or machines are not taken for one."""
    if target == "kubernetes":
        return f"{_access(services).context}/{services.config.deployment.namespace}"
    if target == "docker":
        given = services.config.variables
        return given.get("DOCKER_HOST") or given.get("DOCKER_CONTEXT") or socket.gethostname()
    return socket.gethostname()


@contextmanager
def open_target(services: Services, target: str) -> Iterator[DeploymentTarget]:
    """The adapter of a target (local, docker or kubernetes), and its connections for as long as a `with` block.

    Raises:
        DeploymentError: it cannot be reached with these settings.
    """
    config = services.config
    if target == "local":
        from mlops.serving.targets.local import LocalTarget

        yield LocalTarget(config.state_dir / "deployments", config.variables)
    elif target == "docker":
        from mlops.serving.targets.docker import DockerTarget

        yield DockerTarget(config.variables, place(services, target))
    else:
        yield from _on_kubernetes(services)


def _on_kubernetes(services: Services) -> Iterator[KubernetesTarget]:
    from mlops.serving.targets import kubeconfig
    from mlops.serving.targets.kubernetes import KubernetesTarget
    from mlops.serving.targets.kubernetes_api import KubernetesApi

    with kubeconfig.client(_access(services)) as client:
        api = KubernetesApi(client, services.config.deployment.namespace)
        yield KubernetesTarget(api, place(services, "kubernetes"))


def checked(services: Services, deployment: Deployment) -> str:
    """Have the target check a deployment without changing anything, where it can; what it says.

    Raises:
        DeploymentError: it would be refused.
    """
    if deployment.target != "kubernetes":
        return "Nothing was asked of the target."
    from mlops.serving.targets.kubernetes import KubernetesTarget

    with open_target(services, "kubernetes") as target:
        assert isinstance(target, KubernetesTarget)
        target.check(deployment)
    return f"{deployment.place} would take all objects (server-side dry run)."


def rendered(services: Services, deployment: Deployment) -> str:
    """The Kubernetes objects of a deployment as YAML, without asking a cluster."""
    from mlops.serving.targets import manifests

    colour: Literal["plain", "blue"] = "blue" if deployment.strategy == "blue_green" else "plain"
    return manifests.rendered(manifests.manifests(deployment, services.config.deployment.namespace, colour))


def look(services: Services, made: Deployed) -> Running:
    """How a deployment is, by its target's word."""
    deployment = made.deployment

    def said(state: Literal["gone", "cannot_tell"], reason: str) -> Running:
        return Running(deployment.model, deployment.target, deployment.place, state, reason)

    if deployment.place != place(services, deployment.target):
        return said("cannot_tell", f"it cannot be seen from here; ask on {deployment.place}")
    try:
        with open_target(services, deployment.target) as target:
            found = target.running(deployment.model)
    except MLOpsError as error:
        return said("cannot_tell", str(error))
    if found is None:
        return said("gone", "nothing of it is there: it was taken down behind the ledger's back")
    if found.digest != deployment.digest:
        return replace(found, state="unhealthy", reason="it runs with other settings than the ledger says")
    return found


def _access(services: Services) -> Access:
    from mlops.serving.targets import kubeconfig

    settings = services.config.deployment
    return kubeconfig.find(settings.kubeconfig, settings.context, services.config.variables)

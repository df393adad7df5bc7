"""A deployment as Kubernetes objects (1.32 and later): Deployment, Service, autoscaler, disruption budget.

What a replica may do is little: not root, no capability, a read-only root, no token of the cluster. What it writes (the
spool of the prediction log, compiled scorers) goes into a volume that ends with it; tables go to `MLOPS_VAR` (S3).

One rule: values in, plain objects out; nothing is pasted into text.

References:
    Kubernetes API 1.32, https://kubernetes.io/docs/reference/generated/kubernetes-api/v1.32/
"""

from __future__ import annotations

from typing import Any

import yaml

from mlops.serving.targets.deployment import SERVICE_PORT, Colour, Deployment, arguments, slug

Manifest = dict[str, Any]

MODEL = "mlops.dev/model"  # label: the model, as DNS label
COLOUR = "mlops.dev/colour"  # label of pods, by which the Service selects those that answer
DIGEST = "mlops.dev/deployment"  # annotation: digest of the deployment
MANAGER = "mlops"
PORT_NAME = "http"
_HOME = "/opt/mlops"
_KEYS = "/run/mlops/keys"
_USER = 50000  # as the Dockerfile makes it
_START_SECONDS = 300  # loading, verifying and compiling on a busy node
_END_SECONDS = 60  # what was asked is answered, what was answered is written
_DRAIN_SECONDS = 5  # until no load balancer sends requests any more


class _Plain(yaml.SafeDumper):
    """Writes equal parts out instead of pointing from one to the other."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


def manifests(deployment: Deployment, namespace: str, colour: Colour = "plain", replicas: int = 0) -> list[Manifest]:
    """All objects of a deployment, in the order in which they are applied.

    Args:
        deployment: what shall run.
        namespace: where.
        colour: which of the sets of pods the Service shall select.
        replicas: to begin with; the autoscaler changes them. Default: its minimum.
    """
    return [
        disruption_budget(deployment, namespace),
        workload(deployment, namespace, colour, replicas),
        service(deployment, namespace, colour),
        autoscaler(deployment, namespace, colour),
    ]


def rendered(objects: list[Manifest]) -> str:
    """Objects as one YAML text for `kubectl apply -f -`."""
    return yaml.dump_all(objects, Dumper=_Plain, sort_keys=False, explicit_start=True)


def name_of(model: str, colour: Colour = "plain") -> str:
    """Name of a model's objects; those of a colour carry it."""
    return slug(model) if colour == "plain" else f"{slug(model)}-{colour}"


def preview_name(model: str) -> str:
    """Name of the Service by which a new colour is asked before anybody else sees it."""
    return f"{slug(model)}-preview"


def selector(model: str, colour: Colour | None = None) -> dict[str, str]:
    """Labels by which the pods of a model, or of one of its colours, are found."""
    found = {"app.kubernetes.io/name": "mlops-serving", MODEL: slug(model)}
    return found | ({COLOUR: colour} if colour else {})


def workload(deployment: Deployment, namespace: str, colour: Colour = "plain", replicas: int = 0) -> Manifest:
    """The Deployment: pods that answer, and how they are exchanged."""
    labels = selector(deployment.model, colour)
    spec: Manifest = {
        "replicas": replicas or deployment.min_replicas,
        "revisionHistoryLimit": 5,
        "progressDeadlineSeconds": 2 * _START_SECONDS,
        "minReadySeconds": 2,
        "selector": {"matchLabels": dict(labels)},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": "25%"}},
        "template": {
            "metadata": {"labels": dict(labels), "annotations": {DIGEST: deployment.digest}},
            "spec": _pod(deployment, labels),
        },
    }
    return _object("apps/v1", "Deployment", name_of(deployment.model, colour), deployment, namespace, spec)


def service(deployment: Deployment, namespace: str, colour: Colour = "plain", name: str = "") -> Manifest:
    """The Service: one address for all replicas, or for those of one colour."""
    port = {"name": PORT_NAME, "port": 80, "targetPort": PORT_NAME, "protocol": "TCP"}
    spec = {"type": "ClusterIP", "selector": selector(deployment.model, colour), "ports": [port]}
    return _object("v1", "Service", name or name_of(deployment.model), deployment, namespace, spec)


def autoscaler(deployment: Deployment, namespace: str, colour: Colour = "plain") -> Manifest:
    """The HorizontalPodAutoscaler: more replicas above the share of CPU, fewer only after five quiet minutes."""
    scaled = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name_of(deployment.model, colour)}
    target = {"type": "Utilization", "averageUtilization": deployment.cpu_percent}
    spec = {
        "scaleTargetRef": scaled,
        "minReplicas": deployment.min_replicas,
        "maxReplicas": deployment.max_replicas,
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
        "behavior": {
            "scaleUp": {"stabilizationWindowSeconds": 0},
            "scaleDown": {"stabilizationWindowSeconds": 300},
        },
    }
    name = name_of(deployment.model)
    return _object("autoscaling/v2", "HorizontalPodAutoscaler", name, deployment, namespace, spec)


def disruption_budget(deployment: Deployment, namespace: str) -> Manifest:
    """The PodDisruptionBudget: maintenance takes one replica at a time, and never waits for one that is ill."""
    spec = {
        "maxUnavailable": 1,
        "selector": {"matchLabels": selector(deployment.model)},
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    }
    return _object("policy/v1", "PodDisruptionBudget", name_of(deployment.model), deployment, namespace, spec)


def _object(version: str, kind: str, name: str, deployment: Deployment, namespace: str, spec: Manifest) -> Manifest:
    labels = selector(deployment.model) | {"app.kubernetes.io/managed-by": MANAGER}
    metadata = {"name": name, "namespace": namespace, "labels": labels, "annotations": {DIGEST: deployment.digest}}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}


def _pod(deployment: Deployment, labels: dict[str, str]) -> Manifest:
    volumes: list[Manifest] = [{"name": "state", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}]
    if deployment.keys_secret:
        volumes.append({"name": "keys", "secret": {"secretName": deployment.keys_secret}})
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": labels},
    }
    return {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": _END_SECONDS + _DRAIN_SECONDS,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "fsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "topologySpreadConstraints": [spread],
        "containers": [_container(deployment)],
        "volumes": volumes,
    }


def _container(deployment: Deployment) -> Manifest:
    asked = deployment.resources
    mounts: list[Manifest] = [{"name": "state", "mountPath": f"{_HOME}/var"}, {"name": "tmp", "mountPath": "/tmp"}]
    if deployment.keys_secret:
        mounts.append({"name": "keys", "mountPath": f"{_KEYS}/trusted", "readOnly": True})
    return {
        "name": "serving",
        "image": deployment.image,
        "command": ["mlops"],
        "args": arguments(deployment, "0.0.0.0", SERVICE_PORT),
        "ports": [{"name": PORT_NAME, "containerPort": SERVICE_PORT, "protocol": "TCP"}],
        "env": _environment(deployment),
        "resources": {
            "requests": {"cpu": asked.cpu, "memory": asked.memory},
            "limits": {"cpu": asked.cpu_limit, "memory": asked.memory_limit},
        },
        # A replica takes requests once its version is verified and proven (503 before); one that only waits for a
        # champion lives, so it is not killed for it.
        "startupProbe": _probe("/health/live", period=5, failures=_START_SECONDS // 5),
        "readinessProbe": _probe("/health/answering", period=5, failures=3),
        "livenessProbe": _probe("/health/live", period=10, failures=6),
        "lifecycle": {"preStop": {"sleep": {"seconds": _DRAIN_SECONDS}}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": mounts,
    }


def _environment(deployment: Deployment) -> list[Manifest]:
    """Plain values, and those of the Secret by reference."""
    plain = {"MLOPS_STATE_DIR": f"{_HOME}/var", "HOME": "/tmp", "NUMBA_CACHE_DIR": f"{_HOME}/var/numba"}
    plain |= {"KEYS_DIR": _KEYS, "MLOPS_KEYS_DIR": _KEYS} if deployment.keys_secret else {}
    found: list[Manifest] = [{"name": name, "value": value} for name, value in (plain | deployment.environment).items()]
    secret = [(name, {"secretKeyRef": {"name": deployment.secret, "key": name}}) for name in deployment.variables]
    return found + [{"name": name, "valueFrom": reference} for name, reference in secret]


def _probe(path: str, *, period: int, failures: int) -> Manifest:
    get = {"path": path, "port": PORT_NAME, "scheme": "HTTP"}
    return {"httpGet": get, "periodSeconds": period, "timeoutSeconds": 5, "failureThreshold": failures}

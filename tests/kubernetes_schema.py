"""Kubernetes' own schemas, and the rules of the API server that no schema says: for manifests and the fake server."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import jsonschema
from referencing import Registry, Resource

from mlops.spec.deployment import cores, size_bytes
from tests.conftest import absent

try:
    from kubernetes_validate import utils as schemas
except ImportError:  # an installation from before it was in the lock
    schemas = None

VERSIONS = ("1.32", "1.33", "1.34")
_NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")


def required() -> None:
    """Skip where the schemas are absent; in CI fail."""
    if schemas is None:
        absent("kubernetes-validate is not installed: make setup")


def problems(manifest: dict[str, Any], version: str = VERSIONS[0]) -> list[str]:
    """What is wrong with an object, unknown fields included; nothing if it would be taken."""
    required()
    found = [
        f"{'.'.join(map(str, error.absolute_path))}: {error.message}"
        for error in _validator(manifest["kind"], manifest["apiVersion"], version).iter_errors(manifest)
    ]
    return found or _rules(manifest)


@cache
def _validator(kind: str, api_version: str, version: str) -> Any:
    folder = f"kubernetes-json-schema/v{version}.0-local-strict"
    name = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", api_version)
    schema = schemas.schema_contents(f"{folder}/{kind.lower()}-{name}.json", version)
    registry: Any = Resource.from_contents(_definitions(version)) @ (Resource.from_contents(schema) @ Registry())
    return jsonschema.Draft202012Validator(schema, registry=registry)


@cache
def _definitions(version: str) -> Any:
    return schemas.schema_contents(f"kubernetes-json-schema/v{version}.0-local-strict/_definitions.json", version)


def _rules(manifest: dict[str, Any]) -> list[str]:
    found = []
    if not _NAME.fullmatch(manifest["metadata"]["name"]):
        found.append(f"metadata.name: Invalid value: {manifest['metadata']['name']!r}: a lowercase RFC 1123 label")
    spec = manifest.get("spec") or {}
    if manifest["kind"] == "Deployment":
        labels = spec["template"]["metadata"].get("labels") or {}
        if not (spec["selector"].get("matchLabels") or {}).items() <= labels.items():
            found.append("spec.template.metadata.labels: `selector` does not match template `labels`")
        found += _pod_rules(spec["template"]["spec"])
    if manifest["kind"] == "HorizontalPodAutoscaler" and spec.get("minReplicas", 1) > spec["maxReplicas"]:
        found.append("spec.maxReplicas: must be greater than or equal to `minReplicas`")
    return found


def _pod_rules(pod: dict[str, Any]) -> list[str]:
    found, volumes = [], {volume["name"] for volume in pod.get("volumes") or []}
    for container in pod["containers"]:
        asked, most = (container.get("resources", {}).get(name, {}) for name in ("requests", "limits"))
        for name, amount in (("cpu", cores), ("memory", size_bytes)):
            if name in asked and name in most and amount(asked[name]) > amount(most[name]):
                found.append(f"resources.requests: {name} must be less than or equal to {name} limit")
        found += [
            f"volumeMounts: {mount['name']!r} Not found"
            for mount in container.get("volumeMounts") or []
            if mount["name"] not in volumes
        ]
        named = {port.get("name") for port in container.get("ports") or []}
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            port = container.get(probe, {}).get("httpGet", {}).get("port")
            if isinstance(port, str) and port not in named:
                found.append(f"{probe}.httpGet.port: {port!r} is no port of the container")
    return found

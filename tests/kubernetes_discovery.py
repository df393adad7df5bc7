"""What `kubectl` asks an API server before anything else: versions, kinds, and whether the server checks patches."""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]
GROUPS = {
    "v1": {"pods": "Pod", "services": "Service"},
    "apps/v1": {"deployments": "Deployment", "replicasets": "ReplicaSet"},
    "autoscaling/v2": {"horizontalpodautoscalers": "HorizontalPodAutoscaler"},
    "policy/v1": {"poddisruptionbudgets": "PodDisruptionBudget"},
}
KINDS = {kind: (version, plural) for version, kinds in GROUPS.items() for plural, kind in kinds.items()}
_VERBS = ["create", "delete", "get", "list", "patch", "update", "watch"]


def discovery(path: str) -> Object | None:
    """The answer to a path of discovery; None if it is none."""
    return _DOCUMENTS.get(path)


def _place(version: str) -> str:
    return f"apis/{version}" if "/" in version else f"api/{version}"


def _documents() -> dict[str, Object]:
    about = {"major": "1", "minor": "32", "gitVersion": "v1.32.0", "platform": "linux/amd64"}
    groups = []
    for version in GROUPS:
        if "/" in version:
            group, number = version.split("/")
            entry = {"groupVersion": version, "version": number}
            groups.append({"name": group, "versions": [entry], "preferredVersion": entry})
    places = {_place(version): {"serverRelativeURL": f"/openapi/v3/{_place(version)}"} for version in GROUPS}
    return {
        "version": about,
        "api": {"kind": "APIVersions", "versions": ["v1"]},
        "apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups},
        "openapi/v3": {"paths": places},
        **{_place(version): _resources(version) for version in GROUPS},
        **{f"openapi/v3/{_place(version)}": _openapi(version) for version in GROUPS},
    }


def _resources(version: str) -> Object:
    told = [
        {"name": plural, "singularName": kind.lower(), "namespaced": True, "kind": kind, "verbs": _VERBS}
        for plural, kind in GROUPS[version].items()
    ]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": told}


def _openapi(version: str) -> Object:
    paths: Object = {}
    group, _, number = version.rpartition("/")
    names = ("fieldValidation", "dryRun")
    parameters = [{"name": name, "in": "query", "schema": {"type": "string"}} for name in names]
    for plural, kind in GROUPS[version].items():
        about = {"group": group, "kind": kind, "version": number}
        patch = {"x-kubernetes-group-version-kind": about, "parameters": parameters, "responses": {}}
        paths[f"/{_place(version)}/namespaces/{{namespace}}/{plural}/{{name}}"] = {"patch": patch}
    return {"openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "v1.32.0"}, "paths": paths}


_DOCUMENTS = _documents()

"""The objects of a fake API server, and the rules by which they change: schemas, versions, owners of fields.

One rule: a body that Kubernetes' own schema refuses is refused.
"""

from __future__ import annotations

import copy
import threading
import uuid
from collections.abc import Callable
from typing import Any

from tests import kubernetes_cluster as cluster
from tests import kubernetes_patch as patches
from tests.kubernetes_schema import problems

Object = dict[str, Any]
Answer = Callable[[Object, str, Any], tuple[int, Any]]  # (pod, path, body) -> (status, JSON)


class RefusedError(Exception):
    """What the server answers instead."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code, self.reason = code, reason


Fault = Callable[[str, str], RefusedError | None]  # (method, path)


class Server:
    """A cluster of one namespace and more, over HTTP on loopback."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], Object] = {}
        self.events: list[tuple[int, str, Object]] = []
        self.lock = threading.Condition()
        self.version = 100
        self.log: list[tuple[str, str]] = []  # (method, path) of what was asked
        self.least_ready: dict[str, int] = {}  # of each Deployment since it was complete first
        self.refuse: Fault = lambda _method, _path: None  # a fault for the next requests
        self.answer: Answer = echoed
        self.token = ""  # that must be sent; "": none

    # --- the store -----------------------------------------------------------------------------------------------

    def all(self, kind: str) -> list[Object]:
        """All objects of a kind."""
        return [found for (known, _, _), found in list(self.objects.items()) if known == kind]

    def named(self, kind: str, name: str) -> Object:
        """One object; a KeyError if it is not there."""
        return next(found for found in self.all(kind) if found["metadata"]["name"] == name)

    def put(self, made: Object) -> None:
        """Add or change one."""
        meta = made["metadata"]
        key = made["kind"], meta.setdefault("namespace", "default"), meta["name"]
        verb = "MODIFIED" if key in self.objects else "ADDED"
        if verb == "ADDED":
            meta |= {"uid": str(uuid.uuid4()), "creationTimestamp": "2026-03-01T00:00:00Z"}
            meta.setdefault("generation", 1)
        self.version += 1
        meta["resourceVersion"] = str(self.version)
        self.objects[key] = made
        self._happened(verb, made)

    def drop(self, gone: Object) -> None:
        """Remove one, and what it owns."""
        meta = gone["metadata"]
        del self.objects[gone["kind"], meta["namespace"], meta["name"]]
        self.version += 1
        self._happened("DELETED", gone)
        for each in list(self.objects.values()):
            if any(owner["uid"] == meta["uid"] for owner in each["metadata"].get("ownerReferences", [])):
                self.drop(each)

    def _happened(self, verb: str, to: Object) -> None:
        self.events.append((self.version, verb, shown(to)))
        self.lock.notify_all()

    def tick(self) -> None:
        """One moment of the controllers."""
        with self.lock:
            cluster.tick(self)
            for workload in self.all("Deployment"):
                status, name = workload.get("status") or {}, workload["metadata"]["name"]
                ready = status.get("availableReplicas", 0)
                if name in self.least_ready or ready == workload["spec"].get("replicas"):
                    self.least_ready[name] = min(self.least_ready.get(name, ready), ready)

    def scale(self, name: str, replicas: int) -> None:
        """What an autoscaler does."""
        with self.lock:
            workload = self.named("Deployment", name)
            workload["spec"]["replicas"] = replicas
            workload["metadata"]["generation"] += 1
            self.put(workload)

    # --- changes ---------------------------------------------------------------------------------------------------

    def changed(self, kind: str, namespace: str, name: str, made: Object, *, dry: bool, owners: Any = None) -> Object:
        """Check an object and take it over instead of what is there."""
        there = self.objects.get((kind, namespace, name))
        wrong = problems(shown(made))
        if wrong:
            raise RefusedError(422, "Invalid", f"{kind} {name!r} is invalid: {'; '.join(wrong[:3])}")
        if there is not None:
            asked = made["metadata"].get("resourceVersion")
            if asked and asked != there["metadata"]["resourceVersion"]:
                words = "the object has been modified; please apply your changes to the latest version"
                raise RefusedError(409, "Conflict", f"Operation cannot be fulfilled on {name!r}: {words} and try again")
            if kind == "Deployment" and made["spec"]["selector"] != there["spec"]["selector"]:
                raise RefusedError(422, "Invalid", f"Deployment {name!r} is invalid: spec.selector: field is immutable")
            kept = {field: there["metadata"][field] for field in ("uid", "creationTimestamp", "generation")}
            made["metadata"] |= kept | {"resourceVersion": there["metadata"]["resourceVersion"]}
            made |= {field: there[field] for field in ("status", "ticks", "made") if field in there}
            made["owners"] = there.get("owners", {}) if owners is None else owners
            if shown(made) == shown(there):
                there["owners"] = made["owners"]
                return there
            if made.get("spec") != there.get("spec"):
                made["metadata"]["generation"] += 1
        else:
            made["metadata"] |= {"namespace": namespace}
            made["metadata"].pop("resourceVersion", None)
            made["owners"] = owners or {}
        if kind == "Service":
            made["spec"].setdefault("clusterIP", (there or {}).get("spec", {}).get("clusterIP", "10.0.0.9"))
        if not dry:
            self.put(made)
        return made

    def applied(self, kind: str, namespace: str, name: str, body: Object, asked: dict[str, str]) -> tuple[int, Object]:
        """Server-side apply."""
        manager = asked.get("fieldManager")
        if not manager:
            raise RefusedError(400, "BadRequest", "fieldManager is required for apply patch")
        there = self.objects.get((kind, namespace, name))
        owners = copy.deepcopy((there or {}).get("owners", {}))
        live = copy.deepcopy(there) if there else {"apiVersion": body["apiVersion"], "kind": kind, "metadata": {}}
        config = {field: value for field, value in body.items() if field not in ("apiVersion", "kind", "status")}
        others = {who: fields for who, fields in owners.items() if who != manager}
        taken = patches.conflicts(live, config, others)
        if taken and asked.get("force") != "true":
            causes = ", ".join(f"{who} owns {'.'.join(map(str, path))}" for who, path in taken)
            raise RefusedError(409, "Conflict", f"Apply failed with {len(taken)} conflicts: {causes}")
        before = owners.get(manager, [])
        made = patches.merged(patches.without(live, before, patches.leaves(config), others), config)
        owned = patches.leaves({k: v for k, v in config.items() if k != "metadata"}) + patches.leaves(
            {"metadata": {k: v for k, v in config["metadata"].items() if k in ("labels", "annotations")}}
        )
        owners = {who: [path for path in paths if path not in owned] for who, paths in others.items()}
        owners[manager] = owned
        made["metadata"]["resourceVersion"] = body["metadata"].get("resourceVersion", "")
        found = self.changed(kind, namespace, name, made, dry=asked.get("dryRun") == "All", owners=owners)
        return (200 if there else 201), found


def echoed(pod: Object, path: str, body: Any) -> tuple[int, Any]:
    """A service that says who answers."""
    return 200, {"pod": pod["metadata"]["name"], "path": path, "body": body}


def shown(found: Object) -> Object:
    """As a client sees it."""
    return copy.deepcopy({k: v for k, v in found.items() if k not in ("ticks", "made", "owners")})

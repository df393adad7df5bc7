"""What the controllers of a cluster do to Deployments: replica sets, pods that start, fail or become ready, status.

A tick is a moment of the cluster. What a pod comes to is said by its image: `…:missing` cannot be pulled, `…:crash`
ends at once, `…:sick` is never ready, `…:huge` finds no node, `…:stuck` waits for a Secret; others are ready after two.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Protocol

Object = dict[str, Any]
REVISION = "deployment.kubernetes.io/revision"
DEADLINE_TICKS = 60
_READY_TICKS = 2


class Store(Protocol):
    """Where objects are; every change gets a new resource version."""

    def all(self, kind: str) -> list[Object]:
        """All objects of a kind."""
        ...

    def put(self, made: Object) -> None:
        """Add or change one."""
        ...

    def drop(self, gone: Object) -> None:
        """Remove one."""
        ...


def tick(store: Store) -> None:
    """One moment of all Deployments."""
    for workload in store.all("Deployment"):
        current = _replica_set(store, workload)
        pods = _owned(store, "Pod", workload)
        for pod in pods:
            _live(store, pod)
        _scale(store, workload, current, pods)
        _report(store, workload, current)


def _replica_set(store: Store, workload: Object) -> Object:
    template = workload["spec"]["template"]
    digest = hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()[:10]
    known = {each["metadata"]["labels"]["pod-template-hash"]: each for each in _owned(store, "ReplicaSet", workload)}
    newest = max((int(each["metadata"]["annotations"][REVISION]) for each in known.values()), default=0)
    if digest in known:
        found = known[digest]
        if int(found["metadata"]["annotations"][REVISION]) < newest:  # gone back to: it becomes the newest
            found["metadata"]["annotations"][REVISION] = str(newest + 1)
            store.put(found)
    else:
        labels = template["metadata"]["labels"] | {"pod-template-hash": digest}
        found = _object("apps/v1", "ReplicaSet", f"{workload['metadata']['name']}-{digest}", workload)
        found["metadata"] |= {"labels": labels, "annotations": {REVISION: str(newest + 1)}}
        copied = json.loads(json.dumps(template))
        copied["metadata"]["labels"] = labels
        found["spec"] = {"replicas": 0, "selector": {"matchLabels": labels}, "template": copied}
        store.put(found)
    if workload["metadata"].setdefault("annotations", {}).get(REVISION) != found["metadata"]["annotations"][REVISION]:
        workload["metadata"]["annotations"][REVISION] = found["metadata"]["annotations"][REVISION]
        workload["ticks"] = 0
        store.put(workload)
    return found


def _scale(store: Store, workload: Object, current: Object, pods: list[Object]) -> None:
    """One pod more of the new, one less of the old, never below what was asked for."""
    digest, wanted = current["metadata"]["labels"]["pod-template-hash"], workload["spec"].get("replicas", 1)
    new = [pod for pod in pods if pod["metadata"]["labels"]["pod-template-hash"] == digest]
    old = [pod for pod in pods if pod not in new]
    if len(new) < wanted and len(pods) < wanted + 1:
        number = workload["made"] = workload.get("made", 0) + 1
        pod = _object("v1", "Pod", f"{current['metadata']['name']}-{number}", workload)
        pod["metadata"] |= current["spec"]["template"]["metadata"]
        pod["spec"] = current["spec"]["template"]["spec"]
        store.put(pod)
    ready = sum(map(is_ready, pods))
    surplus = [*(pod for pod in old if not is_ready(pod)), *(old if ready > wanted else ())]
    if not old and len(new) > wanted:
        surplus = new[wanted:]
    if surplus:
        store.drop(surplus[0])


def _live(store: Store, pod: Object) -> None:
    age = pod["ticks"] = pod.get("ticks", 0) + 1
    container = pod["spec"]["containers"][0]
    fate = container["image"].rpartition(":")[2]
    state: Object = {"name": container["name"], "image": container["image"], "ready": False, "restartCount": 0}
    state |= {"imageID": "", "state": {"waiting": {"reason": "ContainerCreating"}}}
    scheduled: Object = {"type": "PodScheduled", "status": "True"}
    message = ""
    if fate == "huge":
        scheduled |= {"status": "False", "message": "0/3 nodes are available: Insufficient memory"}
    elif fate == "missing":
        reason = "ErrImagePull" if age < 3 else "ImagePullBackOff"
        state["state"] = {"waiting": {"reason": reason, "message": "manifest unknown"}}
    elif fate == "crash" and age > 1:
        state["state"] = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}}
        state |= {"restartCount": age, "lastState": {"terminated": {"exitCode": 3, "reason": "Error"}}}
    elif fate == "stuck":
        message = "containers with unready status: [serving]"
    elif fate == "sick" or age <= _READY_TICKS:
        state["state"] = {"running": {}}
        message = "containers with unready status: [serving]"
    else:
        state |= {"state": {"running": {}}, "ready": True}
    ready = {"type": "Ready", "status": str(state["ready"]), "message": message}
    phase = "Running" if "running" in state["state"] else "Pending"
    before = pod.get("status")
    pod["status"] = {"phase": phase, "conditions": [scheduled, ready], "containerStatuses": [state]}
    if pod["status"] != before:
        store.put(pod)


def _report(store: Store, workload: Object, current: Object) -> None:
    pods = _owned(store, "Pod", workload)
    digest, wanted = current["metadata"]["labels"]["pod-template-hash"], workload["spec"].get("replicas", 1)
    new = [pod for pod in pods if pod["metadata"]["labels"]["pod-template-hash"] == digest]
    ready = sum(map(is_ready, pods))
    counts = {"replicas": len(pods), "updatedReplicas": len(new), "readyReplicas": ready, "availableReplicas": ready}
    complete = list(counts.values()) == [wanted] * 4
    age = workload["ticks"] = 0 if complete else workload.get("ticks", 0) + 1
    progressing = {"type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated", "message": "progressing"}
    if complete:
        progressing |= {"reason": "NewReplicaSetAvailable", "message": "has successfully progressed."}
    elif age > DEADLINE_TICKS:
        progressing |= {"status": "False", "reason": "ProgressDeadlineExceeded", "message": "timed out progressing."}
    available = {"type": "Available", "status": "True" if ready >= wanted else "False", "reason": "x", "message": "x"}
    status = {"observedGeneration": workload["metadata"]["generation"], "conditions": [progressing, available]}
    status |= {name: count for name, count in counts.items() if count}
    if status != workload.get("status"):
        workload["status"] = status
        store.put(workload)


def is_ready(pod: Object) -> bool:
    """Whether a pod takes requests."""
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _owned(store: Store, kind: str, owner: Object) -> list[Object]:
    uid = owner["metadata"]["uid"]
    return [o for o in store.all(kind) if any(r["uid"] == uid for r in o["metadata"].get("ownerReferences", []))]


def _object(version: str, kind: str, name: str, owner: Object) -> Object:
    meta = owner["metadata"]
    reference = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": meta["name"], "uid": meta["uid"]}
    metadata = {"name": name, "namespace": meta["namespace"], "ownerReferences": [reference | {"controller": True}]}
    return {"apiVersion": version, "kind": kind, "metadata": metadata}

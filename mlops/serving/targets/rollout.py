"""How far a rollout is, and what is wrong with it, read off a Deployment and its pods.

What cannot mend itself (no such image, a missing Secret, a program that ends again and again) is told at once; what may
still come (no room on the nodes, a probe that does not succeed yet) when time is up.

One rule: pure functions of what the API server says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlops.serving.targets.manifests import DIGEST, Manifest

_IMAGE = frozenset({"ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})
_CONFIG = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a rollout does not come."""

    words: str
    fatal: bool  # it will not mend itself
    pod: str = ""  # whose log says more
    crashed: bool = False  # the log of the run before says it


def is_complete(workload: Manifest) -> bool:
    """Whether all replicas are new, and available, and no old one is left."""
    status, wanted = workload.get("status") or {}, workload["spec"].get("replicas", 1)
    seen = status.get("observedGeneration", 0) >= workload["metadata"].get("generation", 1)
    counts = [status.get(name, 0) for name in ("replicas", "updatedReplicas", "availableReplicas")]
    return bool(seen and counts == [wanted] * 3)


def progress(workload: Manifest) -> str:
    """How far it is, in words."""
    status, wanted = workload.get("status") or {}, workload["spec"].get("replicas", 1)
    new, ready = status.get("updatedReplicas", 0), status.get("availableReplicas", 0)
    return f"{new} of {wanted} replicas are new, {ready} available, {status.get('replicas', 0)} in all"


def of_deployment(pods: Sequence[Manifest], digest: str) -> list[Manifest]:
    """The pods that run one deployment, and are not ending."""
    found = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
    return [pod for pod in found if (pod["metadata"].get("annotations") or {}).get(DIGEST) == digest]


def trouble(workload: Manifest, pods: Sequence[Manifest]) -> Trouble | None:
    """The worst that is wrong; None if nothing is, as far as can be seen.

    Args:
        workload: the Deployment.
        pods: the new ones.
    """
    found = [wrong for pod in pods if (wrong := _of_pod(pod)) is not None]
    found.sort(key=lambda wrong: not wrong.fatal)
    if found and found[0].fatal:
        return found[0]
    conditions = {each["type"]: each for each in (workload.get("status") or {}).get("conditions") or []}
    failure, progressing = conditions.get("ReplicaFailure", {}), conditions.get("Progressing", {})
    if failure.get("status") == "True":
        return Trouble(f"Pods cannot be made: {failure.get('message')}", fatal=False)
    if progressing.get("reason") == "ProgressDeadlineExceeded" and _is_seen(workload):
        why = found[0] if found else Trouble(str(progressing.get("message")), fatal=True)
        return Trouble(why.words, True, why.pod, why.crashed)
    return found[0] if found else None


def _is_seen(workload: Manifest) -> bool:
    """Whether the status is about what was asked last."""
    status = workload.get("status") or {}
    return bool(status.get("observedGeneration", 0) >= workload["metadata"].get("generation", 1))


def _of_pod(pod: Manifest) -> Trouble | None:
    name, status = pod["metadata"]["name"], pod.get("status") or {}
    containers = status.get("containerStatuses") or []
    for container in containers:
        if (wrong := _of_container(name, container)) is not None:
            return wrong
    conditions = {each["type"]: each for each in status.get("conditions") or []}
    scheduled, ready = conditions.get("PodScheduled", {}), conditions.get("Ready", {})
    if scheduled.get("status") == "False":
        return Trouble(f"Pod {name} finds no node: {scheduled.get('message')}.", fatal=False)
    waiting = [each["state"]["waiting"].get("reason") for each in containers if "waiting" in (each.get("state") or {})]
    if waiting:
        words = f"Pod {name} has not started ({waiting[0]})"
        return Trouble(f"{words}; is a Secret or a volume missing? kubectl describe pod {name}", fatal=False)
    if ready.get("status") == "False":
        words = f"Pod {name} runs but is not ready: its probe of /health/answering does not succeed"
        return Trouble(f"{words} ({ready['message']})." if ready.get("message") else f"{words}.", False, name)
    return None


def _of_container(name: str, container: Manifest) -> Trouble | None:
    waiting = (container.get("state") or {}).get("waiting") or {}
    last = (container.get("lastState") or {}).get("terminated") or {}
    reason, message = waiting.get("reason", ""), waiting.get("message", "")
    if reason in _IMAGE:
        return Trouble(f"Image {container.get('image')} cannot be had ({reason}): {message}.", fatal=True)
    if reason in _CONFIG:
        return Trouble(f"Pod {name} cannot be started ({reason}): {message}.", fatal=True)
    if reason == "CrashLoopBackOff":
        return Trouble(f"Pod {name} ends again and again{_ended(last)}.", True, name, crashed=True)
    if last.get("reason") == "OOMKilled":
        return Trouble(f"Pod {name} was killed{_ended(last)}.", False, name, crashed=True)
    return None


def _ended(last: Manifest) -> str:
    if last.get("reason") == "OOMKilled":
        return " for want of memory (OOMKilled); raise serving.deployment.resources.memory_limit"
    return f" with exit code {last['exitCode']}" if "exitCode" in last else ""

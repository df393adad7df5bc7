"""The few calls of the Kubernetes API that deploying needs, with their errors in words.

Changes are server-side applies: sent twice they change nothing the second time, fields that others own are taken over
only where this project sets them, and a change that carries a `resourceVersion` is refused (`ConflictError`) if the
object was changed since it was read.

One rule: what the server refuses is told with the server's own words.

References:
    Kubernetes, Server-Side Apply, https://kubernetes.io/docs/reference/using-api/server-side-apply/
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

import httpx

from mlops.errors import DeploymentError
from mlops.serving.targets.deployment import Ask, Reply
from mlops.serving.targets.http import parsed
from mlops.serving.targets.manifests import MANAGER, PORT_NAME, Manifest

PATHS = {
    "Pod": "/api/v1/namespaces/{}/pods",
    "Service": "/api/v1/namespaces/{}/services",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "HorizontalPodAutoscaler": "/apis/autoscaling/v2/namespaces/{}/horizontalpodautoscalers",
    "PodDisruptionBudget": "/apis/policy/v1/namespaces/{}/poddisruptionbudgets",
}
TRIES = 4
_APPLY = "application/apply-patch+yaml"
_AGAIN = frozenset({429, 500, 502, 503, 504})


class ConflictError(DeploymentError):
    """Somebody else changed the object since it was read."""


class KubernetesApi:
    """One namespace of one cluster.

    Args:
        client: logged in to the cluster.
        namespace: the namespace.
        wait: how to wait before a call is tried again [s].
    """

    def __init__(self, client: httpx.Client, namespace: str, wait: Callable[[float], None] = time.sleep) -> None:
        self._client = client
        self.namespace = namespace
        self._wait = wait

    def get(self, kind: str, name: str) -> Manifest | None:
        """An object, or None."""
        answer = self._sent("GET", self._path(kind, name), missing_ok=True)
        return None if answer.status_code == 404 else _object(answer)

    def list(self, kind: str, labels: Mapping[str, str]) -> list[Manifest]:
        """The objects with these labels."""
        chosen = ",".join(f"{name}={value}" for name, value in labels.items())
        found = _object(self._sent("GET", self._path(kind), params={"labelSelector": chosen}))
        return list(found.get("items") or [])

    def apply(self, manifest: Manifest, *, dry_run: bool = False) -> Manifest:
        """Make an object be as it is described, whether it is there or not.

        Raises:
            ConflictError: the manifest has a `resourceVersion`, and it is not the newest.
            DeploymentError: the server refuses it.
        """
        params = {"fieldManager": MANAGER, "force": "true", "fieldValidation": "Strict"}
        params |= {"dryRun": "All"} if dry_run else {}
        path = self._path(manifest["kind"], manifest["metadata"]["name"])
        body = json.dumps(manifest)  # JSON is YAML
        return _object(self._sent("PATCH", path, params=params, content=body, headers={"Content-Type": _APPLY}))

    def delete(self, kind: str, name: str) -> bool:
        """Delete an object and what it owns; whether it was there."""
        params = {"propagationPolicy": "Background"}  # gone at once; what it owns follows
        return self._sent("DELETE", self._path(kind, name), params=params, missing_ok=True).status_code != 404

    def log(self, pod: str, lines: int, *, previous: bool = False) -> str:
        """The end of what a pod, or its crashed predecessor, said; "" if that is not kept."""
        params = {"tailLines": str(lines)} | ({"previous": "true"} if previous else {})
        try:
            answer = self._client.get(f"{self._path('Pod', pod)}/log", params=params)
        except httpx.HTTPError:
            return ""
        return answer.text.strip() if answer.status_code == 200 else ""

    def ask(self, service: str) -> Ask:
        """Asks a Service through the API server; `OSError` where that does not lead to it, or is not allowed."""

        def asked(path: str, body: dict[str, Any] | None) -> Reply:
            url = f"{self._path('Service', service)}:{PORT_NAME}/proxy{path}"
            try:
                answer = self._client.get(url) if body is None else self._client.post(url, json=body)
            except httpx.HTTPError as error:
                raise OSError(str(error)) from error
            said = parsed(answer.content)
            if isinstance(said, dict) and said.get("kind") == "Status" and said.get("apiVersion") == "v1":
                raise OSError(str(said.get("message")))  # of the API server, not of the service
            return Reply(answer.status_code, said)

        return asked

    def _path(self, kind: str, name: str = "") -> str:
        base = PATHS[kind].format(quote(self.namespace))
        return f"{base}/{quote(name)}" if name else base

    def _sent(self, method: str, path: str, *, missing_ok: bool = False, **options: Any) -> httpx.Response:
        """The answer; tried again where the server is busy or away, for every call here may be repeated."""
        words = ""
        for number in range(TRIES):
            if number:
                self._wait(2.0**number / 2)
            try:
                answer = self._client.request(method, path, **options)
            except httpx.HTTPError as error:
                words = f"The cluster at {self._client.base_url} cannot be reached: {error}."
                continue
            if answer.is_success or (missing_ok and answer.status_code == 404):
                return answer
            if answer.status_code not in _AGAIN:
                raise _refusal(method, path, answer)
            words = str(_refusal(method, path, answer))
        raise DeploymentError(words, hint="Nothing more was changed; the same command goes on where this one stopped.")


def _object(answer: httpx.Response) -> Manifest:
    found = parsed(answer.content)
    if not isinstance(found, dict):
        raise DeploymentError(f"The cluster answered {answer.url} with something that is no JSON object.")
    return found


def _refusal(method: str, path: str, answer: httpx.Response) -> DeploymentError:
    said = parsed(answer.content)
    message = said.get("message") if isinstance(said, dict) else answer.text[:300]
    words = f"The cluster refuses {method} {path} ({answer.status_code}): {message}."
    if answer.status_code == 409:
        return ConflictError(words)
    hints = {
        401: "Log in again: does `kubectl get pods` work in this context?",
        403: "The account needs the rights of deploy/kubernetes/role.yaml.",
    }
    return DeploymentError(words, hint=hints.get(answer.status_code, ""))

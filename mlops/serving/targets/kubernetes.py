"""Target `kubernetes`: replicas behind a Service, scaled by load, exchanged one by one or at once (blue-green).

A set of pods has a colour: `plain` is exchanged in place, replica by replica, with never fewer ready ones than asked
for. Blue-green brings up the other colour beside the one that answers, asks it the golden rows through a Service of its
own, and only then moves the selector of the Service that callers use. The old colour stays up: going back is moving the
selector again.

One rule: everything that decides is read from the cluster, so whoever was cut short, the same call goes on from there.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from mlops.errors import DeploymentError
from mlops.serving.targets import manifests as render
from mlops.serving.targets import rollout
from mlops.serving.targets.deployment import Colour, Deployment, Prove, Running, Tell
from mlops.serving.targets.kubernetes_api import ConflictError, KubernetesApi
from mlops.serving.targets.manifests import COLOUR, DIGEST, Manifest, name_of

COLOURS: tuple[Colour, ...] = ("plain", "blue", "green")
POLL_SECONDS = 1.0
_LOG_LINES = 15
_CONFLICTS = 8  # an autoscaler changes a Deployment every 15 s at most


class KubernetesTarget:
    """Services in one namespace of a cluster.

    Args:
        api: of the namespace.
        place: its name in records.
        wait: how to wait between two looks [s].
        clock: a monotonic clock [s].
    """

    def __init__(
        self,
        api: KubernetesApi,
        place: str,
        wait: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api, self._place, self._wait, self._clock = api, place, wait, clock

    def deploy(self, deployment: Deployment, prove: Prove, tell: Tell, seconds: float) -> Running:
        """Bring the pods up, prove them, and let callers in."""
        model = deployment.model
        answering = self._answering(model)
        colour = self._colour(deployment, answering)
        until = self._clock() + seconds
        self._api.apply(render.disruption_budget(deployment, self._api.namespace))
        self._apply_workload(deployment, colour, answering)
        tell(f"Applied {name_of(model, colour)} in {self._place}")
        try:
            self._rolled_out(deployment, colour, tell, until, seconds)
            if colour != answering:
                tell(self._previewed(deployment, colour, prove))
        except DeploymentError as error:
            if answering is None or colour == answering:
                left = "Its pods were left as they are." if answering is None else "The pods before it go on answering."
                raise DeploymentError(f"{error.message} {left}", hint=error.hint) from error
            self._api.delete("Deployment", name_of(model, colour))
            kept = f"It was removed; {name_of(model, answering)} goes on answering."
            raise DeploymentError(f"{error.message} {kept}", hint=error.hint) from error
        self._let_in(deployment, colour)
        if colour == answering:
            tell(prove(self._api.ask(name_of(model))))
        self._keep_one(deployment, colour, answering)
        words = f"{name_of(model, colour)} is complete"
        where = model, "kubernetes", self._place
        return Running(*where, "healthy", words, deployment.digest, self._url(model), self._ready(model, colour))

    def undeploy(self, model: str) -> bool:
        """Delete all objects: callers first, so that nobody is sent to pods that end."""
        found = [self._api.delete("Service", name) for name in (name_of(model), render.preview_name(model))]
        found += [self._api.delete(kind, name_of(model)) for kind in ("HorizontalPodAutoscaler", "PodDisruptionBudget")]
        found += [self._api.delete("Deployment", name_of(model, colour)) for colour in COLOURS]
        return any(found)

    def running(self, model: str) -> Running | None:
        """What the Service leads to."""
        answering = self._answering(model)
        if answering is None:
            return None
        base = Running(model, "kubernetes", self._place, "gone", f"{name_of(model, answering)} is not there")
        workload = self._api.get("Deployment", name_of(model, answering))
        if workload is None:
            return base
        digest = _digest(workload["spec"]["template"])
        ready = int((workload.get("status") or {}).get("availableReplicas", 0))
        base = replace(base, digest=digest, replicas=ready, url=self._url(model))
        if rollout.is_complete(workload):
            return replace(base, state="healthy", reason=f"{name_of(model, answering)}: {ready} replicas")
        wrong = rollout.trouble(workload, rollout.of_deployment(self._pods(model, answering), digest))
        words = wrong.words if wrong else rollout.progress(workload)
        return replace(base, state="unhealthy", reason=words)

    def check(self, deployment: Deployment) -> None:
        """Ask the server whether it would take all objects, without changing any (server-side dry run).

        Raises:
            DeploymentError: it would not.
        """
        colour = self._colour(deployment, self._answering(deployment.model))
        for manifest in render.manifests(deployment, self._api.namespace, colour):
            self._api.apply(manifest, dry_run=True)

    def _answering(self, model: str) -> Colour | None:
        """The colour that the Service selects; None: there is no Service."""
        service = self._api.get("Service", name_of(model))
        if service is None:
            return None
        found = (service["spec"].get("selector") or {}).get(COLOUR)
        for colour in COLOURS:
            if colour == found:
                return colour
        raise DeploymentError(
            f"Service {name_of(model)} in {self._place} was not made by this project (it selects {found!r}).",
            hint="Rename or delete it.",
        )

    def _colour(self, deployment: Deployment, answering: Colour | None) -> Colour:
        """The colour whose pods shall run it: one that has it already, or the one that is free."""
        if deployment.strategy == "rolling":
            return "plain"
        for colour in (answering, "blue", "green"):
            workload = self._api.get("Deployment", name_of(deployment.model, colour)) if colour else None
            if colour and workload and _digest(workload["spec"]["template"]) == deployment.digest:
                return colour
        return "green" if answering == "blue" else "blue"

    def _apply_workload(self, deployment: Deployment, colour: Colour, answering: Colour | None) -> None:
        """Apply the Deployment with as many replicas as the load needs now, whatever an autoscaler does meanwhile."""
        name = name_of(deployment.model, colour)
        for _ in range(_CONFLICTS):
            there = self._api.get("Deployment", name)
            like = self._api.get("Deployment", name_of(deployment.model, answering or colour))
            now = int(like["spec"].get("replicas", 1)) if like else 0
            replicas = min(max(now, deployment.min_replicas), deployment.max_replicas)
            manifest = render.workload(deployment, self._api.namespace, colour, replicas)
            if there is not None:
                manifest["metadata"]["resourceVersion"] = there["metadata"]["resourceVersion"]
            try:
                self._api.apply(manifest)
            except ConflictError:
                continue
            return
        raise DeploymentError(
            f"{name} was changed by somebody else {_CONFLICTS} times while it was to be applied.",
            hint="Who deploys there besides you?",
        )

    def _rolled_out(self, deployment: Deployment, colour: Colour, tell: Tell, until: float, seconds: float) -> None:
        """Wait until all replicas are new and available.

        Raises:
            DeploymentError: they do not come, and why.
        """
        name, told = name_of(deployment.model, colour), ""
        while True:
            workload = self._api.get("Deployment", name)
            if workload is None or _digest(workload["spec"]["template"]) != deployment.digest:
                raise DeploymentError(f"{name} was changed by somebody else while it was rolled out.")
            if rollout.is_complete(workload):
                return
            new = rollout.of_deployment(self._pods(deployment.model, colour), deployment.digest)
            wrong = rollout.trouble(workload, new)
            late = self._clock() > until
            if wrong is not None and (wrong.fatal or late):
                raise DeploymentError(f"{name} does not come up. {wrong.words}", hint=self._last_words(wrong))
            if late:
                raise DeploymentError(f"{name} is not up after {seconds:.0f} s: {rollout.progress(workload)}.")
            if (now := rollout.progress(workload)) != told:
                tell(now)
                told = now
            self._wait(POLL_SECONDS)

    def _previewed(self, deployment: Deployment, colour: Colour, prove: Prove) -> str:
        """Ask the golden rows of pods that nobody else is led to yet."""
        name = render.preview_name(deployment.model)
        self._api.apply(render.service(deployment, self._api.namespace, colour, name))
        try:
            return prove(self._api.ask(name))
        finally:
            self._api.delete("Service", name)

    def _let_in(self, deployment: Deployment, colour: Colour) -> None:
        """Lead callers, and the autoscaler, to the colour."""
        self._api.apply(render.service(deployment, self._api.namespace, colour))
        self._api.apply(render.autoscaler(deployment, self._api.namespace, colour))

    def _keep_one(self, deployment: Deployment, colour: Colour, before: Colour | None) -> None:
        """Of the other colours keep the one that answered before, for the way back; it needs no more than the least."""
        for other in COLOURS:
            if other == colour:
                continue
            kept = before in (other, colour)  # colour: the same again, what was kept stays
            if not (kept and deployment.strategy == "blue_green"):
                self._api.delete("Deployment", name_of(deployment.model, other))

    def _pods(self, model: str, colour: Colour) -> list[Manifest]:
        return self._api.list("Pod", render.selector(model, colour))

    def _ready(self, model: str, colour: Colour) -> int:
        workload = self._api.get("Deployment", name_of(model, colour)) or {}
        return int((workload.get("status") or {}).get("availableReplicas", 0))

    def _last_words(self, wrong: rollout.Trouble) -> str:
        said = self._api.log(wrong.pod, _LOG_LINES, previous=wrong.crashed) if wrong.pod else ""
        return f"The end of its log:\n{said}" if said else ""

    def _url(self, model: str) -> str:
        return f"http://{name_of(model)}.{self._api.namespace}.svc"


def _digest(template: Manifest) -> str:
    return str((template["metadata"].get("annotations") or {}).get(DIGEST, ""))

"""Deployment: a model's service is brought up on a target, replaced, taken down, and brought back to what ran before.

Reads: the spec (`serving.deployment`), the settings (`deployment`), the champion. Writes: what runs on the target; one
ledger entry per change (`deployment`, `deployment_rollback`, `undeployment`), and one for each that did not come up
(`deployment_failure`). The ledger says what is deployed and what was before; the target is made to follow.

One rule: the entry is written when the target has done it, under a key that a retry finds again: cut short anywhere,
the same command ends in the same state with one entry.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

from mlops.errors import DeploymentError, MLOpsError
from mlops.governance.heartbeat import Heartbeat, keep
from mlops.pipelines import golden
from mlops.pipelines.deployment_history import FAILURE, deployed, last_change, left_behind, way_back
from mlops.records import to_dict
from mlops.services import Services
from mlops.serving.targets.deployment import Deployment, DeploymentTarget, Running, Tell
from mlops.spec import ModelSpec

NOTHING = "There is nothing to go back to"
LEASE_SECONDS = 60.0
WAIT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command has come to."""

    outcome: Literal["done", "nothing_to_do", "no"]
    reason: str
    deployment: Deployment | None = None
    running: Running | None = None

    @property
    def exit_code(self) -> int:
        """0, or 3 for a "no"."""
        return 3 if self.outcome == "no" else 0


def deploy(
    services: Services,
    spec: ModelSpec,
    deployment: Deployment,
    *,
    target: DeploymentTarget,
    tell: Tell,
    seconds: float,
    reason: str = "",
    leave: bool = False,
) -> Outcome:
    """Bring a deployment up instead of what runs.

    Args:
        services: the adapters.
        spec: the model.
        deployment: what shall run.
        target: the adapter of its target.
        tell: takes progress.
        seconds: how long to wait for it to be healthy [s].
        reason: why, for the ledger.
        leave: leave what does not come up as it is, to be looked at; default: what ran before is put back.

    Raises:
        DeploymentError: it did not come up; the ledger says so.
        LeaseError: somebody else changes this deployment.
    """
    if services.registry.by_alias(spec.name, "champion") is None:
        return Outcome("no", f"{spec.name} has no champion, so nothing could answer. First: mlops promote {spec.name}")
    with _exclusive(services, spec.name, deployment.target, deployment.place) as lease:
        work = _Work(services, spec, target, tell, seconds, reason, leave, lease)
        return work.put(deployment, "deployment")


def rollback(
    services: Services,
    spec: ModelSpec,
    target_name: str,
    where: str,
    *,
    target: DeploymentTarget,
    tell: Tell,
    seconds: float,
    reason: str = "",
    ends: int | None = None,
) -> Outcome:
    """Go back to what was deployed before.

    Args:
        services: the adapters.
        spec: the model.
        target_name: local, docker or kubernetes.
        where: its place.
        target: the adapter.
        tell: takes progress.
        seconds: how long to wait for it to be healthy [s].
        reason: why, for the ledger.
        ends: number of the ledger entry of what is to be left; default: the newest. Asked twice it goes back once.
    """
    with _exclusive(services, spec.name, target_name, where) as lease:
        entries = services.ledger.entries(spec.name)
        history, failed = deployed(entries, target_name, where), left_behind(entries, target_name, where)
        if not history:
            return Outcome("no", f"{NOTHING}: {spec.name} is not deployed on {target_name}.")
        if ends is not None and history[-1].entry_seq != ends:
            now = history[-1]
            return Outcome("no", f"Entry {ends} is not what is deployed now ({now.entry_seq} is). Nothing was changed.")
        way = (history[-1], *way_back(history)) if failed else way_back(history)
        if not way:
            return Outcome("no", f"{NOTHING}: this is the first deployment of {spec.name}.")
        work = _Work(services, spec, target, tell, seconds, reason, False, lease)
        return work.put(way[0].deployment, "deployment_rollback")


def undeploy(services: Services, model: str, target_name: str, where: str, *, target: DeploymentTarget) -> Outcome:
    """Take a service down."""
    with _exclusive(services, model, target_name, where) as lease:
        entries = services.ledger.entries(model)
        history = deployed(entries, target_name, where)
        found = target.undeploy(model)
        lease.check()
        if history:
            body = {"target": target_name, "place": where, "deployment": None}
            _append(services, "undeployment", model, body, last_change(entries, target_name, where))
        if not found and not history:
            return Outcome("nothing_to_do", f"{model} is not deployed on {target_name}.")
        return Outcome("done", f"{model} does not run on {target_name} any more.")


@dataclass(frozen=True)
class _Work:
    """One change of what is deployed; its lease is held."""

    services: Services
    spec: ModelSpec
    target: DeploymentTarget
    tell: Tell
    seconds: float
    reason: str
    leave: bool
    lease: Heartbeat

    def put(self, deployment: Deployment, kind: str) -> Outcome:
        """Make the target follow, then say so in the ledger."""
        model, entries = self.spec.name, self.services.ledger.entries(self.spec.name)
        where = deployment.target, deployment.place
        history, last = deployed(entries, *where), last_change(entries, *where)
        before = history[-1].deployment if history else None
        body: dict[str, Any] = {"target": where[0], "place": where[1], "deployment": to_dict(deployment)}
        body |= {"digest": deployment.digest, "code_version": self.services.code_version, "reason": self.reason}
        prove = golden.prover(self.services, self.spec, hashlib.sha256(f"{where}/{last}".encode()).hexdigest())
        try:
            running = self.target.deploy(deployment, prove, self.tell, self.seconds)
        except MLOpsError as error:
            raise self._failed(error, before, body) from error
        self.lease.check()
        if before == deployment and not left_behind(entries, *where):
            return Outcome("nothing_to_do", f"{model} runs as it should on {running.url}.", deployment, running)
        kind = "deployment_rollback" if before == deployment else kind
        _append(self.services, kind, model, body, last)
        verb = "is deployed" if kind == "deployment" else "is back to what was deployed before"
        return Outcome("done", f"{model} {verb} on {deployment.target}: {running.url}.", deployment, running)

    def _failed(self, error: MLOpsError, before: Deployment | None, body: dict[str, Any]) -> MLOpsError:
        """What did not come up goes into the ledger; what ran before is put back, where the target has not done so."""
        model, words, left = self.spec.name, error.message, False
        if body["target"] == "kubernetes":
            left = self.leave or before is None
            if not left and before is not None:
                self.tell(f"{model} did not come up; what ran before is put back.")
                try:
                    self.target.deploy(before, lambda _: "", self.tell, self.seconds)
                    words = f"{words} What ran before is back."
                except MLOpsError as second:
                    left, words = True, f"{words} What ran before could not be put back: {second}"
            elif before is not None:
                words = f"{words} It was left as it is. Put back what ran before: mlops rollback-deployment {model}"
        told = body | {"error": f"{words} {error.hint}".strip(), "left": left}
        self.services.ledger.append(FAILURE, model, told, actor=self.services.actor, at=self.services.clock())
        return DeploymentError(words, hint=error.hint)


def _append(services: Services, kind: str, model: str, body: dict[str, Any], last: int) -> None:
    key = f"{model}/{kind}/{body['target']}/{body['place']}/after-{last}"
    services.ledger.append(kind, model, body, actor=services.actor, at=services.clock(), key=key)


@contextmanager
def _exclusive(services: Services, model: str, target: str, where: str) -> Iterator[Heartbeat]:
    """The lease under which a deployment may change; that of a process that has gone is taken over at once."""
    who = replace(services.attempt, who=f"{services.actor}:deployment")
    name = f"deployment/{model}/{target}/{where}"
    with keep(
        services.leases, name, str(who), LEASE_SECONDS, wait_seconds=WAIT_SECONDS, supersedes=who.supersedes
    ) as lease:
        yield lease

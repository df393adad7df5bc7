"""Target `docker`: the service as a container of a Docker engine, by the `docker` command and its contexts.

A port can be published once, so a change stops the old container before the new one starts. The old one is kept,
stopped, under `<name>-previous` until the new one is healthy and proven; else it is started again. While it is there,
whatever has the plain name is not proven: so a change that was cut short is taken up by the next call.

One rule: values of secret variables go by environment from here to the engine, never on a command line.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

from mlops.errors import DeploymentError, MissingDependencyError, MLOpsError
from mlops.serving.targets.deployment import (
    SERVICE_PORT,
    Deployment,
    Prove,
    Running,
    Tell,
    arguments,
    refuse_missing,
    slug,
)
from mlops.serving.targets.http import asks
from mlops.spec.deployment import cores, size_bytes

DIGEST = "dev.mlops.deployment"  # label: digest of the deployment
POLL_SECONDS = 1.0
_AWAY = ("cannot connect to the docker daemon", "failed to connect to the docker api")  # by version of the command
_COMMAND_SECONDS = 600  # an image may have to be pulled
_END_SECONDS = 60  # what was asked is answered, what was answered is written
_LOG_LINES = 15
_HEALTH = f"python /opt/mlops/deploy/compose/health.py http://127.0.0.1:{SERVICE_PORT}/health/answering"
_HEALTH_OPTIONS = ("--health-interval=5s", "--health-timeout=10s", "--health-retries=6", "--health-start-period=120s")


class DockerTarget:
    """Services as containers.

    Args:
        environment: of the `docker` command: DOCKER_HOST, DOCKER_CONTEXT and the values of variables are found there.
        place: the engine's name in records.
        wait: how to wait between two looks [s].
        clock: a monotonic clock [s].
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        place: str,
        wait: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._environment, self._place, self._wait, self._clock = dict(environment), place, wait, clock

    def deploy(self, deployment: Deployment, prove: Prove, tell: Tell, seconds: float) -> Running:
        """Set what runs aside, start this, wait until it is healthy and proven; else start again what ran."""
        refuse_missing(deployment, self._environment)
        name, aside = _names(deployment.model)
        current, previous = self._inspected(name), self._inspected(aside)
        if current and not previous and _digest(current) == deployment.digest and _state(current)[0] == "healthy":
            tell(prove(asks(_url(deployment.port))))
            return self._said(deployment.model, current)
        self._docker("image", "inspect", "--format", "{{.Id}}", deployment.image, otherwise=("pull", deployment.image))
        if current and previous:  # cut short: what has the plain name never was proven
            self._docker("rm", "--force", name)
        elif current:
            self._docker("rename", name, aside)
            previous = current
        if previous:
            self._docker("stop", "--time", str(_END_SECONDS), aside)
        try:
            self._docker(*_run(deployment, name))
            tell(f"Started container {name} on {_url(deployment.port)}")
            found = self._healthy(deployment.model, tell, seconds)
            tell(prove(asks(_url(deployment.port))))
        except MLOpsError as error:
            raise self._given_up(deployment, error, seconds, tell, back=previous is not None) from error
        if previous:
            self._docker("rm", "--force", aside)
        return found

    def undeploy(self, model: str) -> bool:
        """Stop and remove its containers."""
        found = [name for name in _names(model) if self._inspected(name)]
        for name in found:
            self._docker("stop", "--time", str(_END_SECONDS), name)
            self._docker("rm", "--force", name)
        return bool(found)

    def running(self, model: str) -> Running | None:
        """What runs, by the engine's word."""
        name, aside = _names(model)
        container = self._inspected(name) or self._inspected(aside)
        return self._said(model, container) if container else None

    def _healthy(self, model: str, tell: Tell, seconds: float) -> Running:
        """Wait until the container is healthy.

        Raises:
            DeploymentError: it ends, or is not in time.
        """
        name, until, told = _names(model)[0], self._clock() + seconds, ""
        while True:
            container = self._inspected(name)
            if container is None:
                raise DeploymentError(f"Container {name} was removed by somebody else.")
            state, words = _state(container)
            if state == "healthy":
                return self._said(model, container)
            if state == "gone" or container.get("RestartCount", 0):
                raise DeploymentError(f"Container {name} has ended: {words}.", hint=self._last_words(name))
            if self._clock() > until:
                late = f"Container {name} is not healthy after {seconds:.0f} s: {words}."
                raise DeploymentError(late, hint=self._last_words(name))
            if words != told:
                tell(words)
                told = words
            self._wait(POLL_SECONDS)

    def _given_up(
        self, deployment: Deployment, error: MLOpsError, seconds: float, tell: Tell, *, back: bool
    ) -> DeploymentError:
        """Remove what did not come up, and start again what ran before."""
        name, aside = _names(deployment.model)
        if self._inspected(name):
            self._docker("rm", "--force", name)
        if not back:
            return DeploymentError(f"{error.message} It was removed; nothing of it runs now.", hint=error.hint)
        tell(f"{deployment.model} did not come up; what ran before is started again.")
        try:
            self._docker("rename", aside, name)
            self._docker("start", name)
            self._healthy(deployment.model, tell, seconds)
            again = "What ran before answers again."
        except MLOpsError as second:
            again = f"What ran before did not come up again either: {second.message}"
        return DeploymentError(f"{error.message} {again}", hint=error.hint)

    def _said(self, model: str, container: dict[str, Any]) -> Running:
        state, words = _state(container)
        ports = (container.get("HostConfig") or {}).get("PortBindings") or {}
        bound = (ports.get(f"{SERVICE_PORT}/tcp") or [{}])[0].get("HostPort", "")
        return Running(model, "docker", self._place, state, words, _digest(container), f"http://127.0.0.1:{bound}")

    def _last_words(self, name: str) -> str:
        said = self._ran("logs", "--tail", str(_LOG_LINES), name)
        words = f"{said.stdout}{said.stderr}".strip()
        return f"The end of its log:\n{words}" if words else ""

    def _inspected(self, name: str) -> dict[str, Any] | None:
        found = self._ran("container", "inspect", name)
        if found.returncode and "no such container" in found.stderr.lower():
            return None
        if found.returncode:
            raise _refusal("container inspect", found.stderr)
        container: dict[str, Any] = json.loads(found.stdout)[0]
        return container

    def _docker(self, *command: str, otherwise: tuple[str, ...] = ()) -> str:
        """Run a command, or another one if it fails; what it prints."""
        found = self._ran(*command)
        if found.returncode and otherwise:
            return self._docker(*otherwise)
        if found.returncode:
            raise _refusal(command[0], found.stderr)
        return found.stdout

    def _ran(self, *command: str) -> subprocess.CompletedProcess[str]:
        program = shutil.which("docker", path=self._environment.get("PATH"))
        if program is None:
            raise MissingDependencyError(
                "The command docker is not installed.", hint="https://docs.docker.com/engine/install/"
            )
        try:
            return subprocess.run(
                [program, *command],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_COMMAND_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise DeploymentError(
                f"docker {command[0]} has not ended after {_COMMAND_SECONDS} s.", hint="Does `docker ps` answer?"
            ) from error


def _run(deployment: Deployment, name: str) -> list[str]:
    """The command that starts the container."""
    asked = deployment.resources
    command = ["run", "--detach", "--pull", "never", "--name", name, "--label", f"{DIGEST}={deployment.digest}"]
    command += ["--init", "--restart", "unless-stopped", "--stop-timeout", str(_END_SECONDS)]
    command += ["--publish", f"127.0.0.1:{deployment.port}:{SERVICE_PORT}"]
    command += ["--cpus", f"{cores(asked.cpu_limit):g}", "--memory", str(size_bytes(asked.memory_limit))]
    command += ["--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
    command += ["--health-cmd", _HEALTH, *_HEALTH_OPTIONS]
    command += ["--network", deployment.network] if deployment.network else []
    for volume in deployment.volumes:
        command += ["--volume", volume]
    for variable, value in deployment.environment.items():
        command += ["--env", f"{variable}={value}"]
    for variable in deployment.variables:  # the value comes from the environment of the command
        command += ["--env", variable]
    return [*command, deployment.image, "mlops", *arguments(deployment, "0.0.0.0", SERVICE_PORT)]


def _state(container: dict[str, Any]) -> tuple[Literal["healthy", "unhealthy", "gone"], str]:
    """How a container is, and why, in words."""
    state = container["State"]
    health = state.get("Health") or {}
    if state["Status"] in ("exited", "dead", "created", "removing"):
        why = "for want of memory" if state.get("OOMKilled") else state.get("Error") or f"exit code {state['ExitCode']}"
        return "gone", f"{state['Status']}, {why}"
    if state["Status"] == "running" and health.get("Status") == "healthy":
        return "healthy", "running, healthy"
    words = f"{state['Status']}, its /health says {health.get('Status', 'nothing')}"
    probes = [str(each.get("Output", "")).strip() for each in health.get("Log") or []]
    return "unhealthy", f"{words} ({probes[-1]})" if probes and probes[-1] else words


def _digest(container: dict[str, Any]) -> str:
    return str(((container.get("Config") or {}).get("Labels") or {}).get(DIGEST, ""))


def _names(model: str) -> tuple[str, str]:
    """Names of its container, and of the one that is set aside."""
    return slug(model), f"{slug(model)}-previous"


def _url(port: int) -> str:
    return f"http://127.0.0.1:{port}"


def _refusal(command: str, said: str) -> DeploymentError:
    away = any(words in said.lower() for words in _AWAY)
    hint = "Is the engine running? DOCKER_HOST or `docker context` says which." if away else ""
    return DeploymentError(f"docker {command} failed: {said.strip()}", hint=hint)

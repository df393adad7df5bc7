"""Target `local`: the service as a process of this machine, detached from who deployed it.

Who runs is kept in `<state_dir>/deployments/processes`, with what settings in `…/settings`, what it says in `…/logs`.
A port can be listened on by one service, so a change ends the old process before the new one starts: some seconds
without an answer. If the new one does not come up, the old one is started again.

One rule: only the very process that was started is ended.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from mlops import processes
from mlops.errors import DeploymentError, MLOpsError
from mlops.records import from_dict, to_dict
from mlops.serving.targets.deployment import Deployment, Prove, Running, Tell, arguments, refuse_missing
from mlops.serving.targets.http import asks, problem

HOST = "127.0.0.1"
END_SECONDS = 60.0  # it answers what was asked and writes what was answered first
_POLL_SECONDS = 0.3
_LOG_LINES = 15


class LocalTarget:
    """Services as processes of this machine.

    Args:
        folder: where records and logs are kept.
        environment: what the processes get, beside what a deployment says.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._environment = dict(environment)
        self._processes, self._settings, self._logs = (folder / name for name in ("processes", "settings", "logs"))

    def deploy(self, deployment: Deployment, prove: Prove, tell: Tell, seconds: float) -> Running:
        """End what runs, start this, wait until it is healthy and proven; else start again what ran."""
        for made in (self._processes, self._settings, self._logs):
            made.mkdir(parents=True, exist_ok=True)
        refuse_missing(deployment, self._environment)
        model, before = deployment.model, self._deployed(deployment.model)
        if before == deployment and (found := self.running(model)) is not None and found.state == "healthy":
            tell(prove(asks(found.url)))
            return found
        self._refuse_taken(deployment, self._process(model))
        self._end(model)
        try:
            return self._up(deployment, prove, tell, seconds)
        except MLOpsError as error:
            if before is None or before == deployment:
                self._end(model)
                self._forget(model)
                words = f"{error.message} It was ended; nothing of {model} runs now."
                raise DeploymentError(words, hint=error.hint) from error
            self._end(model)
            tell(f"{model} did not come up; what ran before is started again.")
            again = "What ran before answers again."
            try:
                self._up(before, prove, tell, seconds)
            except MLOpsError as second:
                again = f"What ran before did not come up again either: {second}"
            raise DeploymentError(f"{error.message} {again}", hint=error.hint) from error

    def undeploy(self, model: str) -> bool:
        """End the process, once it has answered what was asked."""
        known = self._deployed(model) is not None or self._process(model) is not None
        self._end(model)
        self._forget(model)
        return known

    def running(self, model: str) -> Running | None:
        """What runs, by its own word."""
        deployment, process = self._deployed(model), self._process(model)
        if deployment is None:
            return None
        url = f"http://{HOST}:{deployment.port}"
        if process is None or not processes.is_alive(process):
            return self._said(deployment, "gone", f"the process has ended; see {self._log(model)}", url)
        try:
            wrong = problem(asks(url)("/health", None))
        except OSError as error:
            wrong = f"it does not answer: {error}"
        return self._said(deployment, "unhealthy" if wrong else "healthy", wrong or f"process {process.pid}", url)

    def _up(self, deployment: Deployment, prove: Prove, tell: Tell, seconds: float) -> Running:
        model, url = deployment.model, f"http://{HOST}:{deployment.port}"
        self._start(deployment)
        tell(f"Started on {url}; log: {self._log(model)}")
        deadline = time.monotonic() + seconds
        while True:
            process = self._process(model)
            if process is None or not processes.is_alive(process):
                raise DeploymentError(f"{model} has ended.", hint=self._last_words(model))
            try:
                wrong = problem(asks(url)("/health", None))
            except OSError as error:
                wrong = f"it does not answer: {error}"
            if not wrong:
                tell(prove(asks(url)))
                return self._said(deployment, "healthy", f"process {process.pid}", url)
            if time.monotonic() > deadline:
                raise DeploymentError(f"{model} is not healthy after {seconds:.0f} s: {wrong}.")
            time.sleep(_POLL_SECONDS)

    def _start(self, deployment: Deployment) -> None:
        self._keep(deployment)  # first: a process whose settings nobody knows could not be told from another
        command = [sys.executable, "-m", "mlops.cli", *arguments(deployment, HOST, deployment.port)]
        processes.start(
            deployment.model,
            command,
            environment=self._environment | deployment.environment,
            log=self._log(deployment.model),
            folder=self._processes,
            port=deployment.port,
        )

    def _refuse_taken(self, deployment: Deployment, ours: processes.Process | None) -> None:
        """A port of a stranger is told before anything of ours is ended."""
        if ours is not None and ours.port == deployment.port and processes.is_alive(ours):
            return
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, deployment.port))
            except OSError as error:
                raise DeploymentError(
                    f"Port {deployment.port} for {deployment.model} cannot be used: {error.strerror}. Nothing changed.",
                    hint=f"Choose another: mlops deploy {deployment.model} --port {deployment.port + 1}",
                ) from error

    def _end(self, model: str) -> None:
        if (process := self._process(model)) is not None:
            processes.end([process], END_SECONDS)
            processes.forget(self._processes, [process])

    def _process(self, model: str) -> processes.Process | None:
        if not (self._processes / f"{model}.json").exists():
            return None
        return next((found for found in processes.recorded(self._processes) if found.name == model), None)

    def _deployed(self, model: str) -> Deployment | None:
        try:
            return from_dict(Deployment, json.loads((self._settings / f"{model}.json").read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None

    def _keep(self, deployment: Deployment) -> None:
        path = self._settings / f"{deployment.model}.json"
        draft = path.with_suffix(".tmp")
        draft.write_text(json.dumps(to_dict(deployment)), encoding="utf-8")
        os.replace(draft, path)

    def _forget(self, model: str) -> None:
        (self._settings / f"{model}.json").unlink(missing_ok=True)

    def _log(self, model: str) -> Path:
        return self._logs / f"{model}.log"

    def _last_words(self, model: str) -> str:
        said = self._log(model).read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_LINES:]
        return "\n".join([f"The end of {self._log(model)}:", *said])

    @staticmethod
    def _said(deployment: Deployment, state: str, reason: str, url: str) -> Running:
        facts = {"model": deployment.model, "target": "local", "place": deployment.place, "state": state}
        return from_dict(Running, facts | {"reason": reason, "digest": deployment.digest, "url": url})

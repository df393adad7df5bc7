"""Target `docker`, by the real `docker` command against an engine's API: up, replaced, put back, cut short."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from mlops.errors import DeploymentError, MissingDependencyError
from mlops.serving.targets.deployment import Ask, Deployment, Resources, Running
from mlops.serving.targets.docker import DockerTarget
from tests import docker_engine as fake
from tests.conftest import absent

NAME = "mlops-pumps"
ONE = Deployment(
    model="pumps",
    target="docker",
    place="here",
    image="mlops:1",
    port=8123,
    workers=2,
    resources=Resources("500m", "1Gi", "1500m", "2Gi"),
    environment={"MLOPS_ENV": "production"},
    variables=("LEDGER_URL",),
    network="mlops_default",
    volumes=("mlops_var:/opt/mlops/var",),
)
TWO = replace(ONE, image="mlops:2")


@dataclass
class Desk:
    """An engine and who deploys to it."""

    engine: fake.Engine
    target: DockerTarget
    told: list[str]

    def deploy(self, deployment: Deployment, prove: Any = None, seconds: float = 60) -> Running:
        """Deploy it; by default it is proven."""
        return self.target.deploy(deployment, prove or (lambda _: "proven"), self.told.append, seconds)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Of the `docker` command, with settings of its own."""
    if shutil.which("docker") is None:
        absent("docker is not installed: apt-get install docker-cli")
    return {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "DOCKER_CONFIG": str(tmp_path), "LEDGER_URL": "s3cret"}


@pytest.fixture
def desk(environment: dict[str, str]) -> Iterator[Desk]:
    """An engine of the test's own."""
    with fake.running() as (engine, host):
        target = DockerTarget(environment | {"DOCKER_HOST": host}, "here", wait=lambda _: None)
        yield Desk(engine, target, [])


def test_a_container_is_what_was_asked_for(desk: Desk) -> None:
    """Image, arguments, limits, port on loopback, health check, labels; the secret by environment; the same is kept."""
    found = desk.deploy(ONE)
    assert (found.state, found.digest, found.url) == ("healthy", ONE.digest, "http://127.0.0.1:8123")
    made = desk.engine.containers[NAME]
    asked, limits = made["Config"], made["HostConfig"]
    assert asked["Cmd"] == ["mlops", "serve", "pumps", "--host", "0.0.0.0", "--port", "8000", "--workers", "2"]
    assert sorted(asked["Env"]) == ["LEDGER_URL=s3cret", "MLOPS_ENV=production"]  # clients differ in the order
    assert limits["PortBindings"] == {"8000/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8123"}]}
    assert (limits["NanoCpus"], limits["Memory"]) == (1_500_000_000, 2 * 1024**3)
    assert (limits["NetworkMode"], limits["Binds"], limits["CapDrop"]) == ("mlops_default", list(ONE.volumes), ["ALL"])
    assert asked["Healthcheck"]["Test"][1].endswith("/health.py http://127.0.0.1:8000/health/answering")
    identity = made["Id"]
    assert desk.deploy(ONE).state == "healthy"
    assert desk.engine.containers[NAME]["Id"] == identity
    running = desk.target.running("pumps")
    assert running is not None
    assert running.state == "healthy"
    assert desk.target.undeploy("pumps")
    assert (desk.engine.containers, desk.target.running("pumps"), desk.target.undeploy("pumps")) == ({}, None, False)


def test_a_change_replaces_the_container_and_leaves_nothing_behind(desk: Desk) -> None:
    """The old one is there until the new one is proven, and gone afterwards."""
    desk.deploy(ONE)
    during: list[list[str]] = []

    def prove(_: Ask) -> str:
        during.append(sorted(desk.engine.containers))
        return "proven"

    desk.deploy(TWO, prove)
    assert during == [[NAME, f"{NAME}-previous"]]
    assert desk.engine.containers.keys() == {NAME}
    assert desk.engine.running() == {NAME: "mlops:2"}


@pytest.mark.parametrize(
    ("fate", "words"),
    [
        ("crash", "has ended: exited, exit code 3"),
        ("huge", "has ended: exited, for want of memory"),
        ("sick", "its /health says starting (503)"),
        ("missing", "pull access denied"),
        ("wrong", "Golden row 3 is answered wrong"),
    ],
)
def test_what_does_not_come_up_says_why_and_the_old_one_answers_again(desk: Desk, fate: str, words: str) -> None:
    """With the last words of the container; the old container itself is started again."""
    desk.deploy(ONE)
    identity = desk.engine.containers[NAME]["Id"]

    def wrong(_: Ask) -> str:
        raise DeploymentError("Golden row 3 is answered wrong.")

    with pytest.raises(DeploymentError) as said:
        desk.deploy(
            replace(ONE, image=f"mlops:{fate}"), wrong if fate == "wrong" else None, 1 if fate == "sick" else 60
        )
    assert words in str(said.value)
    assert ("the last words of mlops-pumps" in str(said.value)) == (fate in ("crash", "huge", "sick"))
    assert ("What ran before answers again." in str(said.value)) == (fate != "missing")  # it never stopped then
    assert desk.engine.running() == {NAME: "mlops:1"}
    assert desk.engine.containers[NAME]["Id"] == identity
    assert desk.engine.containers.keys() == {NAME}


def test_a_first_one_that_does_not_come_up_is_removed(desk: Desk) -> None:
    """Nothing is left; the message says so."""
    with pytest.raises(DeploymentError, match="nothing of it runs now"):
        desk.deploy(replace(ONE, image="mlops:crash"))
    assert desk.engine.containers == {}


@pytest.mark.parametrize("stop", range(8))
def test_cut_short_anywhere_the_same_call_ends_in_the_same_state(desk: Desk, stop: int) -> None:
    """Killed at its n-th change, deployed again: the new one alone."""
    desk.deploy(ONE)
    desk.engine.changes, desk.engine.stops_at = 0, stop
    try:
        desk.deploy(TWO)
    except DeploymentError:
        assert desk.engine.changes > stop
    desk.engine.stops_at = -1
    assert desk.deploy(TWO).digest == TWO.digest
    assert desk.engine.running() == {NAME: "mlops:2"}
    assert desk.engine.containers.keys() == {NAME}


@pytest.mark.parametrize(
    "words",
    [
        "Cannot connect to the Docker daemon at tcp://127.0.0.1:9. Is the docker daemon running?",
        "failed to connect to the docker API at tcp://127.0.0.1:9; check if the address is correct",
    ],
)
def test_an_engine_that_is_away_is_told_in_whichever_words_the_command_has(tmp_path: Path, words: str) -> None:
    """Older and newer versions of `docker` say it otherwise; the hint is the same."""
    program = tmp_path / "docker"
    program.write_text(f"#!/bin/sh\necho {shlex.quote(words)} >&2\nexit 1\n")
    program.chmod(0o755)
    target = DockerTarget({"PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path)}, "here")
    with pytest.raises(DeploymentError, match="Is the engine running"):
        target.running("pumps")


def test_no_engine_no_program_no_value_and_a_taken_port_are_told(desk: Desk, environment: dict[str, str]) -> None:
    """Each an error in words with what to do."""
    away = DockerTarget(environment | {"DOCKER_HOST": "tcp://127.0.0.1:9"}, "here")
    with pytest.raises(DeploymentError, match="Is the engine running"):
        away.running("pumps")
    with pytest.raises(MissingDependencyError, match="not installed"):
        DockerTarget(environment | {"PATH": "/nowhere"}, "here").running("pumps")
    with pytest.raises(DeploymentError, match="NOT_SET has no value"):
        desk.deploy(replace(ONE, variables=("NOT_SET",)))
    desk.deploy(ONE)
    with pytest.raises(DeploymentError, match="already allocated"):
        desk.deploy(replace(ONE, model="fans"))
    assert desk.engine.running() == {NAME: "mlops:1"}

"""Target `kubernetes` against a server that checks by Kubernetes' own schemas: rolling, blue-green, what goes wrong."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from mlops.errors import DeploymentError
from mlops.serving.targets import kubeconfig
from mlops.serving.targets.deployment import Ask, Deployment, Reply, Resources, Running
from mlops.serving.targets.kubernetes import KubernetesTarget
from mlops.serving.targets.kubernetes_api import ConflictError, KubernetesApi
from mlops.serving.targets.manifests import COLOUR, workload
from tests import kubernetes_api as fake
from tests import kubernetes_cluster

SECONDS = 60.0
PLAIN = Deployment("pumps", "kubernetes", "test/models", "mlops:1", 0, 1, Resources("500m", "1Gi", "2", "2Gi"), 2, 10)
BLUE_GREEN = replace(PLAIN, strategy="blue_green")


@dataclass
class Desk:
    """A cluster and who deploys to it."""

    server: fake.Server
    target: KubernetesTarget
    api: KubernetesApi
    told: list[str]

    def deploy(self, deployment: Deployment, prove: Any = None, seconds: float = SECONDS) -> Running:
        """Deploy it; by default whoever answers is right."""
        return self.target.deploy(
            deployment, prove or (lambda ask: ask("/ok", None).body["pod"]), self.told.append, seconds
        )

    def colour(self) -> str:
        """The colour that callers are led to."""
        return str(self.server.named("Service", "mlops-pumps")["spec"]["selector"][COLOUR])

    def names(self, kind: str = "Deployment") -> list[str]:
        """Of the objects of a kind."""
        with self.server.lock:
            return sorted(found["metadata"]["name"] for found in self.server.all(kind))

    def image(self, name: str = "mlops-pumps") -> str:
        """That a Deployment runs."""
        return str(self.server.named("Deployment", name)["spec"]["template"]["spec"]["containers"][0]["image"])


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A cluster of the test's own."""
    with fake.running() as (server, url):
        access = kubeconfig.find(str(fake.kubeconfig(tmp_path, url)), "", {})
        with kubeconfig.client(access) as client:
            api = KubernetesApi(client, "models", wait=lambda _: None)
            yield Desk(server, KubernetesTarget(api, "test/models", wait=lambda _: _nap()), api, [])


def _nap() -> None:
    time.sleep(0.05)


# --- rolling ----------------------------------------------------------------------------------------------------------


def test_a_first_deployment_makes_all_objects_and_is_healthy(desk: Desk) -> None:
    """All four; proven before callers are let in; undeploying removes every object."""
    seen: list[list[str]] = []

    def prove(ask: Ask) -> str:
        seen.append(desk.names("Service"))
        assert ask("/predict/batch", {"a": 1}) == Reply(200, {**ask("/predict/batch", {"a": 1}).body, "body": {"a": 1}})
        return "proven"

    found = desk.deploy(PLAIN, prove)
    assert (found.state, found.replicas, found.digest) == ("healthy", 2, PLAIN.digest)
    assert seen == [["mlops-pumps-preview"]]
    assert desk.names("Service") == ["mlops-pumps"]
    scaler = desk.server.named("HorizontalPodAutoscaler", "mlops-pumps")["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"], scaler["scaleTargetRef"]["name"]) == (2, 10, "mlops-pumps")
    assert desk.server.named("PodDisruptionBudget", "mlops-pumps")["spec"]["maxUnavailable"] == 1
    running = desk.target.running("pumps")
    assert running is not None
    assert (running.state, running.digest, running.replicas) == ("healthy", PLAIN.digest, 2)
    assert desk.target.undeploy("pumps")
    assert desk.server.objects == {}
    assert not desk.target.undeploy("pumps")
    assert desk.target.running("pumps") is None


def test_a_rolling_change_never_has_fewer_ready_replicas_than_asked_for(desk: Desk) -> None:
    """All pods are exchanged, two are ready at any moment; the same again changes no object."""
    desk.deploy(PLAIN)
    desk.deploy(replace(PLAIN, image="mlops:2"))
    assert desk.server.least_ready["mlops-pumps"] == 2
    images = {pod["spec"]["containers"][0]["image"] for pod in desk.server.all("Pod")}
    assert images == {"mlops:2"}
    before = desk.server.version
    desk.deploy(replace(PLAIN, image="mlops:2"))
    assert desk.server.version == before


def test_going_back_uses_the_replica_set_there_was(desk: Desk) -> None:
    """The earlier deployment again is the earlier template: no third ReplicaSet."""
    desk.deploy(PLAIN)
    desk.deploy(replace(PLAIN, image="mlops:2"))
    desk.deploy(PLAIN)
    assert desk.image() == "mlops:1"
    assert len(desk.names("ReplicaSet")) == 2


def test_what_the_autoscaler_has_decided_stays(desk: Desk) -> None:
    """A change under load keeps its seven replicas, and lower limits lower them."""
    desk.deploy(PLAIN)
    desk.server.scale("mlops-pumps", 7)
    assert desk.deploy(replace(PLAIN, image="mlops:2")).replicas == 7
    assert desk.deploy(replace(PLAIN, image="mlops:3", max_replicas=4)).replicas == 4


def test_an_autoscaler_at_the_same_moment_is_a_conflict_that_is_read_again(desk: Desk) -> None:
    """Replicas changed between reading and applying are not overwritten."""
    desk.deploy(PLAIN)
    scaled = 0

    def meanwhile(method: str, path: str) -> None:
        nonlocal scaled
        if method == "PATCH" and path.endswith("/deployments/mlops-pumps") and not scaled:
            scaled = 1
            desk.server.scale("mlops-pumps", 5)

    desk.server.refuse = meanwhile  # type: ignore[assignment]
    assert desk.deploy(replace(PLAIN, image="mlops:2")).replicas == 5


@pytest.mark.parametrize(
    ("fate", "words", "seconds"),
    [
        ("missing", "Image mlops:missing cannot be had (ImagePullBackOff): manifest unknown", SECONDS),
        ("crash", "ends again and again with exit code 3", SECONDS),
        ("sick", "its probe of /health/answering does not succeed", 1.5),
        ("stuck", "has not started (ContainerCreating); is a Secret or a volume missing?", 1.5),
        ("huge", "finds no node: 0/3 nodes are available: Insufficient memory", 1.5),
    ],
)
def test_a_rollout_that_does_not_come_says_why_and_the_old_pods_answer(
    desk: Desk, fate: str, words: str, seconds: float
) -> None:
    """What cannot mend itself is told long before time is up, with the pod's last words; two old pods stay ready."""
    desk.deploy(PLAIN)
    with pytest.raises(DeploymentError) as said:
        desk.deploy(replace(PLAIN, image=f"mlops:{fate}"), seconds=seconds)
    assert words in str(said.value)
    assert "The pods before it go on answering." in str(said.value)
    assert ("the last words of" in str(said.value)) == (fate in ("crash", "sick"))
    assert str(said.value).endswith(" before") == (fate == "crash")  # of the run that crashed
    assert desk.server.least_ready["mlops-pumps"] == 2
    running = desk.target.running("pumps")
    assert running is not None
    assert (running.state, words in running.reason) == ("unhealthy", True)
    assert desk.deploy(PLAIN).state == "healthy"  # putting back what ran before


def test_a_deadline_of_the_cluster_ends_the_wait(desk: Desk) -> None:
    """`ProgressDeadlineExceeded` is told although there is time left."""
    desk.deploy(PLAIN)
    with pytest.raises(DeploymentError, match="its probe of /health/answering does not succeed"):
        desk.deploy(replace(PLAIN, image="mlops:sick"), seconds=600)


def test_a_rollout_that_somebody_replaces_is_told(desk: Desk) -> None:
    """It does not wait for what will never come."""
    desk.deploy(PLAIN)
    other = replace(PLAIN, image="mlops:3")

    def meanwhile(words: str) -> None:
        if words.startswith("Applied"):
            desk.api.apply(workload(other, "models"))

    with pytest.raises(DeploymentError, match="changed by somebody else"):
        desk.target.deploy(replace(PLAIN, image="mlops:2"), lambda _: "", meanwhile, SECONDS)


# --- blue-green -------------------------------------------------------------------------------------------------------


def test_blue_green_moves_callers_after_the_new_colour_is_proven_and_keeps_the_old(desk: Desk) -> None:
    """The proof is asked of the new pods while callers meet the old; going back only moves the selector."""
    desk.deploy(BLUE_GREEN)
    assert (desk.colour(), desk.names()) == ("blue", ["mlops-pumps-blue"])
    during: list[tuple[str, str]] = []

    def prove(ask: Ask) -> str:
        during.append((desk.colour(), ask("/x", None).body["pod"].rsplit("-", 2)[0]))
        return "proven"

    desk.deploy(replace(BLUE_GREEN, image="mlops:2"), prove)
    assert during == [("blue", "mlops-pumps-green")]
    assert (desk.colour(), desk.names()) == ("green", ["mlops-pumps-blue", "mlops-pumps-green"])
    scaler = desk.server.named("HorizontalPodAutoscaler", "mlops-pumps")
    assert scaler["spec"]["scaleTargetRef"]["name"] == "mlops-pumps-green"
    pods = desk.names("Pod")
    desk.deploy(BLUE_GREEN)
    assert (desk.colour(), desk.names("Pod")) == ("blue", pods)
    assert desk.names("Service") == ["mlops-pumps"]


@pytest.mark.parametrize("fate", ["wrong", "crash"])
def test_a_new_colour_that_is_wrong_is_removed_and_nobody_met_it(desk: Desk, fate: str) -> None:
    """A wrong golden answer, or a crash: the Service never moved, the old colour answers."""
    desk.deploy(BLUE_GREEN)
    before = desk.server.named("Service", "mlops-pumps")["metadata"]["resourceVersion"]

    def wrong(ask: Ask) -> str:
        raise DeploymentError("Golden row 3 is answered wrong.")

    prove = wrong if fate == "wrong" else None
    with pytest.raises(DeploymentError, match=r"It was removed; mlops-pumps-blue goes on answering\."):
        desk.deploy(replace(BLUE_GREEN, image=f"mlops:{fate}"), prove)
    assert desk.server.named("Service", "mlops-pumps")["metadata"]["resourceVersion"] == before
    assert (desk.names(), desk.names("Service")) == (["mlops-pumps-blue"], ["mlops-pumps"])


@pytest.mark.parametrize("stop", range(1, 9))
def test_cut_short_anywhere_the_same_call_ends_in_the_same_state(desk: Desk, stop: int) -> None:
    """Killed at its n-th change, deployed again: what an undisturbed call leaves."""
    desk.deploy(BLUE_GREEN)
    changes = 0

    def killed(method: str, path: str) -> fake.RefusedError | None:
        nonlocal changes
        changes += method != "GET"
        return fake.RefusedError(403, "Forbidden", "killed") if method != "GET" and changes >= stop else None

    desk.server.refuse = killed
    new = replace(BLUE_GREEN, image="mlops:2")
    try:
        desk.deploy(new)
    except DeploymentError:
        assert changes >= stop
    desk.server.refuse = lambda _method, _path: None
    assert desk.deploy(new).digest == new.digest
    answering = f"mlops-pumps-{desk.colour()}"
    assert desk.image(answering) == "mlops:2"
    scaler = desk.server.named("HorizontalPodAutoscaler", "mlops-pumps")
    assert scaler["spec"]["scaleTargetRef"]["name"] == answering
    assert desk.names() == ["mlops-pumps-blue", "mlops-pumps-green"]
    assert desk.names("Service") == ["mlops-pumps"]


def test_a_change_of_strategy_is_a_change_of_colour(desk: Desk) -> None:
    """From rolling to blue-green and back; callers are led to proven pods only, and nothing is left over."""
    desk.deploy(PLAIN)
    desk.deploy(BLUE_GREEN)
    assert (desk.colour(), desk.names()) == ("blue", ["mlops-pumps", "mlops-pumps-blue"])
    desk.deploy(replace(PLAIN, image="mlops:2"))
    assert (desk.colour(), desk.names()) == ("plain", ["mlops-pumps"])


# --- the API ----------------------------------------------------------------------------------------------------------


def test_what_the_server_refuses_is_told_in_its_words(desk: Desk, tmp_path: Path) -> None:
    """An unknown field, a Secret name that is none, no right, no login, nobody there: each an error with what to do."""
    bad = workload(PLAIN, "models")
    bad["spec"]["replicaz"] = 2
    with pytest.raises(DeploymentError, match=r"\(422\).*replicaz"):
        desk.api.apply(bad)
    with pytest.raises(DeploymentError, match="less than or equal to memory limit"):
        desk.deploy(replace(PLAIN, resources=Resources("1", "4Gi", "2", "2Gi")))
    desk.server.refuse = lambda _m, _p: fake.RefusedError(403, "Forbidden", "services is forbidden: User bob")
    with pytest.raises(DeploymentError, match=r"User bob.*role\.yaml"):
        desk.deploy(PLAIN)
    desk.server.refuse = lambda _m, _p: None
    desk.server.token = "right"
    with pytest.raises(DeploymentError, match=r"\(401\).*Log in again"):
        desk.deploy(PLAIN)
    with httpx.Client(base_url="http://127.0.0.1:9") as nobody:
        away = KubernetesApi(nobody, "models", wait=lambda _: None)
        with pytest.raises(DeploymentError, match="cannot be reached"):
            away.get("Service", "x")


def test_a_server_that_is_busy_is_asked_again(desk: Desk) -> None:
    """Three 503 in a row delay, and do not fail, any call; a fourth does."""
    left = 3

    def busy(method: str, path: str) -> fake.RefusedError | None:
        nonlocal left
        left -= 1
        return fake.RefusedError(503, "ServiceUnavailable", "etcd leader changed") if left >= 0 else None

    desk.server.refuse = busy
    assert desk.api.get("Service", "x") is None
    left = 4
    with pytest.raises(DeploymentError, match="etcd leader changed"):
        desk.api.get("Service", "x")


def test_an_old_resource_version_is_a_conflict_and_a_dry_run_changes_nothing(desk: Desk) -> None:
    """As the API server has it."""
    desk.api.apply(workload(PLAIN, "models"), dry_run=True)
    assert desk.names() == []
    desk.target.check(PLAIN)
    assert desk.server.objects == {}
    desk.api.apply(workload(PLAIN, "models"))
    stale = workload(PLAIN, "models")
    stale["metadata"]["resourceVersion"] = "1"
    with pytest.raises(ConflictError, match="has been modified"):
        desk.api.apply(stale)


def test_a_service_of_somebody_else_is_not_touched(desk: Desk) -> None:
    """One of that name which this project did not make is an error, not a takeover."""
    port = {"port": 80, "protocol": "TCP"}
    theirs = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "mlops-pumps", "namespace": "models"}}
    desk.api.apply(theirs | {"spec": {"selector": {"app": "x"}, "ports": [port]}})
    with pytest.raises(DeploymentError, match="was not made by this project"):
        desk.deploy(PLAIN)
    assert desk.names() == []


def test_a_service_that_the_api_server_does_not_lead_to_is_not_reached(desk: Desk) -> None:
    """No pod, or no right to ask: an `OSError`, which a proof takes for "not proven", never for an answer."""
    desk.deploy(PLAIN)
    desk.server.scale("mlops-pumps", 0)
    ask = desk.api.ask("mlops-pumps")
    while any(pod["metadata"]["name"] for pod in desk.server.all("Pod")):
        _nap()
    with pytest.raises(OSError, match="no endpoints available"):
        ask("/health", None)
    desk.server.answer = lambda _pod, _path, _body: (422, {"detail": "unknown field"})
    desk.server.scale("mlops-pumps", 2)
    while not any(kubernetes_cluster.is_ready(pod) for pod in desk.server.all("Pod")):
        _nap()
    assert ask("/health", None) == Reply(422, {"detail": "unknown field"})

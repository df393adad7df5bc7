"""The real `kubectl` against the server that the client is tested with: it takes both for what they are."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from mlops.serving.targets import kubeconfig
from mlops.serving.targets import manifests as render
from mlops.serving.targets.deployment import Deployment, Resources
from mlops.serving.targets.kubernetes import KubernetesTarget
from mlops.serving.targets.kubernetes_api import KubernetesApi
from tests import kubernetes_api as fake
from tests.conftest import ROOT, absent
from tests.kubernetes_schema import VERSIONS, problems

PLAIN = Deployment("pumps", "kubernetes", "test/models", "mlops:1", 0, 1, Resources("500m", "1Gi", "2", "2Gi"), 2, 10)
Kubectl = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[fake.Server, Kubectl, KubernetesTarget]]:
    """A server, `kubectl` and the project's own client, all with one kubeconfig."""
    program = shutil.which("kubectl")
    if program is None:
        absent("kubectl is not installed: https://kubernetes.io/docs/tasks/tools/")
    assert program is not None
    with fake.running() as (server, url):
        path = fake.kubeconfig(tmp_path, url)

        def kubectl(*arguments: str, text: str = "", code: int = 0) -> subprocess.CompletedProcess[str]:
            command = [program, "--kubeconfig", str(path), "--cache-dir", str(tmp_path / "cache"), *arguments]
            found = subprocess.run(
                command, input=text, capture_output=True, text=True, timeout=120, check=False, env=dict(os.environ)
            )
            assert found.returncode == code, (found.stdout, found.stderr)
            return found

        with kubeconfig.client(kubeconfig.find(str(path), "", {})) as client:
            yield server, kubectl, KubernetesTarget(KubernetesApi(client, "models"), "test/models")


@pytest.mark.timeout(600)
def test_kubectl_applies_what_is_rendered_and_the_client_goes_on_from_there(
    cluster: tuple[fake.Server, Kubectl, KubernetesTarget],
) -> None:
    """`apply --server-side`, `rollout status`; then a deployment by this project, and `rollout undo` of it."""
    server, kubectl, target = cluster
    text = render.rendered(render.manifests(PLAIN, "models"))
    said = kubectl("apply", "--server-side", "-f", "-", text=text).stdout
    assert said.count("serverside-applied") == 4
    assert "successfully rolled out" in kubectl("rollout", "status", "deployment/mlops-pumps").stdout
    running = target.running("pumps")
    assert running is not None
    assert (running.state, running.digest) == ("healthy", PLAIN.digest)

    new = replace(PLAIN, image="mlops:2")
    assert target.deploy(new, lambda ask: str(ask("/x", None).body), lambda _: None, 60).state == "healthy"
    listed = json.loads(kubectl("get", "deployment", "mlops-pumps", "-o", "json").stdout)
    assert listed["spec"]["template"]["spec"]["containers"][0]["image"] == "mlops:2"
    conflict = kubectl("apply", "--server-side", "-f", "-", text=text, code=1).stderr
    assert "conflict" in conflict  # the client's fields are the client's

    kubectl("rollout", "undo", "deployment/mlops-pumps")
    kubectl("rollout", "status", "deployment/mlops-pumps")
    running = target.running("pumps")
    assert running is not None
    assert (running.state, running.digest) == ("healthy", PLAIN.digest)
    assert server.least_ready["mlops-pumps"] == 2
    assert target.undeploy("pumps")
    assert kubectl("get", "deployments", "-o", "name").stdout == ""


@pytest.mark.timeout(600)
def test_kubectl_is_refused_what_the_client_is_refused(
    cluster: tuple[fake.Server, Kubectl, KubernetesTarget],
) -> None:
    """An unknown field, and a selector that does not match, by the server's word; a rollout that does not come."""
    server, kubectl, _ = cluster
    broken = render.workload(PLAIN, "models")
    broken["spec"]["replicaz"] = 2
    assert "replicaz" in kubectl("apply", "--server-side", "-f", "-", text=render.rendered([broken]), code=1).stderr
    broken = render.workload(PLAIN, "models")
    broken["spec"]["selector"]["matchLabels"] = {"app": "other"}
    said = kubectl("apply", "--server-side", "-f", "-", text=render.rendered([broken]), code=1).stderr
    assert "does not match template" in said
    assert server.objects == {}
    sick = render.workload(replace(PLAIN, image="mlops:sick"), "models")
    kubectl("apply", "--server-side", "-f", "-", text=render.rendered([sick]))
    said = kubectl("rollout", "status", "deployment/mlops-pumps", code=1).stderr
    assert "exceeded its progress deadline" in said


def test_kubectl_reads_what_is_applied_once_per_namespace(
    cluster: tuple[fake.Server, Kubectl, KubernetesTarget],
) -> None:
    """`kubectl apply -k deploy/kubernetes` finds account, role and binding, and each is valid."""
    _, kubectl, _ = cluster
    documents = list(yaml.safe_load_all(kubectl("kustomize", str(ROOT / "deploy" / "kubernetes")).stdout))
    assert sorted(each["kind"] for each in documents) == ["Role", "RoleBinding", "ServiceAccount"]
    assert [problems(each, version) for each in documents for version in VERSIONS] == [[]] * 9

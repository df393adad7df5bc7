"""`mlops deploy …` on a cluster, as people type it: plan, deploy, fail, put back, roll back, undeploy."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from mlops.cli.__main__ import app
from mlops.errors import ConfigError, DeploymentError
from mlops.pipelines import golden
from mlops.serving.targets.deployment import slug
from tests import kubernetes_api as fake
from tests.contenders import Contenders
from tests.kubernetes_schema import problems

ROOT = Path(__file__).parents[3]
SETTINGS = "{target: kubernetes, namespace: models, image: 'mlops:IMAGE'}"


@dataclass
class Shell:
    """A shell on an installation with a champion, and a cluster."""

    server: fake.Server
    model: str
    patch: pytest.MonkeyPatch

    def said(self, *arguments: str, code: int = 0) -> str:
        """What a command prints; of an error, what it says."""
        found = CliRunner().invoke(app, list(arguments))
        assert found.exit_code == code, (found.output, found.exception)
        return f"{found.output}{found.exception or ''}" if code == 1 else found.output

    def image(self, tag: str) -> None:
        """What the settings ask for."""
        self.patch.setenv("MLOPS_DEPLOYMENT", SETTINGS.replace("IMAGE", tag))

    def runs(self) -> str:
        """The image that the Deployment has."""
        workload = self.server.named("Deployment", slug(self.model))
        return str(workload["spec"]["template"]["spec"]["containers"][0]["image"])


@pytest.fixture
def shell(contenders: Contenders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    """The service answers what the champion answers."""
    contenders.register()
    services = contenders.services
    services.registry.set_alias(contenders.spec.name, "champion", 1)
    expected = golden.answers(services, contenders.spec)

    def answer(_pod: fake.Object, _path: str, _body: Any) -> tuple[int, Any]:
        rows = [{"score": score} for score in expected.scores]
        return 200, {"version": 1, "variant": "champion", "predictions": rows}

    with fake.running() as (server, url):
        server.answer = answer
        monkeypatch.setenv("KUBECONFIG", str(fake.kubeconfig(tmp_path, url)))
        made = Shell(server, contenders.spec.name, monkeypatch)
        made.image("1")
        yield made


@pytest.mark.timeout(600)
def test_a_life_on_a_cluster(shell: Shell) -> None:
    """Each command says what is now true, in words and as JSON; what is wrong is put back; the ledger has all of it."""
    model = shell.model
    plan = shell.said("deploy", model, "--dry-run")
    assert "test/models would take all objects" in plan
    assert shell.server.objects == {}
    assert shell.said("deployments") == "Nothing is deployed. First: mlops deploy <model>\n"
    assert "8 golden rows answered by version 1" in shell.said("deploy", model)
    assert "nothing to do" in shell.said("deploy", model)

    shell.image("2")
    changes = json.loads(shell.said("deploy", model, "--dry-run", "--json"))["changes"]
    assert changes == {"image": ["mlops:1", "mlops:2"]}
    assert json.loads(shell.said("deploy", model, "--json"))["running"]["replicas"] == 2

    shell.image("missing")
    failed = shell.said("deploy", model, code=1)
    assert "Image mlops:missing cannot be had" in failed
    assert "What ran before is back." in failed
    assert shell.runs() == "mlops:2"
    (row,) = json.loads(shell.said("deployments", "--json"))
    assert (row["running"]["state"], row["deployment"]["image"], row["by"]) == ("healthy", "mlops:2", "ann")

    left = shell.said("deploy", model, "--leave", code=1)
    assert f"mlops rollback-deployment {model}" in left
    assert shell.runs() == "mlops:missing"
    assert "other settings than the ledger says" in shell.said("deployments", code=3)
    assert "is back to what was deployed before" in shell.said("rollback-deployment", model)
    assert shell.runs() == "mlops:2"  # what the ledger says, not the one before it
    assert "is back" in shell.said("rollback-deployment", model, "--reason", "slow")
    assert shell.runs() == "mlops:1"
    assert "nothing to go back to" in shell.said("rollback-deployment", model, code=3)

    assert "does not run" in shell.said("undeploy", model)
    assert shell.server.objects == {}
    kinds = [entry["kind"] for entry in json.loads(shell.said("ledger", "show", model, "--json"))]
    kinds = [kind for kind in kinds if "deployment" in kind]
    twice = ["deployment", "deployment_failure", "deployment_failure", "deployment_rollback", "deployment_rollback"]
    assert sorted(kinds) == sorted(["deployment", *twice, "undeployment"])


def test_a_wrong_golden_answer_is_put_back(shell: Shell) -> None:
    """A service that computes something else does not stay, and the message says what was expected."""
    shell.said("deploy", shell.model)
    right = shell.server.answer

    def wrong(pod: fake.Object, path: str, body: Any) -> tuple[int, Any]:
        status, said = right(pod, path, body)
        if pod["spec"]["containers"][0]["image"] == "mlops:2":
            said["predictions"][2]["score"] += 0.01
        return status, said

    shell.server.answer = wrong
    shell.image("2")
    said = shell.said("deploy", shell.model, code=1)
    assert "golden row 2" in said
    assert "What ran before is back." in said
    assert shell.runs() == "mlops:1"


def test_what_is_rendered_is_valid_by_the_command_of_kubernetes_validate(shell: Shell, tmp_path: Path) -> None:
    """`kubernetes-validate --strict`, warnings are failures; no cluster is asked, and no kubeconfig needed."""
    shell.patch.setenv("KUBECONFIG", str(tmp_path / "nowhere"))
    text = shell.said("deploy", shell.model, "--render")
    assert [problems(manifest) for manifest in yaml.safe_load_all(text)] == [[]] * 4
    path = tmp_path / "objects.yaml"
    path.write_text(text, encoding="utf-8")
    versions = ["-k", "1.32", "-k", "1.33", "-k", "1.34"]
    command = [sys.executable, "-m", "kubernetes_validate", "--strict", *versions, str(path)]
    found = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    lines = found.stdout.splitlines()
    assert (found.returncode, len(lines)) == (0, 12), (found.stdout, found.stderr)
    assert all(line.startswith("INFO") for line in lines)
    assert shell.server.log == []


def test_variables_need_a_secret_and_settings_are_checked(shell: Shell) -> None:
    """Each an error in words: nothing is deployed that could not start."""
    shell.patch.setenv("MLOPS_DEPLOYMENT", "{target: kubernetes, variables: [LEDGER_URL]}")
    assert "deployment.secret" in shell.said("deploy", shell.model, code=1)
    for settings, words in (
        ("{targett: local}", "Did you mean 'target'?"),
        ("{target: cloud}", "deployment.target"),
        ("{variables: ['A B']}", "no name of an environment variable"),
        ("{variables: [A], environment: {A: b}}", "stands in environment and in variables"),
        ("{namespace: My_Models}", "no name in Kubernetes"),
    ):
        shell.patch.setenv("MLOPS_DEPLOYMENT", settings)
        found = CliRunner().invoke(app, ["deployments"])
        assert isinstance(found.exception, ConfigError)
        assert words in str(found.exception)
    assert shell.server.log == []


def test_all_that_is_asked_of_a_cluster_is_granted_by_the_role(shell: Shell) -> None:
    """The rights in deploy/kubernetes are those that the commands use, every one of them."""
    documents = list(yaml.safe_load_all((ROOT / "deploy/kubernetes/role.yaml").read_text(encoding="utf-8")))
    assert [problems(document) for document in documents] == [[]] * len(documents)
    role = next(document for document in documents if document["kind"] == "Role")
    granted = {(kind, verb) for rule in role["rules"] for kind in rule["resources"] for verb in rule["verbs"]}
    shell.said("deploy", shell.model)
    shell.image("crash")
    shell.said("deploy", shell.model, code=1)
    shell.said("deployments")
    shell.said("undeploy", shell.model)
    used = {_right(method, path) for method, path in shell.server.log}
    used |= {(kind, "create") for kind, verb in used if verb == "patch"}  # an apply of what is not there
    assert used == granted


def _right(method: str, path: str) -> tuple[str, str]:
    found = re.fullmatch(r"/apis?/.*?/namespaces/models/([a-z]+)(?:/([^/]+))?(?:/(log|proxy).*)?", path)
    assert found is not None, path
    plural, name, below = found.groups()
    verbs = {"GET": "get" if name else "list", "POST": "create", "PATCH": "patch", "DELETE": "delete"}
    return (f"{plural}/{below}" if below else plural), verbs[method]


def test_a_cluster_that_cannot_be_asked_is_cannot_tell(shell: Shell, tmp_path: Path) -> None:
    """`deployments` says so, and leaves with 3; a deployment is an error."""
    shell.said("deploy", shell.model)
    shell.patch.setenv("KUBECONFIG", str(fake.kubeconfig(tmp_path, "http://127.0.0.1:9")))
    assert "cannot tell" in shell.said("deployments", code=3)
    found = CliRunner().invoke(app, ["undeploy", shell.model])
    assert isinstance(found.exception, DeploymentError)
    assert "cannot be reached" in str(found.exception)

"""What is rendered is what Kubernetes 1.32 and later take, strictly, for any deployment; and what its parts promise."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops.serving.targets import manifests as render
from mlops.serving.targets.deployment import Deployment, Resources
from tests.kubernetes_schema import VERSIONS, problems

FULL = Deployment(
    model="fleet_anomaly",
    target="kubernetes",
    place="test/models",
    image="registry.example/mlops:1",
    port=0,
    workers=2,
    resources=Resources("500m", "1Gi", "2", "2Gi"),
    min_replicas=2,
    max_replicas=10,
    strategy="blue_green",
    environment={"MLOPS_ENV": "production"},
    variables=("LEDGER_URL",),
    secret="mlops-env",
    keys_secret="mlops-keys",
)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid_in_every_version(version: str) -> None:
    """Strictly: an unknown field is a failure; so is a kind or version that is no more."""
    for manifest in render.manifests(FULL, "models", "green"):
        assert problems(manifest, version) == [], manifest["kind"]


@settings(max_examples=25)
@given(
    model=st.from_regex(r"[a-z][a-z0-9_]{1,62}", fullmatch=True),
    text=st.text(min_size=1, max_size=30),
    replicas=st.tuples(st.integers(1, 50), st.integers(0, 50)),
    strategy=st.sampled_from(["rolling", "blue_green"]),
)
def test_any_name_and_any_text_stay_valid_and_come_back_from_yaml(
    model: str, text: str, replicas: tuple[int, int], strategy: Any
) -> None:
    """Colons, quotes, line ends and `no` in a value are values: nothing is pasted into text."""
    least, more = replicas
    made = Deployment(
        model, "kubernetes", "", "mlops:1", 0, 1, FULL.resources, least, least + more, strategy=strategy,
        environment={"TEXT": text},
    )  # fmt: skip
    objects = render.manifests(made, "models", "blue")
    assert [problems(manifest) for manifest in objects] == [[]] * 4
    assert list(yaml.safe_load_all(render.rendered(objects))) == objects
    assert "&id" not in render.rendered(objects)


@pytest.mark.parametrize(
    "change",
    [
        lambda spec, _: spec.update(replicaCount=2),
        lambda spec, _: spec.update(replicas="two"),
        lambda spec, _: spec["template"]["metadata"]["labels"].pop(render.COLOUR),
        lambda _, container: container["readinessProbe"]["httpGet"].update(port="https"),
        lambda _, container: container["resources"]["requests"].update(memory="4Gi"),
        lambda _, container: container["volumeMounts"].append({"name": "nowhere", "mountPath": "/x"}),
    ],
)
def test_the_checks_see_what_is_wrong(change: Any) -> None:
    """An unknown field, a wrong type, labels that do not match, a port nobody has: the validation is not blind."""
    workload = render.workload(FULL, "models", "blue")
    change(workload["spec"], workload["spec"]["template"]["spec"]["containers"][0])
    assert problems(workload) != []


def test_secrets_are_references_and_pods_may_do_little() -> None:
    """No value of a variable is rendered; not root, no capability, a read-only root, no token of the cluster."""
    pod = render.workload(FULL, "models")["spec"]["template"]["spec"]
    container = pod["containers"][0]
    environment = {each["name"]: each for each in container["env"]}
    reference = {"secretKeyRef": {"name": "mlops-env", "key": "LEDGER_URL"}}
    assert environment["LEDGER_URL"] == {"name": "LEDGER_URL", "valueFrom": reference}
    assert environment["MLOPS_ENV"]["value"] == "production"
    assert environment["MLOPS_KEYS_DIR"]["value"] + "/trusted" in {
        each["mountPath"] for each in container["volumeMounts"]
    }
    assert (pod["automountServiceAccountToken"], pod["securityContext"]["runAsNonRoot"]) == (False, True)
    limits = container["securityContext"]
    assert (limits["readOnlyRootFilesystem"], limits["capabilities"]) == (True, {"drop": ["ALL"]})
    assert container["args"] == ["serve", "fleet_anomaly", "--host", "0.0.0.0", "--port", "8000", "--workers", "2"]


def test_only_a_verified_version_takes_requests_and_waiting_for_one_is_no_reason_to_be_killed() -> None:
    """Readiness asks whether it can answer; liveness only whether it lives; there is time to end politely."""
    pod = render.workload(FULL, "models")["spec"]["template"]["spec"]
    container = pod["containers"][0]
    paths = {name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "readiness", "liveness")}
    assert paths == {"startup": "/health/live", "readiness": "/health/answering", "liveness": "/health/live"}
    drain = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    from mlops.api.serving import server

    assert pod["terminationGracePeriodSeconds"] >= drain + server.GRACE_SECONDS + 30  # and the last pass of the log


def test_a_service_leads_to_one_colour_only() -> None:
    """Its selector is that of the pods of the colour, and of no other."""
    for colour in ("plain", "blue", "green"):
        chosen = render.service(FULL, "models", colour)["spec"]["selector"]  # type: ignore[arg-type]
        for other in ("plain", "blue", "green"):
            labels = render.workload(FULL, "models", other)["spec"]["template"]["metadata"]["labels"]  # type: ignore[arg-type]
            assert (chosen.items() <= labels.items()) == (colour == other)

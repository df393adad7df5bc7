"""What is deployed is what the ledger says: one entry per change, retries, the way back, failures, golden answers."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mlops.errors import DeploymentError, LeaseError
from mlops.pipelines import deployment as pipeline
from mlops.pipelines import deployment_history as history
from mlops.pipelines import deployment_targets as targets
from mlops.pipelines import golden
from mlops.records import from_dict, to_dict
from mlops.services import Services
from mlops.serving.targets.deployment import Deployment, Prove, Reply, Running, Tell, slug
from mlops.spec import ModelSpec
from tests.contenders import Contenders, logged_runs, spec_of


class Killed(BaseException):
    """The process dies here."""


@dataclass
class Shelf:
    """A target that keeps what it was given, and dies or fails when it is told to."""

    there: Deployment | None = None
    dies: bool = False
    fails: bool = False
    asked: list[Deployment] = field(default_factory=list)

    def deploy(self, deployment: Deployment, prove: Prove, tell: Tell, seconds: float) -> Running:
        """Keep it."""
        self.asked.append(deployment)
        tell(f"{prove} is not asked for {seconds} s")
        if self.fails:
            raise DeploymentError("It did not come up.")
        self.there = deployment
        if self.dies:
            raise Killed
        return _kept(deployment)

    def undeploy(self, model: str) -> bool:
        """Forget it."""
        assert self.there is None or self.there.model == model
        found, self.there = self.there, None
        return found is not None

    def running(self, model: str) -> Running | None:
        """What is kept."""
        assert self.there is None or self.there.model == model
        return _kept(self.there) if self.there else None


def _kept(deployment: Deployment) -> Running:
    facts = deployment.model, deployment.target, deployment.place
    return Running(*facts, "healthy", "kept", deployment.digest, "shelf://")


@dataclass
class Desk:
    """What deploys a model with a champion."""

    services: Services
    spec: ModelSpec
    target: Shelf

    def wanted(self, **changes: Any) -> Deployment:
        """What spec and settings ask for, changed."""
        return dataclasses.replace(targets.wanted(self.services, self.spec), **changes)

    def deploy(self, **changes: Any) -> pipeline.Outcome:
        """Deploy it."""
        made = self.wanted(**changes)
        return pipeline.deploy(
            self.services, self.spec, made, target=self.target, tell=print, seconds=1, reason="because"
        )

    def back(self, ends: int | None = None) -> pipeline.Outcome:
        """Roll the deployment back."""
        asked = self.wanted()
        where = asked.target, asked.place
        options: dict[str, Any] = {"target": self.target, "tell": print, "seconds": 1, "ends": ends}
        return pipeline.rollback(self.services, self.spec, *where, **options)

    def undeploy(self) -> pipeline.Outcome:
        """Take it down."""
        asked = self.wanted()
        return pipeline.undeploy(self.services, self.spec.name, asked.target, asked.place, target=self.target)

    def standing(self) -> tuple[history.Deployed, ...]:
        """What the ledger says is deployed."""
        return history.standing(self.services.ledger.entries(self.spec.name))

    def kinds(self) -> list[str]:
        """Of the ledger's entries about deployments, in order."""
        known = {*history.KINDS, history.FAILURE}
        return [entry.kind for entry in self.services.ledger.entries(self.spec.name) if entry.kind in known]


@pytest.fixture(scope="module")
def champion(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """An MLflow store with a run."""
    folder = tmp_path_factory.mktemp("store")
    from mlops.config import MLOpsConfig

    config = MLOpsConfig.build({"home": Path(__file__).parents[3], "var": str(folder), "code_version": "test"})
    return folder, (config, logged_runs(Services.open(config).tracker, 1))


@pytest.fixture
def desk(champion: tuple[Path, Any], tmp_path: Path) -> Desk:
    """A model of the test's own, with a champion."""
    config, runs = champion[1]
    own = config.model_copy(
        update={
            "ledger_url": f"sqlite:///{tmp_path}/ledger.db",
            "actor": "ann",
            "state_dir": tmp_path,
            "ledger_key_file": tmp_path / "keys" / "ledger.key",
        }
    )
    services = Services.open(own)
    spec = spec_of(services, f"m{abs(hash(tmp_path)) % 10**9}")
    Contenders(services, spec, runs).register()
    services.registry.set_alias(spec.name, "champion", 1)
    return Desk(services, spec, Shelf())


def test_a_deployment_is_one_entry_with_who_what_and_why(desk: Desk) -> None:
    """The entry holds all of the deployment; done again it changes nothing and adds nothing."""
    assert desk.deploy().outcome == "done"
    (entry,) = desk.services.ledger.entries(desk.spec.name, "deployment")
    assert (entry.actor, entry.body["reason"], entry.body["code_version"]) == ("ann", "because", "test")
    assert from_dict(Deployment, entry.body["deployment"]) == desk.wanted() == desk.target.there
    assert desk.deploy().outcome == "nothing_to_do"
    assert desk.kinds() == ["deployment"]
    assert len(desk.target.asked) == 2  # the target is looked after even if the ledger is content


def test_killed_before_the_ledger_knows_the_same_command_ends_in_the_same_state(desk: Desk) -> None:
    """Deploying and going back: one entry each, however often they are cut short after the target has done it."""
    desk.target.dies = True
    for _ in range(2):
        with pytest.raises(Killed):
            desk.deploy()
    desk.target.dies = False
    assert desk.deploy().outcome == "done"
    desk.deploy(workers=2)
    desk.target.dies = True
    with pytest.raises(Killed):
        desk.back()
    desk.target.dies = False
    assert desk.back().outcome == "done"
    assert desk.kinds() == ["deployment", "deployment", "deployment_rollback"]
    assert desk.target.there == desk.wanted()


def test_the_way_back_leads_from_deployment_to_deployment_and_ends(desk: Desk) -> None:
    """1, 2, 3 → 2 → 1 → nothing to go back to; what was left behind does not come back by itself."""
    for workers in (1, 2, 3):
        desk.deploy(workers=workers)
    seen = []
    for _ in range(2):
        assert desk.back().exit_code == 0
        seen.append(desk.target.there.workers if desk.target.there else None)
    assert seen == [2, 1]
    over = desk.back()
    assert (over.exit_code, "nothing to go back to" in over.reason) == (3, True)
    assert desk.target.there == desk.wanted(workers=1)


def test_a_rollback_asked_twice_goes_back_once(desk: Desk) -> None:
    """The second one is about a deployment that is not there any more."""
    for workers in (1, 2, 3):
        desk.deploy(workers=workers)
    ends = desk.standing()[0].entry_seq
    assert desk.back(ends).outcome == "done"
    again = desk.back(ends)
    assert (again.outcome, "Nothing was changed" in again.reason) == ("no", True)
    assert desk.target.there == desk.wanted(workers=2)


def test_what_was_taken_down_is_nothing_to_go_back_to(desk: Desk) -> None:
    """Undeploying ends the history; twice is nothing to do; what nobody deployed is nothing to go back to."""
    assert "not deployed" in desk.back().reason
    desk.deploy()
    desk.deploy(workers=2)
    assert desk.undeploy().outcome == "done"
    assert desk.undeploy().outcome == "nothing_to_do"
    assert desk.standing() == ()
    assert desk.back().exit_code == 3
    assert desk.deploy(workers=2).outcome == "done"
    assert desk.kinds() == ["deployment", "deployment", "undeployment", "deployment"]


def test_somebody_else_at_work_is_waited_for_and_then_told(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """While another process changes this deployment, nothing is touched; a process that has gone holds nothing up."""
    monkeypatch.setattr(pipeline, "WAIT_SECONDS", 0.2)
    asked = desk.wanted()
    name = f"deployment/{desk.spec.name}/{asked.target}/{asked.place}"
    with desk.services.leases.hold(name, str(desk.services.attempt), 60), pytest.raises(LeaseError):
        desk.deploy()
    assert desk.target.asked == []
    gone = dataclasses.replace(desk.services.attempt, pid=2**22 - 1, since=1.0)
    desk.services.leases.acquire(name, str(gone), 600)
    assert desk.deploy().outcome == "done"


def test_a_failure_is_kept_and_is_not_what_is_deployed(desk: Desk) -> None:
    """The error leaves the ledger's deployment as it was, and says what was tried and what went wrong."""
    desk.deploy()
    desk.target.fails = True
    with pytest.raises(DeploymentError, match="did not come up"):
        desk.deploy(workers=5)
    (entry,) = desk.services.ledger.entries(desk.spec.name, history.FAILURE)
    assert (entry.body["deployment"]["workers"], entry.body["error"]) == (5, "It did not come up.")
    assert [made.deployment for made in desk.standing()] == [desk.wanted()]


def test_nothing_is_deployed_without_a_champion(desk: Desk) -> None:
    """A "no" that says what to do first; the target is not touched."""
    desk.services.registry.drop_alias(desk.spec.name, "champion")
    found = desk.deploy()
    assert (found.exit_code, "mlops promote" in found.reason) == (3, True)
    assert desk.target.asked == []


def test_two_places_have_histories_of_their_own(desk: Desk) -> None:
    """What was deployed on another machine is not what this one goes back to."""
    desk.deploy()
    desk.deploy(place="elsewhere")
    assert len(desk.standing()) == 2
    assert desk.back().exit_code == 3
    elsewhere = next(m for m in desk.standing() if m.deployment.place == "elsewhere")
    assert targets.look(desk.services, elsewhere).state == "cannot_tell"


# --- golden answers ---------------------------------------------------------------------------------------------------


def _answered(desk: Desk, **changes: Any) -> Any:
    """A service that says what the champion says, changed."""
    found = golden.answers(desk.services, desk.spec)
    rows = [{"score": score} for score in found.scores]

    def ask(path: str, body: dict[str, Any] | None) -> Reply:
        assert path == "/predict/batch"
        assert body is not None
        assert body["rows"] == found.rows
        assert body["request_id"].startswith("golden-")
        said = {"version": found.version, "variant": "champion", "predictions": rows} | changes
        return Reply(said.pop("status", 200), said)

    return ask


def _prove(desk: Desk, ask: Any) -> str:
    return golden.prover(desk.services, desk.spec, "k", wait=lambda _: None)(ask)


def test_the_champions_answers_are_proven_and_others_are_refused(desk: Desk) -> None:
    """Equal scores pass; one that is off by a millionth, a missing one and a null one do not."""
    assert "8 golden rows answered by version 1" in _prove(desk, _answered(desk))
    scores = golden.answers(desk.services, desk.spec).scores
    assert len(set(scores)) > 2  # rows that differ: a constant would not pass for the model
    for wrong in ((scores[3] or 0.0) + 1e-6, None):
        rows = [{"score": wrong if i == 3 else score} for i, score in enumerate(scores)]
        with pytest.raises(DeploymentError, match="golden row 3"):
            _prove(desk, _answered(desk, predictions=rows))
    with pytest.raises(DeploymentError, match="7 answers to 8"):
        _prove(desk, _answered(desk, predictions=[{"score": s} for s in scores[1:]]))


def test_another_version_or_a_refusal_is_an_error_and_silence_is_not_proven(desk: Desk) -> None:
    """Each in words; a variant of an experiment is "not proven" as well."""
    with pytest.raises(DeploymentError, match="answers with version 7, but version 1 is champion"):
        _prove(desk, _answered(desk, version=7))
    with pytest.raises(DeploymentError, match="answers 503"):
        _prove(desk, _answered(desk, status=503, detail="not ready"))

    def silent(path: str, body: dict[str, Any] | None) -> Reply:
        raise ConnectionRefusedError("refused")

    assert _prove(desk, silent).startswith("Not proven")
    assert _prove(desk, _answered(desk, variant="b")).startswith("Not proven")


def test_equal_deployments_have_equal_digests_and_any_change_another(desk: Desk) -> None:
    """The digest survives the ledger's JSON, and every field counts but the place."""
    made = desk.wanted(environment={"A": "1"}, variables=("B",))
    assert from_dict(Deployment, to_dict(made)).digest == made.digest
    changes: dict[str, Any] = {
        "model": "x", "target": "docker", "image": "x", "port": 1, "workers": 9, "min_replicas": 9,
        "max_replicas": 9, "cpu_percent": 9, "strategy": "blue_green", "environment": {"A": "2"}, "variables": ("C",),
        "secret": "x", "keys_secret": "x", "network": "x",
        "volumes": ("x:/x",), "resources": dataclasses.replace(made.resources, cpu="9"),
    }  # fmt: skip
    assert set(changes) | {"place"} == {each.name for each in dataclasses.fields(Deployment)}
    digests = {dataclasses.replace(made, **{name: value}).digest for name, value in changes.items()}
    assert dataclasses.replace(made, place="elsewhere").digest == made.digest
    assert len(digests | {made.digest}) == len(changes) + 1


def test_names_of_models_become_names_of_the_cluster_and_stay_apart() -> None:
    """Long names and a trailing underscore do not collide; all are DNS labels with room for a suffix."""
    names = ["a", "a_", "a_b", "a" * 63, "a" * 62 + "b", "a" * 62 + "_", "a__b"]
    slugs = [slug(name) for name in names]
    assert len(set(slugs)) == len(names)
    assert all(len(s) <= 40 and s[0].isalpha() and s[-1].isalnum() and "_" not in s for s in slugs)

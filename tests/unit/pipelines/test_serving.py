"""Serving follows the champion: verified, proven, swapped whole; what must not answer does not, and people are told."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from mlops.errors import IntegrityError
from mlops.models.artifacts import local_path
from mlops.pipelines import champions, promotion, serving
from mlops.pipelines import rollback as going_back
from mlops.pipelines.tasks import execute, execute_alone
from mlops.services import Services
from mlops.serving.log_spool import Spool
from mlops.serving.metrics import ServingMetrics
from mlops.serving.routing import Route, RoutingTable, Variant
from mlops.serving.routing_table import TableReader, write_table
from mlops.serving.served import Follower, Served
from tests.contenders import Contenders

_ = champions, promotion, going_back  # the steps that `execute` calls


def follower(contenders: Contenders, tmp_path: Path) -> tuple[Follower, Served, ServingMetrics]:
    """What a process of the service does for one model."""
    services, spec = contenders.services, contenders.spec
    model, metrics = serving.served(services, spec, lookups=False), ServingMetrics()
    spool = Spool(tmp_path / "spool", "w")
    count = itertools.count(1)
    loader = serving.Loader(services, spec, spool, lambda: next(count))
    return serving.follower(services, spec, model, loader, metrics), model, metrics


def promote(contenders: Contenders, version: int) -> None:
    """Promote a version for its night."""
    told = execute("promotion", contenders.services, contenders.spec, contenders.day(version), version=version)
    assert told.outcome == "done", told.reason


def damage(services: Services, uri: str) -> None:
    """Slip a byte into a version's file."""
    folder = local_path(services.registry.artifacts.location(uri))
    assert folder is not None
    with (folder / "model.skops").open("ab") as file:
        file.write(b"x")


@pytest.fixture
def restored(contenders: Contenders) -> object:
    """The store is shared by tests: what was damaged is mended afterwards."""
    kept: dict[Path, bytes] = {}
    for run in contenders.runs:
        folder = local_path(contenders.services.registry.artifacts.location(run.model_uri))
        assert folder is not None
        kept[folder / "model.skops"] = (folder / "model.skops").read_bytes()
    yield
    for path, data in kept.items():
        path.write_bytes(data)


def test_promotion_and_rollback_are_followed(contenders: Contenders, tmp_path: Path) -> None:
    """The first champion, the second, and the first again: each answers as soon as the alias is seen to point to it."""
    watch, model, metrics = follower(contenders, tmp_path)
    assert not watch.step()
    assert "no champion" in model.problem
    seen = []
    for version in (1, 2):
        contenders.contender()
        promote(contenders, version)
        assert watch.step()
        assert not watch.step()
        seen.append(model.live.version if model.live else None)
    spec, today = contenders.spec, contenders.services.clock().date()
    asked = going_back.ask(contenders.services, spec.name)
    told = execute_alone("rollback", contenders.services, spec, today, to=None, reason="", ends=asked)
    assert told.outcome == "done", told.reason
    assert watch.step()
    seen.append(model.live.version if model.live else None)
    assert seen == [1, 2, 1]
    assert model.problem == ""
    assert metrics.summary()["models"][spec.name]["takeovers"] == {"took over": 3}


def test_a_champion_whose_files_were_changed_does_not_take_over(
    contenders: Contenders, tmp_path: Path, restored: object
) -> None:
    """The old version goes on, an incident says why, once; put right, the new one takes over and the incident ends."""
    watch, model, metrics = follower(contenders, tmp_path)
    contenders.contender()
    promote(contenders, 1)
    watch.step()
    found = contenders.contender()
    promote(contenders, 2)
    location = local_path(contenders.services.registry.artifacts.location(found.model_uri))
    assert location is not None
    good = (location / "model.skops").read_bytes()
    damage(contenders.services, found.model_uri)
    for _ in range(3):
        assert not watch.step()
    assert model.live is not None
    assert model.live.version == 1
    assert "changed: model.skops" in model.problem
    (incident,) = contenders.services.alerts.list_incidents(contenders.spec.name)
    assert incident.kind == "serving"
    assert "Version 1 goes on answering" in incident.consequence
    assert metrics.summary()["models"][contenders.spec.name]["takeovers"] == {"took over": 1, "refused": 1}
    (location / "model.skops").write_bytes(good)
    watch._failed = (2, 0.0)  # thirty seconds later
    assert watch.step()
    assert model.live.version == 2
    (incident,) = contenders.services.alerts.list_incidents(contenders.spec.name)
    assert incident.resolved_at is not None


def test_nothing_that_fails_verification_is_loaded(contenders: Contenders, tmp_path: Path, restored: object) -> None:
    """At the start, too: no version answers, and the error names the file."""
    found = contenders.contender()
    promote(contenders, 1)
    damage(contenders.services, found.model_uri)
    with pytest.raises(IntegrityError, match=r"changed: model\.skops"):
        serving.load(contenders.services, contenders.spec, 1)
    watch, model, _metrics = follower(contenders, tmp_path)
    assert not watch.step()
    assert model.live is None
    (incident,) = contenders.services.alerts.list_incidents(contenders.spec.name)
    assert "Nothing answers" in incident.consequence


def test_a_registry_that_is_away_changes_nothing(contenders: Contenders, tmp_path: Path) -> None:
    """The version that answers goes on while nobody can say who is champion."""
    watch, model, _metrics = follower(contenders, tmp_path)
    contenders.contender()
    promote(contenders, 1)
    watch.step()

    def away() -> int | None:
        from mlops.errors import StorageError

        raise StorageError("MLflow's database refused.")

    asked, watch._wanted = watch._wanted, away
    assert not watch.step()
    assert (watch.reachable, model.live is not None) == (False, True)
    watch._wanted = asked
    watch.step()
    assert (watch.reachable, model.problem) == (True, "")


def table_of(contenders: Contenders) -> RoutingTable:
    """One experiment: version 1 against version 2, half and half."""
    variants = (Variant("control", 1, 0.5), Variant("treatment", 2, 0.5))
    return RoutingTable({"x": Route("x", contenders.spec.name, "ab", "main", 0.0, 1.0, "salt", variants)})


def test_an_experiments_versions_are_loaded_and_routed_to(contenders: Contenders, tmp_path: Path) -> None:
    """Both variants answer, each unit the same one always; when the experiment is over, the champion alone does."""
    storage = contenders.services.storage
    watch, model, _metrics = follower(contenders, tmp_path)
    for _number in (1, 2):
        contenders.contender()
    promote_first(contenders)
    watch.step()
    routes = serving.Routes(model, TableReader(storage, seconds=0.0), watch._load)
    routes.step()
    assert (model.router, model.others) == (None, {})
    write_table(storage, table_of(contenders))
    routes.step()
    assert set(model.others) == {2}
    assert model.live is not None
    found = {f"unit {i}": model.choose(f"unit {i}", model.live) for i in range(200)}
    assert {(choice.variant, live.version) for choice, live in found.values()} == {("control", 1), ("treatment", 2)}
    assert all(choice.experiment == "x" for choice, _ in found.values())
    again = {unit: model.choose(unit, model.live)[0] for unit in found}
    assert again == {unit: choice for unit, (choice, _) in found.items()}
    write_table(storage, RoutingTable())
    routes.step()
    assert (model.router, model.others) == (None, {})


def test_an_experiments_version_that_must_not_answer_is_not_routed_to(
    contenders: Contenders, tmp_path: Path, restored: object
) -> None:
    """Its files were changed: the champion answers in its place, and every other unit as before."""
    watch, model, _metrics = follower(contenders, tmp_path)
    for _number in (1, 2):
        found = contenders.contender()
    promote_first(contenders)
    watch.step()
    damage(contenders.services, found.model_uri)
    write_table(contenders.services.storage, table_of(contenders))
    serving.Routes(model, TableReader(contenders.services.storage, seconds=0.0), watch._load).step()
    assert model.others == {}
    assert model.live is not None
    assert {model.choose(f"unit {i}", model.live)[1].version for i in range(50)} == {1}


def promote_first(contenders: Contenders) -> None:
    """Version 1 is champion, whatever was judged since."""
    contenders.services.registry.set_alias(contenders.spec.name, "champion", 1)

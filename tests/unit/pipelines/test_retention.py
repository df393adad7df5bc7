"""`mlops gc` on real parts: what goes is gone everywhere, what stays still loads, and the ledger said so before."""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from mlops.config import MLOpsConfig
from mlops.errors import LeaseError, LedgerError, RegistryError
from mlops.experiments.tracking import Parent
from mlops.governance.retention import Collected
from mlops.models import catalogue
from mlops.pipelines import retention
from mlops.records import StepReport, from_dict
from mlops.services import Services
from mlops.spec import CandidateSpec, ModelSpec
from tests.contenders import spec_of

ROOT = Path(__file__).parents[3]
FEATURES = ("a", "b")
ROWS = pd.DataFrame(np.random.default_rng(0).normal(size=(50, 2)), columns=list(FEATURES)).assign(device_id="x")
LATER = datetime.now(UTC) + timedelta(days=60)  # everything made by these tests is old then
_NAMES = (f"gc{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Services:
    """An installation whose clock runs two months ahead of its MLflow store."""
    var = tmp_path_factory.mktemp("gc") / "var"
    config = MLOpsConfig.build({"home": ROOT, "var": str(var), "code_version": "test", "actor": "ann"})
    return Services(config, lambda: LATER)


@pytest.fixture
def spec(services: Services) -> ModelSpec:
    """A model with four versions: 1 was champion long ago, 2 before 3, 3 is champion, 4 was refused."""
    name = next(_NAMES)
    for number in range(1, 5):
        night(services, name, number)
    for number, age in ((1, 300), (2, 200), (3, 100)):
        services.ledger.append(
            "promotion",
            name,
            {"version": number},
            actor="policy",
            at=LATER - timedelta(days=age),
            key=f"{name}/{number}",
        )
    services.registry.set_alias(name, "champion", 3)
    return spec_of(services, name).model_copy(
        update={"retention": spec_of(services, name).retention.model_copy(update={"keep_versions": 1, "keep_days": 7})}
    )


def night(services: Services, name: str, number: int) -> None:
    """A training: a set, a parent run, a candidate with a model, a version."""
    day = date(2026, 3, number)
    uri = services.storage.uri("training_sets", name, f"date={day}", f"f{number}")
    services.storage.write_table(uri, pa.table({"x": [number]}))
    scorer = catalogue.build(
        CandidateSpec(algorithm="hbos"), task="anomaly", features=FEATURES, entity="device_id", seed=0
    ).fit(ROWS)
    key = f"{name}/training/{day}"
    with services.tracker.run(f"{key}/hbos", experiment=name, parent=Parent(key, str(day))) as run:
        run.log_dataset(uri, f"f{number}", 1)
        model_uri, digest = run.log_scorer(scorer, ROWS.head(2))
        record = run.record(candidate="hbos", algorithm="hbos", model_uri=model_uri, digest=digest)
    services.registry.register(name, run=record, inputs_hash=f"{name}{number}", training_set_uri=uri)


def collected(answer: StepReport) -> Collected:
    """The record of an answer."""
    return from_dict(Collected, answer.record)


def left(services: Services, spec: ModelSpec) -> dict[str, object]:
    """What is there: versions, runs, files."""
    held = retention.survey(services, spec)
    root = Path(services.config.artifact_uri, spec.name)
    return {
        "versions": sorted(version.version for version in held.versions),
        "runs": sorted(runs.run_key for runs in held.runs),
        "sets": sorted(folder.uri[-2:] for folder in held.folders if folder.kind == "training_set"),
        "files": sum(1 for path in root.rglob("*") if path.is_file()),
    }


def test_a_dry_run_changes_nothing_and_says_what_would_go(services: Services, spec: ModelSpec) -> None:
    """By default everything is listed with size and reason, and stays."""
    before = left(services, spec)
    answer = retention.run(services, spec)
    found = collected(answer)
    assert (answer.outcome, found.applied, left(services, spec)) == ("done", False, before)
    names = [(i.kind, i.name) for i in found.items if not i.keep]
    assert [name for name in names if name[0] == "version"] == [("version", "1"), ("version", "4")]
    assert [kind for kind, _ in names] == ["version"] * 2 + ["runs"] * 2 + ["training_set"] * 2
    assert all(item.size > 0 and item.reasons for item in found.items)
    assert "Would delete 2 version, 2 runs, 2 training set" in answer.reason
    assert not services.ledger.entries(spec.name, "retention")


def test_what_goes_is_gone_everywhere_and_what_stays_still_loads(services: Services, spec: ModelSpec) -> None:
    """With apply: versions, runs, their files and training sets are gone; champion and the way back load and verify."""
    before = left(services, spec)["files"]
    assert retention.run(services, spec, apply=True).outcome == "done"
    after = left(services, spec)
    assert (after["versions"], after["sets"]) == ([2, 3], ["f2", "f3"])
    assert after["runs"] == [f"{spec.name}/training/2026-03-0{number}" for number in (2, 3)]
    assert after["files"] == before // 2  # type: ignore[operator]
    for number in (2, 3):
        version = services.registry.get(spec.name, number)
        services.registry.load(version)
        assert services.storage.read_table(version.training_set_uri).num_rows == 1
    (entry,) = services.ledger.entries(spec.name, "retention")
    assert [(item["kind"], item["name"]) for item in entry.body["deleted"][:2]] == [("version", "1"), ("version", "4")]
    assert retention.run(services, spec, apply=True).outcome == "nothing_to_do"
    assert services.ledger.verify() == []


def test_a_held_version_stays_until_it_is_released(services: Services, spec: ModelSpec) -> None:
    """A hold keeps version, runs and training set, and stands in the ledger with its reason; a release ends it."""
    retention.hold(services, spec.name, 1, "audit")
    retention.run(services, spec, apply=True)
    assert left(services, spec)["versions"] == [1, 2, 3]
    item = next(i for i in collected(retention.run(services, spec)).items if i.name == "1")
    assert item.reasons == ("is held by ann: audit",)
    services.registry.load(services.registry.get(spec.name, 1))
    assert retention.release(services, spec.name, 1, "done") is not None
    assert retention.release(services, spec.name, 1, "again") is None
    retention.run(services, spec, apply=True)
    assert left(services, spec)["versions"] == [2, 3]
    with pytest.raises(RegistryError, match="has no version 1"):
        retention.hold(services, spec.name, 1, "too late")


def test_it_does_not_run_beside_a_promotion(
    services: Services, spec: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While somebody holds the model's promotion lease nothing is deleted."""
    monkeypatch.setattr("mlops.pipelines.champions.WAIT_SECONDS", 0)
    before = left(services, spec)
    with (
        services.leases.hold(f"promotion/{spec.name}", "bob", 30),
        pytest.raises(LeaseError, match="bob holds it"),
    ):
        retention.run(services, spec, apply=True)
    assert left(services, spec) == before


def test_a_ledger_that_is_not_whole_is_not_followed(services: Services, spec: ModelSpec) -> None:
    """What must stay is read off the ledger: without the key that vouches for it nothing is deleted."""
    before, key = left(services, spec), services.config.ledger_key_file
    content = key.read_bytes()
    key.unlink()
    with pytest.raises(LedgerError, match=r"verdict is 'cannot tell': .* sealed with key .* Nothing was deleted"):
        retention.run(services, spec, apply=True)
    key.write_bytes(content)
    assert left(services, spec) == before


def test_an_alias_that_was_moved_by_hand_is_not_dropped(services: Services, spec: ModelSpec) -> None:
    """The registry refuses to delete what an alias points to, whoever asks."""
    services.registry.set_alias(spec.name, "shadow", 1)
    with pytest.raises(RegistryError, match="is shadow; it was not deleted"):
        services.registry.delete(spec.name, 1)
    retention.run(services, spec, apply=True)
    assert left(services, spec)["versions"] == [1, 2, 3]


@pytest.mark.parametrize("after", range(6))
def test_cut_short_anywhere_nothing_in_use_is_lost_and_the_next_run_finishes(
    services: Services, spec: ModelSpec, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after so many deletions of six: what is in use loads; the next run leaves what one whole run leaves."""
    real, count = retention._delete, itertools.count()

    def dying(*args: object) -> None:
        if next(count) == after:
            raise KeyboardInterrupt
        real(*args)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(retention, "_delete", dying)
        with pytest.raises(KeyboardInterrupt):
            retention.run(services, spec, apply=True)
    for number in (2, 3):
        services.registry.load(services.registry.get(spec.name, number))
    retention.run(services, spec, apply=True)
    after_all = left(services, spec)
    assert (after_all["versions"], after_all["sets"], len(list(after_all["runs"]))) == ([2, 3], ["f2", "f3"], 2)  # type: ignore[call-overload]
    deleted = {
        (i["kind"], i["name"]) for e in services.ledger.entries(spec.name, "retention") for i in e.body["deleted"]
    }
    assert len(deleted) == 6


def test_a_version_whose_files_were_left_behind_is_finished_by_the_next_run(
    services: Services, spec: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record goes first: cut short before its files went, nobody finds the version, and its files go later."""
    files = left(services, spec)["files"]

    def full(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("mlops.models.artifacts.delete_artifacts", full)
        with pytest.raises(KeyboardInterrupt):
            retention.run(services, spec, apply=True)
    assert (left(services, spec)["versions"], left(services, spec)["files"]) == ([2, 3, 4], files)
    retention.run(services, spec, apply=True)
    assert left(services, spec)["files"] == files // 2  # type: ignore[operator]


def test_old_predictions_and_reports_go_only_if_the_spec_asks(services: Services, spec: ModelSpec) -> None:
    """Without a limit they stay; with one, old dates go, but not the evidence of a version that stays."""
    for day in (date(2026, 3, 3), LATER.date()):
        services.storage.write_table(
            services.storage.uri("predictions", spec.name, f"date={day}"), pa.table({"x": [1]})
        )
    for day, number in ((date(2026, 3, 3), 3), (date(2026, 3, 4), 4)):
        services.storage.write_json(
            services.storage.uri("reports", spec.name, str(day), f"evidence-v{number}.json"), {}
        )
    retention.run(services, spec, apply=True)
    kept = {f.uri.split("/")[-1] for f in retention.survey(services, spec).folders if f.kind != "training_set"}
    assert kept == {"date=2026-03-03", f"date={LATER.date()}", "2026-03-03", "2026-03-04"}
    limits = spec.retention.model_copy(update={"predictions_days": 10, "reports_days": 10})
    retention.run(services, spec.model_copy(update={"retention": limits}), apply=True)
    kept = {f.uri.split("/")[-1] for f in retention.survey(services, spec).folders if f.kind != "training_set"}
    assert kept == {f"date={LATER.date()}", "2026-03-03"}


def test_old_logs_and_backtests_go_only_if_the_spec_asks(services: Services, spec: ModelSpec) -> None:
    """Without a limit they stay; with one, a date of the prediction log and a backtest go whole."""
    storage, one = services.storage, pa.table({"x": [1]})
    for day in (date(2026, 3, 3), LATER.date()):
        for process in ("a-1", "b-1"):
            storage.write_table(storage.uri("prediction_log", spec.name, f"date={day}", process), one)
    for name in ("days/date=2026-03-01", "lessons/x"):
        storage.write_table(storage.uri("backtests", spec.name, "2026-03-01_2026-03-09_ab", name), one)

    def files() -> int:
        tops = ("prediction_log", "backtests")
        return sum(len(storage.listing(storage.uri(top, spec.name))) for top in tops)

    retention.run(services, spec, apply=True)
    assert files() == 6
    limits = spec.retention.model_copy(update={"prediction_log_days": 10, "backtests_days": 10})
    retention.run(services, spec.model_copy(update={"retention": limits}), apply=True)
    assert [file.uri.split("/")[-3] for file in storage.listing(storage.uri("prediction_log", spec.name))] == [
        f"date={LATER.date()}"
    ] * 2
    assert files() == 2


def test_who_predicted_what_is_still_judged_stays(services: Services, spec: ModelSpec) -> None:
    """A version whose predictions labels may still be held against can be loaded, and they are there."""
    lately = LATER.date() - timedelta(days=3)
    uri = services.storage.uri("predictions", spec.name, f"date={lately}")
    services.storage.write_table(uri, pa.table({"x": [1]}), {"version": "4"})
    limits = spec.retention.model_copy(update={"predictions_days": 1})
    retention.run(services, spec.model_copy(update={"retention": limits}), apply=True)
    assert left(services, spec)["versions"] == [2, 3, 4]
    services.registry.load(services.registry.get(spec.name, 4))
    assert services.storage.manifest(uri) is not None

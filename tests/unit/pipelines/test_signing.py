"""Who vouches for a version: the ledger and the signature together, and what is signed again, or is not."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from mlops.cli.__main__ import app
from mlops.config import MLOpsConfig
from mlops.errors import ConfigError, IntegrityError, LedgerError
from mlops.mlflow_store import digest_of, file_digests, open_client
from mlops.models import catalogue
from mlops.pipelines import signing, training
from mlops.records import ModelVersion, RunRecord, StepReport, TrainingSet, from_dict
from mlops.services import Services
from mlops.spec import CandidateSpec

MODEL = "fleet_anomaly"
FEATURES = ("temperature", "pressure")
ROWS = pd.DataFrame(np.random.default_rng(0).normal(size=(200, 2)), columns=list(FEATURES)).assign(device_id="a")
TRAINED_AT = datetime(2026, 3, 1, tzinfo=UTC)
SET = TrainingSet(
    model=MODEL,
    date=date(2026, 3, 1),
    run_key=f"{MODEL}/training/2026-03-01",
    uri="/sets/1",
    fingerprint="f1" * 32,
    features=FEATURES,
    rows=200,
    entities=1,
    fit_rows=100,
    calibration_rows=50,
    holdout_rows=50,
    labelled_rows=0,
    positives=0,
    window_start=TRAINED_AT,
    holdout_start=TRAINED_AT,
    window_end=TRAINED_AT,
)


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables, made once: it needs seconds for them."""
    home = tmp_path_factory.mktemp("empty")
    open_client(MLOpsConfig.build({"home": home}))
    return home / "var" / "mlflow"


@pytest.fixture
def services(config: MLOpsConfig, empty: Path) -> Services:
    """An installation of the test's own: registry, ledger and keys."""
    shutil.copytree(empty, config.state_dir / "mlflow")
    return Services.open(config)


def fitted(services: Services, bins: int = 5) -> RunRecord:
    """A finished run with a logged model."""
    candidate = CandidateSpec(algorithm="hbos", params={"n_bins": bins})
    built = catalogue.build(candidate, task="anomaly", features=FEATURES, entity="device_id", seed=0)
    with services.tracker.run(f"{SET.run_key}/hbos{bins}", experiment=MODEL) as run:
        uri, digest = run.log_scorer(built.fit(ROWS).with_threshold(2.0), ROWS.head(3))
        measured = {"cv_roc_auc": 0.5, "calibration_roc_auc": 0.5}
        return run.record(candidate="hbos", algorithm="hbos", model_uri=uri, digest=digest, metrics=measured)


def selected(services: Services, run: RunRecord) -> ModelVersion:
    """What training makes of it."""
    answer: StepReport = training.select(services, services.spec(MODEL), SET, [run])
    return from_dict(ModelVersion, answer.record)


def folder(services: Services, version: ModelVersion) -> Path:
    """Where its files lie."""
    return Path(services.registry.artifacts.location(version.model_uri))


def make_registry_fit(services: Services, version: ModelVersion) -> ModelVersion:
    """Rewrite the digests in the registry so that they are those of the files as they lie there now."""
    files = file_digests(folder(services, version))
    for key, value in (("files", json.dumps(files)), ("digest", digest_of(files))):
        services.registry.client.set_model_version_tag(MODEL, str(version.version), f"mlops.{key}", value)
    return services.registry.get(MODEL, version.version)


def drop_signature(services: Services, version: ModelVersion) -> None:
    """As if it had been registered before versions were signed."""
    services.registry.client.delete_model_version_tag(MODEL, str(version.version), "mlops.signed_by")


def kinds(services: Services) -> list[str]:
    """Kinds of all entries in the ledger."""
    return [entry.kind for entry in services.ledger.entries()]


def test_training_writes_what_it_registered_into_the_ledger_once(services: Services) -> None:
    """Digest, key and data fingerprint; a retry and a rotation between them add nothing."""
    run = fitted(services)
    version = selected(services, run)
    (entry,) = services.ledger.entries(MODEL, "registration")
    assert entry.key == f"{MODEL}/registration/v1"
    assert entry.body["digest"] == version.digest == run.digest
    assert (entry.body["signed_by"], entry.body["fingerprint"]) == (version.signed_by, SET.fingerprint)
    assert (entry.body["run_id"], entry.body["inputs_hash"]) == (run.run_id, version.inputs_hash)
    signing.rotate(services)
    assert selected(services, run) == replace(version, reused=True)
    assert kinds(services) == ["registration", "key_rotated"]
    assert signing.verify(services, MODEL, 1).signed_by == version.signed_by


def test_a_registration_that_was_cut_short_is_finished_by_the_retry(services: Services) -> None:
    """Killed after the version was made and before it was signed: the retry signs the same version."""
    run = fitted(services)
    drop_signature(services, services.registry.register(MODEL, run=run, inputs_hash="x"))
    spec = services.spec(MODEL)
    services.registry.client.set_model_version_tag(
        MODEL, "1", "mlops.inputs_hash", training._hash(services, spec, SET, "hbos")
    )
    version = selected(services, run)
    assert (version.version, version.reused) == (1, True)
    assert services.registry.verify(version) == version.signed_by
    assert kinds(services) == ["signature", "registration"]


def test_another_version_under_a_number_that_the_ledger_knows_is_an_error(services: Services) -> None:
    """The registry was emptied and filled anew: a number must not name two things."""
    version = selected(services, fitted(services))
    with pytest.raises(LedgerError, match=r"but the ledger says.*registered under that number.*new name"):
        signing.record_registration(services, replace(version, digest="0" * 64), "f")


def test_a_model_that_was_deleted_in_mlflow_is_not_made_again_under_its_name(services: Services) -> None:
    """Its numbers would begin at 1 once more: refused before anything is registered, every night, with the way out.

    Under a new name it goes on, and the ledger holds what both decided.
    """
    selected(services, fitted(services))
    services.registry.client.delete_registered_model(MODEL)
    again = fitted(services, bins=6)
    for _ in range(2):
        with pytest.raises(LedgerError, match=r"knows no model fleet_anomaly.* the newest is 1: .*backup.* a new name"):
            selected(services, again)
        assert not services.registry.knows(MODEL)
    spec = services.spec(MODEL).model_copy(update={"name": "fleet_two"})
    renamed = replace(SET, model="fleet_two", run_key="fleet_two/training/2026-03-01")
    answer: StepReport = training.select(services, spec, renamed, [again])
    assert from_dict(ModelVersion, answer.record).version == 1
    assert [entry.model for entry in services.ledger.entries(kind="registration")] == [MODEL, "fleet_two"]
    assert services.ledger.verify() == []


def test_a_model_whose_versions_were_all_deleted_goes_on_counting(services: Services) -> None:
    """MLflow remembers their numbers as long as it knows the model, so the next one means nothing else."""
    selected(services, fitted(services))
    services.registry.delete(MODEL, 1)
    assert selected(services, fitted(services, bins=6)).version == 2


def test_signing_again_carries_a_version_over_to_the_current_key(services: Services) -> None:
    """After a rotation the old signature vouches for the files; the ledger says who signed again."""
    version = selected(services, fitted(services))
    _, new = signing.rotate(services)
    record = signing.sign(services, MODEL, 1)
    assert (record.signed_by, record.previously, record.vouched_by) == (new.id, version.signed_by, "signature")
    (entry,) = services.ledger.entries(MODEL, "signature")
    assert entry.body["signed_by"] == new.id
    assert signing.verify(services, MODEL, 1).signed_by == new.id


def test_after_a_revocation_the_ledger_vouches_for_a_version(services: Services) -> None:
    """A revoked key's signature proves nothing any more; the digest that the ledger holds does."""
    version = selected(services, fitted(services))
    key, refused = signing.revoke(services, version.signed_by, "laptop lost")
    assert (key.status, [item.version for item in refused]) == ("revoked", [1])
    with pytest.raises(IntegrityError, match="revoked: laptop lost"):
        services.registry.load(version)
    assert kinds(services) == ["registration", "key_revoked", "key_rotated"]
    assert signing.sign(services, MODEL, 1).vouched_by == "ledger"
    services.registry.load(services.registry.get(MODEL, 1))


def test_changed_files_are_not_signed_even_if_the_registry_was_made_to_fit(services: Services) -> None:
    """With the old key revoked nothing stands in the way but the ledger: its digest is another."""
    version = selected(services, fitted(services))
    (folder(services, version) / "conda.yaml").write_text("name: other")
    make_registry_fit(services, version)
    signing.revoke(services, version.signed_by, "stolen")
    for drop in (False, True):
        if drop:
            drop_signature(services, version)
        with pytest.raises(IntegrityError, match=r"digest .* in the registry, but .* in the ledger \(entry 1\)"):
            signing.sign(services, MODEL, 1)
    with pytest.raises(IntegrityError, match="is not signed"):
        signing.verify(services, MODEL, 1)


def test_a_version_from_before_signatures_is_signed_on_its_digests(services: Services) -> None:
    """The ledger does not know it: the files are held against the digests in the registry; changed ones are refused."""
    version = services.registry.register(MODEL, run=fitted(services), inputs_hash="x")
    drop_signature(services, version)
    with pytest.raises(IntegrityError, match=f"is not signed.*mlops sign {MODEL} 1"):
        services.registry.load(version)
    kept = (folder(services, version) / "conda.yaml").read_bytes()
    (folder(services, version) / "conda.yaml").write_text("name: other")
    with pytest.raises(IntegrityError, match=r"not what was registered \(changed: conda\.yaml\)"):
        signing.sign(services, MODEL, 1)
    (folder(services, version) / "conda.yaml").write_bytes(kept)
    assert signing.sign(services, MODEL, 1).vouched_by == "registry"
    services.registry.load(services.registry.get(MODEL, 1))


def test_what_nothing_vouches_for_is_not_signed(services: Services) -> None:
    """Signed by a key that was revoked, and unknown to the ledger: only a new training helps."""
    version = services.registry.register(MODEL, run=fitted(services), inputs_hash="x")
    signing.revoke(services, version.signed_by, "stolen")
    with pytest.raises(IntegrityError, match=r"revoked: stolen.*ledger knows nothing.*Train again"):
        signing.sign(services, MODEL, 1)


def test_a_revocation_needs_a_reason(services: Services) -> None:
    """It is what people read where a version is refused."""
    key = signing.create(services)
    with pytest.raises(ConfigError, match="for a reason"):
        signing.revoke(services, key.id, " ")
    assert signing.create(services) == key
    assert kinds(services) == ["key_rotated"]


def test_the_command_line_shows_signs_verifies_rotates_and_revokes(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A life of keys by hand; with --json each command prints its record and nothing else."""
    monkeypatch.setenv("MLOPS_VAR", services.config.var)
    monkeypatch.setenv("MLOPS_HOME", str(services.config.home))

    def mlops(*words: str) -> Any:
        done = CliRunner().invoke(app, [*words, "--json"])
        assert done.exit_code == 0, done.output
        return json.loads(done.output)

    first = mlops("keys", "create")
    version = selected(services, fitted(services))
    assert version.signed_by == first["id"] == mlops("verify", MODEL, "1")["signed_by"]
    rotated = mlops("keys", "rotate")
    assert rotated["old"] == first["id"]
    assert [(key["id"], key["status"]) for key in mlops("keys", "list")] == [
        (rotated["new"], "current"),
        (first["id"], "trusted"),
    ]
    assert mlops("keys", "revoke", first["id"], "--reason", "old")["refused"] == [f"{MODEL} 1"]
    refusal = CliRunner().invoke(app, ["verify", MODEL, "1"])
    assert isinstance(refusal.exception, IntegrityError)
    assert mlops("sign", MODEL, "1")["vouched_by"] == "ledger"
    assert mlops("verify", MODEL, "1")["signed_by"] == rotated["new"]
    exported = CliRunner().invoke(app, ["keys", "export"]).output
    assert exported.startswith("-----BEGIN PUBLIC KEY-----")
    words = CliRunner().invoke(app, ["keys", "list"]).output
    assert all(part in words for part in (first["id"], "revoked", "old", rotated["new"], "current"))

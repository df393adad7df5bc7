"""Signatures: what a trusted key signed as this version is loaded, and nothing else, whatever else is made to fit."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops.config import MLOpsConfig
from mlops.errors import ConfigError, IntegrityError
from mlops.experiments.tracking import ExperimentTracker
from mlops.mlflow_store import digest_of, file_digests
from mlops.models import catalogue, signing
from mlops.models.keys import Keyring
from mlops.models.registry import ModelRegistry
from mlops.models.scoring import Scorer
from mlops.records import ModelVersion
from mlops.spec import CandidateSpec

FEATURES = ("temperature", "pressure")
ROWS = pd.DataFrame(np.random.default_rng(0).normal(size=(200, 2)), columns=list(FEATURES)).assign(device_id="a")
AT = datetime(2026, 3, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Place:
    """An installation, and the model of one test in it."""

    config: MLOpsConfig
    model: str

    @property
    def registry(self) -> ModelRegistry:
        """Its registry, opened anew."""
        return ModelRegistry(self.config)

    @property
    def keyring(self) -> Keyring:
        """Its keys."""
        return Keyring.of(self.config)

    def register(self, seed: int = 0, model: str = "") -> ModelVersion:
        """Fit, log and register one candidate."""
        name = model or self.model
        candidate = CandidateSpec(algorithm="hbos", params={"n_bins": 5 + seed})
        built = catalogue.build(candidate, task="anomaly", features=FEATURES, entity="device_id", seed=seed)
        with ExperimentTracker(self.config).run(f"{name}/training/{seed}", experiment=name) as run:
            uri, digest = run.log_scorer(built.fit(ROWS).with_threshold(2.0), ROWS.head(3))
            record = run.record(candidate="hbos", algorithm="hbos", model_uri=uri, digest=digest)
        return self.registry.register(name, run=record, inputs_hash=str(seed))

    def folder(self, version: ModelVersion) -> Path:
        """Where the files of a version lie."""
        return Path(self.registry.artifacts.location(version.model_uri))

    def signature(self, version: ModelVersion) -> Path:
        """Where the signature of a version lies."""
        run = self.registry.client.get_run(version.run_id)
        (path,) = Path(run.info.artifact_uri).glob(f"signatures/{version.model}@{version.version}.*.json")
        return path

    def claim(self, version: ModelVersion, **tags: str) -> None:
        """Write tags as somebody does who may write into the registry."""
        for key, value in tags.items():
            self.registry.client.set_model_version_tag(version.model, str(version.version), f"mlops.{key}", value)

    def make_digests_fit(self, version: ModelVersion) -> ModelVersion:
        """Rewrite the digests in the registry so that they are those of the files as they lie there now."""
        files = file_digests(self.folder(version))
        self.claim(version, files=json.dumps(files), digest=digest_of(files))
        return self.registry.get(version.model, version.version)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One MLflow for the module, as it needs seconds to make its tables; each test has its own model and keys."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def place(home: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Place:
    """A place with keys and a model of its own."""
    config = MLOpsConfig.build({"home": home, "keys_dir": tmp_path / "keys"})
    return Place(config, re.sub(r"\W", "_", request.node.name)[-60:])


def refused(place: Place, version: ModelVersion) -> str:
    """Why a version is refused, by loading and by verifying alike."""
    with pytest.raises(IntegrityError) as loading:
        place.registry.load(version)
    with pytest.raises(IntegrityError) as verifying:
        place.registry.verify(version)
    assert str(loading.value) == str(verifying.value)
    return str(loading.value)


def test_a_registered_version_is_signed_by_the_current_key(place: Place) -> None:
    """The record names the key, verifying answers with it, and the signature lies outside the folder that it signs."""
    version = place.register()
    key = place.keyring.current()
    assert key is not None
    assert version.signed_by == key.id == place.registry.verify(version)
    assert isinstance(place.registry.load(version), Scorer)
    assert not place.signature(version).is_relative_to(place.folder(version))
    assert place.registry.signed_by(key.id) == (version,)


def test_a_signature_is_one_that_other_tools_verify(place: Place, tmp_path: Path) -> None:
    """The command line of OpenSSF model signing verifies it with the exported key, and refuses it after a change."""
    version = place.register()
    copy, key = tmp_path / "copy", tmp_path / "key.pem"
    shutil.copytree(place.folder(version), copy)
    key.write_text(place.keyring.export())
    command = [sys.executable, "-m", "model_signing", "verify", "key", str(copy), f"--public_key={key}"]
    command += [f"--signature={place.signature(version)}"]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    (copy / "MLmodel").write_text("other")
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0


def change(folder: Path) -> str:
    """Another pickle-free scorer in place of the first."""
    (folder / "model.skops").write_bytes((folder / "model.skops").read_bytes() + b" ")
    return r"not what was signed \(changed: model\.skops\)"


def remove(folder: Path) -> str:
    """A file less."""
    (folder / "conda.yaml").unlink()
    return r"not what was signed \(missing: conda\.yaml\)"


def add(folder: Path) -> str:
    """A file more, hidden, of a name that signing tools leave out by default."""
    (folder / ".gitattributes").write_text("* -text")
    return r"not what was signed \(added: \.gitattributes\)"


def add_deep(folder: Path) -> str:
    """A file more in a folder of its own."""
    (folder / "code" / ".git").mkdir(parents=True)
    (folder / "code" / ".git" / "sitecustomize.py").write_text("")
    return r"not what was signed \(added: code/\.git/sitecustomize\.py\)"


@pytest.mark.parametrize("tamper", [change, remove, add, add_deep])
def test_matching_digests_in_the_registry_do_not_help_who_changed_a_file(
    place: Place, tamper: Callable[[Path], str]
) -> None:
    """Somebody changes files and rewrites the digests in the registry to fit: the signature still names the file."""
    version = place.register()
    words = tamper(place.folder(version))
    assert re.search(words, refused(place, version))
    assert re.search(words, refused(place, place.make_digests_fit(version)))


def test_any_flipped_bit_of_a_registered_version_is_refused_with_the_files_name(place: Place) -> None:
    """Whichever file of the folder as MLflow wrote it: loading and verifying name it, and nothing else."""
    version = place.register()
    folder = place.folder(version)
    names = sorted(file_digests(folder))
    assert {"MLmodel", "model.skops", "requirements.txt"} <= set(names)

    @settings(max_examples=30, deadline=None)
    @given(data=st.data())
    def flip(data: st.DataObject) -> None:
        path = folder / data.draw(st.sampled_from(names))
        before = path.read_bytes()
        content = bytearray(before)
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        path.write_bytes(content)
        try:
            words = refused(place, version)
        finally:
            path.write_bytes(before)
        assert f"not what was signed (changed: {path.name}). It was not loaded." in words

    flip()
    assert isinstance(place.registry.load(version), Scorer)


def test_digests_that_differ_from_the_signature_are_refused_too(place: Place) -> None:
    """The files are those signed, but the registry speaks of others: gates and ledger judged something else."""
    version = place.register()
    files = file_digests(place.folder(version)) | {"model.skops": "0" * 64}
    place.claim(version, files=json.dumps(files), digest=digest_of(files))
    told = place.registry.get(place.model, version.version)
    assert "not what was registered (changed: model.skops)" in refused(place, told)
    assert "which the registry does not confirm" in refused(place, version)


def test_an_unsigned_version_is_refused_with_what_to_do(place: Place) -> None:
    """One registered before versions were signed, or whose tag somebody dropped."""
    version = place.register()
    place.registry.client.delete_model_version_tag(place.model, "1", "mlops.signed_by")
    words = refused(place, version)
    assert "is not signed. It was not loaded." in words
    assert f"mlops sign {place.model} 1" in words


def test_a_signature_that_is_gone_is_refused_with_its_name(place: Place) -> None:
    """The artifact was deleted from the run."""
    version = place.register()
    place.signature(version).unlink()
    assert re.search(rf"its signature signatures/{place.model}@1\.\w+\.json is missing", refused(place, version))


def test_another_version_cannot_take_a_versions_place(place: Place) -> None:
    """An older version's files, digests and signature are moved in whole: the signature says which version it is."""
    old, new = place.register(0), place.register(1)
    shutil.copy(place.signature(old), place.signature(new))
    assert f"its signature is that of {place.model}@1" in refused(place, new)
    tags = place.registry.client.get_model_version(place.model, "1").tags
    place.claim(new, **{key: tags[f"mlops.{key}"] for key in ("files", "digest", "model_uri")})
    assert f"its signature is that of {place.model}@1" in refused(place, place.registry.get(place.model, 2))


def test_another_model_cannot_take_a_models_place(place: Place) -> None:
    """Version 1 of another model, signed by the same key, is not version 1 of this one."""
    mine, other = place.register(0), place.register(0, model=f"{place.model}_other")
    shutil.copy(place.signature(other), place.signature(mine))
    assert f"its signature is that of {place.model}_other@1" in refused(place, mine)


def test_a_key_that_is_not_trusted_is_refused_by_name(place: Place, tmp_path: Path) -> None:
    """Somebody with keys of their own signs a changed model properly: their key is unknown here."""
    version = place.register()
    change(place.folder(version))
    told = place.make_digests_fit(version)
    theirs = Keyring(tmp_path / "theirs", tmp_path / "theirs" / "signing.key")
    elsewhere = replace(place, config=place.config.model_copy(update={"signing_key_file": theirs.private}))
    theirs.make()
    with pytest.raises(ConfigError, match="not among the trusted keys"):
        elsewhere.registry.sign(told)
    forged = replace(
        place, config=place.config.model_copy(update={"keys_dir": theirs.folder, "signing_key_file": theirs.private})
    )
    signed = forged.registry.sign(told)
    assert forged.registry.verify(signed) == signed.signed_by
    words = refused(place, signed)
    assert f"signed by the key {signed.signed_by}, which is not trusted here" in words
    assert str(place.keyring.folder / "trusted") in words


def test_a_signature_that_names_a_trusted_key_but_was_made_by_another_is_refused(place: Place, tmp_path: Path) -> None:
    """The hint in a signature is only a claim."""
    version = place.register()
    theirs = Keyring(tmp_path / "theirs", tmp_path / "theirs" / "signing.key").to_sign()
    folder = tmp_path / f"{place.model}@1"
    shutil.copytree(place.folder(version), folder)
    forged = json.loads(signing.sign(folder, theirs))
    mine = json.loads(place.signature(version).read_text())
    forged["verificationMaterial"] = mine["verificationMaterial"]
    place.signature(version).write_text(json.dumps(forged))
    assert re.search(rf"not made by the key {version.signed_by} that it names", refused(place, version))


def test_after_a_rotation_old_versions_load_and_new_ones_carry_the_new_key(place: Place) -> None:
    """Rotation refuses nothing; signing again carries an old version over to the new key."""
    old = place.register(0)
    _, current = place.keyring.rotate()
    new = place.register(1)
    assert (old.signed_by != new.signed_by, new.signed_by) == (True, current.id)
    assert place.registry.verify(old) == old.signed_by
    again = place.registry.sign(old)
    assert again == replace(old, signed_by=current.id)
    assert place.registry.verify(old) == current.id  # a record from before knows the old key; the registry the new one


def test_a_revoked_key_is_refused_by_name_with_the_reason(place: Place) -> None:
    """What it signed is not loaded; what another key signed is; signing again by a good key brings it back."""
    old = place.register(0)
    place.keyring.rotate()
    new = place.register(1)
    place.keyring.revoke(old.signed_by, reason="laptop lost", at=AT)
    words = refused(place, old)
    assert f"signed by the key {old.signed_by}, which was revoked: laptop lost" in words
    assert f"mlops sign {place.model} 1" in words
    assert place.registry.verify(new) == new.signed_by
    assert place.registry.verify(place.registry.sign(old)) == new.signed_by


def test_a_consumer_loads_with_public_keys_alone(place: Place, tmp_path: Path) -> None:
    """Serving has no private key and makes none; registering there is an error that says what to do."""
    version = place.register()
    consumer_keys = tmp_path / "consumer"
    (consumer_keys / "trusted").mkdir(parents=True)
    (consumer_keys / "trusted" / "training.pem").write_text(place.keyring.export())
    config = place.config.model_copy(
        update={"keys_dir": consumer_keys, "signing_key_file": consumer_keys / "signing.key", "create_keys": False}
    )
    consumer = replace(place, config=config)
    assert isinstance(consumer.registry.load(version), Scorer)
    assert not (consumer_keys / "signing.key").exists()
    (consumer_keys / "signing.key").write_text("whatever lies there is of no concern to who only loads")
    assert consumer.registry.verify(version) == version.signed_by
    (consumer_keys / "signing.key").unlink()
    with pytest.raises(ConfigError, match="mlops keys create"):
        consumer.register(1)
    assert [item.version for item in place.registry.versions(place.model)] == [1]


def test_a_file_that_differs_from_the_registry_is_not_signed_again(place: Place) -> None:
    """Signing again is no way around the digests."""
    version = place.register()
    change(place.folder(version))
    with pytest.raises(IntegrityError, match=r"not what was registered \(changed: model\.skops\)"):
        place.registry.sign(version)


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes, Keyring]:
    """A small folder, its signature and the keyring."""
    root = tmp_path_factory.mktemp("signed")
    keyring = Keyring(root / "keys", root / "keys" / "signing.key")
    folder = root / "pumps@3"
    (folder / "sub").mkdir(parents=True)
    for name in ("MLmodel", "model.skops", "sub/data.bin", ".hidden"):
        (folder / name).write_bytes(name.encode() * 7)
    return folder, signing.sign(folder, keyring.to_sign()), keyring


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_flipped_bit_of_any_file_is_seen(signed: tuple[Path, bytes, Keyring], data: st.DataObject) -> None:
    """Whichever file, byte and bit: the digest of that file alone differs from what the signature vouches for."""
    folder, signature, keyring = signed
    name = data.draw(st.sampled_from(sorted(file_digests(folder))))
    content = bytearray((folder / name).read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] ^= 1 << data.draw(st.integers(0, 7))
    vouched = signing.verified(signature, "pumps@3", keyring).files
    before = (folder / name).read_bytes()
    try:
        (folder / name).write_bytes(content)
        found = file_digests(folder)
    finally:
        (folder / name).write_bytes(before)
    assert {path for path in vouched if vouched[path] != found[path]} == {name}
    assert file_digests(folder) == vouched


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_any_flipped_bit_of_the_signature_is_refused_or_changes_nothing(
    signed: tuple[Path, bytes, Keyring], data: st.DataObject
) -> None:
    """No bit of a signature can be turned so that it vouches for other files (some bits carry no meaning)."""
    _, signature, keyring = signed
    changed = bytearray(signature)
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        found = signing.verified(bytes(changed), "pumps@3", keyring)
    except IntegrityError:
        return
    assert found == signing.verified(signature, "pumps@3", keyring)
    assert found.files == files_by_the_standard_verifier(bytes(changed), keyring)


def files_by_the_standard_verifier(signature: bytes, keyring: Keyring) -> dict[str, str]:
    """What OpenSSF's own verifier reads out of a signature, or the error with which it refuses."""
    from model_signing._signing import sign_ec_key, sign_sigstore_pb

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "signature")
        path.write_bytes(signature)
        (key,) = (keyring.folder / "trusted").glob("*.pem")
        manifest = sign_ec_key.Verifier(key).verify(sign_sigstore_pb.Signature.read(path))
    return {item.identifier: item.digest.digest_hex for item in manifest.resource_descriptors()}


def edited(signature: bytes, edit: Callable[[dict[str, object]], None]) -> bytes:
    """A signature whose statement was edited."""
    bundle = json.loads(signature)
    payload = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    edit(payload)
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(payload).encode()).decode()
    return json.dumps(bundle).encode()


@pytest.mark.parametrize(
    "forged",
    [
        b"",
        b"no json",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b'{"verificationMaterial": {}}',
        b'{"verificationMaterial": {"publicKey": {"hint": ""}}}',
    ],
)
def test_what_is_no_signature_is_refused(signed: tuple[Path, bytes, Keyring], forged: bytes) -> None:
    """Whatever lies in its place ends in one refusal, not in an error of some library."""
    _, _, keyring = signed
    with pytest.raises(IntegrityError, match=r"pumps@3: its signature cannot be read.*not loaded"):
        signing.verified(forged, "pumps@3", keyring)


def test_an_edited_statement_is_refused(signed: tuple[Path, bytes, Keyring]) -> None:
    """Another digest, another subject or a file less in the signed statement breaks the signature."""
    _, signature, keyring = signed

    def other_digest(statement: dict[str, object]) -> None:
        statement["predicate"]["resources"][0]["digest"] = "0" * 64

    def other_subject(statement: dict[str, object]) -> None:
        statement["subject"][0]["name"] = "pumps@4"

    def no_files(statement: dict[str, object]) -> None:
        statement["predicate"]["resources"] = []

    for edit, subject in ((other_digest, "pumps@3"), (other_subject, "pumps@4"), (no_files, "pumps@3")):
        with pytest.raises(IntegrityError, match="not made by the key"):
            signing.verified(edited(signature, edit), subject, keyring)


def test_a_signature_that_leaves_files_out_is_refused(signed: tuple[Path, bytes, Keyring]) -> None:
    """Made with the right key by another tool, but not over every file: it vouches for too little."""
    from model_signing import hashing
    from model_signing import signing as tool

    folder, _, keyring = signed
    some = hashing.Config().use_file_serialization(hashing_algorithm="sha256")
    some.set_ignored_paths(paths=["model.skops"])
    target = folder.parent / "partial.json"
    tool.Config().use_elliptic_key_signer(private_key=keyring.private).set_hashing_config(some).sign(folder, target)
    with pytest.raises(IntegrityError, match=r"does not cover every file.*mlops sign pumps 3"):
        signing.verified(target.read_bytes(), "pumps@3", keyring)

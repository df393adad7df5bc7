"""Keys: one private key that nobody else can read, public keys that are trusted until they are revoked."""

from __future__ import annotations

import stat
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mlops.config import MLOpsConfig
from mlops.errors import ConfigError
from mlops.models.keys import Keyring

AT = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    """An empty keyring."""
    return Keyring(tmp_path / "keys", tmp_path / "keys" / "signing.key")


def test_the_first_need_makes_a_pair_that_only_its_owner_can_read(keyring: Keyring) -> None:
    """The private key has mode 0600, its public half is trusted, and the second need finds it."""
    assert keyring.known() == ()
    path = keyring.to_sign()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    (key,) = keyring.known()
    assert (key.status, key.fingerprint[:16]) == ("current", key.id)
    assert keyring.to_sign().read_bytes() == path.read_bytes()
    assert "PRIVATE" not in keyring.export() == key.path.read_text()
    assert not list(keyring.folder.rglob(".*"))


def test_where_keys_are_made_on_purpose_a_missing_one_says_how(tmp_path: Path) -> None:
    """Production makes no key on the way: the message names the command and the setting."""
    keyring = Keyring(tmp_path, tmp_path / "signing.key", create=False)
    with pytest.raises(ConfigError, match=r"signing\.key does not exist.*mlops keys create.*MLOPS_SIGNING_KEY_FILE"):
        keyring.to_sign()
    assert list(tmp_path.iterdir()) == []


def test_settings_say_where_keys_are(tmp_path: Path) -> None:
    """Below the state by default; the private key elsewhere if a secret is mounted there."""
    default = Keyring.of(MLOpsConfig.build({"home": tmp_path}))
    assert (default.folder, default.private) == (tmp_path / "var/keys", tmp_path / "var/keys/signing.key")
    moved = Keyring.of(MLOpsConfig.build({"home": tmp_path, "keys_dir": "/k", "create_keys": "false"}))
    assert (moved.folder, moved.private, moved.create) == (Path("/k"), Path("/k/signing.key"), False)
    secret = Keyring.of(MLOpsConfig.build({"home": tmp_path, "signing_key_file": "/run/secrets/key"}))
    assert secret.private == Path("/run/secrets/key")


def test_after_a_rotation_the_old_key_is_trusted_but_signs_no_more(keyring: Keyring) -> None:
    """A new private key takes the place of the old one, whose public half stays."""
    first = keyring.make()
    before = keyring.private.read_bytes()
    old, new = keyring.rotate()
    assert old == first
    assert keyring.private.read_bytes() != before
    assert [(key.id, key.status) for key in keyring.known()] == [(new.id, "current"), (first.id, "trusted")]


def test_a_revoked_key_is_trusted_no_more_even_if_it_is_put_back(keyring: Keyring) -> None:
    """The revocation says when and why, and outranks a public key that somebody copies back."""
    old, _ = keyring.make(), keyring.rotate()
    pem = old.path.read_bytes()
    revoked = keyring.revoke(old.id[:6], reason="laptop lost", at=AT)
    assert (revoked.id, revoked.status, revoked.reason) == (old.id, "revoked", "laptop lost")
    assert revoked.revoked_at == AT.isoformat()
    assert not old.path.exists()
    (keyring.folder / "trusted" / "back.pem").write_bytes(pem)
    assert keyring.find(old.id).status == "revoked"
    assert keyring.export(old.id) == pem.decode()
    assert keyring.revoke(old.id, reason="again", at=AT) == keyring.find(old.id)


def test_revoking_the_key_that_signs_makes_a_new_one(keyring: Keyring) -> None:
    """Signing goes on, with another key."""
    first = keyring.make()
    keyring.revoke(first.id, reason="stolen", at=AT)
    current = keyring.current()
    assert current is not None
    assert current.id != first.id
    assert keyring.to_sign().exists()


def test_a_revoked_private_key_that_comes_back_signs_nothing(keyring: Keyring) -> None:
    """Somebody restores the old private key from a backup: it is refused by name."""
    first = keyring.make()
    kept = keyring.private.read_bytes()
    keyring.revoke(first.id, reason="stolen", at=AT)
    keyring.private.write_bytes(kept)
    with pytest.raises(ConfigError, match=rf"{first.id}.*is revoked.*mlops keys rotate"):
        keyring.to_sign()


def test_a_private_key_that_others_can_read_is_refused(keyring: Keyring) -> None:
    """As ssh does; a group may read it, as secrets are mounted in Kubernetes."""
    keyring.make()
    keyring.private.chmod(0o640)
    keyring.to_sign()
    keyring.private.chmod(0o644)
    with pytest.raises(ConfigError, match=r"mode 0644.*chmod 600"):
        keyring.to_sign()


def mounted(folder: Path, mode: int, **files: str) -> None:
    """Put files into a folder as the kubelet mounts a Secret or ConfigMap: links into a folder that is swapped."""
    version = folder / f"..2026_{sum(1 for _ in folder.iterdir()) if folder.exists() else 0}"
    version.mkdir(parents=True)
    for name, text in files.items():
        (version / name).write_text(text)
        (version / name).chmod(mode)
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(Path("..data", name))
    (folder / "..data_tmp").symlink_to(version.name)
    (folder / "..data_tmp").replace(folder / "..data")


def test_keys_may_lie_as_kubernetes_mounts_them(keyring: Keyring, tmp_path: Path) -> None:
    """Links into a hidden folder, private key of mode 0440: they are read, and followed when it is updated."""
    first = keyring.make()
    pems = {"first.pem": keyring.export()}
    mounted(tmp_path / "mount" / "trusted", 0o444, **pems)
    mounted(tmp_path / "secret", 0o440, **{"signing.key": keyring.private.read_text()})
    there = Keyring(tmp_path / "mount", tmp_path / "secret" / "signing.key", create=False)
    assert there.to_sign().read_bytes() == keyring.private.read_bytes()
    assert [(key.id, key.status) for key in there.known()] == [(first.id, "current")]
    _, second = keyring.rotate()
    mounted(tmp_path / "mount" / "trusted", 0o444, **pems, **{"second.pem": keyring.export()})
    assert {key.id for key in there.known()} == {first.id, second.id}


def test_a_private_key_whose_public_half_is_not_trusted_signs_nothing(keyring: Keyring) -> None:
    """Nobody would load what it signs; the message says how to trust it, and following it helps."""
    key = keyring.make()
    key.path.unlink()
    with pytest.raises(ConfigError, match=r"not among the trusted keys.*mlops keys export"):
        keyring.to_sign()
    (keyring.folder / "trusted" / "mine.pem").write_text(keyring.export())
    assert keyring.to_sign() == keyring.private


@pytest.mark.parametrize("name", ["trusted/x.pem", "revoked/x.json", "signing.key"])
def test_a_file_that_is_no_key_is_named(keyring: Keyring, name: str) -> None:
    """Nothing is trusted beside a file that cannot be understood, least of all a revocation."""
    keyring.make()
    keyring.revoke(keyring.make().id, reason="x", at=AT)
    (keyring.folder / name).write_text("no key")
    with pytest.raises(ConfigError, match=name.replace("/", ".")):
        keyring.known()


def test_keys_of_other_kinds_are_refused(keyring: Keyring) -> None:
    """Model signing knows three curves and nothing else."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    keyring.make()
    for public in (
        rsa.generate_private_key(65537, 2048).public_key(),
        ec.generate_private_key(ec.SECP256K1()).public_key(),
    ):
        pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        (keyring.folder / "trusted" / "other.pem").write_bytes(pem)
        with pytest.raises(ConfigError, match=r"other\.pem.*secp256r1"):
            keyring.known()


def test_an_unknown_key_is_answered_with_the_one_that_was_meant(keyring: Keyring) -> None:
    """A mistyped id names the known ones; the start of an id must be one key's alone."""
    with pytest.raises(ConfigError, match="Make one: mlops keys create"):
        keyring.find("abc")
    key = keyring.make()
    wrong = key.id[:-1] + ("0" if key.id[-1] != "0" else "1")
    with pytest.raises(ConfigError, match=f"Did you mean '{key.id}'"):
        keyring.find(wrong)
    with pytest.raises(ConfigError, match="There is no key ''"):
        keyring.find("")


def test_two_processes_that_need_the_first_key_at_once_share_one(keyring: Keyring) -> None:
    """Of twelve at once one is first; no key without a private half is left behind."""
    barrier = threading.Barrier(12)
    ids: list[str] = []

    def need() -> None:
        barrier.wait(timeout=30)
        ids.append(keyring.make().id)

    threads = [threading.Thread(target=need) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(ids) == 12
    assert len(set(ids)) == 1
    assert [key.status for key in keyring.known()] == ["current"]


def test_keys_that_cannot_be_written_say_where(tmp_path: Path) -> None:
    """A file stands where the folder should be."""
    (tmp_path / "keys").write_text("in the way")
    with pytest.raises(ConfigError, match=r"keys cannot be written.*MLOPS_KEYS_DIR"):
        Keyring(tmp_path / "keys", tmp_path / "keys" / "signing.key").make()

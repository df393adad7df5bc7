"""Who vouches for a version: its registration in the ledger, signing it again, and the keys that do so.

Reads: the version, its files and signature, its registration in the ledger. Writes: a signature with the version's run,
and an entry in the ledger for each registration, signature and change of keys.

One rule: what nothing vouches for is not signed: neither a trusted signature, nor the ledger, nor, for a version that
was never signed, the digests in the registry.
"""

from __future__ import annotations

from typing import Literal

from mlops.errors import ConfigError, IntegrityError, LedgerError
from mlops.models.keys import Key, Keyring
from mlops.records import ModelVersion, SignatureRecord
from mlops.services import Services

INSTALLATION = "*"  # the model of ledger entries that are about no single model
_NEW_NAME = (
    "go on under a new name (`name` in the spec, and its file's), see docs/runbook.md; what the old one decided "
    "stays in the ledger."
)


def record_registration(services: Services, version: ModelVersion, fingerprint: str, reason: str = "") -> None:
    """Write into the ledger what was registered, once per version.

    Args:
        services: the adapters.
        version: as it was registered.
        fingerprint: of its training set.
        reason: why it was trained.

    Raises:
        LedgerError: the ledger knows another version of that number.
    """
    key = _key(version)
    there = services.ledger.by_key(key)
    if there is None:
        body = {
            "version": version.version,
            "digest": version.digest,
            "run_id": version.run_id,
            "run_key": version.run_key,
            "inputs_hash": version.inputs_hash,
            "fingerprint": fingerprint,
            "candidate": version.candidate,
            "signed_by": version.signed_by,
        } | ({"reason": reason} if reason else {})
        services.ledger.append("registration", version.model, body, actor=services.actor, at=services.clock(), key=key)
    elif there.body["digest"] != version.digest:
        raise LedgerError(
            f"{version.model} version {version.version} has digest {version.digest[:12]}…, but the ledger says that "
            f"{there.body['digest'][:12]}… was registered under that number at {there.at:%Y-%m-%d %H:%M} UTC.",
            hint="Either the registry was tampered with: restore MLflow's database from a backup. Or the model was "
            f"deleted there and made again, so that its numbers began at 1 once more: {_NEW_NAME}",
        )


def refuse_numbers_again(services: Services, model: str) -> None:
    """Make sure that the versions of a model that is about to be made in MLflow have numbers that mean nothing yet.

    MLflow forgets a deleted model with all its numbers; the ledger does not, and takes version 1 for the one it knows.

    Raises:
        LedgerError: the ledger knows versions of a model that MLflow does not know.
    """
    if services.registry.knows(model):
        return
    numbers = [int(entry.body["version"]) for entry in services.ledger.entries(model, "registration")]
    if numbers:
        raise LedgerError(
            f"MLflow knows no model {model}, but the ledger knows {len(numbers)} versions of it, the newest is "
            f"{max(numbers)}: it was deleted in MLflow. Made again, its versions would begin at 1 and be taken for "
            "those. Nothing was registered.",
            hint=f"Restore MLflow's database from a backup. Without one: {_NEW_NAME}",
        )


def sign(services: Services, model: str, version: int) -> SignatureRecord:
    """Sign a version with the current key: after a rotation, or because nobody did.

    Raises:
        IntegrityError: nothing vouches for its files, or they are not what was registered.
        ConfigError: there is no key to sign with.
    """
    known = services.registry.get(model, version)
    vouched_by = _vouched_by(services, known)
    signed = services.registry.sign(known)
    record = SignatureRecord(model, version, signed.digest, signed.signed_by, vouched_by, known.signed_by)
    body = {
        "version": version,
        "digest": signed.digest,
        "signed_by": signed.signed_by,
        "vouched_by": vouched_by,
        "previously": known.signed_by,
    }
    services.ledger.append("signature", model, body, actor=services.actor, at=services.clock())
    return record


def verify(services: Services, model: str, version: int) -> SignatureRecord:
    """Verify a version's signature and digests, and that the ledger, if it knows the version, says the same.

    Raises:
        IntegrityError: not signed, or not what was signed, registered or written into the ledger.
    """
    known = services.registry.get(model, version)
    key_id = services.registry.verify(known)
    _refuse_other_registration(services, known)
    return SignatureRecord(model, version, known.digest, key_id)


def create(services: Services) -> Key:
    """The key that signs, made if there is none."""
    keyring = Keyring.of(services.config)
    there = keyring.private.exists()
    key = keyring.make()
    if not there:
        _append(services, "key_rotated", {"old": "", "new": key.id})
    return key


def rotate(services: Services) -> tuple[Key | None, Key]:
    """Sign with a new key from now on; what the old one signed is still loaded.

    Returns:
        The old key, None if there was none, and the new one.
    """
    old, new = Keyring.of(services.config).rotate()
    _append(services, "key_rotated", {"old": old.id if old else "", "new": new.id})
    return old, new


def revoke(services: Services, key_id: str, reason: str) -> tuple[Key, tuple[ModelVersion, ...]]:
    """Load nothing more that a key signed.

    Returns:
        The key, and the versions that are refused from now on.

    Raises:
        ConfigError: no such key, or no reason.
    """
    if not reason.strip():
        raise ConfigError("A key is revoked for a reason.", hint="Say it: --reason 'laptop lost'")
    keyring = Keyring.of(services.config)
    was = keyring.current()
    key = keyring.revoke(key_id, reason=reason, at=services.clock())
    _append(services, "key_revoked", {"key": key.id, "reason": reason})
    now = keyring.current()
    if now and was and now.id != was.id:
        _append(services, "key_rotated", {"old": was.id, "new": now.id})
    return key, services.registry.signed_by(key.id)


def _vouched_by(services: Services, version: ModelVersion) -> Literal["signature", "ledger", "registry"]:
    """What makes a version's digests believable: its signature, the ledger, or for one never signed the registry."""
    in_ledger = _refuse_other_registration(services, version)
    try:
        services.registry.verify(version)
    except IntegrityError as error:
        if in_ledger:
            return "ledger"
        if version.signed_by:
            raise IntegrityError(
                f"{error.message} The ledger knows nothing of its registration, so nothing vouches for its files.",
                hint="It is not signed again. Train again, or roll back to another version.",
            ) from error
        return "registry"
    return "signature"


def _refuse_other_registration(services: Services, version: ModelVersion) -> bool:
    """Whether the ledger knows the version; an error if it knows it with another digest."""
    there = services.ledger.by_key(_key(version))
    if there is not None and there.body["digest"] != version.digest:
        raise IntegrityError(
            f"{version.model} version {version.version} has digest {version.digest[:12]}… in the registry, but "
            f"{there.body['digest'][:12]}… in the ledger (entry {there.seq}).",
            hint="The registry's tags were changed: restore them and the files, or roll back to another version.",
        )
    return there is not None


def _append(services: Services, kind: str, body: dict[str, str]) -> None:
    services.ledger.append(kind, INSTALLATION, body, actor=services.actor, at=services.clock())


def _key(version: ModelVersion) -> str:
    return f"{version.model}/registration/v{version.version}"

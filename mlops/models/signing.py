"""Signatures of model versions in the format of OpenSSF model signing: one manifest over every file, one EC signature.

A signature is made for a subject, `<model>@<version>`: files that were signed as version 1 do not pass as version 2.
It says which key made it, and is believed only if the consumer's keyring trusts that key.

One rule: everything in a signature is a claim until the key that it names has verified it.

References:
    OpenSSF Model Signing Specification 1.0; in-toto Statement v1; DSSE 1.0.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlops.errors import IntegrityError
from mlops.models.envelope import Envelope
from mlops.models.keys import ID_LENGTH, Key, Keyring


@dataclass(frozen=True, slots=True)
class Signed:
    """What a verified signature says."""

    key_id: str
    files: dict[str, str]  # sha256 of every file, by relative path


def subject_of(model: str, version: int) -> str:
    """What a signature is about.

    >>> subject_of("fleet_anomaly", 3)
    'fleet_anomaly@3'
    """
    return f"{model}@{version}"


def sign(folder: Path, private_key: Path) -> bytes:
    """Sign every file of a folder; the folder's own name is the subject.

    Args:
        folder: named as `subject_of` says; holds files and folders, no links.
        private_key: as `Keyring.to_sign` gives it.
    """
    from model_signing import hashing, signing

    every_file = hashing.Config().use_file_serialization(hashing_algorithm="sha256")
    every_file.set_ignored_paths(paths=[], ignore_git_paths=False)  # by default .gitignore and its like go unsigned
    target = folder.with_name(f"{folder.name}.sig")
    signer = signing.Config().use_elliptic_key_signer(private_key=private_key).set_hashing_config(every_file)
    signer.sign(folder, target)
    try:
        return target.read_bytes()
    finally:
        target.unlink()


def claimed_key_id(signature: bytes) -> str:
    """Id of the key that a signature names, unverified; "" if it names none."""
    try:
        hint = json.loads(signature)["verificationMaterial"]["publicKey"]["hint"]
    except (ValueError, KeyError, TypeError):
        return ""
    return hint[:ID_LENGTH] if isinstance(hint, str) else ""


def verified(signature: bytes, subject: str, keyring: Keyring) -> Signed:
    """What a signature says, after the key that it names has verified it.

    Args:
        signature: as `sign` made it, or anything else.
        subject: what it must be about.
        keyring: the keys of who asks.

    Raises:
        IntegrityError: it cannot be read, was altered, is about something else, or its key is unknown or revoked.
    """
    try:
        envelope = Envelope.read(signature)
    except ValueError as error:
        raise IntegrityError(
            f"{subject}: its signature cannot be read: {_words(error)}. {_REFUSED}", hint=_RESTORE
        ) from error
    key = _trusted(envelope.hint, subject, keyring)
    try:
        statement = envelope.verified(key.path)
    except ValueError as error:
        raise IntegrityError(
            f"{subject}: its signature was not made by the key {key.id} that it names: {_words(error)}. {_REFUSED}",
            hint=_RESTORE,
        ) from error
    if statement.subject != subject:
        raise IntegrityError(
            f"{subject}: its signature is that of {statement.subject}. {_REFUSED}",
            hint="Somebody put another version in its place: restore the files, or roll back to another version.",
        )
    _refuse_gaps(statement.method, subject)
    return Signed(key.id, statement.files)


def _trusted(fingerprint: str, subject: str, keyring: Keyring) -> Key:
    key = keyring.vouching(fingerprint)
    if key is None:
        raise IntegrityError(
            f"{subject} is signed by the key {fingerprint[:ID_LENGTH] or '(none named)'}, which is not trusted here. "
            f"{_REFUSED}",
            hint=f"If the key is yours, put its public half into {keyring.folder / 'trusted'}.",
        )
    if key.status == "revoked":
        why = f": {key.reason}" if key.reason else ""
        raise IntegrityError(
            f"{subject} is signed by the key {key.id}, which was revoked{why}. {_REFUSED}",
            hint=f"Roll back to another version; or, if its files are known to be good: mlops sign "
            f"{subject.replace('@', ' ')}",
        )
    return key


def _refuse_gaps(method: dict[str, Any], subject: str) -> None:
    """Only a manifest over all files counts: not one that leaves paths out or follows links."""
    if (
        (method.get("method"), method.get("hash_type")) != ("files", "sha256")
        or method.get("allow_symlinks")
        or method.get("ignore_paths")
    ):
        raise IntegrityError(
            f"{subject}: its signature does not cover every file ({method}). {_REFUSED}",
            hint=f"Sign it again: mlops sign {subject.replace('@', ' ')}",
        )


def _words(error: Exception) -> str:
    first = str(error).strip().partition("\n")[0]
    return first.rstrip(".") or type(error).__name__


_REFUSED = "It was not loaded."
_RESTORE = "Restore the signature from a backup, roll back to another version, or train again."

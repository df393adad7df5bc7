"""Is a version what was registered? Its signature is asked first, then the digests; nothing is deserialised here.

The signature says which files there are and what is in them, and a trusted key vouches for it. The digests in the
registry must say the same: they name the file that differs, and the digest that gates and the ledger speak of.

One rule: whoever wants a version's files gets them only through `verified_folder`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from mlops.errors import IntegrityError
from mlops.mlflow_store import digest_of, file_digests
from mlops.models import signing
from mlops.models.artifacts import Artifacts
from mlops.models.index import Found
from mlops.models.keys import Keyring
from mlops.models.moves import existing
from mlops.models.version_tags import PREFIX, record_of
from mlops.records import ModelVersion

_ASK_AGAIN = "Ask the registry for the version again; if they still differ, its tags were tampered with."


@contextmanager
def verified_folder(artifacts: Artifacts, keyring: Keyring, version: ModelVersion) -> Iterator[tuple[Path, str]]:
    """A private copy of a version's files, all verified, and the id of the key that vouches for them.

    Raises:
        IntegrityError: no signature, a wrong one, one of an unknown or revoked key, or a file that was changed, added
            or removed; each by name.
        RegistryError: there is no such version, or its files cannot be read.
    """
    known = existing(artifacts.index, version.model, version.version)
    current = record_of(known)
    subject = signing.subject_of(version.model, version.version)
    signature = artifacts.signature(current)
    with artifacts.copied(current.model_uri, subject) as folder:
        signed = signing.verified(signature, subject, keyring)
        found = file_digests(folder)
        refuse_differences(version, signed.files, found, "signed")
        refuse_differences(version, registered_files(known, version), found, "registered")
        yield folder, signed.key_id


def registered_files(known: Found, version: ModelVersion) -> dict[str, str]:
    """The digests in the registry's tags, after they were found to be those of the record.

    Args:
        known: the version as MLflow has it.
        version: the record of who asks.

    Raises:
        IntegrityError: the two do not agree.
    """
    try:
        files: dict[str, str] = dict(json.loads(known.tags[f"{PREFIX}files"]))
    except (ValueError, TypeError) as error:
        raise IntegrityError(
            f"{version.model} version {version.version}: its tag {PREFIX}files in the registry is no list of files.",
            hint=_ASK_AGAIN,
        ) from error
    if version.digest != known.tags[f"{PREFIX}digest"] or digest_of(files) != version.digest:
        raise IntegrityError(
            f"{version.model} version {version.version}: the record says digest {version.digest[:12]}…, "
            "which the registry does not confirm.",
            hint=_ASK_AGAIN,
        )
    return files


def refuse_differences(version: ModelVersion, expected: Mapping[str, str], found: Mapping[str, str], how: str) -> None:
    """Raise an IntegrityError that names the files that are not as expected (`how`: signed, registered)."""
    both = expected.keys() & found.keys()
    differences = {
        "changed": sorted(path for path in both if expected[path] != found[path]),
        "missing": sorted(expected.keys() - found.keys()),
        "added": sorted(found.keys() - expected.keys()),
    }
    words = [f"{what}: {', '.join(paths)}" for what, paths in differences.items() if paths]
    if words:
        raise IntegrityError(
            f"{version.model} version {version.version} is not what was {how} ({'; '.join(words)}). It was not loaded.",
            hint="Restore the files, or roll back to another version.",
        )

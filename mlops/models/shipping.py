"""A model version on its way to other machines: its bytes, its signature, and the public key that vouched for it here.

One rule: what arrives is verified where it arrived before it is deserialised, whoever had verified it on the way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from mlops.errors import IntegrityError, RegistryError
from mlops.mlflow_store import digest_of, file_digests
from mlops.models import serialization, signing
from mlops.models.keys import Keyring
from mlops.models.scoring import Scorer
from mlops.models.verification import refuse_differences, verified_folder
from mlops.records import ModelVersion

if TYPE_CHECKING:
    from mlops.models.registry import ModelRegistry


@dataclass(frozen=True)
class Shipped:
    """A version as it travels.

    Args:
        version: which.
        files: its files, by relative path.
        signature: over them.
        key: the public key that vouches for them, as PEM.
        trusted_types: that the settings trust beside the packaged list.
        allow_pickle: whether the settings allow a pickle.
    """

    version: ModelVersion
    files: Mapping[str, bytes]
    signature: bytes
    key: bytes
    trusted_types: Sequence[str]
    allow_pickle: bool

    def scorer(self) -> Scorer:
        """The scorer, verified in this process; the same object for each call with the same version.

        Raises:
            IntegrityError: these are not the files that were signed, or not of this version.
            UntrustedTypeError: it holds types that are not trusted.
        """
        return _unpacked(_Key(self))


def ship(registry: ModelRegistry, version: ModelVersion) -> Shipped:
    """A version ready to travel.

    Raises:
        IntegrityError: not signed, or not what was signed and registered; by name.
        RegistryError: the files are gone.
    """
    with verified_folder(registry.artifacts, registry.keyring, version) as (folder, key_id):
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    config = registry.artifacts.config
    return Shipped(
        version,
        files,
        registry.artifacts.signature(version),
        registry.keyring.find(key_id).path.read_bytes(),
        config.trusted_types,
        config.allow_pickle,
    )


class _Key:
    """A shipment as the key of a cache: the same bytes are the same."""

    def __init__(self, shipped: Shipped) -> None:
        self.shipped = shipped
        self.identity = (shipped.version, tuple(sorted(shipped.files.items())), shipped.signature, shipped.key)

    def __hash__(self) -> int:
        return hash((self.shipped.version.digest, self.shipped.signature))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self.identity == other.identity


@lru_cache(maxsize=2)
def _unpacked(key: _Key) -> Scorer:
    shipped = key.shipped
    version = shipped.version
    name = f"{version.model} version {version.version}"
    subject = signing.subject_of(version.model, version.version)
    with TemporaryDirectory(prefix="mlops-") as workspace:
        folder, keys = Path(workspace, "model"), Path(workspace, "keys")
        for path, data in shipped.files.items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        (keys / "trusted").mkdir(parents=True)
        (keys / "trusted" / "shipped.pem").write_bytes(shipped.key)
        ring = Keyring(keys, keys / "none", create=False)
        signed = signing.verified(shipped.signature, subject, ring)
        found = file_digests(folder)
        refuse_differences(version, signed.files, found, "signed")
        if digest_of(found) != version.digest:
            raise IntegrityError(f"{name}: its files have not the digest that was registered. It was not loaded.")
        loaded = serialization.load(
            folder, name=name, trusted_types=shipped.trusted_types, allow_pickle=shipped.allow_pickle
        )
    if not isinstance(loaded, Scorer):
        raise RegistryError(f"{name} is a {type(loaded).__name__}, expected a Scorer.")
    return loaded

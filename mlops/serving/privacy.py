"""What of a prediction is kept: fields that the spec drops or hashes never reach the disk as they are.

A hash is keyed, so that nobody without the installation's key can try values until one fits; the same value gives the
same hash, so that rows of one entity can still be joined.

One rule: masking happens before the first write.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Literal

import numpy as np

from mlops.errors import ConfigError, StorageError, did_you_mean
from mlops.serving.compiled_form import Floats

KEY_FILE = "prediction_log.key"
_KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class Mask:
    """Which fields are kept as they are, as a hash, or not at all."""

    features: tuple[str, ...]  # of the model
    kept: tuple[int, ...]  # positions of features that are kept
    hashed: tuple[int, ...]  # positions of features that are hashed
    entity: Literal["kept", "hashed", "dropped"]
    key: bytes = b""

    @classmethod
    def of(
        cls, features: Sequence[str], entity: str, *, hashed: Sequence[str], dropped: Sequence[str], key: bytes = b""
    ) -> Mask:
        """The mask for a model's features.

        Raises:
            ConfigError: a field is named that the model has not, or that stands in both lists.
        """
        known = [*features, entity]
        for name in (*hashed, *dropped):
            if name not in known:
                raise ConfigError(
                    f"serving.log names {name!r}, which is no field of the model.", hint=did_you_mean(name, known)
                )
        if both := sorted(set(hashed) & set(dropped)):
            raise ConfigError(f"serving.log both hashes and drops {', '.join(both)}.", hint="Choose one.")
        gone = {*hashed, *dropped}
        return cls(
            tuple(features),
            tuple(i for i, name in enumerate(features) if name not in gone),
            tuple(i for i, name in enumerate(features) if name in hashed),
            "hashed" if entity in hashed else "dropped" if entity in dropped else "kept",
            key,
        )

    @property
    def whole(self) -> bool:
        """Whether all features are kept as they are."""
        return len(self.kept) == len(self.features)

    def values(self, rows: Floats) -> bytes:
        """The features that are kept, as raw float64."""
        return rows.tobytes() if self.whole else np.ascontiguousarray(rows[:, list(self.kept)]).tobytes()

    def hashes(self, rows: Floats) -> list[list[str | None]] | None:
        """The hashed features of each row; None if there is none."""
        if not self.hashed:
            return None
        return [[None if isnan(v) else self.hash(repr(v)) for v in row] for row in rows[:, list(self.hashed)].tolist()]

    def entities(self, given: Sequence[str | int | None]) -> list[str | int | None] | None:
        """The entities as they are kept."""
        if self.entity == "dropped":
            return None
        if self.entity == "kept":
            return list(given)
        return [None if each is None else self.hash(str(each)) for each in given]

    def hash(self, text: str) -> str:
        """The keyed hash of a value, 32 hexadecimal digits."""
        return hashlib.blake2b(text.encode(), key=self.key, digest_size=16).hexdigest()


def key_of(folder: Path) -> bytes:
    """The installation's key of hashes, made when it is first needed.

    Raises:
        StorageError: it cannot be read or made.
    """
    path = folder / KEY_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            made = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        except FileExistsError:
            return bytes.fromhex(path.read_text(encoding="ascii"))
        with os.fdopen(made, "w") as file:
            file.write(os.urandom(_KEY_BYTES).hex())
        return bytes.fromhex(path.read_text(encoding="ascii"))
    except (OSError, ValueError) as error:
        raise StorageError(
            f"The key of the prediction log, {path}, cannot be read: {error}.", hint="Restore it from a backup."
        ) from error

"""Keys that sign model versions: one private key that signs now, public keys that are trusted, and those revoked.

```
keys_dir/
  signing.key      private, mode 0600; whoever only loads versions has none
  trusted/*.pem    public keys; a version signed by any of them is loaded
  revoked/<id>.*   public keys that are trusted no more, and why
```
A key's id is the start of the sha256 of its public half, so that a file cannot claim to be another key.

One rule: this folder is the root of trust; nothing that comes with a model has a say in it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Literal

from mlops.config import MLOpsConfig
from mlops.errors import ConfigError, did_you_mean
from mlops.models.key_files import fingerprint_of, pem_of, private_key, public_key, publish, writing

ID_LENGTH = 16


@dataclass(frozen=True, slots=True)
class Key:
    """A key that this installation knows."""

    id: str  # first 16 hex digits of `fingerprint`
    fingerprint: str  # sha256 of the public key as PEM
    status: Literal["current", "trusted", "revoked"]
    path: Path  # of the public half
    revoked_at: str = ""  # ISO 8601, UTC
    reason: str = ""  # why it was revoked


@dataclass(frozen=True, slots=True)
class Keyring:
    """The keys of an installation.

    Args:
        folder: holds `trusted/` and `revoked/`.
        private: the private key that signs.
        create: make a pair when one is first needed; otherwise somebody must have made one.
    """

    folder: Path
    private: Path
    create: bool = True

    @classmethod
    def of(cls, config: MLOpsConfig) -> Keyring:
        """The keyring that the settings name."""
        return cls(config.keys_dir, config.signing_key_file, config.create_keys)

    def known(self) -> tuple[Key, ...]:
        """All keys: the current one first, then trusted ones, then revoked ones.

        Raises:
            ConfigError: a file is no public key.
        """
        current = self._current_fingerprint()
        found = [
            replace(key, status="current") if key.fingerprint == current and key.status == "trusted" else key
            for key in self._public().values()
        ]
        order = ("current", "trusted", "revoked")
        return tuple(sorted(found, key=lambda key: (order.index(key.status), key.id)))

    def vouching(self, fingerprint: str) -> Key | None:
        """The public key of a fingerprint, trusted or revoked; the private key is not touched.

        Raises:
            ConfigError: a file is no public key.
        """
        return self._public().get(fingerprint)

    def find(self, key_id: str) -> Key:
        """The key of an id, or of the start of one.

        Raises:
            ConfigError: there is none, or more than one begins like this.
        """
        known = self.known()
        found = [key for key in known if key.id.startswith(key_id)] if key_id else []
        if len(found) != 1:
            what = f"{len(found)} keys begin with" if found else "There is no key"
            hint = did_you_mean(key_id, [key.id for key in known]) if known else "Make one: mlops keys create"
            raise ConfigError(f"{what} {key_id!r} in {self.folder}.", hint=hint)
        return found[0]

    def current(self) -> Key | None:
        """The key that signs; None if there is no private key."""
        return next((key for key in self.known() if key.status == "current"), None)

    def to_sign(self) -> Path:
        """The private key, made now if settings allow and there is none.

        Raises:
            ConfigError: there is none, it is revoked, others can read it, or it is no key.
        """
        if not self.private.exists():
            if not self.create:
                raise ConfigError(
                    f"There is no key to sign with: {self.private} does not exist.",
                    hint="Make one with `mlops keys create`, or set MLOPS_SIGNING_KEY_FILE to the private key. "
                    "What only loads models needs none.",
                )
            self.make()
        fingerprint = self._current_fingerprint()
        if fingerprint in self._revoked():
            raise ConfigError(
                f"The key {fingerprint[:ID_LENGTH]} in {self.private} is revoked; nothing is signed with it.",
                hint="Make a new one: mlops keys rotate",
            )
        if fingerprint not in {key.fingerprint for key in self.known()}:
            raise ConfigError(
                f"{self.private} is the key {fingerprint[:ID_LENGTH]}, which is not among the trusted keys; "
                "nobody would load what it signs.",
                hint=f"Put its public half into {self.folder / 'trusted'}: `mlops keys export` prints it.",
            )
        return self.private

    def make(self) -> Key:
        """Make a pair if there is no private key; of two processes at once one is first, and both use its key."""
        if not self.private.exists():
            self._write_pair(keep=True)
        current = self.current()
        if current is None:
            raise ConfigError(
                f"{self.private} is there, but its public half is not among {self.folder / 'trusted'}.",
                hint="Put it there: `mlops keys export` prints it.",
            )
        return current

    def rotate(self) -> tuple[Key | None, Key]:
        """Make a new pair to sign with; what the old key signed stays trusted until that is revoked.

        Returns:
            The old key (None if there was none) and the new one.

        Raises:
            ConfigError: the keys cannot be written.
        """
        before = self.current()
        self._write_pair(keep=False)
        return before, self.make()

    def revoke(self, key_id: str, *, reason: str, at: datetime) -> Key:
        """Trust a key no more. Revoking the current key makes a new one to sign with.

        Raises:
            ConfigError: there is no such key, or the keys cannot be written.
        """
        key = self.find(key_id)
        if key.status == "revoked":
            return key
        facts = {"fingerprint": key.fingerprint, "revoked_at": at.isoformat(), "reason": reason}
        with writing(self.folder):
            record = self.folder / "revoked" / f"{key.id}.json"
            record.parent.mkdir(parents=True, exist_ok=True)
            pem = key.path.read_bytes()
            publish(record.with_suffix(".pem"), pem, mode=0o644)
            publish(record, json.dumps(facts, indent=2).encode(), mode=0o644)  # from here on it is revoked
            for path in (self.folder / "trusted").glob("*.pem"):
                if fingerprint_of(public_key(path)) == key.fingerprint:
                    path.unlink()
        if key.status == "current":
            self.rotate()
        return self.find(key.id)

    def export(self, key_id: str = "") -> str:
        """A public key as PEM text; by default the one that signs.

        Raises:
            ConfigError: there is no such key.
        """
        if key_id:
            return self.find(key_id).path.read_text()
        if not self.private.exists():
            raise ConfigError(f"There is no private key at {self.private}.", hint="Make one: mlops keys create")
        return pem_of(private_key(self.private).public_key()).decode()

    def _current_fingerprint(self) -> str:
        return fingerprint_of(private_key(self.private).public_key()) if self.private.exists() else ""

    def _public(self) -> dict[str, Key]:
        found = self._revoked()
        for path in sorted((self.folder / "trusted").glob("*.pem")):
            try:
                fingerprint = fingerprint_of(public_key(path))
            except ConfigError:
                if path.exists():
                    raise
                continue  # another process was first to make a key, and took this one back
            found.setdefault(fingerprint, Key(fingerprint[:ID_LENGTH], fingerprint, "trusted", path))
        return found

    def _revoked(self) -> dict[str, Key]:
        found = {}
        for path in sorted((self.folder / "revoked").glob("*.json")):
            try:
                facts = json.loads(path.read_bytes())
                fingerprint = str(facts["fingerprint"])
            except (ValueError, KeyError, TypeError) as error:
                raise ConfigError(
                    f"{path} cannot be read as a revocation: {error}.", hint="Restore it; no version is loaded before."
                ) from error
            found[fingerprint] = Key(
                fingerprint[:ID_LENGTH],
                fingerprint,
                "revoked",
                path.with_suffix(".pem"),
                facts.get("revoked_at", ""),
                facts.get("reason", ""),
            )
        return found

    def _write_pair(self, *, keep: bool) -> None:
        """A new pair, the public half first: nothing is ever signed by a key that nobody trusts."""
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec

        made = ec.generate_private_key(ec.SECP256R1())
        private = made.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        fingerprint = fingerprint_of(made.public_key())
        public = self.folder / "trusted" / f"{fingerprint[:ID_LENGTH]}.pem"
        with writing(self.folder):
            public.parent.mkdir(parents=True, exist_ok=True)
            self.private.parent.mkdir(parents=True, exist_ok=True)
            publish(public, pem_of(made.public_key()), mode=0o644)
            if not publish(self.private, private, mode=0o600, keep=keep):
                public.unlink()  # another process was first: its key is the one

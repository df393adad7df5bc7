"""The keys that seal ledger entries: a file outside the database, readable by its owner alone.

Who can write to the database but not read this file cannot forge an entry. Keys are generations: the newest seals,
older ones stay to verify what they sealed. A lost file loses nobody's entries, only the means to tell that they are
genuine: back it up, apart from the database.

One rule: a key is never changed or dropped, only followed by another.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlops import log
from mlops.errors import LedgerError

_SECRET_BYTES = 32
_log = log.get(__name__)


@dataclass(frozen=True, slots=True)
class LedgerKey:
    """One generation."""

    id: str
    secret: bytes = field(repr=False)


class LedgerKeys:
    """The key file of one installation.

    Args:
        path: where it is.
        make: make it with a first key when something is to be sealed and there is none; else that is refused.
    """

    def __init__(self, path: Path, *, make: bool = True) -> None:
        self.path = path
        self._make = make
        self._stamp: tuple[int, int, int] | None = None
        self._read: tuple[str, tuple[LedgerKey, ...]] = ("", ())

    def all(self) -> dict[str, bytes]:
        """Secrets by key id, the oldest generation first; empty if there is no file.

        Raises:
            LedgerError: the file is damaged or must not be read.
        """
        return {key.id: key.secret for key in self._load()[1]}

    def current(self) -> LedgerKey:
        """The key that seals now.

        Raises:
            LedgerError: there is none and none may be made, or the file is damaged.
        """
        name, keys = self._load()
        if not keys:
            if not self._make:
                raise LedgerError(
                    f"There is no ledger key at {self.path}, and MLOPS_LEDGER_KEY_FILE asks for it.",
                    hint="Restore it from its backup, or make one: mlops ledger rotate-key.",
                )
            self._create()
            name, keys = self._load()
        return next(key for key in keys if key.id == name)

    def add(self) -> str:
        """Put a new key into the file, not yet in use; one that waits already is given back.

        Returns:
            Its id.
        """
        with self._alone():
            name, keys = self._load()
            if keys and keys[-1].id != name:
                return keys[-1].id
            new = _new_key()
            self._write(name or new.id, (*keys, new))
            return new.id

    def use(self, key_id: str) -> None:
        """Seal with that key from now on, unless a newer one is in use already.

        Raises:
            LedgerError: it is not in the file.
        """
        with self._alone():
            name, keys = self._load()
            ids = [key.id for key in keys]
            if key_id not in ids:
                raise LedgerError(
                    f"The ledger key {key_id} is not in {self.path} any more; {name or 'none'} seals.",
                    hint="Another file was put in its place. Make a new key: mlops ledger rotate-key.",
                )
            if ids.index(key_id) > ids.index(name):
                self._write(key_id, keys)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Of processes that change the file one at a time, so that none writes over another's key."""
        lock = self.path.with_name(f".{self.path.name}.lock")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _unwritable(self, error: OSError) -> LedgerError:
        return LedgerError(
            f"The ledger key at {self.path} cannot be written: {error.strerror}.",
            hint="Mend the folder or its permissions, or set MLOPS_LEDGER_KEY_FILE.",
        )

    def _create(self) -> None:
        """Publish a file with a first key, unless another process is just doing so."""
        key = _new_key()
        temporary = self._temporary(key.id, (key,))
        try:
            os.link(temporary, self.path)
            _log.info("A ledger key was made; back it up apart from the database.  %s", log.facts(file=self.path))
        except FileExistsError:
            pass
        finally:
            temporary.unlink(missing_ok=True)

    def _write(self, current: str, keys: tuple[LedgerKey, ...]) -> None:
        self._temporary(current, keys).replace(self.path)
        self._stamp = None

    def _temporary(self, current: str, keys: tuple[LedgerKey, ...]) -> Path:
        body = {"current": current, "keys": [{"id": key.id, "secret": key.secret.hex()} for key in keys]}
        temporary = self.path.with_name(f".{self.path.name}.{secrets.token_hex(8)}.tmp")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(json.dumps(body, indent=2) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise self._unwritable(error) from error
        return temporary

    def _load(self) -> tuple[str, tuple[LedgerKey, ...]]:
        """What the file holds now; read again only when it has changed."""
        try:
            found = self.path.stat()
            stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
            if stamp != self._stamp:
                self._read = _parsed(json.loads(self.path.read_text(encoding="utf-8")))
                self._stamp = stamp
        except FileNotFoundError:
            self._stamp, self._read = None, ("", ())
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise LedgerError(
                f"The ledger key at {self.path} cannot be read: {error}.",
                hint="Restore it from its backup; without it nobody can tell which entries are genuine.",
            ) from error
        return self._read


def _new_key() -> LedgerKey:
    secret = secrets.token_bytes(_SECRET_BYTES)
    return LedgerKey(f"k{secrets.token_hex(4)}", secret)


def _parsed(body: dict[str, Any]) -> tuple[str, tuple[LedgerKey, ...]]:
    keys = tuple(LedgerKey(str(item["id"]), bytes.fromhex(item["secret"])) for item in body["keys"])
    if body["current"] not in {key.id for key in keys}:
        raise ValueError(f"its current key {body['current']!r} is not in it")
    if any(len(key.secret) < _SECRET_BYTES for key in keys):
        raise ValueError("a secret in it is too short")
    return str(body["current"]), keys

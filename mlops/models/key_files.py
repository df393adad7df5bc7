"""Keys as PEM files: read strictly, written whole.

One rule: a file is either a key that can sign or vouch for models, or an error that names it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mlops.errors import ConfigError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey

CURVES = ("secp256r1", "secp384r1", "secp521r1")  # those that OpenSSF model signing knows
_OTHERS_MAY_READ = stat.S_IWGRP | stat.S_IRWXO
_WANTED = f"Expected an elliptic-curve key ({', '.join(CURVES)}) as PEM without a passphrase: see `mlops keys create`."


def publish(path: Path, data: bytes, *, mode: int, keep: bool = False) -> bool:
    """Write a file whole; with `keep` only if there is none. Returns whether it is the one written here."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        if not keep:
            temporary.replace(path)
            return True
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
            return True
        return False
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """A failure to write is a ConfigError that says what to set."""
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"The keys in {folder} cannot be written: {error.strerror or error}.",
            hint="Set MLOPS_KEYS_DIR to a folder that can be, or make the key where the secret is kept.",
        ) from error


def private_key(path: Path) -> EllipticCurvePrivateKey:
    """The private key in a file.

    Raises:
        ConfigError: it is none that can sign models, or others than its owner (and group) can read it.
    """
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        mode = path.stat().st_mode
        if mode & _OTHERS_MAY_READ:
            raise ConfigError(
                f"The private key {path} has mode {stat.S_IMODE(mode):04o}: others than its owner can read it.",
                hint=f"chmod 600 {path}; if somebody may have read it, `mlops keys rotate` and revoke the old one.",
            )
        found = load_pem_private_key(path.read_bytes(), None)
    except (ValueError, TypeError, OSError) as error:
        raise ConfigError(f"{path} cannot be read as a private key: {error}.", hint=_WANTED) from error
    if not isinstance(found, EllipticCurvePrivateKey) or found.curve.name not in CURVES:
        raise ConfigError(f"{path} is no key that can sign models.", hint=_WANTED)
    return found


def public_key(path: Path) -> EllipticCurvePublicKey:
    """The public key in a file.

    Raises:
        ConfigError: it is none that can vouch for models.
    """
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        found = load_pem_public_key(path.read_bytes())
    except (ValueError, TypeError, OSError) as error:
        raise ConfigError(f"{path} cannot be read as a public key: {error}.", hint=_WANTED) from error
    if not isinstance(found, EllipticCurvePublicKey) or found.curve.name not in CURVES:
        raise ConfigError(f"{path} is no key that can vouch for models.", hint=_WANTED)
    return found


def pem_of(public: EllipticCurvePublicKey) -> bytes:
    """A public key as PEM."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def fingerprint_of(public: EllipticCurvePublicKey) -> str:
    """sha256 over a public key as PEM, in hex; OpenSSF signatures name their key by it."""
    return hashlib.sha256(pem_of(public)).hexdigest()

"""One process at a time: over the processes of a machine, and over machines where the registry is a PostgreSQL.

Both locks go with the process that holds them, however it ends; nothing has to be cleaned up after a kill.

One rule: a lock is held for as long as the `with` block runs, and no longer.
"""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from mlops.errors import StorageError


@contextmanager
def alone(name: str, *, folder: Path, registry_url: str) -> Iterator[None]:
    """Wait until no other process holds the lock `name`, and hold it.

    Args:
        name: what is guarded.
        folder: local folder for the lock file, made if it is not there.
        registry_url: SQLAlchemy URL; a PostgreSQL holds the lock too.

    Raises:
        StorageError: the folder cannot be written.
    """
    path = folder / f"{name}.lock"
    with ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = stack.enter_context(path.open("w"))
        except OSError as error:
            raise StorageError(
                f"{path} cannot be written: {error.strerror}.", hint="Mend the permissions of the state folder."
            ) from error
        fcntl.flock(handle, fcntl.LOCK_EX)
        if registry_url.startswith("postgresql"):
            stack.enter_context(_alone_in_postgresql(name, registry_url))
        yield


@contextmanager
def _alone_in_postgresql(name: str, url: str) -> Iterator[None]:
    from sqlalchemy import NullPool, create_engine, text

    key = int.from_bytes(hashlib.sha256(f"mlops.features.{name}".encode()).digest()[:8], signed=True)
    with create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(text("select pg_advisory_lock(:key)"), {"key": key})
        yield  # closing the connection lets go of the lock

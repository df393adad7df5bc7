"""A DuckDB connection that keeps to its memory and spills the rest to disk.

One rule: time has one zone here, UTC, whatever the machine's is.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import psutil  # type: ignore[import-untyped] # has no type stubs

from mlops.errors import FeatureError

_PREFIX = "asof-"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a query may use of the machine."""

    memory: str  # as DuckDB writes it: "2GB"
    threads: int | None  # None: as many as there are cores
    spill: Path | None  # folder for what does not fit into memory; None: the system's temporary folder


@contextlib.contextmanager
def session(limits: Limits, *, ordered: bool = False) -> Iterator[Any]:
    """Yield a connection to an empty database; what it spilled is gone afterwards.

    Args:
        limits: memory, threads and folder of the connection.
        ordered: whether rows come out as they lie in their files, which takes memory.

    Raises:
        FeatureError: a query needs more memory or disk than it may use, or the folder cannot be written.
    """
    folder = _folder(limits.spill)
    settings: dict[str, Any] = {
        "memory_limit": limits.memory,
        "temp_directory": str(folder),
        "preserve_insertion_order": ordered,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    if limits.threads:
        settings["threads"] = limits.threads
    try:
        with duckdb.connect(config=settings) as connection:
            connection.execute("set TimeZone = 'UTC'; set parquet_metadata_cache = true")  # of DuckDB's extensions
            connection.execute("set python_enable_replacements = false")  # SQL sees no variables of the program
            yield connection
    except duckdb.OutOfMemoryException as error:
        raise FeatureError(
            f"The query needs more than its {limits.memory} of memory, or the disk of {folder.parent} is full: "
            f"{first_line(error)}",
            hint="Raise `memory_limit` of the offline store, or point `temp_directory` at a larger disk.",
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _folder(parent: Path | None) -> Path:
    """A folder of this connection alone; those that killed processes of this machine left behind are removed."""
    parent = Path(tempfile.gettempdir()) if parent is None else parent
    host = socket.gethostname()
    try:
        parent.mkdir(parents=True, exist_ok=True)
        for left in parent.glob(f"{_PREFIX}{host}-*-*"):
            if not psutil.pid_exists(int(left.name.split("-")[-2])):
                shutil.rmtree(left, ignore_errors=True)
        return Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{host}-{os.getpid()}-", dir=parent))
    except OSError as error:
        raise FeatureError(
            f"The folder {parent} for what does not fit into memory cannot be written: {error.strerror}.",
            hint="Mend its permissions, or set `temp_directory` of the offline store.",
        ) from error


def first_line(error: Exception) -> str:
    """What a library says before it goes into detail."""
    return str(error).strip().splitlines()[0]


def quoted(name: str) -> str:
    """A name as an SQL identifier.

    >>> quoted('a"b')
    '"a""b"'
    """
    return '"' + name.replace('"', '""') + '"'


def column(name: str) -> str:
    """A column of a source, which every query calls `s`.

    >>> column("temperature")
    's."temperature"'
    """
    return f"s.{quoted(name)}"


def literal(text: str) -> str:
    """A text as an SQL literal.

    >>> literal("it's")
    "'it''s'"
    """
    return "'" + text.replace("'", "''") + "'"

"""One way to open a SQLite file, so that it can be read where nobody may write beside it.

One rule: what cannot be written is opened for reading only; nothing else is told apart here.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

_UNWRITABLE = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN)


def connect(path: Path, *, timeout: float, create: bool = False) -> sqlite3.Connection:
    """A connection that begins no transactions by itself; where the folder cannot be written, one that only reads.

    Even to read a file with a write-ahead log SQLite writes beside it. Where it cannot, and there is no log with
    something in it, the file alone is all there is.

    Args:
        path: of the file.
        timeout: how long to wait for who writes [s].
        create: make the file if there is none.

    Raises:
        sqlite3.Error: it cannot be opened.
    """
    ways = [f"mode={'rwc' if create else 'rw'}"]
    if path.exists():
        log = path.with_name(f"{path.name}-wal")
        ways += ["mode=ro"] if _size(log) else ["mode=ro", "mode=ro&immutable=1"]
    for way in ways[:-1]:
        try:
            return _opened(path, way, timeout)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in _UNWRITABLE:
                raise
    return _opened(path, ways[-1], timeout)


def _size(path: Path) -> int:
    """Of a file that may go at any moment, as the log does when the last connection closes; 0 where there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _opened(path: Path, way: str, timeout: float) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?{way}"
    connection = sqlite3.connect(uri, uri=True, timeout=timeout, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("SELECT count(*) FROM sqlite_master")
    except sqlite3.Error:
        connection.close()
        raise
    return connection

"""The routing table as the serving processes see it: one JSON file, written by pipelines, followed by readers.

The ledger says which experiments run; the file is its projection. A reader looks at most every second, keeps the last
table it could read when the file cannot be read, and counts that.

One rule: an answer never waits for, nor fails because of, a routing table that cannot be read.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from threading import Lock

from mlops import log
from mlops.errors import DataError, NoDataError, StorageError
from mlops.records import from_dict, to_dict
from mlops.serving.routing import RoutingTable
from mlops.storage import Storage

_log = log.get(__name__)


def table_uri(storage: Storage) -> str:
    """Where the table is."""
    return storage.uri("routing", "table.json")


def write_table(storage: Storage, table: RoutingTable) -> None:
    """Publish the table, whole or not at all."""
    storage.write_json(table_uri(storage), to_dict(table))


def read_table(storage: Storage) -> RoutingTable:
    """The table; an empty one if none was published.

    Raises:
        StorageError: it cannot be read, or is no table.
    """
    try:
        return from_dict(RoutingTable, storage.read_json(table_uri(storage)))
    except NoDataError:
        return RoutingTable()
    except (json.JSONDecodeError, ValueError) as error:
        raise StorageError(
            f"{table_uri(storage)} is no routing table: {error}.", hint="Write it anew: mlops ab publish"
        ) from error


class TableReader:
    """Follows the table for one process.

    Args:
        storage: where it is.
        seconds: how old what is handed out may be [s].
        clock: monotonic time [s].
    """

    def __init__(self, storage: Storage, *, seconds: float = 1.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._storage = storage
        self._seconds = seconds
        self._clock = clock
        self._lock = Lock()
        self._table = RoutingTable()
        self._read_at: float | None = None
        self.failures = 0  # reads that failed since the process began

    def __call__(self) -> RoutingTable:
        """The table as it was at most `seconds` ago, or as it was when it could last be read."""
        now = self._clock()
        if self._read_at is not None and now - self._read_at < self._seconds:
            return self._table
        if not self._lock.acquire(blocking=self._read_at is None):
            return self._table  # another thread is reading it just now
        try:
            if self._read_at is None or now - self._read_at >= self._seconds:
                self._table = read_table(self._storage)
                self._read_at = now
        except (StorageError, DataError) as error:
            self.failures += 1
            self._read_at = now
            _log.warning("The routing table cannot be read; the last one stays  %s", log.facts(error=str(error)))
        finally:
            self._lock.release()
        return self._table

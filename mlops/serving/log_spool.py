"""The spool of one serving process: what was answered is in a file before the caller has the answer.

`append` is one write to the end of a file, so that the death of the process loses nothing: what was written belongs to
the operating system. A segment is closed when it is large or old; `mlops.serving.log_writer` makes Parquet of closed
segments and removes them. A process holds the lock of its folder as long as it lives: a folder whose lock can be had
belongs to nobody, and the writer takes what lies there.

If the disk refuses, frames wait in memory up to a bound and are tried again; beyond it they are dropped, and counted.

One rule: whatever is lost is counted where it can be seen.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections import deque
from pathlib import Path

from mlops import log
from mlops.errors import StorageError
from mlops.serving.log_frames import Columns, Frame, encoded

OPEN, CLOSED = ".open", ".closed"
LOCK = "lock"
SEGMENT_BYTES = 4 * 1024 * 1024
SEGMENT_SECONDS = 10.0
WAITING_BYTES = 32 * 1024 * 1024  # in memory, while the disk refuses
_RETRY_SECONDS = 0.5
_logger = log.get(__name__)


def spool_folder(state_dir: Path) -> Path:
    """Where the serving processes of an installation keep what they answered until it is in the prediction log."""
    return state_dir / "serving" / "spool"


class Spool:
    """The spool of this process. Not for several threads.

    Args:
        folder: of all spools of the installation; a folder of its own is made in it.
        name: of its own folder, never used before.
        segment_bytes: a segment is closed when it is so large.
        segment_seconds: or so old [s].
        waiting_bytes: how much may wait in memory while the disk refuses.

    Raises:
        StorageError: the folder cannot be made.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        segment_seconds: float = SEGMENT_SECONDS,
        waiting_bytes: int = WAITING_BYTES,
    ) -> None:
        self.folder = folder / name  # made under a hidden name: until it is locked it must not look abandoned
        self._limit, self._age, self._waiting_limit = segment_bytes, segment_seconds, waiting_bytes
        self._columns: dict[int, bytes] = {}  # every segment begins with the columns that its rows need
        self._told: set[int] = set()
        self._waiting: deque[tuple[int, bytes, int]] = deque()  # columns, frame, rows
        self._waiting_bytes = 0
        self._retry_at = 0.0
        self._file, self._size, self._opened_at, self._segment = -1, 0, 0.0, 0
        self.written_rows = 0
        self.lost_rows = 0
        try:
            made = folder / f".{name}"
            made.mkdir(parents=True)
            self._lock = os.open(made / LOCK, os.O_CREAT | os.O_RDWR, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            made.rename(self.folder)
        except OSError as error:
            raise StorageError(
                f"The prediction log cannot be kept in {self.folder}: {error.strerror}.",
                hint="Set MLOPS_STATE_DIR to a folder that can be written.",
            ) from error

    @property
    def waiting_rows(self) -> int:
        """Rows that wait in memory because the disk refuses."""
        return sum(rows for _, _, rows in self._waiting)

    def declare(self, columns: Columns) -> None:
        """Say what the rows with this number of columns hold, before the first of them."""
        self._columns[columns.number] = encoded(columns)

    def append(self, columns: int, frame: Frame, rows: int) -> None:
        """Keep the rows of one request."""
        data = encoded(frame)
        if (self._waiting and not self._again()) or not self._write(columns, data, rows):
            self._wait(columns, data, rows)

    def tend(self) -> None:
        """Close an old segment, try again what waits; called every second or so."""
        if self._waiting:
            self._again()
        if self._file >= 0 and self._size and time.monotonic() - self._opened_at >= self._age:
            self.rotate()

    def rotate(self) -> None:
        """Close the segment that is open, for the writer to take."""
        if self._file < 0:
            return
        os.close(self._file)
        path = self.folder / f"{self._segment:08d}"
        self._file = -1
        path.with_suffix(OPEN).rename(path.with_suffix(CLOSED))

    def close(self) -> None:
        """Close what is open and give the folder up; what still waits in memory is lost, and told."""
        if self._waiting:
            self._retry_at = 0.0
            self._again()
        if self._waiting:
            self.lost_rows += self.waiting_rows
            _logger.error("Prediction log: %d rows were lost at the end, the disk refuses.", self.waiting_rows)
            self._waiting.clear()
        self.rotate()
        os.close(self._lock)

    def _write(self, columns: int, data: bytes, rows: int) -> bool:
        try:
            if self._file < 0:
                self._open()
            if columns not in self._told:
                data = self._columns[columns] + data
            before = self._size
            written = os.write(self._file, data)
            if written != len(data):  # the disk is full: what was written of the frame is taken back
                os.ftruncate(self._file, before)
                return False
        except OSError as error:
            if not self._waiting:
                _logger.warning("Prediction log: %s refuses: %s. Rows wait in memory.", self.folder, error.strerror)
            return False
        self._told.add(columns)
        self._size += written
        self.written_rows += rows
        if self._size >= self._limit:
            self.rotate()
        return True

    def _open(self) -> None:
        self._segment += 1
        path = (self.folder / f"{self._segment:08d}").with_suffix(OPEN)
        self._file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o600)
        self._size, self._opened_at = 0, time.monotonic()
        self._told.clear()

    def _wait(self, columns: int, data: bytes, rows: int) -> None:
        if self._waiting_bytes + len(data) > self._waiting_limit:
            self.lost_rows += rows
            return
        self._waiting.append((columns, data, rows))
        self._waiting_bytes += len(data)

    def _again(self) -> bool:
        """Try what waits; whether nothing waits any more."""
        now = time.monotonic()
        if now < self._retry_at:
            return False
        while self._waiting:
            columns, data, rows = self._waiting[0]
            if not self._write(columns, data, rows):
                self._retry_at = now + _RETRY_SECONDS
                return False
            self._waiting.popleft()
            self._waiting_bytes -= len(data)
        return True

"""A SQLite file is opened whatever its neighbours do meanwhile."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

from mlops import sqlite_files


def test_a_log_that_goes_while_the_file_is_opened_is_no_error(tmp_path: Path) -> None:
    """The log goes when the last connection closes, between any two looks at it: three thousand openings."""
    path = tmp_path / "some.db"
    made = sqlite3.connect(path)
    made.executescript("CREATE TABLE t (x); INSERT INTO t VALUES (1)")
    made.close()
    come_and_go = "import os, sys\nwhile True:\n    os.close(os.open(sys.argv[1], os.O_CREAT)); os.unlink(sys.argv[1])"
    neighbour = subprocess.Popen([sys.executable, "-S", "-c", come_and_go, f"{path}-wal"], stderr=subprocess.DEVNULL)
    try:
        for _ in range(3000):
            connection = sqlite_files.connect(path, timeout=5)
            assert connection.execute("SELECT x FROM t").fetchone() == (1,)
            connection.close()
        assert neighbour.poll() is None
    finally:
        neighbour.kill()
        neighbour.wait()

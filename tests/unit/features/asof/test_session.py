"""Bounds of a query: memory, disk, files that change under it, and nothing fetched from anywhere."""

from __future__ import annotations

import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import FileSource

from mlops.errors import FeatureError
from mlops.features.asof import history
from mlops.features.asof.asking import asked
from mlops.features.asof.history import History
from mlops.features.asof.question import Question
from mlops.features.asof.session import Limits, session
from mlops.features.asof.sources import ChangedError

START = datetime(2026, 3, 1, tzinfo=UTC)


def question(path: Path) -> History:
    """What was f of key 1 an hour after the start?"""
    part = Question(
        view="v",
        source=FileSource(name="s", path=str(path), timestamp_field="event"),
        keys={"k": "k"},
        event="event",
        created=None,
        features={"f": "f"},
        values=("f",),
        ttl=timedelta(0),
    )
    rows = pd.DataFrame({"k": [1], "event_timestamp": [START + timedelta(hours=1)]})
    return History(asked(rows), [part], True, Limits("128MB", 1, None), None)


def write(path: Path, value: float) -> None:
    """A source that holds one value."""
    times = pa.array([START], pa.timestamp("us", "UTC"))
    pq.write_table(pa.table({"k": [1], "event": times, "f": [value]}), path)


def test_what_does_not_fit_into_memory_spills_and_leaves_nothing(tmp_path: Path) -> None:
    """A table twice as large as the memory, and its sort, end on disk; afterwards the folder is empty."""
    numbers = pa.table({"x": np.random.default_rng(0).permutation(8_000_000)})
    with session(Limits("128MB", 1, tmp_path)) as connection:
        connection.register("numbers", numbers)
        connection.execute("create temp table t as select x, x as y, x as z, x as w from numbers")
        connection.execute("create temp table u as select * from t order by x")
        (folder,) = tmp_path.iterdir()
        assert sum(file.stat().st_size for file in folder.iterdir()) > 50e6
        assert connection.sql("select count(*), max(x) from u").fetchall() == [(8_000_000, 7_999_999)]
    assert not list(tmp_path.iterdir())


def test_too_little_memory_says_which_setting_to_raise(tmp_path: Path) -> None:
    """A query that cannot be done within its bound names the bound and the settings."""
    with (
        pytest.raises(FeatureError, match=r"more than its 20MB of memory.* Raise `memory_limit`"),
        session(Limits("20MB", 1, tmp_path)) as connection,
    ):
        connection.execute("create temp table t as select list(x) as xs from range(20000000) r(x)")


def test_what_a_killed_process_spilled_is_removed_by_the_next(tmp_path: Path) -> None:
    """Folders of processes that are gone go too; those of living ones and of other machines stay."""
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    host = socket.gethostname()
    left = [tmp_path / f"asof-{name}" for name in (f"{host}-{int(gone.stdout)}-a", f"{host}-1-b", "elsewhere-999-c")]
    for folder in left:
        folder.mkdir()
    with session(Limits("128MB", 1, tmp_path)):
        assert [folder.exists() for folder in left] == [False, True, True]


def test_nothing_is_downloaded(tmp_path: Path) -> None:
    """DuckDB may neither fetch nor load an extension by itself, and knows of no variables of the program."""
    settings = ("autoinstall_known_extensions", "autoload_known_extensions", "python_enable_replacements")
    with session(Limits("128MB", 1, tmp_path)) as connection:
        for name in settings:
            assert connection.sql(f"select current_setting('{name}')").fetchall() == [(False,)]


def test_a_source_replaced_under_a_question_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer never mixes two states of the files; if they change all the time, it says so."""
    path = tmp_path / "s.parquet"
    write(path, 1.0)
    honest, times = history.answer, [0]

    def disturbed(*given: Any, **more: Any) -> pa.Table:
        found = honest(*given, **more)
        times[0] += 1
        if times[0] <= changes:
            write(path, 2.0)
        return found

    monkeypatch.setattr(history, "answer", disturbed)
    changes = 1
    assert question(path).answer()["f"].to_pylist() == [2.0]
    changes, times[0] = 9, 0
    with pytest.raises(ChangedError, match=r"'s' were replaced while they were read\. Run the query again"):
        question(path).answer()

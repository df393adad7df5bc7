"""Temporary files of killed writers go once nobody can be writing them any more; nothing else does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mlops.config import MLOpsConfig
from mlops.governance.retention import Collected
from mlops.pipelines import leftovers
from mlops.records import from_dict
from mlops.services import RUN_LEASE_SECONDS, Services

ROOT = Path(__file__).parents[3]
KILLED = """
import os, signal, sys
from mlops.storage import Storage
os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
Storage(sys.argv[1]).write_bytes(sys.argv[1] + "/data/d/part.parquet", b"x" * 100_000)
"""


@pytest.fixture
def services(tmp_path: Path) -> Services:
    """An installation in which a writer was killed in the middle of a file that was there before."""
    config = MLOpsConfig.build({"home": ROOT, "var": str(tmp_path / "var"), "code_version": "test"})
    services = Services.open(config)
    services.storage.write_bytes(services.storage.uri("data", "d", "part.parquet"), b"before")
    done = subprocess.run([sys.executable, "-c", KILLED, config.var], check=False, cwd=ROOT)
    assert done.returncode == -signal.SIGKILL
    return services


def age(services: Services, seconds: float) -> Path:
    """The one temporary file, made so old."""
    (found,) = Path(services.config.var).rglob(".*.tmp")
    moment = time.time() - seconds
    os.utime(found, (moment, moment))
    return found


def test_a_killed_writer_leaves_a_file_that_goes_once_it_is_old(services: Services) -> None:
    """The dry run names it; with apply it is gone, and what was published before still stands."""
    left = age(services, leftovers.SECONDS + 60)
    answer = leftovers.run(services)
    (item,) = from_dict(Collected, answer.record).items
    assert (answer.outcome, item.kind, item.name, item.size) == ("done", "leftover", str(left), 100_000)
    assert left.exists()
    assert leftovers.run(services, apply=True).outcome == "done"
    assert not left.exists()
    assert services.storage.read_bytes(services.storage.uri("data", "d", "part.parquet")) == b"before"
    assert leftovers.run(services, apply=True).outcome == "nothing_to_do"


def test_what_somebody_may_be_writing_stays(services: Services) -> None:
    """Younger than the limit, which is longer than any lease: left alone, and shown as kept."""
    left = age(services, leftovers.SECONDS - 60)
    answer = leftovers.run(services, apply=True)
    assert (answer.outcome, left.exists()) == ("nothing_to_do", True)
    assert [item.keep for item in from_dict(Collected, answer.record).items] == [True]
    assert leftovers.SECONDS > RUN_LEASE_SECONDS


@pytest.mark.parametrize(
    "name", ["part.parquet", "0123456789abcdef0123456789abcdef.tmp", ".part.parquet.tmp", ".key.0123456789abcdef.tmp"]
)
def test_what_is_not_named_as_a_temporary_file_stays(services: Services, name: str) -> None:
    """However old: published files, and others' own files that only look alike."""
    age(services, 0)
    path = Path(services.config.var, "data", "e", name)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    os.utime(path, (0, 0))
    leftovers.run(services, apply=True)
    assert path.exists()

"""What CI sees of the DAGs: exit codes of Airflow's own command line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.dags


def airflow(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Airflow's command line in the present environment; a hang ends in SIGKILL, which it cannot ignore."""
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "airflow", *arguments]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=300, check=False)


def test_a_failing_task_makes_airflow_dags_test_exit_with_1(
    write_spec: Callable[..., Path], installation: SimpleNamespace, airflow_db: None
) -> None:
    """A source that is no Parquet file fails the task, after its retries the run, and so the command."""
    write_spec("fleet")
    broken = installation.var / "inbox" / "fleet" / "2026-03-05.parquet"
    broken.parent.mkdir(parents=True)
    broken.write_text("not a table")
    run = airflow("dags", "test", "ingestion__fleet", "-c", '{"date": "2026-03-05"}')
    assert run.returncode == 1, run.stdout + run.stderr
    assert "2026-03-05.parquet" in run.stdout + run.stderr
    assert not (installation.var / "data").exists()


def test_a_broken_spec_makes_list_import_errors_exit_with_1(write_spec: Callable[..., Path], airflow_db: None) -> None:
    """The gate of CI: it reads the files, not the database, and prints what is wrong."""
    write_spec("fleet")
    assert airflow("dags", "list-import-errors", "--local").returncode == 0
    write_spec("bad", ownr="x")
    run = airflow("dags", "list-import-errors", "--local", "--output", "json")
    assert run.returncode == 1
    assert "ownr: unknown key. Did you mean 'owner'?" in run.stdout

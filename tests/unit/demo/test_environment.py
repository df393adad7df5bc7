"""The demo's own place: what it may delete, which settings it takes on, where output goes."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from demo import environment
from mlops.errors import ConfigError


def test_what_an_earlier_demo_left_is_deleted(tmp_path: Path) -> None:
    """A folder that carries the demo's mark is emptied at every start."""
    folder = tmp_path / "demo"
    environment.fresh_folder(folder)
    (folder / "old.txt").write_text("old")
    environment.release(folder)
    environment.fresh_folder(folder)
    assert [path.name for path in folder.iterdir()] == [environment.MARKER]


def test_a_folder_of_somebody_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    """A folder without the demo's mark is never deleted; the error says what to do."""
    (tmp_path / "thesis.txt").write_text("three years")
    with pytest.raises(ConfigError, match=r"was not made by the demo.*--folder"):
        environment.fresh_folder(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "three years"


def test_a_file_in_the_folders_place_is_refused(tmp_path: Path) -> None:
    """A file where the folder should be is not replaced."""
    (tmp_path / "demo").write_text("a file")
    with pytest.raises(ConfigError, match="was not made by the demo"):
        environment.fresh_folder(tmp_path / "demo")


def test_an_empty_folder_may_be_used(tmp_path: Path) -> None:
    """Nothing is lost with an empty folder, so it needs no mark."""
    environment.fresh_folder(tmp_path)
    assert (tmp_path / environment.MARKER).exists()


def test_a_demo_that_is_running_is_not_disturbed(tmp_path: Path) -> None:
    """While the process that made the folder lives, a second demo refuses; when it is gone, the folder is free."""
    folder = tmp_path / "demo"
    folder.mkdir()
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    (folder / environment.MARKER).write_text(str(other.pid))
    try:
        with pytest.raises(ConfigError, match=f"is running in .*process {other.pid}"):
            environment.fresh_folder(folder)
    finally:
        other.communicate(b"\n")
    environment.fresh_folder(folder)
    assert (folder / environment.MARKER).read_text() == str(os.getpid())


def test_a_folder_that_cannot_be_made_says_what_to_do(tmp_path: Path) -> None:
    """A file in the way of the folder's parents is an error with a hint, not a traceback."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"cannot be made.*--folder"):
        environment.fresh_folder(tmp_path / "file" / "demo")


def test_settings_of_other_installations_are_left_out(tmp_path: Path) -> None:
    """A ledger, tracking server or Airflow named in the environment is not the demo's, and is never written to."""
    given = {
        "MLOPS_LEDGER_URL": "postgresql://production/ledger",
        "MLOPS_TRACKING_URI": "http://production",
        "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
        "PATH": "/bin",
    }
    chosen = environment.settings(tmp_path, tmp_path / "demo", given)
    assert not {"MLOPS_LEDGER_URL", "MLOPS_TRACKING_URI", "AIRFLOW__CORE__EXECUTOR"} & set(chosen)
    assert chosen["PATH"] == "/bin"
    below = ("MLOPS_VAR", "MLOPS_STATE_DIR", "MLOPS_MODELS_DIR", "AIRFLOW_HOME")
    assert all(chosen[name].startswith(str(tmp_path / "demo")) for name in below)
    assert str(tmp_path / "demo") in chosen["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]


def test_what_libraries_write_goes_into_the_log(tmp_path: Path) -> None:
    """Python's prints and raw writes of C libraries end up in the log; only the terminal that is handed out is seen."""
    program = """
        import os, sys
        from pathlib import Path
        from demo.environment import quiet
        with quiet(Path(sys.argv[1])) as terminal:
            print("a library prints")
            os.write(2, b"a C library writes\\n")
            terminal.write("the demo tells\\n")
        print("after")
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(tmp_path / "log")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "the demo tells\nafter\n"
    assert done.stderr == ""
    assert sorted((tmp_path / "log").read_text().splitlines()) == ["a C library writes", "a library prints"]

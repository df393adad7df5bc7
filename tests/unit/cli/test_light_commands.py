"""The commands that must be quick import nothing heavy, and the ones that only read need not write."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mlops.cli.__main__ import app
from tests.contenders import Contenders

ROOT = Path(__file__).parents[3]
NOBODY = 65534
# Each costs a command between a tenth of a second and two.
NEVER = {"mlflow", "alembic", "pandas", "scipy", "sklearn", "boto3", "sigstore", "model_signing", "feast", "duckdb"}
TABLES = {"numpy", "pyarrow", "fsspec"}  # evidence, incidents and deliveries lie in files


def imported(*arguments: str) -> set[str]:
    """The packages that a process holds after a command, which must have gone well."""
    code = (
        "import sys\nfrom mlops.cli.__main__ import app\n"
        "try:\n    app()\nexcept SystemExit as end:\n    assert end.code == 0, end.code\n"
        "print('\\n'.join(sorted({name.partition('.')[0] for name in sys.modules})), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return set(done.stderr.split())


def test_the_commands_about_the_champion_import_nothing_heavy(contenders: Contenders) -> None:
    """To move an alias and verify files, a rollback needs neither MLflow nor pandas nor what signs."""
    name = contenders.spec.name
    for _ in range(2):
        contenders.contender()
        found = imported("promote", name)
        assert "mlops" in found
        assert not found & NEVER
    for command in (["champion", name, "--history"], ["rollback", name], ["champion", name]):
        assert not imported(*command) & (NEVER | TABLES), command
    assert not imported("reconcile", name) & NEVER
    assert not imported("ledger", "verify") & (NEVER | TABLES)


@contextmanager
def unwritable(folder: Path) -> Iterator[None]:
    """Take the right to write from everybody; root, whom nothing stops, becomes somebody else."""
    owner = NOBODY if os.geteuid() == 0 else os.geteuid()
    places = [folder, *folder.rglob("*")]
    for place in places:
        if os.geteuid() == 0:
            os.chown(place, owner, -1)
        place.chmod(0o555 if place.is_dir() else 0o400)
    before = os.geteuid()
    os.seteuid(owner)
    try:
        yield
    finally:
        os.seteuid(before)
        for place in places:
            place.chmod(0o755 if place.is_dir() else 0o644)


def test_status_and_champion_need_no_right_to_write(contenders: Contenders, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all state lies read-only, they say what they say elsewhere, and leave no file behind."""
    name = contenders.spec.name
    contenders.contender()
    CliRunner().invoke(app, ["promote", name])
    home = Path(tempfile.mkdtemp(prefix="mlops-readonly-"))
    try:
        home.chmod(0o755)
        config = contenders.services.config
        shutil.copytree(config.var, home / "var")
        shutil.copytree(Path(config.tracking_uri.removeprefix("sqlite:///")).parent, home / "var" / "mlflow")
        shutil.copytree(config.models_dir, home / "models")
        for key, value in {
            "MLOPS_VAR": home / "var",
            "MLOPS_MODELS_DIR": home / "models",
            "MLOPS_TRACKING_URI": f"sqlite:///{home}/var/mlflow/mlflow.db",
        }.items():
            monkeypatch.setenv(key, str(value))
        commands = (["status", name], ["champion", name], ["ledger", "verify"])
        for command in commands:  # also imports all that they need, from where nobody else may read
            CliRunner().invoke(app, command)
        for left in home.rglob("*-shm"):
            left.unlink()
            left.with_name(left.name.removesuffix("-shm") + "-wal").unlink(missing_ok=True)
        files = set(home.rglob("*"))
        told = [CliRunner().invoke(app, command) for command in commands]
        for made in set(home.rglob("*")) - files:
            made.unlink()
        with unwritable(home):
            again = [CliRunner().invoke(app, command) for command in commands]
        for before, after in zip(told, again, strict=True):
            assert (after.exit_code, after.output) == (before.exit_code, before.output), after.exception
        assert "version 1 (hbos)" in again[0].output
        assert "chain whole" in again[0].output
        assert set(home.rglob("*")) == files
    finally:
        shutil.rmtree(home)


def test_status_says_so_where_incidents_cannot_be_read(contenders: Contenders, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything else is told; that nobody can tell of incidents is not "no incidents"."""
    monkeypatch.setenv("MLOPS_INCIDENTS_URL", "sqlite:////proc/none/incidents.db")
    told = CliRunner().invoke(app, ["status", contenders.spec.name, "--json"])
    assert told.exit_code == 0, told.exception
    (said,) = json.loads(told.stdout)["incidents"]
    assert said.startswith("cannot be told: ")

"""The machine is at fault, not the data: a full disk, a place that cannot be written, a file that cannot be read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from mlops.config import MLOpsConfig
from mlops.errors import SourceError, StorageError
from mlops.pipelines.tasks import STEPS
from mlops.services import Services
from tests.e2e.conftest import FIRST, ROOT, Team

NOWHERE = "/sys/mlops"  # no user may make a folder there, root included

# No file may grow beyond 4 KiB: every write fails in the middle, as on a full disk, and no privilege is needed for it.
_ON_A_FULL_DISK = """
import json, resource, sys
from datetime import date
from mlops.errors import MLOpsError
from mlops.pipelines.tasks import STEPS, execute
from mlops.services import Services

services, day = Services.open(), date.fromisoformat(sys.argv[1])
spec = services.spec("presses")
services.features.features_of(spec.features.service)  # libraries that make files when imported do it here
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
told = {}
for step in STEPS:
    try:
        told[step] = execute(step, services, spec, day).outcome
    except MLOpsError as error:
        told[step] = f"{type(error).__name__}: {error}"
sys.stdout.write(json.dumps(told))
"""


def good_state(team: Team) -> dict[str, object]:
    """What later nights build on: every published table by content, and the champion."""
    storage = team.services.storage
    parts = sorted((team.folder / "var").rglob("part.parquet"))
    tables = {str(path): storage.manifest(str(path.parent)) for path in parts}
    champion = team.services.registry.by_alias("presses", "champion")
    return {"tables": tables, "champion": champion and (champion.version, champion.digest)}


def test_a_full_disk_is_an_error_that_leaves_the_last_good_state(team: Team) -> None:
    """Where no file can be written every step that must write says so; tables, champion and ledger stand as before."""
    day = team.history()
    for step in STEPS[2:]:
        team.run(step, day)
    before = good_state(team)
    team.deliver(day, team.readings(day).assign(load=lambda f: f["load"] * 0.9))
    told = on_a_full_disk(team, day.isoformat())
    for step in ("ingestion", "features", "training", "inference"):
        assert "Free space" in told[step], told
    assert good_state(team) == before
    assert team.services.ledger.verify() == []
    assert [team.run(step, day).outcome for step in STEPS[:2]] == ["done", "done"]
    assert team.run("training", day).record["version"] == 2


def on_a_full_disk(team: Team, day: str) -> dict[str, str]:
    """Outcome or error of every step of a night on which no file can be written."""
    config = team.services.config
    environ = os.environ | {
        "MLOPS_HOME": str(ROOT),
        "MLOPS_VAR": config.var,
        "MLOPS_MODELS_DIR": str(config.models_dir),
        "MLOPS_FEATURE_REPO": str(config.feature_repo),
        "MLOPS_CODE_VERSION": "test",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [sys.executable, "-W", "ignore", "-c", _ON_A_FULL_DISK, day]
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    told: dict[str, str] = json.loads(done.stdout)
    return told


@pytest.mark.skipif(not Path("/sys").is_dir(), reason="needs /sys, where no folder can be made")
def test_state_that_cannot_be_written_is_an_error_in_every_step(team: Team) -> None:
    """With `var` in a place where nothing can be made, the step says where and why."""
    path = team.deliver(FIRST)
    team.write_spec(source={"uri": str(path)})
    values = {key: getattr(team.services.config, key) for key in ("home", "models_dir", "feature_repo")}
    services = Services.open(MLOpsConfig.build(values | {"var": NOWHERE, "code_version": "test"}))
    lost = replace(team, services=services)
    with pytest.raises(StorageError, match=r"/sys/mlops/.* could not be written: .*mend the permissions"):
        lost.run("ingestion", FIRST)
    assert lost.run("features", FIRST).outcome == "nothing_to_do"


@pytest.mark.skipif(not Path("/sys").is_dir(), reason="needs /sys, where no folder can be made")
@pytest.mark.parametrize("command", ["status fleet_anomaly", "sample", "up"])
def test_a_command_without_a_place_for_its_state_leaves_with_one(command: str) -> None:
    """No traceback: one line that names the place."""
    environ = os.environ | {"MLOPS_HOME": str(ROOT), "MLOPS_VAR": NOWHERE}
    called = [sys.executable, "-W", "ignore", "-m", "mlops.cli", *command.split()]
    done = subprocess.run(called, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert NOWHERE in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs /proc/self/mem, a file that no read succeeds on")
def test_a_file_that_is_there_but_cannot_be_read_is_an_error_and_not_nothing(team: Team) -> None:
    """A read that fails is told with the file's name, and the day counts as not delivered to nobody."""
    day = team.history(days=1) + timedelta(days=1)
    (team.inbox / f"{day}.csv").symlink_to("/proc/self/mem")
    with pytest.raises(SourceError, match=rf"{day}\.csv cannot be read"):
        team.run("ingestion", day)
    assert team.run("features", FIRST).outcome == "done"

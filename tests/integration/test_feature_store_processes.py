"""The feature store among several processes: DAGs that apply at once, and Feast's own command line."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from mlops.config import MLOpsConfig
from mlops.features.store import FeatureStore
from mlops.storage import Storage

HOME = Path(__file__).parents[2]

APPLY = """
import sys
from mlops.config import MLOpsConfig
from mlops.features.store import FeatureStore
from mlops.storage import Storage
import feast
home, var, repo = sys.argv[1:]
config = MLOpsConfig.build({"home": home, "var": var, "feature_repo": repo})
store = FeatureStore.open(config, Storage(config.var))
print("ready", flush=True)
sys.stdin.readline()
print(store.apply())
"""
VIEW = """
from datetime import timedelta
from feast import Entity, FeatureService, ValueType
from mlops.features.engineering import Recipe
from mlops.features.views import telemetry_view
thing = Entity(name="{name}", join_keys=["{name}_id"], value_type=ValueType.STRING)
view = telemetry_view(name="{name}_view", entity=thing, dataset="{name}", recipe=Recipe(("level",)), ttl=timedelta(1))
service = FeatureService(name="{name}_v1", features=[view])
"""


def repository(folder: Path, name: str) -> Path:
    """A repository of one view and one service."""
    folder.mkdir()
    (folder / f"{name}.py").write_text(VIEW.format(name=name))
    (folder / "feature_store.yaml").write_text((HOME / "feature_repo" / "feature_store.yaml").read_text())
    return folder


def opened(tmp_path: Path, repo: Path) -> FeatureStore:
    """The installation in this process."""
    config = MLOpsConfig.build({"home": HOME, "var": tmp_path / "var", "feature_repo": repo})
    return FeatureStore.open(config, Storage(config.var))


def started(arguments: list[str]) -> subprocess.Popen[str]:
    """A process that has imported everything and waits for a line before it applies."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(APPLY), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("same", [True, False], ids=["one repository", "two repositories"])
def test_two_processes_that_apply_at_once_lose_nothing(tmp_path: Path, same: bool) -> None:
    """On an installation without a registry, both end well, what both declared is registered, and it is done once."""
    names = ["pump", "pump" if same else "valve"]
    repos = {name: repository(tmp_path / name, name) for name in set(names)}
    arguments = [[str(HOME), str(tmp_path / "var"), str(repos[name])] for name in names]
    processes = [started(each) for each in arguments]
    assert [process.stdout.readline() for process in processes if process.stdout] == ["ready\n", "ready\n"]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    ends = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], ends
    assert sorted(out.strip() for out, _ in ends) == (["False", "True"] if same else ["True", "True"])
    for name, repo in repos.items():
        assert opened(tmp_path, repo).features_of(f"{name}_v1") == ("level",)


def test_feasts_own_command_line_applies_the_repository(tmp_path: Path) -> None:
    """`feast -c feature_repo apply` with the two variables set registers what `mlops` then finds."""
    variables = {"MLOPS_VAR": str(tmp_path / "var"), "MLOPS_STATE_DIR": str(tmp_path / "var"), "MLOPS_HOME": str(HOME)}
    (tmp_path / "var" / "feast").mkdir(parents=True)
    done = subprocess.run(
        [str(Path(sys.executable).parent / "feast"), "-c", str(HOME / "feature_repo"), "apply"],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    store = opened(tmp_path, HOME / "feature_repo")
    (view,) = store.views_of("fleet_anomaly_v1")
    assert view.dataset == "fleet"
    assert len(view.features) == 30
    source = store._feast.get_feature_view("fleet_telemetry").batch_source.path
    assert source == f"{tmp_path}/var/features/fleet_telemetry/date=*/part.parquet"

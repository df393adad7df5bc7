"""Feast's own tests of offline stores, run against ours.

`MLOPS_FEAST_REPO` names a clone of https://github.com/feast-dev/feast (the package on PyPI is without its tests). What
the tests import beside Feast is installed where it disturbs nobody, and found by `PYTHONPATH`:

    uv pip install --target extras --no-deps minio testcontainers docker python-keycloak jwcrypto deprecation aiofiles \
        requests-toolbelt async-property httpx argon2-cffi argon2-cffi-bindings pycryptodome wrapt assertpy \
        pytest-asyncio pytest-env pytest-mock pytest-lazy-fixtures pytest-ordering
    PYTHONPATH=extras MLOPS_FEAST_REPO=feast python -m benchmarks feast_suite

Arrival counts on request (`known_at: on_request`), as the tests expect of every store. `test_dqm_validation` is left
out: it imports a Great Expectations before 1.0.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path

from rich.console import Console
from rich.table import Table

_TESTS = "tests/integration/offline_store"
_LEFT_OUT = f"{_TESTS}/test_dqm_validation.py"
_CONFIGURATION = """
from mlops.features.asof.store import AsOfOfflineStoreConfig
from tests.universal.feature_repos.universal.data_sources.file import FileDataSourceCreator

class AsOfDataSourceCreator(FileDataSourceCreator):
    def create_offline_store_config(self):
        return AsOfOfflineStoreConfig(known_at="on_request")

AVAILABLE_OFFLINE_STORES = [("local", AsOfDataSourceCreator)]
AVAILABLE_ONLINE_STORES = {"sqlite": ({"type": "sqlite"}, None)}
"""
_TIMEOUT = 3_600  # [s]


def main() -> None:
    """Print every test that ran, and how it ended."""
    repo = os.environ.get("MLOPS_FEAST_REPO")
    if not repo:
        print("left out: set MLOPS_FEAST_REPO to a clone of https://github.com/feast-dev/feast")
        return
    with tempfile.TemporaryDirectory() as folder:
        said = _run(Path(repo) / "sdk" / "python", Path(folder))
        found = Path(folder) / "found.xml"
        if not found.exists():
            print("\n".join(said.strip().splitlines()[-15:]), file=sys.stderr)
            raise SystemExit("Feast's tests could not be collected; see the module for what they import.")
        _print(found)


def _run(source: Path, folder: Path) -> str:
    """Run the tests from a copy, beside which Feast's own source does not lie."""
    shutil.copytree(source / "tests", folder / "tests")
    shutil.copy(source / "pytest.ini", folder / "pytest.ini")
    (folder / "asof_configuration.py").write_text(_CONFIGURATION)
    paths = [str(folder), str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    told = {"PYTHONPATH": ":".join(paths), "FULL_REPO_CONFIGS_MODULE": "asof_configuration"}
    told |= {"FEAST_IS_LOCAL_TEST": "True", "IS_TEST": "True", "FEAST_USAGE": "False"}
    command = [sys.executable, "-m", "pytest", _TESTS, "--ignore", _LEFT_OUT, "--integration", "-o", "addopts=", "-q"]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", "--tb=short", "--timeout=600", "--junitxml=found.xml"],
        cwd=folder,
        env=os.environ | told,
        capture_output=True,
        text=True,
        check=False,
        timeout=_TIMEOUT,
    )
    return done.stdout + done.stderr


def _print(found: Path) -> None:
    table = Table("test", "case", "ended", "why")
    counts: dict[str, int] = {}
    for case in ET.parse(found).getroot().iter("testcase"):
        name, _, parameters = case.get("name", "").partition("[")
        ended, why = "passed", ""
        for child in case:
            if child.tag in ("failure", "error", "skipped"):
                ended, why = child.tag, (child.get("message") or "").splitlines()[0][:80]
        counts[ended] = counts.get(ended, 0) + 1
        shown = re.sub(r"-?ParameterSet\(.*?\), marks=\[\], id=None\)-?", "", parameters.rstrip("]"))
        table.add_row(f"{case.get('classname', '').rsplit('.', 1)[-1]}::{name}", shown, ended, why)
    console = Console(width=200)
    console.print(table)
    console.print(", ".join(f"{count} {ended}" for ended, count in sorted(counts.items())))


if __name__ == "__main__":
    main()

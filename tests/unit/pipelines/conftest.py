"""A model whose versions and evidence are made in milliseconds, in an installation whose MLflow store is shared."""

from __future__ import annotations

import re
import zlib
from pathlib import Path

import pytest

from mlops.config import MLOpsConfig
from mlops.records import RunRecord
from mlops.services import Services
from tests.contenders import Clock, Contenders, logged_runs, spec_of

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def contenders_store(tmp_path_factory: pytest.TempPathFactory) -> tuple[MLOpsConfig, tuple[RunRecord, ...]]:
    """One MLflow store with logged runs for the session, as making its tables takes seconds."""
    var = tmp_path_factory.mktemp("store") / "var"
    config = MLOpsConfig.build({"home": ROOT, "var": str(var), "code_version": "test"})
    return config, logged_runs(Services.open(config).tracker, 3)


@pytest.fixture
def house(contenders_store: tuple[MLOpsConfig, tuple[RunRecord, ...]], tmp_path: Path) -> Services:
    """An installation of the test's own: ledger and reports are its, the MLflow store is shared."""
    values = {"var": str(tmp_path / "var"), "ledger_url": f"sqlite:///{tmp_path}/ledger.db", "actor": "ann"}
    return Services(contenders_store[0].model_copy(update=values), Clock())


@pytest.fixture
def contenders(
    house: Services, contenders_store: tuple[MLOpsConfig, tuple[RunRecord, ...]], request: pytest.FixtureRequest
) -> Contenders:
    """Versions of a model that no other test has."""
    name = f"m{zlib.crc32(request.node.nodeid.encode())}_{re.sub(r'[^a-z0-9_]', '', request.node.name.lower())[:30]}"
    return Contenders(house, spec_of(house, name), contenders_store[1])

"""The world that is disturbed; the matrix at the end is printed by tests/conftest.py."""

from __future__ import annotations

import contextlib
import importlib
import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.faults.disturbances import Writes
from tests.faults.postgres import Postgres
from tests.faults.world import DAYS, FIRST, SECOND, STEPS, World, asked, state, work

HERE = Path(__file__).parent
LIVE = HERE / "test_live.py"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave this suite to a run of its own: a process in which other tests have opened databases must not fork.

    The accidents on a real Airflow take a quarter of an hour: they have a job of their own in CI (`.ci/accidents`), and
    are deselected elsewhere.
    """
    if os.environ.get("MLOPS_FAULTS") != "live" and (live := [item for item in items if item.path == LIVE]):
        config.hook.pytest_deselected(items=live)
        items[:] = [item for item in items if item.path != LIVE]
    forking = [item for item in items if item.path.is_relative_to(HERE)]
    if len(forking) < len(items):
        config.hook.pytest_deselected(items=forking)
        items[:] = [item for item in items if not item.path.is_relative_to(HERE)]


@dataclass(frozen=True)
class Prepared:
    """A world with its state before each step, and what each step leaves undisturbed."""

    world: World
    expected: dict[str, Any]  # by step
    writes: dict[str, int]  # by step: how many there are


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """An installation on SQLite."""
    return _prepared(World(tmp_path_factory.mktemp("world")))


@pytest.fixture(scope="session")
def prepared_on_postgresql(tmp_path_factory: pytest.TempPathFactory, postgres_server: str) -> Iterator[Prepared]:
    """An installation whose ledger and MLflow are on PostgreSQL."""
    postgres = Postgres(postgres_server, f"faults_{uuid.uuid4().hex[:12]}")
    try:
        postgres.make()
        yield _prepared(World(tmp_path_factory.mktemp("world"), postgres))
    finally:
        postgres.drop()


def _prepared(world: World) -> Prepared:
    """Two nights lived through; of the second one, the state before each step is kept."""
    os.environ["OMP_NUM_THREADS"] = "1"
    world.deliver()
    expected: dict[str, Any] = {}
    writes: dict[str, int] = {}

    def history() -> list[str]:
        import sys

        from mlops.pipelines.tasks import execute

        services = world.services()
        for day in DAYS:
            for step in ("ingestion", "features"):
                execute(step, services, services.spec("fleet"), day)
        for step in STEPS[:-1]:
            work(world, services, step, FIRST)
        return sorted(sys.modules)

    _import(asked(world, history))
    for step in STEPS:
        world.keep(step)
        writes[step], expected[step] = asked(world, lambda step=step: _undisturbed(world, step))
    return Prepared(world, expected, writes)


def _undisturbed(world: World, step: str) -> tuple[int, Any]:
    services = world.services(task=step)
    counted = Writes(str(world.var))
    work(world, services, step, SECOND)
    if step == "promotion":
        from mlops.pipelines import rollback

        world.give("reign", rollback.ask(services, "fleet"))
    return counted.count, state(services)


def _import(names: list[str]) -> None:
    """Import what the children need, so that a fork has it; the parent opens nothing."""
    for name in names:
        if name.partition(".")[0] in (
            "mlops",
            "mlflow",
            "sklearn",
            "pyod",
            "feast",
            "duckdb",
            "skops",
            "model_signing",
            "psycopg",
        ):
            with contextlib.suppress(Exception):
                importlib.import_module(name)


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Callable[..., None]:
    """Puts a cell into the matrix that is printed at the end, from whichever process the test runs in."""
    return lambda step, fault, text: record_property("faults", [step, fault, text])

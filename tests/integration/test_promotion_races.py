"""Twenty promoters at once, each a process: exactly one wins, the others say why; on SQLite and on PostgreSQL."""

from __future__ import annotations

import multiprocessing
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from mlops.config import MLOpsConfig
from mlops.errors import LeaseError
from mlops.pipelines import promotion
from mlops.records import StepReport
from mlops.services import Services
from tests.contenders import Contenders, logged_runs, spec_of
from tests.integration.racer import race

ROOT = Path(__file__).parents[2]
SERVER = os.environ.get("MLOPS_TEST_POSTGRES", "postgresql+psycopg://postgres@127.0.0.1:5432/postgres")
PROMOTERS = 20

pytestmark = pytest.mark.integration


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database, dropped afterwards."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/ledger.db"
        return
    request.getfixturevalue("postgres_server")
    admin = sa.create_engine(SERVER, isolation_level="AUTOCOMMIT", connect_args={"connect_timeout": 3})
    name = f"mlops_races_{uuid.uuid4().hex[:12]}"
    with admin.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    yield sa.make_url(SERVER).set(database=name, drivername="postgresql").render_as_string(hide_password=False)
    with admin.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
    admin.dispose()


def test_of_twenty_promoters_at_once_one_wins_and_the_others_say_why(ledger_url: str, tmp_path: Path) -> None:
    """Twenty challengers judged against the same champion: one new reign, nineteen reasons, alias and ledger agree."""
    values = {"home": ROOT, "var": str(tmp_path / "var"), "ledger_url": ledger_url, "code_version": "test"}
    config = MLOpsConfig.build(values)
    services = Services(config)
    spec = spec_of(services, "raced")
    contenders = Contenders(services, spec, logged_runs(services.tracker, 1))
    contenders.contender()
    assert promotion.run(services, spec, contenders.day(1), 1).outcome == "done"
    challengers = [contenders.contender().version for _ in range(PROMOTERS)]
    days = {version: contenders.day(version) for version in challengers}
    context = multiprocessing.get_context("spawn")
    barrier, told_here = context.Barrier(PROMOTERS), context.SimpleQueue()
    racers = [context.Process(target=race, args=(values, spec, v, days[v], barrier, told_here)) for v in challengers]
    for racer in racers:
        racer.start()
    answers = dict(told_here.get() for _ in racers)
    for racer in racers:
        racer.join()
    assert len({racer.pid for racer in racers}) == PROMOTERS
    won = [v for v, told in answers.items() if isinstance(told, StepReport) and told.outcome == "done"]
    assert len(won) == 1, answers
    for version, told in answers.items():
        if version == won[0]:
            continue
        if isinstance(told, StepReport):
            expected = f"Version {version} was judged against version 1, but version {won[0]} is champion now"
            assert (told.outcome, told.reason.startswith(expected)) == ("no", True), told.reason
        else:
            assert isinstance(told, LeaseError), told
            assert "raced/promotion" in str(told)
    assert [entry.body["version"] for entry in services.ledger.history("raced")] == [1, won[0]]
    assert services.registry.aliases("raced")["champion"] == won[0]
    assert [v.version for v in services.registry.versions("raced") if v.stage == "production"] == won
    assert services.ledger.verify() == []

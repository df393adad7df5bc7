"""SQL sources on a real PostgreSQL, in a database of the test's own."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import pytest
import sqlalchemy as sa

from mlops.data.sources import read_delivery
from mlops.errors import SourceError
from mlops.spec import SourceSpec, TimestampsSpec

pytestmark = pytest.mark.integration

DAY = date(2026, 3, 5)
MIDNIGHT = datetime(2026, 3, 5, tzinfo=UTC)
TIMES = TimestampsSpec(event="at", arrival="known")
QUERY = "select * from pumps where known >= :start and known < :end order by n"


@pytest.fixture(scope="module")
def database(postgres_server: str) -> Iterator[str]:
    """URL of a database that is created for these tests and dropped after them."""
    name = f"sources_{uuid.uuid4().hex[:12]}"
    server = sa.create_engine(f"postgresql+psycopg://{postgres_server}/postgres", isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(sa.text(f"create database {name}"))
    url = f"postgresql+psycopg://{postgres_server}/{name}"
    engine = sa.create_engine(url)
    _fill(engine)
    engine.dispose()
    yield url
    with server.connect() as connection:
        connection.execute(sa.text(f"drop database {name} with (force)"))
    server.dispose()


def _fill(engine: sa.Engine) -> None:
    """Rows around the two midnights of the day, with instants, with local times, and none on other days."""
    arrivals = [timedelta(microseconds=-1), timedelta(0), timedelta(hours=12), timedelta(hours=24)]
    with engine.begin() as connection:
        columns = (
            "n int, device text, at timestamptz, known timestamptz, wall timestamp, load numeric(8,3), on_duty bool"
        )
        connection.execute(sa.text(f"create table pumps ({columns})"))
        for n, after in enumerate(arrivals):
            known = MIDNIGHT + after
            values = {
                "n": n,
                "at": known - timedelta(hours=1),
                "known": known,
                "wall": (known + timedelta(hours=8)).replace(tzinfo=None),
            }
            row = "(:n, 'a', :at, :known, :wall, 1.5, true)"
            connection.execute(sa.text(f"insert into pumps values {row}"), values)


def test_the_rows_of_the_day_come_as_instants_and_floats(database: str) -> None:
    """Both midnights fall where they belong, whatever zone the session has; numeric comes as float."""
    for zone in ("UTC", "America/New_York"):
        options = {"connect_args": {"options": f"-c timezone={zone}"}}
        source = SourceSpec(kind="sql", uri=database, query=QUERY, options=options)
        found = read_delivery(source, entity="device", timestamps=TIMES, day=DAY)
        assert found is not None
        assert list(found["n"]) == [1, 2]
        assert list(found["known"]) == [MIDNIGHT, MIDNIGHT + timedelta(hours=12)]
        assert [str(found[name].dtype) for name in ("at", "known")] == ["datetime64[us, UTC]"] * 2
        assert found["load"].dtype == float
        assert found["on_duty"].dtype == bool


def test_local_times_are_asked_for_in_their_zone(database: str) -> None:
    """With source.timezone the bounds are local times, so a plain comparison gives the same rows."""
    query = "select n, device, wall as at from pumps where wall >= :start and wall < :end order by n"
    source = SourceSpec(kind="sql", uri=database, query=query, timezone="Asia/Shanghai")
    found = read_delivery(source, entity="device", timestamps=TimestampsSpec(event="at"), day=DAY)
    assert found is not None
    assert list(found["n"]) == [1, 2]
    assert found["at"].iloc[0] == MIDNIGHT


def test_a_day_without_rows_is_nothing_delivered(database: str) -> None:
    """No rows in the day is None, as for files."""
    source = SourceSpec(kind="sql", uri=database, query=QUERY)
    assert read_delivery(source, entity="device", timestamps=TIMES, day=DAY + timedelta(days=9)) is None


def test_a_query_that_fails_and_a_server_that_is_not_there_say_so(database: str) -> None:
    """An unknown table, and a port where nobody answers, are errors with what to do."""
    absent = SourceSpec(kind="sql", uri=database, query="select * from pump where known between :start and :end")
    with pytest.raises(SourceError, match=r'relation "pump" does not exist.*Check the URL'):
        read_delivery(absent, entity="device", timestamps=TIMES, day=DAY)
    nobody = SourceSpec(kind="sql", uri="postgresql+psycopg://127.0.0.1:1/none", query=QUERY)
    with pytest.raises(SourceError, match="did not answer the query"):
        read_delivery(nobody, entity="device", timestamps=TIMES, day=DAY)

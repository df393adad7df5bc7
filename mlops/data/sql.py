"""Deliveries by SQL: the query of the spec, asked for a stretch of time.

One rule: the query itself says `:start` and `:end`, so a database never sends more than the stretch.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pandas as pd

from mlops.data.timezones import zone_of
from mlops.errors import MissingDependencyError, SourceError
from mlops.spec import SourceSpec


def query(source: SourceSpec, start: datetime, end: datetime) -> pd.DataFrame:
    """The rows of the query for [start, end).

    `:start` and `:end` are instants in UTC; where `source.timezone` says that the timestamps carry no zone, they are
    local times of that zone without one, so that the comparison in the query means what it says.

    Args:
        source: `uri` is an SQLAlchemy URL, `options` go to `sqlalchemy.create_engine`.
        start: beginning, aware.
        end: end, aware.

    Raises:
        SourceError: no connection, or the query fails or does not use `:start` and `:end`.
        MissingDependencyError: the driver of this database is not installed.
    """
    import sqlalchemy as sa

    statement = sa.text(source.query)
    if missing := {"start", "end"} - set(statement.compile().params):
        raise SourceError(
            f"The query does not use :{' and :'.join(sorted(missing))}: {' '.join(source.query.split())}",
            hint="Select the rows that became known in [:start, :end).",
        )
    shown = source.uri.split("@")[-1]
    try:
        engine = sa.create_engine(source.uri, **source.options)
        shown = engine.url.render_as_string(hide_password=True)
        _refuse_absent_file(engine.dialect.name, engine.url.database)
        bounds = {"start": _bound(start, source, engine.dialect.name), "end": _bound(end, source, engine.dialect.name)}
        try:
            with engine.connect() as connection:
                return pd.read_sql_query(statement, connection, params=bounds)
        finally:
            engine.dispose()
    except ImportError as error:
        raise MissingDependencyError(f"{shown} needs a driver that is not installed: {error}.") from error
    except (sa.exc.SQLAlchemyError, OSError) as error:
        raise SourceError(
            f"{shown} did not answer the query: {' '.join(str(error).split())}.",
            hint="Check the URL, the credentials and the query.",
        ) from error


def _bound(moment: datetime, source: SourceSpec, dialect: str) -> datetime | str:
    if source.timezone:
        moment = moment.astimezone(zone_of(source.timezone)).replace(tzinfo=None)
    return moment.isoformat(sep=" ") if dialect == "sqlite" else moment  # SQLite has no type for times but text


def _refuse_absent_file(dialect: str, database: str | None) -> None:
    """SQLite would create an absent file and then miss the table in it."""
    if dialect == "sqlite" and database and database != ":memory:" and not database.startswith("file:"):
        path = Path(database)
        if not path.exists():
            raise FileNotFoundError(f"{path} does not exist")

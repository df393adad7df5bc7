"""The records of registered versions in MLflow's own tables, without importing MLflow.

The tables are read from the database, not assumed. If one lacks a column that is used here, or has one more that must
be filled in, then this is another MLflow than this code knows, and its client has to do it.

One rule: what is written is what MLflow writes, in one transaction, which waits for others as MLflow's do.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.pool import NullPool

from mlops import sqlite_files
from mlops.errors import StorageError
from mlops.models.index import Found

BUSY_SECONDS = 30
_USED = {
    "model_versions": {"name", "version", "run_id", "current_stage"},
    "model_version_tags": {"name", "version", "key", "value"},
    "registered_model_aliases": {"name", "alias", "version"},
    "logged_models": {"model_id", "artifact_location"},
    "runs": {"run_uuid", "artifact_uri"},
}
_WRITTEN = {"model_version_tags": {"name", "version", "key"}, "registered_model_aliases": {"name", "alias"}}
_WORKSPACE = "workspace"  # since MLflow 3.9 part of every key; a store without workspaces has the one below
_DEFAULT_WORKSPACE = "default"
_DELETED = "Deleted_Internal"  # the stage in which MLflow leaves a deleted version


class SqlIndex:
    """`mlops.models.index.Index` on MLflow's database.

    Args:
        engine: of the database.
        tables: those of `_USED`, as they are there.
    """

    def __init__(self, engine: sa.Engine, tables: dict[str, sa.Table]) -> None:
        self._engine = engine
        self._versions, self._tags = tables["model_versions"], tables["model_version_tags"]
        self._aliases = tables["registered_model_aliases"]
        self._models, self._runs = tables["logged_models"], tables["runs"]

    @classmethod
    def known(cls, uri: str) -> SqlIndex | None:
        """The index of the store at `uri`, or None where its tables are not those that this code knows.

        Raises:
            StorageError: the database refuses.
        """
        try:
            engine = _engine(uri)
        except (sa.exc.ArgumentError, ImportError):  # MLflow says better what it wants
            return None
        with _translated(engine), engine.connect() as connection:
            if not set(_USED) <= set(sa.inspect(connection).get_table_names()):
                return None
            found = {name: sa.Table(name, sa.MetaData(), autoload_with=connection, resolve_fks=False) for name in _USED}
        return cls(engine, found) if all(_as_known(table) for table in found.values()) else None

    def version(self, model: str, version: int, /) -> Found | None:
        """See `Index.version`."""
        return next(iter(self._find(self._versions.c.name == model, self._versions.c.version == version)), None)

    def versions(self, model: str, /) -> list[Found]:
        """See `Index.versions`."""
        return self._find(self._versions.c.name == model)

    def tagged(self, key: str, value: str, model: str | None = None, /) -> list[Found]:
        """See `Index.tagged`."""
        tags = self._tags.c
        having = sa.select(tags.name, tags.version).where(tags.key == key, tags.value == value, *_here(self._tags))
        which: list[sa.ColumnElement[bool]] = [sa.tuple_(self._versions.c.name, self._versions.c.version).in_(having)]
        if model is not None:
            which.append(self._versions.c.name == model)
        return self._find(*which)

    def aliases(self, model: str, /) -> dict[str, int]:
        """See `Index.aliases`."""
        columns = self._aliases.c
        query = sa.select(columns.alias, columns.version).where(columns.name == model, *_here(self._aliases))
        with self._reading() as connection:
            return {str(row.alias): int(row.version) for row in connection.execute(query)}

    def set_alias(self, model: str, alias: str, version: int, /) -> None:
        """See `Index.set_alias`."""
        self._put(self._aliases, {"name": model, "alias": alias}, {"version": version}, (model, version))

    def delete_alias(self, model: str, alias: str, /) -> None:
        """See `Index.delete_alias`."""
        columns = self._aliases.c
        which = (columns.name == model, columns.alias == alias, *_here(self._aliases))
        with self._writing() as connection:
            connection.execute(sa.delete(self._aliases).where(*which))

    def set_tag(self, model: str, version: int, key: str, value: str, /) -> None:
        """See `Index.set_tag`."""
        row = {"name": model, "version": version, "key": key}
        self._put(self._tags, row, {"value": value}, (model, version))

    def model_location(self, model_id: str, /) -> str | None:
        """See `Index.model_location`."""
        return self._one(sa.select(self._models.c.artifact_location).where(self._models.c.model_id == model_id))

    def run_location(self, run_id: str, /) -> str | None:
        """See `Index.run_location`."""
        return self._one(sa.select(self._runs.c.artifact_uri).where(self._runs.c.run_uuid == run_id))

    def _one(self, query: sa.Select[Any]) -> str | None:
        with self._reading() as connection:
            found = connection.execute(query).scalar_one_or_none()
        return None if found is None else str(found)

    def _find(self, *which: sa.ColumnElement[bool]) -> list[Found]:
        columns, tags = self._versions.c, self._tags.c
        chosen = sa.select(columns.name, columns.version, columns.run_id).where(
            columns.current_stage != _DELETED, *which, *_here(self._versions)
        )
        below = chosen.subquery()
        theirs = sa.select(tags.name, tags.version, tags.key, tags.value).join(
            below, sa.and_(below.c.name == tags.name, below.c.version == tags.version)
        )
        with self._reading() as connection:
            rows = connection.execute(chosen.order_by(columns.name, columns.version)).all()
            by_version: dict[tuple[str, int], dict[str, str]] = {(row.name, row.version): {} for row in rows}
            for tag in connection.execute(theirs.where(*_here(self._tags))):
                by_version.setdefault((tag.name, tag.version), {})[tag.key] = tag.value
        return [Found(row.name, row.version, row.run_id or "", by_version[row.name, row.version]) for row in rows]

    def _put(self, table: sa.Table, key: dict[str, Any], value: dict[str, Any], version: tuple[str, int]) -> None:
        """Insert a row or change it, if its version is there."""
        columns = self._versions.c
        there = sa.select(columns.version).where(
            columns.name == version[0],
            columns.version == version[1],
            columns.current_stage != _DELETED,
            *_here(self._versions),
        )
        if _WORKSPACE in table.c:
            key = key | {_WORKSPACE: _DEFAULT_WORKSPACE}
        with self._writing() as connection:
            if connection.execute(there.with_for_update()).one_or_none() is None:
                return
            insert: Any = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
            row = insert(table).values(**key, **value)
            connection.execute(row.on_conflict_do_update(index_elements=sorted(key), set_=value))

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        with _translated(self._engine), self._engine.connect() as connection, connection.begin():
            yield connection

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        with (
            _translated(self._engine),
            self._engine.connect().execution_options(writes=True) as connection,
            connection.begin(),
        ):
            yield connection


def _as_known(table: sa.Table) -> bool:
    """Whether a table has the columns that are used, and of one that is written no others that must be filled in."""
    there = {column.name for column in table.columns}
    if not _USED[table.name] <= there:
        return False
    if table.name not in _WRITTEN:
        return True
    key = {column.name for column in table.primary_key} - {_WORKSPACE}
    filled = _USED[table.name] | {_WORKSPACE}
    wanted = {c.name for c in table.columns if not c.nullable and c.server_default is None}
    return key == _WRITTEN[table.name] and wanted <= filled


def _here(table: sa.Table) -> tuple[sa.ColumnElement[bool], ...]:
    """Only the rows of the workspace that a store without workspaces has."""
    return (table.c[_WORKSPACE] == _DEFAULT_WORKSPACE,) if _WORKSPACE in table.c else ()


def _engine(uri: str) -> sa.Engine:
    url = sa.make_url(uri)
    if url.get_backend_name() != "sqlite":
        return sa.create_engine(url, poolclass=NullPool, connect_args={"connect_timeout": 10})
    path = Path(url.database or "")
    opened = partial(sqlite_files.connect, path, timeout=BUSY_SECONDS)  # its transactions begin in `_on_begin`
    engine = sa.create_engine(url, poolclass=NullPool, creator=opened)  # the URL is for messages
    sa.event.listen(engine, "begin", _on_begin)
    return engine


def _on_begin(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("writes") else "BEGIN")


@contextlib.contextmanager
def _translated(engine: sa.Engine) -> Iterator[None]:
    try:
        yield
    except (sa.exc.DBAPIError, sqlite3.Error) as error:
        said = " ".join(str(getattr(error, "orig", error)).split())
        raise StorageError(
            f"MLflow's database at {engine.url.render_as_string(hide_password=True)} refused: {said}.",
            hint="Nothing was changed by this step of the work. Mend it (is its disk full?) and run it again.",
        ) from error

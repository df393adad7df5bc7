"""Feast's SQLite online store, that never puts an older reading in place of a newer one.

Tables are Feast's own, and Feast reads them. Beside each lies one more that says which reading of each entity is held,
to the microsecond (Feast's own column has seconds), and one for all views that says which deliveries are in. Rows are
staged one per entity and spread into Feast's one-row-per-value layout by SQLite itself. The file is in WAL mode: who
reads is never kept waiting by who writes.

One rule: the reading held, its values and what is done are changed in transactions, so a kill leaves none half done.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from feast.infra.online_stores.sqlite import SqliteOnlineStore, SqliteOnlineStoreConfig, _table_id

from mlops.features.online.encoding import EncodedRows, encode_messages

_ROWS_PER_TRANSACTION = 20_000
_BUSY_SECONDS = 30.0


class GuardedSqliteOnlineStoreConfig(SqliteOnlineStoreConfig):  # type: ignore[misc]  # feast is untyped
    """What `online_store:` may say in feature_store.yaml."""

    type: Literal["mlops.features.online.sqlite.GuardedSqliteOnlineStore"] = (
        "mlops.features.online.sqlite.GuardedSqliteOnlineStore"
    )


class GuardedSqliteOnlineStore(SqliteOnlineStore):  # type: ignore[misc]  # feast is untyped
    """Feast finds it by the name in feature_store.yaml; signatures of the methods that it calls are Feast's."""

    _versioned_read_supported = True  # else the first read imports the clients of every store there is, to find out

    # --- what Feast calls -------------------------------------------------------------------------------------------

    def update(
        self, config: Any, tables_to_delete: Sequence[Any], tables_to_keep: Sequence[Any], *rest: Any, **named: Any
    ) -> None:
        """Make the tables of new views, and drop those of views that are gone with all that is known of them."""
        super().update(config, tables_to_delete, tables_to_keep, *rest, **named)
        with self._writing(config) as connection:
            for view in tables_to_delete:
                connection.execute(f"drop table if exists {_readings(config, view)}")
                connection.execute("delete from mlops_windows where view = ?", [_name(config, view)])

    def online_write_batch(self, config: Any, table: Any, data: Any, progress: Any) -> None:
        """Write rows that are newer than what is held, or as new."""
        for rows in encode_messages(data):
            self.write(config, table, rows)
        if progress:
            progress(len(data))

    def teardown(self, config: Any, tables: Sequence[Any], entities: Sequence[Any]) -> None:
        """Delete the file, and the two that WAL mode puts beside it."""
        super().teardown(config, tables, entities)
        for suffix in ("-wal", "-shm"):
            Path(f"{self._get_db_path(config)}{suffix}").unlink(missing_ok=True)

    # --- what materialisation and push call -------------------------------------------------------------------------

    def write(self, config: Any, view: Any, rows: EncodedRows, *, force: bool = False) -> int:
        """Write the rows whose reading is newer than the one held, or the same.

        Args:
            config: `feast.RepoConfig`.
            view: the registered `feast.FeatureView`.
            rows: at most one per entity.
            force: also where a newer reading is held.

        Returns:
            how many were written.
        """
        with self._writing(config) as connection:
            connection.execute(
                f"create table if not exists {_readings(config, view)} "
                "(entity_key blob primary key, event_us integer, known_us integer, origin text) without rowid"
            )
            names = list(rows.values)
            columns = ", ".join(f"v{i}" for i in range(len(names)))
            connection.execute(f"create temp table staged (k blob, e integer, c integer, et, ct, origin, {columns})")
            connection.execute("create temp table field (number integer primary key, name text)")
            connection.executemany("insert into field values (?, ?)", list(enumerate(names)))
            written = 0
            for start in range(0, len(rows), _ROWS_PER_TRANSACTION):
                part = rows.slice(start, _ROWS_PER_TRANSACTION)
                written += _write_part(connection, config, view, part, force=force)
        return written

    def windows(self, config: Any, view: Any) -> dict[str, str]:
        """The deliveries that are in: date -> content hash."""
        with self._writing(config) as connection:
            rows = connection.execute("select day, content from mlops_windows where view = ?", [_name(config, view)])
            return dict(rows.fetchall())

    def set_windows(self, config: Any, view: Any, done: Mapping[str, str]) -> None:
        """Remember that deliveries are in."""
        with self._writing(config) as connection:
            connection.executemany(
                "insert or replace into mlops_windows values (?, ?, ?)",
                [(_name(config, view), day, content) for day, content in done.items()],
            )

    def entities_from(self, config: Any, view: Any, origins: Sequence[str]) -> list[bytes]:
        """Keys of the entities whose reading came from one of `origins`."""
        marks = ", ".join("?" * len(origins))
        with self._writing(config) as connection:
            if not _exists(connection, _readings(config, view).strip('"')):
                return []
            rows = connection.execute(
                f"select entity_key from {_readings(config, view)} where origin in ({marks})", list(origins)
            )
            return [key for (key,) in rows.fetchall()]

    def forget(self, config: Any, view: Any, keys: Sequence[bytes]) -> None:
        """Drop all that is held of some entities."""
        with self._writing(config) as connection:
            connection.execute("begin immediate")
            for table in (_readings(config, view), _values(config, view)):
                connection.executemany(f"delete from {table} where entity_key = ?", [(key,) for key in keys])
            connection.execute("commit")

    @contextmanager
    def _writing(self, config: Any) -> Iterator[sqlite3.Connection]:
        place = f"{Path(self._get_db_path(config)).absolute().as_uri()}?mode=rw"  # never make an empty file
        with closing(sqlite3.connect(place, uri=True, timeout=_BUSY_SECONDS, isolation_level=None)) as connection:
            connection.execute("pragma journal_mode = wal")
            connection.execute("pragma synchronous = normal")
            connection.execute("pragma cache_size = -64000")
            connection.execute(
                "create table if not exists mlops_windows (view text, day text, content text, primary key (view, day))"
            )
            yield connection


def _write_part(connection: sqlite3.Connection, config: Any, view: Any, rows: EncodedRows, *, force: bool) -> int:
    """Write some rows in one transaction; how many were newer than what was held."""
    readings, values = _readings(config, view), _values(config, view)
    marks = ", ".join("?" * (6 + len(rows.values)))
    case = " ".join(f"when {i} then v{i}" for i in range(len(rows.values)))
    connection.execute("begin immediate")
    try:
        connection.execute("delete from staged")
        columns = [column.to_pylist() for column in rows.values.values()]
        times = (rows.event.tolist(), rows.known.tolist(), _seconds(rows.event), _seconds(rows.known))
        origin = rows.origin.cast(pa.string()).to_pylist()
        connection.executemany(
            f"insert into staged values ({marks})", zip(rows.keys.to_pylist(), *times, origin, *columns, strict=True)
        )
        if not force:
            connection.execute(
                f"delete from staged where exists (select 1 from {readings} r where r.entity_key = k "
                "and (r.event_us, r.known_us) > (e, c))"
            )
        (written,) = connection.execute("select count(*) from staged").fetchone()
        connection.execute(f"insert or replace into {readings} select k, e, c, origin from staged")
        connection.execute(
            f"insert into {values} (entity_key, feature_name, value, event_ts, created_ts) "
            f"select k, name, case number {case} end, et, ct from staged cross join field where true "
            "on conflict (entity_key, feature_name) do update set value = excluded.value, value_text = null, "
            "event_ts = excluded.event_ts, created_ts = excluded.created_ts"
        )
        connection.execute("commit")
    except BaseException:
        connection.execute("rollback")
        raise
    return int(written)


def _seconds(times: Any) -> list[int]:
    """Times as Feast keeps them in SQLite: whole seconds of UTC clock time taken for local time."""
    whole, where = np.unique(times // 1_000_000, return_inverse=True)
    clocks = [datetime.fromtimestamp(second, UTC).replace(tzinfo=None) for second in whole.tolist()]
    return np.array([int(clock.timestamp()) for clock in clocks], dtype=np.int64)[where].tolist()  # type: ignore[no-any-return]


def _name(config: Any, view: Any) -> str:
    return str(_table_id(config.project, view, config.registry.enable_online_feature_view_versioning))


def _values(config: Any, view: Any) -> str:
    return '"' + _name(config, view).replace('"', '""') + '"'


def _readings(config: Any, view: Any) -> str:
    return '"' + _name(config, view).replace('"', '""') + '__readings"'


def _exists(connection: sqlite3.Connection, table: str) -> bool:
    found = connection.execute("select 1 from sqlite_master where type = 'table' and name = ?", [table])
    return found.fetchone() is not None

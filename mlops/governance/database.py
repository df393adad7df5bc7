"""The SQL database that ledger and leases share: SQLite in a file, or PostgreSQL.

SQLite runs in WAL mode (readers never wait for a writer) and a writing transaction takes its lock when it begins, so
that "read, decide, write" is one step there as it is on PostgreSQL with row locks. Every commit waits for the disk
(`synchronous=FULL`; PostgreSQL's own default is the same), because a decision that was told to somebody must survive a
power cut. Connections are not pooled, so that a forked process can never share one with its parent; who has many
transactions to make keeps one open for that long, by `session`.

One rule: whatever the database says no to becomes a `LedgerError` that says what to do.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.pool import NullPool
from sqlalchemy.schema import CreateTable

from mlops import sqlite_files
from mlops.errors import LedgerError

BUSY_SECONDS = 30  # how long a transaction waits for another one before it gives up
_SCHEMA_LOCK = 0x6D6C6F7073  # PostgreSQL advisory lock that table creation takes: "mlops"


class Database:
    """Transactions on one database, its tables made when they are first needed.

    Args:
        url: SQLAlchemy URL; `postgresql://` uses psycopg 3.
        tables: the tables this user of the database needs.
        statements: by dialect, DDL run once after the tables were made.
        durable: whether what was committed must outlive a power cut. Where not, SQLite does not wait for the disk.
        what: what is kept there, for messages.
        setting: the environment variable that names it, for messages.

    Raises:
        LedgerError: `url` is not one, or names a driver that is not installed.
    """

    def __init__(
        self,
        url: str,
        tables: tuple[sa.Table, ...],
        statements: dict[str, tuple[str, ...]],
        *,
        durable: bool = True,
        what: str = "ledger",
        setting: str = "MLOPS_LEDGER_URL",
    ) -> None:
        try:
            self.engine = _engine(url, durable=durable)
        except (sa.exc.ArgumentError, ImportError) as error:
            raise LedgerError(
                f"The URL of the {what} cannot be used: {error}.",
                hint=f"Set {setting} to sqlite:////path/ledger.db or postgresql://user@host/database.",
            ) from error
        self._tables = tables
        self._statements = statements
        self._what, self._setting = what, setting
        self._ready = False
        self._held = threading.local()

    @property
    def name(self) -> str:
        """The URL without its password."""
        return self.engine.url.render_as_string(hide_password=True)

    @contextlib.contextmanager
    def session(self) -> Iterator[None]:
        """Keep one connection of this thread open for all transactions in the block: five times as many a second.

        Raises:
            LedgerError: the database refused.
        """
        if getattr(self._held, "connection", None) is not None:
            yield
            return
        with self._translated():
            self._prepare()
            self._held.connection = self.engine.connect()
        try:
            yield
        finally:
            connection, self._held.connection = self._held.connection, None
            connection.close()

    @contextlib.contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A transaction that only reads.

        Raises:
            LedgerError: the database refused.
        """
        with self._translated():
            self._prepare()
            with self._connected({"writes": False}) as connection, connection.begin():
                yield connection

    @contextlib.contextmanager
    def streaming(self, rows_at_once: int = 5000) -> Iterator[sa.Connection]:
        """Like `reading`, for results larger than memory: all its queries see the same instant.

        Raises:
            LedgerError: the database refused.
        """
        with self._translated():
            self._prepare()
            with self.engine.connect() as plain:
                options: dict[str, Any] = {"yield_per": rows_at_once}
                if plain.dialect.name == "postgresql":  # SQLite's transactions see one instant anyway
                    options["isolation_level"] = "REPEATABLE READ"
                connection = plain.execution_options(**options)
                with connection.begin():
                    yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A transaction that writes: committed whole when the block ends, undone when it raises.

        Raises:
            LedgerError: the database refused; nothing was written.
        """
        with self._translated():
            self._prepare()
            with self._write() as connection:
                yield connection

    @contextlib.contextmanager
    def _write(self) -> Iterator[sa.Connection]:
        with self._connected({"writes": True}) as connection, connection.begin():
            yield connection

    @contextlib.contextmanager
    def _connected(self, options: dict[str, Any]) -> Iterator[sa.Connection]:
        held: sa.Connection | None = getattr(self._held, "connection", None)
        if held is not None:
            yield held.execution_options(**options)
            return
        with self.engine.connect().execution_options(**options) as connection:
            yield connection

    def _prepare(self) -> None:
        if self._ready:
            return
        path = self.engine.url.database or ""
        if self.engine.dialect.name == "sqlite" and not path.startswith("file:"):
            self._make_folder(Path(path).parent)
        with self.engine.begin() as connection:
            complete = not any(_missing_columns(connection, table) for table in self._tables)
        if not complete:
            with self._write() as connection:
                self._create(connection)
        self._ready = True

    def _make_folder(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LedgerError(
                f"The folder of the {self._what} at {self.name} cannot be made: {error.strerror}.",
                hint=f"Mend the path or its permissions, or set {self._setting}.",
            ) from error

    def _create(self, connection: sa.Connection) -> None:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_SCHEMA_LOCK)))
        for table in self._tables:
            connection.execute(CreateTable(table, if_not_exists=True))
            for column in _missing_columns(connection, table):  # the table is from before the column
                kind = column.type.compile(connection.dialect)
                connection.exec_driver_sql(f"ALTER TABLE {table.name} ADD COLUMN {column.name} {kind}")
        for statement in self._statements.get(connection.dialect.name, ()):
            connection.exec_driver_sql(statement)

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (sa.exc.DBAPIError, sqlite3.Error) as error:
            said = " ".join(str(getattr(error, "orig", error)).split())
            raise LedgerError(
                f"The {self._what} at {self.name} refused: {said}.", hint=_what_to_do(said, self._setting)
            ) from error


def _missing_columns(connection: sa.Connection, table: sa.Table) -> list[sa.Column[Any]]:
    inspector = sa.inspect(connection)
    if not inspector.has_table(table.name):
        return list(table.columns)
    there = {str(column["name"]) for column in inspector.get_columns(table.name)}
    return [column for column in table.columns if column.name not in there]


def _engine(url: str, *, durable: bool) -> sa.Engine:
    parsed = sa.make_url(url)
    if parsed.drivername in ("postgresql", "postgres"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() != "sqlite":
        return sa.create_engine(parsed, poolclass=NullPool, connect_args={"connect_timeout": 10})
    if parsed.database in (None, "", ":memory:"):
        raise sa.exc.ArgumentError(f"{url!r} is a database in memory, which every connection would see empty")
    if parsed.database.startswith("file:"):
        engine = sa.create_engine(parsed, poolclass=NullPool, connect_args={"timeout": BUSY_SECONDS})
    else:
        opened = partial(sqlite_files.connect, Path(parsed.database), timeout=BUSY_SECONDS, create=True)
        engine = sa.create_engine(parsed, poolclass=NullPool, creator=opened)
    sa.event.listen(engine, "connect", _on_connect)
    if not durable:
        sa.event.listen(engine, "connect", _do_not_wait_for_the_disk)
    sa.event.listen(engine, "begin", _on_begin)
    return engine


def _on_connect(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver's own BEGIN comes too late; `_on_begin` says it
    with contextlib.suppress(sqlite3.OperationalError):  # another process is just doing it, or the file is read-only
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")


def _do_not_wait_for_the_disk(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA synchronous=NORMAL")


def _on_begin(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("writes") else "BEGIN")


def _what_to_do(said: str, setting: str) -> str:
    """The remedy for a database's complaint."""
    lowered = said.lower()
    remedies = {
        "readonly": "Give this user write permission to the file and its folder.",
        "read-only": "Give this user write permission; the server or the transaction is read-only.",
        "disk is full": "Free space and run the step again; what was there before is unchanged.",
        "disk i/o error": "The disk is full or failing. Free space and run the step again; nothing was changed.",
        "no space left": "Free space and run the step again; what was there before is unchanged.",
        "unable to open": "Check that the folder exists and that this user may write to it.",
        "locked": f"Another process has been writing for {BUSY_SECONDS} s. Wait for it, then run the step again.",
        "not a database": "The file is damaged or something else. Restore it from a backup; do not delete it.",
        "malformed": "The file is damaged. Restore it from a backup; do not delete it.",
        "append-only": "Entries are never changed. Append another one that says what is true now.",
        "connection": f"Start the database server, or mend {setting}.",
        "authentication": f"Mend user and password in {setting}.",
        "does not exist": f"Create the database or role, or mend {setting}.",
    }
    return next((todo for sign, todo in remedies.items() if sign in lowered), f"See {setting}.")

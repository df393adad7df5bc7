"""What goes wrong in a child, at a chosen write: nothing is simulated that the kernel or a driver can do for real.

A write is a commit of a SQL transaction that changed something, or a file put in place below `var`. Leases are not
counted: they are what the others are guarded by.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import event

if TYPE_CHECKING:
    from tests.faults.world import World

_CHANGES = ("INSERT", "UPDATE", "DELETE")


class InjectedError(Exception):
    """An exception that no code expects."""


class Writes:
    """Counts the writes of this process, and calls `strike` right before the n-th (from 1).

    Args:
        var: folder whose files count.
        at: which write; 0: none.
        strike: what happens there.
    """

    def __init__(self, var: str, at: int = 0, strike: Callable[[], None] = lambda: None) -> None:
        self.count = 0
        self._var, self._at, self._strike = var, at, strike
        event.listen(sa.Engine, "after_cursor_execute", self._executed)
        event.listen(sa.Engine, "commit", self._commit)
        event.listen(sa.Engine, "rollback", self._forget)
        sys.addaudithook(self._audit)

    def _executed(self, connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.lstrip().upper().startswith(_CHANGES) and "leases" not in statement:
            connection.info["changed"] = True

    def _commit(self, connection: Any) -> None:
        if connection.info.pop("changed", False):
            self._next()

    def _forget(self, connection: Any) -> None:
        if not connection.invalidated:
            connection.info.pop("changed", None)

    def _audit(self, name: str, arguments: tuple[Any, ...]) -> None:
        if name == "os.rename" and str(arguments[1]).startswith(self._var):
            self._next()
        elif name == "open" and isinstance(arguments[0], str) and arguments[0].startswith(self._var):
            mode, path = arguments[1], arguments[0]
            if isinstance(mode, str) and "w" in mode and "/artifacts/" in path:
                self._next()

    def _next(self) -> None:
        self.count += 1
        if self.count == self._at:
            self._strike()


def kill() -> None:
    """SIGKILL, as by the out-of-memory killer."""
    os.kill(os.getpid(), signal.SIGKILL)


def exception() -> None:
    """An exception where nobody expects one."""
    raise InjectedError("injected")


def full_disk() -> None:
    """From here on the kernel lets no file grow."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def lost_database(world: World, *databases: str) -> Callable[[], None]:
    """From here on connections to databases are closed under those who use them, and no new one is given.

    Args:
        world: on PostgreSQL the server ends them and lets nobody in; a file's are closed whenever they are used.
        databases: "ledger", "mlflow" or both.
    """

    def strike() -> None:
        if world.postgres:
            world.postgres.lose(databases)
            return

        def execute(connection: Any, *_: Any) -> None:
            if Path(connection.engine.url.database or "").stem in databases:
                connection.connection.dbapi_connection.close()

        event.listen(sa.Engine, "before_cursor_execute", execute)

    return strike


def cut_connections(world: World) -> Callable[[], None]:
    """The server ends all connections once, as by a restart; who connects again is let in."""
    assert world.postgres
    return world.postgres.cut


Fault = Callable[["World"], Callable[[], None]]
FAULTS: dict[str, Fault] = {
    "exception": lambda _: exception,
    "killed": lambda _: kill,
    "ledger lost": lambda world: lost_database(world, "ledger"),
    "MLflow lost": lambda world: lost_database(world, "mlflow"),
    "both lost": lambda world: lost_database(world, "ledger", "mlflow"),
    "disk full": lambda _: full_disk,
}
# The server's disk is not ours to fill; instead it ends the connections once, in the middle of what they were at.
POSTGRES_FAULTS: dict[str, Fault] = {
    name: fault for name, fault in FAULTS.items() if name not in ("disk full", "both lost")
} | {"connections cut": cut_connections}


class Calls:
    """Counts the calls that change something outside, and calls `strike` right before the n-th (from 1).

    Between two calls no lock of a database is held, so a process may be stopped there for as long as one likes.
    """

    def __init__(self, at: int = 0, strike: Callable[[], None] = lambda: None) -> None:
        from mlflow import MlflowClient

        from mlops.governance.ledger import Ledger
        from mlops.storage import Storage

        self.count = 0
        self._at, self._strike = at, strike
        writing = ("create", "set", "log", "finalize", "update", "delete")
        for name in dir(MlflowClient):
            if name.startswith(writing) and callable(getattr(MlflowClient, name)):
                self._wrap(MlflowClient, name)
        self._wrap(Storage, "write_bytes")
        self._wrap(Ledger, "append")

    def _wrap(self, owner: Any, name: str) -> None:
        inner = getattr(owner, name)

        def counted(*arguments: Any, **options: Any) -> Any:
            self.count += 1
            if self.count == self._at:
                self._strike()
            return inner(*arguments, **options)

        setattr(owner, name, counted)

"""Ledger and MLflow in databases of their own on a PostgreSQL server, kept and put back as templates.

The process of the tests opens no connection: what is asked of the server is asked by a child.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from tests.faults.children import ended, fork

DATABASES = ("ledger", "mlflow")
NOTHING_TO_CUT = 7  # exit code


@dataclass(frozen=True)
class Postgres:
    """The databases `<prefix>_ledger` and `<prefix>_mlflow`, and what is kept of them."""

    server: str  # host:port
    prefix: str

    def name(self, database: str) -> str:
        """What the server calls one of `DATABASES`."""
        return f"{self.prefix}_{database}"

    def url(self, database: str) -> str:
        """The SQLAlchemy URL of one of `DATABASES`."""
        return f"postgresql+psycopg://{self.server}/{self.name(database)}"

    def make(self, databases: Sequence[str] = DATABASES) -> None:
        """Make them, empty."""
        self._told([f"CREATE DATABASE {self.name(database)}" for database in databases])

    def keep(self, kept: str) -> None:
        """Keep their present state under a name."""
        self._told([f"CREATE DATABASE {self.name(d)}_{kept} TEMPLATE {self.name(d)}" for d in DATABASES])

    def restore(self, kept: str) -> None:
        """Go back to a kept state."""
        for name in map(self.name, DATABASES):
            drop = f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"
            self._told([drop, f"CREATE DATABASE {name} TEMPLATE {name}_{kept}"])

    def mend(self) -> None:
        """Let connections in again."""
        self._told([f"ALTER DATABASE {self.name(database)} ALLOW_CONNECTIONS true" for database in DATABASES])

    def drop(self) -> None:
        """Remove all of them, the kept ones too."""
        ended(fork(self._drop))

    def lose(self, databases: Sequence[str]) -> None:
        """End the connections to databases, and let nobody in until they are mended; to be called in a child."""
        statements = [f"ALTER DATABASE {self.name(database)} ALLOW_CONNECTIONS false" for database in databases]
        self._tell([*statements, *map(self._terminated, databases)])

    def cut(self, databases: Sequence[str] = DATABASES) -> None:
        """End the present connections to databases, once; to be called in a child, which ends if there are none."""
        if not self._tell([self._terminated(database) for database in databases]):
            os._exit(NOTHING_TO_CUT)

    def _terminated(self, database: str) -> str:
        return f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{self.name(database)}'"

    def _told(self, statements: Sequence[str]) -> None:
        code = ended(fork(lambda: self._tell(statements)))
        assert code == 0, f"PostgreSQL at {self.server} refused one of: {'; '.join(statements)}"

    def _tell(self, statements: Sequence[str]) -> int:
        """Execute statements; how many rows they answered."""
        import psycopg

        with psycopg.connect(f"postgresql://{self.server}/postgres", autocommit=True) as connection:
            return sum(max(connection.execute(statement).rowcount, 0) for statement in statements)

    def _drop(self) -> None:
        import psycopg

        with psycopg.connect(f"postgresql://{self.server}/postgres", autocommit=True) as connection:
            names = connection.execute(
                "SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [f"{self.prefix}_"]
            ).fetchall()
            for (name,) in names:
                connection.execute(f"DROP DATABASE {name} WITH (FORCE)")

"""Queries of a contract, run by DuckDB over the view `delivery`.

One rule: a query reads the delivery and nothing else: no file, no other database, no setting.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import duckdb

from mlops.data.rule import Result, Rule, not_carried_out

_SHOWN = 10  # rows that a query has found


def lock(duck: Any, uris: Sequence[str] = (), folder: str = "") -> None:
    """From now on the connection reads these files, spills into this folder, and can be told otherwise by nobody."""
    listed = ", ".join("'" + uri.replace("'", "''") + "'" for uri in uris)
    duck.execute(f"SET allowed_paths = [{listed}]")
    if folder:
        duck.execute(f"SET allowed_directories = ['{folder}']")
    duck.execute("SET enable_external_access = false")
    duck.execute("SET lock_configuration = true")


def found(duck: Any, rule: Rule) -> tuple[bool, Result]:
    """Whether a query finds nothing, and what it finds.

    Args:
        duck: a locked connection with a view `delivery`.
        rule: of `UnexpectedRowsExpectation`.

    Raises:
        DataError: it is no query, or cannot be run; this says nothing about the data.
    """
    sql = str(rule.settings["unexpected_rows_query"]).strip().rstrip(";")
    try:
        statements = duck.extract_statements(sql)
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise not_carried_out(rule, "it is not one SELECT")
        counted = int(duck.execute(f"SELECT count(*) FROM ({sql})").fetchall()[0][0])
        rows = duck.sql(f"SELECT * FROM ({sql}) LIMIT {_SHOWN}").to_arrow_table().to_pandas() if counted else None
    except duckdb.Error as error:
        raise not_carried_out(rule, str(error)) from error
    return counted == 0, {"unexpected_count": counted} | ({} if rows is None else {"rows": rows})

"""Queries of a contract, run by Spark over the view `delivery`.

They are written in the SQL that both engines read: names in double quotes, texts in single ones. What Spark cannot run
is an error of ours and says nothing about the delivery.

One rule: a query reads the delivery and nothing else: no file, no other table, no code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

from mlops.data.rule import Result, Rule, not_carried_out

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_SHOWN = 10  # rows that a query has found
_CODE = ("reflect", "java_method", "try_reflect")  # functions that call Java by name
_SETTINGS = {
    "spark.sql.runSQLOnFiles": "false",
    "spark.sql.ansi.doubleQuotedIdentifiers": "true",
    "spark.sql.ansi.enforceReservedKeywords": "true",  # else a WHERE without a condition names a table
}


def found(delivery: DataFrame, rule: Rule) -> tuple[bool, Result]:
    """Whether a query finds nothing, and what it finds.

    Args:
        delivery: the rows.
        rule: of `UnexpectedRowsExpectation`.

    Raises:
        DataError: it is no query, or cannot be run; this says nothing about the data.
    """
    from pyspark.errors import PySparkException

    sql = str(rule.settings["unexpected_rows_query"]).strip().rstrip(";")
    name = f"delivery_{uuid4().hex}"
    delivery.createGlobalTempView(name)
    try:
        session = _locked(delivery.sparkSession)
        session.sql(f"CREATE TEMPORARY VIEW delivery AS SELECT * FROM global_temp.{name}")
        rows = session.sql(f"SELECT * FROM (\n{sql}\n)")  # in brackets only a query can stand
        _refuse_others(rows, name, rule)
        counted = rows.count()
        shown = rows.limit(_SHOWN).toArrow().to_pandas() if counted else None
    except PySparkException as error:
        raise not_carried_out(rule, str(error).strip().partition("\n")[0]) from error
    finally:
        delivery.sparkSession.catalog.dropGlobalTempView(name)
    return counted == 0, {"unexpected_count": counted} | ({} if shown is None else {"rows": shown})


def _locked(session: SparkSession) -> SparkSession:
    """A session beside the given one that reads no file by its path and calls no code by its name."""
    made = session.newSession()
    for key, value in _SETTINGS.items():
        made.conf.set(key, value)
    java = session.sparkContext._jvm
    assert java is not None
    registry = made._jsparkSession.sessionState().functionRegistry()
    for name in _CODE:
        registry.dropFunction(java.org.apache.spark.sql.catalyst.FunctionIdentifier(name))
    return made


def _refuse_others(rows: DataFrame, name: str, rule: Rule) -> None:
    """Whatever else a query reads stands in its analysed plan under the name of its catalog."""
    plan = rows._jdf.queryExecution().analyzed().toString()
    foreign = plan.replace(f"global_temp.{name}", "").replace(f"global_temp`.`{name}", "")
    catalogs = ["spark_catalog", "global_temp"]
    catalogs += [k.split(".")[3] for k in rows.sparkSession.conf.getAll if k.startswith("spark.sql.catalog.")]
    if any(f"{catalog}." in foreign for catalog in catalogs):
        raise not_carried_out(rule, "it reads another table than delivery")

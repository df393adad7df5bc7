"""The engine that tables are computed on: this process (`duckdb`), or Spark, for what is too large for one machine.

What is computed is written once, as functions from table to table; the engine only decides where they run. On `duckdb`
nothing here is imported by a step. A Spark session belongs to its process; it is started when it is first asked for.

One rule: whatever the settings say, a session's instants are UTC, and a local one is reached from this machine alone.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING

from mlops.config import MLOpsConfig
from mlops.errors import ConfigError, MissingDependencyError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_ZONE = "spark.sql.session.timeZone"
_PYTHON = "spark.pyspark.python"  # spark-submit alone heeds it; a session that is started here does not
_EVERYWHERE = {
    _ZONE: "UTC",
    "spark.ui.showConsoleProgress": "false",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    "spark.sql.legacy.parquet.nanosAsLong": "true",  # pandas writes them; Spark has no such type
    "spark.sql.execution.pyspark.udf.simplifiedTraceback.enabled": "true",
}
_LOCAL = {
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.ui.enabled": "false",
    "spark.driver.memory": "2g",
}
_SHUFFLES_PER_CORE = 2
_HOW_TO_INSTALL = 'Run `make setup EXTRAS=spark` (elsewhere: pip install "mlops[spark]"), or set `engine: duckdb`.'


def require_spark(environ: Mapping[str, str], *, local: bool = True) -> None:
    """Refuse to go on without what Spark needs.

    Args:
        environ: environment variables.
        local: whether the session runs on this machine, and so needs Java here.

    Raises:
        MissingDependencyError: says what is absent and how to get it.
    """
    if find_spec("pyspark") is None:
        raise MissingDependencyError("`engine: spark` needs pyspark, which is not installed.", hint=_HOW_TO_INSTALL)
    if local and not environ.get("JAVA_HOME") and shutil.which("java") is None:
        raise MissingDependencyError(
            "Spark needs Java 17, and there is neither `java` on the path nor JAVA_HOME.",
            hint="Install it (Debian: apt-get install openjdk-17-jre-headless; macOS: brew install openjdk@17).",
        )


def spark_settings(config: MLOpsConfig) -> dict[str, str]:
    """All settings of a session: ours, over them those of `spark:` in the settings.

    Raises:
        ConfigError: they ask for another time zone than UTC.
    """
    asked = {key if key == "master" else _full(key): _text(value) for key, value in config.spark.items()}
    master = asked.pop("master", "local[*]")
    if asked.get(_ZONE, "UTC") != "UTC":
        raise ConfigError(
            f"spark: {_ZONE} is {asked[_ZONE]!r}, expected UTC.", hint="Leave it out: all instants are kept in UTC."
        )
    defaults = _EVERYWHERE | {"spark.sql.warehouse.dir": f"{config.state_dir}/spark/warehouse"}
    if is_local(master):
        cores = _cores(master)
        defaults |= _LOCAL | {
            "spark.sql.shuffle.partitions": str(cores * _SHUFFLES_PER_CORE),
            _PYTHON: sys.executable,
            "spark.driver.extraJavaOptions": f"-Dderby.system.home={config.state_dir}/spark",
        }
    return defaults | asked | {"spark.master": master}


def spark_session(config: MLOpsConfig) -> SparkSession:
    """The Spark session of this process, started if there is none yet.

    Raises:
        MissingDependencyError: pyspark or Java is not installed.
        ConfigError: Spark refuses the settings.
    """
    settings = spark_settings(config)
    require_spark(config.variables, local=is_local(settings["spark.master"]))
    from pyspark.errors import PySparkException
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.appName("mlops")
    for key, value in settings.items():
        builder = builder.config(key, value)
    logging.getLogger("py4j").setLevel(logging.WARNING)  # it tells of every call at INFO
    try:
        session = builder.getOrCreate()
    except (PySparkException, RuntimeError) as error:
        first = str(error).strip().partition("\n")[0]
        raise ConfigError(
            f"Spark does not start on {settings['spark.master']}: {first}", hint="Check `spark:` in the settings."
        ) from error
    if _PYTHON in settings:
        session.sparkContext.pythonExec = settings[_PYTHON]
    session.sparkContext.setLogLevel("ERROR")
    return session


def is_local(master: str) -> bool:
    """Whether a master is this machine.

    >>> is_local("local[2]"), is_local("spark://head:7077"), is_local("yarn")
    (True, False, False)
    """
    return master == "local" or master.startswith("local[")


def _cores(master: str) -> int:
    asked = master.removeprefix("local").strip("[]").partition(",")[0]
    return int(asked) if asked.isdigit() else 1 if not asked else len(os.sched_getaffinity(0))


def _full(key: str) -> str:
    return key if key.startswith("spark.") else f"spark.{key}"


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)

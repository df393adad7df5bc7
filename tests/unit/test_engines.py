"""The choice of an engine: settings, refusals, and what an absent one costs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mlops import engines
from mlops.config import MLOpsConfig
from mlops.errors import ConfigError, MissingDependencyError
from tests.conftest import ROOT


def _config(**values: object) -> MLOpsConfig:
    return MLOpsConfig.build({"home": ROOT, **values})


def test_the_default_engine_imports_nothing_of_spark() -> None:
    """A step on `duckdb` neither needs pyspark nor pays for it."""
    code = (
        "import sys; from mlops.services import Services; from mlops.pipelines import features; "
        "Services.open(); sys.exit('pyspark' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
    assert _config().engine == "duckdb"


def test_without_pyspark_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is absent, and the command that brings it."""
    monkeypatch.setitem(sys.modules, "pyspark", None)
    monkeypatch.setattr(engines, "find_spec", lambda name: None if name == "pyspark" else object())
    with pytest.raises(MissingDependencyError, match="make setup EXTRAS=spark"):
        engines.spark_session(_config(engine="spark"))


def test_without_java_it_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A local session needs Java; a distant master does not ask for it here."""
    monkeypatch.setattr(engines, "find_spec", lambda _: object())
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingDependencyError, match="Java 17"):
        engines.require_spark({})
    engines.require_spark({"JAVA_HOME": "/opt/java"})
    engines.require_spark({}, local=False)


def test_settings_reach_spark_under_their_full_names() -> None:
    """`spark.` may be left out, numbers and truth values are written as Spark reads them, the user's win."""
    found = engines.spark_settings(
        _config(spark={"master": "local[3]", "sql.ansi.enabled": False, "driver.memory": "4g"})
    )
    assert found["spark.master"] == "local[3]"
    assert found["spark.sql.ansi.enabled"] == "false"
    assert found["spark.driver.memory"] == "4g"
    assert found["spark.driver.bindAddress"] == "127.0.0.1"
    assert found["spark.sql.shuffle.partitions"] == "6"
    assert found["spark.sql.session.timeZone"] == "UTC"


def test_a_cluster_keeps_its_own_addresses_and_interpreter() -> None:
    """What is right for this machine alone is not told to a cluster."""
    found = engines.spark_settings(_config(spark={"master": "spark://head:7077"}))
    assert not {"spark.driver.bindAddress", "spark.pyspark.python", "spark.sql.shuffle.partitions"} & set(found)
    assert found["spark.sql.session.timeZone"] == "UTC"


def test_another_zone_is_refused() -> None:
    """Instants without zone would shift by hours in silence."""
    with pytest.raises(ConfigError, match="expected UTC"):
        engines.spark_settings(_config(spark={"sql.session.timeZone": "Europe/Berlin"}))


def test_an_unknown_engine_is_refused_with_the_known_ones() -> None:
    """A mistyped engine is no default."""
    with pytest.raises(ConfigError, match=r"'engine'.*'duckdb' or 'spark'"):
        _config(engine="sparc")


def test_spark_settings_come_from_the_environment_as_yaml(tmp_path: Path) -> None:
    """One variable holds them all."""
    (tmp_path / "config" / "models").mkdir(parents=True)
    given = {
        "MLOPS_HOME": str(tmp_path),
        "MLOPS_ENGINE": "spark",
        "MLOPS_SPARK": "{master: 'local[1]', driver.memory: 1g}",
    }
    config = MLOpsConfig.load(given)
    assert (config.engine, config.spark) == ("spark", {"master": "local[1]", "driver.memory": "1g"})


def test_the_lock_of_the_extra_adds_to_the_lock_and_changes_nothing_of_it() -> None:
    """requirements-spark.txt pins pyspark, and nothing that requirements.txt pins."""

    def names(file: str) -> set[str]:
        lines = (ROOT / file).read_text().splitlines()
        return {line.split("==")[0].strip() for line in lines if "==" in line and not line.lstrip().startswith("#")}

    extra = names("requirements-spark.txt")
    assert "pyspark" in extra
    assert not extra & names("requirements.txt")

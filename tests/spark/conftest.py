"""A real local Spark, one per process of pytest; without pyspark or Java these tests skip, in CI they fail."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa
import pytest
import yaml

from mlops.config import MLOpsConfig
from mlops.engines import require_spark, spark_session
from mlops.errors import MissingDependencyError
from tests.conftest import ROOT, absent

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

Dealt = Callable[..., "DataFrame"]
SMALL = {"master": "local[2]", "sql.shuffle.partitions": 3, "driver.memory": "1g", "default.parallelism": 2}


@pytest.fixture(scope="session")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """The session of this process."""
    try:
        require_spark(dict(os.environ))
    except MissingDependencyError as error:
        absent(f"{error.message} {error.hint}")
    var = tmp_path_factory.mktemp("spark")
    started = spark_session(MLOpsConfig.build({"home": ROOT, "var": str(var), "engine": "spark", "spark": SMALL}))
    yield started
    started.stop()


def on_spark(config: MLOpsConfig, folder: Path) -> MLOpsConfig:
    """The same installation on Spark: Feast's offline store as feature_store.spark.yaml names it, the rest as here."""
    ours = ROOT / "feature_repo"
    repo = folder / "feature_repo"
    repo.mkdir()
    (repo / "fleet.py").write_text((ours / "fleet.py").read_text(encoding="utf-8"), encoding="utf-8")
    local, spark = (
        yaml.safe_load((ours / name).read_text(encoding="utf-8"))
        for name in ("feature_store.yaml", "feature_store.spark.yaml")
    )
    text = yaml.safe_dump(local | {"offline_store": spark["offline_store"]})
    (repo / "feature_store.spark.yaml").write_text(text, encoding="utf-8")
    changes = {"feature_repo": repo, "feature_store_yaml": "feature_store.spark.yaml"}
    return config.model_copy(update={"engine": "spark", "spark": SMALL, **changes})


@pytest.fixture
def spark_config(config: MLOpsConfig, tmp_path: Path) -> MLOpsConfig:
    """The installation of `config` on Spark."""
    return on_spark(config, tmp_path)


@pytest.fixture
def dealt(session: SparkSession, tmp_path: Path) -> Dealt:
    """Makes a Spark frame of a pandas one, its rows dealt over some partitions as a cluster would have them."""

    def deal(frame: pd.DataFrame, partitions: int = 4) -> DataFrame:
        return session.createDataFrame(pa.Table.from_pandas(frame, preserve_index=False)).repartition(partitions)

    return deal

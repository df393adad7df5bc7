"""Nights on Spark end as nights on one machine do: the same tables, the same reports."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from mlops.config import MLOpsConfig
from mlops.data import fleet
from mlops.errors import FeatureError
from mlops.pipelines import features, ingestion
from mlops.services import Services
from mlops.spec import ModelSpec

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

PUMPS = fleet.FleetConfig()
DAYS = [PUMPS.first_day + timedelta(days=i) for i in range(2)]


@pytest.fixture
def both(config: MLOpsConfig, spark_config: MLOpsConfig, session: SparkSession) -> tuple[Services, Services, ModelSpec]:
    """One installation seen by both engines, with two nights of validated deliveries, and the model's spec."""
    here, there = Services.open(config), Services.open(spark_config)
    there.features.apply()
    spec = here.spec("fleet_anomaly")
    for day in DAYS:
        fleet.write_delivery(PUMPS, day, f"{config.var}/inbox")
        assert ingestion.run(here, spec, day).outcome == "done"
    return here, there, spec


def table(services: Services, uri: str) -> pd.DataFrame:
    """A feature table, sorted by its keys."""
    frame: pd.DataFrame = services.storage.read_table(uri).to_pandas()
    return frame.sort_values(["device_id", "event_timestamp", "created_timestamp"], ignore_index=True)


def test_the_features_of_a_night_are_the_same(both: tuple[Services, Services, ModelSpec]) -> None:
    """Published by Spark in several files: every value, the types, the counts, and what the report says."""
    here, there, spec = both
    day: date = DAYS[-1]
    first = features.run(here, spec, day)
    assert first.record is not None
    uri = str(first.record["uris"][0])
    expected, before = table(here, uri), here.storage.manifest(uri)
    second = features.run(there, spec, day)
    found, after = table(there, uri), there.storage.manifest(uri)
    pd.testing.assert_frame_equal(found, expected, check_exact=True)
    assert before is not None
    assert after is not None
    assert after.shards
    assert (after.rows, after.schema, after.facts) == (before.rows, before.schema, before.facts)
    assert second.reason == first.reason
    again = features.run(there, spec, day)
    assert again.record == second.record
    assert second.record == {**first.record, "content_hash": second.record["content_hash"]}  # online rows among it
    with pytest.raises(FeatureError, match=r"written by Spark in many files.*feature_store\.spark\.yaml"):
        here.features.historical(spec.features.service, found[["device_id", "event_timestamp"]].head(3))
    assert not list(Path(there.config.var).rglob("*.tmp"))

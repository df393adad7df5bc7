"""Validated partitions as Spark reads them.

One rule: the rows are those that `partitions.read_rows` gives, and so is their order, which a column tells.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from mlops import spark_tables
from mlops.data.partitions import delivered_days
from mlops.storage import Storage

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


def read_rows_on_spark(
    session: SparkSession, storage: Storage, dataset: str, start_day: date, end_day: date
) -> DataFrame:
    """The validated rows delivered from `start_day` to `end_day`, both included, with `spark_tables.POSITION`.

    Args:
        session: the engine.
        storage: where partitions live.
        dataset: name of the data set.
        start_day: first date of delivery.
        end_day: last date of delivery; at least one date between them has a partition.

    Raises:
        NoDataError: there is none.
        StorageError: a partition is not what its manifest says.
    """
    days = [day for day in delivered_days(storage, dataset) if start_day <= day <= end_day]
    uris = [storage.uri("data", dataset, f"date={day.isoformat()}") for day in days]
    return spark_tables.read(session, storage, uris, position=True)

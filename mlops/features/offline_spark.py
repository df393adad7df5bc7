"""Feast's Spark offline store over the feature tables of this project: the views are declared once, for both engines.

Feast's own wants each view over a source of Spark's own kind, reads all of it, and takes the span of Spark entity rows
in the zone of the driver's clock. Here a view's tables are handed over as Spark reads them, no more partitions than a
question can need, and the span is UTC. The join itself is Feast's.

One rule: what is left out could not have been in any answer.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal
from uuid import uuid4

from mlops import spark_tables
from mlops.config import MLOpsConfig
from mlops.engines import require_spark, spark_session
from mlops.errors import NoDataError
from mlops.features.engineering import EVENT
from mlops.storage import TABLE_FILE, Storage

require_spark({}, local=False)  # before Feast's store, whose error for its absence names another package

from feast.infra.offline_stores.contrib.spark_offline_store import spark as stock  # noqa: E402
from feast.infra.offline_stores.contrib.spark_offline_store.spark_source import SparkSource  # noqa: E402

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import DataFrame, SparkSession

_PARTITIONS = f"/date=*/{TABLE_FILE}"
_ONE_DAY = timedelta(days=1)
_STOCK_SPAN = stock._get_entity_df_event_timestamp_range


class PartitionedSparkOfflineStoreConfig(stock.SparkOfflineStoreConfig):  # type: ignore[misc]  # feast is untyped
    """What `offline_store:` may say in feature_store.yaml."""

    type: Literal["mlops.features.offline_spark.PartitionedSparkOfflineStore"] = (
        "mlops.features.offline_spark.PartitionedSparkOfflineStore"
    )


class PartitionedSparkOfflineStore(stock.SparkOfflineStore):  # type: ignore[misc]  # feast is untyped
    """Feast finds it by the name in feature_store.spark.yaml; signatures are Feast's."""

    @staticmethod
    def get_historical_features(
        config: Any,
        feature_views: Sequence[Any],
        feature_refs: list[str],
        entity_df: pd.DataFrame | DataFrame,
        registry: Any,
        project: str,
        full_feature_names: bool = False,
        filter_by_created_timestamp: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Feast's point-in-time join, over the partitions in which readings for these rows may lie."""
        session = _session()
        first, last = span(entity_df, EVENT, session)
        views = []
        for view in feature_views:
            oldest = first - view.ttl if view.ttl else None
            views.append(_with_source(view, _source(session, view.batch_source, oldest, known_until=last)))
        with _quiet():
            return stock.SparkOfflineStore.get_historical_features(
                config,
                views,
                feature_refs,
                entity_df,
                registry,
                project,
                full_feature_names,
                filter_by_created_timestamp,
                **kwargs,
            )

    @staticmethod
    def pull_latest_from_table_or_query(
        config: Any, data_source: Any, *args: Any, start_date: datetime, end_date: datetime, **kwargs: Any
    ) -> Any:
        """The latest reading of each entity between two times, for the online store."""
        source = _source(_session(), data_source, start_date)
        with _quiet():
            return stock.SparkOfflineStore.pull_latest_from_table_or_query(
                config, source, *args, start_date=start_date, end_date=end_date, **kwargs
            )

    @staticmethod
    def pull_all_from_table_or_query(
        config: Any, data_source: Any, *args: Any, start_date: datetime | None = None, **kwargs: Any
    ) -> Any:
        """All readings between two times."""
        source = _source(_session(), data_source, start_date)
        with _quiet():
            return stock.SparkOfflineStore.pull_all_from_table_or_query(
                config, source, *args, start_date=start_date, **kwargs
            )


def span(entity_df: pd.DataFrame | DataFrame, column: str, session: SparkSession) -> tuple[datetime, datetime]:
    """The earliest and the latest time of some rows, in UTC whatever zone this process lives in."""
    from pyspark.sql import DataFrame
    from pyspark.sql import functions as sf

    if not isinstance(entity_df, DataFrame):
        found: tuple[datetime, datetime] = _STOCK_SPAN(entity_df, column, session)
        return found
    ends = entity_df.agg(*(sf.unix_micros(pick(column)) for pick in (sf.min, sf.max))).collect()[0]
    if ends[0] is None:
        raise NoDataError("There is no row to join features to.", hint="Ask for at least one.")
    first, last = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros) for micros in ends)
    return first, last


stock._get_entity_df_event_timestamp_range = span  # Feast's takes it in the zone of the driver's clock


def _session() -> SparkSession:
    from pyspark.sql import SparkSession

    return SparkSession.getActiveSession() or spark_session(MLOpsConfig.load())


def _source(
    session: SparkSession, declared: Any, oldest: datetime | None, known_until: datetime | None = None
) -> SparkSource:
    """The partitions of a view in which readings from `oldest` on can lie that were known by `known_until`.

    A reading is never known before it happened, and a partition holds what became known on its date (clocks may differ,
    hence a day more).
    """
    folder = declared.path.removesuffix(_PARTITIONS)
    storage = Storage(folder)
    stored = storage.partitions(folder)
    if not stored:
        raise NoDataError(f"{folder} holds no features yet.", hint="Run the features step for the dates you need.")
    days = [day for day in stored if _may_hold(day, oldest, known_until)] or stored[-1:]
    name = f"mlops_{uuid4().hex}"
    spark_tables.read(session, storage, [storage.uri(f"date={day}") for day in days]).createOrReplaceTempView(name)
    with _quiet():
        return SparkSource(
            name=declared.name,
            table=name,
            timestamp_field=declared.timestamp_field,
            created_timestamp_column=declared.created_timestamp_column,
            field_mapping=declared.field_mapping,
        )


def _may_hold(day: date, oldest: datetime | None, known_until: datetime | None) -> bool:
    late_enough = oldest is None or day >= (oldest - _ONE_DAY).date()
    return late_enough and (known_until is None or day <= (known_until + _ONE_DAY).date())


def _with_source(view: Any, source: SparkSource) -> Any:
    changed = copy.copy(view)
    changed.batch_source = source
    return changed


def _quiet() -> warnings.catch_warnings[None]:
    """Feast calls its Spark store experimental at every call."""
    return warnings.catch_warnings(action="ignore", category=RuntimeWarning)

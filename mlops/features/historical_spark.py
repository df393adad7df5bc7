"""The features known at each row's own time, for rows that no one machine holds.

One rule: what `FeatureStore.historical` answers for a row, this answers for it; every row that goes in comes out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from mlops.errors import ConfigError, FeatureError, did_you_mean
from mlops.features import partitions
from mlops.features.definitions import CLOCK, ViewInfo, references
from mlops.features.engineering import EVENT

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

    from mlops.features.store import FeatureStore

_STORE = "PartitionedSparkOfflineStore"


def historical_on_spark(store: FeatureStore, service: str, entity_rows: DataFrame) -> DataFrame:
    """The features that were known at each row's own time; see `FeatureStore.historical`.

    Args:
        store: the feature store; its Feast configuration names a Spark offline store.
        service: name of the feature service.
        entity_rows: the join key, `event_timestamp` and any other columns.

    Returns:
        The same rows with the same columns, then the features (null: none known), then `feature_timestamp` and
        `feature_known_at` of the newest reading that joined.

    Raises:
        ConfigError: the Feast configuration has no Spark offline store.
        NoDataError: there is no row, or a view holds no features yet.
        FeatureError: no such service, or a column is missing or taken.
    """
    from mlops.features.offline_spark import span

    views = store.views_of(service)
    _refuse_other_stores(store)
    entity = views[0].entity
    _refuse_columns(entity_rows.columns, entity, views)
    times = pd.Series(list(span(entity_rows, EVENT, entity_rows.sparkSession)))
    for view in views:
        partitions.check(store.storage, view, times)
    asked = entity_rows.select(entity, EVENT).distinct()
    found = store._feast.get_historical_features(
        entity_df=asked,
        features=references(views),
        full_feature_names=True,
        filter_by_created_timestamp=True,
    ).to_spark_df()
    answers = found.select(entity, EVENT, *_features(views), *_clocks(views))
    return entity_rows.join(answers, [entity, EVENT], "left").select(
        *entity_rows.columns, *(c for c in answers.columns if c not in (entity, EVENT))
    )


def _features(views: Sequence[ViewInfo]) -> list[Column]:
    from pyspark.sql import functions as sf

    return [sf.col(view.column(feature)).alias(feature) for view in views for feature in view.features]


def _clocks(views: Sequence[ViewInfo]) -> list[Column]:
    """Event and known time of the newest reading that joined, of all views."""
    from pyspark.sql import functions as sf

    made = []
    for field in CLOCK:
        dated = [sf.col(view.column(field)) for view in views if view.dated]
        newest = sf.greatest(*dated) if len(dated) > 1 else dated[0] if dated else sf.lit(None).cast("bigint")
        made.append(sf.timestamp_micros(newest).alias(field))
    return made


def _refuse_other_stores(store: FeatureStore) -> None:
    kind = str(store._feast.config.offline_store.type)
    if not kind.endswith(_STORE):
        raise ConfigError(
            f"`engine: spark` joins features on Spark, but {store.config.feature_store_yaml} names the offline store "
            f"{kind.rpartition('.')[2]}.",
            hint="Set `feature_store_yaml: feature_store.spark.yaml`.",
        )


def _refuse_columns(there: Sequence[str], entity: str, views: Sequence[ViewInfo]) -> None:
    for column in (entity, EVENT):
        if column not in there:
            raise FeatureError(
                f"Column {column!r} is missing from the rows to join.", hint=did_you_mean(column, list(there))
            )
    if taken := ({feature for view in views for feature in view.features} | set(CLOCK)) & set(there):
        raise FeatureError(
            f"The rows to join already have {', '.join(sorted(taken))}.", hint="Rename or drop these columns."
        )

"""Feast's DuckDB offline store, reading no more than a question can need.

The stock store reads every partition there is, and none at all once a recipe has changed, because DuckDB then finds two
schemas. This one reads partitions by column name and leaves out readings too old or too new to be an answer. The join
itself is Feast's. Tables on an object store (`s3://…`) are read by fsspec and Arrow, partition by partition: DuckDB
would download an extension for them while the night runs, which ends at the first closed network.

One rule: what is left out could not have been in any answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

import ibis
import pandas as pd
import pyarrow as pa
from feast.infra.offline_stores.duckdb import DuckDBOfflineStore, DuckDBOfflineStoreConfig
from feast.infra.offline_stores.ibis import (
    get_historical_features_ibis,
    pull_all_from_table_or_query_ibis,
    pull_latest_from_table_or_query_ibis,
)

from mlops.errors import FeatureError, NoDataError
from mlops.features.engineering import EVENT
from mlops.storage import TABLE_FILE, Storage

_Reader = Callable[[Any, str], Any]
_PARTITIONS = f"/date=*/{TABLE_FILE}"
_ONE_DAY = timedelta(days=1)


class BoundedDuckDBOfflineStoreConfig(DuckDBOfflineStoreConfig):  # type: ignore[misc]  # feast is untyped
    """What `offline_store:` may say in feature_store.yaml."""

    type: Literal["mlops.features.offline.BoundedDuckDBOfflineStore"] = (
        "mlops.features.offline.BoundedDuckDBOfflineStore"
    )


class BoundedDuckDBOfflineStore(DuckDBOfflineStore):  # type: ignore[misc]  # feast is untyped
    """Feast finds it by the name in feature_store.yaml; signatures are Feast's."""

    @staticmethod
    def get_historical_features(
        config: Any,
        feature_views: Sequence[Any],
        feature_refs: list[str],
        entity_df: pd.DataFrame,
        registry: Any,
        project: str,
        full_feature_names: bool = False,
        filter_by_created_timestamp: bool = False,
    ) -> Any:
        """Feast's point-in-time join, over the readings that may still count at the first row up to the last row."""
        times = entity_df[EVENT]
        ttls = [view.ttl for view in feature_views]
        oldest = times.min() - max(ttls) if all(ttls) else None
        return get_historical_features_ibis(
            config=config,
            feature_views=list(feature_views),
            feature_refs=feature_refs,
            entity_df=entity_df,
            registry=registry,
            project=project,
            full_feature_names=full_feature_names,
            data_source_reader=_reader(oldest, times.max(), known_until=times.max()),
            data_source_writer=_no_writer,
            filter_by_created_timestamp=filter_by_created_timestamp,
        )

    @staticmethod
    def pull_latest_from_table_or_query(
        config: Any,
        data_source: Any,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None,
        start_date: datetime,
        end_date: datetime,
    ) -> Any:
        """The latest reading of each entity between two times, for the online store."""
        return pull_latest_from_table_or_query_ibis(
            config=config,
            data_source=data_source,
            join_key_columns=join_key_columns,
            feature_name_columns=feature_name_columns,
            timestamp_field=timestamp_field,
            created_timestamp_column=created_timestamp_column,
            start_date=start_date,
            end_date=end_date,
            data_source_reader=_reader(start_date, end_date),
            data_source_writer=_no_writer,
        )

    @staticmethod
    def pull_all_from_table_or_query(
        config: Any,
        data_source: Any,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> Any:
        """All readings between two times, where `materialization.pull_latest_features` is not set."""
        return pull_all_from_table_or_query_ibis(
            config=config,
            data_source=data_source,
            join_key_columns=join_key_columns,
            feature_name_columns=feature_name_columns,
            timestamp_field=timestamp_field,
            created_timestamp_column=created_timestamp_column,
            start_date=start_date,
            end_date=end_date,
            data_source_reader=_reader(start_date, end_date),
            data_source_writer=_no_writer,
        )


def _reader(oldest: datetime | None, newest: datetime | None, *, known_until: datetime | None = None) -> _Reader:
    """A reader of partitions that hands Feast the readings of [oldest, newest]; None: without bound.

    Args:
        oldest: earliest time of a reading.
        newest: latest time of a reading.
        known_until: what became known later than this need not be read.
    """

    def read(source: Any, _: str) -> Any:
        if "://" in source.path:
            table = ibis.memtable(_fetched(source.path, oldest, known_until))
        else:
            table = ibis.read_parquet(source.path, union_by_name=True)
        if oldest is not None:
            table = table.filter(table[source.timestamp_field] >= ibis.literal(oldest))
        if newest is not None:
            table = table.filter(table[source.timestamp_field] <= ibis.literal(newest))
        return table

    return read


def _fetched(path: str, oldest: datetime | None, known_until: datetime | None) -> pa.Table:
    """The partitions on an object store in which readings from `oldest` on can lie that were known by `known_until`.

    A reading is never known before it happened, and a partition holds what became known on its date (clocks may differ,
    hence a day more).
    """
    folder = path.removesuffix(_PARTITIONS)
    storage = Storage(folder)
    stored = storage.partitions(folder)
    if not stored:
        raise NoDataError(f"{folder} holds no features yet.", hint="Run the features step for the dates you need.")
    days = [
        day
        for day in stored
        if (oldest is None or day >= (oldest - _ONE_DAY).date())
        and (known_until is None or day <= (known_until + _ONE_DAY).date())
    ]
    tables = [storage.read_table(storage.uri(f"date={day}")) for day in days or stored[-1:]]
    return pa.concat_tables(tables, promote_options="permissive")


def _no_writer(*_: Any, **__: Any) -> None:
    raise FeatureError("Feast may not write feature tables here.", hint="Use `FeatureStore.write_batch`.")

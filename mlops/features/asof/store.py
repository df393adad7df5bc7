"""The Feast `OfflineStore`: `offline_store: {type: mlops.features.asof.store.AsOfOfflineStore}`.

Point-in-time joins that let nothing from the future in, keep every row in its place, give one answer whatever the order
of files and threads, and keep to a bound of memory. Signatures are Feast's.

One rule: arrival counts unless the settings say otherwise, also where Feast's own flag for it is not set.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
from feast.infra.offline_stores.duckdb import DuckDBOfflineStore, DuckDBOfflineStoreConfig
from feast.infra.offline_stores.offline_store import RetrievalMetadata
from pydantic import Field, field_validator

from mlops.errors import FeatureError, NoDataError
from mlops.features.asof import latest as pulls
from mlops.features.asof.asking import Asked, asked
from mlops.features.asof.clock import Span
from mlops.features.asof.history import History, from_sql
from mlops.features.asof.question import questions
from mlops.features.asof.retrieval import AsOfRetrievalJob
from mlops.features.asof.session import Limits, session
from mlops.features.asof.sources import files_of, opened, schema_of, within
from mlops.features.asof.writing import added

_MEMORY = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT])i?B", re.IGNORECASE)
_LEAST_MEMORY = 64e6  # [bytes] below, DuckDB cannot open a Parquet file on every machine
_SCALE = {"K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}


class AsOfOfflineStoreConfig(DuckDBOfflineStoreConfig):  # type: ignore[misc]  # feast is untyped
    """What `offline_store:` may say in feature_store.yaml."""

    type: Literal["mlops.features.asof.store.AsOfOfflineStore"] = "mlops.features.asof.store.AsOfOfflineStore"
    memory_limit: str = Field("2GB", description="What a query may hold in memory; the rest spills to disk.")
    temp_directory: str | None = Field(None, description="Where it spills. Default: the system's temporary folder.")
    threads: int | None = Field(None, ge=1, description="Threads of a query. Default: as many as there are cores.")
    known_at: Literal["always", "on_request"] = Field(
        "always",
        description="Whether a reading counts only from its arrival on: always, or where filter_by_created_timestamp "
        "is passed, as in Feast's own stores.",
    )

    @field_validator("memory_limit")
    @classmethod
    def _enough(cls, value: str) -> str:
        found = _MEMORY.fullmatch(value.strip())
        if not found or float(found[1]) * _SCALE[found[2].upper()] < _LEAST_MEMORY:
            raise ValueError(f"{value!r} is no amount of memory from 64MB on; write it like 2GB")
        return value


class AsOfOfflineStore(DuckDBOfflineStore):  # type: ignore[misc]  # feast is untyped
    """Feast finds it by the name in feature_store.yaml. Feature logs and Feast's monitoring are those of its base."""

    @staticmethod
    def get_historical_features(
        config: Any,
        feature_views: Sequence[Any],
        feature_refs: list[str],
        entity_df: Any,
        registry: Any,
        project: str,
        full_feature_names: bool = False,
        filter_by_created_timestamp: bool = False,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> AsOfRetrievalJob:
        """The features that were known at each row's time; every row comes out, in order.

        Args:
            config: Feast's.
            feature_views: with the projections of the request.
            feature_refs: `view:feature`.
            entity_df: a frame, an Arrow table, SQL for DuckDB, or None: then one row per entity and moment at which
                something of it became known from `start_date` to `end_date`.
            registry: Feast's.
            project: Feast's.
            full_feature_names: name features `view__feature`.
            filter_by_created_timestamp: ask for arrival to count where the settings do not.
            start_date: without `entity_df`; default: the longest time to live (30 days without one) before the end.
            end_date: without `entity_df`; default: now.

        Raises:
            FeatureError: the rows or the views cannot be joined.
        """
        from feast.on_demand_feature_view import OnDemandFeatureView
        from feast.utils import compute_non_entity_date_range

        limits = _limits(config)
        rows: Asked | Span
        if entity_df is None:
            rows = Span.of(*compute_non_entity_date_range(list(feature_views), start_date, end_date))
        else:
            rows = from_sql(entity_df, limits) if isinstance(entity_df, str) else asked(entity_df)
        history = History(
            rows=rows,
            questions=questions(feature_views, feature_refs, full_names=full_feature_names),
            known=filter_by_created_timestamp or config.offline_store.known_at == "always",
            limits=limits,
            repo_path=config.repo_path,
        )
        odfvs = OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry)
        substrait = [odfv for odfv in odfvs if odfv.mode == "substrait"]

        @contextlib.contextmanager
        def run(rows_per_batch: int) -> Iterator[pa.RecordBatchReader]:
            table = _by_substrait(substrait, history.answer(), full_feature_names)
            yield pa.RecordBatchReader.from_batches(table.schema, table.to_batches(max_chunksize=rows_per_batch))

        return AsOfRetrievalJob(
            run,
            repo_path=str(config.repo_path),
            staging_location=config.offline_store.staging_location,
            full_feature_names=full_feature_names,
            on_demand_feature_views=[odfv for odfv in odfvs if odfv not in substrait],
            metadata=RetrievalMetadata(feature_refs, history.keys, history.span.first, history.span.last),
        )

    @staticmethod
    def pull_latest_from_table_or_query(
        config: Any,
        data_source: Any,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None,
        start_date: datetime | None,
        end_date: datetime | None,
    ) -> AsOfRetrievalJob:
        """The latest row of each entity that happened between two times, both included, for the online store."""
        columns = pulls.Columns(
            join_key_columns, feature_name_columns, timestamp_field, created_timestamp_column or None
        )
        return _pull(config, data_source, pulls.latest, columns, Span.of(start_date, end_date))

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
    ) -> AsOfRetrievalJob:
        """All rows that happened between two times, both included, in the order of their files."""
        columns = pulls.Columns(
            join_key_columns, feature_name_columns, timestamp_field, created_timestamp_column or None
        )
        return _pull(config, data_source, pulls.every, columns, Span.of(start_date, end_date))

    @staticmethod
    def offline_write_batch(
        config: Any, feature_view: Any, table: pa.Table, progress: Callable[[int], Any] | None
    ) -> None:
        """Add rows to the source of a view, whole or not at all."""
        if feature_view.batch_source is None:
            raise FeatureError(
                f"View {feature_view.name!r} has no batch source to write to.", hint="Declare FeatureView(source=…)."
            )
        added(feature_view.batch_source, str(config.repo_path), feature_view.name, table)
        if progress:
            progress(table.num_rows)

    def validate_data_source(self, config: Any, data_source: Any) -> None:
        """Refuse a source whose files lack its columns of time; one without files yet is left to the first query."""
        try:
            files = files_of(data_source, config.repo_path)
        except NoDataError:
            return
        with session(_limits(config)) as connection:
            table = opened(connection, data_source, files[-1:])
            for column in filter(None, [data_source.timestamp_field, data_source.created_timestamp_column]):
                table.time(column, "declared as a time")

    def get_table_column_names_and_types_from_data_source(
        self, config: Any, data_source: Any
    ) -> Iterable[tuple[str, str]]:
        """Columns of a source and their Arrow types, for Feast to infer features from."""
        schema = schema_of(data_source, config.repo_path)
        return list(zip(schema.names, map(str, schema.types), strict=True))


def _limits(config: Any) -> Limits:
    given = config.offline_store
    return Limits(given.memory_limit, given.threads, Path(given.temp_directory) if given.temp_directory else None)


def _pull(config: Any, source: Any, pull: Callable[..., Any], columns: pulls.Columns, span: Span) -> AsOfRetrievalJob:
    @contextlib.contextmanager
    def run(rows_per_batch: int) -> Iterator[pa.RecordBatchReader]:
        with session(_limits(config), ordered=pull is pulls.every) as connection:
            table = opened(connection, source, within(files_of(source, config.repo_path), span, known=False))
            yield pull(connection, table, columns, span).to_arrow_reader(rows_per_batch)
            table.check_unchanged()

    return AsOfRetrievalJob(
        run, repo_path=str(config.repo_path), staging_location=config.offline_store.staging_location
    )


def _by_substrait(odfvs: Sequence[Any], table: pa.Table, full_feature_names: bool) -> pa.Table:
    """The answer with the features of views that are computed by Ibis."""
    if not odfvs:
        return table
    import ibis

    found = ibis.memtable(table)
    for odfv in odfvs:
        found = odfv.transform_ibis(found, full_feature_names)
    return found.to_pyarrow()

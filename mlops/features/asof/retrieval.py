"""What Feast gets back for a question: nothing is read until somebody asks for rows.

One rule: whichever way the rows are taken, they are the same rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pandas as pd
import pyarrow as pa
from feast.infra.offline_stores.offline_store import RetrievalJob, RetrievalMetadata

from mlops.features.asof.writing import published, staged

Run = Callable[[int], AbstractContextManager[pa.RecordBatchReader]]  # given rows per batch
_ROWS_PER_BATCH = 100_000


class AsOfRetrievalJob(RetrievalJob):  # type: ignore[misc]  # feast is untyped
    """A question that can be asked, several times if need be."""

    def __init__(
        self,
        run: Run,
        *,
        repo_path: str,
        staging_location: str | None = None,
        full_feature_names: bool = False,
        on_demand_feature_views: list[Any] | None = None,
        metadata: RetrievalMetadata | None = None,
    ) -> None:
        super().__init__()
        self._run = run
        self._repo_path = repo_path
        self._staging_location = staging_location
        self._full_feature_names = full_feature_names
        self._on_demand_feature_views = on_demand_feature_views or []
        self._metadata = metadata

    def to_batches(self, rows: int = _ROWS_PER_BATCH) -> Iterator[pa.RecordBatch]:
        """The answer in pieces, without its on-demand features; of a pull, no more than some pieces are in memory.

        Args:
            rows: most rows of a piece.
        """
        with self._run(rows) as reader:
            for batch in reader:
                yield from (batch.slice(first, rows) for first in range(0, batch.num_rows, rows))

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:  # noqa: ARG002
        with self._run(_ROWS_PER_BATCH) as reader:
            return reader.read_all()

    def _to_df_internal(self, timeout: int | None = None) -> pd.DataFrame:
        frame: pd.DataFrame = self._to_arrow_internal(timeout).to_pandas()
        return frame

    @property
    def full_feature_names(self) -> bool:
        """Whether features are named `view__feature`."""
        return self._full_feature_names

    @property
    def on_demand_feature_views(self) -> list[Any]:
        """Views that are computed from the answer."""
        return self._on_demand_feature_views

    @property
    def metadata(self) -> RetrievalMetadata | None:
        """Features, keys and times of the question."""
        return self._metadata

    def persist(self, storage: Any, allow_overwrite: bool = False, timeout: int | None = None) -> None:
        """Write the answer, on-demand features included, where a saved data set lies.

        Raises:
            SavedDatasetLocationAlreadyExists: something is there, and may not be overwritten.
            StorageError: it cannot be written; what was there before still stands.
        """
        published(storage.to_data_source(), self._repo_path, allow_overwrite, lambda: self.to_arrow(timeout=timeout))

    def supports_remote_storage_export(self) -> bool:
        """Whether `staging_location` of the offline store is set."""
        return self._staging_location is not None

    def to_remote_storage(self) -> list[str]:
        """Write the answer as Parquet files below the staging location; their addresses."""
        return staged(self.to_arrow(), str(self._staging_location))

"""A delivery too large for memory: left in its Parquet files, and read batch by batch when its rows are needed.

One rule: the rows are those that were checked; files that were replaced since are refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pandas as pd
import pyarrow as pa

from mlops.data import parquet
from mlops.data.duck_checks import quoted
from mlops.data.rule import Terms
from mlops.errors import SourceError
from mlops.spec import SourceSpec

IN_MEMORY_ROWS = 2_000_000  # a larger delivery is left where it lies
_ROWS_PER_BATCH = 131_072
_PLACE = "row "  # of a row in the delivery; with a space, so that no column is called so


@dataclass(frozen=True)
class Lying:
    """Rows in Parquet files.

    Args:
        source: where they come from.
        parts: the files.
        terms: what they are held against.
        state: of the files when they were looked at.
        rows: how many.
    """

    source: SourceSpec
    parts: parquet.Parts
    terms: Terms
    state: tuple[tuple[str, ...], ...]
    rows: int

    @property
    def names(self) -> list[str]:
        """Columns, in order."""
        return [str(name) for name in self.parts.schema.names]

    def kind(self, name: str) -> pa.DataType:
        """Type of a column as Arrow reads it."""
        return self.parts.schema.field(name).type

    def counts(self, columns: Sequence[str], distinct: str) -> tuple[dict[str, int], int]:
        """Values that are there, by column, and how many different ones another column has."""
        listed = ", ".join(["count(*)", *(f"count({quoted(name)})" for name in columns)])
        different = f"SELECT count(*) FROM (SELECT DISTINCT {quoted(distinct)} FROM delivery)"
        with parquet.opened(self.source, self.parts, self.terms) as table:
            ((_, *there, entities),) = table.duck.execute(f"SELECT {listed}, ({different}) FROM delivery").fetchall()
        return dict(zip(columns, there, strict=True)), int(entities)

    @contextmanager
    def batches(self, columns: Sequence[str], order: Sequence[str] = ()) -> Iterator[pa.RecordBatchReader]:
        """Columns of all rows, for as long as the block lasts; what does not fit into memory is on disk.

        Args:
            columns: which.
            order: columns to sort by; rows that agree in them stay in the order in which they came. Default: none.

        Raises:
            SourceError: a file cannot be read, or was replaced since it was looked at.
            DataError: there is too little memory or disk.
        """
        listed = ", ".join(map(quoted, columns))
        query = f"SELECT {listed} FROM delivery"
        if order:
            placed = f"SELECT *, row_number() OVER () AS {quoted(_PLACE)} FROM delivery"
            by = ", ".join([f"{quoted(name)} NULLS LAST" for name in order] + [quoted(_PLACE)])
            query = f"SELECT {listed} FROM ({placed}) ORDER BY {by}"
        with parquet.opened(self.source, self.parts, self.terms) as table:
            yield table.duck.sql(query).to_arrow_reader(_ROWS_PER_BATCH)
        self.check_unchanged()

    def check_unchanged(self) -> None:
        """Refuse files that are not those that were looked at.

        Raises:
            SourceError: they were replaced.
        """
        if self.parts.state != self.state:
            raise SourceError(
                f"The files of {self.terms.day} were replaced while they were read.",
                hint="Run the step again for the date.",
            )


Delivery = pd.DataFrame | Lying

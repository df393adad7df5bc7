"""A delivery is looked at where it lies if it can be, and read.

One rule: the rows that are handed on are those that were checked.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from mlops.data import contracts, lying, parquet, sources
from mlops.data.contracts import ContractResult
from mlops.data.lying import Delivery, Lying
from mlops.data.rule import Statistics, Terms
from mlops.spec import SourceSpec


def inspect(
    source: SourceSpec,
    terms: Terms,
    usual_rows: Sequence[int],
    statistics: Sequence[Statistics] = (),
) -> tuple[ContractResult, Delivery] | None:
    """What the check of a delivery's contract found, and its rows; None if nothing was delivered.

    A delivery of more than `lying.IN_MEMORY_ROWS` is left where it lies, if it can be looked at there.

    Args:
        source: where it comes from.
        terms: what it is held against.
        usual_rows: row counts of deliveries before.
        statistics: of accepted deliveries before.

    Raises:
        SourceError: the source cannot be read, or its files were replaced meanwhile.
        SchemaError: its times mean nothing.
        DataError: a check could not be carried out.
    """
    found = _in_place(source, terms, usual_rows, statistics)
    if found is None:
        frame = _read(source, terms)
        if frame is None:
            return None
        result = contracts.check(
            frame,
            terms.contract,
            entity=terms.entity,
            timestamps=terms.timestamps,
            day=terms.day,
            usual_rows=usual_rows,
            statistics=statistics,
        )
        return result, frame
    result, there = found
    if there.rows > lying.IN_MEMORY_ROWS:
        return result, there
    frame = _read(source, terms)
    there.check_unchanged()
    return None if frame is None else (result, frame)


def _in_place(
    source: SourceSpec, terms: Terms, usual_rows: Sequence[int], statistics: Sequence[Statistics]
) -> tuple[ContractResult, Lying] | None:
    parts = parquet.find(source, terms)
    if parts is None:
        return None
    state = parts.state
    with parquet.opened(source, parts, terms) as table:
        result = contracts.check_table(table, terms, usual_rows, statistics)
        return result, Lying(source, parts, terms, state, table.rows)


def _read(source: SourceSpec, terms: Terms) -> pd.DataFrame | None:
    return sources.read_delivery(source, entity=terms.entity, timestamps=terms.timestamps, day=terms.day)

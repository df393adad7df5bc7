"""A delivery is looked at where it lies if it can be, and read.

One rule: the rows that are handed on are those that were checked.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from mlops.data import contracts, parquet, sources
from mlops.data.contracts import ContractResult
from mlops.data.rule import Statistics, Terms
from mlops.errors import SourceError
from mlops.spec import SourceSpec


def inspect(
    source: SourceSpec, terms: Terms, usual_rows: Sequence[int], statistics: Sequence[Statistics] = ()
) -> tuple[ContractResult, pd.DataFrame] | None:
    """What the check of a delivery's contract found, and its rows; None if nothing was delivered.

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
    parts, state, result = found
    frame = _read(source, terms)
    if parts.state != state:
        raise SourceError(
            f"The files of {terms.day} were replaced while they were read.", hint="Run the step again for the date."
        )
    return None if frame is None else (result, frame)


def _in_place(
    source: SourceSpec, terms: Terms, usual_rows: Sequence[int], statistics: Sequence[Statistics]
) -> tuple[parquet.Parts, tuple[tuple[str, ...], ...], ContractResult] | None:
    parts = parquet.find(source, terms)
    if parts is None:
        return None
    state = parts.state
    with parquet.opened(source, parts, terms) as table:
        return parts, state, contracts.check_table(table, terms, usual_rows, statistics)


def _read(source: SourceSpec, terms: Terms) -> pd.DataFrame | None:
    return sources.read_delivery(source, entity=terms.entity, timestamps=terms.timestamps, day=terms.day)

"""Profiles of a table that no one machine holds: each partition is profiled where it lies, and the parts are summed.

One rule: parts are what `Profile.of` makes, and only whole numbers are summed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from mlops.monitoring.drift.measures import Floats
from mlops.monitoring.drift.profile import Knots, Profile

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_ROWS_PER_PART = 1_000_000
_WHOLE = ("rows", "nulls", "infinite")
_CELLS = ("on", "between", "places")
_DDL = "name string, what string, cell int, number bigint"


def profiles_on_spark(frame: DataFrame, knots: Mapping[str, Knots]) -> dict[str, Profile]:
    """The profile of every column that has knots.

    Args:
        frame: holds all of them, as numbers.
        knots: by column, of the reference.
    """
    from pyspark.sql import functions as sf

    shipped = frame.sparkSession.sparkContext.broadcast(dict(knots))

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        held: list[pa.RecordBatch] = []
        for batch in batches:
            held.append(batch)
            if sum(part.num_rows for part in held) >= _ROWS_PER_PART:
                yield _part(held, shipped.value)
                held = []
        if held:
            yield _part(held, shipped.value)

    columns = frame.select(*(sf.col(name).cast("double").alias(name) for name in knots))
    parts = columns.mapInArrow(run, _DDL)
    summed = parts.groupBy("name", "what", "cell").agg(sf.sum(sf.col("number").cast("decimal(38,0)")).alias("number"))
    found = summed.toArrow().to_pandas()
    return {name: _profile(found[found["name"] == name], knots[name]) for name in knots}


def _part(batches: list[pa.RecordBatch], knots: Mapping[str, Knots]) -> pa.RecordBatch:
    table = pa.Table.from_batches(batches)
    rows: dict[str, list[Any]] = {"name": [], "what": [], "cell": [], "number": []}
    for name, divided in knots.items():
        values: Floats = table[name].to_numpy().astype(np.float64)
        profile = Profile.of(values, divided)
        for what in _WHOLE:
            _add(rows, name, what, np.array([0]), np.array([getattr(profile, what)]))
        for what in _CELLS:
            numbers = getattr(profile, what)
            cells = np.flatnonzero(numbers)
            _add(rows, name, what, cells, numbers[cells])
    arrays = [pa.array(rows["name"]), pa.array(rows["what"])]
    arrays += [pa.array(rows["cell"], pa.int32()), pa.array(rows["number"], pa.int64())]
    return pa.RecordBatch.from_arrays(arrays, names=list(rows))


def _add(rows: dict[str, list[Any]], name: str, what: str, cells: Any, numbers: Any) -> None:
    rows["name"] += [name] * len(cells)
    rows["what"] += [what] * len(cells)
    rows["cell"] += cells.tolist()
    rows["number"] += numbers.tolist()


def _profile(found: Any, knots: Knots) -> Profile:
    """A profile from its numbers; a cell without a number holds nothing."""
    cells = {what: np.zeros(len(knots.values) + (what != "on"), dtype=object) for what in _CELLS}
    for what in _CELLS:
        own = found[found["what"] == what]
        cells[what][own["cell"].to_numpy()] = [int(number) for number in own["number"]]
    whole = {what: int(found.loc[found["what"] == what, "number"].sum()) for what in _WHOLE}
    return Profile(
        **whole,
        on=cells["on"].astype(np.int64),
        between=cells["between"].astype(np.int64),
        places=cells["places"],
    )

"""Rows dealt over the partitions of a Spark frame in the order that one machine would write them in.

Spark's own way to do this draws a random sample anew each time, so the same rows end in other files, with another
content hash. Here the cuts follow from the rows alone.

One rule: partitions follow one another in the order of the key, and no key is in two of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mlops.spark_tables import quoted

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

ROWS_PER_FILE = 500_000  # of tables that Spark writes in order: some hundred MB in a task while it lasts
_MOST_KEYS = 100_000  # that the driver looks at to find the cuts


def dealt(frame: DataFrame, key: str, count: int, keys: DataFrame | None = None) -> DataFrame:
    """The rows in partitions of about `ROWS_PER_FILE`, cut between keys; within a partition they have no order.

    Args:
        frame: the rows.
        key: column without nulls.
        count: number of rows.
        keys: another frame with the same keys as often, where that of `frame` costs more. Default: `frame`.
    """
    from pyspark.sql import functions as sf

    files = max(1, math.ceil(count / ROWS_PER_FILE))
    if files == 1:
        return frame.repartition(1)
    cuts = _cuts((frame if keys is None else keys).select(sf.col(quoted(key)).alias("key")), files)
    return frame.repartitionById(len(cuts) + 1, _place(sf.col(quoted(key)), cuts, 0))


def _cuts(keys: DataFrame, files: int) -> list[Any]:
    """The keys with which a new file begins, but for the first."""
    from pyspark.sql import functions as sf

    different = keys.agg(sf.approx_count_distinct("key")).collect()[0][0]
    every = max(1, different // _MOST_KEYS)
    looked = keys.where(sf.pmod(sf.xxhash64("key"), sf.lit(every)) == 0) if every > 1 else keys
    table = looked.groupBy("key").count().toArrow().sort_by("key")
    total, filled, begun = sum(table["count"].to_pylist()), 0, 0
    cuts = []
    for name, rows in zip(table["key"].to_pylist(), table["count"].to_pylist(), strict=True):
        if filled and (due := filled * files // total) > begun:
            cuts.append(name)
            begun = due
        filled += rows
    return cuts


def _place(key: Column, cuts: Sequence[Any], first: int) -> Column:
    """Number of the partition of a key: how many cuts are not above it, found by halving."""
    from pyspark.sql import functions as sf

    if not cuts:
        return sf.lit(first)
    half = len(cuts) // 2
    below, above = _place(key, cuts[:half], first), _place(key, cuts[half + 1 :], first + half + 1)
    return sf.when(key < sf.lit(cuts[half]), below).otherwise(above)

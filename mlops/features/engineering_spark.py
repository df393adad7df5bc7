"""`engineer` on Spark: the same function, on the readings of some entities at a time.

A reading's features depend on the readings of its own entity alone, so entities are dealt into groups and each group is
engineered as a table of its own. Nothing is computed in another way than on one machine, hence not to another result.

One rule: all readings of an entity go to one group, and come in the order in which one machine would see them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

import pyarrow as pa

from mlops.features.engineering import CREATED, EVENT, Recipe, engineer
from mlops.spark_tables import POSITION, arrow_schema, ddl

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

ROWS_PER_GROUP = 500_000  # engineered at a time: some hundred MB while it lasts
_GROUP = "__group"
Kernel = Callable[[pa.Table], pa.Table]


def engineer_on_spark(
    rows: DataFrame,
    recipe: Recipe,
    *,
    entity: str,
    event: str,
    known_at: str,
    since: datetime | None = None,
    count: int | None = None,
) -> DataFrame:
    """The features of every reading.

    Args:
        rows: readings, as for `engineer`; with the column `POSITION` where several readings of an entity became known
            at one instant, because a table of Spark's has no last row.
        recipe: which features.
        entity: column that names what the readings are about.
        event: column that says when it happened.
        known_at: column that says when it became known.
        since: only readings known at or after this are returned.
        count: number of rows, if it is known; it decides the number of groups, and nothing else.

    Returns:
        Columns and types as `engineer` has them; sorted by entity, event and known time within each partition, all
        readings of an entity in one.

    Raises:
        SchemaError: as `engineer`; on Spark it comes with the action that asks for the rows.
    """
    from pyspark.sql import functions as sf

    engineer(arrow_schema(rows).empty_table().to_pandas(), recipe, entity=entity, event=event, known_at=known_at)
    total = rows.count() if count is None else count
    cores = int(str(rows.sparkSession.conf.get("spark.sql.shuffle.partitions")))
    groups = max(cores, math.ceil(total / ROWS_PER_GROUP))
    needed = dict.fromkeys([entity, event, known_at, *recipe.inputs])
    if POSITION in rows.columns:
        needed[POSITION] = None
    kernel = _kernel(recipe, entity, event, known_at, since)
    schema = _schema(rows, recipe, entity)
    grouped = rows.select(*needed, sf.pmod(sf.xxhash64(entity), sf.lit(groups)).alias(_GROUP)).groupBy(_GROUP)
    made = grouped.applyInArrow(kernel, ddl(schema))
    return made.sortWithinPartitions(entity, EVENT, CREATED)


def _kernel(recipe: Recipe, entity: str, event: str, known_at: str, since: datetime | None) -> Kernel:
    def run(table: pa.Table) -> pa.Table:
        table = table.drop_columns([_GROUP])
        if POSITION in table.column_names:
            table = table.sort_by(POSITION).drop_columns([POSITION])
        frame = table.to_pandas()
        made = engineer(frame, recipe, entity=entity, event=event, known_at=known_at, since=since)
        keys = made[entity] if len(made) else frame[entity].head(0)
        arrays = {entity: pa.array(keys, type=table.schema.field(entity).type, from_pandas=True)}
        arrays |= {name: pa.array(made[name], type=pa.timestamp("us", "UTC")) for name in (EVENT, CREATED)}
        arrays |= {name: pa.array(made[name], type=pa.float64()) for name in recipe.feature_names}
        return pa.table(arrays)

    return run


def _schema(rows: DataFrame, recipe: Recipe, entity: str) -> pa.Schema:
    known = arrow_schema(rows)
    fields = [(entity, known.field(entity).type), *((name, pa.timestamp("us", "UTC")) for name in (EVENT, CREATED))]
    return pa.schema([*fields, *((name, pa.float64()) for name in recipe.feature_names)])

"""One delivery's features, published by Spark as the view's table in many files.

One rule: each file is what `tables.sealed` makes of its rows, so the table is the one that one machine would publish.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from mlops import spark_tables
from mlops.features.definitions import read_view, recipe_of
from mlops.features.engineering import EVENT
from mlops.features.partitions import uri_of
from mlops.features.tables import sealed
from mlops.storage import Manifest

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from mlops.features.store import FeatureStore


def write_on_spark(store: FeatureStore, name: str, day: date, frame: DataFrame) -> tuple[str, Manifest]:
    """Publish the features of one delivery, replacing those of an earlier run for that date.

    Args:
        store: the feature store.
        name: of the view.
        day: date of the delivery.
        frame: as `engineer_on_spark` returns it.

    Raises:
        FeatureError: a column is missing, or a reading is there twice; it comes wrapped in Spark's own error.
        StorageError: it could not be written; what was there before still stands.
    """
    view = read_view(store._feast, name)
    recipe = recipe_of(view)
    facts = {"view": str(view.name), "date": day.isoformat(), "recipe": recipe.fingerprint if recipe else ""}
    uri = uri_of(store.storage, view.name, day)

    light = _light(view)

    def seal(table: pa.Table) -> pa.Table:
        return sealed(table.to_pandas(), light)

    schema = seal(spark_tables.arrow_schema(frame).empty_table()).schema
    key = view.entity_columns[0].name

    def counts(table: pa.Table) -> dict[str, int]:
        newest = pc.max(table[EVENT]).cast(pa.int64()).as_py()
        return {"entities": pc.count_distinct(table[key]).as_py(), "newest": newest}

    manifest = spark_tables.write(
        store.storage, uri, frame, facts, counts=counts, merged=_merged, finish=seal, schema=schema
    )
    return uri, manifest


def _merged(counts: Sequence[Mapping[str, int]]) -> dict[str, str]:
    """The facts of all files: no entity lies in two of them."""
    newest = max((each["newest"] for each in counts), default=None)
    moment = "" if newest is None else (_EPOCH + timedelta(microseconds=newest)).isoformat()
    return {"entities": str(sum(each["entities"] for each in counts)), "newest": moment}


@dataclass(frozen=True)
class _Kind:
    """A type as `sealed` asks for it."""

    name: str

    def to_value_type(self) -> _Kind:
        return self


def _light(view: Any) -> Any:
    """What `sealed` asks of a view, in plain values: executors need not import Feast for it."""
    columns = [SimpleNamespace(name=c.name, dtype=_Kind(c.dtype.to_value_type().name)) for c in view.entity_columns]
    features = [SimpleNamespace(name=field.name) for field in view.features]
    return SimpleNamespace(name=view.name, entity_columns=columns, features=features)

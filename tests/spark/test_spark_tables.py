"""Tables written by Spark: what a reader sees, and when."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from mlops import spark_tables
from mlops.errors import NoDataError, StorageError
from mlops.storage import TABLE_FILE, Storage
from tests.spark.conftest import Dealt

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def rows(n: int = 100, shift: float = 0.0) -> pd.DataFrame:
    """A small table with a null, sorted."""
    at = pd.date_range("2026-03-01", periods=n, freq="min", tz="UTC").as_unit("us")
    values = np.arange(n) + shift
    return pd.DataFrame({"key": [f"k{i:03d}" for i in range(n)], "at": at, "x": values}).assign(
        x=lambda f: f["x"].mask(f["key"] == "k003")
    )


def test_what_spark_writes_storage_reads_back(dealt: Dealt, tmp_path: Path) -> None:
    """Several files, one table: all rows, the types, and facts in the manifest."""
    storage = Storage(str(tmp_path))
    uri = storage.uri("t", "date=2026-03-01")
    made = spark_tables.write(
        storage, uri, dealt(rows(), 4), {"who": "me"}, counts=lambda t: {"doubled": 2 * t.num_rows}
    )
    assert len(made.shards) > 1
    assert storage.manifest(uri) == made
    assert (made.rows, made.facts) == (100, {"who": "me", "doubled": "200"})
    table = storage.read_table(uri)
    assert table.schema.field("at").type == pa.timestamp("us", "UTC")
    pd.testing.assert_frame_equal(table.to_pandas().sort_values("key", ignore_index=True), rows())
    assert storage.read_table(uri, ["key"]).column_names == ["key"]
    assert [str(day) for day in storage.partitions(storage.uri("t"))] == ["2026-03-01"]


def test_a_table_is_replaced_whole_and_nothing_of_the_old_stays(dealt: Dealt, tmp_path: Path) -> None:
    """Files of the first writing are gone after the second, those of a dead writer too, of one at work not."""
    storage = Storage(str(tmp_path))
    uri = storage.uri("t")
    spark_tables.write(storage, uri, dealt(rows(), 3))
    for name in ("dead", "at_work"):
        storage.write_bytes(f"{uri}/shards/{name}/000000-1.parquet", b"")
    os.utime(tmp_path / "t" / "shards" / "dead" / "000000-1.parquet", (0, 0))
    made = spark_tables.write(storage, uri, dealt(rows(7, shift=5.0), 2))
    left = {file.uri.removeprefix(f"{uri}/") for file in storage.listing(uri)}
    assert left == {TABLE_FILE, *made.shards, "shards/at_work/000000-1.parquet"}
    assert sorted(storage.read_table(uri)["key"].to_pylist()) == [f"k{i:03d}" for i in range(7)]


def test_the_same_rows_have_the_same_hash(dealt: Dealt, tmp_path: Path) -> None:
    """A repeated writing is recognised; one value of one row changes the hash."""
    storage = Storage(str(tmp_path))

    def hashed(frame: pd.DataFrame) -> str:
        ordered = dealt(frame, 3).repartition(2, "key").sortWithinPartitions("key")
        return spark_tables.write(storage, storage.uri("t"), ordered).content_hash

    first = hashed(rows())
    assert hashed(rows().sample(frac=1, random_state=1)) == first
    assert hashed(rows().replace({"x": {50.0: 50.5}})) != first


def test_spark_reads_what_either_wrote_in_the_order_of_storage(
    session: SparkSession, dealt: Dealt, tmp_path: Path
) -> None:
    """A table of one file, one of several, one with a column less; positions order the rows as `read_table` does."""
    storage = Storage(f"{tmp_path}/with a space")
    uris = [storage.uri("t", name) for name in ("one", "many", "less")]
    storage.write_table(uris[0], pa.Table.from_pandas(rows(9), preserve_index=False))
    spark_tables.write(storage, uris[1], dealt(rows(20, shift=100.0), 4))
    storage.write_table(uris[2], pa.Table.from_pandas(rows(5)[["key", "at"]], preserve_index=False))
    found = spark_tables.read(session, storage, uris, position=True).toArrow().sort_by(spark_tables.POSITION)
    expected = pa.concat_tables([storage.read_table(uri) for uri in uris], promote_options="default")
    pd.testing.assert_frame_equal(
        found.drop_columns([spark_tables.POSITION]).to_pandas(), expected.to_pandas(), check_like=True
    )
    assert found[spark_tables.POSITION].null_count == 0


def test_files_that_lost_rows_are_refused_by_both(session: SparkSession, dealt: Dealt, tmp_path: Path) -> None:
    """A file that was replaced by a shorter one, or is gone, is an error with both numbers, never a smaller table."""
    storage = Storage(str(tmp_path))
    uri = storage.uri("t")
    made = spark_tables.write(storage, uri, dealt(rows(), 3))
    storage.write_table(storage.uri("short"), pa.Table.from_pandas(rows(1), preserve_index=False))
    storage.write_bytes(f"{uri}/{made.shards[0]}", storage.read_bytes(f"{storage.uri('short')}/{TABLE_FILE}"))
    with pytest.raises(StorageError, match="manifest says 100"):
        storage.read_table(uri)
    with pytest.raises(StorageError, match="manifests say 100"):
        spark_tables.read(session, storage, [uri])
    storage.delete(f"{uri}/{made.shards[1]}")
    with pytest.raises(StorageError, match="does not exist"):
        storage.read_table(uri)
    with pytest.raises(NoDataError, match="holds no table"):
        spark_tables.read(session, storage, [storage.uri("nowhere")])


def test_a_writer_that_fails_leaves_what_was_there(dealt: Dealt, tmp_path: Path) -> None:
    """An error in one task: the table before still stands, whole."""
    storage = Storage(str(tmp_path))
    uri = storage.uri("t")
    before = spark_tables.write(storage, uri, dealt(rows(), 3))

    def fail(table: pa.Table) -> pa.Table:
        if "k050" in table["key"].to_pylist():
            raise ValueError("planted")
        return table

    with pytest.raises(Exception, match="planted"):
        spark_tables.write(storage, uri, dealt(rows(shift=9.0), 3), finish=fail)
    assert storage.manifest(uri) == before
    pd.testing.assert_frame_equal(storage.read_table(uri).to_pandas().sort_values("key", ignore_index=True), rows())

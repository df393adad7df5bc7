"""The newest reading of each entity is found in little memory, however wide its rows and however many its files."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlops.features.online import newest
from mlops.manifest import ROWS_PER_GROUP
from mlops.spark_tables import SHARDS
from mlops.storage import TABLE_FILE, Manifest, Storage, parquet

DAY, ROWS, PUMPS = date(2026, 3, 1), 200_000, 100
COLUMNS = tuple(f"c{i}" for i in range(40))
VIEW = SimpleNamespace(
    name="wide",
    batch_source=SimpleNamespace(timestamp_field="at", created_timestamp_column="known_at"),
    entity_columns=[SimpleNamespace(name="pump")],
    features=[SimpleNamespace(name=name) for name in COLUMNS],
)


def _readings() -> pa.Table:
    """Of each pump 2,000 readings, the newest in its last row; 64 MB of numbers that do not compress."""
    minute = pa.array(np.arange(ROWS) % (ROWS // PUMPS) * 60_000_000, pa.int64()).cast(pa.timestamp("us", "UTC"))
    values = np.random.default_rng(0).normal(size=(len(COLUMNS), ROWS))
    keys = {"pump": [f"p{i * PUMPS // ROWS:03d}" for i in range(ROWS)], "at": minute, "known_at": minute}
    return pa.table(keys | dict(zip(COLUMNS, values, strict=True)))


@pytest.mark.parametrize("files", [1, 8])
def test_wide_rows_in_files_of_any_number_need_little_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: int
) -> None:
    """Row groups of which each is larger than the memory: none is held whole; every value is that of the newest row."""
    monkeypatch.setattr(newest, "_MEMORY", "24MB")
    readings, storage = _readings(), Storage(str(tmp_path / "var"))
    folder = Path(storage.uri("features", "wide", f"date={DAY}"))
    names = tuple(f"{SHARDS}/1/{i}.parquet" for i in range(files))
    (folder / SHARDS / "1").mkdir(parents=True)
    for i, name in enumerate(names):
        pq.write_table(readings.slice(i * ROWS // files, ROWS // files), folder / name, row_group_size=ROWS)
    schema = {field.name: str(field.type) for field in readings.schema}
    storage.write_bytes(
        str(folder / TABLE_FILE), parquet(readings.slice(0, 0), Manifest(ROWS, schema, "", shards=names))
    )

    found = pa.concat_tables(newest.newest_readings(storage, VIEW, [DAY], spill=tmp_path / "spill")).sort_by("pump")
    last = readings.take(list(range(ROWS // PUMPS - 1, ROWS, ROWS // PUMPS)))
    assert found.num_rows == PUMPS
    assert found.select(COLUMNS).equals(last.select(COLUMNS))


def test_a_table_is_written_in_groups_that_readers_can_hold(tmp_path: Path) -> None:
    """Not one group for all of its rows."""
    storage = Storage(str(tmp_path))
    storage.write_table(storage.uri("t"), pa.table({"x": np.arange(ROWS_PER_GROUP + 5)}))
    file = pq.ParquetFile(tmp_path / "t" / TABLE_FILE)
    assert [file.metadata.row_group(i).num_rows for i in range(2)] == [ROWS_PER_GROUP, 5]

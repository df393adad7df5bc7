"""Storage: whole or not at all, and nothing read that no manifest vouches for."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops.errors import NoDataError, StorageError
from mlops.storage import TABLE_FILE, Storage, content_hash

TABLE = pa.table({"device": ["a", "b", None], "value": [1.0, None, float("nan")]})


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    """A storage on a temporary folder."""
    return Storage(str(tmp_path))


def test_a_written_table_comes_back_with_its_manifest(storage: Storage) -> None:
    """What was written is read back, and the manifest states rows, schema, hash and the caller's facts."""
    uri = storage.uri("t")
    written = storage.write_table(uri, TABLE, {"date": "2026-03-01"})
    back = storage.read_table(uri)
    assert back.column("device").to_pylist() == ["a", "b", None]
    assert written.rows == 3
    assert written.schema == {"device": "string", "value": "double"}
    assert written.content_hash == content_hash(back)
    assert storage.manifest(uri) == written
    assert written.facts == {"date": "2026-03-01"}


def test_timestamps_are_written_in_microseconds(storage: Storage) -> None:
    """Nanoseconds, which DuckDB cannot read with a zone, never reach the disk."""
    frame = pd.DataFrame({"at": pd.to_datetime(["2026-03-01T00:00:00Z"])})
    assert str(frame["at"].dtype) == "datetime64[ns, UTC]"
    storage.write_table(storage.uri("t"), pa.Table.from_pandas(frame))
    assert pq.read_schema(Path(storage.uri("t")) / TABLE_FILE).field("at").type == pa.timestamp("us", "UTC")


def test_a_failed_write_leaves_the_last_good_table(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk in the middle of a write keeps the old table readable and leaves no temporary file behind."""
    uri = storage.uri("t")
    storage.write_table(uri, TABLE)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=r"No space left on device.*unchanged"):
        storage.write_table(uri, TABLE.slice(0, 1))
    assert storage.read_table(uri).num_rows == 3
    assert os.listdir(uri) == [TABLE_FILE]


def test_a_read_only_folder_is_refused_in_words(tmp_path: Path) -> None:
    """Where a folder cannot be made the error names the path and says what to do."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"could not be written.*permissions"):
        Storage(str(tmp_path / "file")).write_bytes(f"{tmp_path}/file/below/x.json", b"{}")


def test_what_was_not_published_here_is_not_read(storage: Storage) -> None:
    """A Parquet file without a manifest is refused, and so is a truncated one and an absent one."""
    folder = Path(storage.uri("t"))
    folder.mkdir()
    pq.write_table(TABLE, folder / TABLE_FILE)
    with pytest.raises(StorageError, match="no manifest"):
        storage.read_table(str(folder))
    (folder / TABLE_FILE).write_bytes(b"PAR1 half a file")
    with pytest.raises(StorageError, match="cannot be read"):
        storage.read_table(str(folder))
    with pytest.raises(StorageError, match="cannot be read"):
        storage.manifest(str(folder))
    with pytest.raises(NoDataError, match="does not exist"):
        storage.read_table(storage.uri("absent"))
    assert storage.manifest(storage.uri("absent")) is None


def test_partitions_are_listed_by_date(storage: Storage) -> None:
    """Only published partitions count, in order of their dates."""
    for day in ("2026-03-02", "2026-03-01"):
        storage.write_table(storage.uri("data", "fleet", f"date={day}"), TABLE)
    Path(storage.uri("data", "fleet", "date=2026-03-03")).mkdir()
    assert storage.partitions(storage.uri("data", "fleet")) == [date(2026, 3, 1), date(2026, 3, 2)]
    assert storage.partitions(storage.uri("data", "nothing")) == []


def test_memory_file_system_behaves_like_the_local_one() -> None:
    """The same calls work on any file system that fsspec knows, where a write is one PUT."""
    storage = Storage("memory://bucket/prefix")
    storage.write_table(storage.uri("t", "date=2026-03-01"), TABLE)
    storage.write_json(storage.uri("x.json"), {"at": datetime(2026, 3, 1, tzinfo=UTC)})
    assert storage.read_table(storage.uri("t", "date=2026-03-01")).num_rows == 3
    assert storage.partitions(storage.uri("t")) == [date(2026, 3, 1)]
    assert storage.read_json(storage.uri("x.json")) == {"at": "2026-03-01 00:00:00+00:00"}
    storage.delete(storage.uri("t"))
    storage.delete(storage.uri("t"))
    assert not storage.exists(storage.uri("t"))


columns = st.lists(st.one_of(st.none(), st.floats(allow_nan=False), st.just(float("nan"))), min_size=1, max_size=8)


@given(values=columns, cut=st.integers(0, 8))
def test_the_content_hash_does_not_depend_on_chunks(values: list[float | None], cut: int) -> None:
    """The same values in one chunk or two have the same hash."""
    whole = pa.table({"x": pa.array(values, pa.float64())})
    parts = pa.concat_tables([whole.slice(0, cut), whole.slice(cut)])
    assert content_hash(whole) == content_hash(parts)


@given(values=columns, at=st.integers(0, 7), change=st.floats(1.0, 9.0))
def test_the_content_hash_changes_with_any_value(values: list[float | None], at: int, change: float) -> None:
    """Another value, name, type or null gives another hash."""
    at %= len(values)
    before = pa.table({"x": pa.array(values, pa.float64())})
    other = list(values)
    other[at] = change if other[at] != change else None
    assert content_hash(before) != content_hash(pa.table({"x": pa.array(other, pa.float64())}))
    assert content_hash(before) != content_hash(before.rename_columns(["y"]))


def test_the_content_hash_sees_text_boundaries() -> None:
    """Moving a letter from one text to the next is a change."""
    assert content_hash(pa.table({"x": ["ab", "c"]})) != content_hash(pa.table({"x": ["a", "bc"]}))

"""Sources: what was delivered for a date, nothing, or a refusal that says what to do."""

from __future__ import annotations

import sqlite3
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlops.data.sources import read_delivery, read_known
from mlops.errors import MissingDependencyError, SchemaError, SourceError
from mlops.spec import SourceSpec, TimestampsSpec

DAY = date(2026, 3, 5)
EVENT = TimestampsSpec(event="at")
BOTH = TimestampsSpec(event="at", arrival="known")


def table(day: date = DAY, size: int = 3) -> pd.DataFrame:
    """A few rows of one device over the day."""
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return pd.DataFrame(
        {"device": ["007"] * size, "at": pd.date_range(start, periods=size, freq="6h"), "load": np.arange(size) + 0.5}
    )


def read(source: SourceSpec, day: date = DAY, timestamps: TimestampsSpec = EVENT) -> pd.DataFrame | None:
    """What was delivered for the day."""
    return read_delivery(source, entity="device", timestamps=timestamps, day=day)


def present(source: SourceSpec, day: date = DAY, timestamps: TimestampsSpec = EVENT) -> pd.DataFrame:
    """The same, where something must have been."""
    found = read(source, day, timestamps)
    assert found is not None
    return found


def parquet(folder: Path, **more: Any) -> SourceSpec:
    """A source with one Parquet file per date in the folder."""
    return SourceSpec(uri=f"{folder}/{{date}}.parquet", **more)


# --- files of a date --------------------------------------------------------------------------------------------------


def test_a_file_of_the_date_is_read_with_all_columns(tmp_path: Path) -> None:
    """Every column and row comes, in the file's order, times in UTC with microseconds."""
    table().iloc[::-1].to_parquet(tmp_path / f"{DAY}.parquet")
    found = present(parquet(tmp_path))
    assert list(found.columns) == ["device", "at", "load"]
    assert str(found["at"].dtype) == "datetime64[us, UTC]"
    assert list(found["load"]) == [2.5, 1.5, 0.5]


def test_nothing_delivered_is_none_and_an_empty_delivery_is_empty(tmp_path: Path) -> None:
    """No file, or no folder even, is nothing; a file without rows is a delivery without rows."""
    assert read(parquet(tmp_path)) is None
    assert read(SourceSpec(uri=f"{tmp_path}/none/{{date}}/*.parquet")) is None
    assert read(SourceSpec(uri=f"{tmp_path}/none/{{date}}/")) is None
    table(size=0).to_parquet(tmp_path / f"{DAY}.parquet")
    assert len(present(parquet(tmp_path))) == 0
    (tmp_path / f"{DAY}.csv").write_text("device,at,load\n")
    assert list(present(SourceSpec(kind="csv", uri=f"{tmp_path}/{{date}}.csv")).columns) == ["device", "at", "load"]
    (tmp_path / f"{DAY}.csv").write_text("")
    assert present(SourceSpec(kind="csv", uri=f"{tmp_path}/{{date}}.csv")).shape == (0, 0)


def test_a_glob_and_a_folder_are_read_in_order_of_name(tmp_path: Path) -> None:
    """Several files are one delivery; what Spark leaves beside them is not data, and a date can be a path."""
    folder = tmp_path / "2026" / "03" / "05"
    folder.mkdir(parents=True)
    table().assign(load=2).to_parquet(folder / "b.parquet")
    table().assign(load=1.5).to_parquet(folder / "a.parquet")
    (folder / "_SUCCESS").write_text("")
    (folder / "_c.parquet").write_text("not done yet")
    for uri in (f"{tmp_path}/{{date:%Y/%m/%d}}/*", f"{tmp_path}/{{date:%Y/%m/%d}}"):
        assert list(present(SourceSpec(uri=uri))["load"]) == [1.5] * 3 + [2.0] * 3


def test_a_truncated_or_wrong_file_is_refused(tmp_path: Path) -> None:
    """A file that is not whole, or not of its kind, is an error with its name, never an empty delivery."""
    path = tmp_path / f"{DAY}.parquet"
    table(size=500).to_parquet(path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(SourceError, match=rf"{DAY}.parquet cannot be read as PARQUET: .* have it delivered again"):
        read(parquet(tmp_path))
    path.write_bytes(b"")
    with pytest.raises(SourceError, match="cannot be read as PARQUET"):
        read(parquet(tmp_path))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"device,at\na,2026-03-05T00:00Z\nb,2026-03-05T00:00Z,1,2\n", "cannot be read as CSV"),
        (b"device,at\na,2026-03-05T00:00Z,5\nb,2026-03-05T00:00Z,6\n", "more fields than the header"),
        (b"PAR1\x00\xff\xfe\x89" * 20, "cannot be read as CSV"),
    ],
)
def test_a_wrong_csv_is_refused(tmp_path: Path, content: bytes, complaint: str) -> None:
    """Ragged rows, more fields than names and bytes that are no text are errors, not data."""
    (tmp_path / f"{DAY}.csv").write_bytes(content)
    with pytest.raises(SourceError, match=complaint):
        read(SourceSpec(kind="csv", uri=f"{tmp_path}/{{date}}.csv"))


def test_files_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    """One column as number here and as text there is no delivery."""
    table().to_parquet(tmp_path / "a.parquet")
    table().assign(load="high").to_parquet(tmp_path / "b.parquet")
    with pytest.raises(SourceError, match=r"The 2 files of .* do not go together: .*load"):
        read(SourceSpec(uri=f"{tmp_path}/*.parquet"))


def test_a_column_named_twice_is_refused(tmp_path: Path) -> None:
    """Of two columns of one name nobody knows which is meant."""
    both = pa.table([pa.array([1.0]), pa.array([2.0])], names=["load", "load"])
    pq.write_table(both, tmp_path / f"{DAY}.parquet")
    with pytest.raises(SourceError, match="more than one column 'load'"):
        read(parquet(tmp_path))


def test_categories_decimals_and_a_stored_index_become_plain_columns(tmp_path: Path) -> None:
    """What pandas and databases put into Parquet comes out as text, floats and columns."""
    frame = table().assign(device=pd.Categorical(["a", "b", "a"])).set_index("device")
    arrow = pa.Table.from_pandas(frame)
    money = pa.array([Decimal(1), Decimal(2), Decimal(3)], pa.decimal128(10, 2))
    pq.write_table(arrow.append_column("cost", money), tmp_path / f"{DAY}.parquet")
    found = present(parquet(tmp_path))
    assert list(found["device"]) == ["a", "b", "a"]
    assert found["device"].dtype == object
    assert list(found["cost"]) == [1.0, 2.0, 3.0]


def test_csv_keeps_leading_zeros_of_the_entity_and_takes_reader_options(tmp_path: Path) -> None:
    """The key is text as it stands; options that pandas knows go to pandas."""
    (tmp_path / f"{DAY}.csv").write_text("device;at;load\n007;2026-03-05T00:00:00Z;1,5\n")
    found = present(SourceSpec(kind="csv", uri=f"{tmp_path}/{{date}}.csv", options={"sep": ";", "decimal": ","}))
    assert found.loc[0, "device"] == "007"
    assert found.loc[0, "load"] == 1.5
    assert found.loc[0, "at"] == datetime(2026, 3, 5, tzinfo=UTC)


def test_a_delivery_that_lacks_a_time_column_is_left_to_the_contract(tmp_path: Path) -> None:
    """A missing column of a file of a date is for the contract to report, so it is read nonetheless."""
    table().drop(columns="at").to_parquet(tmp_path / f"{DAY}.parquet")
    assert list(present(parquet(tmp_path)).columns) == ["device", "load"]


def test_times_without_a_zone_need_one_in_the_spec(tmp_path: Path) -> None:
    """Without source.timezone naive times are refused; with it they are local times of that zone."""
    table().assign(at=lambda f: f["at"].dt.tz_localize(None)).to_parquet(tmp_path / f"{DAY}.parquet")
    with pytest.raises(SchemaError, match=r"Set source\.timezone"):
        read(parquet(tmp_path))
    found = present(parquet(tmp_path, timezone="Asia/Shanghai"))
    assert found["at"].iloc[0] == datetime(2026, 3, 4, 16, tzinfo=UTC)


def test_times_of_other_columns_are_placed_too(tmp_path: Path) -> None:
    """A label's arrival that rides along is in UTC as well."""
    naive = table()["at"].dt.tz_localize(None)
    table().assign(told=naive, at=naive).to_parquet(tmp_path / f"{DAY}.parquet")
    found = present(parquet(tmp_path, timezone="Europe/Berlin"))
    assert found["told"].iloc[0] == datetime(2026, 3, 4, 23, tzinfo=UTC)


# --- growing tables ---------------------------------------------------------------------------------------------------


def test_of_a_growing_table_the_delivery_is_what_became_known_that_day(tmp_path: Path) -> None:
    """Rows are placed by arrival where there is one: midnight belongs to the day that begins."""
    midnight = datetime(2026, 3, 5, tzinfo=UTC)
    known = [midnight - timedelta(microseconds=1), midnight, midnight + timedelta(hours=24), None]
    frame = pd.DataFrame({"device": "a", "at": [midnight - timedelta(hours=5)] * 4, "known": known, "n": range(4)})
    frame.to_parquet(tmp_path / "all.parquet")
    frame.to_csv(tmp_path / "all.csv", index=False)
    for source in (SourceSpec(uri=f"{tmp_path}/all.parquet"), SourceSpec(kind="csv", uri=f"{tmp_path}/all.csv")):
        assert list(present(source, timestamps=BOTH)["n"]) == [1]
        assert read(source, DAY + timedelta(days=5), BOTH) is None


def test_a_growing_table_of_local_times_is_cut_at_midnight_utc(tmp_path: Path) -> None:
    """Local times are placed before they are cut, also on the night the clocks go back."""
    start = datetime(2026, 10, 24, tzinfo=UTC)
    instants = pd.date_range(start, periods=72, freq="h")
    local = instants.tz_convert("Europe/Berlin").tz_localize(None)
    parts = [pd.DataFrame({"device": device, "at": local, "n": range(72)}) for device in "ab"]
    pd.concat(parts).to_parquet(tmp_path / "all.parquet", row_group_size=6)
    source = SourceSpec(uri=f"{tmp_path}/all.parquet", timezone="Europe/Berlin")
    for i in range(3):
        found = present(source, date(2026, 10, 24) + timedelta(days=i))
        assert list(found["n"]) == list(range(24 * i, 24 * i + 24)) * 2
        assert list(found["at"]) == list(instants[24 * i : 24 * i + 24]) * 2


def test_a_growing_table_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """Without {date} an absent file is a wrong URI, not a day without a delivery."""
    with pytest.raises(SourceError, match=r"matches no file.*\{date\}"):
        read(SourceSpec(uri=f"{tmp_path}/all.parquet"))
    table().to_parquet(tmp_path / "all.parquet")
    with pytest.raises(SchemaError, match=r"no column 'att'.*Did you mean 'at'"):
        read(SourceSpec(uri=f"{tmp_path}/all.parquet"), timestamps=TimestampsSpec(event="att"))


def test_known_deliveries_come_with_their_dates(tmp_path: Path) -> None:
    """Files by date keep their dates, days without one are left out; a growing table is read once."""
    days = [DAY, DAY + timedelta(days=2)]
    for day in days:
        table(day).to_parquet(tmp_path / f"{day}.parquet")
    wide = {"entity": "device", "timestamps": EVENT, "first": DAY, "last": DAY + timedelta(days=5)}
    assert [day for day, _ in read_known(parquet(tmp_path), **wide)] == days
    ((day, frame),) = read_known(SourceSpec(uri=f"{tmp_path}/*.parquet"), **wide)
    assert day is None
    assert len(frame) == 6


# --- what cannot be reached -------------------------------------------------------------------------------------------


def test_an_unknown_kind_of_uri_is_refused() -> None:
    """A scheme nobody speaks, and one whose client is not installed, are said to be that."""
    with pytest.raises(SourceError, match=r"nope://bucket/2026-03-05\.parquet cannot be listed"):
        read(SourceSpec(uri="nope://bucket/{date}.parquet"))
    with pytest.raises(MissingDependencyError, match="client that is not installed"):
        read(SourceSpec(uri="dropbox://bucket/{date}.parquet"))


def test_a_password_in_a_uri_does_not_reach_the_message() -> None:
    """Messages end up in logs and tickets; secrets do not."""
    with pytest.raises(SourceError) as caught:
        read(SourceSpec(uri="nope://me:secret@host/{date}.parquet"))
    assert "secret" not in str(caught.value)
    url = "postgresql+psycopg://me:secret@127.0.0.1:9/none"
    with pytest.raises(SourceError) as caught:
        read(SourceSpec(kind="sql", uri=url, query="select 1 where :start < :end"))
    assert "secret" not in str(caught.value)


def test_sql_without_its_bounds_or_its_file_is_refused(tmp_path: Path) -> None:
    """The query must say which day; an absent SQLite file is not created."""
    with pytest.raises(SourceError, match="does not use :end"):
        read(SourceSpec(kind="sql", uri="sqlite://", query="select * from t where at > :start"))
    path = tmp_path / "none.db"
    with pytest.raises(SourceError, match=r"none\.db does not exist"):
        read(SourceSpec(kind="sql", uri=f"sqlite:///{path}", query="select * from t where at between :start and :end"))
    assert not path.exists()


def test_sqlite_gives_the_rows_of_the_day(tmp_path: Path) -> None:
    """Times are text without a zone there, compared as such in the spec's zone, both bounds exact."""
    path = tmp_path / "pumps.db"
    walls = ["2026-03-04 23:59:59", "2026-03-05 00:00:00", "2026-03-05 12:00:00.000000", "2026-03-06 00:00:00"]
    with sqlite3.connect(path) as connection:
        connection.execute("create table pumps (device text, at text, load real)")
        connection.executemany("insert into pumps values ('a', ?, 1.5)", [(wall,) for wall in walls])
    connection.close()
    query = "select * from pumps where at >= :start and at < :end"
    source = SourceSpec(kind="sql", uri=f"sqlite:///{path}", query=query, timezone="UTC")
    assert [f"{at:%d %H}" for at in present(source)["at"]] == ["05 00", "05 12"]
    assert read(source, date(2027, 1, 1)) is None

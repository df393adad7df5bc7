"""Parquet looked at by DuckDB where it lies: which deliveries it is for, and that it sees what would be read."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import fsspec
import pandas as pd
import pytest

from mlops.data import contracts, inspection, parquet, sources
from mlops.data.contracts import ContractResult
from mlops.data.rule import Terms
from mlops.errors import SourceError
from mlops.spec import ColumnContract, ContractSpec, SourceSpec, TimestampsSpec

DAY = date(2026, 3, 5)
START = datetime(2026, 3, 5, tzinfo=UTC)
TERMS = Terms(ContractSpec(columns={"x": ColumnContract(min=0, max=10)}), "key", TimestampsSpec(event="at"), DAY)


def rows(days: int = 1, **columns: Any) -> pd.DataFrame:
    """A row per hour of one key."""
    times = pd.Series([START + timedelta(hours=h) for h in range(24 * days)]).astype("datetime64[us, UTC]")
    return pd.DataFrame({"key": "a", "at": times, "x": 1.0}).assign(**columns)


def checked(source: SourceSpec) -> ContractResult:
    """The contract's check, in place."""
    parts = parquet.find(source, TERMS)
    assert parts is not None
    with parquet.opened(source, parts, TERMS) as table:
        return contracts.check_table(table, TERMS, [])


def test_an_object_store_is_read_through_its_own_client() -> None:
    """DuckDB has no extension for it and may download none; what it finds is named by row."""
    store = fsspec.filesystem("memory")
    with store.open(f"/bucket/{DAY}.parquet", "wb") as file:
        rows(x=[1.0] * 23 + [99.0]).to_parquet(file)
    found = checked(SourceSpec(uri="memory://bucket/{date}.parquet"))
    assert found.reasons == ("x: 1 of 24 rows (4.2 %) outside 0…10, largest 99.",)
    assert found.findings[-1].examples.index.tolist() == [23]


def test_of_a_growing_table_only_the_rows_of_the_day_are_seen(tmp_path: Path) -> None:
    """What is wrong on the next day is nothing to this one's delivery."""
    rows(2, x=[1.0] * 24 + [99.0] * 24).to_parquet(tmp_path / "all.parquet")
    source = SourceSpec(uri=f"{tmp_path}/all.parquet")
    assert checked(source).passed
    found = inspection.inspect(source, TERMS, [])
    assert found is not None
    assert len(found[1]) == 24


def test_a_growing_table_without_rows_of_the_day_delivers_nothing(tmp_path: Path) -> None:
    """That is not a delivery of no rows, which would break its contract."""
    rows().assign(at=lambda f: f["at"] + timedelta(days=9)).to_parquet(tmp_path / "all.parquet")
    assert inspection.inspect(SourceSpec(uri=f"{tmp_path}/all.parquet"), TERMS, []) is None


@pytest.mark.parametrize(
    ("frame", "zone"),
    [
        (rows().assign(at=lambda f: f["at"].astype(str)), None),
        (rows().assign(at=lambda f: f["at"].dt.tz_localize(None)), "Europe/Berlin"),
        (rows(X=2.0), None),
    ],
)
def test_what_takes_more_than_a_cast_is_left_to_the_reader(
    tmp_path: Path, frame: pd.DataFrame, zone: str | None
) -> None:
    """Times as text or in a zone whose clocks change, names that differ in case alone."""
    frame.to_parquet(tmp_path / f"{DAY}.parquet")
    assert parquet.find(SourceSpec(uri=f"{tmp_path}/{{date}}.parquet", timezone=zone), TERMS) is None


@pytest.mark.parametrize(
    "at",
    [
        rows()["at"].astype("datetime64[ns, UTC]"),
        rows()["at"].dt.tz_convert("Asia/Tokyo"),
        rows()["at"].dt.tz_localize(None),
    ],
)
def test_times_in_any_unit_and_zone_are_the_same_instants(tmp_path: Path, at: pd.Series) -> None:
    """Nanoseconds, another zone, or none where the spec says UTC: rows are of the same day, to the microsecond."""
    rows(at=at).to_parquet(tmp_path / f"{DAY}.parquet")
    source = SourceSpec(uri=f"{tmp_path}/{{date}}.parquet", timezone="UTC")
    assert checked(source).passed
    early = rows(at=at - pd.Timedelta(microseconds=1))
    early.to_parquet(tmp_path / f"{DAY}.parquet")
    assert [reason[:30] for reason in checked(source).reasons] == ["at: 1 of 24 rows (4.2 %) lie u"]


def test_a_file_that_is_cut_short_or_damaged_inside_is_refused(tmp_path: Path) -> None:
    """Without its footer, or with pages that are not what it says."""
    path = tmp_path / f"{DAY}.parquet"
    rows(50).to_parquet(path)
    whole = path.read_bytes()
    source = SourceSpec(uri=f"{tmp_path}/{{date}}.parquet")
    path.write_bytes(whole[:-100])
    with pytest.raises(SourceError, match="not whole"):
        checked(source)
    path.write_bytes(whole[:4] + b"\xff" * 600 + whole[604:])
    with pytest.raises(SourceError, match="delivered again"):
        checked(source)


def test_files_that_are_replaced_meanwhile_are_not_handed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows that were checked are those that are published, or none are."""
    path = tmp_path / f"{DAY}.parquet"
    rows().to_parquet(path)
    read = sources.read_delivery

    def replaced(*args: Any, **named: Any) -> Any:
        rows(x=99.0, more="text").to_parquet(path)
        return read(*args, **named)

    monkeypatch.setattr(sources, "read_delivery", replaced)
    with pytest.raises(SourceError, match="were replaced while they were read"):
        inspection.inspect(SourceSpec(uri=f"{tmp_path}/{{date}}.parquet"), TERMS, [])

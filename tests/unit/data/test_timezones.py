"""Timestamps in whatever form become instants in UTC, or are refused."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops.data.timezones import to_utc
from mlops.errors import SchemaError

BERLIN = "Europe/Berlin"


def utc(*values: str) -> list[pd.Timestamp]:
    """Instants in UTC."""
    return [pd.Timestamp(value, tz="UTC") for value in values]


def column(*values: object) -> pd.Series:
    """A column as it comes from outside."""
    return pd.Series(list(values), name="at", dtype=object)


def test_every_form_of_an_instant_is_understood() -> None:
    """Text with an offset, Z or none, dates, and datetimes of several zones stand side by side."""
    mixed = column(
        "2026-03-05T10:00:00+08:00",
        "2026-03-05 10:00:00Z",
        "2026-03-05 10:00-0500",
        "20260305T100000+01",
        "2026-03-05",
        datetime(2026, 3, 5, 10, tzinfo=ZoneInfo("Asia/Tokyo")),
        date(2026, 3, 6),
        None,
    )
    found = to_utc(mixed, "Asia/Shanghai")
    assert str(found.dtype) == "datetime64[us, UTC]"
    assert list(found[:7]) == utc(
        "2026-03-05 02:00",
        "2026-03-05 10:00",
        "2026-03-05 15:00",
        "2026-03-05 09:00",
        "2026-03-04 16:00",
        "2026-03-05 01:00",
        "2026-03-05 16:00",
    )
    assert found[7:].isna().all()


def test_a_time_without_a_zone_is_refused_and_never_taken_for_utc() -> None:
    """One time without a zone among others that have one is enough."""
    with pytest.raises(SchemaError, match=r"'at' holds times without a time zone, such as .*Set source.timezone"):
        to_utc(column("2026-03-05T10:00:00Z", "2026-03-05T11:00:00"), None)
    with pytest.raises(SchemaError, match="without a time zone"):
        to_utc(pd.Series(pd.to_datetime(["2026-03-05"]), name="at"), None)


def test_what_is_no_time_is_refused_with_an_example() -> None:
    """Garbage, numbers and truth values are no timestamps."""
    with pytest.raises(SchemaError, match="1 values that are no timestamps, the first is 'soon'"):
        to_utc(column("2026-03-05T10:00:00Z", "soon"), None)
    with pytest.raises(SchemaError, match="holds int64, expected timestamps; the first is 1772704800"):
        to_utc(pd.Series([1772704800], name="at"), "UTC")


def test_a_zone_nobody_knows_is_refused() -> None:
    """A wrong name of a zone is said to be one."""
    with pytest.raises(SchemaError, match="'Europe/Berlim' is not the name of a time zone"):
        to_utc(column("2026-03-05"), "Europe/Berlim")


def test_an_hour_that_does_not_exist_is_refused() -> None:
    """02:30 on the last Sunday of March is no time in Berlin."""
    with pytest.raises(SchemaError, match="2026-03-29 02:30:00 does not exist in Europe/Berlin"):
        to_utc(column("2026-03-29 01:30", "2026-03-29 02:30"), BERLIN)


def test_the_repeated_hour_follows_the_order_of_the_rows() -> None:
    """After a step back the second pass has begun: summer time is UTC+2, winter time UTC+1."""
    walls = ["01:50", "02:00", "02:30", "02:50", "02:00", "02:40", "03:00"]
    found = to_utc(column(*(f"2026-10-25 {wall}" for wall in walls)), BERLIN)
    assert [f"{t:%H:%M}" for t in found] == ["23:50", "00:00", "00:30", "00:50", "01:00", "01:40", "02:00"]


def test_hourly_rows_of_the_repeated_hour_are_told_apart_by_being_two() -> None:
    """Of two equal local times of one entity the second is the later; another entity's do not count."""
    entity = pd.Series(["a", "b", "a", "b"])
    found = to_utc(column(*["2026-10-25 02:00"] * 4), BERLIN, per=entity)
    assert [f"{t:%H:%M}" for t in found] == ["00:00", "00:00", "01:00", "01:00"]


def test_a_single_time_of_the_repeated_hour_is_the_earlier_one_and_for_arrivals_the_later_one() -> None:
    """Without any sign an event is read as early, an arrival as late as it can be: known too late leaks nothing."""
    once = column("2026-10-25 02:30")
    assert list(to_utc(once, BERLIN)) == utc("2026-10-25 00:30")
    assert list(to_utc(once, BERLIN, repeated="later")) == utc("2026-10-25 01:30")


def test_a_zone_whose_summer_time_is_called_standard_is_read_the_same_way() -> None:
    """Irish law calls winter time the exception, yet earlier is earlier: 01:30 first comes at 00:30 UTC."""
    found = to_utc(column("2026-10-25 01:30", "2026-10-25 01:30"), "Europe/Dublin")
    assert list(found) == utc("2026-10-25 00:30", "2026-10-25 01:30")


ZONES = [BERLIN, "America/New_York", "Asia/Shanghai", "Australia/Lord_Howe"]
MINUTES = st.lists(st.integers(0, 20 * 365 * 24 * 60), min_size=1, max_size=20)


@settings(deadline=None, max_examples=50)
@given(MINUTES, st.sampled_from(ZONES))
def test_local_times_of_real_instants_come_back_as_those_instants(minutes: list[int], zone: str) -> None:
    """Instants written as local times and read again are the same instants, repeated hours excepted."""
    instants = [datetime(2010, 1, 1, tzinfo=UTC) + timedelta(minutes=m) for m in sorted(minutes)]
    local = [moment.astimezone(ZoneInfo(zone)) for moment in instants]
    clear = [i for i, t in enumerate(local) if t.replace(fold=0).utcoffset() == t.replace(fold=1).utcoffset()]
    walls = pd.Series([local[i].replace(tzinfo=None) for i in clear], dtype="datetime64[us]")
    assert list(to_utc(walls, zone)) == [instants[i] for i in clear]


@settings(deadline=None, max_examples=50)
@given(st.sampled_from([15, 30, 60]), st.sampled_from([BERLIN, "America/New_York"]), st.sampled_from([2024, 2026]))
def test_whole_nights_with_a_repeated_hour_come_back(step: int, zone: str, year: int) -> None:
    """Regular readings through the nights in which clocks go back are read as the instants they were taken at."""
    for day in range(14):
        start = datetime(year, 10, 25, tzinfo=UTC) + timedelta(days=day)
        instants = [start + timedelta(minutes=step * i) for i in range(24 * 60 // step)]
        walls = pd.Series([t.astimezone(ZoneInfo(zone)).replace(tzinfo=None) for t in instants], dtype="datetime64[us]")
        assert list(to_utc(walls, zone)) == instants

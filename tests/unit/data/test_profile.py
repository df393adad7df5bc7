"""A first look: what it proposes passes on the data it was made from, on every day, and fails on what is damaged."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from mlops.cli.__main__ import app
from mlops.data import contracts, looked_at, profile, profile_duck, proposal
from mlops.data.profile_frame import FrameProfile
from mlops.errors import MLOpsError, NoDataError, SchemaError, SourceError
from mlops.spec import ModelSpec, TimestampsSpec, load_spec

FIRST = date(2026, 3, 5)


def readings(day: date, seed: int = 0) -> pd.DataFrame:
    """A day of three devices, hourly, with a mode, a count and a few nulls."""
    rng = np.random.default_rng(seed + day.toordinal())
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    frame = pd.DataFrame([(f"d{i}", start + timedelta(hours=h)) for i in range(3) for h in range(24)])
    frame.columns = pd.Index(["device_id", "event_time"])
    size = len(frame)
    frame["arrived_at"] = frame["event_time"] + pd.to_timedelta(rng.uniform(0, 600, size), unit="s")
    frame["heat"] = np.where(rng.uniform(size=size) < 0.02, np.nan, rng.normal(60, 5, size))
    frame["mode"] = rng.choice(["auto", "manual"], size)
    frame["starts"] = rng.integers(0, 9, size)
    late = frame["arrived_at"] >= pd.Timestamp(start) + timedelta(days=1)
    return frame[~late].reset_index(drop=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five days of files."""
    (tmp_path / "in").mkdir()
    for day in (FIRST + timedelta(days=i) for i in range(5)):
        readings(day).to_parquet(tmp_path / "in" / f"{day}.parquet", index=False)
    return tmp_path / "in"


def look(uri: Any, **options: Any) -> profile.Profile:
    """The first look at what is there."""
    return profile.first_look(str(uri), **options)


def test_keys_types_and_ranges_are_found(folder: Path) -> None:
    """Entity, event and arrival; files by date; ranges with head-room that stay on their side of zero."""
    found = look(folder)
    assert found.uri == f"{folder}/{{date}}.parquet"
    assert (found.keys.entity, found.keys.event, found.keys.arrival) == ("device_id", "event_time", "arrived_at")
    assert found.keys.unique
    assert found.interval_minutes == 60
    columns = found.contract.columns
    assert {name: column.type for name, column in columns.items()} == {
        "heat": "float", "mode": "string", "starts": "int"
    }  # fmt: skip
    assert columns["mode"].allowed == ("auto", "manual")
    assert columns["starts"].min == 0
    assert columns["heat"].max_null_share > 0
    assert found.broken == {}
    values = pd.concat([readings(FIRST + timedelta(days=i)) for i in range(5)])["heat"]
    low, high = columns["heat"].min, columns["heat"].max
    assert low is not None
    assert high is not None
    width = values.max() - values.min()
    assert values.min() - 0.6 * width < low < values.min() - 0.2 * width
    assert values.max() + 0.2 * width < high < values.max() + 0.6 * width


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda f: f.assign(heat=f["heat"] * 10), "heat: .* outside"),
        (lambda f: f.assign(heat=np.nan), "heat: null in all"),
        (lambda f: f.assign(mode="party"), "mode: .* none of auto, manual"),
        (lambda f: f.assign(starts=f["starts"] + 0.5), "starts: .* not whole numbers"),
        (lambda f: f.drop(columns="heat"), "'heat' is missing"),
        (lambda f: pd.concat([f, f.iloc[[0]]]), "share entity and time"),
        (lambda f: f.iloc[:5], "were delivered"),
        (lambda f: f.assign(arrived_at=f["event_time"] - timedelta(hours=1)), "arrived before they happened"),
    ],
)
def test_the_proposal_fails_on_damage(folder: Path, damage: Any, says: str) -> None:
    """Whatever of it is spoilt, a later day with that damage breaks the proposed contract."""
    found = look(folder)
    times = TimestampsSpec(event="event_time", arrival="arrived_at")
    day = FIRST + timedelta(days=9)
    keep = {"entity": "device_id", "timestamps": times, "day": day, "usual_rows": [72] * 5}
    assert contracts.check(readings(day), found.contract, **keep).passed  # type: ignore[arg-type]
    broken = contracts.check(damage(readings(day)), found.contract, **keep)  # type: ignore[arg-type]
    assert not broken.passed
    assert pd.Series(broken.reasons).str.contains(says).any()


@settings(deadline=None, max_examples=10)
@given(st.data())
def test_the_proposal_passes_on_what_it_was_made_from(data: st.DataObject) -> None:
    """Of any columns, with nulls, infinities, constants and days of any size, no day breaks what they propose."""
    size = data.draw(st.integers(2, 30))
    hours = data.draw(st.lists(st.integers(0, 71), min_size=size, max_size=size, unique=True))
    numbers = st.floats(-1e9, 1e9, width=32) | st.sampled_from([0.0, float("inf"), float("nan")])
    frame = pd.DataFrame({"key": data.draw(st.lists(st.sampled_from("ab"), min_size=size, max_size=size))})
    frame["at"] = pd.Series([datetime(2026, 3, 5, tzinfo=UTC) + timedelta(hours=h) for h in hours])
    frame["x"] = data.draw(st.lists(numbers, min_size=size, max_size=size))
    frame["n"] = data.draw(st.lists(st.integers(-5, 5), min_size=size, max_size=size))
    frame["s"] = data.draw(st.lists(st.sampled_from(["u", "v", None]), min_size=size, max_size=size))
    frame["at"] = frame["at"].astype("datetime64[us, UTC]")
    in_memory = profile.profile(FrameProfile("x", "x", "parquet", None, frame, None), entity="key")
    assert in_memory.broken == {}
    with tempfile.TemporaryDirectory() as folder:
        frame.to_parquet(f"{folder}/x.parquet", index=False)
        assert_alike(in_memory, profile.first_look(f"{folder}/x.parquet", entity="key"))


def assert_alike(one: profile.Profile, other: profile.Profile) -> None:
    """The same was seen and is proposed; where the data lies, and how its holder calls types, is not compared."""
    plain = {"uri": "", "left_out": {}}
    assert dataclasses.replace(one, **plain) == dataclasses.replace(other, **plain)
    assert one.left_out.keys() == other.left_out.keys()


def test_parquet_is_looked_at_where_it_lies(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By dates of files, of rows, or without any: as from rows in memory, of which none is loaded."""
    (folder / "late.parquet").write_bytes((folder / f"{FIRST}.parquet").read_bytes())
    for uri, days in ((f"{folder}/2026*.parquet", 5), (f"{folder}/{{date}}.parquet", 5), (f"{folder}/late.parquet", 1)):
        in_memory = profile.profile(looked_at.look(uri, kind="parquet"))
        with monkeypatch.context() as patch:
            patch.setattr(looked_at, "look", lambda *_, **__: pytest.fail("the rows were loaded"))
            found = profile.first_look(uri)
        assert_alike(in_memory, found)
        assert len(found.days) == days


def test_a_day_that_breaks_the_proposal_is_named_alike(folder: Path) -> None:
    """A day with a fifth of the rows of the others is no usual one; both say which, and in the same words."""
    odd = FIRST + timedelta(days=4)
    (folder / f"{odd}.parquet").unlink()
    extra = [readings(FIRST + timedelta(days=5 + i), seed=i) for i in range(3)]
    for frame in extra:
        frame.to_parquet(folder / f"{frame['event_time'].dt.date[0]}.parquet", index=False)
    readings(odd).iloc[::5].assign(mode=None).to_parquet(folder / f"{odd}.parquet", index=False)
    found = look(folder)
    assert_alike(profile.profile(looked_at.look(str(folder), kind="parquet")), found)
    assert found.contract.volume_tolerance is None or not found.broken


@pytest.mark.parametrize(
    "change",
    [
        lambda f: f.assign(event_time=f["event_time"].astype(str)),
        lambda f: f.assign(day=f["event_time"].dt.date),
        lambda f: f.assign(MODE=f["mode"]),
    ],
    ids=["times as text", "days", "columns that differ in case"],
)
def test_what_takes_more_than_a_cast_is_looked_at_in_memory(tmp_path: Path, change: Any) -> None:
    """Such Parquet is loaded, as before, and gives a proposal all the same."""
    change(readings(FIRST)).to_parquet(tmp_path / "odd.parquet", index=False)
    with profile_duck.opened(str(tmp_path / "odd.parquet")) as lying:
        assert lying is None
    assert look(tmp_path / "odd.parquet").keys.entity == "device_id"


def test_a_zone_whose_clocks_change_is_for_memory(tmp_path: Path) -> None:
    """Times without zone are UTC where they lie; told to be of Berlin, they are loaded to be placed."""
    naive = readings(FIRST).assign(event_time=lambda f: f["event_time"].dt.tz_localize(None)).drop(columns="arrived_at")
    path = tmp_path / "naive.parquet"
    naive.to_parquet(path, index=False)
    assert (look(path).timezone, look(path, timezone="Europe/Berlin").timezone) == ("UTC", "Europe/Berlin")
    with profile_duck.opened(str(path), timezone="Europe/Berlin") as lying:
        assert lying is None


def test_the_yaml_is_a_spec_that_loads(folder: Path, tmp_path: Path) -> None:
    """The skeleton of a whole spec is one; the contract in it is the proposal's, and nothing was lost on the way."""
    path = tmp_path / "pumps.yaml"
    answer = CliRunner().invoke(app, ["data", "profile", str(folder), "--spec", "pumps", "-o", str(path)])
    assert answer.exit_code == 0
    spec = load_spec(path, {})
    assert isinstance(spec, ModelSpec)
    assert spec.contract == look(folder).contract
    assert spec.source.uri == f"{folder}/{{date}}.parquet"
    again = CliRunner().invoke(app, ["data", "profile", str(folder), "-o", str(path)])
    assert isinstance(again.exception, MLOpsError)


def test_json_says_what_was_seen_and_what_is_proposed(folder: Path) -> None:
    """One object, and nothing else."""
    told = json.loads(CliRunner().invoke(app, ["data", "profile", str(folder), "--json"]).output)
    assert told["seen"]["days"] == 5
    assert told["proposal"]["entity"] == "device_id"


def test_csv_and_sql_are_looked_at_alike(tmp_path: Path) -> None:
    """The same rows propose the same columns from CSV and from a database; times without zone are said to be."""
    import sqlalchemy as sa

    frame = readings(FIRST).assign(event_time=lambda f: f["event_time"].dt.tz_localize(None)).drop(columns="arrived_at")
    frame.to_csv(tmp_path / "readings.csv", index=False)
    engine = sa.create_engine(f"sqlite:///{tmp_path}/db.sqlite")
    frame.to_sql("readings", engine, index=False)
    from_csv = look(tmp_path / "readings.csv")
    looked = looked_at.look(f"sqlite:///{tmp_path}/db.sqlite", kind="sql", table="readings")
    from_sql = profile.profile(looked)
    assert from_csv.contract == from_sql.contract
    assert from_csv.timezone == "UTC"
    assert "UTC is an assumption" in proposal.contract_yaml(from_csv)
    assert ":start" in yaml.safe_load(proposal.contract_yaml(from_sql))["source"]["query"]
    engine.dispose()


def test_what_cannot_be_looked_at_is_an_error_that_says_what_to_do(folder: Path, tmp_path: Path) -> None:
    """Nothing there, no rows, no times, a mistyped column, a file cut short."""
    with pytest.raises(SourceError, match="matches no parquet file"):
        look(tmp_path / "none.parquet")
    readings(FIRST).iloc[:0].to_parquet(tmp_path / "empty.parquet")
    with pytest.raises(NoDataError, match="no rows"):
        look(tmp_path / "empty.parquet")
    readings(FIRST)[["device_id", "heat"]].to_parquet(tmp_path / "timeless.parquet")
    with pytest.raises(SchemaError, match="No column holds times"):
        look(tmp_path / "timeless.parquet")
    with pytest.raises(SchemaError, match="Did you mean 'device_id'"):
        look(folder, entity="device_ids")
    whole = (folder / f"{FIRST}.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(whole[:-300])
    with pytest.raises(SourceError, match="not whole"):
        look(tmp_path / "cut.parquet")

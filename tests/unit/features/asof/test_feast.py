"""The store as users of Feast meet it: an ordinary repository over Parquet files, without this project's own views."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.errors import SavedDatasetLocationAlreadyExists
from feast.infra.offline_stores.file_source import SavedDatasetFileStorage
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float64, Int64

from mlops.errors import FeatureError, NoDataError, StorageError
from mlops.features.asof.question import questions
from mlops.features.asof.store import AsOfOfflineStore

START = datetime(2026, 3, 1, tzinfo=UTC)
TYPE = "mlops.features.asof.store.AsOfOfflineStore"

pump = Entity(name="pump", join_keys=["pump_id"], value_type=ValueType.STRING)
site = Entity(name="site", join_keys=["site_id"], value_type=ValueType.INT64)


def hour(*hours: float) -> pd.DatetimeIndex:
    """Moments after the start."""
    return pd.DatetimeIndex([START + timedelta(hours=float(h)) for h in hours]).as_unit("us")


def opened(folder: Path, **settings: Any) -> FeatureStore:
    """A Feast installation of its own in a folder."""
    config = RepoConfig(
        project="shop",
        provider="local",
        registry=str(folder / "registry.db"),
        offline_store={"type": TYPE} | settings,
        online_store={"type": "sqlite", "path": str(folder / "online.db")},
        entity_key_serialization_version=3,
        repo_path=str(folder),
    )
    return FeatureStore(config=config)


def view(name: str, path: str, features: dict[str, Any], **more: Any) -> FeatureView:
    """A view over `path` with the columns `event` and `created`."""
    mapping = more.pop("field_mapping", None)
    source = FileSource(
        name=f"{name}_source",
        path=path,
        timestamp_field=more.pop("event", "event"),
        created_timestamp_column=more.pop("created", "created"),
        field_mapping=mapping,
    )
    schema = [Field(name=feature, dtype=kind) for feature, kind in features.items()]
    return FeatureView(
        **{"name": name, "entities": [pump], "ttl": timedelta(0), "schema": schema, "source": source} | more
    )


@pytest.fixture
def levels(tmp_path: Path) -> pd.DataFrame:
    """Three readings of one pump, the second of which arrived two hours late."""
    frame = pd.DataFrame({"pump_id": "p1", "event": hour(1, 2, 6), "created": hour(1, 4, 6), "level": [1.0, 2.0, 6.0]})
    frame.to_parquet(tmp_path / "levels.parquet")
    return frame


@pytest.fixture
def rows() -> pd.DataFrame:
    """Rows to join, two of them alike, one of a pump that nobody knows."""
    return pd.DataFrame(
        {"label": range(5), "pump_id": ["p1", "p1", "nobody", "p1", "p1"], "event_timestamp": hour(3, 5, 5, 3, 7)}
    )


LEVELS = view("levels", "levels.parquet", {"level": Float64})


def test_arrival_counts_without_being_asked_for(tmp_path: Path, levels: pd.DataFrame, rows: pd.DataFrame) -> None:
    """Feast's own flag is off, and still nothing joins before it had arrived; rows come out as they went in."""
    store = opened(tmp_path)
    store.apply([pump, LEVELS])
    found = store.get_historical_features(rows, ["levels:level"]).to_df()
    np.testing.assert_array_equal(found["level"], [1.0, 2.0, np.nan, 1.0, 6.0])
    pd.testing.assert_frame_equal(found[list(rows.columns)], rows)


def test_arrival_counts_on_request_where_the_settings_say_so(
    tmp_path: Path, levels: pd.DataFrame, rows: pd.DataFrame
) -> None:
    """`known_at: on_request` is what Feast's own stores do: the flag decides."""
    store = opened(tmp_path, known_at="on_request")
    store.apply([pump, LEVELS])
    for flag, expected in ((False, [2.0, 2.0, np.nan, 2.0, 6.0]), (True, [1.0, 2.0, np.nan, 1.0, 6.0])):
        job = store.get_historical_features(rows, ["levels:level"], filter_by_created_timestamp=flag)
        np.testing.assert_array_equal(job.to_df()["level"], expected)


def test_keys_may_be_composite_renamed_and_mapped(tmp_path: Path) -> None:
    """Two keys, a view used twice under other names and keys, columns called otherwise in the files: all at once."""
    readings = pd.DataFrame(
        {"P": ["a", "a", "b"], "site_id": [1, 2, 1], "event": hour(1, 1, 1), "created": hour(1, 1, 1), "H": [1, 2, 3]}
    )
    readings.to_parquet(tmp_path / "heights.parquet")
    heights = view(
        "heights",
        "heights.parquet",
        {"height": Int64},
        entities=[pump, site],
        field_mapping={"H": "height", "P": "pump_id"},
    )
    other = heights.with_name("before").with_join_key_map({"pump_id": "old_pump"})
    store = opened(tmp_path)
    service = FeatureService(name="both", features=[heights.with_name("now"), other])
    store.apply([pump, site, heights, service])
    rows = pd.DataFrame(
        {"pump_id": ["a", "b"], "old_pump": ["b", "a"], "site_id": [1, 1], "event_timestamp": hour(2, 2)}
    )
    found = store.get_historical_features(rows, service, full_feature_names=True).to_df()
    assert found["now__height"].tolist() == [1, 3]
    assert found["before__height"].tolist() == [3, 1]


def test_on_demand_features_and_saved_data_sets(tmp_path: Path, levels: pd.DataFrame, rows: pd.DataFrame) -> None:
    """What is computed from the answer is in it and in the saved data set, which comes back in the same order."""

    @on_demand_feature_view(sources=[LEVELS], schema=[Field(name="twice", dtype=Float64)])
    def doubled(inputs: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"twice": inputs["level"] * 2})

    store = opened(tmp_path)
    store.apply([pump, LEVELS, doubled])
    job = store.get_historical_features(rows, ["levels:level", "doubled:twice"])
    np.testing.assert_array_equal(job.to_df()["twice"], [2.0, 4.0, np.nan, 2.0, 12.0])
    place = SavedDatasetFileStorage(path=str(tmp_path / "saved.parquet"))
    saved = store.create_saved_dataset(job, "march", place)
    np.testing.assert_array_equal(saved.to_df()["twice"], [2.0, 4.0, np.nan, 2.0, 12.0])
    again = store.get_saved_dataset("march").to_df()
    assert again["pump_id"].tolist() == rows["pump_id"].tolist()
    with pytest.raises(SavedDatasetLocationAlreadyExists):
        store.create_saved_dataset(job, "march", place)
    store.create_saved_dataset(job, "march", place, allow_overwrite=True)


@pytest.mark.parametrize("kind", [pa.timestamp("ns", "UTC"), pa.timestamp("ms"), pa.timestamp("us", "Asia/Kathmandu")])
def test_any_kind_of_timestamp_joins_and_materialises(tmp_path: Path, rows: pd.DataFrame, kind: pa.DataType) -> None:
    """Also the zoned nanoseconds that pandas writes, which DuckDB 2 cannot cast."""
    times = pa.array([START + timedelta(hours=h) for h in (1, 2)], pa.timestamp("us", "UTC")).cast(kind)
    table = pa.table({"pump_id": ["p1", "p1"], "event": times, "created": times, "level": [1.0, 2.0]})
    pq.write_table(table, tmp_path / "levels.parquet")
    store = opened(tmp_path)
    store.apply([pump, LEVELS])
    found = store.get_historical_features(rows, ["levels:level"]).to_df()
    np.testing.assert_array_equal(found["level"], [2.0, 2.0, np.nan, 2.0, 2.0])
    store.materialize(START, START + timedelta(days=1))
    assert store.get_online_features(["levels:level"], [{"pump_id": "p1"}]).to_dict()["level"] == [2.0]


def test_nanoseconds_are_not_rounded(tmp_path: Path) -> None:
    """A reading half a microsecond ahead has not happened."""
    base = pd.Timestamp(START)
    event = pd.DatetimeIndex([base + pd.Timedelta(nanoseconds=1700)])
    frame = pd.DataFrame({"pump_id": ["p1"], "event": event, "created": event, "level": [1.0]})
    frame.to_parquet(tmp_path / "levels.parquet")
    store = opened(tmp_path)
    store.apply([pump, LEVELS])
    asked = pd.DatetimeIndex([base + pd.Timedelta(nanoseconds=n) for n in (1699, 1700, 2000)])
    rows = pd.DataFrame({"pump_id": "p1", "event_timestamp": asked})
    np.testing.assert_array_equal(
        store.get_historical_features(rows, ["levels:level"]).to_df()["level"], [np.nan, 1.0, 1.0]
    )


def test_the_latest_rows_do_not_depend_on_the_order_of_files(tmp_path: Path) -> None:
    """Of equal events the latest arrival, of equal arrivals the greater features: in whatever file they stand."""
    rng = np.random.default_rng(3)
    n = 400
    frame = pd.DataFrame(
        {
            "pump_id": rng.choice(["a", "b", "c"], n),
            "event": hour(*rng.integers(0, 5, n)),
            "created": hour(*rng.integers(5, 7, n)),
            "f": rng.integers(0, 3, n).astype(float),
            "g": rng.integers(0, 50, n).astype(float),
        }
    )
    expected = frame.sort_values(["event", "created", "f", "g"]).groupby("pump_id").tail(1).set_index("pump_id")
    (tmp_path / "levels").mkdir()
    store = opened(tmp_path)
    both = view("levels", "levels", {"f": Float64, "g": Float64})
    store.apply([pump, both])
    for seed in range(3):
        mixed = frame.sample(frac=1, random_state=seed)
        for i in range(3):
            mixed.iloc[i::3].to_parquet(tmp_path / "levels" / f"{i}.parquet", coerce_timestamps="us")
        arguments = (store.config, both.batch_source, ["pump_id"], ["g", "f"], "event", "created")
        job = store._get_provider().offline_store.pull_latest_from_table_or_query(*arguments, START, hour(10)[0])
        found = job.to_df().set_index("pump_id").loc[expected.index, expected.columns]
        pd.testing.assert_frame_equal(found, expected, check_dtype=False)
        pieces = list(job.to_batches(2))
        assert sorted(piece.num_rows for piece in pieces) == [1, 2]


def test_without_rows_every_change_is_asked_for(tmp_path: Path, levels: pd.DataFrame) -> None:
    """One row per entity and moment at which something became known within the time asked for."""
    store = opened(tmp_path)
    store.apply([pump, LEVELS])
    job = store.get_historical_features(features=["levels:level"], start_date=hour(2)[0], end_date=hour(6)[0])
    found = job.to_df()
    assert found["event_timestamp"].tolist() == list(hour(4, 6))
    assert found["level"].tolist() == [2.0, 6.0]


def test_rows_may_be_sql_and_arrow(tmp_path: Path, levels: pd.DataFrame, rows: pd.DataFrame) -> None:
    """The same rows give the same answer in whatever form they come."""
    store = opened(tmp_path)
    store.apply([pump, LEVELS])
    expected = store.get_historical_features(rows, ["levels:level"]).to_arrow()
    rows.to_parquet(tmp_path / "rows.parquet")
    sql = f"select * from '{tmp_path}/rows.parquet' order by label"
    for given in (sql, pa.Table.from_pandas(rows, preserve_index=False)):
        assert store.get_historical_features(given, ["levels:level"]).to_arrow().equals(expected)


@pytest.mark.parametrize("place", ["levels.parquet", "levels"])
def test_rows_are_added_to_a_file_or_a_folder(tmp_path: Path, place: str) -> None:
    """What is written to the offline store joins, and what was there stays."""
    first = pd.DataFrame({"pump_id": ["p1"], "event": hour(1), "created": hour(1), "level": [1.0]})
    path = tmp_path / place
    path.parent.mkdir(exist_ok=True)
    if not path.suffix:
        path.mkdir()
        path = path / "first.parquet"
    first.to_parquet(path)
    store = opened(tmp_path)
    store.apply([pump, view("levels", place, {"level": Float64})])
    more = first.assign(event=hour(2), created=hour(2), level=2.0)
    store.write_to_offline_store("levels", more)
    rows = pd.DataFrame({"pump_id": "p1", "event_timestamp": hour(1.5, 2.5)})
    assert store.get_historical_features(rows, ["levels:level"]).to_df()["level"].tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("place", "change", "message"),
    [
        ("date=*/part.parquet", lambda rows: rows, "none of whose files is the one to add to.*Write the partition"),
        (".", lambda rows: rows.drop(columns="level"), "lack level, and bring nothing"),
        (".", lambda rows: rows.assign(level="high"), "do not fit its source"),
    ],
)
def test_rows_that_cannot_be_added_change_nothing(tmp_path: Path, place: str, change: Any, message: str) -> None:
    """To tables that lie by date, with a column less, or of another type: told what to do, every file as it was."""
    (tmp_path / "levels" / "date=2026-03-01").mkdir(parents=True)
    rows = pd.DataFrame({"pump_id": ["p1"], "event": hour(1), "created": hour(1), "level": [1.0]})
    rows.to_parquet(tmp_path / "levels" / "date=2026-03-01" / "part.parquet")
    store = opened(tmp_path)
    levels = view("levels", f"{tmp_path}/levels/{place}", {"level": Float64})
    store.apply([pump, levels])
    before = {path: path.read_bytes() for path in (tmp_path / "levels").rglob("*.parquet")}
    with pytest.raises(FeatureError, match=f"(?is){message}"):
        AsOfOfflineStore.offline_write_batch(store.config, levels, pa.Table.from_pandas(change(rows)), None)
    assert {path: path.read_bytes() for path in (tmp_path / "levels").rglob("*.parquet")} == before


def test_features_are_inferred_from_a_folder_of_dates(tmp_path: Path, levels: pd.DataFrame) -> None:
    """A view that declares no schema gets the columns of the files, also where they lie by date."""
    (tmp_path / "levels" / "date=2026-03-01").mkdir(parents=True)
    levels.to_parquet(tmp_path / "levels" / "date=2026-03-01" / "part.parquet")
    source = FileSource(name="s", path=f"{tmp_path}/levels/date=*/part.parquet", timestamp_field="event")
    store = opened(tmp_path)
    store.apply([pump, FeatureView(name="inferred", entities=[pump], source=source)])
    assert {field.name for field in store.get_feature_view("inferred").features} >= {"level"}


def test_only_the_days_that_can_matter_are_read(tmp_path: Path, levels: pd.DataFrame) -> None:
    """A broken file of another month disturbs nobody, one of the same day everybody, and its name is told."""
    for day in ("2026-01-01", "2026-03-01"):
        (tmp_path / f"date={day}").mkdir()
        levels.to_parquet(tmp_path / f"date={day}" / "part.parquet")
    whole = (tmp_path / "date=2026-01-01" / "part.parquet").read_bytes()
    (tmp_path / "date=2026-01-01" / "part.parquet").write_bytes(whole[: len(whole) // 2])
    store = opened(tmp_path)
    store.apply([pump, view("levels", "date=*/part.parquet", {"level": Float64}, ttl=timedelta(hours=6))])
    rows = pd.DataFrame({"pump_id": "p1", "event_timestamp": hour(7)})
    assert store.get_historical_features(rows, ["levels:level"]).to_df()["level"].tolist() == [6.0]
    rows["event_timestamp"] = pd.DatetimeIndex(["2026-01-02"]).tz_localize("UTC")
    with pytest.raises(StorageError, match=r"date=2026-01-01/part\.parquet.*half written"):
        store.get_historical_features(rows, ["levels:level"]).to_df()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda rows: rows.rename(columns={"pump_id": "pump"}),
            "'pump_id' is missing from the rows to join.*did you mean",
        ),
        (lambda rows: rows.assign(level=1.0), "already have level"),
        (lambda rows: rows.drop(columns="event_timestamp"), "no column 'event_timestamp'"),
        (lambda rows: rows.assign(pump_id=1), "Join key 'pump_id' of view 'levels' is int64 .* VARCHAR"),
        (
            lambda rows: rows.assign(event_timestamp=["2026-03-01T00:00+01:00", *["2026-03-01"] * 4]),
            "mixes times: 4 of 5 have no zone",
        ),
        (lambda rows: rows.assign(event_timestamp="noon"), "event_timestamp of the rows to join: .*noon"),
        (lambda _: "select 1 as pump_id from nowhere", "nowhere"),
        (lambda _: [1], "are list, expected"),
    ],
)
def test_rows_that_cannot_be_joined_are_refused(
    tmp_path: Path, levels: pd.DataFrame, rows: pd.DataFrame, change: Any, message: str
) -> None:
    """A key or time that is missing, taken, mixed or of another type: refused with what to do."""
    store = opened(tmp_path)
    store.apply([pump, LEVELS])
    with pytest.raises(FeatureError, match=f"(?is){message}"):
        store.get_historical_features(change(rows), ["levels:level"]).to_df()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.rename(columns={"event": "evnt"}), "no column 'event'.*did you mean 'evnt'"),
        (lambda frame: frame.assign(event=frame["event"].astype(str)), "'event'.* holds VARCHAR, expected timestamps"),
        (lambda frame: frame.rename(columns={"pump_id": "pump"}), "no column 'pump_id', which is a join key"),
        (lambda frame: frame.rename(columns={"level": "levels"}), "no column 'level'.*did you mean 'levels'"),
    ],
)
def test_sources_that_do_not_fit_their_view_are_refused(
    tmp_path: Path, levels: pd.DataFrame, rows: pd.DataFrame, change: Any, message: str
) -> None:
    """A view without timestamps, with text for times, without its key or a feature: told by column and source."""
    store = opened(tmp_path)
    store.apply([pump, LEVELS])
    change(levels).to_parquet(tmp_path / "levels.parquet")
    with pytest.raises(FeatureError, match=f"(?is){message}"):
        store.get_historical_features(rows, ["levels:level"]).to_df()


def test_a_source_that_does_not_say_when_is_refused(tmp_path: Path) -> None:
    """Without a column of times nobody can tell past from future: which source of which view, and what to declare."""
    timeless = view("timeless", "levels.parquet", {"level": Float64}, event="", created="")
    with pytest.raises(FeatureError, match=r"'timeless_source' of view 'timeless' does not say when.*timestamp_field"):
        questions([timeless], ["timeless:level"], full_names=False)


def test_a_source_without_files_holds_nothing_yet(tmp_path: Path, rows: pd.DataFrame) -> None:
    """A repository applies before the first delivery; a join says what is missing and where."""
    store = opened(tmp_path)
    store.apply([pump, LEVELS])
    with pytest.raises(NoDataError, match=r"'levels_source' holds no rows yet: no Parquet file at levels\.parquet"):
        store.get_historical_features(rows, ["levels:level"]).to_df()


@pytest.mark.parametrize(
    "settings", [{"memory_limit": "much"}, {"memory_limit": "1MB"}, {"threads": 0}, {"known_at": "never"}, {"x": 1}]
)
def test_settings_out_of_bounds_are_refused(tmp_path: Path, settings: dict[str, Any]) -> None:
    """No memory, no thread, an unknown policy or key: the configuration is not accepted."""
    with pytest.raises(ValueError, match=next(iter(settings))):
        _ = opened(tmp_path, **settings).config.offline_store

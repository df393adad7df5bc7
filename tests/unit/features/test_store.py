"""The feature store on the embedded parts: Feast with DuckDB, SQLite and an SQL registry, in a temporary folder."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlops.config import MLOpsConfig
from mlops.errors import FeatureError, NoDataError, StorageError
from mlops.features.engineering import engineer
from mlops.features.store import FeatureStore
from mlops.storage import Storage

HOME = Path(__file__).parents[3]
DAY = date(2026, 3, 1)
SERVICE = "pumps_v1"

REPOSITORY = """
from datetime import timedelta
from feast import Entity, FeatureService, ValueType
from mlops.features.engineering import Recipe
from mlops.features.views import telemetry_view

pump = Entity(name="pump", join_keys=["pump_id"], value_type=ValueType.STRING)
levels = telemetry_view(
    name="levels", entity=pump, dataset="pumps", recipe=Recipe(("z", "level", "a"), ("1h",), ("value", "mean")),
    ttl=timedelta(hours=6),
)
site = telemetry_view(name="site", entity=pump, dataset="sites", recipe=Recipe(("height",)), ttl=timedelta(3))
service = FeatureService(name="pumps_v1", features=[levels])
both = FeatureService(name="both_v1", features=[site, levels[["level", "a"]]])
again = telemetry_view(name="again", entity=pump, dataset="pumps", recipe=Recipe(("level",)), ttl=timedelta(0))
forever = FeatureService(name="forever_v1", features=[again])
clash = FeatureService(name="clash_v1", features=[levels, again])
alias = FeatureService(name="alias_v1", features=[levels.with_name("other")])
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose repository declares two views over pumps."""
    home = tmp_path_factory.mktemp("home")
    repo = home / "feature_repo"
    repo.mkdir()
    (repo / "pumps.py").write_text(REPOSITORY)
    shutil.copy(HOME / "feature_repo" / "feature_store.yaml", repo)
    return home


@pytest.fixture(scope="module")
def opened(home: Path, tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    """An installation with the repository applied, once: an apply costs a second."""
    opened = reopened(home, tmp_path_factory.mktemp("installation"))
    assert opened.apply() is True
    return opened


@pytest.fixture
def store(opened: FeatureStore) -> FeatureStore:
    """The installation without any features."""
    opened.storage.delete(opened.storage.uri("features"))
    with contextlib.closing(sqlite3.connect(opened.config.state_dir / "feast" / "online.db")) as connection, connection:
        tables = connection.execute("select name from sqlite_master where type = 'table'").fetchall()
        for (table,) in tables:
            connection.execute(f'delete from "{table}"')
    return opened


@pytest.fixture
def fresh(home: Path, tmp_path: Path) -> FeatureStore:
    """An installation of its own in `tmp_path`, for tests that break it."""
    opened = reopened(home, tmp_path)
    opened.apply()
    return opened


def reopened(home: Path, folder: Path) -> FeatureStore:
    """The installation as another process would open it."""
    config = MLOpsConfig.build({"home": home, "var": folder / "var"})
    return FeatureStore.open(config, Storage(config.var))


def at(hour: float, day: date = DAY) -> pd.Timestamp:
    """A moment of a day."""
    return pd.Timestamp(day, tz="UTC") + pd.Timedelta(hours=hour)


def batch(*rows: tuple[str, pd.Timestamp, pd.Timestamp, float]) -> pd.DataFrame:
    """Features of the view `levels`: pump, event, known, level."""
    frame = pd.DataFrame(rows, columns=["pump_id", "event_timestamp", "created_timestamp", "level"])
    others = dict.fromkeys(["z", "a", "z_mean_1h", "level_mean_1h", "a_mean_1h"], 0.5)
    return frame.astype({"event_timestamp": "datetime64[us, UTC]", "created_timestamp": "datetime64[us, UTC]"}).assign(
        **others
    )


def asked(*rows: tuple[str, pd.Timestamp]) -> pd.DataFrame:
    """Rows to join."""
    frame = pd.DataFrame(rows, columns=["pump_id", "event_timestamp"])
    return frame.astype({"event_timestamp": "datetime64[us, UTC]"})


def bounds(first: date, days: int = 1) -> tuple[datetime, datetime]:
    """The interval of some delivery dates."""
    start = datetime(first.year, first.month, first.day, tzinfo=UTC)
    return start, start + timedelta(days=days)


# --- registry ---------------------------------------------------------------------------------------------------------


def test_a_second_apply_does_nothing(fresh: FeatureStore, home: Path, tmp_path: Path) -> None:
    """What is registered is not registered again, in this process or in the next."""
    assert fresh.apply() is False
    assert reopened(home, tmp_path).apply() is False


def test_a_changed_repository_is_applied_again(home: Path, tmp_path: Path) -> None:
    """A new statistic in a recipe reaches the registry with the next apply, and a running process sees it."""
    copy = shutil.copytree(home, tmp_path / "home")
    opened = reopened(copy, tmp_path)
    assert opened.apply() is True
    assert "level_std_1h" not in opened.features_of(SERVICE)
    changed = REPOSITORY.replace('("value", "mean")', '("value", "mean", "std")')
    (copy / "feature_repo" / "pumps.py").write_text(changed)
    assert opened.apply() is True
    assert "level_std_1h" in opened.features_of(SERVICE)


@pytest.mark.parametrize("lost", ["registry.db", "online.db"])
def test_a_lost_registry_or_online_store_is_made_anew(
    fresh: FeatureStore, home: Path, tmp_path: Path, lost: str
) -> None:
    """The record of an apply goes with what it made: deleting either file brings the next apply back to work."""
    fresh.write_batch("levels", DAY, batch(("p1", at(1), at(1), 1.0)))
    (tmp_path / "var" / "feast" / lost).unlink()
    again = reopened(home, tmp_path)
    assert again.apply() is True
    assert again.materialize(SERVICE, *bounds(DAY)) == 1
    assert again.online(SERVICE, ["p1"], stale="allow")["level"].tolist() == [1.0]


def test_the_views_of_a_service_say_how_they_are_made(store: FeatureStore) -> None:
    """Data set, recipe, key, lookback and time to live come back from the registry as they were declared."""
    (view,) = store.views_of(SERVICE)
    assert (view.name, view.dataset, view.entity) == ("levels", "pumps", "pump_id")
    assert (view.lookback, view.ttl) == (timedelta(hours=1), timedelta(hours=6))
    assert view.recipe is not None
    assert view.recipe.feature_names == view.features


def test_features_keep_the_order_declared(store: FeatureStore) -> None:
    """Order is that of the declaration, not of the alphabet, and the times of readings are not features."""
    expected = ("z", "z_mean_1h", "level", "level_mean_1h", "a", "a_mean_1h")
    assert store.features_of(SERVICE) == expected
    assert store.features_of("both_v1") == ("height", "level", "a")


def test_an_unknown_service_gets_the_name_that_was_meant(store: FeatureStore) -> None:
    """A mistyped service or view is answered with the one there is."""
    with pytest.raises(FeatureError, match="Did you mean 'pumps_v1'"):
        store.features_of("pump_v1")
    with pytest.raises(FeatureError, match="Did you mean 'levels'"):
        store.write_batch("level", DAY, batch())


def test_a_service_with_one_name_twice_is_refused(store: FeatureStore) -> None:
    """Two views that give one feature name cannot be told apart in a training set."""
    with pytest.raises(FeatureError, match="has level from more than one view"):
        store.views_of("clash_v1")


def test_a_renamed_view_is_refused(store: FeatureStore) -> None:
    """Feast cannot resolve an alias by reference; better refused here than half understood."""
    with pytest.raises(FeatureError, match=r"under another name .* one view per use"):
        store.views_of("alias_v1")


# --- batches ----------------------------------------------------------------------------------------------------------


def test_a_batch_that_lacks_a_feature_is_refused(store: FeatureStore) -> None:
    """A batch made with another recipe than the registered one is refused with what is missing."""
    with pytest.raises(FeatureError, match=r"lacks z_mean_1h\."):
        store.write_batch("levels", DAY, batch(("p1", at(1), at(1), 1.0)).drop(columns="z_mean_1h"))


def test_a_batch_with_a_reading_twice_is_refused(store: FeatureStore) -> None:
    """Two rows of one entity, event time and known time leave open which one would join."""
    twice = batch(("p1", at(1), at(1), 1.0), ("p1", at(1), at(1), 2.0))
    with pytest.raises(FeatureError, match="holds 1 readings twice"):
        store.write_batch("levels", DAY, twice)


def test_keys_of_another_type_than_declared_are_refused(store: FeatureStore) -> None:
    """A view about text and a delivery with numbers: both are named, and the two ways out."""
    numbers = batch(("p1", at(1), at(1), 1.0)).assign(pump_id=17)
    with pytest.raises(
        FeatureError, match=r"declares pump_id as STRING, the data has 17 \(int64\)\. .*ValueType\.INT64"
    ):
        store.write_batch("levels", DAY, numbers)


def test_a_batch_written_again_replaces_the_first(store: FeatureStore) -> None:
    """Re-running a date leaves one table for it, with equal content for equal input."""
    rows = batch(("p1", at(1), at(1), 1.0))
    uri, first = store.write_batch("levels", DAY, rows)
    assert store.write_batch("levels", DAY, rows) == (uri, first)
    store.write_batch("levels", DAY, batch(("p1", at(1), at(1), 7.0)))
    assert store.historical(SERVICE, asked(("p1", at(2))))["level"].tolist() == [7.0]


# --- the join ---------------------------------------------------------------------------------------------------------


def test_rows_come_out_as_many_and_in_the_order_they_went_in(store: FeatureStore) -> None:
    """Equal keys with different extras, unknown entities, no order, an odd index: all rows come out, in place."""
    store.write_batch("levels", DAY, batch(("p1", at(1), at(1), 1.0), ("p2", at(1), at(1), 2.0)))
    rows = asked(("p2", at(3)), ("p1", at(3)), ("p1", at(3)), ("nobody", at(3)), ("p1", at(0)))
    rows = rows.assign(label=[1, 0, 1, 0, 1]).set_index(pd.Index([9, 9, 3, 1, 0]))
    found = store.historical(SERVICE, rows)
    pd.testing.assert_frame_equal(found[rows.columns], rows.reset_index(drop=True))
    np.testing.assert_array_equal(found["level"], [2.0, 1.0, 1.0, np.nan, np.nan])


def test_only_what_was_known_then_joins(store: FeatureStore) -> None:
    """A reading counts from the moment it is known: not while under way, and corrections not before their time."""
    store.write_batch(
        "levels",
        DAY,
        batch(
            ("p1", at(1), at(1), 1.0),
            ("p1", at(2), at(5), 2.0),  # under way for three hours
            ("p1", at(1), at(4), 1.5),  # the first one, corrected
        ),
    )
    found = store.historical(SERVICE, asked(*[("p1", at(hour)) for hour in (3, 4, 4.9, 5)]))
    assert found["level"].tolist() == [1.0, 1.5, 1.5, 2.0]
    assert (found["feature_timestamp"] == [at(1), at(1), at(1), at(2)]).all()
    assert (found["feature_known_at"] == [at(1), at(4), at(4), at(5)]).all()


def test_features_older_than_their_time_to_live_do_not_join(store: FeatureStore) -> None:
    """Six hours old still counts, a microsecond more does not."""
    store.write_batch("levels", DAY, batch(("p1", at(1), at(1), 1.0)))
    rows = asked(("p1", at(7)), ("p1", at(7) + pd.Timedelta(microseconds=1)))
    found = store.historical(SERVICE, rows)
    np.testing.assert_array_equal(found["level"], [1.0, np.nan])
    assert found["feature_timestamp"].isna().tolist() == [False, True]


def test_views_of_different_age_join_side_by_side(store: FeatureStore) -> None:
    """Each view joins by its own times; the newest reading is the one reported."""
    site = pd.DataFrame(
        {"pump_id": ["p1"], "event_timestamp": [at(-48)], "created_timestamp": [at(-48)], "height": 3.0}
    )
    store.write_batch("site", DAY - timedelta(days=2), site)
    store.write_batch("levels", DAY, batch(("p1", at(1), at(1), 1.0)))
    found = store.historical("both_v1", asked(("p1", at(2)), ("p1", at(0))))
    np.testing.assert_array_equal(found[["height", "level"]], [[3.0, 1.0], [3.0, np.nan]])
    assert (found["feature_timestamp"] == [at(1), at(-48)]).all()


def test_features_with_a_time_to_live_of_zero_never_expire(store: FeatureStore) -> None:
    """Zero means for ever: a reading of last year joins, offline and online."""
    old = DAY - timedelta(days=300)
    store.write_batch("again", old, batch(("p1", at(1, old), at(1, old), 1.0)))
    store.materialize("forever_v1", *bounds(old))
    assert store.historical("forever_v1", asked(("p1", at(1))))["level"].tolist() == [1.0]
    assert store.online("forever_v1", ["p1"], as_of=at(1).to_pydatetime())["level"].tolist() == [1.0]


@st.composite
def histories(draw: st.DrawFn) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Readings of two pumps with ties, delays and corrections, and rows to join to them."""
    reading = st.tuples(st.sampled_from(["p1", "p2"]), st.integers(0, 20), st.sampled_from([0, 0, 1, 5]))
    readings = draw(st.lists(reading, min_size=1, max_size=25, unique=True))
    rows = draw(st.lists(st.tuples(st.sampled_from(["p1", "p2", "p3"]), st.integers(0, 26)), min_size=1, max_size=15))
    known = batch(*[(p, at(t / 2), at((t + d) / 2), float(i)) for i, (p, t, d) in enumerate(readings)])
    return known, asked(*[(p, at(t / 2)) for p, t in rows])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(histories())
def test_the_join_is_what_a_loop_over_the_history_gives(
    store: FeatureStore, drawn: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    """On any history, each row gets the latest reading that had happened, was known and had not expired."""
    known, rows = drawn
    store.write_batch("levels", DAY, known)
    expected = []
    for row in rows.itertuples():
        now = row.event_timestamp
        seen = known[(known["pump_id"] == row.pump_id) & (known["created_timestamp"] <= now)]
        seen = seen[(seen["event_timestamp"] <= now) & (seen["event_timestamp"] >= now - pd.Timedelta(hours=6))]
        last = seen.sort_values(["event_timestamp", "created_timestamp"]).tail(1)["level"]
        expected.append(last.iloc[0] if len(last) else np.nan)
    np.testing.assert_array_equal(store.historical(SERVICE, rows)["level"], expected)


def test_a_join_that_loses_rows_is_refused(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """An offline store that drops or doubles rows is caught, and the error counts both."""
    store.write_batch("levels", DAY, batch(("p1", at(1), at(1), 1.0)))
    honest = store._join
    faults: list[Callable[[pd.DataFrame], pd.DataFrame]] = [
        lambda found: found.iloc[1:],
        lambda found: pd.concat([found.iloc[:1], found.iloc[:2]]),
    ]
    for fault, message in zip(faults, ["1 were lost and 0 doubled", "1 were lost and 1 doubled"], strict=True):
        monkeypatch.setattr(store, "_join", lambda *given, fault=fault: fault(honest(*given)))
        with pytest.raises(FeatureError, match=message):
            store.historical(SERVICE, asked(("p1", at(2)), ("p1", at(3)), ("p1", at(4))))


def test_features_of_another_recipe_do_not_join(home: Path, tmp_path: Path) -> None:
    """After a recipe has changed, a join over dates made before is refused with their number, until they are redone."""
    copy = shutil.copytree(home, tmp_path / "home")
    opened = reopened(copy, tmp_path)
    opened.apply()
    days = [DAY + timedelta(days=number) for number in range(3)]
    for day in days:
        opened.write_batch("levels", day, batch(("p1", at(1, day), at(1, day), 1.0)))
    changed = REPOSITORY.replace('("value", "mean")', '("value", "mean", "max")')
    (copy / "feature_repo" / "pumps.py").write_text(changed)
    opened.apply()
    new = dict.fromkeys([f"{column}_max_1h" for column in ("z", "level", "a")], 9.0)
    opened.write_batch("levels", days[2], batch(("p1", at(1, days[2]), at(1, days[2]), 2.0)).assign(**new))
    assert opened.materialize(SERVICE, *bounds(days[2])) == 1
    assert opened.online(SERVICE, ["p1"], stale="allow")["level_max_1h"].tolist() == [9.0]
    assert opened.historical(SERVICE, asked(("p1", at(8, days[2]))))["level_max_1h"].isna().all()  # expired
    rows = asked(("p1", at(7, days[2])))
    assert opened.historical(SERVICE, rows)["level_max_1h"].tolist() == [9.0]
    with pytest.raises(FeatureError, match=r"2 of 3 dates of view 'levels' \(2026-03-01 … 2026-03-02\)"):
        opened.historical(SERVICE, asked(*[("p1", at(2, day)) for day in days]))
    for day in days[:2]:
        opened.write_batch("levels", day, batch(("p1", at(1, day), at(1, day), 1.0)).assign(**new))
    found = opened.historical(SERVICE, asked(*[("p1", at(2, day)) for day in days]))
    assert found["level"].tolist() == [1.0, 1.0, 2.0]


def test_a_store_without_features_says_so(store: FeatureStore) -> None:
    """Before the first batch the join says which view is empty and which step fills it."""
    with pytest.raises(NoDataError, match=r"'levels' holds no features yet\. Run the features step"):
        store.historical(SERVICE, asked(("p1", at(1))))


def test_joining_no_rows_gives_no_rows(store: FeatureStore) -> None:
    """An empty question has an empty answer with all columns."""
    store.write_batch("levels", DAY, batch(("p1", at(1), at(1), 1.0)))
    found = store.historical(SERVICE, asked())
    assert found.empty
    assert set(store.features_of(SERVICE)) < set(found.columns)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.rename(columns={"pump_id": "pump"}), "Did you mean 'pump_id'|'pump_id' is missing"),
        (lambda rows: rows.assign(level=1.0), "already have level"),
        (lambda rows: rows.assign(event_timestamp=rows["event_timestamp"].dt.tz_localize(None)), "zoned time"),
        (lambda rows: rows.assign(event_timestamp=rows["event_timestamp"].where(rows["pump_id"] == "x")), "1 nulls"),
    ],
)
def test_rows_that_cannot_be_joined_are_refused(store: FeatureStore, change: Any, message: str) -> None:
    """No key, a column with a feature's name, a time without zone or no time at all: refused with what to do."""
    with pytest.raises(FeatureError, match=message):
        store.historical(SERVICE, change(asked(("p1", at(1)))))


@pytest.mark.parametrize(
    ("happened", "known", "message"),
    [
        (25, 25, "1 of 2 readings for view 'levels' happened after 2026-03-0"),
        (23, 25, "1 of 2 readings for view 'levels' became known after 2026-03-0"),
        (-3, -2, "1 of 2 readings for view 'levels' were known before 2026-03-0"),
    ],
)
def test_readings_of_another_day_are_not_written(
    store: FeatureStore, happened: float, known: float, message: str
) -> None:
    """A join would not look for them there: from the future or known before, refused, and nothing is written."""
    with pytest.raises(FeatureError, match=message):
        store.write_batch("levels", DAY, batch(("p1", at(1), at(1), 1.0), ("p1", at(happened), at(known), 2.0)))
    assert store.newest_day(store.views_of(SERVICE)[0]) is None
    store.write_batch("levels", DAY, batch(("p1", at(-30), at(0), 1.0), ("p1", at(23.999), at(23.999), 2.0)))


def test_rows_in_the_future_are_not_joined(store: FeatureStore) -> None:
    """What will be known then is not known yet; the end of the running day may be asked for."""
    store.write_batch("levels", DAY, batch(("p1", at(1), at(1), 1.0)))
    now = pd.Timestamp.now("UTC")
    far = asked(("p1", at(2)), ("p1", now + pd.Timedelta(days=1, minutes=1)))
    with pytest.raises(FeatureError, match=r"1 of 2 rows to join lie in the future, the farthest at .*; it is "):
        store.historical(SERVICE, far)
    near = store.historical(SERVICE, asked(("p1", at(2)), ("p1", now + pd.Timedelta(hours=23))))
    assert near["level"].iloc[0] == 1.0


# --- online -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def three_days(store: FeatureStore) -> FeatureStore:
    """Three delivered days of two pumps; p2 is silent on the last one but for a late reading of the day before."""
    for number in range(3):
        day = DAY + timedelta(days=number)
        rows = [("p1", at(h, day), at(h, day), 10.0 * number + h) for h in (1, 2)]
        if number < 2:
            rows.append(("p2", at(1, day), at(1, day), 100.0 + number))
        else:
            rows.append(("p2", at(-1, day), at(3, day), 150.0))
        store.write_batch("levels", day, batch(*rows))
    return store


def test_the_online_store_holds_the_newest_reading_of_each_entity(three_days: FeatureStore) -> None:
    """Night by night, also for an entity of which only a late reading came; unknown entities have nothing."""
    for number in range(3):
        assert three_days.materialize(SERVICE, *bounds(DAY + timedelta(days=number))) == 2
    found = three_days.online(SERVICE, ["p2", "nobody", "p1"], stale="allow")
    np.testing.assert_array_equal(found["level"], [150.0, np.nan, 22.0])
    assert found["pump_id"].tolist() == ["p2", "nobody", "p1"]
    assert found["feature_timestamp"].iloc[2] == at(2, DAY + timedelta(days=2))
    assert found["feature_timestamp"].isna().tolist() == [False, True, False]


def test_an_old_date_done_again_does_not_bring_old_values_back(three_days: FeatureStore) -> None:
    """The stock SQLite store keeps what is written last; a redone date must still leave the newest reading."""
    three_days.materialize(SERVICE, *bounds(DAY, days=3))
    before = three_days.online(SERVICE, ["p1", "p2"], stale="allow")
    three_days.materialize(SERVICE, *bounds(DAY))
    pd.testing.assert_frame_equal(three_days.online(SERVICE, ["p1", "p2"], stale="allow"), before)


def test_dates_done_out_of_order_end_in_the_same_state(three_days: FeatureStore) -> None:
    """A backfill from the newest to the oldest date ends like one from the oldest to the newest."""
    for number in (2, 0, 1):
        three_days.materialize(SERVICE, *bounds(DAY + timedelta(days=number)))
    assert three_days.online(SERVICE, ["p1", "p2"], stale="allow")["level"].tolist() == [22.0, 150.0]


def test_a_redone_date_replaces_the_values_of_the_same_reading(three_days: FeatureStore) -> None:
    """Features computed anew for the newest reading reach the online store although its time is the same."""
    last = DAY + timedelta(days=2)
    three_days.materialize(SERVICE, *bounds(DAY, days=3))
    three_days.write_batch("levels", last, batch(("p1", at(2, last), at(2, last), -1.0)))
    three_days.materialize(SERVICE, *bounds(last))
    assert three_days.online(SERVICE, ["p1"], stale="allow")["level"].tolist() == [-1.0]


def test_of_two_versions_of_a_reading_the_one_known_later_is_online(store: FeatureStore) -> None:
    """A correction wins over the reading it corrects, as it does offline."""
    store.write_batch("levels", DAY, batch(("p1", at(1), at(3), 2.0), ("p1", at(1), at(1), 1.0)))
    store.materialize(SERVICE, *bounds(DAY))
    assert store.online(SERVICE, ["p1"], stale="allow")["level"].tolist() == [2.0]


def test_a_date_without_features_materialises_what_is_due_and_then_nothing(three_days: FeatureStore) -> None:
    """No delivery in the interval is no error: what was due before is brought in, and after that 0 rows."""
    assert three_days.materialize(SERVICE, *bounds(date(2026, 4, 1))) == 2
    assert three_days.online(SERVICE, ["p1", "p2"], stale="allow")["level"].tolist() == [22.0, 150.0]
    assert three_days.materialize(SERVICE, *bounds(date(2026, 4, 1))) == 0


def test_online_features_expire_as_they_do_offline(three_days: FeatureStore) -> None:
    """Asked as of a moment, features beyond their time to live are missing; asked plainly, they come with their age."""
    three_days.materialize(SERVICE, *bounds(DAY, days=3))
    now = at(8, DAY + timedelta(days=2))
    found = three_days.online(SERVICE, ["p1", "p2"], as_of=now.to_pydatetime())
    offline = three_days.historical(SERVICE, asked(("p1", now), ("p2", now)))
    np.testing.assert_array_equal(found["level"], offline["level"])
    np.testing.assert_array_equal(found["level"], [22.0, np.nan])
    assert three_days.online(SERVICE, ["p2"], stale="allow")["level"].tolist() == [150.0]


def test_online_values_are_the_offline_values_to_the_last_bit(store: FeatureStore) -> None:
    """Engineered features of a random night: every value of every pump is the same float on both sides."""
    rng = np.random.default_rng(3)
    (view,) = store.views_of(SERVICE)
    assert view.recipe is not None
    times = np.tile(pd.date_range(at(0), at(23), freq="10min"), 3)
    rows = pd.DataFrame({"pump_id": np.repeat(["p1", "p2", "p3"], len(times) // 3), "at": times})
    rows["arrived"] = rows["at"] + pd.to_timedelta(rng.integers(0, 3600 * 10**6, len(rows)), unit="us")
    rows[["z", "level", "a"]] = rng.normal(size=(len(rows), 3))
    frame = engineer(rows, view.recipe, entity="pump_id", event="at", known_at="arrived")
    store.write_batch("levels", DAY, frame)
    store.materialize(SERVICE, *bounds(DAY))
    keys = ["p1", "p2", "p3"]
    offline = store.historical(SERVICE, asked(*[(key, at(24)) for key in keys]))
    online = store.online(SERVICE, keys, as_of=at(24).to_pydatetime())
    pd.testing.assert_frame_equal(online, offline.drop(columns="event_timestamp"), check_exact=True)
    assert online.notna().all(axis=None)


def test_an_online_store_that_was_never_filled_says_so(fresh: FeatureStore, tmp_path: Path) -> None:
    """A broken online store is an error with the next step in it, never an empty answer."""
    with contextlib.closing(sqlite3.connect(tmp_path / "var" / "feast" / "online.db")) as connection, connection:
        connection.execute("drop table mlops_levels")
    with pytest.raises(FeatureError, match=r"does not answer .* Run the features step"):
        fresh.online(SERVICE, ["p1"], stale="allow")


def test_a_state_folder_that_cannot_be_made_says_so(home: Path, tmp_path: Path) -> None:
    """Where the state folder cannot be, the error names it."""
    (tmp_path / "var").write_text("in the way")
    with pytest.raises(StorageError, match="cannot be written"):
        reopened(home, tmp_path).apply()


def test_times_without_zone_are_refused(three_days: FeatureStore) -> None:
    """An interval without zone is refused instead of being taken for local time."""
    with pytest.raises(FeatureError, match="has no time zone"):
        three_days.materialize(SERVICE, datetime(2026, 3, 1), datetime(2026, 3, 2))  # noqa: DTZ001 - the fault under test

"""What the online store promises, whichever it is: the same tests on SQLite and on Redis."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import redis
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mlops.config import MLOpsConfig
from mlops.errors import ConfigError, FeatureError
from mlops.features.definitions import read_view
from mlops.features.online import encoding
from mlops.features.store import FeatureStore
from mlops.storage import Storage

REDIS_DATABASE = 12  # no other test uses it; every test has a project of its own in it, by which its keys end
DAY = date(2026, 3, 1)
SERVICE = "pumps_v1"
REPOSITORY = """
from datetime import timedelta
from feast import Entity, FeatureService, ValueType
from mlops.features.engineering import Recipe
from mlops.features.views import telemetry_view

pump = Entity(name="pump", join_keys=["pump_id"], value_type=ValueType.STRING)
levels = telemetry_view(
    name="levels", entity=pump, dataset="pumps", recipe=Recipe(("level", "flow")), ttl=timedelta(hours=6)
)
site = telemetry_view(name="site", entity=pump, dataset="sites", recipe=Recipe(("height",)), ttl=timedelta(0))
service = FeatureService(name="pumps_v1", features=[levels])
both = FeatureService(name="both_v1", features=[levels, site])
"""


@pytest.fixture(params=["sqlite", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FeatureStore]:
    """An installation with the repository applied, on one of the two stores."""
    online = {
        "type": "mlops.features.online.sqlite.GuardedSqliteOnlineStore",
        "path": "${MLOPS_STATE_DIR}/feast/online.db",
    }
    client = None
    if request.param == "redis":
        host, port = request.getfixturevalue("redis_server").split(":")
        client = redis.Redis(host=host, port=int(port), db=REDIS_DATABASE)
        online = {
            "type": "mlops.features.online.redis.GuardedRedisOnlineStore",
            "connection_string": f"{host}:{port},db={REDIS_DATABASE}",
        }
    project = f"t{uuid.uuid4().hex}"
    opened = installed(tmp_path, online, project)
    opened.apply()
    yield opened
    if client:
        for key in client.scan_iter(f"*{project}*", count=1_000):
            client.delete(key)
        client.close()


def installed(folder: Path, online: dict[str, object], project: str = "mlops") -> FeatureStore:
    """An installation in a folder, with an online store as feature_store.yaml would say it."""
    repo = folder / "home" / "feature_repo"
    repo.mkdir(parents=True, exist_ok=True)
    (repo / "pumps.py").write_text(REPOSITORY)
    settings = {
        "project": project,
        "provider": "local",
        "registry": {"registry_type": "sql", "path": "sqlite:///${MLOPS_STATE_DIR}/feast/registry.db"},
        "offline_store": {"type": "mlops.features.asof.store.AsOfOfflineStore"},
        "online_store": online,
        "entity_key_serialization_version": 3,
    }
    (repo / "feature_store.yaml").write_text(yaml.safe_dump(settings))
    return reopened(folder)


def reopened(folder: Path) -> FeatureStore:
    """The installation as another process would open it."""
    config = MLOpsConfig.build({"home": folder / "home", "var": folder / "var"})
    return FeatureStore.open(config, Storage(config.var))


def at(hour: float, day: date = DAY) -> pd.Timestamp:
    """A moment of a day."""
    return pd.Timestamp(day, tz="UTC") + pd.Timedelta(hours=hour)


def readings(*rows: tuple[str, pd.Timestamp, pd.Timestamp, float]) -> pd.DataFrame:
    """Features of the view `levels`: pump, event, known, level; flow is always ten times the level."""
    frame = pd.DataFrame(rows, columns=["pump_id", "event_timestamp", "created_timestamp", "level"])
    times = ["event_timestamp", "created_timestamp"]
    return frame.astype(dict.fromkeys(times, "datetime64[us, UTC]")).assign(flow=10 * frame["level"])


def bounds(first: date, days: int = 1) -> tuple[datetime, datetime]:
    """The interval of some delivery dates."""
    start = datetime(first.year, first.month, first.day, tzinfo=UTC)
    return start, start + timedelta(days=days)


def held(store: FeatureStore, *pumps: str) -> list[float]:
    """The levels that the online store holds."""
    return list(store.online(SERVICE, pumps, stale="allow")["level"])


# --- the order of readings --------------------------------------------------------------------------------------------


def test_what_is_written_is_what_feast_reads(store: FeatureStore) -> None:
    """Values, nulls and times come out of Feast's own read path as they went in."""
    store.push("levels", readings(("p1", at(1), at(2), 0.1), ("p2", at(1), at(1), np.nan), ("", at(3), at(3), -0.0)))
    answer = store._feast.get_online_features(
        features=["levels:level", "levels:flow", "levels:feature_known_at"],
        entity_rows={"pump_id": ["p1", "p2", "", "nobody"]},
    ).to_dict(include_event_timestamps=True)
    assert answer["level"] == [0.1, None, -0.0, None]
    assert answer["feature_known_at"] == [at(2).value // 1000, at(1).value // 1000, at(3).value // 1000, None]
    assert answer["level__ts"][:3] == [int(at(hour).timestamp()) for hour in (1, 1, 3)]


def test_an_older_reading_never_replaces_a_newer_one(store: FeatureStore) -> None:
    """Pushed out of order, by a microsecond or within one push: the newest reading stays."""
    assert store.push("levels", readings(("p1", at(2), at(2), 2.0))) == 1
    older = at(2) - pd.Timedelta(microseconds=1)
    assert store.push("levels", readings(("p1", older, at(9), 1.0))) == 0
    assert store.push("levels", readings(("p1", at(4), at(4), 4.0), ("p1", at(3), at(3), 3.0))) == 1
    assert held(store, "p1") == [4.0]


def test_a_correction_with_an_equal_event_time_replaces_what_it_corrects(store: FeatureStore) -> None:
    """Of two versions of one reading the one known later stays, whichever comes first; the same again is written."""
    store.push("levels", readings(("p1", at(2), at(2), 1.0), ("p2", at(2), at(5), 5.0)))
    assert store.push("levels", readings(("p1", at(2), at(3), 2.0), ("p2", at(2), at(3), 3.0))) == 1
    assert held(store, "p1", "p2") == [2.0, 5.0]
    assert store.push("levels", readings(("p1", at(2), at(3), 2.5))) == 1
    assert held(store, "p1") == [2.5]


def test_the_guard_holds_for_writes_through_feast_itself(store: FeatureStore) -> None:
    """`write_to_online_store`, by which Feast pushes, and Feast's own materialise find the same guard."""
    store.push("levels", readings(("p1", at(5), at(5), 5.0)))
    clock = {"feature_timestamp": 0, "feature_known_at": 0}
    rows = readings(("p1", at(4), at(4), 4.0), ("p2", at(4), at(4), 4.0)).assign(**clock)
    store._feast.write_to_online_store("levels", rows)
    assert store._feast.get_online_features(features=["levels:level"], entity_rows={"pump_id": ["p1", "p2"]}).to_dict()[
        "level"
    ] == [5.0, 4.0]


def test_asking_for_nobody_gives_nobody(store: FeatureStore) -> None:
    """An empty question has an empty answer with all columns."""
    found = store.online(SERVICE, [], stale="mark")
    assert list(found) == ["pump_id", "level", "flow", "feature_timestamp", "feature_known_at", "feature_stale"]
    assert found.empty


def test_views_of_one_entity_do_not_touch_one_another(store: FeatureStore) -> None:
    """Each view has its own newest reading."""
    store.push("levels", readings(("p1", at(5), at(5), 5.0)))
    site = readings(("p1", at(1), at(1), 0.0)).drop(columns=["level", "flow"]).assign(height=3.0)
    assert store.push("site", site) == 1
    found = store.online("both_v1", ["p1"], stale="allow")
    assert found[["level", "height"]].to_numpy().tolist() == [[5.0, 3.0]]


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 4), st.integers(0, 4), st.integers(0, 99)), min_size=1, max_size=12
    ),
    st.integers(1, 4),
)
def test_of_rows_of_one_entity_the_newest_is_encoded(rows: list[tuple[int, int, int, int]], pieces: int) -> None:
    """On any rows, the one kept is the latest by event, of these by known time, of these the last."""
    keys, event, known, values = (np.array(column) for column in zip(*rows, strict=True))
    encoded = encoding.EncodedRows(
        pa.array([str(key).encode() for key in keys], pa.binary()),
        event,
        known,
        {"v": pa.array([str(value).encode() for value in values], pa.binary())},
        pa.array([b""] * len(rows), pa.binary()),
    ).slice(0, max(len(rows) // pieces, 1))
    kept = encoding.newest(encoded)
    expected = {}
    for key, happened, became_known, value in rows[: len(encoded)]:
        if key not in expected or (happened, became_known) >= expected[key][:2]:
            expected[key] = (happened, became_known, value)
    assert dict(zip(kept.keys.to_pylist(), kept.values["v"].to_pylist(), strict=True)) == {
        str(key).encode(): str(value[2]).encode() for key, value in expected.items()
    }


# --- the watermark ----------------------------------------------------------------------------------------------------


def deliver(store: FeatureStore, day: date, *rows: tuple[str, float, float]) -> None:
    """Store a delivery: pump, hour, level."""
    made = [(pump, at(hour, day), at(max(hour, 0), day), level) for pump, hour, level in rows]
    store.write_batch("levels", day, readings(*made))


def test_a_date_that_failed_is_redone_by_the_next_call(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was not brought in on its own date is brought in with the next one, and told from what is in."""
    for number in range(3):
        deliver(store, DAY + timedelta(days=number), (f"p{number}", 1, float(number)))
    store.materialize(SERVICE, *bounds(DAY))
    online = store._feast._get_provider().online_store
    with monkeypatch.context() as patch:
        patch.setattr(type(online), "write", lambda *_, **__: 1 / 0)
        with pytest.raises(FeatureError, match=r"could not be brought into the online store: ZeroDivision.* is due"):
            store.materialize(SERVICE, *bounds(DAY + timedelta(days=1)))
    assert held(store, "p1") != [1.0]
    assert store.materialize(SERVICE, *bounds(DAY + timedelta(days=2))) == 2
    assert held(store, "p0", "p1", "p2") == [0.0, 1.0, 2.0]


def test_late_and_redone_deliveries_reach_the_online_store(store: FeatureStore) -> None:
    """A delivery of an old date that comes late, and one that is written anew, are due whatever date is asked for."""
    days = [DAY + timedelta(days=number) for number in range(3)]
    deliver(store, days[0], ("p1", 1, 1.0), ("p2", 1, 1.0))
    deliver(store, days[2], ("p1", 1, 3.0))
    store.materialize(SERVICE, *bounds(DAY, 3))
    deliver(store, days[1], ("p2", 1, 2.0), ("p1", 1, 2.0))  # late
    deliver(store, days[2], ("p1", 1, 3.5))  # the same reading, made anew
    assert store.materialize(SERVICE, *bounds(DAY + timedelta(days=9))) == 2
    assert held(store, "p1", "p2") == [3.5, 2.0]


def test_a_reading_that_was_withdrawn_does_not_stay(store: FeatureStore) -> None:
    """A date delivered again without a reading: its entity falls back to the newest it has now, or to nothing."""
    last = DAY + timedelta(days=1)
    deliver(store, DAY, ("p1", 1, 1.0), ("p2", 1, 1.0))
    deliver(store, last, ("p1", 1, 666.0), ("p3", 1, 666.0), ("p2", 1, 2.0))
    store.materialize(SERVICE, *bounds(DAY, 2))
    deliver(store, last, ("p2", 1, 2.0))
    store.materialize(SERVICE, *bounds(last))
    found = store.online(SERVICE, ["p1", "p2", "p3"], stale="allow")
    np.testing.assert_array_equal(found["level"], [1.0, 2.0, np.nan])
    assert found["feature_timestamp"].isna().tolist() == [False, False, True]
    assert store.push("levels", readings(("p3", at(0), at(0), 7.0))) == 1  # nothing is left that could be newer


def test_a_registry_made_anew_does_not_reset_the_watermark(store: FeatureStore, tmp_path: Path) -> None:
    """Feast's registry is deleted and applied again: nothing is written a second time, and the values are there."""
    deliver(store, DAY, ("p1", 1, 1.0))
    store.materialize(SERVICE, *bounds(DAY))
    (tmp_path / "var" / "feast" / "registry.db").unlink()
    again = reopened(tmp_path)
    assert again.apply() is True
    assert again.materialize(SERVICE, *bounds(DAY + timedelta(days=1))) == 0
    assert held(again, "p1") == [1.0]


KILLED = """
    import os, signal, sys
    from pathlib import Path
    sys.path.insert(0, {tests!r})
    from tests.contracts.test_online_store_contract import DAY, bounds, reopened, SERVICE
    from mlops.features.online import newest
    newest._ROWS_PER_BATCH = 50
    store = reopened(Path({folder!r}))
    kind = type(store._feast._get_provider().online_store)
    write, calls = kind.write, []
    def dies(*given, **named):
        calls.append(write(*given, **named))
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
    kind.write = dies
    store.materialize(SERVICE, *bounds(DAY, 2))
"""


def test_a_killed_date_is_redone(store: FeatureStore, tmp_path: Path) -> None:
    """SIGKILL after some batches: the next call ends in the state of an undisturbed one; a third has nothing left."""
    count = 200
    old = DAY + timedelta(days=1)
    deliver(store, DAY, *[(f"p{i}", 1, float(i)) for i in range(count)])
    deliver(store, old, *[(f"p{i}", 1, 1000.0 + i) for i in range(count)])
    code = textwrap.dedent(KILLED).format(tests=str(Path(__file__).parents[2]), folder=str(tmp_path))
    died = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert died.returncode == -signal.SIGKILL, died.stderr
    pumps = [f"p{i}" for i in range(count)]
    some = np.isfinite(held(store, *pumps)).sum()
    assert 0 < some < count  # it was killed in the middle
    assert store.materialize(SERVICE, *bounds(DAY + timedelta(days=5))) == count
    assert held(store, *pumps) == [1000.0 + i for i in range(count)]
    assert store.materialize(SERVICE, *bounds(DAY + timedelta(days=5))) == 0


def test_serving_goes_on_while_dates_are_brought_in(store: FeatureStore) -> None:
    """A reader never waits for the writer's end, meets no error, and always sees one whole reading."""
    pumps = [f"p{i}" for i in range(3_000)]
    days = [DAY + timedelta(days=number) for number in range(4)]
    for number, day in enumerate(days):
        deliver(store, day, *[(pump, 1, number + 1.0) for pump in pumps])
    store.materialize(SERVICE, *bounds(days[0]))
    seen: set[float] = set()
    done = threading.Event()
    failed: list[BaseException] = []

    def serve() -> None:
        try:
            while not done.is_set() or not seen:
                found = store.online(SERVICE, ["p0", "p1500", "p2999"], stale="allow")
                np.testing.assert_array_equal(found["flow"], 10 * found["level"])
                seen.update(found["level"])
        except BaseException as error:  # noqa: BLE001 - told by the test
            failed.append(error)

    reader = threading.Thread(target=serve)
    reader.start()
    for day in days[1:]:
        store.materialize(SERVICE, *bounds(day))
    done.set()
    reader.join(30)
    assert not failed
    assert len(seen) >= 2  # it was served before and while, or while and after
    assert not any(np.isnan(list(seen)))


# --- old values, and what is refused ----------------------------------------------------------------------------------


def test_values_past_their_time_to_live_are_refused_or_marked(store: FeatureStore) -> None:
    """Six hours to live: at six hours fresh, a microsecond later refused, marked or let through, as asked."""
    store.push("levels", readings(("p1", at(1), at(1), 1.0), ("p2", at(3), at(3), 2.0)))
    fresh, late = at(7).to_pydatetime(), (at(7) + pd.Timedelta(microseconds=1)).to_pydatetime()
    assert store.online(SERVICE, ["p1", "p2"], as_of=fresh)["level"].tolist() == [1.0, 2.0]
    refused = store.online(SERVICE, ["p1", "p2"], as_of=late)
    np.testing.assert_array_equal(refused["level"], [np.nan, 2.0])
    assert refused["feature_timestamp"].isna().tolist() == [True, False]
    marked = store.online(SERVICE, ["p1", "p2", "nobody"], as_of=late, stale="mark")
    np.testing.assert_array_equal(marked["level"], [1.0, 2.0, np.nan])
    assert marked["feature_stale"].tolist() == [True, False, False]
    assert store.online(SERVICE, ["p1"], as_of=late, stale="allow")["level"].tolist() == [1.0]


def test_the_setting_decides_and_the_clock_is_the_default(store: FeatureStore, tmp_path: Path) -> None:
    """Asked plainly, a value of months ago is not handed out; with `stale_features: mark` it is, and marked."""
    store.push("levels", readings(("p1", at(1), at(1), 1.0)))
    assert store.online(SERVICE, ["p1"])["level"].isna().all()
    values = {"home": tmp_path / "home", "var": tmp_path / "var", "stale_features": "mark"}
    config = MLOpsConfig.build(values)
    marking = FeatureStore.open(config, Storage(config.var)).online(SERVICE, ["p1"])
    assert (marking["level"].tolist(), marking["feature_stale"].tolist()) == ([1.0], [True])


def test_a_reading_from_the_future_is_not_pushed(store: FeatureStore) -> None:
    """A sender whose clock is ahead would shut out all others until then: row, time and the present are told."""
    now = at(1).to_pydatetime()
    rows = readings(("p1", at(1.05), at(1.05), 1.0), ("p2", at(26), at(1), 2.0))
    with pytest.raises(FeatureError, match=r"1 of 2 rows .*'levels'.* in the future, first 2026-03-02 02:00.*'p2'"):
        store.push("levels", rows, now=now)
    assert np.isnan(held(store, "p1")).all()
    assert store.push("levels", rows.iloc[:1], now=now) == 1


def test_a_push_that_lacks_a_feature_is_refused(store: FeatureStore) -> None:
    """A pushed row is held to the view, like a batch."""
    with pytest.raises(FeatureError, match=r"lacks flow\."):
        store.push("levels", readings(("p1", at(1), at(1), 1.0)).drop(columns="flow"))


def test_a_view_that_is_gone_leaves_nothing_behind(store: FeatureStore) -> None:
    """Feast deletes a view: made again under its name, it starts empty and is brought in from the start."""
    deliver(store, DAY, ("p1", 1, 1.0))
    store.materialize(SERVICE, *bounds(DAY))
    feast = store._feast
    view = read_view(feast, "levels")
    services = [feast.get_feature_service(name) for name in (SERVICE, "both_v1")]
    feast.apply([view], objects_to_delete=[view, *services], partial=False)
    feast.apply([view, *services])
    assert np.isnan(held(store, "p1")).all()
    assert store.materialize(SERVICE, *bounds(DAY + timedelta(days=3))) == 1
    assert held(store, "p1") == [1.0]


def test_a_stock_store_is_refused_with_the_two_that_can(tmp_path: Path) -> None:
    """A store that can put older readings over newer ones is not written; the message names those that cannot."""
    stock = installed(tmp_path, {"type": "sqlite", "path": "${MLOPS_STATE_DIR}/feast/online.db"})
    stock.apply()
    with pytest.raises(ConfigError, match=r"type 'sqlite'.*GuardedSqliteOnlineStore.*GuardedRedisOnlineStore"):
        stock.push("levels", readings(("p1", at(1), at(1), 1.0)))
    shutil.rmtree(tmp_path / "var")

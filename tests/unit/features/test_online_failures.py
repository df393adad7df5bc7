"""An online store that is down or hangs, a registry that is locked: told soon, with what to do, and nothing lost."""

from __future__ import annotations

import contextlib
import socket
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from mlops.errors import FeatureError
from mlops.features.store import FeatureStore
from tests.contracts.test_online_store_contract import DAY, SERVICE, at, bounds, deliver, installed, readings, reopened

_ANSWER_SECONDS = 1.0  # what a call may take where nobody answers


@pytest.fixture(params=["closed", "silent"])
def dead_redis(request: pytest.FixtureRequest) -> Iterator[int]:
    """A port where nobody listens, and one where connections are taken and nothing is ever said."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if request.param == "silent":
            listener.listen(64)
        yield listener.getsockname()[1]


@pytest.fixture
def store(tmp_path: Path, dead_redis: int) -> FeatureStore:
    """An installation whose Redis is dead; its registry was applied while that was not asked."""
    online = {
        "type": "mlops.features.online.redis.GuardedRedisOnlineStore",
        "connection_string": f"127.0.0.1:{dead_redis},db=0",
        "write_timeout_seconds": 0.4,
    }
    opened = installed(tmp_path, online)
    opened.apply()
    return opened


def test_a_read_from_a_dead_redis_fails_within_a_second(store: FeatureStore) -> None:
    """redis-py alone would try again for 5 to 14 seconds; here every call ends soon and says what to do."""
    store.views_of(SERVICE)
    for _ in range(2):  # a pool that has met a dead server must not be slower
        started = time.perf_counter()
        with pytest.raises(FeatureError, match=r"does not answer for 'pumps_v1': \w+Error.*check the online store"):
            store.online(SERVICE, ["p1"])
        assert time.perf_counter() - started < _ANSWER_SECONDS


def test_a_push_to_a_dead_redis_fails_soon(store: FeatureStore) -> None:
    """The rows are named lost to nobody: push them again."""
    store.views_of(SERVICE)
    started = time.perf_counter()
    with pytest.raises(FeatureError, match=r"took no rows of view 'levels': \w+Error.*Push them again"):
        store.push("levels", readings(("p1", at(1), at(1), 1.0)))
    assert time.perf_counter() - started < _ANSWER_SECONDS


def test_a_night_without_redis_is_made_up_for(store: FeatureStore, tmp_path: Path) -> None:
    """Materialising into a dead store fails with what is due; on a store that lives, the next call brings it all in."""
    deliver(store, DAY, ("p1", 1, 1.0))
    with pytest.raises(FeatureError, match=r"'levels' could not be brought into the online store.*Nothing is lost"):
        store.materialize(SERVICE, *bounds(DAY))
    path = "${MLOPS_STATE_DIR}/feast/online.db"
    installed(tmp_path, {"type": "mlops.features.online.sqlite.GuardedSqliteOnlineStore", "path": path})
    mended = reopened(tmp_path)
    mended.apply()
    assert mended.materialize(SERVICE, *bounds(DAY)) == 1


def test_a_locked_registry_is_told(tmp_path: Path) -> None:
    """Another process holds the registry: which registry, that nothing is lost, what to do; later it works."""
    path = "${MLOPS_STATE_DIR}/feast/online.db"
    opened = installed(tmp_path, {"type": "mlops.features.online.sqlite.GuardedSqliteOnlineStore", "path": path})
    opened.apply()
    settings = tmp_path / "home" / "feature_repo" / "feature_store.yaml"
    told = yaml.safe_load(settings.read_text())
    told["registry"]["sqlalchemy_config_kwargs"] = {"echo": False, "connect_args": {"timeout": 0.2}}
    settings.write_text(yaml.safe_dump(told))
    with contextlib.closing(sqlite3.connect(tmp_path / "var" / "feast" / "registry.db")) as other:
        other.execute("begin exclusive")
        with pytest.raises(FeatureError, match=r"registry .*registry\.db does not answer: database is locked.*Nothing"):
            reopened(tmp_path).apply()
        other.execute("rollback")
    assert reopened(tmp_path).apply() is True

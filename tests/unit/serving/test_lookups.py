"""Whether stores can be reached is known by asking them, and said of the last answer alone."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from mlops.config import MLOpsConfig
from mlops.errors import FeatureError, RegistryError
from mlops.features.online.reading import OnlineValues
from mlops.features.store import FeatureStore
from mlops.pipelines import serving as pipeline
from mlops.services import Services
from mlops.serving.lookups import LOOK_SECONDS, PATIENCE_SECONDS, Lookups
from mlops.serving.requests import Entity
from mlops.serving.served import PATIENCE_SECONDS as REGISTRY_PATIENCE
from mlops.serving.served import Fetched, Follower, Served
from mlops.storage import Storage
from tests.serving_models import GOOD, fitted, get, house, live, post

FOREST = fitted("isolation_forest")
REPOSITORY = """
from datetime import timedelta
from feast import Entity, FeatureService, ValueType
from mlops.features.engineering import Recipe
from mlops.features.views import telemetry_view

pump = Entity(name="pump", join_keys=["pump_id"], value_type=ValueType.{kind})
recipe = Recipe(("level", "flow"))
levels = telemetry_view(name="levels", entity=pump, dataset="pumps", recipe=recipe, ttl=timedelta(hours=6))
service = FeatureService(name="pumps_v1", features=[levels])
"""


class Store:
    """An online store that can be taken away."""

    def __init__(self) -> None:
        self.away: Exception | None = None
        self.asked = 0

    def __call__(self, features: Sequence[str], keys: Sequence[Entity]) -> Fetched:
        """Ones, for whoever."""
        self.asked += 1
        if self.away is not None:
            raise self.away
        n = len(keys)
        return Fetched(np.ones((n, len(features))), np.ones(n, bool), np.zeros(n, bool), [1] * n, [1] * n)


class Clock:
    """Seconds that are set by hand."""

    now = 100.0

    def __call__(self) -> float:
        """The time."""
        return self.now


def test_a_store_is_reachable_once_it_has_answered() -> None:
    """Before the first answer it is not; a refusal says why; the next answer makes it good again."""
    store, clock = Store(), Clock()
    lookups = Lookups(store, clock)
    assert (lookups.problem, lookups.due) == ("has not been asked yet", True)
    lookups.look(["a"])
    assert (lookups.problem, lookups.due) == ("", False)
    clock.now += LOOK_SECONDS
    assert lookups.due
    store.away = FeatureError("Redis is away.")
    with pytest.raises(FeatureError):
        lookups(["a"], ["d1"])
    assert (lookups.problem, lookups.due) == ("Redis is away.", False)
    store.away = ConnectionError("reset")
    lookups.look(["a"])
    assert lookups.problem == "ConnectionError: reset"
    store.away = None
    lookups(["a"], ["d1"])
    assert lookups.problem == ""


def test_a_store_that_hangs_is_away() -> None:
    """No answer for long is no answer; it is not asked a second time while the first call goes on."""
    begun, ends = threading.Event(), threading.Event()
    clock = Clock()

    def hanging(features: Sequence[str], keys: Sequence[Entity]) -> Fetched:
        """Nothing, until it is let go."""
        begun.set()
        ends.wait(30)
        return Store()(features, keys)

    lookups = Lookups(hanging, clock)
    thread = threading.Thread(target=lookups.look, args=(["a"],))
    thread.start()
    assert begun.wait(30)
    clock.now += PATIENCE_SECONDS + 1
    assert "has not answered for 6 s" in lookups.problem
    assert not lookups.due
    ends.set()
    thread.join(30)
    assert lookups.problem == ""


def test_the_registry_is_reachable_while_it_answers_in_time() -> None:
    """An error, or silence for long, is away; an answer makes it good again."""
    clock, said = Clock(), [None, RegistryError("The server is away."), None]
    seen: list[bool] = []

    def wanted() -> int | None:
        """What is at hand, after a long silence."""
        clock.now += REGISTRY_PATIENCE / 2
        seen.append(follower.reachable)
        clock.now += REGISTRY_PATIENCE
        seen.append(follower.reachable)
        if (found := said.pop(0)) is not None:
            raise found
        return None

    def never(*what: Any) -> Any:
        """Nothing is loaded."""
        raise AssertionError(what)

    follower = Follower(Served("pumps", "d"), wanted=wanted, load=never, took_over=never, refused=never, clock=clock)
    reachable = []
    for _ in range(3):
        follower.step()
        reachable.append(follower.reachable)
    assert reachable == [True, False, True]
    assert seen == [True, False, True, False, False, False]


def test_readiness_needs_the_stores_and_answers_do_not(services: Services) -> None:
    """A store that is taken away makes /health 503 and lookups 503; rows with features, /ping and liveness go on."""
    store = Store()
    lookups = Lookups(store)
    made = house(services, {"pumps": live(FOREST)}, fetch=lookups)
    made.worker.lookups["pumps"] = lookups

    def states() -> tuple[int, ...]:
        """What each route says."""
        made.service.look("pumps").result(30)
        health = [get(made, path).status_code for path in ("/health", "/health/answering", "/health/live", "/ping")]
        return (*health, post(made, "/predict", {"features": GOOD}).status_code,
                post(made, "/predict", {"entity": "d1"}).status_code)  # fmt: skip

    assert states() == (200, 200, 200, 200, 200, 200)
    store.away = FeatureError("Redis is away.")
    assert states() == (503, 200, 200, 200, 200, 503)
    said = get(made, "/health").json()
    assert (said["live"], said["answering"], said["ready"]) == (True, True, False)
    store.away = None
    assert states() == (200, 200, 200, 200, 200, 200)
    assert get(made, "/version").text.count(".") == 2


def test_a_model_without_a_version_is_not_answering(services: Services) -> None:
    """Neither /ping nor /health/answering say yes; the process lives."""
    made = house(services, {"pumps": live(FOREST), "valves": None})
    paths = ("/health", "/health/answering", "/ping", "/health/live")
    assert [get(made, path).status_code for path in paths] == [503, 503, 503, 200]


def test_a_key_of_another_type_is_unknown(services: Services) -> None:
    """Where keys are whole numbers nothing is known of a text, and its neighbours in the batch have their answers."""
    spec = services.spec("fleet_anomaly")
    asked: list[Any] = []

    class Features:
        """A store with whole numbers for keys, all of them known."""

        whole = True

        def views_of(self, _: str) -> tuple[Any, ...]:
            """One view."""
            return (type("View", (), {"whole_keys": self.whole}),)

        def online_values(self, _: str, keys: Sequence[Any], **__: Any) -> OnlineValues:
            """Ones."""
            asked.append(list(keys))
            n = len(keys)
            clocks = {name: np.ones(n) for name in ("feature_timestamp", "feature_known_at")}
            return OnlineValues(("a",), np.ones((n, 1)), clocks, np.zeros(n, bool))

    store = Features()
    fetch = pipeline.online_features(type("S", (), {"features": store, "config": services.config})(), spec)
    found = fetch(["a"], [5, "d1", 7])
    assert (asked.pop(), found.found.tolist()) == ([5, 0, 7], [True, False, True])
    store.whole = False
    found = fetch(["a"], [5, "d1"])
    assert (asked.pop(), found.found.tolist()) == (["5", "d1"], [True, True])


@pytest.mark.parametrize("kind", ["STRING", "INT64"])
def test_keys_are_asked_for_in_the_type_that_feast_declares(kind: str, tmp_path: Path, services: Services) -> None:
    """Feast's own store is never asked for a text as a whole number, which it would refuse as a fault of the store."""
    repo = tmp_path / "home" / "feature_repo"
    repo.mkdir(parents=True)
    (repo / "pumps.py").write_text(REPOSITORY.format(kind=kind))
    settings = {"project": "t", "provider": "local", "registry": {"path": "${MLOPS_STATE_DIR}/registry.db"},
                "online_store": {"type": "mlops.features.online.sqlite.GuardedSqliteOnlineStore",
                                 "path": "${MLOPS_STATE_DIR}/online.db"},
                "offline_store": {"type": "mlops.features.asof.store.AsOfOfflineStore"},
                "entity_key_serialization_version": 3}  # fmt: skip
    (repo / "feature_store.yaml").write_text(yaml.safe_dump(settings))
    config = MLOpsConfig.build({"home": tmp_path / "home", "var": str(tmp_path / "var")})
    store = FeatureStore(config, Storage(config.var))
    store.apply()
    assert store.views_of("pumps_v1")[0].whole_keys is (kind == "INT64")
    spec = services.spec("fleet_anomaly")
    spec = spec.model_copy(update={"features": spec.features.model_copy(update={"service": "pumps_v1"})})
    fetch = pipeline.online_features(type("S", (), {"features": store, "config": config})(), spec)
    assert fetch(["level"], ["a", 5, "5", -1]).found.tolist() == [False] * 4

"""Routing: assignments that hold on every machine, spread as weighted, and move only where they must."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from scipy.stats import chi2_contingency, chisquare

from mlops.api.route import router
from mlops.errors import ConfigError
from mlops.serving.routing import Route, RoutingTable, Variant, assign, digest, shares
from mlops.serving.routing_choice import router as choice_router
from mlops.serving.routing_choice import versions
from mlops.serving.routing_table import TableReader, read_table, table_uri, write_table
from mlops.serving.served import Served
from mlops.storage import Storage

UNITS = [f"device-{i}" for i in range(20_000)]
ROUTE = Route(
    experiment="exp", model="fleet", kind="ab", layer="model/fleet", start=0.0, end=1.0, salt="exp/1",
    variants=(Variant("control", 1, 6.0), Variant("b", 2, 3.0), Variant("c", 3, 1.0)),
)  # fmt: skip


# Computed once and kept: another value here would move units of experiments that run.
KNOWN_DIGEST = 0.321793937976633
KNOWN_VARIANTS = ["b", "b", *["control"] * 5, "b", "b", "b", "control", "control"]


def weighted(*weights: float) -> Route:
    """The route with other weights."""
    return replace(ROUTE, variants=tuple(replace(v, weight=w) for v, w in zip(ROUTE.variants, weights, strict=True)))


def assigned(route: Route) -> list[str]:
    """The variants of all units."""
    return [assign(route, unit).variant for unit in UNITS]


def test_variants_get_their_weights_share_of_the_units() -> None:
    """6 : 3 : 1 over 20,000 units, by the chi-squared test; a variant without weight gets none."""
    found = Counter(assigned(ROUTE))
    assert chisquare([found[name] for name in ("control", "b", "c")], [12_000, 6_000, 2_000]).pvalue > 0.001
    assert shares(ROUTE) == {"control": 0.6, "b": 0.3, "c": 0.1}
    assert set(assigned(weighted(1, 1, 0))) == {"control", "b"}


def test_an_assignment_is_known_by_heart() -> None:
    """The digest is part of the contract: these values hold for ever, on every machine, or units would be moved."""
    assert digest("layer/main", "user 1") == pytest.approx(KNOWN_DIGEST, abs=1e-15)
    assert [assign(ROUTE, f"device-{i}").variant for i in range(12)] == KNOWN_VARIANTS


def test_another_process_assigns_the_same() -> None:
    """Whatever Python's own hash seed is."""
    code = (
        "import json, sys\nfrom mlops.records import from_dict\nfrom mlops.serving.routing import Route, assign\n"
        "route = from_dict(Route, json.loads(sys.argv[1]))\n"
        "print(json.dumps([assign(route, f'device-{i}').variant for i in range(500)]))"
    )
    from mlops.records import to_dict

    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(to_dict(ROUTE))],
        capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "5", "PATH": "/usr/bin"},
        cwd=Path(__file__).parents[3],
    )  # fmt: skip
    assert json.loads(done.stdout) == assigned(ROUTE)[:500]


def test_a_growing_canary_only_moves_units_into_it() -> None:
    """1 %, 5 %, 25 %, 50 %: who was in stays in, and it grows by as many as it should."""
    inside: list[set[str]] = []
    for share in (0.01, 0.05, 0.25, 0.5):
        route = replace(ROUTE, variants=(Variant("control", 1, 1 - share), Variant("canary", 2, share)))
        inside.append({unit for unit in UNITS if assign(route, unit).variant == "canary"})
        assert len(inside[-1]) / len(UNITS) == pytest.approx(share, rel=0.2)
    assert all(before < after for before, after in pairwise(inside))


def test_raising_a_weight_moves_units_to_that_variant_alone() -> None:
    """Of three variants, one grows: nobody moves between the other two."""
    pairs = Counter(zip(assigned(ROUTE), assigned(weighted(6, 3, 4)), strict=True))
    assert {pair for pair in pairs if pair[0] != pair[1]} == {("control", "c"), ("b", "c")}


def test_assignments_of_two_experiments_are_independent() -> None:
    """What variant a unit meets in one says nothing about the other; nor does its place in the layer."""
    other = replace(ROUTE, experiment="other", salt="other/1")
    table = Counter(zip(assigned(ROUTE), assigned(other), strict=True))
    names = ("control", "b", "c")
    assert chi2_contingency([[table[a, b] for b in names] for a in names]).pvalue > 0.001
    halves = Counter((digest("layer/model/fleet", unit) < 0.5, assign(ROUTE, unit).variant) for unit in UNITS)
    assert chi2_contingency([[halves[half, name] for name in names] for half in (True, False)]).pvalue > 0.001


def test_experiments_of_a_layer_share_no_unit() -> None:
    """Slices apart: each unit is in one of them, and together they have all."""
    first, second = replace(ROUTE, end=0.3), replace(ROUTE, experiment="other", salt="other/1", start=0.3)
    table = RoutingTable({"exp": first, "other": second})
    inside = [(assign(first, unit).counts, assign(second, unit).counts) for unit in UNITS]
    assert set(inside) == {(True, False), (False, True)}
    assert sum(one for one, _ in inside) / len(UNITS) == pytest.approx(0.3, abs=0.02)
    for unit in UNITS[:200]:
        met = table.for_unit("fleet", unit)
        assert met is not None
        assert met.experiment == ("exp" if assign(first, unit).counts else "other")
    assert table.for_unit("another model", "device-1") is None
    assert RoutingTable({"exp": first}).for_unit("fleet", next(u for u in UNITS if not assign(first, u).counts)) is None


def test_overrides_are_for_testing_and_no_evidence() -> None:
    """By the spec or by the request, a unit gets the variant that is asked for, and does not count."""
    route = replace(ROUTE, overrides={"device-1": "c"}, start=0.0, end=0.0)
    assert (assign(route, "device-1").variant, assign(route, "device-1").counts) == ("c", False)
    forced = assign(ROUTE, "device-2", force="b")
    assert (forced.variant, forced.version, forced.counts, forced.reason) == ("b", 2, False, "override")
    with pytest.raises(ConfigError, match="Did you mean 'control'"):
        assign(ROUTE, "device-2", force="contrl")
    with pytest.raises(ConfigError, match="needs a unit"):
        assign(ROUTE, "")


def test_a_shadow_never_answers() -> None:
    """Whatever the weights, the control answers, and the shadow's version is asked as well."""
    route = replace(ROUTE, kind="shadow", variants=(Variant("control", 1, 0.0), Variant("new", 2, 1.0)))
    for unit in UNITS[:100]:
        found = assign(route, unit)
        assert (found.variant, found.version, found.shadow) == ("control", 1, 2)
    both = RoutingTable({"shadow": replace(route, experiment="shadow"), "exp": ROUTE})
    met = both.for_unit("fleet", "device-1")
    assert met is not None
    assert met.experiment == "exp"


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    """A storage of the test's own."""
    return Storage(str(tmp_path))


def test_readers_follow_the_table_and_outlive_one_that_cannot_be_read(storage: Storage) -> None:
    """None yet, then the new one within the second, then the last good one while the file is broken."""
    now = [0.0]
    reader = TableReader(storage, seconds=1.0, clock=lambda: now[0])
    assert reader().routes == {}
    write_table(storage, RoutingTable({"exp": ROUTE}))
    assert reader().routes == {}
    now[0] = 1.0
    assert reader().routes == {"exp": ROUTE}
    storage.write_bytes(table_uri(storage), b"{broken")
    now[0] = 2.0
    assert reader().routes == {"exp": ROUTE}
    assert reader.failures == 1
    write_table(storage, RoutingTable())
    now[0] = 3.0
    assert (reader().routes, read_table(storage)) == ({}, RoutingTable())


def test_a_served_model_asks_the_table_who_answers() -> None:
    """The chosen version answers if it is loaded; else, and outside every experiment, the champion does."""
    table = RoutingTable({"exp": ROUTE})
    assert versions("fleet", table) == {1, 2, 3}
    assert versions("other", table) == frozenset()
    live = {number: SimpleNamespace(version=number) for number in (1, 2)}
    served = Served("fleet", "device_id", live=live[1], others={2: live[2]})  # type: ignore[arg-type,dict-item]
    served.router = choice_router("fleet", lambda: table)
    for unit in UNITS[:200]:
        met = assign(ROUTE, unit)
        expected = (met.variant, live[met.version]) if met.version in live else ("champion", live[1])
        choice, answers = served.choose(unit, live[1])  # type: ignore[arg-type]
        assert (choice.variant, answers) == expected
        assert choice.experiment == ("exp" if met.version in live else "")
    served.router = choice_router("fleet", RoutingTable)
    choice, answers = served.choose("device-1", live[1])  # type: ignore[arg-type]
    assert (choice.variant, answers) == ("champion", live[1])


@pytest.fixture
def client() -> TestClient:
    """An application with the route, and one experiment."""
    app = FastAPI()
    app.include_router(router(lambda: RoutingTable({"exp": ROUTE})))
    return TestClient(app)


def test_the_route_answers_what_assign_says(client: TestClient) -> None:
    """`GET /api/route?user_id=…&experiment=…`, with a forced variant on request."""
    found = client.get("/api/route", params={"user_id": "device-7", "experiment": "exp"})
    expected = assign(ROUTE, "device-7")
    assert found.status_code == 200
    assert {k: found.json()[k] for k in ("variant", "version", "counts")} == {
        "variant": expected.variant, "version": expected.version, "counts": True,
    }  # fmt: skip
    forced = client.get("/api/route", params={"user_id": "device-7", "experiment": "exp", "variant": "c"}).json()
    assert (forced["variant"], forced["counts"], forced["reason"]) == ("c", False, "override")


@pytest.mark.parametrize(
    ("params", "status", "said"),
    [
        ({"user_id": "u", "experiment": "expp"}, 404, "Did you mean 'exp'"),
        ({"user_id": "u", "experiment": "exp", "variant": "d"}, 404, "no variant 'd'"),
        ({"experiment": "exp"}, 422, "user_id"),
        ({"user_id": "", "experiment": "exp"}, 422, "at least 1"),
        ({"user_id": "u" * 600, "experiment": "exp"}, 422, "at most 512"),
    ],
)
def test_a_wrong_question_is_told_in_words(client: TestClient, params: dict[str, str], status: int, said: str) -> None:
    """Unknown experiments and variants are not found; a missing, empty or endless unit cannot be processed."""
    found = client.get("/api/route", params=params)
    assert found.status_code == status
    assert said in found.text

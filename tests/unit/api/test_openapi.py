"""The OpenAPI document is the contract: what it allows is answered, as it says; what it does not is refused.

Held by a generator of our own, in this process, and by schemathesis over HTTP.

References:
    OpenAPI Specification 3.1.0; JSON Schema 2020-12.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlops.config import MLOpsConfig
from mlops.services import Services
from mlops.serving.log_spool import Spool
from mlops.serving.served import Fetched
from tests.conftest import absent
from tests.serving_models import FEATURES, House, fitted, get, house, listening, live, post

ROOT = Path(__file__).parents[3]
PATHS = ("/predict", "/predict/batch")
MODELS = ("pumps", "valves", "fans")


def looked_up(features: Any, keys: Any) -> Fetched:
    """A store that knows the entities whose name begins with a letter up to m, half of them stale."""
    known = np.array([str(key)[:1].lower() <= "m" for key in keys])
    rows = np.where(known[:, None], np.arange(len(features), dtype=np.float64), np.nan)
    moments = [10**15 if each else None for each in known.tolist()]
    return Fetched(rows, known, np.array([len(str(key)) % 2 == 0 for key in keys]), moments, moments)


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> House:
    """Three models with everything on: a detector, a classifier, a model per entity; a log; an online store."""
    folder = tmp_path_factory.mktemp("openapi")
    services = Services.open(MLOpsConfig.build({"home": ROOT, "var": str(folder)}))
    spool = Spool(folder / "spool", "w")
    scorers = (
        fitted("isolation_forest"),
        fitted("logistic_regression", "classification", classes=3),
        fitted("hbos", per_entity=True),
    )
    models = {
        name: live(scorer, i, spool=spool, model=name)
        for i, (name, scorer) in enumerate(zip(MODELS, scorers, strict=True), start=1)
    }
    return house(services, models, spool=spool, fetch=looked_up)


# --- a generator of our own -------------------------------------------------------------------------------------------


@cache
def documents(path: str, document: str) -> Any:
    """Requests that the document allows for a path; `document` is its text, by which the strategy is kept."""
    known = json.loads(document)
    (content,) = known["paths"][path]["post"]["requestBody"]["content"].values()
    return allowed(content["schema"], known)


def allowed(schema: dict[str, Any], document: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that a schema of the document allows; of JSON Schema it knows what the document uses, and says so."""
    kinds: dict[str, Any] = {
        "null": st.none(),
        "boolean": st.booleans(),
        "integer": st.integers(schema.get("minimum"), schema.get("maximum")),
        "number": st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False),
        "string": times() if schema.get("format") == "date-time" else texts(schema),
    }
    if "$ref" in schema:
        return allowed(document["components"]["schemas"][schema["$ref"].rpartition("/")[2]], document)
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "anyOf" in schema:
        return st.one_of(allowed(each, document) for each in schema["anyOf"])
    if schema["type"] == "object":
        parts = {name: allowed(each, document) for name, each in schema["properties"].items()}
        needed = set(schema["required"])
        optional = {name: part for name, part in parts.items() if name not in needed}
        return st.fixed_dictionaries({name: parts[name] for name in parts if name in needed}, optional=optional)
    of = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
    if "array" in of:
        bounds = {"min_size": schema.get("minItems", 0), "max_size": min(8, schema.get("maxItems", 8))}
        made = st.lists(allowed(schema["items"], document), unique=schema.get("uniqueItems", False), **bounds)
        return made | st.none() if "null" in of else made
    return st.one_of(kinds[each] for each in of)


def texts(schema: dict[str, Any]) -> st.SearchStrategy[str]:
    """Texts; those that may be as long as an entity's name are one now and then."""
    some = st.text(st.characters(codec="utf-8"), min_size=schema.get("minLength", 0), max_size=schema.get("maxLength"))
    return some | st.sampled_from(("d0", "d3", "d10", "z1")) if schema.get("maxLength") == 512 else some


def times() -> st.SearchStrategy[str]:
    """Times as RFC 3339 writes them, in zones on both sides."""
    zones = st.sampled_from(["Z", "+00:00", "-11:30", "+13:45", ""])
    moments = st.datetimes()
    return st.builds(lambda moment, zone: moment.isoformat() + zone, moments, zones)


def completed(request: dict[str, Any]) -> dict[str, Any]:
    """What JSON Schema cannot say: the lists of a request are as long as its rows, and entities exist."""
    size = len(request.get("rows") or request.get("data") or request.get("entities") or ())
    for name in ("entities", "event_timestamps"):
        if request.get(name) is not None:
            request[name] = ((request[name] or [None if name == "event_timestamps" else "a"]) * size)[:size]
    if "unit" in request:  # half of them are about entities that there are: few texts are one
        if request.get("entity") is not None:
            request["entity"] = "d1"
        if request.get("entities") is not None:
            request["entities"] = ["d1", "d3"] * (size // 2) + ["d1"] * (size % 2)
    return request


@pytest.mark.parametrize("path", PATHS)
def test_what_the_document_allows_is_answered_as_it_says(everything: House, path: str) -> None:
    """Right requests, of every model and form, have an answer that the document describes; entities may be unknown."""
    text = get(everything, "/openapi.json").text
    contract = json.loads(text)
    seen: set[tuple[str, int]] = set()

    @given(request=documents(path, text).map(completed))
    @settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
    def ask(request: dict[str, Any]) -> None:
        answer = post(everything, path, request)
        said = answer.json()
        by_entity = "features" not in request and not (request.get("rows") or request.get("data"))
        asked_for_one = request.get("model") == "fans" or by_entity or request.get("features") is None
        strange_time = "years 1 to 9999" in answer.text
        assert answer.status_code == 200 or strange_time or (asked_for_one and answer.status_code in (404, 409)), (
            request,
            said,
        )
        schema = contract["paths"][path]["post"]["responses"][str(answer.status_code)]
        jsonschema.validate(said, schema["content"]["application/json"]["schema"])
        seen.add((request.get("model") or MODELS[0], answer.status_code))

    ask()
    assert {model for model, status in seen if status == 200} == set(MODELS), "every model must have answered"


def test_each_model_has_a_form_of_its_own(everything: House, services: Services) -> None:
    """Who names no model means the first; an entity alone is asked for only where features are looked up."""
    row = dict.fromkeys(FEATURES, 1.0)

    def fits(made: House, name: str, body: dict[str, Any]) -> bool:
        """Whether the form of a model allows a body."""
        known = get(made, "/openapi.json").json()
        schema = {"$ref": f"#/components/schemas/Row_{name}", "components": known["components"]}
        return jsonschema.Draft202012Validator(schema).is_valid(body)

    assert [fits(everything, name, {"features": row, "entity": "d1"}) for name in MODELS] == [True, False, False]
    assert all(fits(everything, name, {"model": name, "features": row, "entity": "d1"}) for name in MODELS)
    assert [fits(everything, name, {"model": name, "features": row}) for name in MODELS] == [True, True, False]
    assert all(fits(everything, name, {"model": name, "entity": "d1"}) for name in MODELS)
    assert not fits(house(services, {"pumps": everything.service.models["pumps"].live}), "pumps", {"entity": "d1"})


# --- schemathesis -----------------------------------------------------------------------------------------------------


def schemathesis() -> str:
    """The program, beside this Python or on the path."""
    beside = Path(sys.executable).with_name("schemathesis")
    found = str(beside) if beside.exists() else shutil.which("schemathesis")
    if found is None:
        absent("schemathesis is not installed; it is in the lock: make setup")
    assert found is not None
    return found


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_schemathesis_finds_no_fault(everything: House, tmp_path: Path) -> None:
    """Right and wrong requests made from the document by others' rules: no 5xx, no answer but the documented ones."""
    (tmp_path / "schemathesis.toml").write_text(SETTINGS)
    with listening(everything) as url:
        command = [
            *(schemathesis(), "run", f"{url}/openapi.json", "--max-examples", "25", "--seed", "1"),
            *("--phases", "examples,coverage,fuzzing", "--no-color", "--generation-database", "none"),
        ]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=540, check=False)
    assert done.returncode == 0, done.stdout[-6_000:] + done.stderr[-2_000:]
    paths = get(everything, "/openapi.json").json()["paths"].values()
    assert f"{sum(len(each) for each in paths)} selected" in done.stdout


# Lists of one length, and CSV by its columns, are more than JSON Schema can say: for these two routes what is right by
# the document may be refused with 422. What is right beyond it is asked above.
SETTINGS = """
[[operations]]
include-path-regex = "^/(predict/batch|invocations)$"
checks.positive_data_acceptance.enabled = false
"""

"""Bad input: whatever comes is refused in words, at once, or answered rightly; never a 500, never a wrong answer."""

from __future__ import annotations

import asyncio
import json
import re
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops.config import MLOpsConfig
from mlops.services import Services
from mlops.serving import log_reading, log_writer
from mlops.serving.log_spool import Spool
from tests.serving_models import FEATURES, GOOD, House, fitted, get, house, live, post

FOREST, LOGISTIC = fitted("isolation_forest"), fitted("logistic_regression", "classification")
HEAD = ",".join(FEATURES)


@pytest.fixture(scope="module")
def anybody(tmp_path_factory: pytest.TempPathFactory) -> House:
    """A service of one anomaly model that keeps what it answers, for all tests."""
    folder = tmp_path_factory.mktemp("any")
    config = MLOpsConfig.build({"home": Path(__file__).parents[3], "var": str(folder)})
    spool = Spool(folder / "spool", "w")
    return house(Services.open(config), {"pumps": live(FOREST, spool=spool)}, spool=spool)


@pytest.fixture
def made(anybody: House) -> House:
    """The same."""
    return anybody


MANY = b",".join(b'"a%d":1' % i for i in range(300_000))
DEEP = b'{"features": ' * 100_000
WRONG: list[tuple[str, Any, int, str]] = [
    (
        "text for a number",
        {"features": GOOD | {"pressure": "1.5"}},
        422,
        r"features\.pressure: expected a number or null, the text '1\.5'",
    ),
    ("boolean for a number", {"features": GOOD | {"pressure": True}}, 422, r"features\.pressure: .* the boolean true"),
    ("list for a number", {"features": GOOD | {"pressure": [1]}}, 422, r"features\.pressure: .* a list of 1"),
    (
        "NaN",
        b'{"features": {"temperature": NaN, "pressure": 1, "vibration": 1, "rotation": 1}}',
        400,
        "NaN and Infinity",
    ),
    ("Infinity", b'{"features": {"temperature": Infinity}}', 400, "NaN and Infinity are no JSON"),
    (
        "beyond floats",
        b'{"features": {"temperature": 1e999, "pressure": 1, "vibration": 1, "rotation": 1}}',
        422,
        "out of range|finite",
    ),
    ("missing field", {"features": dict.fromkeys(FEATURES[:3], 1)}, 422, r"features\.rotation: missing"),
    (
        "unknown field",
        {"features": GOOD | {"presure": 1}},
        422,
        r"features\.presure: unknown\. Did you mean 'pressure'",
    ),
    ("unknown top field", {"feature": GOOD}, 422, r"feature: unknown field\. Did you mean 'features'"),
    ("no object", [1, 2], 422, "expected an object, a list of 2 came"),
    ("features no object", {"features": [1, 2, 3, 4]}, 422, "expected an object of 4 numbers, a list of 4 came"),
    ("nothing asked", {}, 422, "Expected features, or entity"),
    ("empty body", b"", 400, "no JSON"),
    ("half a body", b'{"features": {"temp', 400, "no JSON"),
    ("no UTF-8", b'{"features": {"\xff": 1}}', 400, "JSON"),
    ("deep JSON", DEEP, 400, "nested|no JSON"),
    ("deep list", b"[" * 200_000, 400, "nested|no JSON"),
    ("unknown model", {"model": "pump", "features": GOOD}, 404, "'pump' is not served here. Did you mean 'pumps'"),
    ("entity without lookups", {"entity": "d1"}, 422, "not looked up here"),
    ("entity of a wrong type", {"entity": 1.5}, 422, "entity: expected a text or a whole number of 64 bits, 1.5 came"),
    ("an entity too large to be exact", {"features": GOOD, "entity": 1e300}, 422, "entity: expected .* 1e.300 came"),
    ("time that is none", {"features": GOOD, "event_timestamp": "yesterday"}, 422, "event_timestamp|RFC3339"),
    ("empty id", {"features": GOOD, "request_id": ""}, 422, "request_id|length"),
    ("an entity beyond 64 bits", {"features": GOOD, "entity": 2**64}, 422, r"entity|int"),
    ("a time before all", {"features": GOOD, "event_timestamp": "0001-01-01T00:00:00+14:00"}, 422, "years 1 to 9999"),
    ("a time after all", {"features": GOOD, "event_timestamp": "9999-12-31T23:59:59-12:00"}, 422, "years 1 to 9999"),
    ("half a character", b'{"entity": "\\ud800"}', 400, "no JSON"),
    ("a mark of order", b'\xef\xbb\xbf{"features": {}}', 400, "no JSON"),
    ("UTF-16", json.dumps({"features": GOOD}).encode("utf-16"), 400, "no JSON"),
    ("a long feature", {"features": GOOD | {"x" * 5_000_000: 1}}, 422, r"features\.x{64}…: unknown"),
    ("a long model", {"model": "x" * 5_000_000, "features": GOOD}, 404, "'x{64}…' is not served"),
    ("a long number", b'{"features": [' + b"1" * 4_000 + b"]}", 422, "a list of 1 came"),
    (
        "a long value",
        {"features": GOOD | {"pressure": "x" * 5_000_000}},
        422,
        r"features\.pressure: .*the text 'x{40}'",
    ),
    ("many features", b'{"features": {' + MANY + b"}}", 422, r"features\.temperature: missing"),
    ("many fields", b"{" + MANY + b"}", 422, "a0: unknown field"),
]
WRONG_BATCH: list[tuple[str, Any, int, str]] = [
    ("no row", {"rows": []}, 422, "No row came"),
    ("a wrong row", {"rows": [GOOD, GOOD | {"pressure": "x"}]}, 422, r"rows\[1\]\.pressure"),
    ("a row too short", {"columns": list(FEATURES), "data": [[1, 2, 3]]}, 422, r"data\[0\]: expected a list of 4"),
    ("wrong columns", {"columns": [*FEATURES[:3], "x"], "data": [[1, 2, 3, 4]]}, 422, r"columns\.rotation: missing"),
    ("columns twice", {"columns": [*FEATURES, "pressure"], "data": [[1, 2, 3, 4]]}, 422, "each once"),
    ("no columns", {"data": [[1, 2, 3, 4]]}, 422, "columns: missing"),
    ("rows and data", {"rows": [GOOD], "data": [[1, 2, 3, 4]]}, 422, "neither or both"),
    ("other entities", {"rows": [GOOD], "entities": ["a", "b"]}, 422, "entities: 2 came for 1"),
    ("too many rows", {"columns": list(FEATURES), "data": [[1, 2, 3, 4]] * 10_001}, 413, "10,001 rows"),
    ("a million empty rows", b'{"rows": [' + b"{}," * 999_999 + b"{}]}", 422, r"rows\[0\]\.temperature: missing"),
    ("columns alone", {"entities": ["d1"], "columns": ["pressure"]}, 422, "columns: came without data"),
    ("entities beyond 64 bits", {"rows": [GOOD], "entities": [-(2**63) - 1]}, 422, "entities|int"),
    (
        "a time before all",
        {"rows": [GOOD], "event_timestamps": ["0001-01-01T00:00:00+01:00"]},
        422,
        "row 0: .* 1 to 9999",
    ),
    ("a million entities", b'{"entities": [' + b"1," * 1_000_000 + b"1]}", 413, "1,000,001 rows"),
    ("a million lists", b'{"data": [' + b"[]," * 999_999 + b"[]]}", 422, r"data\[0\]"),
]
WRONG_INVOCATIONS: list[tuple[str, Any, int, str]] = [
    ("no form", {"rows": []}, 422, "one of dataframe_split"),
    ("two forms", {"inputs": [], "instances": []}, 422, "2 of them"),
    ("text", {"dataframe_records": [GOOD | {"pressure": "1.5"}]}, 422, "pressure of row 0: expected a number"),
    ("missing", {"dataframe_split": {"columns": ["pressure"], "data": [[1]]}}, 422, "temperature: missing"),
    ("ragged", {"dataframe_split": {"columns": list(FEATURES), "data": [[1]]}}, 422, "expected 4 values, 1 came"),
    ("no list", {"instances": 5}, 422, "instances: expected a list"),
    ("beyond floats", {"instances": [[10**400, 1, 1, 1]]}, 422, "finite|range"),
    ("nothing", {"instances": []}, 422, "No row came"),
    ("columns of other lengths", {"inputs": {"pressure": [1], "rotation": [1, 2]}}, 422, "different lengths"),
    ("deep", b'{"inputs": ' + b"[" * 200_000, 400, "nested|JSON"),
    (
        "a record lacks a field",
        {"dataframe_records": [GOOD, {"pressure": 1}]},
        422,
        r"records\[1\]\.temperature: missing",
    ),
    ("an object lacks a field", {"instances": [{}]}, 422, r"instances\[0\]\.temperature: missing"),
    (
        "a column twice",
        {"dataframe_split": {"columns": [*FEATURES, "pressure"], "data": [[1] * 5]}},
        422,
        "pressure: .* once",
    ),
    ("too many records", {"dataframe_records": [{}] * 10_001}, 413, "10,001 rows"),
    ("a million rows", b'{"instances": [' + b"[]," * 1_000_000 + b"[]]}", 413, "1,000,001 rows"),
    (
        "an entity of a wrong type",
        {"dataframe_records": [GOOD | {"device_id": [1]}]},
        422,
        "device_id of row 0: .*list of 1",
    ),
    ("an entity beyond 64 bits", {"dataframe_records": [GOOD | {"device_id": 2**64}]}, 422, "device_id of row 0"),
]
WRONG_CSV: list[tuple[str, str, int, str]] = [
    ("underscores", f"{HEAD}\n1_000,1,1,1\n", 422, "temperature of row 0: .*the text '1_000'"),
    ("other digits", f"{HEAD}\n1,\u0661,1,1\n", 422, "pressure of row 0: .*the text"),
    ("hexadecimal", f"{HEAD}\n0x10,1,1,1\n", 422, "temperature of row 0: .*the text '0x10'"),
    ("infinite", f"{HEAD}\n1,-inf,1,1\n", 422, "pressure of row 0: expected a finite number"),
    ("beyond floats", f"{HEAD}\n1,1,1,1\n1,1,1e999,1\n", 422, "vibration of row 1: expected a finite number"),
    ("too short", f"{HEAD}\n1,1,1\n", 422, "Row 0: expected 4 values, 3 came"),
    ("semicolons", f"{HEAD.replace(',', ';')}\n1;1;1;1\n", 422, "temperature: missing"),
    ("a column twice", f"{HEAD},temperature\n1,1,1,1,99\n", 422, "temperature: the column came more than once"),
    ("nothing", "", 422, "No row came|missing"),
    ("a head alone", f"{HEAD}\n", 422, "No row came"),
    ("no text", "\x00", 422, "No row came"),
    ("half a quotation", '"' * 2_000_000, 400, "no CSV"),
    ("eight million empty lines", "\n" * 8_000_000, 413, "lines came, at most 10,000"),
    ("a million rows", f"{HEAD}\n" + "1,1,1,1\n" * 900_000, 413, "900,000 lines"),
    ("a wide head", "," * 4_000_000 + "\n1,1\n", 422, "temperature: missing"),
]
TABLE = [
    *(("/predict", *case) for case in WRONG),
    *(("/predict/batch", *case) for case in WRONG_BATCH),
    *(("/invocations", *case) for case in WRONG_INVOCATIONS),
]
SECONDS = 12.0  # of the processor, for eight megabytes on a slow machine; what grows with their square takes a minute


@pytest.mark.parametrize(("path", "name", "body", "status", "words"), TABLE, ids=[f"{c[0]} {c[1]}" for c in TABLE])
def test_a_wrong_question_is_refused_in_words(
    made: House, path: str, name: str, body: Any, status: int, words: str
) -> None:
    """4xx with a message that names the field, what was expected and what came; the next request is answered."""
    began = time.process_time()
    answer = post(made, path, body)
    assert answer.status_code == status, answer.text
    assert re.search(words, answer.json()["detail"]), answer.json()["detail"]
    assert len(answer.content) < 2_000
    assert time.process_time() - began < SECONDS
    assert post(made, "/predict", {"features": GOOD}).status_code == 200


@pytest.mark.parametrize(("name", "text", "status", "words"), WRONG_CSV, ids=[case[0] for case in WRONG_CSV])
def test_wrong_csv_is_refused_in_words(made: House, name: str, text: str, status: int, words: str) -> None:
    """What is no number as computers write them is none, and a table that is too long is not read."""
    began = time.process_time()
    answer = post(made, "/invocations", text.encode(), content_type="text/csv")
    assert answer.status_code == status, answer.text
    assert re.search(words, answer.json()["detail"]), answer.json()["detail"]
    assert len(answer.content) < 2_000
    assert time.process_time() - began < SECONDS


def test_csv_is_read_as_numbers(made: House) -> None:
    """Signs, exponents, spaces, empty cells and nan are read; the answer is that of the same rows as JSON."""
    text = f"{HEAD},note\n +1.5e1 ,.5,,-3.,x\n-2,1E-3,nan,0,y\n"
    rows = [[15.0, 0.5, None, -3.0], [-2.0, 0.001, None, 0.0]]
    answer = post(made, "/invocations", text.encode(), content_type="text/csv")
    assert answer.json() == post(made, "/invocations", {"instances": rows}).json()


def test_records_of_many_names_cost_what_they_hold(made: House) -> None:
    """Names beyond the model's are dropped: rows with other names each are no table of all names."""
    names = ",".join(f'"{n}":1' for n in FEATURES)
    wide = ",".join("{{{},{}}}".format(names, ",".join(f'"a{i}_{j}":1' for j in range(60))) for i in range(9_000))
    began = time.process_time()
    answer = post(made, "/invocations", f'{{"dataframe_records": [{wide}]}}'.encode())
    assert (answer.status_code, len(answer.json()["predictions"])) == (200, 9_000)
    assert time.process_time() - began < SECONDS


@pytest.mark.parametrize(
    "body", [{"model": "pumps" * 1_400_000}, {"features": GOOD | {"pressure" * 900_000: 1}}, {"pressure" * 900_000: 1}]
)
def test_a_name_of_megabytes_is_not_compared(made: House, body: Any) -> None:
    """What was probably meant is looked for by the beginning of a name: a page of it is no typing error."""
    began = time.process_time()
    assert post(made, "/predict", body).status_code in (404, 422)
    assert time.process_time() - began < SECONDS


def test_a_coded_body_is_refused(made: House) -> None:
    """A body in gzip is told as such, not as broken JSON."""
    for path in ("/predict", "/predict/batch", "/invocations"):
        answer = post(made, path, {"features": GOOD}, content_encoding="gzip")
        assert (answer.status_code, "'gzip'" in answer.json()["detail"]) == (415, True)


def test_the_address_names_a_model_too(services: Services) -> None:
    """`?model=` is followed on every route; an unknown one, an empty one and one that the body contradicts are told."""
    made = house(services, {"pumps": live(FOREST), "valves": live(LOGISTIC, 4, model="valves")})
    for path, body in (("/predict", {"features": GOOD}), ("/predict/batch", {"rows": [GOOD]})):
        assert post(made, f"{path}?model=valves", body).json()["model"] == "valves"
        assert post(made, f"{path}?model=valves", body | {"model": "valves"}).json()["version"] == 4
        assert post(made, f"{path}?model=valves", body | {"model": "pumps"}).status_code == 422
        assert post(made, f"{path}?model=valve", body).status_code == 404
        assert post(made, f"{path}?model=", body).status_code == 404
    answer = post(made, "/invocations?model=valves", {"instances": [[1, 2, 3, 4]]})
    assert "label" in answer.json()["predictions"][0]


def test_strange_names_and_times_are_kept_as_they_came(services: Services, tmp_path: Path) -> None:
    """What is answered can be read back from the log, whatever its entity, its id and its time were."""
    spool = Spool(tmp_path / "spool", "w")
    made = house(services, {"pumps": live(FOREST, spool=spool)}, spool=spool)
    strange: list[dict[str, Any]] = [
        {"entity": -(2**63)}, {"entity": 2**63 - 1}, {"entity": ""}, {"entity": "\u0000"}, {"entity": "é/../x"},
        {"entity": 7.0},
        {"event_timestamp": "0001-01-01T00:00:00Z"}, {"event_timestamp": "9999-12-31T23:59:59.999999Z"},
    ]  # fmt: skip
    for i, each in enumerate(strange):
        assert post(made, "/predict", {"features": GOOD, "request_id": f"r{i}"} | each).status_code == 200
    spool.close()
    log_writer.publish(services.storage, tmp_path / "spool")
    kept = log_reading.read(services.storage, "pumps", log_reading.days(services.storage, "pumps")[0])
    assert kept["request_id"].tolist() == [f"r{i}" for i in range(len(strange))]
    assert kept["device_id"].tolist()[:6] == [*(str(each["entity"]) for each in strange[:5]), "7"]
    assert [moment.year for moment in kept["event_timestamp"].tolist()[6:]] == [1, 9999]


def test_a_body_that_is_too_large_is_not_read(made: House) -> None:
    """100 MB: refused by its announced length, and without one as soon as it is beyond the limit."""
    read = 0

    async def endless() -> Any:
        """A megabyte after the other."""
        nonlocal read
        for _ in range(100):
            read += 2**20
            yield b" " * 2**20

    async def both() -> tuple[httpx.Response, httpx.Response]:
        """With and without a length."""
        kind = {"content-type": "application/json"}
        told = await made.client.post("/predict", content=b"", headers=kind | {"content-length": str(100 * 2**20)})
        return told, await made.client.post("/predict/batch", content=endless(), headers=kind)

    told, untold = asyncio.run(both())
    assert (told.status_code, untold.status_code) == (413, 413)
    assert "at most 8,388,608" in told.json()["detail"]
    assert read < 12 * 2**20


@pytest.mark.parametrize("kind", ["text/plain", "application/xml", "multipart/form-data; boundary=x", "nonsense"])
def test_another_content_type_is_refused(made: House, kind: str) -> None:
    """415 on all three routes, with the type that came."""
    for path in ("/predict", "/predict/batch", "/invocations"):
        answer = post(made, path, {"features": GOOD}, content_type=kind)
        assert (answer.status_code, kind.partition(";")[0] in answer.json()["detail"]) == (415, True)


def test_another_method_is_refused(made: House) -> None:
    """405, and what would go."""
    for path in ("/predict", "/predict/batch", "/invocations"):
        answer = get(made, path)
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert get(made, "/nowhere").status_code == 404


@given(
    document=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from([*FEATURES, "features", "entity", "rows", "data", "columns", "entities", "model", "unit",
                             "request_id", "contributions", "event_timestamp", "event_timestamps", "instances",
                             "inputs", "dataframe_split", "dataframe_records"]) | st.text(max_size=3),
            inner, max_size=6),
        max_leaves=12,
    ),
    path=st.sampled_from(["/predict", "/predict/batch", "/invocations"]),
)  # fmt: skip
@settings(max_examples=300)
def test_no_document_is_answered_with_a_500(anybody: House, document: Any, path: str) -> None:
    """Whatever JSON comes is answered or refused; no fault of ours."""
    answer = post(anybody, path, document)
    assert answer.status_code in (200, 400, 404, 413, 422), answer.text
    assert answer.status_code == 200 or answer.json()["detail"]

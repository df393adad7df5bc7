"""The routes of the service: right answers, and for wrong questions a 4xx that says what was wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import isnan
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from mlops.errors import FeatureError
from mlops.models.scoring import Scorer
from mlops.services import Services
from mlops.serving import log_reading, log_writer
from mlops.serving.compiled_form import Floats
from mlops.serving.log_spool import Spool
from mlops.serving.requests import Entity
from mlops.serving.served import Choice, Fetched
from mlops.serving.work import Limits
from tests.serving_models import FEATURES, GOOD, House, fitted, get, house, live, post, rows

FOREST, LOGISTIC = fitted("isolation_forest"), fitted("logistic_regression", "classification")
ASCII = "abcdefghijklmnopqrstuvwxyz"


@pytest.fixture
def made(services: Services) -> House:
    """A service of one anomaly model."""
    return house(services, {"pumps": live(FOREST)})


def test_a_row_is_answered_as_the_scorer_answers_it(made: House) -> None:
    """Score, threshold, flag, version, variant and request id; integers are numbers, null is not known."""
    answer = post(made, "/predict", {"features": GOOD, "request_id": "r1"})
    frame = rows(1).assign(**{name: [np.nan if v is None else v] for name, v in GOOD.items()})
    (expected,) = FOREST.predict(frame).to_dict("records")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json() == {
        "request_id": "r1",
        "model": "pumps",
        "version": 1,
        "variant": "champion",
        "threshold": FOREST.threshold,
        "score": expected["score"],
        "flag": expected["flag"],
    }


def test_a_classifier_answers_with_label_and_probabilities(services: Services) -> None:
    """Label and probability of each class, by name, as the scorer gives them."""
    made = house(services, {"pumps": live(LOGISTIC)})
    (expected,) = LOGISTIC.predict(rows(1)).to_dict("records")
    row = {name: float(value) for name, value in rows(1)[list(FEATURES)].iloc[0].items()}
    answer = post(made, "/predict", {"features": row}).json()
    assert (answer["label"], answer["flag"]) == (expected["label"], expected["flag"])
    assert answer["probabilities"] == pytest.approx({"0": expected["proba_0"], "1": expected["proba_1"]}, abs=1e-12)
    sure = made.service.monitors["pumps"].get_metrics()["mean_confidence"]
    assert sure == pytest.approx(max(answer["probabilities"].values()))
    assert get(made, "/classes").json() == {
        "model": "pumps",
        "task": "classification",
        "classes": [0, 1],
        "threshold": 0.5,
    }


def test_nothing_known_is_no_answer(made: House) -> None:
    """A row of nulls has score and flag null, never a number that looks like an answer."""
    answer = post(made, "/predict", {"features": dict.fromkeys(FEATURES)}).json()
    assert (answer["score"], answer["flag"]) == (None, None)


def test_a_batch_is_answered_row_by_row(made: House) -> None:
    """As objects or as a table in any order of columns: the same answers, in the order of the rows."""
    frame = rows(300)
    records = [{n: None if isnan(v) else v for n, v in row.items()} for row in frame[list(FEATURES)].to_dict("records")]
    order = list(reversed(FEATURES))
    table = {"columns": order, "data": [[row[name] for name in order] for row in records]}
    first, second = (post(made, "/predict/batch", body).json() for body in ({"rows": records}, table))
    assert first["predictions"] == second["predictions"]
    expected = FOREST.predict(frame)
    assert [each["score"] for each in first["predictions"]] == expected["score"].tolist()
    assert [each["flag"] for each in first["predictions"]] == expected["flag"].tolist()


def test_contributions_come_on_request(made: House) -> None:
    """One number per feature, in one row and in many."""
    body = {"features": GOOD, "contributions": True}
    one = post(made, "/predict", body).json()["contributions"]
    many = post(made, "/predict/batch", {"rows": [GOOD] * 300, "contributions": True}).json()["predictions"]
    assert set(one) == set(FEATURES)
    assert one["rotation"] == 0.0
    assert all(each["contributions"] == one for each in many)


def test_plain_scorers_answer_through_the_queue(services: Services) -> None:
    """What has no compiled form is answered too, many at once in few calls."""
    scorer = fitted("knn")
    made = house(services, {"pumps": live(scorer)})

    async def all_at_once() -> list[httpx.Response]:
        """All rows, none waiting for another."""
        body = [{n: float(v) for n, v in row.items()} for row in rows(40).dropna()[list(FEATURES)].to_dict("records")]
        return await asyncio.gather(*(made.client.post("/predict", json={"features": row}) for row in body))

    scores = [answer.json()["score"] for answer in asyncio.run(all_at_once())]
    np.testing.assert_allclose(scores, scorer.score(rows(40).dropna()), rtol=1e-12)
    assert made.service.queues["pumps"].batches < len(scores) / 2


def test_several_models_are_told_apart_by_name(services: Services) -> None:
    """A request without a name is for the first; each model checks by its own signature."""
    made = house(services, {"pumps": live(FOREST), "valves": live(LOGISTIC, 4, model="valves")})
    body = {"features": GOOD}
    assert post(made, "/predict", body).json()["model"] == "pumps"
    answer = post(made, "/predict", body | {"model": "valves"}).json()
    assert (answer["model"], answer["version"], "label" in answer) == ("valves", 4, True)
    assert post(made, "/predict", body | {"model": "valve"}).status_code == 404
    assert get(made, "/model/info?model=valves").json()["version"] == 4
    assert get(made, "/model/info?model=valve").status_code == 404


def test_a_model_without_a_version_says_so(services: Services) -> None:
    """503 until a champion is there; live, not ready."""
    made = house(services, {"pumps": None})
    made.service.models["pumps"].problem = "pumps has no champion."
    answer = post(made, "/predict", {"features": GOOD})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "has no champion" in answer.json()["detail"]
    assert (get(made, "/health").status_code, get(made, "/ping").status_code) == (503, 503)
    assert get(made, "/health/live").status_code == 200


def lookup(known: dict[Entity, list[float]], stale: Sequence[Entity] = ()) -> Callable[..., Fetched]:
    """An online store of a few entities."""

    def fetch(features: Sequence[str], keys: Sequence[Entity]) -> Fetched:
        if "down" in keys:
            raise FeatureError("The online store does not answer.", hint="Check its address.")
        found = np.array([key in known for key in keys])
        values = np.array([known.get(key, [np.nan] * len(features)) for key in keys], dtype=np.float64)
        times: list[int | None] = [1_700_000_000_000_000 if key in known else None for key in keys]
        return Fetched(values, found, np.array([key in stale for key in keys]), times, times)

    return fetch


def test_features_are_looked_up_by_entity(services: Services) -> None:
    """An entity alone: its newest features are scored, and the answer says of when they are."""
    fetch = lookup({"d1": [20, 1, 0, 0], 7: [50, 9, 0, 0]})
    made = house(services, {"pumps": live(FOREST)}, fetch=fetch)
    by_key = post(made, "/predict", {"entity": "d1"}).json()
    by_value = post(made, "/predict", {"features": dict(zip(FEATURES, [20, 1, 0, 0], strict=True))}).json()
    assert by_key["score"] == by_value["score"]
    assert by_key["feature_timestamp"] == "2023-11-14T22:13:20+00:00"
    many = post(made, "/predict/batch", {"entities": ["d1", 7]}).json()["predictions"]
    assert many[0]["score"] == by_key["score"] != many[1]["score"]


def test_what_cannot_be_looked_up_is_no_answer(services: Services) -> None:
    """Unknown is 404, stale 409 (or marked, by setting), a store that is away 503; their neighbours are answered."""
    fetch = lookup({"d1": [20, 1, 0, 0], "old": [20, 1, 0, 0]}, stale=["old"])
    made = house(services, {"pumps": live(FOREST)}, fetch=fetch)

    async def together() -> list[httpx.Response]:
        """In one batch."""
        names = ["d1", "nobody", "old", "d1"]
        return await asyncio.gather(*(made.client.post("/predict", json={"entity": name}) for name in names))

    answers = asyncio.run(together())
    assert [answer.status_code for answer in answers] == [200, 404, 409, 200]
    assert "device_id 'nobody'" in answers[1].json()["detail"]
    assert "past their time to live" in answers[2].json()["detail"]
    down = post(made, "/predict", {"entity": "down"})
    assert (down.status_code, "does not answer" in down.json()["detail"]) == (503, True)
    marking = house(services, {"pumps": live(FOREST)}, fetch=fetch, stale="mark")
    assert post(marking, "/predict", {"entity": "old"}).json()["stale"] is True


def test_an_entity_without_a_model_of_its_own_is_unknown(services: Services) -> None:
    """One model per device: a row must say whose it is, and a stranger is 404."""
    made = house(services, {"pumps": live(fitted("hbos", per_entity=True))})
    assert post(made, "/predict", {"features": GOOD, "entity": "d1"}).status_code == 200
    assert post(made, "/predict", {"features": GOOD, "entity": "d9"}).status_code == 404
    missing = post(made, "/predict", {"features": GOOD})
    assert (missing.status_code, "one model per device_id" in missing.json()["detail"]) == (422, True)


def test_a_request_that_is_refused_refuses_itself_alone(services: Services) -> None:
    """Scored in one batch with a stranger, the others are answered."""
    made = house(services, {"pumps": live(fitted("knn", per_entity=True))})

    async def together() -> list[int]:
        """In one batch."""
        bodies = [{"features": GOOD, "entity": name} for name in ("d0", "d1", "d9", "d2", "d3")]
        answers = await asyncio.gather(*(made.client.post("/predict", json=body) for body in bodies))
        return [answer.status_code for answer in answers]

    assert asyncio.run(together()) == [200, 200, 404, 200, 200]
    assert made.service.queues["pumps"].batches == 1


def test_mlflow_clients_are_answered(made: House) -> None:
    """Every form of MLflow's scoring protocol gives the scorer's answer, further columns dropped."""
    frame = rows(12).dropna()
    columns = ["device_id", *reversed(FEATURES)]
    split = {"columns": columns, "data": frame[columns].to_numpy().tolist()}
    named = frame[list(FEATURES)]
    forms: list[Any] = [
        {"dataframe_split": split},
        {"dataframe_records": frame.assign(more="x").to_dict("records")},
        {"instances": named.to_dict("records")},
        {"instances": named.to_numpy().tolist()},
        {"inputs": named.to_dict("list")},
        {"inputs": named.to_numpy().tolist()},
    ]
    expected = [{"score": s, "flag": bool(f)} for s, f in FOREST.predict(frame)[["score", "flag"]].to_numpy()]
    for form in forms:
        answer = post(made, "/invocations", form)
        assert answer.json() == {"predictions": expected}, form
    table = post(made, "/invocations", named.to_csv(index=False).encode(), content_type="text/csv")
    assert table.json() == {"predictions": expected}
    assert get(made, "/ping").status_code == 200


def test_a_router_chooses_who_answers(services: Services) -> None:
    """By unit, else entity; a version with other features reads the request by its own signature."""
    made = house(services, {"pumps": live(FOREST)})
    served = made.service.models["pumps"]
    served.others[2] = live(LOGISTIC, 2)
    served.router = lambda unit: Choice("treatment", 2) if unit.startswith("t") else None
    said = [post(made, "/predict", {"features": GOOD, "unit": unit}).json() for unit in ("t1", "c1")]
    assert [(each["variant"], each["version"]) for each in said] == [("treatment", 2), ("champion", 1)]
    assert post(made, "/predict", {"features": GOOD, "entity": "t7"}).json()["version"] == 2
    served.router = lambda _: Choice("gone", 99)
    assert post(made, "/predict", {"features": GOOD}).json()["version"] == 1


@pytest.mark.parametrize("error", [ValueError("no"), RuntimeError("broken")])
@pytest.mark.parametrize("scorer", [FOREST, LOGISTIC], ids=["detector", "classifier"])
def test_what_a_variant_could_not_answer_is_in_the_log_without_a_score(
    services: Services, tmp_path: Path, scorer: Scorer, error: Exception
) -> None:
    """A treatment that fails leaves rows of its variant without a score; a champion's, and 4xx, leave none."""
    spool = Spool(tmp_path / "spool", "w")
    made = house(services, {"pumps": live(scorer, spool=spool)}, spool=spool)
    served = made.service.models["pumps"]
    good = live(scorer, 2, spool=spool)

    def fails(_: Floats) -> Floats:
        raise error

    served.others[2] = replace(good, predictor=replace(good.predictor, kernels={None: fails}))
    served.router = lambda unit: Choice("new", 2, "trial") if unit.startswith("t") else Choice("old", 1, "trial")
    told = [post(made, "/predict", {"features": GOOD, "unit": unit, "request_id": unit}) for unit in ("t1", "c1")]
    assert [each.status_code for each in told] == [422 if isinstance(error, ValueError) else 500, 200]
    assert post(made, "/predict", {"features": {"pressure": 1}, "unit": "t2"}).status_code == 422
    served.router = None
    served.live = served.others[2]
    assert post(made, "/predict", {"features": GOOD, "unit": "x"}).status_code >= 422
    spool.close()
    log_writer.publish(services.storage, spool.folder.parent)
    kept = log_reading.read(services.storage, "pumps", *log_reading.days(services.storage, "pumps"))
    found = kept.set_index("request_id")[["variant", "experiment", "model_version", "score", "flag", "temperature"]]
    assert set(found.index) == {"t1", "c1"}
    assert found.loc["t1"].fillna("none").tolist() == ["new", "trial", 2, "none", "none", GOOD["temperature"]]
    assert np.isfinite(found.loc["c1", "score"])


def test_a_shadow_answers_unseen(made: House) -> None:
    """The champion's answer is given; the shadow's is compared with it, later."""
    served = made.service.models["pumps"]
    served.others[2] = live(fitted("isolation_forest", params={"n_estimators": 5}), 2)
    plain = post(made, "/predict", {"features": GOOD}).json()
    served.router = lambda _: Choice("control", 1, "quiet", 2)
    said = [post(made, "/predict", {"features": GOOD}).json() for _ in range(3)]
    assert {(each["version"], each["score"], each["experiment"]) for each in said} == {(1, plain["score"], "quiet")}
    made.service.shadows[2].close()
    report = made.service.shadows[2].report()
    assert (report.asked, report.compared, report.differing, report.failed) == (3, 3, 3, 0)
    assert get(made, "/model/info").json()["experiments"]["2"]["compared"] == 3


def test_numbers_are_told(made: House, tmp_path: Path) -> None:
    """Requests by status, rows by class, latency: as Prometheus reads them, and as JSON."""
    for _ in range(3):
        post(made, "/predict", {"features": GOOD})
    post(made, "/predict", {"features": GOOD | {"pressure": "x"}})
    post(made, "/predict", {"features": dict.fromkeys(FEATURES)})
    text = get(made, "/metrics").text
    assert 'mlops_serving_requests_total{model="pumps",status="200"} 4.0' in text
    assert 'mlops_serving_requests_total{model="pumps",status="422"} 1.0' in text
    told = get(made, "/metrics/summary").json()["models"]["pumps"]
    assert told["requests"] == {"200": 4, "422": 1}
    assert told["predictions"]["cannot_tell"] == 1
    assert sum(told["predictions"].values()) == 4
    assert told["mean_confidence"] is None
    assert 0 < told["latency_ms"]["p50"] <= told["latency_ms"]["p99"] < 60_000


def test_the_openapi_document_covers_every_route(made: House) -> None:
    """Features by name and type, refusals by status; what `GET /` lists is what the document describes."""
    document = get(made, "/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    assert document["components"]["schemas"]["Features_pumps"]["required"] == list(FEATURES)
    assert set(document["paths"]["/predict"]["post"]["responses"]) >= {"200", "400", "413", "415", "422", "429", "503"}
    listed = get(made, "/").json()["routes"]
    for route in ("POST /predict", "POST /predict/batch", "POST /invocations", "GET /health", "GET /classes",
                  "GET /model/info", "GET /metrics", "GET /metrics/summary", "GET /ping"):  # fmt: skip
        assert route in listed


def test_too_much_waiting_is_refused_with_a_time_to_come_back(services: Services) -> None:
    """Beyond the bound 429 and Retry-After; who waits already is answered."""
    made = house(services, {"pumps": live(fitted("knn"))}, limits=Limits(max_waiting_rows=20, max_batch_rows=5))

    async def rush() -> list[httpx.Response]:
        """More than may wait."""
        body = {"features": GOOD}
        return await asyncio.gather(*(made.client.post("/predict", json=body) for _ in range(60)))

    answers = asyncio.run(rush())
    counts = {status: sum(a.status_code == status for a in answers) for status in (200, 429)}
    assert sum(counts.values()) == 60
    assert counts[200] >= 20
    assert counts[429] > 0
    assert all(int(a.headers["retry-after"]) >= 1 for a in answers if a.status_code == 429)
    assert post(made, "/predict", {"features": GOOD}).status_code == 200


def test_ids_of_the_caller_are_kept_and_others_are_made(made: House) -> None:
    """From the body, else from X-Request-Id, else one that nobody else has."""
    ids = [
        post(made, "/predict", {"features": GOOD, "request_id": "body"}, x_request_id="head").json()["request_id"],
        post(made, "/predict", {"features": GOOD}, x_request_id="head").json()["request_id"],
        *(post(made, "/predict", {"features": GOOD}).json()["request_id"] for _ in range(2)),
    ]
    assert ids[:2] == ["body", "head"]
    assert ids[2] != ids[3]


def test_a_timeout_is_told(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits too long gets 503 and a time to come back, and is not in the log."""
    import time

    def slow(features: Sequence[str], keys: Sequence[Entity]) -> Fetched:
        time.sleep(0.4)
        return lookup({"d1": [20, 1, 0, 0]})(features, keys)

    made = house(services, {"pumps": live(FOREST)}, fetch=slow, limits=Limits(timeout_seconds=0.05))
    answer = post(made, "/predict", {"entity": "d1"})
    assert (answer.status_code, "within 0.05 s" in answer.json()["detail"]) == (503, True)


def test_what_is_answered_is_in_the_spool_before_it_is_told(services: Services, tmp_path: Path) -> None:
    """The moment the answer is there, the rows are on disk."""
    spool = Spool(tmp_path / "spool", "w1")
    made = house(services, {"pumps": live(FOREST, 1, spool)}, spool=spool)
    assert post(made, "/predict", {"features": GOOD}).status_code == 200
    (segment,) = (tmp_path / "spool" / "w1").glob("*.open")
    assert b"temperature" in segment.read_bytes()
    assert spool.written_rows == 1

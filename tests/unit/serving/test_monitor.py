"""Live drift: quiet on what has not changed, loud on what has, silent on too little."""

from __future__ import annotations

import asyncio
import json
import time

import numpy as np
import pytest

from mlops.services import Services
from mlops.serving.sketch import LARGE, MIN_ROWS, SCORE, WINDOW_SECONDS, Sketch, index
from tests.serving_models import FEATURES, fitted, house, live, rows


def made(clock: list[float] | None = None, seed: int = 0) -> Sketch:
    """A sketch of two columns and a score."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(5_000, 2))
    found = Sketch.of(("a", "b"), X, X.sum(axis=1), (lambda: clock[0]) if clock else time.monotonic)
    assert found is not None
    return found


def feed(sketch: Sketch, X: np.ndarray) -> None:
    """Rows in requests of different sizes."""
    for part in np.array_split(X, 37):
        sketch.add(np.ascontiguousarray(part), part.sum(axis=1))


def test_what_has_not_changed_is_no_drift() -> None:
    """Of 200 windows of the same distribution none is told to have shifted, at the smallest size that is judged too."""
    for seed in range(200):
        sketch = made(seed=seed)
        feed(sketch, np.random.default_rng(1_000 + seed).normal(size=(MIN_ROWS, 2)))
        assert {column.verdict for column in sketch.drift()} == {"no_drift"}


@pytest.mark.parametrize("change", ["shift", "spread", "missing", "constant"])
def test_what_has_changed_is_drift_in_that_column(change: str) -> None:
    """A shift by one deviation, thrice the spread, a third missing, a stuck sensor: told, and only of that column."""
    sketch = made()
    X = np.random.default_rng(5).normal(size=(2_000, 2))
    if change == "missing":
        X[::3, 1] = np.nan
    else:
        X[:, 1] = {"shift": X[:, 1] + 1, "spread": 3 * X[:, 1], "constant": np.full(2_000, 0.3)}[change]
    feed(sketch, X)
    found = {column.column: column for column in sketch.drift()}
    assert (found["a"].verdict, found["b"].verdict) == ("no_drift", "drift")
    assert found["b"].value is not None
    assert found["b"].value > LARGE
    assert found["b"].rows == 2_000


def test_too_few_rows_are_no_verdict() -> None:
    """One row less than needed: cannot tell, without a number; too small a reference: no sketch."""
    sketch = made()
    feed(sketch, np.random.default_rng(5).normal(size=(MIN_ROWS - 1, 2)) + 9)
    assert {(column.verdict, column.value) for column in sketch.drift()} == {("cannot_tell", None)}
    few = np.zeros((MIN_ROWS - 1, 2))
    assert Sketch.of(("a", "b"), few, few.sum(axis=1)) is None


def test_what_is_over_is_forgotten_after_two_windows() -> None:
    """Drift that ended stays visible for one window, and is gone after the next."""
    clock = [0.0]
    sketch, rng = made(clock), np.random.default_rng(5)
    feed(sketch, rng.normal(size=(2_000, 2)) + 2)
    verdicts = []
    for _ in range(3):
        clock[0] += WINDOW_SECONDS
        feed(sketch, rng.normal(size=(2_000, 2)))
        verdicts.append(sketch.drift()[0].verdict)
    assert verdicts == ["drift", "no_drift", "no_drift"]


def test_the_index_is_that_of_the_definition() -> None:
    """Computed by hand for two bins, the noise taken off."""
    e, f = np.array([80, 20]), np.array([40, 160])
    p, q = np.array([80.5, 20.5]) / 101, np.array([40.5, 160.5]) / 201
    assert index(e, f) == pytest.approx(((p - q) * np.log(p / q)).sum() - (1 / 100 + 1 / 200), abs=1e-9)


def test_the_service_tells_of_live_drift(services: Services) -> None:
    """Rows that are all alike, of a model that learned from others: the monitor says which columns shifted."""
    scorer, known = fitted("hbos"), rows(2_000)
    version = live(scorer)
    X = np.ascontiguousarray(known[list(FEATURES)].to_numpy())
    sketch = Sketch.of(FEATURES, X, scorer.score(known))
    asked = house(services, {"pumps": type(version)(version.predictor, version.signature, version.mask, 1, sketch)})
    monitor = asked.service.monitors["pumps"]
    assert {column.verdict for column in monitor.detect_drift()} == {"cannot_tell"}
    body = json.dumps({"rows": [dict.fromkeys(FEATURES, 1.0)] * 600}).encode()
    assert asyncio.run(asked.client.post("/predict/batch", content=body)).status_code == 200
    found = {column.column: column.verdict for column in monitor.detect_drift()}
    assert found == dict.fromkeys([*FEATURES, SCORE], "drift")
    assert monitor.get_metrics()["requests"] == {"200": 1}

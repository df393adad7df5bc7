"""Gates on scores and on the model as a thing that is served."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from mlops.models.packaging import compiled_equals_plain, serialised_bytes, signature_unchanged, size
from mlops.models.scores import agrees_with_champion, events_found, score_distribution
from mlops.spec import GatesSpec

SPEC = GatesSpec()


def test_a_constant_model_is_refused() -> None:
    """One score for nearly all rows says nothing; at the limit it is allowed, without scores nobody can tell."""
    scores = np.zeros(100)
    scores[:5] = np.arange(1, 6)
    assert score_distribution(scores, most=0.95).verdict == "pass"
    scores[4] = 0
    assert score_distribution(scores, most=0.95).verdict == "fail"
    assert score_distribution(np.full(9, np.nan), most=0.95).verdict == "cannot_tell"


def test_without_labels_a_challenger_turned_round_is_refused() -> None:
    """Scores that rank as the champion's do agree, whatever their scale; the negative of them does not."""
    rng = np.random.default_rng(0)
    champion = rng.normal(size=1_000)
    agreed = agrees_with_champion(np.exp(champion), champion, least=0.2)
    assert (agreed.verdict, agreed.value, agreed.numbers["top_shared"]) == ("pass", pytest.approx(1.0), 1.0)
    assert agrees_with_champion(-champion, champion, least=0.2).verdict == "fail"
    assert agrees_with_champion(rng.normal(size=1_000), champion, least=0.2).verdict == "fail"
    assert agrees_with_champion(np.ones(1_000), champion, least=0.2).verdict == "cannot_tell"


def faults() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Sixty faults of three rows, one a device; labels, devices, times, and scores that see each fault's middle row."""
    devices, times = np.repeat(np.arange(60), 20), np.tile(np.arange(20), 60)
    y = ((times >= 5) & (times < 8)).astype(float)
    return y, devices, times, (times == 6).astype(float)


def test_an_event_is_found_by_any_of_its_rows() -> None:
    """One flagged row of three finds the fault; a flag elsewhere does not."""
    y, devices, times, scores = faults()
    found = events_found(y, devices, times, (scores, 0.5), None, blocks=devices, spec=SPEC)
    assert (found.verdict, found.value) == ("pass", 1.0)
    beside = events_found(y, devices, times, ((times == 8).astype(float), 0.5), None, blocks=devices, spec=SPEC)
    assert beside.value == 0.0


def test_missing_more_faults_than_the_champion_is_refused() -> None:
    """A third of the faults lost is harm; one of sixty is not shown to be."""
    y, devices, times, scores = faults()
    for lost, verdict in ((20, "fail"), (1, "pass")):
        fewer = np.where(devices < lost, 0.0, scores)
        result = events_found(y, devices, times, (fewer, 0.5), (scores, 0.5), blocks=devices, spec=SPEC)
        assert (result.verdict, result.limit) == (verdict, 1.0)
        assert f"{60 - lost} of 60 events are found, by the champion 60" in result.reason


def test_a_fault_split_by_row_order_is_still_one() -> None:
    """Events are runs in time within an entity, in whatever order the rows come."""
    y, devices, times, scores = faults()
    order = np.random.default_rng(1).permutation(len(y))
    result = events_found(
        y[order], devices[order], times[order], (scores[order], 0.5), None, blocks=devices[order], spec=SPEC
    )
    assert "60 of 60 events" in result.reason


def test_nothing_to_find_cannot_tell_and_does_not_decide() -> None:
    """No fault, or no threshold: the evidence says so, and other gates decide."""
    y, devices, times, scores = faults()
    for truth, threshold in ((0 * y, 0.5), (y, None)):
        result = events_found(truth, devices, times, (scores, threshold), None, blocks=devices, spec=SPEC)
        assert (result.verdict, result.decides) == ("cannot_tell", False)


def test_a_change_of_the_signature_must_be_declared() -> None:
    """A feature more or less, or other classes, are refused unless the spec declares them; order does not matter."""
    assert signature_unchanged(("b", "a"), ("a", "b")).verdict == "pass"
    assert signature_unchanged(("a",), None).verdict == "pass"
    result = signature_unchanged(("a", "c"), ("a", "b"), declared=("c",))
    assert (result.verdict, result.value) == ("fail", 1.0)
    assert "new: c; gone: b" in result.reason
    assert signature_unchanged(("a", "c"), ("a", "b"), declared=("c", "b")).verdict == "pass"
    assert signature_unchanged(("a",), ("a",), classes=(0, 1, 2), champion_classes=(0, 1)).verdict == "fail"
    assert signature_unchanged((), ("a",), classes=(0, 1), declared=("*",)).verdict == "pass"


def test_size_is_that_of_the_serialised_model() -> None:
    """What is counted equals the length of the pickle, arrays included; at the limit passes, above it fails."""
    model = {"weights": np.arange(10_000.0), "name": "m"}
    assert serialised_bytes(model) == len(pickle.dumps(model, protocol=5))
    assert size(2.0, None, limit=2.0).verdict == "pass"
    assert size(2.1, 1.0, limit=2.0).verdict == "fail"


@pytest.mark.parametrize(
    ("difference", "problem", "verdict"),
    [(0.0, "", "pass"), (1e-9, "", "pass"), (2e-9, "", "fail"), (0.0, "it is another", "fail"),
     (None, "it fails", "fail"), (None, "", "cannot_tell")],
)  # fmt: skip
def test_a_compiled_form_must_be_within_its_limit(difference: float | None, problem: str, verdict: str) -> None:
    """A difference at the limit passes, one above or another problem fails, none at all cannot be told."""
    gate = compiled_equals_plain(difference, 10, limit=1e-9, problem=problem)
    assert (gate.verdict, gate.value, gate.decides) == (verdict, difference, True)
    assert problem in gate.reason

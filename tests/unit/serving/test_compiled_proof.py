"""The proof that is signed with a version: without one that names it, no compiled form answers."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from mlops.errors import RegistryError
from mlops.models import serialization
from mlops.serving import compiled_tails
from mlops.serving.compiled_form import Floats, Form, Preparation
from mlops.serving.compiled_proof import LIMIT, Proof, digest_of, forms_of, prove
from mlops.serving.predictor import Predictor
from mlops.spec import Task
from tests.serving_models import FEATURES, fitted, rows, version
from tests.unit.serving.test_compiled import COMPILED

UNSEEN = rows(80, seed=7)


def served(proof: Proof, algorithm: str = "hbos") -> Predictor:
    """A version whose files hold a proof."""
    return Predictor.of(version(), fitted(algorithm), rows(50), proof=proof)


def test_a_proof_says_on_what_it_stands_and_survives_being_kept() -> None:
    """It tells the validation rows and the largest difference, and what is read back is what was kept."""
    proof = prove(fitted("logistic_regression", "classification"), UNSEEN)
    assert (proof.rows, proof.limit, proof.reason) == (80, LIMIT, "")
    assert proof.largest_difference is not None
    assert 0 <= proof.largest_difference < 1e-12
    assert Proof.of(proof.to_json, "m version 1") == proof
    assert served(prove(fitted("hbos"), UNSEEN)).compiled


@pytest.mark.parametrize(("algorithm", "task"), COMPILED)
def test_a_version_that_was_kept_compiles_to_the_form_that_was_proven(algorithm: str, task: Task) -> None:
    """Read back from its file, a scorer has the same numbers; one that learned from other rows has others."""
    scorer = fitted(algorithm, task)
    proof = prove(scorer, UNSEEN)
    kept = serialization.loads(serialization.dumps(scorer, ()), name="m", trusted_types=())
    assert digest_of(kept, forms_of(kept)) == proof.form
    frame = rows(400, seed=5)
    label = frame["temperature"].fillna(0) > 20
    other = scorer.fit(frame, None if task == "anomaly" else label.to_numpy().astype(int))
    assert digest_of(other, forms_of(other)) != proof.form


def test_without_a_proof_the_plain_scorer_answers() -> None:
    """A version that was registered without one is served, as itself, and the reason is told."""
    predictor = served(Proof.of(None, "m version 1"))
    assert not predictor.compiled
    assert predictor.reason.startswith("it was registered without a proof")
    values = np.ascontiguousarray(UNSEEN[list(FEATURES)].to_numpy())
    answers = predictor.answers(values, [None] * len(UNSEEN))
    np.testing.assert_array_equal(answers.score, fitted("hbos").score(UNSEEN))


@pytest.mark.parametrize("change", [{"form": "0" * 64}, {"form": ""}])
def test_a_proof_of_another_form_is_none(change: dict[str, str]) -> None:
    """A form that is not the one that the proof names does not answer, however equal it is."""
    predictor = served(dataclasses.replace(prove(fitted("hbos"), UNSEEN), **change))
    assert (predictor.compiled, "proven" in predictor.reason or "names no" in predictor.reason) == (False, True)


def test_one_number_more_is_another_form() -> None:
    """The digest holds every number, its type and its shape."""
    numbers: list[tuple[object, ...]] = [
        (np.zeros(4), 1.0),
        (np.zeros((2, 2)), 1.0),
        (np.zeros(4, dtype=np.int64), 1.0),
        (np.array([0, 0, 0, 5e-324]), 1.0),
        (np.zeros(4), 1),
        (np.zeros(4), True),
        (np.zeros(4), 1.0, "expit"),
    ]
    digests = {Form(lambda found: found, each).digest for each in numbers}  # type: ignore[arg-type]
    assert len(digests) == len(numbers)


def test_what_differs_on_a_validation_row_is_not_proven(monkeypatch: pytest.MonkeyPatch) -> None:
    """One row of all that the golden rows do not ask, and no form is named; a later, right kernel changes nothing."""
    right = compiled_tails.hbos
    rare = UNSEEN.assign(vibration=np.where(np.arange(80) == 41, 77.0, UNSEEN["vibration"]))

    def wrong(detector: object, preparation: Preparation) -> Form:
        form = right(detector, preparation)
        return Form(lambda found: form(found) + 1e-8 * (found[:, 2:3] == 77.0), form.numbers)

    with monkeypatch.context() as patch:
        patch.setattr(compiled_tails, "hbos", wrong)
        proof = prove(fitted("hbos"), rare)
    assert (proof.form, proof.rows) == ("", 80)
    assert proof.largest_difference == pytest.approx(1e-8 / fitted("hbos").score(rare)[41], rel=1e-3)
    predictor = served(Proof.of(proof.to_json, "m"))
    assert (predictor.compiled, predictor.reason) == (False, proof.reason)


def test_a_kernel_that_has_changed_since_is_found_on_golden_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The numbers are those that were proven, the code is not: what it answers is asked again before it serves."""
    proof = prove(fitted("hbos"), UNSEEN)
    right = compiled_tails.hbos

    def changed(detector: object, preparation: Preparation) -> Form:
        form = right(detector, preparation)
        return Form(lambda found: 1.001 * form(found), form.numbers)

    monkeypatch.setattr(compiled_tails, "hbos", changed)
    predictor = served(proof)
    assert not predictor.compiled
    assert "golden rows" in predictor.reason


def test_a_kernel_that_fails_is_no_reason_to_lose_a_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it stumbled over is the reason why the plain scorer serves."""

    def broken(detector: object, preparation: Preparation) -> Form:
        def kernel(found: Floats) -> Floats:
            raise ZeroDivisionError("no rows\nat all")

        return Form(kernel, ())

    monkeypatch.setattr(compiled_tails, "hbos", broken)
    proof = prove(fitted("hbos"), UNSEEN)
    assert (proof.form, proof.reason) == ("", "its compiled form fails: ZeroDivisionError: no rows")
    assert not served(proof).compiled


def test_without_validation_rows_nothing_is_proven() -> None:
    """Cannot tell is not equal."""
    proof = prove(fitted("hbos"), UNSEEN.iloc[:0])
    assert (proof.form, proof.rows, proof.largest_difference) == ("", 0, None)
    assert "no validation rows" in proof.reason


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"form": 1}'])
def test_a_file_that_is_no_proof_is_refused_in_words(content: bytes) -> None:
    """Signed or not: what cannot be read names the file and the version."""
    with pytest.raises(RegistryError, match=r"m version 1: its compiled\.json cannot be read"):
        Proof.of(content, "m version 1")


def test_a_model_per_entity_is_proven_for_each() -> None:
    """The form that is named is that of all entities; rows of a stranger are missed by both."""
    scorer = fitted("ecod", per_entity=True)
    frame = pd.concat([UNSEEN, UNSEEN.head(3).assign(device_id="stranger")], ignore_index=True)
    proof = prove(scorer, frame)
    assert (proof.rows, proof.largest_difference, proof.reason) == (83, 0.0, "")
    assert Predictor.of(version(), scorer, proof=proof).compiled

"""Compiled scorers: what they say is what the plain scorer says, or the plain scorer says it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mlops.errors import RegistryError
from mlops.models import catalogue
from mlops.models.scoring import Scorer
from mlops.serving import compiled as compiling
from mlops.serving.compiled_form import Floats, Form, Preparation
from mlops.serving.compiled_proof import Proof
from mlops.serving.predictor import Predictor
from mlops.spec import Task
from tests.serving_models import FEATURES, fitted, rows, version
from tests.serving_models import predictor as proven

ROOT = Path(__file__).parents[3]
EXACT = ("isolation_forest", "ecod", "copod", "hbos", "random_forest", "extra_trees", "decision_tree")
COMPILED: list[tuple[str, Task]] = [
    *((name, "anomaly") for name in ("isolation_forest", "ecod", "copod", "hbos", "pca")),
    *(
        (name, "classification")
        for name in (
            "logistic_regression",
            "linear_discriminant",
            "gaussian_naive_bayes",
            "decision_tree",
            "extra_trees",
            "random_forest",
            "gradient_boosting",
            "hist_gradient_boosting",
        )
    ),
    *(
        (name, "regression")
        for name in (
            "linear_regression",
            "ridge",
            "lasso",
            "elastic_net",
            "bayesian_ridge",
            "huber",
            "decision_tree",
            "extra_trees",
            "random_forest",
            "gradient_boosting",
            "hist_gradient_boosting",
        )
    ),
]


def asked(frame: pd.DataFrame) -> Floats:
    """The features as arrays."""
    return np.ascontiguousarray(frame[list(FEATURES)].to_numpy())


def hard_rows() -> pd.DataFrame:
    """Rows seen and unseen, far away, unknown in part or throughout, and on the edges of what was learned."""
    seen, new = rows(60), rows(60, seed=9)
    new.loc[:9, list(FEATURES)] *= 1e6
    new.loc[10:19, list(FEATURES)] = np.nan
    new.loc[20:29, list(FEATURES)[:3]] = np.nan
    return pd.concat([seen, new], ignore_index=True)


@pytest.mark.parametrize(("algorithm", "task"), COMPILED)
def test_compiled_says_what_plain_says(algorithm: str, task: Task) -> None:
    """Scores, probabilities, flags and labels agree on hard rows, alone and together; trees and tails to the bit."""
    for classes in (2, 3) if task == "classification" else (2,):
        scorer = fitted(algorithm, task, classes=classes)
        predictor = proven(scorer, rows(50))
        assert predictor.compiled, predictor.reason
        frame = hard_rows()
        plain, ours = scorer.predict(frame), predictor.answers(asked(frame), [None] * len(frame))
        limit = 0.0 if algorithm in EXACT else 1e-9
        expected = plain["score"].to_numpy()
        assert (np.isnan(expected) == np.isnan(ours.score)).all()
        assert np.isnan(expected).sum() == 10
        np.testing.assert_allclose(ours.score, expected, rtol=limit, atol=limit)
        if "flag" in plain:
            assert [None if pd.isna(f) else bool(f) for f in plain["flag"]] == ours.flag
            assert {True, False, None} == set(ours.flag or ())
        if "label" in plain:
            assert [None if pd.isna(each) else each for each in plain["label"]] == ours.label
        one = [predictor.answers(asked(frame)[i : i + 1], [None]).score[0] for i in range(len(frame))]
        assert np.array_equal(one, ours.score, equal_nan=True)


@pytest.mark.parametrize("scale", ["standard", "robust", "none"])
def test_every_scale_is_followed(scale: str) -> None:
    """However rows are scaled, the compiled forest scores them as the plain one."""
    scorer = fitted("isolation_forest", scale=scale)
    predictor = proven(scorer)
    assert predictor.compiled
    np.testing.assert_array_equal(predictor.answers(asked(rows(80)), [None] * 80).score, scorer.score(rows(80)))


@given(values=arrays(float, (6, 4), elements=st.floats(allow_infinity=False, width=32)), data=st.data())
@settings(max_examples=60)
def test_forests_and_tails_agree_on_any_row(values: Floats, data: st.DataObject) -> None:
    """Any finite or missing values, among them the exact values that trees split at and histograms end at."""
    algorithm = data.draw(st.sampled_from(["isolation_forest", "ecod", "hbos"]))
    scorer, predictor = PAIRS.setdefault(algorithm, _pair(algorithm))
    edges = rows(400)[list(FEATURES)].to_numpy()
    values[0] = edges[data.draw(st.integers(0, len(edges) - 1))]
    frame = pd.DataFrame(values, columns=list(FEATURES))
    ours = predictor.answers(np.ascontiguousarray(values), [None] * 6).score
    np.testing.assert_array_equal(ours, scorer.score(frame))


PAIRS: dict[str, tuple[Scorer, Predictor]] = {}


def _pair(algorithm: str) -> tuple[Scorer, Predictor]:
    if algorithm in PAIRS:
        return PAIRS[algorithm]
    scorer = fitted(algorithm)
    return scorer, proven(scorer)


def test_a_model_per_entity_answers_for_each_with_its_own() -> None:
    """Each device's rows are scored by its model; a stranger gets no score."""
    scorer = fitted("isolation_forest", per_entity=True)
    predictor = proven(scorer, rows(50))
    assert predictor.compiled
    frame = rows(40).assign(device_id=[f"d{i % 5}" for i in range(40)])
    ours = predictor.answers(asked(frame), frame["device_id"].tolist())
    np.testing.assert_array_equal(ours.score, scorer.score(frame))
    assert np.isnan(ours.score[4])
    assert (predictor.knows("d0"), predictor.knows("d4")) == (True, False)


def test_a_class_that_an_entity_has_not_seen_has_probability_zero() -> None:
    """Probabilities stand under the right class, whichever of them a device has seen."""
    frame = rows(400)
    y = np.where(frame["device_id"] == "d0", np.arange(400) // 4 % 2, np.arange(400) // 4 % 3)
    built = catalogue.build(
        catalogue.CandidateSpec(algorithm="logistic_regression", per_entity=True),
        task="classification",
        features=FEATURES,
        entity="device_id",
        seed=0,
    )
    scorer = built.fit(frame, y)
    predictor = proven(scorer)
    assert predictor.compiled
    ours = predictor.answers(asked(frame[:8]), frame["device_id"][:8].tolist())
    plain = scorer.predict(frame[:8])[["proba_0", "proba_1", "proba_2"]].to_numpy()
    np.testing.assert_allclose(ours.probabilities, plain, atol=1e-12)
    assert ours.probabilities is not None
    assert ours.probabilities[0][2] == 0


@pytest.mark.parametrize("wrong_by", [1e-6, 1.0, float("nan")])
def test_a_kernel_that_differs_does_not_serve(wrong_by: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Off by a millionth, the compiled form is refused, the reason says by how much, and the plain one answers."""
    from mlops.serving import compiled_tails

    right = compiled_tails.hbos

    def wrong(detector: object, preparation: Preparation) -> Form:
        form = right(detector, preparation)
        return Form(lambda found: form(found) + wrong_by * (found[:, :1] > 1), form.numbers)

    monkeypatch.setattr(compiled_tails, "hbos", wrong)
    scorer = fitted("hbos")
    predictor = proven(scorer, rows(50))
    assert not predictor.compiled
    apart = r"differs by \d\.\d+e-07" if wrong_by == 1e-6 else "flags, labels or misses other rows"
    assert re.fullmatch(f"its compiled form {apart} on 80 validation rows", predictor.reason)
    np.testing.assert_array_equal(predictor.answers(asked(rows(9)), [None] * 9).score, scorer.score(rows(9)))


def test_what_has_no_compiled_form_is_served_plainly() -> None:
    """A k-nearest-neighbours detector answers, and the predictor says why it does so plainly."""
    scorer = fitted("knn")
    predictor = proven(scorer)
    assert (predictor.compiled, predictor.reason) == (False, "KNN has no compiled form")
    np.testing.assert_array_equal(predictor.answers(asked(rows(9)), [None] * 9).score, scorer.score(rows(9)))


def test_an_estimator_that_is_arranged_otherwise_is_served_plainly() -> None:
    """A forest without the arrays that the kernel reads is answered by its own library."""
    scorer = fitted("isolation_forest")
    scorer.units[None].estimator.detector_._max_samples = "otherwise"
    with pytest.raises(compiling.NotCompiledError, match="arranged otherwise"):
        compiling.compiled(scorer.units[None], scorer.how)


def test_a_version_without_finite_scores_must_not_answer() -> None:
    """A version whose golden rows come out as NaN is refused before anybody asks it."""

    class Silent:
        """A scorer that knows nothing."""

        def __getattr__(self, name: str) -> object:
            return getattr(PLAIN, name)

        def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
            """NaN."""
            return PLAIN.predict(frame).assign(score=np.nan)

    with pytest.raises(RegistryError, match="no finite score"):
        Predictor.of(version(7), Silent(), proof=Proof(reason="nobody asks"))  # type: ignore[arg-type]


PLAIN = fitted("hbos")


def test_contributions_are_what_each_feature_adds() -> None:
    """A feature at its median contributes nothing; of an additive detector they add up to the distance from medians."""
    scorer = fitted("hbos")
    predictor = proven(scorer)
    unit = scorer.units[None]
    row = np.array([[*unit.medians]])
    row[0, 1] = 40.0
    found = predictor.contributions(row, [None])
    score, usual = (predictor.answers(each, [None]).score[0] for each in (row, unit.medians[None, :].copy()))
    assert found.shape == (1, 4)
    np.testing.assert_allclose(found[0, [0, 2, 3]], 0, atol=1e-12)
    np.testing.assert_allclose(found[0, 1], score - usual)
    assert found[0, 1] > 0


def test_the_table_in_docs_names_every_algorithm_and_whether_it_is_compiled() -> None:
    """docs/serving.md says of each name of the catalogue what serves it."""
    text = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    told = dict(re.findall(r"^\| `(\w+/\w+)` \| (compiled|plain) \|", text, re.MULTILINE))
    compiled = {f"{task}/{name}" for name, task in COMPILED}
    every = {f"{task}/{name}" for task, names in catalogue.ALGORITHMS.items() for name in names}
    assert told == {name: "compiled" if name in compiled else "plain" for name in every}

"""Scoring: a row's score is its own, everything is learned from the fit rows, and "cannot tell" is never an alarm."""

from __future__ import annotations

from collections.abc import Sequence

import cloudpickle
import numpy as np
import pandas as pd
import pytest
from pyod.models.knn import KNN
from sklearn.preprocessing import RobustScaler, StandardScaler

from mlops.errors import SchemaError, TrainingError
from mlops.models import catalogue
from mlops.models.scoring import MIN_ROWS_PER_ENTITY, Scorer
from mlops.spec import CandidateSpec, Task

FEATURES = ("temperature", "pressure", "vibration")


def telemetry(rows: int = 300, seed: int = 0) -> pd.DataFrame:
    """Three devices, three features of unlike scale."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(rows, 3)) * [5, 1, 0.1] + [60, 8, 2], columns=list(FEATURES))
    return frame.assign(device_id=rng.choice(["a", "b", "c"], rows))


def build(algorithm: str, task: Task = "anomaly", features: Sequence[str] = FEATURES, **spec: object) -> Scorer:
    """An unfitted scorer."""
    candidate = CandidateSpec.model_validate({"algorithm": algorithm} | spec)
    return catalogue.build(candidate, task=task, features=features, entity="device_id", seed=0)


# --- learning -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("scale", "scaler"), [("standard", StandardScaler()), ("robust", RobustScaler())])
def test_scaling_is_scikit_learns_and_learned_on_the_fit_rows(scale: str, scaler: StandardScaler) -> None:
    """The scorer's kNN distances are those of scikit-learn's scaler fitted on the same rows, to the last bit."""
    frame, new = telemetry(), telemetry(50, seed=1)
    fit_rows, new_rows = (np.ascontiguousarray(rows[list(FEATURES)]) for rows in (frame, new))
    X = scaler.fit_transform(fit_rows)
    wanted = KNN().fit(X).decision_function(scaler.transform(new_rows))
    assert (build("knn", scale=scale).fit(frame).score(new) == wanted).all()


def test_missing_and_infinite_values_take_the_median_of_the_fit_rows() -> None:
    """A row with a hole scores like the row with the fit rows' median in it; so does one with an infinite value."""
    frame = telemetry()
    frame.loc[::7, "pressure"] = np.nan
    scorer = build("knn").fit(frame)
    row = telemetry(1, seed=2)
    filled = row.assign(pressure=frame["pressure"].median())
    for hole in (np.nan, np.inf, -np.inf):
        assert scorer.score(row.assign(pressure=hole)) == pytest.approx(scorer.score(filled), rel=1e-12)


def test_a_row_without_any_feature_cannot_be_told() -> None:
    """All features null: the score is NaN, the flag null, whatever the threshold; other rows are judged."""
    scorer = build("ecod").fit(telemetry()).with_threshold(-1.0)
    new = telemetry(3, seed=1)
    new.loc[1, list(FEATURES)] = np.nan
    answer = scorer.predict(new)
    assert answer["score"].isna().tolist() == [False, True, False]
    assert answer["flag"].tolist() == [True, pd.NA, True]
    assert answer["flag"].fillna(False).sum() == 2


def test_a_row_at_the_threshold_is_not_flagged() -> None:
    """Flagged means above."""
    scorer = build("hbos").fit(telemetry())
    new = telemetry(20, seed=1)
    scores = scorer.score(new)
    flags = scorer.with_threshold(float(scores[3])).predict(new)["flag"].to_numpy(bool)
    assert (flags == (scores > scores[3])).all()
    assert not flags[3]


def test_without_a_threshold_a_detector_flags_nothing() -> None:
    """No threshold was set: the answer has scores and no flags, rather than flags that mean nothing."""
    assert list(build("hbos").fit(telemetry()).predict(telemetry(2)).columns) == ["score"]


def test_columns_go_by_name() -> None:
    """Another order and further columns change nothing; the index of the frame is kept."""
    scorer, new = build("pca").fit(telemetry()), telemetry(5, seed=1)
    odd = (
        new[["vibration", "device_id", "temperature", "pressure"]].assign(extra="x").set_index(pd.Index(list("vwxyz")))
    )
    assert (scorer.score(odd) == scorer.score(new)).all()
    assert list(scorer.predict(odd).index) == list("vwxyz")


@pytest.mark.parametrize("algorithm", ["hbos", "ecod"])
def test_a_missing_column_is_named(algorithm: str) -> None:
    """PyOD's HBOS would take four features where it learned six; here the missing one is named."""
    with pytest.raises(SchemaError, match=r"needs the column 'pressure'.*Did you mean 'presure'"):
        build(algorithm).fit(telemetry()).score(telemetry().rename(columns={"pressure": "presure"}))


def test_text_is_not_cast_in_silence() -> None:
    """MLflow casts strings in double columns; a scorer refuses them."""
    with pytest.raises(SchemaError, match=r"'pressure' is of type .*expected numbers"):
        build("hbos").fit(telemetry()).score(telemetry(2).assign(pressure="7.5"))


def test_a_feature_that_is_null_throughout_is_named() -> None:
    """There is no median to learn."""
    with pytest.raises(TrainingError, match=r"pressure is null in all 300 fit rows"):
        build("hbos").fit(telemetry().assign(pressure=np.nan))


def test_an_unfitted_scorer_says_so() -> None:
    """`fit` returns a new scorer; the old one stays unfitted."""
    scorer = build("hbos")
    scorer.fit(telemetry())
    with pytest.raises(TrainingError, match="has not been fitted"):
        scorer.score(telemetry(1))


def test_an_algorithm_that_refuses_says_why_and_with_what_params() -> None:
    """The library's own words are kept, the params beside them."""
    with pytest.raises(TrainingError, match=r"knn could not be fitted on 300 rows.*n_neighbors"):
        build("knn", params={"n_neighbors": 400}).fit(telemetry())


@pytest.mark.parametrize("algorithm", ["rod", "pyod.models.sos.SOS"])
def test_a_detector_whose_scores_depend_on_the_batch_is_refused(algorithm: str) -> None:
    """It would score a row differently every night; the message names detectors that do not."""
    with pytest.raises(TrainingError, match=r"another score when other rows are scored with it.*isolation_forest"):
        build(algorithm).fit(telemetry(60))


@pytest.mark.parametrize("algorithm", [*catalogue.names("anomaly"), "loda", "sklearn.ensemble.IsolationForest"])
def test_every_detector_is_decided_by_the_seed_and_survives_pickling(algorithm: str) -> None:
    """Fitted twice it gives the same scores, and pickled too; an outlier scores above the typical row."""
    frame = telemetry()
    scorer = build(algorithm).fit(frame)
    scores = scorer.score(frame)
    assert (build(algorithm).fit(frame).score(frame) == scores).all()
    assert (cloudpickle.loads(cloudpickle.dumps(scorer)).score(frame) == scores).all()
    outlier = frame.head(1).assign(temperature=200.0, pressure=40.0, vibration=9.0)
    assert scorer.score(outlier)[0] > np.median(scores)


# --- one model per entity -------------------------------------------------------------------------------------------


def test_one_model_per_entity_learns_from_its_own_rows() -> None:
    """Device b runs 1,000 °C hotter: normal for b, far out for a; together the two would hide it."""
    frame = telemetry()
    frame.loc[frame["device_id"] == "b", "temperature"] += 1000
    scorer = build("knn", per_entity=True).fit(frame)
    alone = build("knn").fit(frame[frame["device_id"] == "a"])
    own = frame[frame["device_id"] == "a"]
    assert (scorer.score(own) == alone.score(own)).all()
    hot = own.head(1).assign(temperature=1060.0)
    assert scorer.score(hot)[0] > 100 * np.median(scorer.score(own))
    own_median = own["temperature"].median()
    hole, filled = (own.head(1).assign(temperature=value) for value in (np.nan, own_median))
    assert scorer.score(hole) == pytest.approx(scorer.score(filled), rel=1e-12)
    assert scorer.fitted_rows == len(frame)


def test_an_entity_without_a_model_of_its_own_cannot_be_told() -> None:
    """Never seen, seen too rarely, or null: NaN; the others are judged."""
    frame = pd.concat([telemetry(), telemetry(MIN_ROWS_PER_ENTITY - 1).assign(device_id="rare")])
    scorer = build("hbos", per_entity=True).fit(frame)
    new = telemetry(4, seed=1).assign(device_id=["a", "new", "rare", None])
    assert np.isnan(scorer.score(new)).tolist() == [False, True, True, True]
    with pytest.raises(TrainingError, match=r"no device_id has the 30 fit rows"):
        build("hbos", per_entity=True).fit(telemetry(40))


@pytest.mark.parametrize("algorithm", catalogue.names("anomaly"))
def test_a_feature_that_never_varies_for_one_entity_leaves_its_scores_finite(algorithm: str) -> None:
    """Device b reports one pressure throughout: its rows are judged by the rest, and an outlier among them is seen."""
    frame = telemetry()
    frame.loc[frame["device_id"] == "b", "pressure"] = 8.0
    scorer = build(algorithm, per_entity=True).fit(frame)
    assert np.isfinite(scorer.score(frame)).all()
    of_b = frame[frame["device_id"] == "b"]
    assert scorer.score(of_b.head(1).assign(temperature=200.0, vibration=9.0))[0] > np.median(scorer.score(of_b))


def test_a_feature_that_one_entity_lacks_takes_the_median_of_all() -> None:
    """Device b has no pressure sensor: it is judged by the rest."""
    frame = telemetry()
    frame.loc[frame["device_id"] == "b", "pressure"] = np.nan
    scorer = build("ecod", per_entity=True).fit(frame)
    assert not np.isnan(scorer.score(frame)).any()


# --- classification and regression ----------------------------------------------------------------------------------


def test_a_classifier_gives_the_probability_of_class_1_and_flags_by_its_threshold() -> None:
    """Score, flag, label and a probability per class fit together; the threshold moves flag and label alike."""
    frame = telemetry()
    y = (frame["temperature"] > 60).to_numpy(float)
    scorer = build("logistic_regression", "classification").fit(frame, y)
    answer = scorer.predict(frame)
    assert list(answer.columns) == ["score", "flag", "label", "proba_0", "proba_1"]
    assert (answer["score"] == answer["proba_1"]).all()
    np.testing.assert_allclose(answer["proba_0"] + answer["proba_1"], 1)
    assert ((answer["score"] > 0.5) == answer["flag"]).all()
    assert (answer["label"] == answer["flag"].astype(float)).all()
    assert (answer["label"] == y).mean() > 0.95
    strict = scorer.with_threshold(0.99).predict(frame)
    assert (strict["label"] == (answer["score"] > 0.99)).all()


def test_several_classes_are_labelled_by_the_most_probable() -> None:
    """Three named classes: label and probabilities, no flag; a row without features has no label."""
    frame = telemetry()
    y = pd.cut(frame["temperature"], [-np.inf, 57, 63, np.inf], labels=["cold", "fine", "hot"]).astype(str).to_numpy()
    new = frame.copy()
    new.loc[0, list(FEATURES)] = np.nan
    answer = build("random_forest", "classification").fit(frame, y).predict(new)
    assert list(answer.columns) == ["score", "label", "proba_cold", "proba_fine", "proba_hot"]
    assert pd.isna(answer.loc[0, "label"])
    assert pd.isna(answer.loc[0, "score"])
    assert (answer["label"].iloc[1:] == y[1:]).mean() > 0.9
    assert (answer["score"].iloc[1:] == answer.filter(like="proba_").max(axis=1).iloc[1:]).all()


def test_an_entity_that_has_not_seen_every_class_gives_it_no_probability() -> None:
    """Per entity, columns are those of all classes; an entity with one class only has no classifier of its own."""
    frame = telemetry(600).sort_values("device_id", ignore_index=True)
    y = (frame["temperature"] > 60).astype(int).to_numpy()
    y[(frame["device_id"] == "a") & (frame["pressure"] > 8)] = 2
    y[frame["device_id"] == "c"] = 0
    answer = build("random_forest", "classification", per_entity=True).fit(frame, y).predict(frame)
    assert (answer.loc[frame["device_id"] == "b", "proba_2"] == 0).all()
    assert answer.loc[frame["device_id"] == "a", "proba_2"].max() > 0.5
    assert answer.loc[frame["device_id"] == "c", "score"].isna().all()


def test_a_regressor_gives_the_value() -> None:
    """A linear truth is found again; there is nothing to flag."""
    frame = telemetry()
    y = 2 * frame["temperature"].to_numpy() - 3
    answer = build("linear_regression", "regression").fit(frame, y).predict(frame)
    assert list(answer.columns) == ["score"]
    np.testing.assert_allclose(answer["score"], y)


@pytest.mark.parametrize(
    ("y", "words"),
    [
        (None, "needs a label for each of 300 rows, none given"),
        (np.zeros(3), "needs a label for each of 300 rows, 3 given"),
        (np.r_[np.nan, np.ones(299)], "1 of 300 labels are null"),
        (np.zeros(300), "a classifier needs two classes"),
    ],
)
def test_labels_that_cannot_be_learned_from_are_refused(y: np.ndarray | None, words: str) -> None:
    """None, too few, null ones, or one class only."""
    with pytest.raises(TrainingError, match=words):
        build("logistic_regression", "classification").fit(telemetry(), y)

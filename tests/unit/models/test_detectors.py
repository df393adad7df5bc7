"""Detectors: PyOD's scores, but a row's own, whatever else is in the batch, and finite whatever the columns."""

from __future__ import annotations

import cloudpickle
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pyod.models.base import BaseDetector
from pyod.models.copod import COPOD
from pyod.models.ecod import ECOD
from pyod.models.hbos import HBOS
from pyod.models.iforest import IForest
from pyod.models.knn import KNN
from pyod.models.pca import PCA
from scipy.stats import skew

from mlops.models.detectors import FrozenCOPOD, FrozenECOD, FrozenHBOS, FrozenPCA, strip


@pytest.mark.parametrize(("frozen", "original"), [(FrozenECOD, ECOD), (FrozenCOPOD, COPOD)])
@given(
    seed=st.integers(0, 10_000),
    rows=st.integers(5, 60),
    skewed=st.booleans(),
    ties=st.booleans(),
    outlier=st.sampled_from([0.0, -30.0, 30.0]),
)
@settings(max_examples=40, deadline=None)
def test_the_frozen_form_scores_a_row_as_pyod_scores_it_alone(
    frozen: type[FrozenECOD],
    original: type[BaseDetector],
    seed: int,
    rows: int,
    skewed: bool,
    ties: bool,
    outlier: float,
) -> None:
    """For skewed, tied and extreme rows alike the score is PyOD's own, asked for that single row."""
    rng = np.random.default_rng(seed)
    X = rng.exponential(size=(rows, 3)) if skewed else rng.normal(size=(rows, 3))
    X = np.round(X, 1) if ties else X
    new = np.vstack([X[:2], rng.normal(size=(4, 3)) + outlier])
    pyod = original().fit(X)
    # in a symmetric column (tied rows) PyOD's answer hangs on the rounding of a skewness of 0
    assume(all((np.abs(skew(np.vstack([X, row]))) > 1e-9).all() for row in new))
    alone = np.concatenate([pyod.decision_function(row[None, :]) for row in new])
    np.testing.assert_allclose(frozen().fit(X).decision_function(new), alone, rtol=1e-9, atol=1e-9)


@given(values=arrays(float, (8, 2), elements=st.floats(-1e6, 1e6)))
@settings(max_examples=50, deadline=None)
def test_a_frozen_score_does_not_depend_on_the_batch(values: np.ndarray) -> None:
    """Scored together, in another order or alone, a row gets the same score; PyOD's own does not hold to that."""
    X = np.random.default_rng(0).normal(size=(50, 2))
    for frozen in (FrozenECOD().fit(X), FrozenCOPOD().fit(X)):
        together = frozen.decision_function(values)
        assert (together[::-1] == frozen.decision_function(values[::-1])).all()
        assert (together == [frozen.decision_function(row[None, :])[0] for row in values]).all()
        assert (together >= 0).all()


@given(
    seed=st.integers(0, 10_000),
    n_bins=st.sampled_from([3, 5, 10, "auto"]),
    ties=st.booleans(),
    reach=st.sampled_from([1.0, 1.5, 4.0, 100.0]),
)
@settings(max_examples=40, deadline=None)
def test_the_frozen_histograms_score_as_pyod_does(seed: int, n_bins: int | str, ties: bool, reach: float) -> None:
    """Within, at the edges of and far outside the histogram the score is PyOD's (whose log2 is Numba's)."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(80, 3))
    X = np.round(X, 1) if ties else X
    X[:, 2] = 7.0
    new = np.vstack([X[:20], X.min(axis=0), X.max(axis=0), rng.normal(size=(40, 3)) * reach])
    wanted = HBOS(n_bins=n_bins).fit(X).decision_function(new)
    np.testing.assert_allclose(FrozenHBOS(n_bins=n_bins).fit(X).decision_function(new), wanted, rtol=1e-12, atol=1e-12)


def test_a_constant_column_says_nothing_about_its_own_value() -> None:
    """A row with the only value ever seen scores 0 there; another value is as rare as one in n + 1."""
    frozen = FrozenECOD().fit(np.full((9, 1), 4.0))
    np.testing.assert_allclose(frozen.decision_function(np.array([[4.0], [5.0]])), [0.0, np.log(10)])


@pytest.mark.parametrize("detector", [IForest(random_state=0), KNN()])
def test_stripping_changes_no_answer_and_the_pickle_shrinks(detector: BaseDetector) -> None:
    """Scores and probabilities are as before; the training scores are gone."""
    X = np.random.default_rng(0).normal(size=(3000, 2))
    detector.fit(X)
    scores, proba, size = (
        detector.decision_function(X[:50]),
        detector.predict_proba(X[:50]),
        len(cloudpickle.dumps(detector)),
    )
    strip(detector)
    assert (detector.decision_function(X[:50]) == scores).all()
    assert (detector.predict_proba(X[:50]) == proba).all()
    assert size - len(cloudpickle.dumps(detector)) > 3000 * 12


@given(
    seed=st.integers(0, 10_000),
    params=st.sampled_from(
        [{}, {"n_components": 2}, {"n_selected_components": 2}, {"weighted": False}, {"standardization": False}]
    ),
    reach=st.sampled_from([1.0, 100.0]),
)
@settings(max_examples=40, deadline=None)
def test_the_frozen_components_score_as_pyod_does(seed: int, params: dict[str, int | bool], reach: float) -> None:
    """Where every column varies on its own, the score is PyOD's, near and far from what was learned."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(60, 4)) @ rng.normal(size=(4, 4)) * [1, 10, 0.1, 3] + [5, 0, 2, -7]
    new = rng.normal(size=(20, 4)) * reach
    wanted = PCA(**params).fit(X).decision_function(new)
    np.testing.assert_allclose(FrozenPCA(**params).fit(X).decision_function(new), wanted, rtol=1e-8)


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e9])
@pytest.mark.parametrize("params", [{}, {"n_components": 5}, {"weighted": False}, {"standardization": False}])
def test_constant_columns_count_for_nothing_in_components(constant: float, params: dict[str, int | bool]) -> None:
    """PyOD's scores on the columns that vary, the same whatever a constant one is later."""
    rng = np.random.default_rng(0)
    X = np.insert(rng.normal(size=(60, 3)), [1, 3], constant, axis=1)
    new = rng.normal(size=(9, 5))
    scores = FrozenPCA(**params).fit(X).decision_function(new)
    capped = params | ({"n_components": 3} if "n_components" in params else {})
    np.testing.assert_allclose(scores, PCA(**capped).fit(X[:, [0, 2, 3]]).decision_function(new[:, [0, 2, 3]]))
    assert np.isfinite(scores).all()


def test_columns_that_follow_from_one_another_leave_scores_of_their_own_size() -> None:
    """A column that is twice another leaves a component without variance, by which PyOD divides."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3))
    X = np.column_stack([X, X[:, 0] * 2])
    assert PCA().fit(X).decision_function(X).min() > 1e12
    frozen = FrozenPCA().fit(X)
    assert len(frozen.components_) == 3
    assert frozen.decision_function(X).max() < 1e3


def test_components_of_columns_that_never_vary_are_refused() -> None:
    """There is nothing to measure a distance by."""
    with pytest.raises(ValueError, match="every column is constant"):
        FrozenPCA().fit(np.ones((20, 2)))

"""Differences between variants: what scipy and statsmodels say where they do the same thing, laws where nobody does."""

from __future__ import annotations

import math
from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats import proportion
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

from mlops.errors import DataError
from mlops.experiments.ab import cuped, means, multiplicity, proportions, ratios, srm
from mlops.experiments.ab.effects import Alternative
from mlops.experiments.ab.samples import Counts, Moments
from mlops.experiments.ab_test import ABTestFramework, Design

ALTERNATIVES: tuple[Alternative, ...] = ("two_sided", "greater", "less")
SCIPY = {"two_sided": "two-sided", "greater": "greater", "less": "less"}
STATSMODELS = {"two_sided": "two-sided", "greater": "larger", "less": "smaller"}


@pytest.fixture
def rng() -> np.random.Generator:
    """Randomness of the test's own."""
    return np.random.default_rng(11)


@pytest.mark.parametrize("alternative", ALTERNATIVES)
def test_means_are_compared_as_scipy_does(rng: np.random.Generator, alternative: Alternative) -> None:
    """Statistic, p-value, degrees of freedom and interval are Welch's."""
    a, b = rng.normal(1, 1, 40), rng.normal(1.3, 2, 70)
    found = means.compare_means(Moments.of(a), Moments.of(b), alpha=0.1, alternative=alternative)
    said = stats.ttest_ind(b, a, equal_var=False, alternative=SCIPY[alternative])
    interval = said.confidence_interval(0.9)
    assert found is not None
    assert (found.statistic, found.pvalue, found.freedom) == pytest.approx((said.statistic, said.pvalue, said.df))
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


@pytest.mark.parametrize("alternative", ALTERNATIVES)
def test_means_are_compared_as_statsmodels_does(rng: np.random.Generator, alternative: Alternative) -> None:
    """The interval of unequal variances is that of `CompareMeans`."""
    a, b = rng.exponential(1, 50), rng.exponential(1.5, 45)
    found = means.compare_means(Moments.of(a), Moments.of(b), alternative=alternative)
    said = CompareMeans(DescrStatsW(b), DescrStatsW(a)).tconfint_diff(
        alpha=0.05, alternative=STATSMODELS[alternative], usevar="unequal"
    )
    assert found is not None
    assert (found.low, found.high) == pytest.approx(tuple(said))


@pytest.mark.parametrize("alternative", ALTERNATIVES)
def test_proportions_are_compared_as_statsmodels_does(alternative: Alternative) -> None:
    """The pooled z-test, and Newcombe's interval."""
    a, b = Counts(112, 900), Counts(141, 850)
    found = proportions.compare_proportions(a, b, alternative=alternative)
    z, p = proportion.proportions_ztest([141, 112], [850, 900], alternative=STATSMODELS[alternative])
    alpha = 0.05 if alternative == "two_sided" else 0.1
    low, high = proportion.confint_proportions_2indep(141, 850, 112, 900, method="newcomb", alpha=alpha)
    assert found is not None
    assert (found.statistic, found.pvalue) == pytest.approx((z, p))
    assert found.low == (-math.inf if alternative == "less" else pytest.approx(low))
    assert found.high == (math.inf if alternative == "greater" else pytest.approx(high))


def test_wilsons_interval_is_that_of_statsmodels() -> None:
    """Also where no or every unit had the outcome."""
    for successes in (0, 1, 17, 39, 40):
        said = proportion.proportion_confint(successes, 40, method="wilson")
        assert proportions.wilson(Counts(successes, 40), 0.05) == pytest.approx(said)


@pytest.mark.parametrize("alternative", ALTERNATIVES)
def test_few_events_are_judged_exactly(alternative: Alternative) -> None:
    """Where fewer than five are expected, the p-value is Fisher's."""
    found = proportions.compare_proportions(Counts(1, 60), Counts(6, 60), alternative=alternative)
    said = stats.fisher_exact([[6, 54], [1, 59]], alternative=SCIPY[alternative]).pvalue
    assert found is not None
    assert (found.method, found.pvalue) == ("fisher", pytest.approx(said))


def test_a_ratio_has_the_variance_of_its_linear_form(rng: np.random.Generator) -> None:
    """The delta method's standard error is that of the mean of numerator − ratio × denominator, over its mean."""
    below = rng.poisson(5, 400) + 1.0
    above = rng.binomial(below.astype(int), 0.3).astype(float)
    found = ratios.ratio_of(Moments.of(above, below))
    ratio = above.sum() / below.sum()
    linear = (above - ratio * below) / below.mean()
    assert found.value == pytest.approx(ratio)
    assert found.var == pytest.approx(linear.var(ddof=1))


def test_rows_taken_for_units_make_intervals_too_narrow(rng: np.random.Generator) -> None:
    """With units that differ, the delta method's error is well above that of a test over all rows."""
    per_unit = rng.integers(1, 40, 300)
    rate = rng.beta(2, 8, 300)
    hits = rng.binomial(per_unit, rate)
    found = ratios.ratio_of(Moments.of(hits, per_unit))
    naive = hits.sum() / per_unit.sum()
    assert math.sqrt(found.var / found.n) > 1.5 * math.sqrt(naive * (1 - naive) / per_unit.sum())


def test_a_covariate_takes_away_what_it_explains(rng: np.random.Generator) -> None:
    """CUPED is the regression on the covariate: variance falls by the squared correlation, the effect stays."""
    before = rng.normal(size=4_000)
    outcome = 2 * before + rng.normal(size=4_000)
    outcome[2_000:] += 0.2
    a, b = (Moments.of(outcome[part], before[part]) for part in (slice(2_000), slice(2_000, None)))
    plain, found = means.compare_means(a, b), cuped.compare_adjusted(a, b)
    correlation = np.corrcoef(outcome, before)[0, 1]
    *_, explained = cuped.adjusted_means(a, b)
    assert plain is not None
    assert found is not None
    assert explained == pytest.approx(correlation**2, rel=1e-9)
    assert found.error == pytest.approx(plain.error * math.sqrt(1 - correlation**2), rel=0.01)
    assert abs(found.effect_size - 0.2) < 3 * found.error < abs(plain.error * 3)


def test_a_covariate_that_explains_nothing_changes_nothing(rng: np.random.Generator) -> None:
    """The same for all units: the plain comparison comes back."""
    a, b = rng.normal(size=50), rng.normal(size=60)
    plain = means.compare_means(Moments.of(a), Moments.of(b))
    found = cuped.compare_adjusted(Moments.of(a, np.ones(50)), Moments.of(b, np.ones(60)))
    assert plain is not None
    assert found is not None
    assert (found.effect_size, found.error) == (plain.effect_size, plain.error)


def test_ratios_are_adjusted_as_means_are_where_denominators_are_one(rng: np.random.Generator) -> None:
    """With one row a unit, the ratio with its covariate is the mean with its covariate."""
    columns = [rng.normal(3, 1, (2, 500)) for _ in range(2)]
    columns = [np.stack([x, x + y - 3]) for x, y in columns]
    one = np.ones(500)
    plain = cuped.compare_adjusted(*(Moments.of(y, x) for x, y in columns))
    found = cuped.compare_adjusted(*(Moments.of(y, one, x, one) for x, y in columns))
    assert plain is not None
    assert found is not None
    assert (found.effect_size, found.error) == pytest.approx((plain.effect_size, plain.error))


@given(
    st.lists(st.lists(st.floats(-1e3, 1e3), min_size=0, max_size=8), min_size=1, max_size=5),
)
def test_moments_of_parts_add_up_to_those_of_the_whole(parts: list[list[float]]) -> None:
    """However units are divided over nights, their sum is what all of them give at once."""
    squares = [[x * x / 1e3 for x in part] for part in parts]
    added = Moments.of(parts[0], squares[0])
    for part, square in zip(parts[1:], squares[1:], strict=True):
        added = added + Moments.of(part, square)
    whole = Moments.of(*(list(chain.from_iterable(column)) for column in (parts, squares)))
    assert added.n == whole.n
    np.testing.assert_allclose(added.mean, whole.mean, atol=1e-8)
    np.testing.assert_allclose(added.cov, whole.cov, atol=1e-5)


@settings(max_examples=25)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_pvalues_are_adjusted_as_statsmodels_does(pvalues: list[float]) -> None:
    """Holm and Benjamini-Hochberg, in the order given."""
    for method, name in (("holm", "holm"), ("bh", "fdr_bh")):
        said = multipletests(pvalues, method=name)[1]
        np.testing.assert_allclose(multiplicity.adjusted_pvalues(pvalues, method), said, atol=1e-12)


def test_too_little_to_tell_is_no_difference_of_nothing() -> None:
    """One unit an arm, no variance, no events, no units: None, and never a p-value of 1."""
    framework = ABTestFramework()
    assert framework.means([1.0], [2.0, 3.0]) is None
    assert framework.means([1.0, 1.0], [1.0, 1.0]) is None
    assert framework.proportions(Counts(0, 50), Counts(0, 60)) is None
    assert framework.proportions(Counts(0, 0), Counts(3, 60)) is None
    assert framework.ratios(([1, 2], [0, 0]), ([1, 2], [1, 1])) is None
    assert framework.sample_ratio([0, 0], [1, 1]) is None


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: Moments.of([1.0, math.nan]), "1 of 2 units have an outcome that is NaN"),
        (lambda: Moments.of([1.0], [1.0, 2.0]), "Columns of one length"),
        (lambda: Counts(5, 3), "5 successes of 3 units cannot be"),
        (lambda: multiplicity.adjusted_pvalues([0.1, math.nan]), "numbers in [0, 1]"),
        (lambda: ABTestFramework(Design(alpha=0.7)).means([1.0, 2.0], [2.0, 3.0]), "alpha is 0.7"),
        (lambda: srm.ratio_pvalue([1, 2, 3], [1, 1]), "do not fit"),
    ],
)
def test_what_cannot_be_is_refused_in_words(call: object, said: str) -> None:
    """NaN outcomes, impossible counts and error rates are errors that say what was given."""
    assert callable(call)
    with pytest.raises(DataError) as error:
        call()
    assert said in str(error.value)


def test_a_mismatch_of_the_shares_is_what_the_chi_squared_test_says() -> None:
    """The check for one look is scipy's, with weights that are no halves."""
    said = stats.chisquare([820, 130, 50], [800, 100, 100]).pvalue
    assert srm.ratio_pvalue([820, 130, 50], [8, 1, 1]) == pytest.approx(said)


def test_the_sequential_check_of_shares_keeps_its_rate_and_finds_a_mismatch() -> None:
    """Looked at 100 times, at most 5 % of right splits are called wrong; one of 52 : 48 is found in nearly all."""
    rng = np.random.default_rng(5)

    def found(share: float, worlds: int) -> float:
        hits = 0
        for _ in range(worlds):
            arms = np.cumsum(rng.binomial(200, share, 100))
            looks = [[int(200 * (k + 1) - n), int(n)] for k, n in enumerate(arms)]
            hits += srm.anytime_pvalue(looks, [1, 1]) < 0.05
        return hits / worlds

    assert found(0.5, 200) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 200)
    assert found(0.52, 50) >= 0.95

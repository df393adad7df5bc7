"""Looking every night without fooling oneself: published boundaries, error rates, coverage, power."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import norm
from statsmodels.stats.power import NormalIndPower, TTestIndPower
from statsmodels.stats.proportion import power_proportions_2indep

from mlops.errors import DataError
from mlops.experiments.ab import boundaries as b
from mlops.experiments.ab import confidence_sequences as cs
from mlops.experiments.ab import planning
from mlops.experiments.ab.sequential import Design, Moment, look, units_information
from mlops.experiments.ab_test import ABTestFramework

EQUAL = {k: [(i + 1) / k for i in range(k)] for k in (1, 2, 3, 4, 5, 10, 28)}


def test_boundaries_are_those_of_the_published_tables() -> None:
    """Lan and DeMets' spending functions, two-sided .05, five looks: the tables of Reboussin et al. (2000)."""
    found = {
        spending: b.boundaries(EQUAL[5], alpha=0.05, spending=spending) for spending in ("obrien_fleming", "pocock")
    }
    assert found["obrien_fleming"] == pytest.approx((4.8769, 3.3569, 2.6803, 2.2898, 2.0310), abs=2e-4)
    assert found["pocock"] == pytest.approx((2.4380, 2.4268, 2.4101, 2.3966, 2.3859), abs=2e-4)


# Jennison and Turnbull (2000), tables 2.1 and 2.3: the constants of Pocock's and of O'Brien and Fleming's test.
CONSTANTS = {
    (1, 0.05): (1.960, 1.960), (2, 0.05): (2.178, 1.977), (3, 0.05): (2.289, 2.004), (4, 0.05): (2.361, 2.024),
    (5, 0.05): (2.413, 2.040), (10, 0.05): (2.555, 2.087), (5, 0.01): (2.986, 2.621), (5, 0.1): (2.122, 1.751),
}  # fmt: skip


@pytest.mark.parametrize(("looks", "alpha"), CONSTANTS)
def test_published_constants_have_the_error_rate_they_are_published_for(looks: int, alpha: float) -> None:
    """The integration gives back alpha for both classical tests, to the digits that the constants have."""
    for constant, shape in zip(CONSTANTS[looks, alpha], (0.0, 0.5), strict=True):
        bounds = [constant * (1 / t) ** shape for t in EQUAL[looks]]
        above, below = b.crossing(EQUAL[looks], bounds)
        assert above.sum() + below.sum() == pytest.approx(alpha, abs=0.02 * alpha)
        assert above == pytest.approx(below, abs=1e-12)


def test_peeking_at_a_plain_pvalue_errs_as_often_as_published() -> None:
    """Armitage, McPherson and Rowe (1969): 5 % become 14 % with 5 looks and 19 % with 10."""
    for looks, rate in ((1, 0.05), (2, 0.083), (5, 0.142), (10, 0.193)):
        assert sum(map(np.sum, b.crossing(EQUAL[looks], [1.96] * looks))) == pytest.approx(rate, abs=0.001)


@pytest.mark.parametrize("spending", ["obrien_fleming", "pocock", "linear"])
@pytest.mark.parametrize("sides", [1, 2])
def test_all_of_alpha_is_spent_and_no_more(spending: b.Spending, sides: int) -> None:
    """At unequal looks, over both directions, the boundary is crossed with probability alpha to nine digits."""
    times = [0.1, 0.15, 0.4, 0.85, 1.0]
    bounds = b.boundaries(times, alpha=0.05, sides=sides, spending=spending)  # type: ignore[arg-type]
    above, below = b.crossing(times, bounds, sides=sides)  # type: ignore[arg-type]
    assert above.sum() + below.sum() == pytest.approx(0.05, abs=1e-8)


def test_many_close_looks_are_integrated_as_well() -> None:
    """250 looks spend 5 % to six digits: the quadrature is as fine as the steps are small."""
    times = [(i + 1) / 250 for i in range(250)]
    above, below = b.crossing(times, b.boundaries(times, alpha=0.05))
    assert above.sum() + below.sum() == pytest.approx(0.05, abs=1e-6)


def test_a_boundary_does_not_depend_on_looks_to_come() -> None:
    """The first three of five are those of a test that stops there, and its unit of information is free."""
    whole = b.boundaries(EQUAL[5], alpha=0.05)
    assert b.boundaries(EQUAL[5][:3], alpha=0.05) == whole[:3]
    scaled = b.boundaries([1e4 * t for t in EQUAL[5]], alpha=0.05, spent_at=EQUAL[5])
    assert scaled == pytest.approx(whole, abs=1e-9)


def test_one_look_is_the_fixed_test() -> None:
    """At the planned end and looked at once, the boundary, interval and p-value are those of the z-test."""
    found = look(0.5, 0.2, Moment(100, 1.0), [], Design())
    assert found.bound == pytest.approx(norm.ppf(0.975))
    assert (found.low, found.high) == pytest.approx((0.5 - 1.96 * 0.2, 0.5 + 1.96 * 0.2), abs=1e-4)
    assert found.pvalue == pytest.approx(2 * norm.sf(2.5))
    assert (found.crossed, found.final) == ("above", True)


def test_the_pvalue_is_below_alpha_exactly_when_the_test_has_ended() -> None:
    """At the last look, the stage-wise p-value passes alpha where the statistic passes the boundary."""
    earlier = [Moment(t, t) for t in EQUAL[5][:-1]]
    bound = b.boundaries(EQUAL[5], alpha=0.05)[-1]
    below = look(bound - 1e-6, 1.0, Moment(1.0, 1.0), earlier)
    above = look(bound + 1e-6, 1.0, Moment(1.0, 1.0), earlier)
    assert (below.crossed, above.crossed) == ("inside", "above")
    assert above.pvalue < 0.05 < below.pvalue < 0.0501


def test_a_look_that_adds_nothing_or_comes_after_the_end_is_refused() -> None:
    """Looks need new units, and the error that is spent is spent."""
    with pytest.raises(DataError, match="must ascend"):
        look(1.0, 1.0, Moment(10, 0.6), [Moment(10, 0.5)])
    with pytest.raises(DataError, match="planned end"):
        look(1.0, 1.0, Moment(20, 1.0), [Moment(10, 1.0)])


def test_early_looks_of_obrien_and_fleming_cannot_end_a_test() -> None:
    """The first of 28 nights: nothing is spent, the interval is everything."""
    found = look(5.0, 1.0, Moment(1, 1 / 28), [])
    assert (found.bound, found.low, found.crossed) == (math.inf, -math.inf, "inside")


def test_error_rate_and_power_hold_on_simulated_nights() -> None:
    """28 nights: false positives at most 5 %, power as planned, all intervals together hold the truth in 95 %."""
    times, rng, worlds = EQUAL[28], np.random.default_rng(3), 4_000
    bounds = np.array(b.boundaries(times, alpha=0.05))
    drift = b.drift_for(times, bounds.tolist(), 0.8)
    steps = rng.normal(size=(worlds, 28)) * math.sqrt(1 / 28)
    walk, t = np.cumsum(steps, axis=1), np.array(times)
    null = (np.abs(walk / np.sqrt(t)) > bounds).any(axis=1).mean()
    hit = ((walk + drift * t) / np.sqrt(t) > bounds).any(axis=1).mean()
    assert abs(null - 0.05) < 3 * math.sqrt(0.05 * 0.95 / worlds)
    assert abs(hit - 0.8) < 3 * math.sqrt(0.8 * 0.2 / worlds)


# Jennison and Turnbull (2000), tables 2.2 and 2.4, two-sided .05, power .9: sample sizes against the fixed test.
INFLATION = {2: (1.100, 1.007), 3: (1.151, 1.016), 4: (1.183, 1.022), 5: (1.207, 1.026)}


@pytest.mark.parametrize("looks", INFLATION)
def test_the_drift_that_is_needed_is_the_published_one(looks: int) -> None:
    """The inflation factors of the classical tests come out of `drift_for`."""
    for (shape, constant), said in zip(((0.0, 0), (0.5, 1)), INFLATION[looks], strict=True):
        bounds = [CONSTANTS[looks, 0.05][constant] * (1 / t) ** shape for t in EQUAL[looks]]
        drift = b.drift_for(EQUAL[looks], bounds, 0.9)
        assert (drift / (norm.ppf(0.975) + norm.ppf(0.9))) ** 2 == pytest.approx(said, abs=0.002)


def test_plans_are_those_of_statsmodels_at_a_single_look() -> None:
    """Units of a mean: the normal power solver. Units of a proportion: its power is what was asked for."""
    found = planning.plan(sd=2.0, effect_size=0.3, power=0.9)
    said = NormalIndPower().solve_power(effect_size=0.15, alpha=0.05, power=0.9)
    assert found.n_control == found.n_treatment == math.ceil(said)
    assert abs(found.n_control - TTestIndPower().solve_power(effect_size=0.15, alpha=0.05, power=0.9)) < 3
    uneven = planning.plan(sd=2.0, effect_size=0.3, share=0.2)
    said = NormalIndPower().solve_power(effect_size=0.15, alpha=0.05, power=0.8, ratio=0.25)
    assert uneven.n_control == pytest.approx(said, abs=1)
    share = planning.plan(base=0.1, effect_size=0.02)
    assert power_proportions_2indep(0.02, 0.1, share.n_control).power == pytest.approx(0.8, abs=0.002)


def test_a_plan_says_units_days_and_what_looking_costs() -> None:
    """28 looks cost a few per cent, a covariate saves what it explains, days follow from units a day."""
    plain = planning.plan(base=0.1, effect_size=0.01)
    looked = planning.plan(base=0.1, effect_size=0.01, looks=28, units_per_day=1_500)
    assert plain.inflation == 1.0 < looked.inflation < 1.06
    assert looked.days == math.ceil(looked.n / 1_500)
    assert planning.plan(base=0.1, effect_size=0.01, explained=0.5).n == pytest.approx(plain.n / 2, abs=2)
    assert planning.detectable(plain.n_control, plain.n_treatment, sd=0.3056) == pytest.approx(0.01, rel=0.01)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"effect_size": 0.0, "sd": 1.0}, "effect size other than 0"),
        ({"effect_size": 0.1}, "either sd"),
        ({"effect_size": 0.1, "sd": 1.0, "base": 0.1}, "either sd"),
        ({"effect_size": 0.95, "base": 0.1}, "base_plus_effect_size is 1.05"),
        ({"effect_size": 0.1, "sd": 1.0, "power": 0.3}, "power is 0.3"),
        ({"effect_size": 0.1, "sd": 1.0, "share": 1.0}, "share is 1"),
        ({"effect_size": 0.1, "sd": -1.0}, "sd is -1"),
    ],
)
def test_a_plan_that_cannot_be_is_refused_in_words(options: dict[str, float], said: str) -> None:
    """Each wrong number is named with its range."""
    with pytest.raises(DataError) as error:
        planning.plan(**options)  # type: ignore[arg-type]
    assert said in str(error.value)


def test_the_mixture_is_narrowest_where_it_is_tuned_to() -> None:
    """Among all tunings, that to the present error gives the shortest interval; the p-value is the interval's."""
    widths = {tuned: cs.normal_mixture(0.0, 1.0, tuned_to=tuned).high for tuned in (0.1, 0.5, 0.9, 1.0, 1.1, 3.0, 20.0)}
    assert min(widths, key=widths.__getitem__) == 1.0
    edge = cs.normal_mixture(0.0, 1.0, tuned_to=2.0).high
    assert cs.normal_mixture(edge, 1.0, tuned_to=2.0).pvalue == pytest.approx(0.05)


def test_the_mixture_holds_at_all_times_at_once() -> None:
    """A stream looked at after every one of 2,000 units: the true mean leaves the interval in at most 5 % of worlds."""
    rng, worlds, n = np.random.default_rng(8), 1_000, 2_000
    means = np.cumsum(rng.normal(size=(worlds, n)), axis=1) / np.arange(1, n + 1)
    error = 1 / np.sqrt(np.arange(1, n + 1))
    reach = np.array([cs.normal_mixture(0.0, e, tuned_to=error[-1]).high for e in error])
    assert (np.abs(means) > reach).any(axis=1).mean() <= 0.05


def test_the_bounded_sequence_holds_at_all_times_without_any_normality() -> None:
    """Rare events, looked at after every unit: the true share leaves the interval in at most 5 % of worlds."""
    rng, worlds = np.random.default_rng(9), 300
    missed = 0
    for _ in range(worlds):
        low, high = cs.bounded_mean(rng.random(1_000) < 0.02)
        missed += bool(((low > 0.02) | (high < 0.02)).any())
    assert missed / worlds <= 0.05
    low, high = cs.bounded_mean(np.full(5_000, 7.0), low=5.0, high=10.0)
    assert low[-1] <= 7.0 <= high[-1]
    assert high[-1] - low[-1] < 0.1


def test_values_outside_their_bounds_are_refused() -> None:
    """A bound that does not hold makes every interval wrong."""
    with pytest.raises(DataError, match="must lie in"):
        cs.bounded_mean([0.5, 1.2])


def test_the_face_carries_its_error_rate_through() -> None:
    """A one-sided framework at 1 % asks, looks and plans one-sided at 1 %."""
    framework = ABTestFramework(Design(alpha=0.01, sides=1))
    rng = np.random.default_rng(2)
    effect = framework.means(rng.normal(size=400), rng.normal(1, 1, size=400))
    assert effect is not None
    assert (effect.alpha, effect.high) == (0.01, math.inf)
    found = framework.look(effect, Moment(units_information(400, 400), 1.0), [])
    assert (found.bound, found.high) == (pytest.approx(norm.ppf(0.99)), math.inf)
    assert framework.plan(sd=1.0, effect_size=0.1).sides == 1
    assert len(framework.boundaries(7)) == 7

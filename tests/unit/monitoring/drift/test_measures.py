"""The distances: equal to references, and lawful."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from mlops.monitoring.drift.measures import (
    MEASURES,
    Floats,
    bin_shares,
    index_of_shares,
    population_stability_index,
    quantile_edges,
)

samples = arrays(np.float64, st.integers(1, 60), elements=st.floats(-50, 50).map(lambda x: round(x, 1)))


@given(samples, samples)
def test_wasserstein_and_ks_equal_scipys(reference: Floats, current: Floats) -> None:
    """Any two samples, ties and different sizes included; the scale is the reference's standard deviation, ≥ .001."""
    scale = max(reference.std(), 0.001)
    expected = stats.wasserstein_distance(reference, current) / scale
    assert MEASURES["wasserstein"](reference, current) == pytest.approx(expected, rel=1e-9, abs=1e-9)
    with np.errstate(divide="ignore"):  # in the p-value of samples of one, which is not used
        statistic = stats.ks_2samp(reference, current, method="asymp").statistic
    assert MEASURES["ks"](reference, current) == pytest.approx(statistic, abs=1e-12)


@pytest.mark.parametrize("method", sorted(MEASURES))
@given(reference=samples, current=samples)
def test_a_distance_is_never_negative_and_zero_on_itself(method: str, reference: Floats, current: Floats) -> None:
    """Zero for a sample and any reordering of it; at least zero otherwise."""
    measure = MEASURES[method]
    assert measure(reference, current) >= 0
    assert measure(reference, reference[::-1].copy()) == pytest.approx(0, abs=1e-12)


@given(samples, st.floats(0.1, 10), st.floats(-100, 100))
def test_distances_do_not_depend_on_the_unit(reference: Floats, scale: float, shift: float) -> None:
    """Celsius or Fahrenheit: the same distance, where the spread is above the floor."""
    current = reference * 1.5 + 1
    if reference.std() < 0.1:
        return
    for method in ("wasserstein", "ks"):
        before = MEASURES[method](reference, current)
        after = MEASURES[method](reference * scale + shift, current * scale + shift)
        assert after == pytest.approx(before, rel=1e-6, abs=1e-9)


def test_a_shift_by_one_standard_deviation_is_one() -> None:
    """The unit of the Wasserstein distance is the reference's standard deviation."""
    reference = np.array([1.0, 2.0, 4.0, 9.0])
    assert MEASURES["wasserstein"](reference, reference - reference.std()) == pytest.approx(1.0)


def test_the_stability_index_is_its_formula_over_deciles() -> None:
    """One hundred values, all current ones in the lowest decile: Σ (p − q) ln(p/q) with .0001 for empty bins."""
    reference = np.arange(100.0)
    shares = bin_shares(reference, quantile_edges(reference))
    assert shares == pytest.approx(np.full(10, 0.1))
    expected = (0.1 - 1) * np.log(0.1 / 1) + 9 * (0.1 - 1e-4) * np.log(0.1 / 1e-4)
    assert population_stability_index(reference, np.zeros(5)) == pytest.approx(expected)
    assert index_of_shares(np.array([0.5, 0.5]), np.array([0.25, 0.75])) == pytest.approx(0.25 * np.log(3))


def test_values_outside_the_reference_fall_into_the_outer_bins() -> None:
    """A current sample far above or below the reference is counted, not lost."""
    edges = quantile_edges(np.arange(100.0))
    assert bin_shares(np.array([-1e9, 1e9]), edges)[[0, -1]].tolist() == [0.5, 0.5]

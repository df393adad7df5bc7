"""Profiles against the measures on the rows themselves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mlops.monitoring.drift.measures import MEASURES
from mlops.monitoring.drift.profile import STEPS, Knots, Profile
from mlops.monitoring.drift.profile_distance import distance, resolution

VALUES = st.one_of(st.integers(-4, 4).map(float), st.floats(-1e6, 1e6, allow_nan=False))
SAMPLES = st.lists(VALUES, min_size=2, max_size=40).filter(lambda v: np.std(v) > 0.01)


def profiled(reference: np.ndarray, current: np.ndarray) -> tuple[Profile, Profile, Knots]:
    """Reference and current values by the knots of the reference."""
    knots = Knots.of(reference)
    return Profile.of(reference, knots), Profile.of(current, knots), knots


@settings(max_examples=300)
@given(SAMPLES, SAMPLES)
def test_a_profile_gives_the_measures_of_the_rows(taught: list[float], seen: list[float]) -> None:
    """KS and PSI exactly, Wasserstein within what it says it cannot resolve; ties and far values among them."""
    reference, current = np.array(taught), np.array(seen)
    found = profiled(reference, current)
    for method in set(MEASURES) - {"wasserstein"}:
        assert distance(*found, method) == pytest.approx(MEASURES[method](reference, current), abs=1e-9)
    exact = MEASURES["wasserstein"](reference, current)
    rounding = 1e-6 * (1 + np.ptp(reference) / np.std(reference))  # places are kept in 2²⁴ steps
    if exact < 2**13:
        assert abs(distance(*found, "wasserstein") - exact) <= resolution(*found) + rounding


@given(st.lists(st.one_of(VALUES, st.sampled_from([np.nan, np.inf])), max_size=60), st.integers(0, 60), st.randoms())
def test_parts_add_up_whatever_their_order(values: list[float], cut: int, random: object) -> None:
    """The profile of all rows is the sum of the profiles of any two parts of them, in every number."""
    knots = Knots.of(np.array([0.0, 1.0, 1.0, 3.0, 7.5]))
    rows = np.array(values, dtype=float)
    order = np.random.default_rng(len(values)).permutation(len(rows))
    whole = Profile.of(rows, knots)
    parts = Profile.of(rows[order][cut:], knots) + Profile.of(rows[order][:cut], knots)
    assert (whole.rows, whole.nulls, whole.infinite) == (parts.rows, parts.nulls, parts.infinite)
    for name in ("on", "between", "places"):
        assert (getattr(whole, name) == getattr(parts, name)).all()


def test_what_cannot_be_resolved_is_small_and_shrinks_with_the_reference() -> None:
    """On normal rows the uncertainty is below a thousandth of a standard deviation from a thousand rows on."""
    rng = np.random.default_rng(3)
    current = rng.normal(0.02, 1, 200_000)
    wide, fine = (resolution(*profiled(rng.normal(size=n), current)) for n in (1_000, 4_000))
    assert fine < wide < 2e-2
    assert fine < 5e-3


@pytest.mark.parametrize("method", sorted(MEASURES))
def test_quantiles_as_knots_lose_next_to_nothing(method: str) -> None:
    """Of forty thousand different values a tenth are knots: every measure stays within a thousandth."""
    rng = np.random.default_rng(4)
    reference, current = rng.gamma(2, size=40_000), rng.gamma(2.1, size=30_000)
    assert len(Knots.of(reference).values) < 5_000
    exact = MEASURES[method](reference, current)
    assert distance(*profiled(reference, current), method) == pytest.approx(exact, abs=1e-3)


@settings(max_examples=300)
@given(SAMPLES, SAMPLES)
def test_sorted_values_give_the_same_profile(taught: list[float], seen: list[float]) -> None:
    """Counts to the digit, places to rounding; beyond what counts as no farther, both stop."""
    taught, seen = np.round(taught, 3).tolist(), np.round(seen, 3).tolist()
    knots = Knots.of(np.array(taught))
    assume(max(np.abs(seen)) + max(np.abs(taught)) < 2**14 * knots.scale)
    one, other = Profile.of(np.array(seen), knots), Profile.of_sorted(np.sort(np.array(seen)), knots)
    assert (one.on == other.on).all()
    assert (one.between == other.between).all()
    assert other.places == pytest.approx(one.places.astype(float), rel=1e-4, abs=1e-4 * STEPS)


def test_values_beyond_the_reference_count_by_their_distance() -> None:
    """All rows 100 standard deviations above: that is the distance."""
    reference = np.array([-1.0, 1.0])
    assert distance(*profiled(reference, np.array([101.0, 99.0])), "wasserstein") == pytest.approx(100.0)
    assert distance(*profiled(reference, np.array([-101.0, -99.0])), "wasserstein") == pytest.approx(100.0)

"""Profiles against the measures on the rows themselves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops.monitoring.drift.measures import MEASURES
from mlops.monitoring.drift.profile import Knots, Profile, Profiled

VALUES = st.one_of(st.integers(-4, 4).map(float), st.floats(-1e6, 1e6, allow_nan=False))
SAMPLES = st.lists(VALUES, min_size=2, max_size=40).filter(lambda v: np.std(v) > 0.01)


def profiled(reference: np.ndarray, current: np.ndarray) -> Profiled:
    """The current values against the knots of the reference."""
    knots = Knots.of(reference)
    return Profiled(Profile.of(current, knots), knots)


@settings(max_examples=300)
@given(SAMPLES, SAMPLES)
def test_a_profile_gives_the_measures_of_the_rows(taught: list[float], seen: list[float]) -> None:
    """KS and PSI exactly, Wasserstein within what it says it cannot resolve; ties and far values among them."""
    reference, current = np.array(taught), np.array(seen)
    found = profiled(reference, current)
    assert found.ks() == pytest.approx(MEASURES["ks"](reference, current), abs=1e-12)
    assert found.psi() == pytest.approx(MEASURES["psi"](reference, current), abs=1e-12)
    exact = MEASURES["wasserstein"](reference, current)
    rounding = 1e-6 * (1 + np.ptp(reference) / np.std(reference))  # places are kept in 2²⁴ steps
    if exact < 2**13:
        assert abs(found.wasserstein() - exact) <= found.resolution() + rounding


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
    wide, fine = (profiled(rng.normal(size=n), current).resolution() for n in (1_000, 20_000))
    assert fine < wide < 2e-2
    assert fine < 1e-3


def test_values_beyond_the_reference_count_by_their_distance() -> None:
    """All rows 100 standard deviations above: that is the distance."""
    reference = np.array([-1.0, 1.0])
    assert profiled(reference, np.array([101.0, 99.0])).wasserstein() == pytest.approx(100.0)
    assert profiled(reference, np.array([-101.0, -99.0])).wasserstein() == pytest.approx(100.0)

"""Errors that grow are noticed and dated; those that do not, or shrink, are not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mlops.monitoring.drift.concept import concept_drift
from mlops.monitoring.drift.measures import Floats

DETECTORS = ("adwin", "page_hinkley", "ddm")


def stream(seed: int, days: int, *, late: float = 0.1, from_day: int = 0) -> tuple[Floats, pd.DatetimeIndex]:
    """Forty answers an hour, a tenth of them wrong; `late` of them from a day on."""
    times = pd.date_range("2026-03-01", periods=days * 24 * 40, freq="90s", tz="UTC")
    rate = np.where(np.arange(len(times)) >= from_day * 24 * 40, late, 0.1)
    return (np.random.default_rng(seed).random(len(times)) < rate).astype(float), times


@pytest.mark.parametrize("detector", ["adwin", "page_hinkley"])
def test_errors_that_grow_are_noticed_and_dated(detector: str) -> None:
    """Twice as many wrong answers from the eighth day on: noticed within two days, not before."""
    found = concept_drift(*stream(0, 14, late=0.2, from_day=7), [detector])[0]
    assert found.verdict == "drift"
    assert found.at is not None
    assert pd.Timestamp("2026-03-08", tz="UTC") <= pd.Timestamp(found.at) < pd.Timestamp("2026-03-10", tz="UTC")
    assert "have become" in found.reason


def test_ddm_notices_growth_and_is_quick_to() -> None:
    """It finds the change, and on this stream called growth days before there was any: it has to be asked for."""
    assert concept_drift(*stream(0, 14, late=0.3, from_day=7), ["ddm"])[0].verdict == "drift"


@pytest.mark.parametrize("detector", ["adwin", "page_hinkley"])
def test_errors_that_stay_are_rarely_called_grown(detector: str) -> None:
    """Thirty fortnights of the same share of wrong answers: at most one is."""
    assert sum(concept_drift(*stream(seed, 14), [detector])[0].verdict == "drift" for seed in range(30)) <= 1


@pytest.mark.parametrize("detector", ["adwin", "page_hinkley"])
def test_errors_that_shrink_are_no_concept_drift(detector: str) -> None:
    """A better time is not an alarm."""
    assert concept_drift(*stream(3, 14, late=0.02, from_day=7), [detector])[0].verdict == "no_drift"


def test_what_is_too_short_or_of_another_kind_is_cannot_tell() -> None:
    """No errors, a day of them, errors that never vary, and DDM on sizes: each says why."""
    errors, times = stream(0, 1)
    assert [one.verdict for one in concept_drift(errors, times, DETECTORS)] == ["cannot_tell"] * 3
    none = concept_drift(np.zeros(0), pd.DatetimeIndex([], tz="UTC"), ["adwin"])[0]
    assert none.reason == "0 hours with known errors, 48 are needed"
    errors, times = stream(0, 14)
    assert concept_drift(errors * 1.5, times, ["ddm"])[0].verdict == "cannot_tell"
    assert concept_drift(errors * 0, times, ["adwin"])[0].reason == "the errors of the first hours do not vary"


def test_the_order_of_rows_does_not_matter() -> None:
    """Rows are sorted by their time; errors that are not known are left out."""
    errors, times = stream(0, 14, late=0.2, from_day=7)
    order = np.random.default_rng(0).permutation(len(errors))
    assert concept_drift(errors[order], times[order], ["adwin"]) == concept_drift(errors, times, ["adwin"])
    holes = np.where(np.arange(len(errors)) % 3 == 0, np.nan, errors)
    assert concept_drift(holes, times, ["adwin"])[0].verdict == "drift"

"""Realised performance by day: a day without labels is never a good day."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlops.monitoring.performance import by_day, overall


def hit_rate(y: Any, score: Any) -> float | None:
    """Share of rows on the right side of .5; not defined for one class."""
    return None if len(np.unique(y)) < 2 else float(np.mean((score > 0.5) == (y == 1)))


TIMES = pd.to_datetime(["2026-03-02T23:59:59Z"] + ["2026-03-01T12:00:00Z"] * 4 + ["2026-03-03T00:00:00Z"] * 2, utc=True)
LABELS = [np.nan, 1, 0, 1, np.nan, 1, 1]
SCORES = [0.9, 0.9, 0.1, np.nan, 0.9, 0.9, 0.1]


def test_each_day_has_its_own_value_or_a_reason() -> None:
    """Unlabelled and unscored rows do not count; no labels and one class cannot be told."""
    first, second, third = by_day(TIMES, LABELS, SCORES, metric=hit_rate)
    assert (first.date, first.value, first.rows, first.labelled, first.reason) == (date(2026, 3, 1), 1.0, 4, 2, "")
    assert (second.value, second.rows, second.labelled, second.reason) == (None, 1, 0, "no mature labels")
    assert third.value is None
    assert "one class" in third.reason


def test_too_few_labels_of_a_day_cannot_tell() -> None:
    """Two usable rows where three are asked for give no value and say so."""
    assert by_day(TIMES, LABELS, SCORES, metric=hit_rate, min_rows=3)[0].reason.startswith(
        "2 rows with label and score"
    )


def test_days_are_utc_whatever_zone_the_times_are_in() -> None:
    """The same instants in another zone, or without one, fall on the same days."""
    expected = by_day(TIMES, LABELS, SCORES, metric=hit_rate)
    assert by_day(TIMES.tz_convert("America/Los_Angeles"), LABELS, SCORES, metric=hit_rate) == expected
    assert by_day(TIMES.tz_localize(None), LABELS, SCORES, metric=hit_rate) == expected


def test_the_overall_value_weighs_days_by_their_labels() -> None:
    """Days without a value do not count; with none there is no value."""
    times = pd.to_datetime(["2026-03-01T00:00Z"] * 2 + ["2026-03-02T00:00Z"] * 4, utc=True)
    days = by_day(times, [1, 0, 1, 0, 1, 0], [0.9, 0.1, 0.1, 0.9, 0.9, 0.1], metric=hit_rate)
    total = overall(days)
    assert total is not None
    assert total.value == pytest.approx((2 * 1.0 + 4 * 0.5) / 6)
    assert (total.date, total.labelled) == (date(2026, 3, 2), 6)
    assert overall(by_day(times, [np.nan] * 6, [0.5] * 6, metric=hit_rate)) is None
    assert overall(by_day(times[:0], [], [], metric=hit_rate)) is None

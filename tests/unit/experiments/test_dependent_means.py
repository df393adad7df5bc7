"""The interval of a mean of dependent nights holds the truth as often as it says."""

from __future__ import annotations

import numpy as np
import pytest

from mlops.experiments.dependent_means import mean_interval


@pytest.mark.parametrize("dependence", [0.0, 0.3, 0.6])
def test_the_interval_holds_the_truth_also_where_nights_depend(dependence: float) -> None:
    """AR(1), 60 nights, 1,000 worlds: 95 % of the intervals, within what chance and so few nights allow."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(160, 1000))
    series = np.zeros_like(noise)
    for i in range(1, len(noise)):
        series[i] = dependence * series[i - 1] + noise[i]
    spans = [mean_interval(world)[1] for world in series[-60:].T]
    held = sum(span is not None and span[0] <= 0 <= span[1] for span in spans)
    assert 0.92 <= held / len(spans) <= 0.975


def test_nights_without_a_value_are_left_out_and_few_have_no_interval() -> None:
    """Nothing known: no mean. Seven nights: a mean alone. Eight: both."""
    assert mean_interval([np.nan]) == (None, None)
    assert mean_interval([1.0, np.nan, 3.0]) == (2.0, None)
    assert mean_interval(np.arange(7.0)) == (3.0, None)
    mean, span = mean_interval(np.arange(8.0))
    assert span is not None
    assert mean == 3.5
    assert span[0] < 3.5 < span[1]

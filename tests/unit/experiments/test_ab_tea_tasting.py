"""Means, ratios and covariates are compared as tea-tasting does: an implementation that shares no line with ours."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import tea_tasting as tt

from mlops.experiments.ab import cuped, means, ratios
from mlops.experiments.ab.effects import Alternative, Effect
from mlops.experiments.ab.samples import Moments

ALTERNATIVES: tuple[Alternative, ...] = ("two_sided", "greater", "less")
THEIRS = {"two_sided": "two-sided", "greater": "greater", "less": "less"}


@pytest.fixture(scope="module")
def units() -> pd.DataFrame:
    """Units with sessions, orders and what both were before."""
    rng = np.random.default_rng(21)
    n = 1_200
    treated = rng.integers(0, 2, n)
    taste = rng.gamma(4, 0.05, n)
    frame = pd.DataFrame(
        {"variant": treated, "sessions": rng.poisson(4, n) + 1, "sessions_before": rng.poisson(4, n) + 1}
    )
    frame["orders"] = rng.binomial(frame["sessions"], np.minimum(taste + 0.02 * treated, 1))
    frame["orders_before"] = rng.binomial(frame["sessions_before"], np.minimum(taste, 1))
    return frame


def moments(units: pd.DataFrame, *columns: str) -> list[Moments]:
    """Of the control and the treatment."""
    return [Moments.of(*(units.loc[units["variant"] == v, name] for name in columns)) for v in (0, 1)]


def said(units: pd.DataFrame, metric: object) -> object:
    """What tea-tasting says of a metric."""
    return tt.Experiment(metric=metric).analyze(units)["metric"]  # type: ignore[arg-type]


def agree(found: Effect | None, theirs: object) -> None:
    """All that both of them say."""
    assert found is not None
    ours = {
        "control": found.control, "treatment": found.treatment, "effect_size": found.effect_size,
        "effect_size_ci_lower": found.low, "effect_size_ci_upper": found.high, "pvalue": found.pvalue,
        "statistic": found.statistic, "rel_effect_size": found.relative,
        "rel_effect_size_ci_lower": found.relative_low, "rel_effect_size_ci_upper": found.relative_high,
    }  # fmt: skip
    for name, value in ours.items():
        assert value == pytest.approx(getattr(theirs, name), rel=1e-6), name


@pytest.mark.parametrize("alternative", ALTERNATIVES)
def test_means(units: pd.DataFrame, alternative: Alternative) -> None:
    """Welch's test, with the relative effect on the logarithm's scale."""
    metric = tt.Mean("orders", alternative=THEIRS[alternative])  # type: ignore[arg-type]
    agree(means.compare_means(*moments(units, "orders"), alternative=alternative), said(units, metric))


@pytest.mark.parametrize("alternative", ALTERNATIVES)
def test_ratios(units: pd.DataFrame, alternative: Alternative) -> None:
    """The delta method."""
    metric = tt.RatioOfMeans("orders", "sessions", alternative=THEIRS[alternative])  # type: ignore[arg-type]
    agree(ratios.compare_ratios(*moments(units, "orders", "sessions"), alternative=alternative), said(units, metric))


def test_means_with_a_covariate(units: pd.DataFrame) -> None:
    """CUPED with one theta for both variants."""
    found = cuped.compare_adjusted(*moments(units, "orders", "orders_before"))
    agree(found, said(units, tt.Mean("orders", covariate="orders_before")))


def test_ratios_with_a_covariate(units: pd.DataFrame) -> None:
    """CUPED of ratios, both linearised."""
    columns = ("orders", "sessions", "orders_before", "sessions_before")
    theirs = tt.RatioOfMeans("orders", "sessions", "orders_before", "sessions_before")
    agree(cuped.compare_adjusted(*moments(units, *columns)), said(units, theirs))

"""Harm in parts: found where it is, not invented where it is not, and never hidden by what was too small to judge."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binom

from benchmarks import worlds
from mlops.models.comparison import METRICS
from mlops.models.slices import Contest, no_slice_harmed, stable_over_time
from mlops.spec import GatesSpec

SPEC = GatesSpec()
ROWS, SLICES = 6_000, 6
TIMES = pd.date_range("2026-03-01", periods=ROWS, freq="min", tz="UTC")


def contest(seed: int, delta: float = 0.0, **more: Any) -> tuple[Contest, np.ndarray]:
    """Challenger and champion on six slices of a thousand rows, in shuffled order, and the slice of each row."""
    rng = np.random.default_rng(seed)
    y, a, b = worlds.pair(rng, "roc_auc", ROWS, delta)
    order = rng.permutation(ROWS)
    made = {"y": y[order], "challenger": a[order], "opponent": b[order]} | more
    group = np.arange(ROWS) % SLICES
    return Contest(METRICS["roc_auc"], "roc auc", blocks=np.arange(ROWS), higher_is_better=True, **made), group


def spoiled(given: Contest, rows: np.ndarray) -> Contest:
    """The same, with a challenger that knows nothing about some of the rows."""
    scores = np.where(rows, np.random.default_rng(9).normal(size=ROWS), given.challenger)
    return Contest(given.metric, given.name, given.y, scores, given.opponent, given.blocks, True)


def test_a_slice_that_pays_is_found_and_named() -> None:
    """A challenger that is better overall but knows nothing about one group is refused, and the group is named."""
    given, group = contest(1, delta=0.05)
    result = no_slice_harmed(spoiled(given, group == 3), pd.DataFrame({"site": [f"s{i}" for i in group]}), SPEC)
    assert result.verdict == "fail"
    assert [part.name for part in result.parts if part.harmed] == ["site s3"]
    assert "worse than the champion in 1: site s3 −" in result.reason


def test_equal_models_are_seldom_refused_for_a_slice() -> None:
    """Over 200 pairs of equal models, false discoveries refuse no more than alpha; slices are no lottery."""
    refused = 0
    for seed in range(200):
        given, group = contest(seed)
        refused += no_slice_harmed(given, pd.DataFrame({"site": group.astype(str)}), SPEC).verdict == "fail"
    assert refused <= binom.ppf(0.999, 200, SPEC.alpha)


def test_harm_within_the_tolerance_is_tolerated() -> None:
    """Worse everywhere by .01 of .15 that is missing to 1: beyond no tolerance, within one of a fifth."""
    given, group = contest(3, delta=-0.04)
    groups = pd.DataFrame({"site": np.where(group < 3, "a", "b")})
    assert no_slice_harmed(given, groups, SPEC.model_copy(update={"tolerance": 0.0})).verdict == "fail"
    assert no_slice_harmed(given, groups, SPEC.model_copy(update={"tolerance": 0.5})).verdict == "pass"


def test_slices_too_small_to_judge_are_not_called_fine() -> None:
    """Entities with a handful of rows: cannot tell, which is said, and does not decide."""
    given, _ = contest(4)
    result = no_slice_harmed(given, pd.DataFrame({"device": [f"d{i // 60}" for i in range(ROWS)]}), SPEC)
    assert (result.verdict, result.decides) == ("cannot_tell", False)
    assert result.reason == "0 of 100 slices have enough rows to be judged."


def test_numbers_are_cut_into_quarters_and_missing_values_belong_to_none() -> None:
    """A measured column makes four slices, whose rows are those that have a value."""
    given, _ = contest(5)
    values = np.random.default_rng(5).normal(size=ROWS)
    values[:600] = np.nan
    result = no_slice_harmed(given, pd.DataFrame({"load": values}), SPEC)
    assert len(result.parts) == 4
    assert sum(part.rows for part in result.parts) == ROWS - 600


def test_a_stretch_in_which_the_challenger_fails_is_found() -> None:
    """Good for three quarters of the holdout and blind in the last: refused, and that stretch is named."""
    given, _ = contest(6, delta=0.02)
    assert stable_over_time(given, TIMES, SPEC).verdict == "pass"
    result = stable_over_time(spoiled(given, np.arange(ROWS) >= 4_500), TIMES, SPEC)
    assert result.verdict == "fail"
    assert [part.harmed for part in result.parts] == [False, False, False, True]
    assert f"worse than the champion in 1: {result.parts[3].name} −" in result.reason


def test_benjamini_yekutieli_is_the_stricter_of_the_two() -> None:
    """Its adjusted p-values are larger, so it finds no harm that the other does not."""
    given, group = contest(7, delta=-0.02)
    groups = pd.DataFrame({"site": group.astype(str)})
    hochberg = no_slice_harmed(given, groups, SPEC)
    yekutieli = no_slice_harmed(given, groups, SPEC.model_copy(update={"false_discovery": "by"}))
    assert hochberg.value is not None
    assert yekutieli.value is not None
    assert yekutieli.value > hochberg.value

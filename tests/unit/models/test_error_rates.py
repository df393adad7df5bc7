"""The gates themselves, tested: how often a challenger is promoted whose true difference is known.

Limits are binomial: a count that a true rate of the size allowed would exceed (or fall short of) once in a thousand
times. `python -m benchmarks gates` prints the whole table.
"""

from __future__ import annotations

import pytest
from scipy.stats import binom

from benchmarks.gates import Cell, promoted

ALPHA, RARE = 0.05, 0.001


def most(repeats: int, rate: float = ALPHA) -> float:
    """The largest count that a true rate reaches, but for one time in a thousand."""
    return float(binom.ppf(1 - RARE, repeats, rate))


def least(repeats: int, rate: float) -> float:
    """The smallest count, likewise."""
    return float(binom.ppf(RARE, repeats, rate))


@pytest.mark.parametrize(
    ("metric", "rows", "repeats"),
    [
        ("roc_auc", 500, 600),
        ("roc_auc", 2_000, 600),
        ("mean_absolute_error", 500, 600),
        ("average_precision", 500, 600),
    ],
)
def test_an_equally_good_challenger_passes_at_the_error_rate(metric: str, rows: int, repeats: int) -> None:
    """Equal in the long run: promoted at most at alpha, and not so rarely that the test is merely blunt."""
    count = promoted(Cell("superiority", "auto", metric, rows, 0.0, repeats), 0, repeats)
    assert count <= most(repeats)
    assert count >= least(repeats, ALPHA / 3)


@pytest.mark.parametrize("metric", ["roc_auc", "average_precision", "mean_absolute_error"])
def test_a_challenger_worse_by_the_margin_is_called_not_worse_at_the_error_rate(metric: str) -> None:
    """Worse by exactly the margin of a non-inferiority test: promoted at most at alpha."""
    count = promoted(Cell("non_inferiority", "auto", metric, 2_000, -0.01, 400), 0, 400)
    assert count <= most(400)


def test_a_worse_challenger_hardly_ever_passes() -> None:
    """Worse by .005 and more on 10,000 rows: the bound at alpha is far away."""
    assert promoted(Cell("superiority", "auto", "roc_auc", 10_000, -0.005, 150), 0, 150) <= most(150, 0.01)
    assert promoted(Cell("superiority", "auto", "roc_auc", 10_000, -0.02, 100), 0, 100) == 0


def test_a_good_challenger_passes() -> None:
    """Better by .02 on 10,000 rows: promoted at least four times in five; the test is paired, or it could not."""
    assert promoted(Cell("superiority", "auto", "roc_auc", 10_000, 0.02, 100), 0, 100) > most(100, 0.8)


def test_greater_or_equal_would_promote_an_equal_challenger_half_the_time() -> None:
    """What these gates are for: `>=` is a coin."""
    count = promoted(Cell("at_least", "auto", "roc_auc", 2_000, 0.0, 400), 0, 400)
    assert least(400, 0.5) <= count <= most(400, 0.5)


@pytest.mark.parametrize("metric", ["roc_auc", "mean_absolute_error"])
def test_blocks_keep_the_error_rate_where_rows_depend_on_one_another(metric: str) -> None:
    """Noise with memory and faults of two hours: in blocks of six hours the rate holds; row by row it is a multiple."""
    repeats = 200
    in_blocks = promoted(Cell("superiority", "auto", metric, 11_520, 0.0, repeats, 6.0), 0, repeats)
    row_by_row = promoted(Cell("superiority", "auto", metric, 11_520, 0.0, repeats, 0.0), 0, repeats)
    assert in_blocks <= most(repeats)
    assert row_by_row > most(repeats, 3 * ALPHA)

"""Measures of a table as a whole: equal to their formulas, and blind to nothing they are for."""

from __future__ import annotations

import numpy as np
import pytest

from mlops.monitoring.drift import joint
from mlops.monitoring.drift.measures import Floats


def table(seed: int, rows: int, correlation: float = 0.0, columns: int = 4) -> Floats:
    """Normal columns, each with the same correlation with every other."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(rows, 1))
    return np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * rng.normal(size=(rows, columns))


def test_mmd_is_its_formula() -> None:
    """Equation 5 of Gretton et al., summed pair by pair."""
    x, y, width = table(0, 9), table(1, 7) + 0.5, 1.3
    a, b = (x - x.mean(0)) / x.std(0), (y - x.mean(0)) / x.std(0)

    def kernel(u: Floats, v: Floats) -> float:
        return float(np.exp(-((u - v) ** 2).sum() / (2 * width**2)))

    within = [np.mean([kernel(s[i], s[j]) for i in range(len(s)) for j in range(len(s)) if i != j]) for s in (a, b)]
    across = np.mean([kernel(u, v) for u in a for v in b])
    assert joint.maximum_mean_discrepancy(x, y, bandwidth=width) == pytest.approx(sum(within) - 2 * across)


def test_mmd_is_about_zero_without_a_difference_and_grows_with_it() -> None:
    """Rows beyond one piece of the sum included."""
    same = joint.maximum_mean_discrepancy(table(0, 1500), table(1, 1200))
    moved = [joint.maximum_mean_discrepancy(table(0, 1500), table(1, 1200) + shift) for shift in (0.3, 1.0)]
    assert abs(same) < 0.002
    assert same < moved[0] < moved[1]


def test_a_classifier_tells_apart_what_differs_and_only_that() -> None:
    """About one half for one distribution; near one where a correlation has appeared."""
    rng = np.random.default_rng(0)
    assert joint.domain_classifier_auc(table(0, 800), table(1, 800), rng=rng) == pytest.approx(0.5, abs=0.06)
    assert joint.domain_classifier_auc(table(0, 800), table(1, 800, 0.95), rng=rng) > 0.75


def test_reconstruction_by_moments_equals_that_of_the_rows() -> None:
    """The error of rebuilding every row from the reference's main components, row by row."""
    taught, seen = table(0, 500, 0.6, 5), table(1, 300, 0.1, 5)
    center, scale = taught.mean(0), taught.std(0)
    x, y = (taught - center) / scale, (seen - center) / scale
    _, values, directions = np.linalg.svd(x, full_matrices=False)
    share = np.cumsum(values**2) / (values**2).sum()
    kept = directions[: int(np.searchsorted(share, joint.EXPLAINED)) + 1]
    errors = [np.mean(((side - side @ kept.T @ kept) ** 2).sum(1)) for side in (x, y)]
    found = joint.pca_reconstruction(*(joint.Moments.of(side, center, scale) for side in (taught, seen)))
    assert found == pytest.approx(abs(errors[1] / errors[0] - 1), rel=1e-9)
    assert found > 0.5


def test_moments_add_up_and_can_be_taken_out() -> None:
    """The whole is the sum of its parts; without one part it is the other."""
    rows = table(0, 60)
    rows[3, 1] = np.nan
    center, scale = np.nanmean(rows, 0), np.nanstd(rows, 0)
    one, other, whole = (joint.Moments.of(part, center, scale) for part in (rows[:20], rows[20:], rows))
    assert (one + other).products == pytest.approx(whole.products)
    assert (whole - one).sums == pytest.approx(other.sums)
    assert (whole - one).rows == 40


def test_columns_that_leave_no_error_say_nothing() -> None:
    """Where one component rebuilds all, there is no error to compare."""
    x = np.repeat(np.random.default_rng(0).normal(size=(50, 1)), 3, axis=1)
    center, scale = x.mean(0), x.std(0)
    assert joint.pca_reconstruction(*(joint.Moments.of(side, center, scale) for side in (x, 2 * x))) == 0.0


def test_the_change_of_a_correlation_is_that_of_numpy_and_names_its_columns() -> None:
    """The largest of the differences of numpy's correlation matrices; shift and spread of a column are none."""
    taught, seen = table(0, 4000, 0.2, 5), table(1, 4000, 0.2, 5)
    seen[:, 4] = -0.9 * seen[:, 1] + 0.5 * seen[:, 4]
    center, scale = taught.mean(0), taught.std(0)

    def found(side: np.ndarray) -> tuple[float, tuple[int, int]]:
        return joint.correlation_change(*(joint.Moments.of(part, center, scale) for part in (taught, side)))

    value, pair = found(seen)
    away = np.abs(np.corrcoef(seen.T) - np.corrcoef(taught.T))
    assert value == pytest.approx(away.max(), abs=1e-9)
    assert pair == (1, 4)
    moved = taught.copy()
    moved[:, 2] = 1.5 * moved[:, 2] + 0.5
    assert found(moved)[0] < 0.001
    constant = taught.copy()
    constant[:, 0] = 3.0
    assert np.isfinite(found(constant)[0])

"""Drift profiles made by Spark and by one machine: the same numbers, the same verdict."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mlops.monitoring.drift import detect, profile_spark
from mlops.monitoring.drift.profile import Knots, Profile, Profiled, profiles_of
from mlops.monitoring.drift.profile_spark import profiles_on_spark
from mlops.spec import DriftSpec
from tests.spark.conftest import Dealt

ROWS = 4_000
NAMES = ("steady", "moved", "counted", "broken", "empty")


def rows(seed: int, shift: float = 0.0) -> pd.DataFrame:
    """Columns that stay, move, hold whole numbers with ties and nulls, hold an infinity, hold nothing."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "steady": rng.normal(size=ROWS),
            "moved": rng.normal(shift, 1, ROWS),
            "counted": np.where(rng.random(ROWS) < 0.2, np.nan, rng.poisson(3, ROWS)),
            "broken": np.where(np.arange(ROWS) == 7, np.inf * shift if shift else 1.0, rng.normal(size=ROWS)),
            "empty": np.nan if shift else rng.normal(size=ROWS),
        }
    )


TIMES = pd.date_range("2026-03-01", periods=ROWS, freq="5min", tz="UTC")


def test_profiles_are_the_same_in_every_number(dealt: Dealt, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the partitions and parts: whole numbers are summed."""
    monkeypatch.setattr(profile_spark, "_ROWS_PER_PART", 300)
    current = rows(2, shift=2.0)
    knots = detect.knots_of(rows(1), NAMES, TIMES)
    here = profiles_of({name: current[name].to_numpy() for name in NAMES}, knots)
    there = profiles_on_spark(dealt(current, 5), knots)
    assert set(there) == set(NAMES)
    for name in NAMES:
        one, other = here[name], there[name]
        assert (one.rows, one.nulls, one.infinite) == (other.rows, other.nulls, other.infinite)
        for numbers in ("on", "between", "places"):
            assert (getattr(one, numbers) == getattr(other, numbers)).all(), (name, numbers)
        assert one.rows == ROWS


@pytest.mark.parametrize("method", ["wasserstein", "ks", "psi"])
def test_the_verdict_is_that_of_the_rows(dealt: Dealt, method: str) -> None:
    """Per column and in all, with what cannot be told and why; a column that moved is found.

    What is joint needs the rows themselves, so it is not asked for.
    """
    spec = DriftSpec(method=method, min_rows=100, joint=())
    reference, current = rows(1), rows(2, shift=2.0)
    asked = {"spec": spec, "columns": NAMES, "reference_times": TIMES}
    here = detect.detect(reference, current, **asked)
    knots = detect.knots_of(reference, NAMES, TIMES)
    profiles = profiles_on_spark(dealt(current, 3), knots)
    there = detect.detect(reference, {n: Profiled(profiles[n], knots[n]) for n in NAMES}, **asked)
    assert {c.column: c.verdict for c in here.columns}["moved"] == "drift"
    assert (there.verdict, there.share, there.current_rows) == (here.verdict, here.share, here.current_rows)
    for one, other in zip(here.columns, there.columns, strict=True):
        assert (one.column, one.verdict) == (other.column, other.verdict)
        alike = 1e-3 if method == "wasserstein" else 1e-12
        if one.value is None:
            assert one.reason == other.reason
        else:
            assert other.value == pytest.approx(one.value, rel=alike)
            assert other.threshold == pytest.approx(one.threshold, rel=alike)


def test_a_table_without_rows_is_no_profile_of_no_drift() -> None:
    """No rows is "cannot tell"."""
    spec = DriftSpec(min_rows=100)
    knots = Knots.of(rows(1)["steady"].to_numpy())
    nothing = Profiled(Profile.of(np.zeros(0), knots), knots)
    found = detect.detect(rows(1), {"steady": nothing}, spec=spec, columns=("steady",), reference_times=TIMES)
    assert found.verdict == "cannot_tell"

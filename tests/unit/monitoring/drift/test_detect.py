"""Drift by column and all in all: planted shifts are found, quiet data stays quiet, and the odd is "cannot tell"."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops.monitoring.drift.calibration import day_distances, full_days, threshold
from mlops.monitoring.drift.detect import Detection, detect
from mlops.monitoring.drift.measures import MEASURES
from mlops.spec import DriftSpec

SPEC = DriftSpec(min_effect=0.1, headroom=1.5, alarm_share=0.3, min_rows=50)
METHODS = ("wasserstein", "ks", "psi")


def telemetry(seed: int, days: int, columns: int = 6, rows_per_day: int = 300) -> pd.DataFrame:
    """Columns with a daily rhythm and days that differ a little from one another."""
    rng = np.random.default_rng(seed)
    times = pd.date_range("2026-03-01", periods=days * rows_per_day, freq=f"{86_400 // rows_per_day}s", tz="UTC")
    level = np.repeat(rng.normal(0, 0.1, (days, columns)), rows_per_day, axis=0)
    rhythm = np.sin(2 * np.pi * np.arange(len(times)) / rows_per_day)[:, None]
    values = level + rhythm + rng.normal(size=(len(times), columns))
    return pd.DataFrame(values, columns=[f"c{i}" for i in range(columns)]).assign(at=times)


def found(reference: pd.DataFrame, current: pd.DataFrame, spec: DriftSpec = SPEC, **more: Any) -> Detection:
    """`detect` on telemetry."""
    columns = more.pop("columns", [c for c in reference.columns if c != "at"])
    return detect(reference, current, spec=spec, reference_times=reference["at"], columns=columns, **more)


@pytest.mark.parametrize("method", ["wasserstein", "ks"])
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 9999), levels=st.integers(2, 30))
def test_day_distances_equal_the_measure_itself(method: str, seed: int, levels: int) -> None:
    """The fast calibration gives measure(other days, day) on the scale of the whole reference, ties included."""
    rng = np.random.default_rng(seed)
    values = rng.integers(0, levels, 80) * 1.7
    days = np.sort(rng.integers(0, 4, 80)).astype(np.intp)
    judged = full_days(days, 2)
    ours = day_distances(values, days, judged, method)
    for distance, day in zip(ours, judged, strict=True):
        rest, own = values[days != day], values[days == day]
        scale = 1.0 if method == "ks" else max(rest.std(), 0.001) / max(values.std(), 0.001)
        assert distance == pytest.approx(MEASURES[method](rest, own) * scale, rel=1e-9, abs=1e-9)


def test_the_index_of_a_day_is_over_the_deciles_of_the_whole_reference() -> None:
    """Two days of different level: shares of each in the deciles of both, put into the formula."""
    values = np.arange(200.0)
    days = np.repeat([0, 1], 100).astype(np.intp)
    # Every decile of the 200 values lies wholly in one of the two days: shares .2 and 0 (.0001) for five bins each.
    expected = 10 * (0.2 - 1e-4) * np.log(0.2 / 1e-4)
    assert day_distances(values, days, np.array([0, 1]), "psi") == pytest.approx([expected, expected])


def test_the_threshold_is_the_largest_distance_times_headroom_but_not_below_the_smallest_effect() -> None:
    """Quiet columns get the smallest effect, restless ones what their own days reach, times the headroom."""
    assert threshold(np.array([0.01, 0.02]), headroom=1.5, min_effect=0.1) == 0.1
    assert threshold(np.array([0.01, 0.2]), headroom=1.5, min_effect=0.1) == pytest.approx(0.3)


@pytest.mark.parametrize("method", METHODS)
def test_planted_shifts_are_found_and_the_other_columns_left_alone(method: Any) -> None:
    """Two of six columns moved by 1.5 standard deviations: these two drift, and a third is an alarm."""
    reference, current = telemetry(1, 8), telemetry(2, 1)
    current[["c1", "c4"]] += [1.5, -1.5]
    result = found(reference, current, SPEC.model_copy(update={"method": method}))
    assert [c.column for c in result.columns if c.verdict == "drift"] == ["c1", "c4"]
    assert (result.verdict, result.share) == ("drift", pytest.approx(1 / 3))
    assert (result.reference_rows, result.current_rows) == (2400, 300)
    assert "2 of 6 columns moved (33 %, alarm from 30 %)" in result.reason


def test_a_wider_spread_without_a_shift_is_drift() -> None:
    """The same mean with twice the noise is found."""
    reference, current = telemetry(1, 8), telemetry(2, 1)
    current["c0"] *= 2.0
    assert found(reference, current).columns[0].verdict == "drift"


def test_quiet_days_raise_no_alarm() -> None:
    """Sixty quiet days, each held against eight others: no alarm, and few columns drift."""
    alarms, columns = 0, 0
    for seed in range(60):
        days = telemetry(seed, 9)
        last = days["at"] >= days["at"].iloc[-300]
        result = found(days[~last], days[last])
        alarms += result.verdict == "drift"
        columns += len([c for c in result.columns if c.verdict == "drift"])
    assert alarms == 0
    assert columns <= 0.05 * 60 * 6


def test_the_alarm_needs_the_share_of_columns() -> None:
    """One column of six is below .3 and is no alarm; at a share of a sixth it is one."""
    reference, current = telemetry(1, 8), telemetry(2, 1)
    current["c1"] += 2.0
    quiet = found(reference, current)
    assert (quiet.verdict, quiet.share) == ("no_drift", pytest.approx(1 / 6))
    assert found(reference, current, SPEC.model_copy(update={"alarm_share": 1 / 6})).verdict == "drift"


SPOILED = {
    "all null": (np.nan, "all 300 values are null"),
    "one infinite": (np.inf, "1 of 300 values are infinite"),
    "too few": (0.0, "49 values, fewer than 50"),
}


@pytest.mark.parametrize("how", SPOILED)
@pytest.mark.parametrize("side", ["reference", "current"])
def test_a_column_that_cannot_be_judged_says_why(how: str, side: str) -> None:
    """Nulls, infinities and too few values on either side are "cannot tell" with the reason, and do not hide drift."""
    frames = {"reference": telemetry(1, 8), "current": telemetry(2, 1)}
    frames["current"]["c1"] += 2.0
    frame = frames[side]
    column = frame.columns.get_loc("c0")
    if how == "all null":
        frame["c0"] = np.nan
    elif how == "one infinite":
        frame.iloc[7, column] = -np.inf
    else:
        frame.iloc[49:, column] = np.nan
    result = found(**frames)
    spoiled = result.columns[0]
    assert (spoiled.verdict, spoiled.value, spoiled.threshold) == ("cannot_tell", None, None)
    assert SPOILED[how][1].replace("300", f"{len(frame):,}") in spoiled.reason
    assert spoiled.reason.startswith(side)
    assert result.share == pytest.approx(1 / 5)
    assert "1 cannot be judged: c0" in result.reason


def test_a_constant_reference_has_no_scale() -> None:
    """What never varied cannot say what is far, whatever the current values are; a current that got stuck is drift."""
    reference, current = telemetry(1, 8), telemetry(2, 1)
    reference["c0"], current["c1"] = 3.0, 3.0
    result = found(reference, current)
    assert result.columns[0].verdict == "cannot_tell"
    assert "constant at 3" in result.columns[0].reason
    assert result.columns[1].verdict == "drift"


def test_a_scale_that_the_measure_does_not_resolve_is_cannot_tell() -> None:
    """A spread below .001 is not called stable by a measure that does not see it; another one judges it."""
    reference, current = telemetry(1, 8), telemetry(2, 1)
    reference["c0"], current["c0"] = reference["c0"] * 1e-5, current["c0"] * 1e-5 + 5e-5
    assert found(reference, current).columns[0].verdict == "cannot_tell"
    assert found(reference, current, SPEC.model_copy(update={"method": "ks"})).columns[0].verdict == "drift"


def test_missing_columns_and_text_are_cannot_tell() -> None:
    """A column that one side does not have, or that holds words, is named and does not stop the others."""
    reference, current = telemetry(1, 8), telemetry(2, 1)
    reference["word"] = current["word"] = "a"
    result = found(reference, current.drop(columns="c0"), columns=["c0", "c1", "word", "nowhere"])
    assert [c.verdict for c in result.columns] == ["cannot_tell", "no_drift", "cannot_tell", "cannot_tell"]
    assert result.columns[0].reason == "current: no such column of numbers"


def test_nothing_to_compare_is_cannot_tell() -> None:
    """No current rows, too few of them, no reference, or a reference of a single day: nobody reads it as fine."""
    reference, current = telemetry(1, 8), telemetry(2, 1)
    assert found(reference, current[:0]).verdict == "cannot_tell"
    assert found(reference, current[:49]).verdict == "cannot_tell"
    assert found(reference[:0], current).verdict == "cannot_tell"
    one_day = found(reference[:300], current)
    assert one_day.verdict == "cannot_tell"
    assert "fewer than 2 days with 50 values" in one_day.columns[0].reason


def test_when_most_columns_cannot_be_judged_no_drift_is_not_said() -> None:
    """Two quiet columns of six do not vouch for the four not seen; two drifting ones still raise the alarm."""
    reference, current = telemetry(1, 8), telemetry(2, 1)
    current[["c0", "c1", "c2", "c3"]] = np.nan
    assert found(reference, current).verdict == "cannot_tell"
    current[["c4", "c5"]] += 3.0
    assert found(reference, current).verdict == "drift"


def test_a_day_with_few_rows_does_not_widen_the_threshold() -> None:
    """Three stray rows of another day, far off, change no threshold to speak of."""
    reference, current = telemetry(1, 8), telemetry(2, 1)
    usual = found(reference, current).columns[0].threshold
    stray = reference[:3].assign(at=reference["at"][:3] - pd.Timedelta(days=5), c0=3.0)
    with_stray = found(pd.concat([reference, stray]), current).columns[0].threshold
    assert with_stray == pytest.approx(usual, rel=0.02)


def test_nulls_are_left_out_and_types_do_not_matter() -> None:
    """Nullable, integer and boolean columns are judged as numbers; nulls among them do not count."""
    reference, current = telemetry(1, 8), telemetry(2, 1)
    reference["n"] = pd.array((reference["c0"] * 10).round().astype(int), dtype="Int64")
    reference.loc[::3, "n"] = pd.NA
    reference["b"] = reference["c1"] > 0
    current["n"] = (current["c0"] * 10).round() + 20
    current["b"] = current["c1"] > 0
    result = found(reference, current, columns=["n", "b"])
    assert [c.verdict for c in result.columns] == ["drift", "no_drift"]


def test_columns_come_from_the_spec_or_are_all_numeric_ones() -> None:
    """The spec's list is used if there is one, else every numeric column of the reference."""
    reference, current = telemetry(1, 8), telemetry(2, 1)
    at = reference["at"]
    assert len(detect(reference, current, spec=SPEC, reference_times=at).columns) == 6
    spec = SPEC.model_copy(update={"columns": ("c3",)})
    assert [c.column for c in detect(reference, current, spec=spec, reference_times=at).columns] == ["c3"]

"""Drift by column and all in all: planted shifts are found, quiet data stays quiet, and the odd is "cannot tell"."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops.monitoring.drift import comparisons
from mlops.monitoring.drift.detect import Detection, detect
from mlops.monitoring.drift.measures import MEASURES, SHARES, bin_shares, quantile_edges
from mlops.monitoring.drift.windows import cut
from mlops.spec import DriftSpec

SPEC = DriftSpec(min_effect=0.1, min_rows=50)
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


@pytest.mark.parametrize("method", sorted(MEASURES))
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 9999), levels=st.integers(3, 30))
def test_the_usual_distances_are_the_measure_between_a_day_and_the_others(method: Any, seed: int, levels: int) -> None:
    """Day by day as `measures` has it, on the bins and scale of the whole reference, ties included."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"x": rng.integers(0, levels, 80) * 1.7, "at": pd.Timestamp("2026-03-01", tz="UTC")})
    frame["at"] += pd.to_timedelta(np.sort(rng.integers(0, 4, 80)), unit="D")
    spec = SPEC.model_copy(update={"method": method, "min_rows": 2})
    answer = comparisons.of_column("x", frame, frame, cut(frame["at"]), spec)
    values, edges = frame["x"].to_numpy(), quantile_edges(frame["x"].to_numpy())
    expected = []
    for _, own in frame.groupby(frame["at"].dt.date)["x"]:
        rest = frame["x"].drop(own.index).to_numpy()
        if method in SHARES:
            expected.append(SHARES[method](bin_shares(rest, edges), bin_shares(own.to_numpy(), edges)))
        else:
            scale = max(rest.std(), 0.001) / max(values.std(), 0.001) if method == "wasserstein" else 1.0
            expected.append(MEASURES[method](rest, own.to_numpy()) * scale)
    assert answer.usual == pytest.approx(expected, rel=1e-6, abs=1e-6)
    assert answer.value == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_planted_shifts_are_found_and_the_other_columns_left_alone(method: Any) -> None:
    """Two of six columns moved by three standard deviations: within three nights these two are named, and no other."""
    spec, reference = SPEC.model_copy(update={"method": method}), telemetry(1, 14)
    nights: list[dict[str, float]] = []
    for seed in (2, 3, 4):
        current = telemetry(seed, 1)
        current[["c1", "c4"]] += [3.0, -3.0]
        result = found(reference, current, spec, nights=nights)
        nights.append(result.distances)
        if result.verdict == "drift":
            break
    assert {c.column for c in result.columns if c.verdict == "drift"} - {"joint(pca_reconstruction)"} == {"c1", "c4"}
    assert result.verdict == "drift"
    assert (result.reference_rows, result.current_rows) == (4200, 300)
    assert re.search(r"[23] of 8 columns moved, most of all \S+ \(", result.reason)


def test_a_wider_spread_without_a_shift_is_drift() -> None:
    """The same mean with three times the noise is found."""
    reference, current = telemetry(1, 14), telemetry(2, 1)
    current["c0"] *= 3.0
    assert found(reference, current).columns[0].verdict == "drift"


def test_quiet_nights_raise_no_more_alarms_than_the_budget_allows() -> None:
    """Sixteen references with fifteen quiet nights each, eight months in all at two a month: at most sixteen alarms."""
    spec = SPEC.model_copy(update={"false_alarms_per_month": 2.0})
    alarms = 0
    for seed in range(16):
        days = telemetry(seed, 23, columns=3, rows_per_day=60)
        date = (days["at"] - days["at"].iloc[0]).dt.days
        nights: list[dict[str, float]] = []
        for night in range(8, 23):
            result = found(days[date < 8], days[date == night], spec, nights=nights)
            alarms += result.verdict == "drift"
            nights = [] if result.verdict == "drift" else [*nights, result.distances]
    assert alarms <= 2.0 * 16 * 15 / 30


def test_evidence_of_several_nights_adds_up_and_says_since_when() -> None:
    """A shift too small for one night is found within a week, dated to when it began; without memory it never is."""
    days = telemetry(3, 26, columns=3)
    date = (days["at"] - days["at"].iloc[0]).dt.days
    days.loc[date >= 16, ["c0"]] += 0.45
    nights: list[dict[str, float]] = []
    alone = []
    for night in range(14, 26):
        current = days[date == night]
        alone.append(found(days[date < 14], current).verdict)
        result = found(days[date < 14], current, nights=nights)
        nights.append(result.distances)
        if result.verdict == "drift":
            break
    assert result.verdict == "drift"
    assert 17 <= night < 24
    assert abs((result.changed or 0) - 2) <= 1  # night 16 is the third
    assert next(c.column for c in result.columns if c.verdict == "drift") == "c0"
    assert "drift" not in alone


def test_a_column_has_drifted_exactly_if_it_reaches_its_threshold() -> None:
    """For every column of many nights, with and without memory: value ≥ threshold ⇔ drift."""
    seen = set()
    for seed in range(12):
        reference, current = telemetry(seed, 10), telemetry(100 + seed, 1)
        current[["c1", "c2"]] += 0.15 * seed
        before = [found(reference, telemetry(200 + seed, 1)).distances]
        for nights in ([], before):
            for column in found(reference, current, nights=nights).judged:
                reached = column.threshold is not None and (column.value or 0.0) >= column.threshold
                assert reached == (column.verdict == "drift"), column
                seen.add(column.verdict)
    assert seen == {"drift", "no_drift"}


def test_a_smaller_budget_never_finds_more() -> None:
    """What is found at a tenth of an alarm a month is found at ten, too."""
    reference, current = telemetry(1, 9), telemetry(2, 1)
    current["c1"] += 2.5
    names = [
        {
            c.column
            for c in found(reference, current, SPEC.model_copy(update={"false_alarms_per_month": budget})).columns
            if c.verdict == "drift"
        }
        for budget in (0.001, 0.1, 1.0, 10.0)
    ]
    assert names[0] <= names[1] <= names[2] <= names[3]
    assert names[0] != names[3]


SPOILED = {
    "all null": (np.nan, "all 300 values are null"),
    "one infinite": (np.inf, "1 of 300 values are infinite"),
    "too few": (0.0, "49 values, fewer than 50"),
}


@pytest.mark.parametrize("how", SPOILED)
@pytest.mark.parametrize("side", ["reference", "current"])
def test_a_column_that_cannot_be_judged_says_why(how: str, side: str) -> None:
    """Nulls, infinities and too few values on either side are "cannot tell" with the reason, and do not hide drift."""
    frames = {"reference": telemetry(1, 14), "current": telemetry(2, 1)}
    frames["current"]["c1"] += 9.0
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
    assert result.columns[1].verdict == "drift"
    assert "1 cannot be judged: c0" in result.reason


def test_a_constant_reference_has_no_scale() -> None:
    """What never varied cannot say what is far, whatever the current values are; a current that got stuck is drift."""
    reference, current = telemetry(1, 14), telemetry(2, 1)
    reference["c0"], current["c1"] = 3.0, 5.0
    result = found(reference, current)
    assert result.columns[0].verdict == "cannot_tell"
    assert "constant at 3" in result.columns[0].reason
    assert result.columns[1].verdict == "drift"


def test_a_scale_that_the_measure_does_not_resolve_is_cannot_tell() -> None:
    """A spread below .001 is not called stable by a measure that does not see it; another one judges it."""
    reference, current = telemetry(1, 14), telemetry(2, 1)
    reference["c0"], current["c0"] = reference["c0"] * 1e-5, current["c0"] * 1e-5 + 9e-5
    assert found(reference, current).columns[0].verdict == "cannot_tell"
    spec = SPEC.model_copy(update={"method": "ks", "false_alarms_per_month": 10.0})
    assert found(reference, current, spec).columns[0].verdict == "drift"


def test_missing_columns_are_cannot_tell() -> None:
    """A column that one side does not have, or that names things, is named and does not stop the others."""
    reference, current = telemetry(1, 8), telemetry(2, 1)
    reference["id"] = [f"row {i}" for i in range(len(reference))]
    result = found(reference, current.drop(columns="c0"), columns=["c0", "c1", "id", "nowhere"])
    assert [c.verdict for c in result.columns[:4]] == ["cannot_tell", "no_drift", "cannot_tell", "cannot_tell"]
    assert result.columns[0].reason == "current: no such column"
    assert "2,400 different values in 2,400 rows" in result.columns[2].reason


def test_text_booleans_and_times_are_compared() -> None:
    """New categories, another share of True and another hour of the day are found; the date moving on is not."""
    rng = np.random.default_rng(5)

    def rows(days: int, start: str, *, moved: bool) -> pd.DataFrame:
        at = pd.date_range(start, periods=days * 200, freq="432s", tz="UTC")
        kinds = rng.choice(["a", "b", "c"], len(at), p=[0.6, 0.3, 0.1])
        seen = at.floor("D") + pd.to_timedelta(rng.uniform(6, 9, len(at)) + 12 * moved, unit="h")
        return pd.DataFrame(
            {
                "text": np.where(rng.random(len(at)) < 0.9 * moved, "new", kinds),
                "flag": rng.random(len(at)) < (0.95 if moved else 0.1),
                "still": kinds,
                "seen": seen,
                "at": at,
            }
        )

    reference = rows(14, "2026-03-01", moved=False)
    columns = ["text", "flag", "still", "seen"]
    quiet = found(reference, rows(1, "2026-05-01", moved=False), columns=columns)
    assert {c.verdict for c in quiet.columns} == {"no_drift"}
    current, nights = rows(1, "2026-05-02", moved=True), [quiet.distances]
    first = found(reference, current, columns=columns, nights=nights)
    second = found(reference, current, columns=columns, nights=[*nights, first.distances])
    assert [c.verdict for c in second.columns] == ["drift", "drift", "no_drift", "drift"]
    assert [c.method for c in second.columns] == ["total_variation"] * 3 + ["wasserstein"]


def test_missing_values_are_a_question_of_their_own() -> None:
    """A sensor that fails altogether is drift of what is missing, though its values cannot be judged."""
    reference, current = telemetry(1, 14), telemetry(2, 1)
    current["c2"] = np.nan
    result = found(reference, current)
    by_name = {c.column: c for c in result.columns}
    assert by_name["c2"].verdict == "cannot_tell"
    assert by_name["missing(c2)"].verdict == "drift"
    assert by_name["missing(c2)"].value == 1.0
    assert "missing(c0)" not in by_name, "nothing was ever missing there"
    said_nothing = found(reference, current, nulls_say_nothing=["c2"])
    assert "missing(c2)" not in {c.column for c in said_nothing.columns}


def test_columns_that_begin_to_move_together_are_found_by_the_table() -> None:
    """Every column looks as before; the table as a whole does not."""
    reference, nights = telemetry(1, 14), []
    for seed in (2, 3, 4):
        current = telemetry(seed, 1)
        for name in ("c1", "c2", "c3", "c4", "c5"):
            order = np.argsort(np.argsort(current["c0"].to_numpy()))
            current[name] = np.sort(current[name].to_numpy())[order]
        result = found(reference, current, nights=nights)
        nights.append(result.distances)
    drifted = {c.column for c in result.columns if c.verdict == "drift"}
    assert drifted == {"joint(pca_reconstruction)", "joint(correlation)"}


def test_two_columns_of_many_that_begin_to_move_together_are_named() -> None:
    """A sum over all columns drowns them; the largest change of a correlation does not, and says which two it is."""
    rng = np.random.default_rng(5)
    at = pd.date_range("2026-03-01", periods=20 * 200, freq=pd.Timedelta(days=1) / 200, tz="UTC")
    rows = pd.DataFrame(rng.normal(size=(len(at), 20)), columns=[f"c{i}" for i in range(20)]).assign(at=at)
    late = at >= at[0] + pd.Timedelta(days=14)
    rows.loc[late, "c7"] = 0.7 * rows["c2"][late] + np.sqrt(0.51) * rows["c7"][late]
    nights: list[dict[str, float]] = []
    for day in range(6):
        tonight = rows[(at >= at[0] + pd.Timedelta(days=14 + day)) & (at < at[0] + pd.Timedelta(days=15 + day))]
        result = found(rows[~late], tonight, nights=nights)
        nights.append(result.distances)
        if result.verdict == "drift":
            break
    (named,) = (column for column in result.columns if column.verdict == "drift")
    assert named.column == "joint(correlation)"
    assert named.value == pytest.approx(0.7, abs=0.15)
    assert named.reason.endswith("most of all c2 with c7")


def test_nothing_to_compare_is_cannot_tell() -> None:
    """No current rows, too few of them, no reference, or a reference of a single day: nobody reads it as fine."""
    reference, current = telemetry(1, 8), telemetry(2, 1)
    assert found(reference, current[:0]).verdict == "cannot_tell"
    assert found(reference, current[:49]).verdict == "cannot_tell"
    assert found(reference[:0], current).verdict == "cannot_tell"
    one_day = found(reference[:300], current)
    assert one_day.verdict == "cannot_tell"
    assert "fewer than 3 days with 50 values" in one_day.columns[0].reason


def test_when_most_columns_cannot_be_judged_no_drift_is_not_said() -> None:
    """Two quiet columns of six do not vouch for the four not seen; drift of those two is still told."""
    reference, current = telemetry(1, 14), telemetry(2, 1)
    lost = ["c0", "c1", "c2", "c3"]
    current[lost] = np.nan
    assert found(reference, current, nulls_say_nothing=lost).verdict == "cannot_tell"
    current[["c4", "c5"]] += 9.0
    assert found(reference, current, nulls_say_nothing=lost).verdict == "drift"


def test_a_day_with_few_rows_does_not_widen_the_threshold() -> None:
    """Three stray rows of another day, far off, change no threshold to speak of."""
    reference, current = telemetry(1, 8), telemetry(2, 1)
    usual = found(reference, current).columns[0].threshold
    stray = reference[:3].assign(at=reference["at"][:3] - pd.Timedelta(days=5), c0=3.0)
    with_stray = found(pd.concat([reference, stray]), current).columns[0].threshold
    assert with_stray == pytest.approx(usual, rel=0.02)


def test_nulls_are_left_out_and_types_do_not_matter() -> None:
    """Nullable and integer columns are judged as numbers; nulls among them do not count."""
    reference, current = telemetry(1, 14), telemetry(2, 1)
    reference["n"] = pd.array((reference["c0"] * 10).round().astype(int), dtype="Int64")
    reference.loc[::3, "n"] = pd.NA
    current["n"] = (current["c0"] * 10).round() + 80
    current.loc[::3, "n"] = np.nan
    result = found(reference, current, columns=["n", "c1"])
    assert [c.verdict for c in result.columns[:2]] == ["drift", "no_drift"]


def test_columns_come_from_the_spec_or_are_all_numeric_ones() -> None:
    """The spec's list is used if there is one, else every numeric column of the reference."""
    reference, current = telemetry(1, 8), telemetry(2, 1)
    at = reference["at"]
    whole = ("joint(pca_reconstruction)", "joint(correlation)")
    every = [c.column for c in detect(reference, current, spec=SPEC, reference_times=at).columns]
    assert every == [*(f"c{i}" for i in range(6)), *whole]
    spec = SPEC.model_copy(update={"columns": ("c3",)})
    assert [c.column for c in detect(reference, current, spec=spec, reference_times=at).columns] == ["c3"]


def test_a_part_of_a_day_is_held_against_the_same_part_of_other_days() -> None:
    """A delivery that ends at six in the morning is no drift, though half a rhythm is missing from it."""
    reference, whole = telemetry(1, 14), telemetry(2, 1)
    morning = whole[whole["at"].dt.hour < 6]
    whatever = found(reference, morning).columns[0]
    alike = found(reference, morning, current_times=morning["at"]).columns[0]
    assert whatever.value is not None
    assert alike.value is not None
    assert whatever.value > 0.45
    assert alike.value < 0.3


@pytest.mark.parametrize("measure", ["domain_classifier", "mmd"])
def test_other_measures_of_the_table_find_what_they_are_for(measure: Any) -> None:
    """Two columns that swap their sign relation, found from their joint distribution alone."""
    rng = np.random.default_rng(3)

    def rows(days: int, sign: float) -> pd.DataFrame:
        at = pd.date_range("2026-03-01", periods=days * 200, freq="432s", tz="UTC")
        x = rng.normal(size=len(at))
        return pd.DataFrame({"x": x, "y": sign * x + 0.1 * rng.normal(size=len(at)), "at": at})

    spec = SPEC.model_copy(update={"joint": (measure,)})
    reference, nights = rows(10, 1.0), []
    quiet = found(reference, rows(1, 1.0), spec)
    assert quiet.verdict == "no_drift"
    for _ in range(2):
        result = found(reference, rows(1, -1.0), spec, nights=nights)
        nights.append(result.distances)
    assert {c.column for c in result.columns if c.verdict == "drift"} == {f"joint({measure})"}

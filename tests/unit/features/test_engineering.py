"""`engineer` against its definition written out as plain loops, on tables with all that goes wrong in real ones."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops.errors import FeatureError, SchemaError
from mlops.features.engineering import Recipe, engineer

START = pd.Timestamp("2026-03-01", tz="UTC")
NAMES = {"entity": "pump", "event": "at", "known_at": "arrived"}
EVERYTHING = Recipe(
    ("a", "b"),
    ("30min", "2h"),
    ("value", "mean", "std", "min", "max", "slope", "deviation", "count", "rate", "lag1", "lag3"),
    ("hour", "weekday", "season"),
    reach="3h",
)


def by_definition(rows: pd.DataFrame, recipe: Recipe) -> list[dict[str, Any]]:
    """Features of every reading by plain loops, straight from the definition."""
    records = list(rows.to_dict("records"))
    last = {(r["pump"], r["at"], r["arrived"]): r for r in records}  # of those known at one instant, the last row
    out = []
    for me in sorted(last.values(), key=lambda r: (r["pump"], r["at"], r["arrived"])):
        known: dict[pd.Timestamp, dict[str, Any]] = {}
        for r in sorted(last.values(), key=lambda r: r["arrived"]):
            if r["pump"] == me["pump"] and r["at"] <= me["at"] and r["arrived"] <= me["arrived"]:
                known[r["at"]] = r
        history = [known[t] for t in sorted(known)]
        features: dict[str, Any] = {"pump": me["pump"], "event_timestamp": me["at"], "created_timestamp": me["arrived"]}
        for column in recipe.columns:
            for window in recipe.windows:
                inside = [r for r in history if r["at"] > me["at"] - pd.Timedelta(window)]
                points = [
                    ((r["at"] - me["at"]) / pd.Timedelta("1h"), r[column]) for r in inside if not math.isnan(r[column])
                ]
                features |= {f"{column}_{k}_{window}": v for k, v in over_window(points, me[column]).items()}
            earlier = [r for r in history if me["at"] - pd.Timedelta(recipe.reach) <= r["at"] < me["at"]]
            features[column] = me[column]
            for k in (1, 3):
                features[f"{column}_lag{k}"] = earlier[-k][column] if len(earlier) >= k else math.nan
            valid = [r for r in earlier if not math.isnan(r[column])]
            rate = math.nan
            if valid:
                rate = (me[column] - valid[-1][column]) / ((me["at"] - valid[-1]["at"]) / pd.Timedelta("1h"))
            features[f"{column}_rate"] = rate
        hours = {
            "hour": (me["at"].hour + me["at"].minute / 60 + me["at"].second / 3600) / 24,
            "weekday": (me["at"] - me["at"].normalize() + pd.Timedelta(days=me["at"].weekday())) / pd.Timedelta("7d"),
            "season": (me["at"] - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(days=365.2425),
        }
        for part, turn in hours.items():
            features[f"{part}_sin"], features[f"{part}_cos"] = math.sin(turn * math.tau), math.cos(turn * math.tau)
        out.append(features)
    return out


def over_window(points: list[tuple[float, float]], mine: float) -> dict[str, float]:
    """Statistics of (hours, value) pairs by the textbook."""
    n = len(points)
    nan = math.nan
    if n == 0:
        return {"mean": nan, "std": nan, "min": nan, "max": nan, "slope": nan, "deviation": nan, "count": 0.0}
    values = [v for _, v in points]
    mean = math.fsum(values) / n
    centre = math.fsum(h for h, _ in points) / n
    std = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1)) if n > 1 else nan
    spread = math.fsum((h - centre) ** 2 for h, _ in points)
    slope = math.fsum((h - centre) * (v - mean) for h, v in points) / spread if n > 1 else nan
    return {
        "mean": mean,
        "std": std,
        "min": min(values),
        "max": max(values),
        "slope": slope,
        "deviation": mine - mean,
        "count": float(n),
    }


VALUES = st.one_of(st.just(math.nan), st.sampled_from([0.0, 1.0, -2.5]), st.floats(-1e3, 1e3))


@st.composite
def tables(draw: st.DrawFn) -> pd.DataFrame:
    """Readings of up to three pumps: irregular steps, gaps, ties in time, nulls, rows that arrive late or again."""
    n = draw(st.integers(1, 40))
    minutes = draw(st.lists(st.integers(0, 300), min_size=n, max_size=n))
    delays = draw(st.lists(st.sampled_from([0, 0, 0, 1, 7, 30, 90, 400]), min_size=n, max_size=n))
    at = START + pd.to_timedelta(minutes, unit="min")
    return pd.DataFrame(
        {
            "pump": draw(st.lists(st.sampled_from(["p1", "p2", "p3"]), min_size=n, max_size=n)),
            "at": at,
            "arrived": at + pd.to_timedelta(delays, unit="min"),
            "a": draw(st.lists(VALUES, min_size=n, max_size=n)),
            "b": draw(st.lists(st.floats(-1e3, 1e3), min_size=n, max_size=n)),
        }
    )


def made(rows: pd.DataFrame, recipe: Recipe = EVERYTHING, **options: Any) -> pd.DataFrame:
    """`engineer` with the names of these tests."""
    return engineer(rows, recipe, **NAMES, **options)


def regular(values: list[float], step: str = "10min", pump: str = "p1") -> pd.DataFrame:
    """Readings at a regular step, known at once."""
    at = pd.date_range(START, periods=len(values), freq=step)
    return pd.DataFrame({"pump": pump, "at": at, "arrived": at, "a": values})


@settings(max_examples=120, deadline=None)
@given(tables())
def test_features_equal_the_definition_written_as_loops(rows: pd.DataFrame) -> None:
    """On any table, with ties, nulls, gaps and late rows, every feature is what its definition says."""
    found = made(rows)
    expected = pd.DataFrame(by_definition(rows, EVERYTHING))
    assert found[["pump"]].equals(expected[["pump"]])
    for column in ("event_timestamp", "created_timestamp"):
        assert (found[column] == expected[column]).all()
    for name in EVERYTHING.feature_names:
        np.testing.assert_allclose(found[name], expected[name].astype(float), rtol=1e-9, atol=1e-8, err_msg=name)


@settings(max_examples=100, deadline=None)
@given(tables(), st.integers(0, 39))
def test_batch_features_equal_those_computed_on_arrival(rows: pd.DataFrame, pick: int) -> None:
    """A reading's features from the history known when it arrived equal those of the whole batch: batch is online."""
    whole = made(rows)
    row = whole.iloc[pick % len(whole)]
    then = made(rows[rows["arrived"] <= row["created_timestamp"]])
    same = then[(then["pump"] == row["pump"]) & (then["event_timestamp"] == row["event_timestamp"])]
    same = same[same["created_timestamp"] == row["created_timestamp"]]
    assert len(same) == 1
    for name in EVERYTHING.feature_names:
        np.testing.assert_array_equal(same[name].to_numpy(), [row[name]])


@settings(max_examples=100, deadline=None)
@given(tables(), st.integers(0, 300))
def test_since_returns_the_later_part_of_the_whole(rows: pd.DataFrame, minutes: int) -> None:
    """`since` leaves out rows, and changes none of those it returns."""
    since = START + timedelta(minutes=minutes)
    whole = made(rows)
    later = whole[whole["created_timestamp"] >= since].reset_index(drop=True)
    pd.testing.assert_frame_equal(made(rows, since=since), later)


def test_history_beyond_the_lookback_does_not_matter() -> None:
    """Night by night with `lookback` of history gives the same features as all days at once."""
    rng = np.random.default_rng(1)
    rows = regular(list(rng.normal(size=6 * 72)))
    recipe = Recipe(("a",), ("1h", "6h"), ("mean", "std", "rate", "lag2"), reach="2h")
    whole = made(rows, recipe)
    nights = []
    for day in range(3):
        since = START + timedelta(days=day)
        night = rows[(rows["at"] > since - recipe.lookback) & (rows["at"] < since + timedelta(days=1))]
        nights.append(made(night, recipe, since=since))
    pd.testing.assert_frame_equal(pd.concat(nights, ignore_index=True), whole)


def test_a_window_is_open_on_the_left_and_closed_on_the_right() -> None:
    """A window of 30 min at 10-minute steps holds three readings: the one 30 min ago is out, its own is in."""
    found = made(regular([1.0, 2.0, 4.0, 8.0]), Recipe(("a",), ("30min",), ("count", "mean")))
    assert found["a_count_30min"].tolist() == [1, 2, 3, 3]
    assert found["a_mean_30min"].iloc[3] == pytest.approx((2 + 4 + 8) / 3)


def test_slope_and_rate_are_per_hour() -> None:
    """Rising by 3 every 10 minutes is 18 per hour, as slope and as rate."""
    found = made(regular([0.0, 3.0, 6.0, 9.0]), Recipe(("a",), ("1h",), ("slope", "rate")))
    assert found["a_slope_1h"].iloc[1:].tolist() == pytest.approx([18.0, 18.0, 18.0])
    assert found["a_rate"].iloc[1:].tolist() == pytest.approx([18.0, 18.0, 18.0])
    assert math.isnan(found["a_slope_1h"].iloc[0])


@pytest.mark.parametrize("level", [0.1, 1e5 + 0.1, -7.3e8])
def test_a_stuck_sensor_has_a_spread_of_exactly_zero(level: float) -> None:
    """Equal values have standard deviation 0 and slope 0 exactly, whatever their offset and what came before."""
    found = made(regular([level * 3, *[level] * 40]), Recipe(("a",), ("1h",), ("std", "slope", "deviation")))
    settled = found.iloc[7:]
    for name in ("a_std_1h", "a_slope_1h", "a_deviation_1h"):
        assert (settled[name] == 0.0).all(), name


def test_a_small_spread_on_a_large_offset_is_not_lost() -> None:
    """Noise of 1e-3 on 1e5 keeps its standard deviation to nine digits, measured against exact arithmetic."""
    rng = np.random.default_rng(2)
    values = 1e5 + 1e-3 * rng.normal(size=200)
    found = made(regular(list(values)), Recipe(("a",), ("6h",), ("std",)))["a_std_6h"]
    exact = (values[-36:] - 1e5).std(ddof=1)  # 1e5 is subtracted without rounding error
    assert found.iloc[-1] == pytest.approx(exact, rel=1e-9)


def test_a_late_reading_is_seen_only_by_those_that_came_after_it() -> None:
    """A reading of 00:00 that arrives at 00:25 counts at 00:30, not at 00:10 and 00:20."""
    rows = regular([100.0, 1.0, 1.0, 1.0])
    rows.loc[0, "arrived"] = START + timedelta(minutes=25)
    found = made(rows, Recipe(("a",), ("1h",), ("max",)))
    assert found["a_max_1h"].tolist() == [100.0, 1.0, 1.0, 100.0]


def test_a_correction_counts_from_the_moment_it_is_known() -> None:
    """A corrected reading gives a feature row of its own; readings in between still saw the old value."""
    rows = regular([5.0, 1.0, 1.0])
    corrected = rows.iloc[[0]].assign(a=9.0, arrived=START + timedelta(minutes=15))
    found = made(pd.concat([corrected, rows]), Recipe(("a",), ("1h",), ("max", "count")))
    assert found["a_max_1h"].tolist() == [5.0, 9.0, 5.0, 9.0]
    assert found["a_count_1h"].tolist() == [1, 1, 2, 3]


def test_entities_do_not_touch() -> None:
    """The last reading of one entity is in no window of the next."""
    rows = pd.concat([regular([1.0, 2.0], pump="p1"), regular([10.0, 20.0], pump="p2")])
    found = made(rows, Recipe(("a",), ("1d",), ("mean", "lag1", "rate")))
    assert found["a_mean_1d"].tolist() == [1.0, 1.5, 10.0, 15.0]
    assert found["a_lag1"].fillna(-1).tolist() == [-1, 1, -1, 10]


def test_an_integer_entity_stays_an_integer() -> None:
    """The key column comes back with its type, and timestamps in UTC microseconds."""
    rows = regular([1.0, 2.0]).assign(pump=7)
    rows["at"] = rows["at"].dt.tz_convert("Europe/Berlin")
    found = made(rows, Recipe(("a",)))
    assert found["pump"].dtype == np.int64
    assert str(found["event_timestamp"].dtype) == "datetime64[us, UTC]"
    assert found["event_timestamp"].iloc[0] == START


def test_no_rows_make_an_empty_table_with_all_columns() -> None:
    """An empty delivery gives an empty table, not an error."""
    found = made(regular([]), Recipe(("a",), ("1h",), ("mean", "lag1", "rate"), ("hour",)))
    assert found.empty
    assert list(found.columns)[3:] == ["a_mean_1h", "a_lag1", "a_rate", "hour_sin", "hour_cos"]


def test_a_column_of_nulls_gives_nulls() -> None:
    """An all-null sensor has count 0 and every other feature null; other sensors are unharmed."""
    rows = regular([1.0, 2.0]).assign(b=None)
    found = made(rows, Recipe(("a", "b"), ("1h",), ("mean", "std", "count")))
    assert found["b_count_1h"].tolist() == [0, 0]
    assert found[["b_mean_1h", "b_std_1h"]].isna().all(axis=None)
    assert found["a_mean_1h"].tolist() == [1.0, 1.5]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.drop(columns="a"), "'a' is missing"),
        (lambda r: r.assign(a="warm"), "expected numbers"),
        (lambda r: r.assign(at=r["at"].dt.tz_localize(None)), "expected timestamps with a zone"),
        (lambda r: r.assign(arrived=r["arrived"].where(r["a"] < 0)), "null in 2 of 2 rows"),
        (lambda r: r.assign(pump=None), "'pump' is null"),
    ],
)
def test_a_table_that_cannot_be_right_is_refused(change: Any, message: str) -> None:
    """Missing or textual columns, times without zone and null keys are refused with what to do."""
    with pytest.raises(SchemaError, match=message):
        made(change(regular([1.0, 2.0])), Recipe(("a",)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"statistics": ("meen",), "windows": ("1h",)}, "Did you mean 'mean'"),
        ({"statistics": ("lag0",)}, "Unknown statistic 'lag0'"),
        ({"statistics": ("mean",)}, "need windows"),
        ({"windows": ("1 fortnight",)}, "not a length of time"),
        ({"windows": ("-1h",)}, "not a positive length"),
        ({"calendar": ("hours",)}, "Did you mean 'hour'"),
        ({"statistics": "mean"}, r"Write statistics=\('mean',\)"),
        ({"statistics": ("value", "value")}, "twice"),
        ({"statistics": ()}, "makes no feature"),
    ],
)
def test_a_recipe_that_cannot_be_right_is_refused(arguments: dict[str, Any], message: str) -> None:
    """A mistyped or impossible recipe is refused where it is written, with what was probably meant."""
    with pytest.raises(FeatureError, match=message):
        Recipe(("a",), **arguments)


def test_lookback_is_the_longest_history_any_feature_needs() -> None:
    """Windows count only if something uses them; lags and rates need the reach."""
    assert Recipe(("a",), ("1h", "6h"), ("mean",)).lookback == timedelta(hours=6)
    assert Recipe(("a",), ("1h",), ("mean", "lag1"), reach="12h").lookback == timedelta(hours=12)
    assert Recipe(("a",), ("6h",), ("value",)).lookback == timedelta(0)


def test_a_recipe_survives_json() -> None:
    """The recipe that rides in Feast's tags is the recipe that was written."""
    assert Recipe.from_json(EVERYTHING.to_json()) == EVERYTHING

"""Each check catches the fault it is there for, planted by hand, and says where it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from mlops.errors import FeatureError
from mlops.features.checks import conservation, freshness, leakage, parity, skew
from mlops.features.definitions import CLOCK, ViewInfo

AT = pd.Timestamp("2026-03-01 12:00", tz="UTC")
HOUR = timedelta(hours=1)
VIEWS = (
    ViewInfo("levels", "fleet", None, "pump", timedelta(0), ("level",), timedelta(hours=2), dated=True),
    ViewInfo("spreads", "fleet", None, "pump", timedelta(0), ("spread",), timedelta(hours=2), dated=True),
)


def asked() -> pd.DataFrame:
    """Rows as they go into a join, one value null."""
    return pd.DataFrame(
        {"pump": ["p1", "p1", "p2"], "event_timestamp": [AT, AT, AT + timedelta(hours=1)], "label": [0.0, 1.0, np.nan]}
    )


def joined() -> pd.DataFrame:
    """The same rows, joined to readings of the past."""
    rows = asked().assign(level=[1.0, 1.0, 2.0])
    rows["feature_timestamp"] = rows["event_timestamp"] - timedelta(minutes=10)
    rows["feature_known_at"] = rows["event_timestamp"] - timedelta(minutes=9)
    return rows


def values(level: list[float], spread: list[float]) -> pd.DataFrame:
    """Features of two pumps."""
    return pd.DataFrame({"pump": ["p1", "p2"], "level": level, "spread": spread})


def test_rows_that_come_out_as_they_went_in_pass() -> None:
    """Rows with nulls and equal keys, in order, with features beside them, are conserved."""
    assert conservation(asked(), joined()).verdict == "pass"


def test_a_lost_row_is_counted() -> None:
    """One row fewer fails with the number lost."""
    result = conservation(asked(), joined().iloc[:2])
    assert (result.verdict, result.value) == ("fail", 1.0)
    assert "3 rows went in, 2 came out: 1 lost" in result.reason


def test_an_added_row_is_counted() -> None:
    """A doubled row fails too."""
    result = conservation(asked(), pd.concat([joined(), joined().iloc[:1]]))
    assert "1 added" in result.reason


def test_swapped_rows_are_seen_although_their_number_is_right() -> None:
    """Two rows of one key and time with different labels must not change places."""
    result = conservation(asked(), joined().iloc[[1, 0, 2]])
    assert (result.verdict, result.value) == ("fail", 2.0)
    assert "first row 0: label was 0.0, is 1.0" in result.reason


def test_a_dropped_column_is_named() -> None:
    """A join that loses a column fails with its name."""
    assert "label" in conservation(asked(), joined().drop(columns="label")).reason


def test_no_row_cannot_tell() -> None:
    """An empty join is not a conserved one."""
    assert conservation(asked().iloc[:0], joined().iloc[:0]).verdict == "cannot_tell"


def test_readings_of_the_past_and_of_the_same_instant_pass() -> None:
    """A reading may be as recent as the row itself, not more."""
    rows = joined()
    rows["feature_timestamp"] = rows["feature_known_at"] = rows["event_timestamp"]
    assert leakage(rows).verdict == "pass"


@pytest.mark.parametrize(("column", "word"), [("feature_timestamp", "happened"), ("feature_known_at", "became known")])
def test_a_reading_from_the_future_is_found(column: str, word: str) -> None:
    """One microsecond too late fails, for what happened and for what became known, and says which row."""
    rows = joined()
    rows.loc[1, column] = AT + timedelta(microseconds=1)
    result = leakage(rows)
    assert (result.verdict, result.value) == ("fail", 1.0)
    assert "first row 1" in result.reason
    assert word in result.reason


def test_leakage_cannot_tell_where_nothing_joined() -> None:
    """Without a feature there is nothing that could leak, and nothing that was shown not to."""
    rows = joined().assign(feature_timestamp=pd.NaT, feature_known_at=pd.NaT)
    assert leakage(rows).verdict == "cannot_tell"


def test_leakage_refuses_a_frame_without_times() -> None:
    """A frame that does not say when its features were read is refused, not passed."""
    with pytest.raises(FeatureError, match="feature_timestamp"):
        leakage(joined().drop(columns="feature_timestamp"))


def test_equal_values_in_any_order_agree() -> None:
    """Entities are compared by key, nulls are equal to nulls."""
    offline = values([1.0, 2.0], [np.nan, 4.0])
    assert parity(offline, offline.iloc[::-1], views=VIEWS).verdict == "pass"


def test_a_value_that_differs_is_named_with_view_entity_and_both_values() -> None:
    """The finding is enough to go and look: view, feature, entity, both values."""
    result = parity(values([1.0, 2.0], [3.0, 4.0]), values([1.0, 2.0], [3.0, 4.5]), views=VIEWS)
    assert (result.verdict, result.value) == ("fail", 1.0)
    assert "spreads:spread of pump p2: offline 4.0, online 4.5" in result.reason


def test_a_value_missing_on_one_side_differs() -> None:
    """A feature that is null online only, or an entity that is not there at all, is a difference."""
    offline = values([1.0, 2.0], [3.0, 4.0])
    assert parity(offline, values([1.0, np.nan], [3.0, 4.0]), views=VIEWS).value == 1.0
    assert parity(offline, offline.iloc[:1], views=VIEWS).value == 2.0


def test_parity_cannot_tell_without_features() -> None:
    """Two empty stores agree on nothing."""
    empty = values([np.nan, np.nan], [np.nan, np.nan])
    assert parity(empty, empty, views=VIEWS).verdict == "cannot_tell"


# --- the stock stores' own faults, planted for real -------------------------------------------------------------------


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """Feast with its default local store over three readings of one pump; asks for features as anybody would."""
    import feast
    from feast.types import Float64, Int64, String

    folder = tmp_path_factory.mktemp("stock")
    times = ["event_timestamp", "created_timestamp"]
    readings = pd.DataFrame(
        [("p1", AT, AT, 1.0), ("p1", AT - HOUR, AT - HOUR, 0.5), ("p1", AT, AT + 2 * HOUR, 9.0)],
        columns=["pump", *times, "level"],
    ).astype(dict.fromkeys(times, "datetime64[us, UTC]"))
    clock = zip(CLOCK, times, strict=True)
    readings = readings.assign(**{field: readings[time].astype("int64") for field, time in clock})
    readings.to_parquet(folder / "levels.parquet", coerce_timestamps="us")
    pump = feast.Entity(name="pump", join_keys=["pump"], value_type=feast.ValueType.STRING)
    source = feast.FileSource(
        name="levels_source",
        path=str(folder / "levels.parquet"),
        timestamp_field="event_timestamp",
        created_timestamp_column="created_timestamp",
    )
    schema = [feast.Field(name="pump", dtype=String), feast.Field(name="level", dtype=Float64)]
    schema += [feast.Field(name=field, dtype=Int64) for field in CLOCK]
    view = feast.FeatureView(name="levels", entities=[pump], schema=schema, source=source, ttl=timedelta(days=1))
    store = feast.FeatureStore(
        config=feast.RepoConfig(
            project="stock",
            provider="local",
            registry=str(folder / "registry.db"),
            offline_store={"type": "file"},
            online_store={"type": "sqlite", "path": str(folder / "online.db")},
            entity_key_serialization_version=3,
        )
    )
    store.apply([pump, view])

    def ask(rows: pd.DataFrame) -> pd.DataFrame:
        names = [f"levels:{name}" for name in ("level", *CLOCK)]
        found = store.get_historical_features(entity_df=rows.copy(), features=names).to_df()
        return found.assign(**{field: pd.to_datetime(found[field], unit="us", utc=True) for field in CLOCK})

    return ask


def test_rows_that_the_stock_store_drops_are_counted(stock: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    """Two rows of one key and time, two labels: Feast's file store returns one of them (feast#6787)."""
    rows = pd.DataFrame({"pump": ["p1", "p1"], "event_timestamp": [AT + HOUR] * 2, "label": [0, 1]})
    result = conservation(rows, stock(rows))
    assert (result.verdict, result.value) == ("fail", 1.0)
    assert "2 rows went in, 1 came out: 1 lost" in result.reason


def test_a_correction_that_the_stock_store_leaks_is_found(stock: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    """A row asked for before a correction arrived is given it all the same (feast#6615)."""
    rows = pd.DataFrame({"pump": ["p1"], "event_timestamp": [AT + HOUR]})
    found = stock(rows)
    assert found["level"].tolist() == [9.0]  # what was known then is 1.0
    result = leakage(found)
    assert (result.verdict, result.value) == ("fail", 1.0)
    assert "the reading became known at 2026-03-01 14:00" in result.reason


# --- parity with a store that goes on ---------------------------------------------------------------------------------


def test_entities_that_were_pushed_to_since_are_not_compared() -> None:
    """What became known online after the moment asked for is ahead, not wrong; the rest is compared."""
    offline = values([1.0, 2.0], [3.0, 4.0])
    online = values([7.0, 2.0], [3.0, 4.0]).assign(feature_known_at=[AT + HOUR, AT])
    result = parity(offline, online, views=VIEWS, as_of=AT)
    assert result.verdict == "pass"
    assert "2 values of 1 entities agree. 1 have been pushed to since" in result.reason
    assert parity(offline, online, views=VIEWS, as_of=AT + 2 * HOUR).value == 1.0


def test_parity_cannot_tell_where_all_are_ahead() -> None:
    """If every entity was pushed to since, there is nothing to compare."""
    online = values([1.0, 2.0], [3.0, 4.0]).assign(feature_known_at=AT + HOUR)
    assert parity(values([1.0, 2.0], [3.0, 4.0]), online, views=VIEWS, as_of=AT).verdict == "cannot_tell"


# --- freshness --------------------------------------------------------------------------------------------------------


def test_a_view_is_fresh_up_to_its_time_to_live() -> None:
    """Two hours to live: at two hours it passes, a microsecond later it fails, with age and limit in hours."""
    assert freshness(VIEWS[0], AT, as_of=AT + 2 * HOUR).verdict == "pass"
    result = freshness(VIEWS[0], AT, as_of=AT + 2 * HOUR + timedelta(microseconds=1), stale=3, sampled=4)
    assert (result.name, result.verdict, result.limit) == ("fresh:levels", "fail", 2.0)
    assert "of 2026-03-01 12:00 UTC, is 2.0 h old" in result.reason
    assert "3 of 4 entities looked at are past it" in result.reason


def test_freshness_cannot_tell_without_a_reading() -> None:
    """An empty view is neither fresh nor stale."""
    assert freshness(VIEWS[0], None, as_of=AT).verdict == "cannot_tell"


def test_features_that_live_for_ever_are_fresh() -> None:
    """A time to live of zero means none."""
    assert freshness(replace(VIEWS[0], ttl=timedelta(0)), AT, as_of=AT + 9_999 * HOUR).verdict == "pass"


# --- skew -------------------------------------------------------------------------------------------------------------


def served(level: float = 1.0) -> pd.DataFrame:
    """The log of two predictions."""
    return values([level, 2.0], [np.nan, 4.0]).assign(asked_at=[AT, AT + HOUR])


def test_a_value_that_was_served_and_is_not_the_offline_one_is_named() -> None:
    """View, feature, entity, when it was served and both values; equal values, nulls included, pass."""
    assert skew(served(), values([1.0, 2.0], [np.nan, 4.0]), views=VIEWS, at="asked_at").verdict == "pass"
    result = skew(served(1.5), values([1.0, 2.0], [np.nan, 4.0]), views=VIEWS, at="asked_at")
    assert (result.verdict, result.value) == ("fail", 1.0)
    assert "levels:level of pump p1: served 1.5 at 2026-03-01 12:00:00+00:00, offline 1.0" in result.reason


def test_skew_cannot_tell_without_predictions() -> None:
    """No prediction, or none made from a feature: no finding."""
    log = served()
    assert skew(log.iloc[:0], log.iloc[:0], views=VIEWS, at="asked_at").verdict == "cannot_tell"
    nothing = log.assign(level=np.nan, spread=np.nan)
    assert skew(nothing, nothing, views=VIEWS, at="asked_at").verdict == "cannot_tell"


def test_a_log_that_lacks_a_column_is_refused() -> None:
    """A log without a feature, or without the time it was asked for, cannot be held against anything."""
    with pytest.raises(FeatureError, match=r"lacks 'asked_on'.*Did you mean 'asked_at'"):
        skew(served(), served(), views=VIEWS, at="asked_on")
    with pytest.raises(FeatureError, match="lacks 'spread'"):
        skew(served().drop(columns="spread"), served(), views=VIEWS, at="asked_at")

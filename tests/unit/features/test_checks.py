"""Each check catches the fault it is there for, planted by hand, and says where it is."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from mlops.errors import FeatureError
from mlops.features.checks import conservation, leakage, parity
from mlops.features.definitions import ViewInfo

AT = pd.Timestamp("2026-03-01 12:00", tz="UTC")
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

"""Labels: only what had arrived and matured, and the latest word on each event."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops.data.labels import keyed_like, mature_labels
from mlops.errors import SchemaError
from mlops.spec import LabelSpec, SourceSpec, TimestampsSpec

T0 = datetime(2026, 3, 5, tzinfo=UTC)
TIMES = TimestampsSpec(event="at", arrival="known")
KEYS = {"entity": "device", "timestamps": TIMES}


def hours(value: float) -> datetime:
    """So many hours after the beginning."""
    return T0 + timedelta(hours=value)


def rows(*facts: tuple[str, float, float, object]) -> pd.DataFrame:
    """Rows of (device, event [h], known [h], value)."""
    frame = pd.DataFrame(facts, columns=["device", "at", "known", "value"])
    instants = "datetime64[us, UTC]"
    return frame.assign(
        at=pd.Series([hours(h) for h in frame["at"]], dtype=instants),
        known=pd.Series([hours(h) for h in frame["known"]], dtype=instants),
    )


def delivered(frame: pd.DataFrame) -> Callable[[date, date], pd.DataFrame]:
    """Validated rows by the date they became known on."""
    return lambda first, last: frame[(frame["known"].dt.date >= first) & (frame["known"].dt.date <= last)]


def no_partition(first: date, last: date) -> pd.DataFrame:
    """Validated rows where none were ever published."""
    return pd.DataFrame()


def nothing(first: date, last: date) -> pd.DataFrame:
    """Validated rows that must not be asked for."""
    raise AssertionError("the data was read although labels have a source of their own")


def test_a_column_of_the_data_is_a_label_once_its_row_has_arrived() -> None:
    """What arrived by as_of counts, to the second."""
    frame = rows(("a", 1, 20, 1), ("b", 1, 20 + 1 / 3600, 0), ("a", 2, 2, 0), ("a", 19, 19, 1))
    found = mature_labels(LabelSpec(column="value"), delivered(frame), **KEYS, start=T0, end=hours(9), as_of=hours(20))
    assert list(zip(found["device"], found["observed_at"], found["label"], strict=True)) == [
        ("a", hours(1), 1.0),
        ("a", hours(2), 0.0),
    ]
    assert str(found["observed_at"].dtype) == "datetime64[us, UTC]"
    assert found["label"].dtype == float


def test_with_a_horizon_the_label_is_the_value_exactly_that_much_later() -> None:
    """Per entity the value at t + 1 h belongs to t; where there is none, there is no label."""
    frame = rows(("a", 0, 0, 10), ("a", 1, 1, 11), ("a", 2.5, 2.5, 12), ("b", 1, 1, 20), ("b", 2, 9, 21))
    label = LabelSpec(column="value", horizon_hours=1)
    found = mature_labels(label, delivered(frame), **KEYS, start=T0, end=hours(24), as_of=hours(8))
    by_event = {(d, t): v for d, t, v in found.itertuples(index=False)}
    assert by_event == {("a", hours(0)): 11.0, ("a", hours(1.5)): 12.0, ("b", hours(0)): 20.0}
    later = mature_labels(label, delivered(frame), **KEYS, start=T0, end=hours(24), as_of=hours(9))
    assert len(later) == 4


def test_a_horizon_reads_past_the_end_of_the_window() -> None:
    """The label of the last event of a window lies beyond it, on the next day's delivery."""
    frame = rows(("a", 23, 23, 1), ("a", 24, 24, 2))
    label = LabelSpec(column="value", horizon_hours=1)
    found = mature_labels(label, delivered(frame), **KEYS, start=T0, end=hours(24), as_of=hours(48))
    assert list(found["label"]) == [1.0, 2.0]
    assert list(found["observed_at"]) == [hours(22), hours(23)]


def test_labels_of_their_own_source_count_by_arrival_maturity_and_last_word(tmp_path: Path) -> None:
    """Of revisions the latest that had arrived counts; one taken back is none; unripe ones wait."""
    told = rows(("a", 1, 20, 1), ("a", 1, 30, 0), ("b", 1, 20, 1), ("b", 1, 31, None), ("c", 20, 21, 1))
    for day, part in told.groupby(told["known"].dt.date):
        part.to_parquet(tmp_path / f"{day}.parquet")
    label = LabelSpec(
        column="value", arrival="known", maturity_days=0.5, source=SourceSpec(uri=f"{tmp_path}/{{date}}.parquet")
    )

    def at(as_of: float) -> dict[str, float]:
        found = mature_labels(label, nothing, **KEYS, start=T0, end=hours(24), as_of=hours(as_of))
        return dict(zip(found["device"], found["label"], strict=True))

    assert at(19) == {}
    assert at(24) == {"a": 1.0, "b": 1.0}  # c is from 20:00: too young until 32:00
    assert at(30) == {"a": 0.0, "b": 1.0}
    assert at(32) == {"a": 0.0, "c": 1.0}


def test_the_last_word_is_the_one_that_arrived_last_not_the_one_that_stands_last() -> None:
    """Revisions are ordered by their arrival, wherever they stand in the delivery."""
    frame = rows(("a", 1, 5, 0), ("a", 1, 3, 1))
    found = mature_labels(LabelSpec(column="value"), delivered(frame), **KEYS, start=T0, end=hours(9), as_of=hours(9))
    assert list(found["label"]) == [0.0]


def test_labels_without_an_arrival_are_known_by_the_end_of_their_delivery(tmp_path: Path) -> None:
    """A file of a date says nothing before that date is over."""
    rows(("a", 1, 0, 1)).drop(columns="known").to_parquet(tmp_path / "2026-03-06.parquet")
    label = LabelSpec(column="value", source=SourceSpec(uri=f"{tmp_path}/{{date}}.parquet"))
    for as_of, expected in ((24, 0), (47.9, 0), (48, 1)):
        found = mature_labels(label, nothing, **KEYS, start=T0, end=hours(24), as_of=hours(as_of))
        assert len(found) == expected, as_of


def test_labels_of_a_growing_table_count_from_the_event_if_nothing_else_is_said(tmp_path: Path) -> None:
    """Without arrival and without deliveries by date, a label is known when its moment has come."""
    rows(("a", 1, 0, 1), ("a", 3, 0, 1)).drop(columns="known").to_parquet(tmp_path / "all.parquet")
    label = LabelSpec(column="value", source=SourceSpec(uri=f"{tmp_path}/all.parquet"))
    found = mature_labels(label, nothing, **KEYS, start=T0, end=hours(24), as_of=hours(2))
    assert list(found["observed_at"]) == [hours(1)]


def test_classes_may_be_words() -> None:
    """Labels that are text stay text."""
    frame = rows(("a", 1, 1, "bearing"), ("b", 1, 1, "seal"))
    found = mature_labels(LabelSpec(column="value"), delivered(frame), **KEYS, start=T0, end=hours(9), as_of=hours(9))
    assert list(found["label"]) == ["bearing", "seal"]


def test_nothing_known_is_an_empty_table_of_the_same_form() -> None:
    """No deliveries, no ripe label, or no label at all: no rows, the same columns."""
    frame = rows(("a", 1, 1, None))
    for source, label in (
        (delivered(frame.iloc[:0]), LabelSpec(column="value")),
        (delivered(frame), LabelSpec(column="value")),
        (delivered(frame), LabelSpec(column="value", maturity_days=30)),
        (no_partition, LabelSpec(column="value")),
    ):
        found = mature_labels(label, source, **KEYS, start=T0, end=hours(24), as_of=hours(24))
        assert list(found.columns) == ["device", "observed_at", "label"]
        assert len(found) == 0
        assert [str(found[name].dtype) for name in ("observed_at", "label")] == ["datetime64[us, UTC]", "float64"]


def test_a_missing_column_is_named() -> None:
    """A label that is not in the data is said to be missing, with what was probably meant."""
    frame = rows(("a", 1, 1, 1)).rename(columns={"value": "valeu"})
    with pytest.raises(SchemaError, match=r"no column 'value'\. Did you mean 'valeu'"):
        mature_labels(LabelSpec(column="value"), delivered(frame), **KEYS, start=T0, end=hours(9), as_of=hours(9))


FACTS = st.lists(
    st.tuples(
        st.sampled_from("ab"),
        st.integers(4, 12) | st.integers(0, 72),
        st.integers(0, 48),
        st.sampled_from([0, 1, None]),
    ),
    max_size=25,
)


@settings(deadline=None, max_examples=150)
@given(FACTS, st.integers(0, 96), st.sampled_from([0, 1, 5]), st.sampled_from([0.0, 0.5, 1.0]))
def test_nothing_that_arrives_after_as_of_is_seen(
    facts: list[tuple[str, int, int, int | None]], as_of: int, horizon: int, maturity: float
) -> None:
    """Labels are those of a slow reading of the rule, and what arrives later does not change them."""
    frame = rows(*((device, event, event + delay, value) for device, event, delay, value in facts))
    label = LabelSpec(column="value", horizon_hours=horizon, maturity_days=maturity)
    window = {"start": hours(6), "end": hours(60), "as_of": hours(as_of)}
    expected: dict[tuple[str, int], float | None] = {}
    for device, event, delay, value in sorted(facts, key=lambda f: f[1] + f[2]):
        observed = event - horizon
        ripe = observed + horizon + 24 * maturity <= as_of
        arrived = event + delay <= as_of and (event + delay) // 24 <= (as_of - 1) // 24  # midnight begins a delivery
        if arrived and 6 <= observed < 60 and ripe:
            expected[device, observed] = value
    found = mature_labels(label, delivered(frame), **KEYS, **window)
    got = {(d, int((t - T0) / timedelta(hours=1))): v for d, t, v in found.itertuples(index=False)}
    assert got == {key: float(value) for key, value in expected.items() if value is not None}
    known = frame[frame["known"] <= hours(as_of)]
    pd.testing.assert_frame_equal(found, mature_labels(label, delivered(known), **KEYS, **window))


def keyed(*keys: object) -> pd.DataFrame:
    """Labels, or rows, of these devices."""
    return pd.DataFrame({"device": list(keys), "observed_at": hours(1), "label": 1.0})


@pytest.mark.parametrize(
    ("labels", "data", "expected"),
    [
        ((17, 4), ("17", "4"), ["17", "4"]),  # a table of labels beside CSV data
        (("17", "-4"), (17, -4), [17, -4]),  # CSV labels beside a table
        ((17.0, 4.0), ("17", "4"), ["17", "4"]),  # a column that once had a null
        ((17, 4), (17, 5), [17, 4]),
        (("a",), ("b",), ["a"]),
    ],
)
def test_a_key_is_the_same_as_text_and_as_number(
    labels: tuple[object, ...], data: tuple[object, ...], expected: list[object]
) -> None:
    """Labels are keyed as the data is, whichever file format made them text or numbers; the rest is untouched."""
    found = keyed_like(keyed(*labels), keyed(*data), "device")
    assert found["device"].tolist() == expected
    assert found.drop(columns="device").equals(keyed(*labels).drop(columns="device"))
    assert len(keyed(*data).merge(found, on=["device", "observed_at"])) == len(set(expected) & set(data))


@pytest.mark.parametrize(
    ("labels", "data", "words"),
    [
        (("017",), (17,), "Labels name device '017', the data has keys such as 17"),
        (("press-1", "2"), (1, 2), "Labels name device 'press-1'"),
        ((1.5,), ("1",), "1.5"),
        (
            (7,),
            ("007", "008"),
            r"No label is about an entity of the data: labels name device 7 \(int64\), the data '007'",
        ),
    ],
)
def test_keys_that_cannot_be_the_same_are_refused(
    labels: tuple[object, ...], data: tuple[object, ...], words: str
) -> None:
    """Labels that would silently match nothing are an error with an example of both sides."""
    with pytest.raises(SchemaError, match=words):
        keyed_like(keyed(*labels), keyed(*data), "device")


def test_no_labels_need_no_keys() -> None:
    """Where nothing is known yet there is nothing to compare."""
    assert keyed_like(keyed(), keyed(1), "device").empty

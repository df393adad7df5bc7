"""Partitions: published whole, replaced whole, and nothing from the quarantine gets out."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops.data import parquet, partitions, quarantine
from mlops.data.contracts import ContractResult
from mlops.data.lying import Lying
from mlops.data.rule import Terms
from mlops.data.sources import read_delivery
from mlops.data.validated import Form
from mlops.errors import SchemaError, SourceError
from mlops.records import DataSlice
from mlops.spec import ColumnContract, ContractSpec, SourceSpec, TimestampsSpec
from mlops.storage import Storage

DAY = date(2026, 3, 5)
TIMES = TimestampsSpec(event="at", arrival="known")
CONTRACT = ContractSpec(
    columns={
        "load": ColumnContract(max_null_share=1),
        "steps": ColumnContract(type="int", max_null_share=1),
        "mode": ColumnContract(type="string", max_null_share=1),
        "on": ColumnContract(type="bool", max_null_share=1),
    }
)
REFUSED = ContractResult(passed=False, reasons=("load: null in all 2 rows.",), html="")


def moment(hours: float, day: date = DAY) -> datetime:
    """So many hours into the day."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(hours=hours)


def rows(hours: Sequence[float] = (1, 2), day: date = DAY, entity: str = "b") -> pd.DataFrame:
    """A delivery with a row at each of these hours."""
    return pd.DataFrame(
        {
            "device": [entity] * len(hours),
            "at": [moment(h, day) for h in hours],
            "known": [moment(h + 0.1, day) for h in hours],
            "load": [float(h) for h in hours],
            "steps": [int(h) for h in hours],
            "mode": ["auto"] * len(hours),
            "on": [True] * len(hours),
            "left_over": 1,
        }
    )


def publish(storage: Storage, frame: pd.DataFrame, day: date = DAY, keep: Sequence[str] = ()) -> DataSlice:
    """Publish with the contract of these tests."""
    return partitions.publish(storage, "pumps", frame, Form(day, CONTRACT, "device", TIMES, keep))


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    """A storage of its own."""
    return Storage(str(tmp_path))


def test_a_partition_holds_what_was_promised_in_its_types_and_order(storage: Storage) -> None:
    """Keys, contract columns and kept ones, sorted by entity and time; anything else is dropped."""
    frame = pd.concat([rows((2, 1)), rows((3,), entity="a")]).assign(label=1, steps=[1.0, 2.0, 3.0], load=[1, 2, 3])
    done = publish(storage, frame, keep=("label", "nowhere"))
    assert (done.status, done.rows, done.entities, done.late_rows, done.released) == ("validated", 3, 2, 0, False)
    back = partitions.read_rows(storage, "pumps", DAY, DAY)
    assert list(back.columns) == ["device", "at", "known", "load", "steps", "mode", "on", "label"]
    assert list(zip(back["device"], back["load"], strict=True)) == [("a", 3.0), ("b", 2.0), ("b", 1.0)]
    assert [str(back[name].dtype) for name in ("at", "load", "steps", "on")] == [
        "datetime64[us, UTC]",
        "float64",
        "int64",
        "bool",
    ]


def test_late_rows_are_counted_and_an_arrival_before_the_day_is_lifted_to_it(storage: Storage) -> None:
    """A row delivered today was not known to us yesterday, whatever it says."""
    frame = rows((-3, 1))
    done = publish(storage, frame)
    assert done.late_rows == 1
    assert list(partitions.read_rows(storage, "pumps", DAY, DAY)["known"]) == [moment(0), moment(1.1)]


def test_publishing_again_changes_nothing(storage: Storage) -> None:
    """The same delivery published twice leaves one partition with the same content."""
    assert publish(storage, rows()) == publish(storage, rows().sample(frac=1, random_state=1))
    assert partitions.delivered_days(storage, "pumps") == [DAY]


def test_a_good_redelivery_releases_the_quarantine_and_says_so_on_every_attempt(storage: Storage) -> None:
    """Released once, the quarantine is empty; a retry of the same publishing gives the same record."""
    quarantine.put(storage, "pumps", DAY, rows(), REFUSED, report_uri="page.html")
    first = publish(storage, rows())
    assert first.released
    assert quarantine.waiting(storage, "pumps", DAY) is None
    assert publish(storage, rows()) == first
    assert not publish(storage, rows((5,))).released


def test_the_quarantine_keeps_reasons_and_is_never_read(storage: Storage) -> None:
    """A refused delivery waits with its reasons; readers see no rows of it."""
    put = quarantine.put(storage, "pumps", DAY, rows(), REFUSED, report_uri="page.html")
    assert quarantine.waiting(storage, "pumps", DAY) == put
    assert (put.status, put.rows, put.reasons, put.report_uri) == ("quarantined", 2, REFUSED.reasons, "page.html")
    assert partitions.delivered_days(storage, "pumps") == []
    assert partitions.read_rows(storage, "pumps", DAY, DAY).empty


def test_quarantining_leaves_the_validated_partition_of_that_date(storage: Storage) -> None:
    """A bad re-delivery does not take away the good one."""
    good = publish(storage, rows())
    quarantine.put(storage, "pumps", DAY, rows((7,)), REFUSED)
    assert list(partitions.read_rows(storage, "pumps", DAY, DAY)["load"]) == [1.0, 2.0]
    assert storage.manifest(good.uri) is not None


def test_a_delivery_of_mixed_types_can_be_quarantined(storage: Storage) -> None:
    """Whatever came is kept for inspection, columns without one type as text."""
    odd = pd.DataFrame({"load": [1.0, "much"], "steps": [None, None]})
    assert quarantine.put(storage, "pumps", DAY, odd, REFUSED).rows == 2
    assert quarantine.put(storage, "pumps", DAY, pd.DataFrame(), REFUSED).rows == 0


def test_reading_spans_days_and_fills_columns_that_came_later(storage: Storage) -> None:
    """Both ends are included; what an older partition lacks is null."""
    tomorrow = DAY + timedelta(days=1)
    publish(storage, rows())
    publish(storage, rows((1,), tomorrow).assign(label=1.0), tomorrow, keep=("label",))
    both = partitions.read_rows(storage, "pumps", DAY, tomorrow, columns=["load", "label"])
    assert list(both.columns) == ["load", "label"]
    assert both["label"].isna().tolist() == [True, True, False]
    assert len(partitions.read_rows(storage, "pumps", tomorrow, tomorrow)) == 1
    with pytest.raises(SchemaError, match=r"no column 'laod'\. Did you mean 'load'"):
        partitions.read_rows(storage, "pumps", DAY, tomorrow, columns=["laod"])


def test_usual_rows_are_those_of_the_newest_deliveries_before(storage: Storage) -> None:
    """Row counts, oldest first, of at most so many, the day itself not among them."""
    for i in range(5):
        day = DAY + timedelta(days=i)
        publish(storage, rows(range(i + 1), day), day)
    assert partitions.usual_rows(storage, "pumps", before=DAY + timedelta(days=4), last=3) == [2, 3, 4]
    assert partitions.usual_rows(storage, "pumps", before=DAY, last=3) == []


def test_what_cannot_be_kept_without_loss_is_refused(storage: Storage) -> None:
    """A missing column and a fraction in whole numbers stop the publishing; nothing is published."""
    with pytest.raises(SchemaError, match=r"has no column 'steps'\. Did you mean 'step'"):
        publish(storage, rows().rename(columns={"steps": "step"}))
    with pytest.raises(SchemaError, match="'steps' cannot be kept as int64"):
        publish(storage, rows().assign(steps=[1.5, 2.0]))
    assert partitions.delivered_days(storage, "pumps") == []


@st.composite
def deliveries(draw: st.DrawFn) -> pd.DataFrame:
    """Any delivery that keeps the contract of these tests."""
    size = draw(st.integers(0, 12))
    minutes = draw(st.lists(st.integers(0, 1439), min_size=size, max_size=size, unique=True))
    frame = pd.DataFrame(
        {
            "device": pd.Series(draw(st.lists(st.text(max_size=4), min_size=size, max_size=size)), dtype=object),
            "at": pd.Series([moment(m / 60) for m in minutes], dtype="datetime64[us, UTC]"),
            "load": pd.Series(
                draw(st.lists(st.floats(allow_nan=True) | st.none(), min_size=size, max_size=size)), dtype=float
            ),
            "steps": pd.Series(
                draw(st.lists(st.integers(-(2**62), 2**62), min_size=size, max_size=size)), dtype="int64"
            ),
            "mode": pd.Series(
                draw(st.lists(st.text(max_size=4) | st.none(), min_size=size, max_size=size)), dtype=object
            ),
            "on": pd.Series(draw(st.lists(st.booleans(), min_size=size, max_size=size)), dtype=bool),
        }
    )
    return frame.assign(known=frame["at"])


@settings(max_examples=60, deadline=None)
@given(deliveries())
def test_what_is_published_is_what_is_read(frame: pd.DataFrame) -> None:
    """Any delivery comes back row for row, sorted by entity and time, nulls as nulls."""
    storage = Storage(f"memory://{uuid.uuid4()}")
    done = publish(storage, frame)
    back = partitions.read_rows(storage, "pumps", DAY, DAY)
    expected = frame.sort_values(["device", "at"], kind="stable").reset_index(drop=True)[list(back.columns)]
    assert done.rows == len(frame)
    pd.testing.assert_frame_equal(back, expected.astype({"mode": object}), check_dtype=bool(len(frame)))


@settings(max_examples=12, deadline=None)
@given(deliveries())
def test_a_delivery_left_where_it_lies_is_published_as_from_memory(frame: pd.DataFrame) -> None:
    """Whatever it holds: rows, their order, schema, content hash and facts are those of the same rows from memory."""
    frame = frame.assign(label=[1, 0] * (len(frame) // 2) + [None] * (len(frame) % 2), noted=frame["mode"])
    with tempfile.TemporaryDirectory() as folder:
        frame.to_parquet(f"{folder}/{DAY}.parquet", index=False)
        in_memory, streamed = Storage(f"{folder}/one"), Storage(f"{folder}/other")
        there = left(folder)
        if there is None:  # columns without a value have no type that DuckDB and pandas share
            return
        form = Form(DAY, CONTRACT, "device", TIMES, ("label", "noted", "nowhere"))
        delivered = read_delivery(there.source, entity="device", timestamps=TIMES, day=DAY)
        assert delivered is not None
        done = partitions.publish(in_memory, "pumps", delivered, form)
        from_file = partitions.publish(streamed, "pumps", there, form)
        assert (from_file.rows, from_file.entities, from_file.late_rows) == (done.rows, done.entities, done.late_rows)
        pd.testing.assert_frame_equal(
            partitions.read_rows(in_memory, "pumps", DAY, DAY),
            partitions.read_rows(streamed, "pumps", DAY, DAY),
            check_dtype=len(frame) > 0,
        )
        if len(frame):
            assert (from_file.content_hash, streamed.manifest(from_file.uri)) == (
                done.content_hash,
                in_memory.manifest(done.uri),
            )
        put = quarantine.put(streamed, "pumps", DAY, there, REFUSED)
        pd.testing.assert_frame_equal(
            quarantine.read(streamed, "pumps", DAY), delivered, check_dtype=False, check_column_type=False
        )
        assert put.rows == len(frame)


def left(folder: str) -> Lying | None:
    """The delivery of the day in a folder, left where it lies."""
    source = SourceSpec(uri=f"{folder}/{{date}}.parquet")
    terms = Terms(CONTRACT, "device", TIMES, DAY)
    parts = parquet.find(source, terms)
    return parts and Lying(source, parts, terms, parts.state, pq.read_metadata(f"{folder}/{DAY}.parquet").num_rows)


def test_a_large_delivery_is_refused_like_a_small_one(storage: Storage, tmp_path: Path) -> None:
    """A missing column, a fraction in whole numbers, a replaced file: nothing is published, in the same words."""
    path = tmp_path / f"{DAY}.parquet"
    for change, says in (
        (lambda f: f.rename(columns={"steps": "step"}), r"has no column 'steps'\. Did you mean 'step'"),
        (lambda f: f.assign(steps=[1.5, 2.0]), "'steps' cannot be kept as int64"),
    ):
        change(rows()).to_parquet(path)
        with pytest.raises(SchemaError, match=says):
            partitions.publish(storage, "pumps", left(str(tmp_path)), Form(DAY, CONTRACT, "device", TIMES))
    rows().to_parquet(path)
    before = left(str(tmp_path))
    rows((5, 6, 7)).to_parquet(path)
    with pytest.raises(SourceError, match="were replaced while they were read"):
        partitions.publish(storage, "pumps", before, Form(DAY, CONTRACT, "device", TIMES))
    assert partitions.delivered_days(storage, "pumps") == []
    assert not list((tmp_path / "data").rglob("*"))


def test_keys_that_change_their_type_between_dates_are_named(tmp_path: Path) -> None:
    """Text on one date and numbers on the next are told with a date of each, not as a reader's failure."""
    storage = Storage(str(tmp_path))
    publish(storage, rows())
    later = DAY + timedelta(days=1)
    publish(storage, rows(day=later).assign(device=7), later)
    with pytest.raises(SchemaError, match=rf"'device' is string on {DAY} and int64 on {later}.*delivered again"):
        partitions.read_rows(storage, "pumps", DAY, later)

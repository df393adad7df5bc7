"""Contracts: every broken promise is a sentence with numbers, none hides another, our own errors are not bad data."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops.data import contracts, parquet
from mlops.data.contracts import ContractResult
from mlops.data.history_rules import robust_bounds
from mlops.data.rule import Statistics, Terms
from mlops.errors import DataError, NoDataError, SchemaError
from mlops.spec import ColumnContract, ContractSpec, SourceSpec, TimestampsSpec

DAY = date(2026, 3, 5)
START = datetime(2026, 3, 5, tzinfo=UTC)
INSTANT = "datetime64[us, UTC]"
BOTH = TimestampsSpec(event="at", arrival="known")
FOR_CSV = " (for CSV, `options: {dtype: {x: str}}` keeps digits as text)"
TEMPERATURE = ColumnContract(min=-40, max=150, unit="°C")


def delivery(size: int = 48, **columns: Any) -> pd.DataFrame:
    """Rows of two devices, every half hour or, if these are more than a day holds, every five minutes."""
    half = size // 2
    at = pd.Series([START + timedelta(minutes=30 if half <= 48 else 5) * i for i in range(half)], dtype=INSTANT)
    frame = pd.DataFrame(
        {
            "device": np.repeat(["a", "b"], half),
            "at": pd.concat([at, at], ignore_index=True),
            "temperature": np.linspace(60.0, 80.0, 2 * half),
        }
    )
    return frame.assign(known=frame["at"] + pd.Timedelta(minutes=1), **columns)


def check(
    frame: pd.DataFrame,
    usual: list[int] | None = None,
    times: TimestampsSpec = BOTH,
    past: Sequence[Statistics] = (),
    **promised: Any,
) -> ContractResult:
    """The result for a delivery with the promises given, beside those about temperature."""
    settings_ = {"columns": {"temperature": TEMPERATURE}} | promised
    contract = ContractSpec(**settings_)
    terms = Terms(contract, "device", times, DAY)
    found = contracts.check(
        frame, contract, entity="device", timestamps=times, day=DAY, usual_rows=usual or [], statistics=past
    )
    same_in_duckdb(frame, terms, usual or [], past, found)
    return found


def same_in_duckdb(
    frame: pd.DataFrame, terms: Terms, usual: list[int], past: Sequence[Statistics], found: ContractResult
) -> None:
    """Of the same rows in a Parquet file, DuckDB says the same, word for word; what no such file can hold is left."""
    if not len(frame.columns):
        return
    with tempfile.TemporaryDirectory() as folder:
        source = SourceSpec(kind="parquet", uri=f"{folder}/{{date}}.parquet")
        try:
            frame.to_parquet(f"{folder}/{DAY}.parquet", index=False)
        except (pa.ArrowException, ValueError):
            return
        parts = parquet.find(source, terms)
        assert parts is not None
        with parquet.opened(source, parts, terms) as table:
            other = contracts.check_table(table, terms, usual, past)
    assert other.passed is found.passed
    assert other.reasons == found.reasons
    for one, two in zip(other.findings, found.findings, strict=True):
        assert (one.subject, one.promise, one.verdict, one.unexpected) == (
            two.subject, two.promise, two.verdict, two.unexpected
        )  # fmt: skip
        assert one.examples.index.tolist() == two.examples.index.tolist()
    for name, facts in found.statistics.items():
        assert other.statistics[name] == pytest.approx(facts, rel=1e-9, abs=1e-12)


def reasons(
    frame: pd.DataFrame, usual: list[int] | None = None, times: TimestampsSpec = BOTH, **promised: Any
) -> list[str]:
    """The reasons alone; there are some exactly when it does not pass."""
    found = check(frame, usual, times, **promised)
    assert found.passed is not bool(found.reasons)
    return list(found.reasons)


def test_a_delivery_that_keeps_its_contract_passes() -> None:
    """A good delivery gives no reasons and a page that says so."""
    found = check(delivery(), usual=[48, 48, 48], freshness_hours=14)
    assert found.passed
    assert found.reasons == ()
    assert "Accepted" in found.html


def test_a_missing_column_is_named_and_hides_nothing() -> None:
    """A misspelt column, and beside it the other things that are wrong."""
    frame = delivery(pressure=-1.0).drop(columns="temperature").assign(temprature=1.0)
    frame.loc[0, "device"] = None
    told = reasons(frame, columns={"temperature": TEMPERATURE, "pressure": ColumnContract(min=0, unit="bar")})
    assert told == [
        "columns: 'temperature' is missing (Did you mean 'temprature'?).",
        "device: null in 1 of 48 rows (2.1 %).",
        "pressure: 48 of 48 rows (100.0 %) outside at least 0 bar, smallest −1.",
    ]


@pytest.mark.parametrize("column", ["device", "at", "known"])
def test_a_missing_key_or_time_is_a_reason_like_any_other(column: str) -> None:
    """Without entity or timestamps the rest is still checked."""
    told = reasons(delivery(temperature=500.0).drop(columns=column))
    assert told[0] == f"columns: {column!r} is missing."
    assert told[-1] == "temperature: 48 of 48 rows (100.0 %) outside −40…150 °C, largest 500."
    assert len(told) == 2


def test_rows_outside_the_range_are_counted_with_the_most_extreme() -> None:
    """Number, share, limits with unit, and the largest and smallest value."""
    frame = delivery()
    frame.loc[[3, 4, 5], "temperature"] = [173.2, 160.0, -55.5]
    frame.loc[6, "temperature"] = np.nan
    promised = {"temperature": TEMPERATURE.model_copy(update={"max_null_share": 0.5})}
    assert reasons(frame, columns=promised) == [
        "temperature: 3 of 47 rows (6.4 %) outside −40…150 °C, largest 173.2, smallest −55.5."
    ]


def test_a_stated_share_may_lie_outside_or_be_null() -> None:
    """The allowed share itself is kept, one row more is not."""
    frame = delivery(100)
    frame.loc[:1, "temperature"] = 500.0
    frame.loc[2:4, "temperature"] = np.nan
    tolerant = ColumnContract(max=150, max_outside_share=2 / 97, max_null_share=0.03)
    assert reasons(frame, columns={"temperature": tolerant}) == []
    frame.loc[5:6, "temperature"] = [500.0, np.nan]
    assert reasons(frame, columns={"temperature": tolerant}) == [
        "temperature: null in 4 of 100 rows (4.0 %), at most 3 % are allowed.",
        "temperature: 3 of 96 rows (3.1 %) outside at most 150 (allowed 2.06186 %), largest 500.",
    ]


def test_infinity_is_outside_any_range() -> None:
    """A column without limits, or with one, still promises numbers that can be computed with."""
    frame = delivery()
    frame.loc[:1, "temperature"] = [np.inf, -np.inf]
    told = reasons(frame, columns={"temperature": ColumnContract()})
    assert told == ["temperature: 2 of 48 rows (4.2 %) outside the finite numbers, largest inf, smallest −inf."]
    assert len(reasons(frame.iloc[1:], columns={"temperature": ColumnContract(max=150)})) == 1


@pytest.mark.parametrize("kind", ["float32", "float64", "int8", "int64", "uint16", "Int64", "Float64"])
def test_whole_numbers_and_floats_of_any_width_are_floats(kind: str) -> None:
    """A float column may be delivered as integers, and in any width."""
    assert reasons(delivery(temperature=pd.Series(range(48)).astype(kind))) == []


def test_digits_as_text_in_a_column_of_numbers_break_the_contract() -> None:
    """ "71.3" is not 71.3: text is reported as text, with an example."""
    told = reasons(delivery(temperature="71.3"))
    assert told == ["temperature: the column holds str in 48 of 48 rows (100.0 %), such as '71.3', expected float."]


@pytest.mark.parametrize(
    ("kind", "values", "complaint"),
    [
        ("int", [1.5, 2.0], "24 of 48 rows (50.0 %) are not whole numbers, for example 1.5."),
        ("float", [True, False], "the column holds bool, expected float."),
        ("float", [1.5, "high"], "the column holds str in 24 of 48 rows (50.0 %), such as 'high', expected float."),
        ("bool", [0, 1], "the column holds int64, expected bool."),
        ("string", [1, 2], f"the column holds int64, expected string{FOR_CSV}."),
    ],
)
def test_values_of_another_type_are_named(kind: Any, values: list[Any], complaint: str) -> None:
    """What the column holds and what was expected stand in the reason."""
    told = reasons(delivery(x=pd.Series(values * 24)), columns={"x": ColumnContract(type=kind)})
    assert told == [f"x: {complaint}"]


def test_truth_values_with_gaps_are_no_numbers() -> None:
    """Python counts True as 1; a contract does not, in whatever type the column came."""
    frame = delivery(x=pd.Series([True, None] * 24, dtype=object))
    (told,) = reasons(frame, columns={"x": ColumnContract(max_null_share=0.5)})
    assert told.startswith("x: the column holds bool")


def test_values_of_the_promised_types_pass() -> None:
    """Whole numbers with gaps, text in any pandas form, and truth values with nulls are what they are."""
    frame = delivery(
        steps=[1.0, None] * 24,
        mode=pd.Series(["auto", None] * 24, dtype="string"),
        site=pd.Categorical(["north", "south"] * 24),
        on=pd.Series([True, None] * 24, dtype=object),
    )
    gaps = {"max_null_share": 0.5}
    promised = {
        "steps": ColumnContract(type="int", **gaps),
        "mode": ColumnContract(type="string", allowed=("auto", "manual"), **gaps),
        "site": ColumnContract(type="string", allowed=("north", "south")),
        "on": ColumnContract(type="bool", **gaps),
    }
    assert reasons(frame, columns=promised) == []


def test_a_column_without_any_value_is_said_to_be_that_and_nothing_else() -> None:
    """All null is one reason, not a wrong type and a wrong range besides."""
    for nothing in (None, np.nan, pd.Series([None] * 48, dtype="Float64")):
        assert reasons(delivery(temperature=nothing)) == ["temperature: null in all 48 rows."]


def test_other_values_than_those_allowed_are_named() -> None:
    """The set and an example of what is not in it."""
    frame = delivery(mode=["auto"] * 47 + ["party"])
    told = reasons(frame, columns={"mode": ColumnContract(type="string", allowed=("auto", "manual"))})
    assert told == ["mode: 1 of 48 rows (2.1 %) are none of auto, manual, for example 'party'."]


def test_two_rows_with_one_key_are_both_counted() -> None:
    """A key that names two rows breaks the contract, unless keys need not be unique."""
    twice = pd.concat([delivery(), delivery().iloc[[4]]])
    (told,) = reasons(twice)
    assert told.startswith("device + at: 2 of 49 rows (4.1 %) share entity and time with another row, for example a at")
    assert told.endswith("2026-03-05 02:00:00.")
    assert reasons(twice, unique=False) == []


def test_a_key_that_is_neither_text_nor_a_whole_number_is_refused() -> None:
    """Floats make bad keys."""
    told = reasons(delivery(device=np.repeat([1.5, 2.5], 24)))
    assert told == ["device: the key is float64, expected text or whole numbers."]
    assert reasons(delivery(device=np.repeat([1, 2], 24))) == []


def test_rows_must_become_known_on_the_day_of_delivery() -> None:
    """The end of the day is not part of it; with an arrival, older rows are merely late."""
    frame = delivery()
    frame.loc[0, "known"] = START + timedelta(hours=24)
    frame.loc[1, "known"] = START + timedelta(hours=30)
    assert reasons(frame) == [
        "known: 2 of 48 rows (4.2 %) lie after the end of 2026-03-05 (UTC), the farthest 6 h after it."
    ]
    frame = delivery()
    frame.loc[0, ["at", "known"]] = START - timedelta(hours=30)
    assert reasons(frame) == []
    told = reasons(frame, times=TimestampsSpec(event="at"))
    assert len(told) == 1
    assert told[0].startswith("at: 1 of 48 rows (2.1 %) lie up to 30 h before 2026-03-05 00:00 UTC (without an arrival")


def test_lateness_is_bounded_and_counts_from_the_delivery_at_the_earliest() -> None:
    """48 h after the event is in time, more is not, also if the row claims to have arrived before it was delivered."""
    frame = delivery()
    frame.loc[0, "at"] = frame.loc[0, "known"] - timedelta(hours=48)
    assert reasons(frame) == []
    frame.loc[0, ["at", "known"]] = [START - timedelta(hours=60), START - timedelta(hours=59)]
    assert reasons(frame) == ["known: 1 of 48 rows (2.1 %) came more than 48 h after at, the latest 60 h."]


def test_a_row_cannot_arrive_before_it_happened() -> None:
    """Such a row would be known before it is true."""
    frame = delivery()
    frame.loc[5, "known"] = frame.loc[5, "at"] - timedelta(minutes=3)
    assert reasons(frame) == ["known: 1 of 48 rows (2.1 %) arrived before they happened, up to 3 min."]


def test_the_newest_row_must_be_fresh() -> None:
    """Rows end at 11:30, so the newest is 12.5 h old at the end of the day."""
    assert reasons(delivery(), freshness_hours=12.5) == []
    assert reasons(delivery(), freshness_hours=12.4) == [
        "at: the newest row is 12.5 h old at the end of the day, allowed are 12.4 h."
    ]


def test_the_number_of_rows_is_held_against_the_usual_number() -> None:
    """At a tolerance of .5 the bounds are .5 and 1.5 times the median; the outlier in history is ignored."""
    history = [100, 96, 5000]
    assert reasons(delivery(50), history) == []
    assert reasons(delivery(150), history) == []
    assert reasons(delivery(48), history) == [
        "row count: 48 rows were delivered, usual are 100 (median of 3 deliveries), allowed 50 to 150."
    ]
    assert len(reasons(delivery(152), history)) == 1
    assert reasons(delivery(48), history, volume_tolerance=None) == []


def test_with_a_short_history_no_number_is_unusual() -> None:
    """Two deliveries do not make a habit, and the page says that this was not checked."""
    found = check(delivery(), usual=[5000, 5000])
    assert found.passed
    assert "2 deliveries so far, 3 are needed to know what is usual" in found.html


def test_a_delivery_without_rows_is_refused_for_that_alone() -> None:
    """No rows is a reason; that no values can be checked is none."""
    assert reasons(delivery().iloc[:0]) == ["rows: 0 were delivered, at least 1 are expected."]
    told = reasons(pd.DataFrame())
    assert told[0].startswith("columns: 'device' is missing; 'at' is missing")
    assert told[1:] == ["rows: 0 were delivered, at least 1 are expected."]


def test_a_check_that_cannot_be_carried_out_is_an_error_and_not_bad_data() -> None:
    """Values that Great Expectations cannot compare make it fail inside: that is not told as a broken promise."""
    with pytest.raises(
        DataError,
        match=r"'device \+ at' 'name a row once' could not be carried out: unhashable.*nothing about the data",
    ):
        check(delivery(device=[["a"]] * 48))


def test_times_without_a_zone_do_not_get_this_far() -> None:
    """A frame that did not come through `read_delivery` is refused."""
    with pytest.raises(SchemaError, match="expected instants with a zone"):
        check(delivery(at=pd.Timestamp("2026-03-05")))


def test_the_page_is_whole_and_shows_rows_that_break_a_rule() -> None:
    """Nothing is loaded from elsewhere, text is escaped, broken rules come with rows, all rules are listed."""
    frame = delivery(mode="<script>alert(1)</script>")
    frame.loc[7, "temperature"] = 999.25
    html = check(
        frame, columns={"temperature": TEMPERATURE, "mode": ColumnContract(type="string", allowed=("auto",))}
    ).html
    assert "http" not in html
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert "Refused: 2 of" in html
    assert html.index("largest 999.25") < html.index("Every rule") < html.rindex("<td>999.25</td>")
    for promise in ("never null", "name a row once", "at most 48 h after at", "one of auto", "within −40…150 °C"):
        assert promise in html


USUAL: list[Statistics] = [
    {"temperature": {"mean": 70 + 0.1 * (i % 5), "std": 6 + 0.1 * (i % 3), "nulls": 0.0}} for i in range(14)
]


def test_mean_and_spread_are_held_against_history() -> None:
    """A shift, a widening and nulls that no single limit would catch are refused, with what is usual."""
    watched: dict[str, Any] = {
        "columns": {"temperature": ColumnContract(max_null_share=1)}, "distribution": {"spread": 10}
    }  # fmt: skip
    assert reasons(delivery(), past=USUAL, **watched) == []
    (told,) = reasons(delivery(temperature=np.linspace(75.0, 95.0, 48)), past=USUAL, **watched)
    assert told.startswith(
        "temperature: the mean is 85, usual is 70.2 (median of 14 deliveries), allowed 67.15 to 73.25"
    )
    (told,) = reasons(delivery(temperature=np.linspace(30.0, 110.0, 48)), past=USUAL, **watched)
    assert told.startswith("temperature: the spread is 23.8298, usual is 6.1")
    frame = delivery()
    frame.loc[::4, "temperature"] = np.nan
    (told,) = reasons(frame, past=USUAL, **watched)
    assert told.startswith("temperature: null in 25 % of the rows, usual is 0 %")


def test_with_too_little_history_nobody_can_tell_what_is_usual() -> None:
    """Thirteen deliveries do not suffice, the page says so, and statistics are taken for those to come."""
    found = check(delivery(temperature=1.0), past=USUAL[:13], distribution={})
    assert found.passed
    assert "13 accepted deliveries, 14 are needed to know what is usual" in found.html
    assert found.statistics["temperature"]["mean"] == 1.0
    assert check(delivery()).statistics == {}


def test_the_usual_is_seldom_called_unusual() -> None:
    """On 4,000 histories of normal daily means, less than one in a thousand next means lies outside the bounds."""
    rng = np.random.default_rng(0)
    days = rng.standard_normal((4000, 15))
    bounds = [robust_bounds(list(past), 10, 0.0) for past in days[:, :14]]
    outside = sum(not low <= new <= high for (low, high), new in zip(bounds, days[:, 14], strict=True))
    assert outside <= 4


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_every_entity_must_be_known(tmp_path: Path, ending: str) -> None:
    """Rows of others are counted with an example; a share of them may be exempt; 17 and '17' name the same."""
    table = tmp_path / f"devices.{ending}"
    keys = pd.DataFrame({"device": ["a", "17"]})
    keys.to_csv(table, index=False) if ending == "csv" else keys.to_parquet(table)
    known = {"kind": ending, "uri": str(table)}
    assert reasons(delivery(), known_entities=known) == [
        f"device: 24 of 48 rows (50.0 %) are of entities that are not in {table}, for example 'b'."
    ]
    assert reasons(delivery(), known_entities=known | {"max_unknown_share": 0.5}) == []
    assert reasons(delivery(device=17), known_entities=known, unique=False) == []
    assert len(reasons(delivery(device=18), known_entities=known, unique=False)) == 1


def test_without_a_table_of_entities_nobody_can_tell_which_are_known(tmp_path: Path) -> None:
    """An absent or empty table, or one without the column, is an error, not a delivery full of strangers."""
    known = {"kind": "csv", "uri": str(tmp_path / "devices.csv")}
    with pytest.raises(NoDataError, match="is not there"):
        check(delivery(), known_entities=known)
    (tmp_path / "devices.csv").write_text("device\n")
    with pytest.raises(NoDataError, match="holds no key"):
        check(delivery(), known_entities=known)
    (tmp_path / "devices.csv").write_text("devise\na\n")
    with pytest.raises(SchemaError, match="Did you mean 'devise'"):
        check(delivery(), known_entities=known)


def test_a_query_must_find_nothing() -> None:
    """What it finds is counted and shown; aggregates over the delivery work as well."""
    jump = 'SELECT device, "at", temperature FROM delivery WHERE temperature > 79'
    found = check(delivery(), queries=[{"name": "hot", "sql": jump}])
    assert found.reasons == ("hot: the query finds 3 rows, and must find none.",)
    assert found.findings[-1].examples["temperature"].max() == 80
    quiet = "SELECT device FROM delivery GROUP BY device HAVING count(*) < 24;"
    assert reasons(delivery(), queries=[{"name": "quiet devices", "sql": quiet}]) == []


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT temprature FROM delivery",
        "SELECT * FROM",
        "DROP TABLE delivery",
        "SELECT 1; SELECT 2",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_text('/etc/hostname')",
    ],
)
def test_a_query_that_cannot_be_run_is_an_error_and_not_bad_data(sql: str) -> None:
    """Mistyped, not one SELECT, or after anything but the delivery: files are not for queries."""
    with pytest.raises(DataError, match=r"'odd' .* could not be carried out: .* says nothing about the data"):
        check(delivery(), queries=[{"name": "odd", "sql": sql}])


@settings(deadline=None, max_examples=12)
@given(
    st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32) | st.none(), min_size=2, max_size=12),
    st.sampled_from([0.0, 0.25, 0.5]),
)
def test_range_and_nulls_agree_with_a_plain_count(values: list[float | None], allowed: float) -> None:
    """The verdict on any column is that of counting by hand."""
    column = pd.Series(values, dtype=float)
    frame = delivery(2 * len(values)).iloc[: len(values)].assign(temperature=column.to_numpy())
    promised = ColumnContract(min=-1.0, max=1.0, max_null_share=allowed, max_outside_share=allowed)
    there = column.dropna()
    outside = int((there.abs() > 1).sum())
    good = column.isna().sum() <= allowed * len(column) and outside <= allowed * len(there)
    assert check(frame, columns={"temperature": promised}).passed is bool(good)

"""Contracts checked by Great Expectations on Spark and by DuckDB on one machine: the same words, counts and rows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from mlops.data import delivery_spark, inspection, spark_sql, spark_table
from mlops.data.contracts import ContractResult
from mlops.data.rule import Rule, Terms
from mlops.errors import DataError, SourceError
from mlops.spec import ColumnContract, ContractSpec, KnownEntitiesSpec, QuerySpec, SourceSpec, TimestampsSpec

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

DAY = date(2026, 3, 5)
START = datetime(2026, 3, 5, tzinfo=UTC)
COLUMNS = {
    "temperature": ColumnContract(min=0, max=100, max_outside_share=0.1),
    "a.b [odd]": ColumnContract(max_null_share=0.1),
    "state": ColumnContract(type="string", allowed=("on", "off")),
    "steps": ColumnContract(type="int", min=0),
}
QUERY = QuerySpec(
    name="hot while off", sql="SELECT device, \"a.b [odd]\" FROM delivery WHERE state = 'off' AND steps > 2"
)
HISTORY = [{"temperature": {"mean": 50.0 + i, "std": 20.0 + i, "nulls": 0.0}} for i in range(20)]
Change = Callable[[pd.DataFrame], pd.DataFrame]


def terms(folder: Path, **promised: Any) -> Terms:
    """A contract with a rule of each kind."""
    pd.DataFrame({"device": [f"d{i}" for i in range(6)]}).to_csv(folder / "devices.csv", index=False)
    known = KnownEntitiesSpec(kind="csv", uri=f"{folder}/devices.csv", max_unknown_share=0.2)
    asked = {"columns": COLUMNS, "known_entities": known, "queries": (QUERY,), "freshness_hours": 13} | promised
    asked |= {"max_lateness_hours": 3, "distribution": {"min_history": 14, "columns": ("temperature",)}}
    return Terms(ContractSpec(**asked), "device", TimestampsSpec(event="at", arrival="known"), DAY)


def delivery() -> pd.DataFrame:
    """A good delivery of six devices."""
    n, rng = 288, np.random.default_rng(5)
    at = pd.Series([START + timedelta(minutes=5 * (i // 2)) for i in range(n)]).astype("datetime64[us, UTC]")
    return pd.DataFrame(
        {
            "device": [f"d{i % 6}" for i in range(n)],
            "at": at + pd.to_timedelta(np.arange(n) % 6, unit="s"),
            "known": at + pd.Timedelta(minutes=4),
            "temperature": rng.uniform(20, 90, n),
            "a.b [odd]": rng.normal(size=n),
            "state": ["on"] * n,
            "steps": np.arange(n) % 5,
        }
    )


def broken(frame: pd.DataFrame) -> pd.DataFrame:
    """Some rows of each kind that a rule is there for; nulls, NaN and infinities among them."""
    frame = frame.astype({"steps": float})
    frame.loc[10:60, "temperature"] = [*np.linspace(101, 130, 49), np.inf, -np.inf]
    frame.loc[70:75, "temperature"] = np.nan
    frame.loc[80:150:2, "a.b [odd]"] = None
    frame.loc[[3, 9], "state"] = "burning"
    frame.loc[20:30, "state"] = "off"
    frame.loc[[40, 44], "steps"] = 1.5
    frame.loc[[41, 47], "steps"] = -2
    frame.loc[100:180, "device"] = "stranger"
    frame.loc[[5, 6], "device"] = None
    frame.loc[201, "known"] = frame.loc[201, "at"] - pd.Timedelta("1h")
    frame.loc[202, "known"] = START + pd.Timedelta("25h")
    frame.loc[203, "at"] = START - pd.Timedelta("9h")
    frame.loc[204, ["at", "known"]] = pd.NaT
    twins = frame.loc[[250, 12]]
    return pd.concat(
        [frame[frame["at"].isna() | (frame["at"] < START + pd.Timedelta("20h"))], twins], ignore_index=True
    )


CASES: dict[str, Change] = {
    "broken": broken,
    "other types": lambda f: f.assign(temperature="hot", state=1, steps=f["steps"].astype("int16")).drop(columns="at"),
    "empty": lambda f: f.head(0),
}


def on_both(session: SparkSession, source: SourceSpec, held: Terms) -> tuple[ContractResult, ContractResult]:
    """The same delivery looked at by both engines, which hand on the same rows."""
    usual = [200, 400, 210]
    here = inspection.inspect(source, held, usual, HISTORY)
    parts = delivery_spark.find(source, held)
    assert parts is not None
    there = delivery_spark.inspect(session, source, parts, held, usual, HISTORY)
    assert here is not None
    assert there is not None
    rows = there[1].frame.toArrow().sort_by(spark_table.POSITION).drop_columns([spark_table.POSITION]).to_pandas()
    assert there[1].count == len(rows)
    pd.testing.assert_frame_equal(rows, here[1], check_dtype=False)
    return here[0], there[0]


def assert_same(here: ContractResult, there: ContractResult) -> None:
    """Word for word, number for number, row for row."""
    assert there.reasons == here.reasons
    assert there.passed is here.passed
    for one, two in zip(there.findings, here.findings, strict=True):
        assert (one.subject, one.promise, one.verdict) == (two.subject, two.promise, two.verdict)
        assert (one.observed, one.unexpected, one.binding) == (two.observed, two.unexpected, two.binding)
        pd.testing.assert_frame_equal(one.examples, two.examples, check_dtype=False, check_names=False)
    assert there.statistics.keys() == here.statistics.keys()
    for name, facts in here.statistics.items():
        assert there.statistics[name] == pytest.approx(facts, rel=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_the_verdict_is_the_same_word_for_word(session: SparkSession, tmp_path: Path, case: str) -> None:
    """Every reason, count, example row and statistic."""
    frame = CASES[case](delivery())
    frame.to_parquet(tmp_path / f"{DAY}.parquet", index=False)
    held = terms(tmp_path, **({} if case == "broken" else {"queries": ()}))
    here, there = on_both(session, SourceSpec(uri=f"{tmp_path}/{{date}}.parquet"), held)
    assert len(here.reasons) >= {"broken": 15, "other types": 4, "empty": 1}[case]
    assert_same(here, there)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM delivery WHERE",
        "DROP VIEW delivery",
        "SELECT 1 FROM nowhere",
        "SELECT * FROM delivery WHERE steps > (SELECT max(steps) FROM secrets)",
        "SELECT java_method('java.lang.System', 'getProperty', 'user.home')",
        "SELECT reflect('java.lang.System', 'getProperty', 'user.home')",
    ],
)
def test_a_query_reads_the_delivery_and_nothing_else(session: SparkSession, tmp_path: Path, sql: str) -> None:
    """No file, no other table, no code; what cannot be run is an error and not bad data."""
    rows = session.range(9).withColumnRenamed("id", "steps")
    rows.write.mode("overwrite").saveAsTable("secrets")
    rows.write.mode("overwrite").parquet(f"{tmp_path}/other.parquet")
    try:
        assert spark_sql.found(rows, query('WITH c AS (FROM delivery) SELECT * FROM c WHERE "steps" > 6'))[0] is False
        with pytest.raises(DataError, match="could not be carried out"):
            spark_sql.found(rows, query(sql.format(folder=tmp_path)))
    finally:
        session.sql("DROP TABLE secrets")


def query(sql: str) -> Rule:
    """A rule that a query finds nothing."""
    settings = {"unexpected_rows_query": sql}
    return Rule("odd", "none", "UnexpectedRowsExpectation", settings, broken=str, observed=str)


def test_a_damaged_file_is_refused_and_a_replaced_one_not_handed_on(session: SparkSession, tmp_path: Path) -> None:
    """Pages that are not what the footer says; a file that is another one by the time it is published."""
    path = tmp_path / f"{DAY}.parquet"
    delivery().to_parquet(path, index=False)
    source, held = SourceSpec(uri=f"{tmp_path}/{{date}}.parquet"), terms(tmp_path)
    parts = delivery_spark.find(source, held)
    assert parts is not None
    found = delivery_spark.inspect(session, source, parts, held, [], [])
    assert found is not None
    found[1].unchanged()
    whole = path.read_bytes()
    path.write_bytes(whole[:4] + b"\xff" * 600 + whole[604:])
    with pytest.raises(SourceError, match="replaced"):
        found[1].unchanged()
    with pytest.raises(SourceError, match="delivered again"):
        delivery_spark.inspect(session, source, parts, held, [], [])


def test_what_takes_more_than_a_cast_is_left_to_one_machine(tmp_path: Path) -> None:
    """CSV; times without a zone in a column that the spec does not name, where its zone changes its clocks."""
    frame = delivery().assign(seen=pd.Timestamp("2026-03-05 12:00"))
    frame.to_parquet(tmp_path / f"{DAY}.parquet", index=False)
    uri = f"{tmp_path}/{{date}}.parquet"
    assert delivery_spark.find(SourceSpec(uri=uri, timezone="UTC"), terms(tmp_path)) is not None
    assert delivery_spark.find(SourceSpec(uri=uri, timezone="Europe/Berlin"), terms(tmp_path)) is None
    assert delivery_spark.find(SourceSpec(kind="csv", uri=uri), terms(tmp_path)) is None

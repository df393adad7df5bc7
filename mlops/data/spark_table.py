"""Deliveries that no one machine holds, measured by Great Expectations on Spark.

Rows that break a rule are found by the rule's own condition and numbered as they lie in their files, so that people are
shown those that they would be shown on one machine.

One rule: the verdict, the counts and the rows are those of `FrameTable` and `DuckTable` on the same rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa

from mlops.data import gx_checks, spark_sql
from mlops.data.arrow_kinds import is_number, microseconds, typed
from mlops.data.rule import Result, Rule, Terms, finite_column, fraction_column, hours_column, number_column
from mlops.spark_tables import POSITION, quoted

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

_SHOWN, _MOST_LITERALS = 10, 1_000  # rows shown of those that break a rule; allowed values beyond these are joined
_IN_SET = "ExpectColumnValuesToBeInSet"


@dataclass(frozen=True)
class SparkTable:
    """A delivery that Spark can read.

    Args:
        frame: the rows, entity and timestamps in their final form, and `POSITION`.
        schema: the columns as Arrow reads them.
        terms: what it is held against.
    """

    frame: DataFrame
    schema: pa.Schema
    terms: Terms

    @property
    def names(self) -> tuple[str, ...]:
        """Columns as delivered."""
        return tuple(self.schema.names)

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return int(self._facts["rows"])

    def distinct(self, name: str) -> int:
        """How many different values a column has, null not among them."""
        from pyspark.sql import functions as sf

        return int(self._prepared.agg(sf.count_distinct(self._made[name])).collect()[0][0])

    def has_values(self, name: str) -> bool:
        """Whether any value of a column is not null."""
        return bool(self._facts[f"count {name}"])

    def is_number(self, name: str) -> bool:
        """Whether a column of the contract holds numbers."""
        return name in self.schema.names and is_number(self.schema.field(name).type)

    def extent(self, column: str) -> tuple[float, float]:
        """Smallest and largest value of a derived column."""
        low, high = self._facts[f"min {column}"], self._facts[f"max {column}"]
        return (float("nan"), float("nan")) if low is None else (float(low), float(high))

    def sample(self, rows: Sequence[int], columns: Sequence[str]) -> pd.DataFrame:
        """Some rows, by their number; of those that `measured` has named."""
        from pyspark.sql import functions as sf

        places = {number: place for place, number in self._numbers.items() if number in rows}
        found = self.frame.where(sf.col(POSITION).isin(list(places.values())))
        return self._numbered(found.select(POSITION, *(sf.col(quoted(name)) for name in columns)).toArrow())

    def statistics(self) -> dict[str, dict[str, float]]:
        """Of the contract's columns of numbers: mean and standard deviation of finite values, share of nulls."""
        from pyspark.sql import functions as sf

        names = [name for name in self.terms.contract.columns if self.is_number(name)]
        finite = [self._made[finite_column(name)] for name in names]
        asked = [part for column in finite for part in (sf.avg(column), sf.stddev_samp(column))]
        row = self._prepared.agg(*asked).collect()[0] if asked else []
        found = {}
        for i, name in enumerate(names):
            if row[2 * i + 1] is not None:
                nulls = 1 - self._facts[f"count {name}"] / self.rows
                found[name] = {"mean": float(row[2 * i]), "std": float(row[2 * i + 1]), "nulls": nulls}
        return found

    def measured(self, rules: Sequence[Rule]) -> Mapping[int, tuple[bool, Result]]:
        """For each rule, by its identity: whether it holds, and what was measured."""
        found: dict[int, tuple[bool, Result]] = {}
        asked: list[tuple[Rule, Rule]] = []
        frame = self._prepared
        for rule in rules:
            if rule.expectation == "ExpectColumnValuesToBeInTypeList":
                name = rule.settings["column"]
                there = int(self._facts[f"count {name}"])
                found[id(rule)] = typed(rule, self.schema.field(name).type, there, self.rows)
            elif rule.expectation == "ExpectTableColumnsToMatchSet":
                found[id(rule)] = (set(rule.settings["column_set"]) <= set(self.names), {})
            elif rule.expectation == "UnexpectedRowsExpectation":
                found[id(rule)] = spark_sql.found(self.frame.drop(POSITION), rule)
            elif rule.expectation == _IN_SET:
                column = f"allowed{len(asked)}"
                frame = self._held_against(frame, rule, column)
                settings = {**rule.settings, "column": column, "value_set": [True]}
                asked.append((rule, replace(rule, settings=settings)))
            else:
                asked.append((rule, replace(rule, settings=self._renamed(rule.settings))))
        if asked:
            asset = gx_checks.context().data_sources.add_spark("delivery", persist=False).add_dataframe_asset("rows")
            told = gx_checks.measured(asset, frame, [renamed for _, renamed in asked], shown=0)
            found |= {id(rule): told[id(renamed)] for rule, renamed in asked}
        broken = [rule for rule in rules if not found[id(rule)][0] and "observed_value" not in found[id(rule)][1]]
        examples = self._examples(frame, broken, {id(rule): renamed.settings for rule, renamed in asked})
        return found | {key: (False, {**found[key][1], **more}) for key, more in examples.items()}

    @cached_property
    def _made(self) -> dict[str, str]:
        """The names that the columns have on Spark: plain ones, whatever people call theirs."""
        return {name: f"c{i}" for i, name in enumerate(self._columns)}

    @cached_property
    def _columns(self) -> dict[str, Column]:
        """The columns that rules look at."""
        from pyspark.sql import functions as sf

        there = [name for name in self.terms.columns if name in self.names]
        made = {name: _without_nan(name, self.schema.field(name).type) for name in there}
        for name in [name for name in self.terms.contract.columns if self.is_number(name)]:
            value = made[name].cast("double")
            finite = sf.when(sf.abs(value) < float("inf"), value)
            made[number_column(name)] = value
            made[finite_column(name)] = finite
            made[fraction_column(name)] = sf.abs(finite - sf.rint(finite))
        return made | {hours_column(what): column for what, column in self._hours().items()}

    def _hours(self) -> dict[str, Column]:
        from pyspark.sql import functions as sf

        times, start = self.terms.timestamps, microseconds(self.terms.start)
        micros = {n: sf.unix_micros(sf.col(quoted(n))) for n in self.terms.keys[1:] if n in self.names}
        event, arrival = micros.get(times.event), micros.get(times.arrival or "")
        known = arrival if times.arrival else event
        spans = {}
        if known is not None:
            spans["known"] = _in_hours(known - start)
        if event is not None:
            spans["happened"] = _in_hours(event - start)
            spans["age"] = 24 - spans["happened"]
        if event is not None and arrival is not None:
            spans["delay"] = _in_hours(arrival - event)
            spans["lateness"] = _in_hours(sf.greatest(arrival, sf.lit(start)) - event)
        return spans

    @cached_property
    def _prepared(self) -> DataFrame:
        shown = [POSITION] if POSITION in self.frame.columns else []
        return self.frame.select(*shown, *(c.alias(self._made[name]) for name, c in self._columns.items()))

    @cached_property
    def _facts(self) -> dict[str, Any]:
        """One scan of all that the rules' words are made of."""
        from pyspark.sql import functions as sf

        parts = [sf.count(sf.lit(1)).alias("rows")]
        for name, plain in self._made.items():
            if name in self.names:
                parts.append(sf.count(plain).alias(f"count {name}"))
            else:
                parts += [sf.min(plain).alias(f"min {name}"), sf.max(plain).alias(f"max {name}")]
        return dict(self._prepared.agg(*parts).collect()[0].asDict())

    @cached_property
    def _numbers(self) -> dict[int, int]:
        """The numbers of the rows that were looked at, by their position; filled as they are looked at."""
        return {}

    def _renamed(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        made = dict(settings)
        if "column" in made:
            made["column"] = self._made[made["column"]]
        if "column_list" in made:
            made["column_list"] = [self._made[name] for name in made["column_list"]]
        return made

    def _held_against(self, frame: DataFrame, rule: Rule, column: str) -> DataFrame:
        """A column that is true where a value is allowed, false where it is not, null where there is none."""
        from pyspark.sql import functions as sf

        name = rule.settings["column"]
        value, values = sf.col(self._made[name]), rule.settings["value_set"]
        texts = sorted({str(allowed) for allowed in values})
        only_text = all(isinstance(allowed, str) for allowed in values)
        if only_text and not pa.types.is_string(_plain_text(self.schema.field(name).type)):
            inside = sf.expr("false")
        elif len(texts) <= _MOST_LITERALS:
            inside = value.cast("string").isin(texts)
        else:
            table = frame.sparkSession.createDataFrame(pa.table({f"{column} value": texts}))
            frame = frame.join(sf.broadcast(table), value.cast("string") == sf.col(f"`{column} value`"), "left")
            inside = sf.col(f"`{column} value`").isNotNull()
        made = frame.withColumn(column, sf.when(value.isNotNull(), inside))
        return made.drop(f"{column} value")

    def _examples(
        self, frame: DataFrame, broken: Sequence[Rule], settings: Mapping[int, Mapping[str, Any]]
    ) -> dict[int, dict[str, Any]]:
        """Numbers and values of some rows that break a rule, in their order, for each by its identity."""
        from pyspark.sql import functions as sf

        tables: dict[int, pa.Table] = {}
        for rule in broken:
            asked = settings.get(id(rule), self._renamed(rule.settings))
            where = _breaks(rule, asked)
            if where is None:
                continue
            names = rule.settings.get("column_list") or [rule.settings["column"]]
            columns = [sf.col(self._made[name]).alias(name) for name in names]
            found = (_with_twins(frame, asked) if "column_list" in asked else frame).where(where)
            tables[id(rule)] = found.select(POSITION, *columns).orderBy(POSITION).limit(_SHOWN).toArrow()
        self._number(sorted({place for table in tables.values() for place in table[POSITION].to_pylist()}))
        made: dict[int, dict[str, Any]] = {}
        for key, table in tables.items():
            rows = table.drop_columns([POSITION]).to_pylist()
            values = [next(iter(row.values())) if len(row) == 1 else row for row in rows]
            numbers = [self._numbers[place] for place in table[POSITION].to_pylist()]
            made[key] = {"partial_unexpected_index_list": numbers, "partial_unexpected_list": values}
        return made

    def _number(self, places: Sequence[int]) -> None:
        """Count the rows that lie before these places: that is what people call a row's number."""
        from pyspark.sql import functions as sf

        if places:
            before = [sf.count_if(sf.col(POSITION) < place) for place in places]
            self._numbers.update(zip(places, self.frame.agg(*before).collect()[0], strict=True))

    def _numbered(self, table: pa.Table) -> pd.DataFrame:
        frame: pd.DataFrame = table.sort_by(POSITION).to_pandas()
        index = [self._numbers[place] for place in frame.pop(POSITION)]
        return frame.set_axis(pd.Index(index, dtype=int), axis="index")


def _breaks(rule: Rule, settings: Mapping[str, Any]) -> Column | None:
    """The condition of rows that break a rule; None where rows are not what is counted."""
    from pyspark.sql import functions as sf

    column = sf.col(settings["column"]) if "column" in settings else sf.col("twins") > 1
    match rule.expectation:
        case "ExpectColumnValuesToNotBeNull":
            return column.isNull()
        case "ExpectColumnValuesToBeInTypeList":
            return column.isNotNull()
        case "ExpectColumnValuesToBeInSet":
            return ~column
        case "ExpectColumnValuesToBeBetween":
            low, high = settings.get("min_value"), settings.get("max_value")
            beyond = sf.expr("false")
            if low is not None:
                beyond = beyond | ((column <= low) if settings.get("strict_min") else (column < low))
            if high is not None:
                beyond = beyond | ((column >= high) if settings.get("strict_max") else (column > high))
            return beyond
        case "ExpectCompoundColumnsToBeUnique":
            return column
    return None


def _with_twins(frame: DataFrame, settings: Mapping[str, Any]) -> DataFrame:
    """How many rows have a row's key; 0 where it has none."""
    from pyspark.sql import Window
    from pyspark.sql import functions as sf

    names = settings["column_list"]
    keyed = sf.coalesce(*(sf.col(name).cast("string") for name in names)).isNotNull()
    return frame.withColumn("twins", sf.when(keyed, sf.count(sf.lit(1)).over(Window.partitionBy(*names))).otherwise(0))


def _without_nan(name: str, kind: pa.DataType) -> Column:
    from pyspark.sql import functions as sf

    column = sf.col(quoted(name))
    return sf.when(~sf.isnan(column), column) if pa.types.is_floating(kind) else column


def _in_hours(micros: Column) -> Column:
    return (micros / 1e6) / 3600


def _plain_text(kind: pa.DataType) -> pa.DataType:
    return pa.string() if pa.types.is_large_string(kind) or pa.types.is_string_view(kind) else kind

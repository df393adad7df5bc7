"""Deliveries in Parquet, measured by DuckDB where they lie: rows are looked at, never loaded.

Every rule is a check of Great Expectations by name and settings; here it is one more aggregate of a single scan, with
the answer in Great Expectations' own words, so that whoever reads it cannot tell the two apart. What does not fit into
the memory allowed spills to disk.

One rule: the verdict is that of `FrameTable` on the same rows.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa

from mlops.data import custom_sql
from mlops.data.arrow_kinds import is_number, microseconds, typed
from mlops.data.duck_checks import allowed_values, answer, measure, predicate, quoted
from mlops.data.rule import (
    Result,
    Rule,
    Terms,
    finite_column,
    fraction_column,
    hours_column,
    not_carried_out,
    number_column,
)

MEMORY_MB = 2048  # that DuckDB may use before it spills; the process has some 200 MB beside
_SAMPLE = 20  # rows that break a rule which are looked at


@contextmanager
def connection(*, memory_mb: int = MEMORY_MB, threads: int = 2) -> Iterator[Any]:
    """A DuckDB of its own that stays within its memory and downloads nothing."""
    with tempfile.TemporaryDirectory(prefix="mlops-duckdb-") as spill:
        settings = {
            "memory_limit": f"{memory_mb}MB",
            "threads": threads,
            "temp_directory": spill,
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
        }
        made = duckdb.connect(config=settings)
        try:
            made.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false")
            yield made
        finally:
            made.close()


@dataclass(frozen=True)
class DuckTable:
    """A delivery that DuckDB can read.

    Args:
        duck: the connection; its view `delivery` holds the rows, entity and timestamps in their final form.
        schema: the columns as Arrow reads them.
        terms: what it is held against.
    """

    duck: Any
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
        return int(self._one(f"SELECT count(DISTINCT {quoted(name)}) AS n FROM prepared")["n"])

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
        """Some rows, by their number."""
        wanted = ", ".join(quoted(name) for name in columns)
        numbers = ", ".join(str(int(row)) for row in rows) or "NULL"
        query = f'SELECT * FROM (SELECT row_number() OVER () - 1 AS "row ", {wanted} FROM delivery) '
        found = self.duck.sql(query + f'WHERE "row " IN ({numbers}) ORDER BY "row "').to_arrow_table().to_pandas()
        frame: pd.DataFrame = found.set_index("row ")
        frame.index = pd.Index(frame.index.astype(int), name=None)
        return frame

    def statistics(self) -> dict[str, dict[str, float]]:
        """Of the contract's columns of numbers: mean and standard deviation of finite values, share of nulls."""
        found = {}
        for name in [name for name in self.terms.contract.columns if self.is_number(name)]:
            column = quoted(finite_column(name))
            facts = self._one(f"SELECT avg({column}) AS mean, stddev_samp({column}) AS std FROM prepared")
            if facts["std"] is not None:
                facts["nulls"] = 1 - self._facts[f"count {name}"] / self.rows
                found[name] = {key: float(value) for key, value in facts.items()}
        return found

    def measured(self, rules: Sequence[Rule]) -> Mapping[int, tuple[bool, Result]]:
        """For each rule, by its identity: whether it holds, and what was measured."""
        for rule in rules:
            if rule.expectation == "ExpectColumnValuesToBeInSet":
                self._register(rule)
        scanned = [(rule, asked) for rule in rules if (asked := measure(rule))]
        listed = [(f"{i} {name}", part) for i, (_, parts) in enumerate(scanned) for name, part in parts.items()]
        wanted = ", ".join(f"{part} AS {quoted(name)}" for name, part in listed)
        row = self._one(f"SELECT {wanted} FROM prepared") if scanned else {}
        found: dict[int, tuple[bool, Result]] = {}
        for i, (rule, parts) in enumerate(scanned):
            found[id(rule)] = answer(rule, {name: row[f"{i} {name}"] for name in parts}, self.rows)
        for rule in rules:
            if rule.expectation == "ExpectColumnValuesToBeInTypeList":
                name = rule.settings["column"]
                there = int(self._facts[f"count {name}"])
                found[id(rule)] = typed(rule, self.schema.field(name).type, there, self.rows)
            elif rule.expectation == "ExpectTableColumnsToMatchSet":
                found[id(rule)] = (set(rule.settings["column_set"]) <= set(self.names), {})
            elif rule.expectation == "ExpectCompoundColumnsToBeUnique":
                found[id(rule)] = self._unique(rule)
            elif rule.expectation == "UnexpectedRowsExpectation":
                found[id(rule)] = custom_sql.found(self.duck, rule)
            kept, result = found[id(rule)]
            if not kept and "observed_value" not in result:
                found[id(rule)] = (False, {**result, **self._examples(rule)})
        return found

    def _register(self, rule: Rule) -> None:
        """The values that a rule allows, as text, as a table."""
        values = sorted({str(value) for value in rule.settings["value_set"]})
        self.duck.register(allowed_values(rule), pa.table({"value": pa.array(values, pa.string())}))

    @cached_property
    def _facts(self) -> dict[str, Any]:
        """One scan of all that the rules' words are made of; it makes the view `prepared`, too."""
        made = self._made()
        listed = ", ".join(f"{sql} AS {quoted(name)}" for name, sql in made.items())
        self.duck.execute(f"CREATE OR REPLACE TEMP VIEW prepared AS SELECT {listed or '1 AS nothing'} FROM delivery")
        parts = ["count(*) AS rows"]
        for name in made:
            if name in self.schema.names:
                parts.append(f"count({quoted(name)}) AS {quoted(f'count {name}')}")
            else:
                parts += [f"{how}({quoted(name)}) AS {quoted(f'{how} {name}')}" for how in ("min", "max")]
        return self._one(f"SELECT {', '.join(parts)} FROM prepared")

    def _made(self) -> dict[str, str]:
        """The columns that rules look at, as SQL."""
        there = [name for name in self.terms.columns if name in self.schema.names]
        kinds = {name: self.schema.field(name).type for name in there}
        made = {name: _without_nan(name, kinds[name]) for name in there}
        numbers = [name for name in self.terms.contract.columns if self.is_number(name)]
        made |= {number_column(name): f"CAST({made[name]} AS DOUBLE)" for name in numbers}
        for name in numbers:
            value = made[number_column(name)]
            made[finite_column(name)] = f"CASE WHEN isfinite({value}) THEN {value} END"
            made[fraction_column(name)] = f"CASE WHEN isfinite({value}) THEN abs({value} - round({value})) END"
        return made | {hours_column(what): sql for what, sql in self._hours().items()}

    def _hours(self) -> dict[str, str]:
        times, start = self.terms.timestamps, microseconds(self.terms.start)
        event = f"epoch_us({quoted(times.event)})" if times.event in self.names else ""
        arrival = f"epoch_us({quoted(times.arrival)})" if times.arrival and times.arrival in self.names else ""
        known = arrival if times.arrival else event
        spans = {}
        if known:
            spans["known"] = _in_hours(f"{known} - {start}")
        if event:
            spans["happened"] = _in_hours(f"{event} - {start}")
            spans["age"] = f"24 - {spans['happened']}"
        if event and arrival:
            spans["delay"] = _in_hours(f"{arrival} - {event}")
            since = f"CASE WHEN {arrival} >= {start} THEN {arrival} ELSE {start} END"
            spans["lateness"] = _in_hours(f"{since} - {event}")
        return spans

    def _unique(self, rule: Rule) -> tuple[bool, Result]:
        names = [quoted(name) for name in rule.settings["column_list"]]
        keyed = " OR ".join(f"{name} IS NOT NULL" for name in names)
        query = f"SELECT coalesce(sum(n), 0) AS twice FROM (SELECT count(*) AS n FROM prepared WHERE {keyed} "
        twice = int(self._one(query + f"GROUP BY {', '.join(names)} HAVING count(*) > 1)")["twice"])
        return twice == 0, {"unexpected_count": twice, "element_count": self.rows}

    def _examples(self, rule: Rule) -> dict[str, Any]:
        """Numbers and values of some rows that break a rule, in their order."""
        asked = predicate(rule)
        if asked is None:
            return {}
        columns, where = asked
        listed = ", ".join(map(quoted, columns))
        numbered = f'(SELECT row_number() OVER () - 1 AS "row ", {listed} FROM prepared) AS numbered'
        query = f'SELECT "row ", {listed} FROM {numbered} WHERE {where} ORDER BY "row " LIMIT {_SAMPLE}'
        try:
            rows = self.duck.execute(query).fetchall()
        except duckdb.Error as error:
            raise not_carried_out(rule, str(error)) from error
        values = [row[1] if len(columns) == 1 else dict(zip(columns, row[1:], strict=True)) for row in rows]
        return {"partial_unexpected_index_list": [int(row[0]) for row in rows], "partial_unexpected_list": values}

    def _one(self, query: str) -> dict[str, Any]:
        cursor = self.duck.execute(query)
        names = [part[0] for part in cursor.description]
        return dict(zip(names, cursor.fetchall()[0], strict=True))


def _without_nan(name: str, kind: pa.DataType) -> str:
    column = quoted(name)
    if pa.types.is_floating(kind):
        return f"CASE WHEN NOT isnan({column}) THEN {column} END"
    return f"CAST({column} AS DOUBLE)" if pa.types.is_decimal(kind) else column


def _in_hours(microseconds: str) -> str:
    return f"(({microseconds}) / 1e6) / 3600"

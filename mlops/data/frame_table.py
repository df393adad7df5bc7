"""Deliveries in memory, measured by Great Expectations on pandas.

One rule: a check that could not be carried out is an error of ours, never "bad data".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from mlops.data import custom_sql, gx_checks
from mlops.data.duck_table import connection
from mlops.data.rule import (
    Result,
    Rule,
    Terms,
    finite_column,
    fraction_column,
    hours_column,
    number_column,
)
from mlops.errors import SchemaError


@dataclass(frozen=True)
class FrameTable:
    """A delivery as `read_delivery` gives it.

    Args:
        frame: rows numbered from 0.
        terms: what it is held against.
    """

    frame: pd.DataFrame
    terms: Terms

    @property
    def names(self) -> tuple[str, ...]:
        """Columns as delivered."""
        return tuple(str(name) for name in self.frame.columns)

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self.frame)

    def distinct(self, name: str) -> int:
        """How many different values a column has, null not among them."""
        return int(self.frame[name].nunique())

    def has_values(self, name: str) -> bool:
        """Whether any value of a column is not null."""
        return bool(self.frame[name].notna().any())

    def is_number(self, name: str) -> bool:
        """Whether a column of the contract holds numbers."""
        return name in self._numbers

    def extent(self, column: str) -> tuple[float, float]:
        """Smallest and largest value of a derived column."""
        values = self._prepared[column]
        return float(values.min()), float(values.max())

    def sample(self, rows: Sequence[int], columns: Sequence[str]) -> pd.DataFrame:
        """Some rows, by their number."""
        return self.frame.loc[list(rows), list(columns)]

    def measured(self, rules: Sequence[Rule]) -> Mapping[int, tuple[bool, Result]]:
        """For each rule, by its identity: whether it holds, and what was measured."""
        queries = [rule for rule in rules if rule.expectation == "UnexpectedRowsExpectation"]
        context = gx_checks.context()
        asset = context.data_sources.add_pandas("delivery").add_dataframe_asset("rows")
        found = dict(gx_checks.measured(asset, self._prepared, [rule for rule in rules if rule not in queries]))
        if queries:
            with connection() as duck:
                duck.register("delivery", self.frame)
                custom_sql.lock(duck)
                found |= {id(rule): custom_sql.found(duck, rule) for rule in queries}
        return found

    def statistics(self) -> dict[str, dict[str, float]]:
        """Of the contract's columns of numbers: mean and standard deviation of finite values, share of nulls."""
        found = {}
        for name, values in self._numbers.items():
            finite = self._prepared[finite_column(name)]
            if finite.count() > 1:
                nulls = float(values.isna().mean())
                found[name] = {"mean": float(finite.mean()), "std": float(finite.std()), "nulls": nulls}
        return found

    @cached_property
    def _numbers(self) -> dict[str, pd.Series]:
        found = {}
        for name in self.terms.contract.columns:
            values = self.frame[name] if name in self.frame.columns else pd.Series(dtype=object)
            if pd.api.types.is_numeric_dtype(values.dtype) and not pd.api.types.is_bool_dtype(values.dtype):
                found[name] = pd.Series(values.to_numpy(dtype=float, na_value=np.nan))
        return found

    @cached_property
    def _hours(self) -> dict[str, pd.Series]:
        event_name, arrival_name = self.terms.timestamps.event, self.terms.timestamps.arrival
        start = pd.Timestamp(self.terms.start)
        times = {name: self._instants(name) for name in self.terms.keys[1:] if name in self.frame.columns}
        event, arrival = times.get(event_name), times.get(arrival_name or "")
        known = arrival if arrival_name else event
        spans: dict[str, pd.Series] = {}
        if known is not None:
            spans["known"] = _in_hours(known - start)
        if event is not None:
            spans["happened"] = _in_hours(event - start)
            spans["age"] = 24 - spans["happened"]
        if event is not None and arrival is not None:
            spans["delay"] = _in_hours(arrival - event)
            spans["lateness"] = _in_hours(arrival.where(arrival >= start, start) - event)
        return spans

    def _instants(self, name: str) -> pd.Series:
        values = self.frame[name]
        if not isinstance(values.dtype, pd.DatetimeTZDtype):
            raise SchemaError(
                f"Column {name!r} holds {values.dtype}, expected instants with a zone.",
                hint="Read the delivery with `read_delivery`.",
            )
        return values

    @cached_property
    def _prepared(self) -> pd.DataFrame:
        """What Great Expectations looks at: the contract's columns, and numbers and spans derived from them."""
        there = [name for name in self.terms.columns if name in self.frame.columns]
        made = {name: _plain(self.frame[name]) for name in there}
        made |= {number_column(name): values for name, values in self._numbers.items()}
        made |= {fraction_column(name): (values - values.round()).abs() for name, values in self._numbers.items()}
        for name, values in self._numbers.items():
            made[finite_column(name)] = values.where(np.isfinite(values))
        made |= {hours_column(what): values for what, values in self._hours.items()}
        return pd.DataFrame(made, index=self.frame.index)


def _in_hours(spans: pd.Series) -> pd.Series:
    hours: pd.Series = spans.dt.total_seconds() / 3600
    return hours


def _plain(values: pd.Series) -> pd.Series:
    """Text as text and truth values as such, in whatever pandas type they came."""
    if isinstance(values.dtype, pd.CategoricalDtype | pd.StringDtype):
        text: pd.Series = values.astype(object)
        return text.where(text.notna(), None)
    if values.dtype == np.dtype(object) and pd.api.types.infer_dtype(values, skipna=True) == "boolean":
        return values.astype("boolean")
    return values

"""What a rule of a contract is, and the delivery it is held against.

One rule: a reason says how many rows, the limit, and an example.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from mlops.errors import SchemaError
from mlops.spec import ContractSpec, TimestampsSpec

Result = Mapping[str, Any]  # what Great Expectations measured


@dataclass(frozen=True)
class Rule:
    """One promise of a contract, as a check of Great Expectations with the words for when it is broken."""

    subject: str  # column, or what it is about
    promise: str  # in words
    expectation: str  # class of great_expectations.expectations
    settings: Mapping[str, Any]
    broken: Callable[[Result], str]  # what is wrong, to be read after "<subject>: "
    observed: Callable[[Result], str]
    unchecked: str = ""  # why it cannot be checked; empty if it can
    shows: tuple[str, ...] = ()  # columns to show of rows that break it, beside the keys
    binding: bool = False  # what breaks it could not be placed in time or told apart later: nobody can set it aside


@dataclass(frozen=True)
class Delivery:
    """A delivery as the rules see it.

    Args:
        frame: as `read_delivery` gives it, rows numbered from 0.
        contract: what it promises.
        entity: column of the entity.
        timestamps: columns of event and arrival.
        day: date of the delivery.
        usual_rows: row counts of deliveries before.
    """

    frame: pd.DataFrame
    contract: ContractSpec
    entity: str
    timestamps: TimestampsSpec
    day: date
    usual_rows: Sequence[int]

    @property
    def keys(self) -> tuple[str, ...]:
        """Entity, event time and arrival time, where there is one."""
        arrival = (self.timestamps.arrival,) if self.timestamps.arrival else ()
        return (self.entity, self.timestamps.event, *arrival)

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns that must be there."""
        return tuple(dict.fromkeys([*self.keys, *self.contract.columns]))

    @cached_property
    def numbers(self) -> dict[str, pd.Series]:
        """The columns of numbers as float64."""
        found = {}
        for name in self.contract.columns:
            values = self.frame[name] if name in self.frame.columns else pd.Series(dtype=object)
            if pd.api.types.is_numeric_dtype(values.dtype) and not pd.api.types.is_bool_dtype(values.dtype):
                found[name] = pd.Series(values.to_numpy(dtype=float, na_value=np.nan))
        return found

    @cached_property
    def hours(self) -> dict[str, pd.Series]:
        """Spans that rules about time look at [h], as far as the columns are there.

        `known` and `happened`: since the day of delivery began; `age`: until it ended; `delay`: from event to arrival;
        `lateness`: the same, but a row counts as arrived on the day of delivery at the earliest.

        Raises:
            SchemaError: a timestamp column does not hold instants with a zone.
        """
        start = pd.Timestamp(datetime.combine(self.day, time(), UTC))
        times = {name: self._instants(name) for name in self.keys[1:] if name in self.frame.columns}
        event, arrival = times.get(self.timestamps.event), times.get(self.timestamps.arrival or "")
        known = arrival if self.timestamps.arrival else event
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

    def no_values(self, *columns: str) -> str:
        """Why rules over the values of these columns cannot be checked; empty if they can."""
        if reason := self.absent(*columns):
            return reason
        return "" if all(bool(self.frame[name].notna().any()) for name in columns) else "there are no values"

    def absent(self, *columns: str) -> str:
        """Why rules over these columns cannot be checked; empty if they can, be it that all values are null."""
        missing = [name for name in columns if name not in self.frame.columns]
        if missing:
            return f"{' and '.join(missing)} is missing"
        return "" if len(self.frame) else "there are no rows"

    def _instants(self, name: str) -> pd.Series:
        values = self.frame[name]
        if not isinstance(values.dtype, pd.DatetimeTZDtype):
            raise SchemaError(
                f"Column {name!r} holds {values.dtype}, expected instants with a zone.",
                hint="Read the delivery with `read_delivery`.",
            )
        return values


def _in_hours(spans: pd.Series) -> pd.Series:
    hours: pd.Series = spans.dt.total_seconds() / 3600
    return hours


def number(value: float) -> str:
    """A number for people.

    >>> number(-40.0), number(3456), number(173.2041)
    ('−40', '3,456', '173.204')
    """
    return f"{value:,.6g}".replace("-", "−")


def percent(share: float) -> str:
    """A share for people.

    >>> percent(0.0903), percent(0.0001), percent(0.02)
    ('9.0 %', '< 0.1 %', '2.0 %')
    """
    return "< 0.1 %" if 0 < share < 0.0005 else f"{100 * share:.1f} %"


def count(part: int, whole: int) -> str:
    """So many of so many.

    >>> count(312, 3456)
    '312 of 3,456 rows (9.0 %)'
    """
    return f"{part:,} of {whole:,} rows ({percent(part / whole if whole else 0.0)})"


def span(hours: float) -> str:
    """A span of time for people.

    >>> span(60.54), span(0.05)
    ('60.5 h', '3 min')
    """
    return f"{number(round(hours, 1))} h" if abs(hours) >= 1 else f"{number(round(hours * 60, 1))} min"


def kinds(result: Result) -> str:
    """What a column holds, from either form of a type check's result."""
    if "observed_value" in result:
        return str(result["observed_value"])
    if not (examples := result["partial_unexpected_list"]):
        return "as expected"
    names = " and ".join(sorted({type(value).__name__ for value in examples}))
    return f"{names} in {count(result['unexpected_count'], result['element_count'])}, such as {examples[0]!r}"


def mostly(exempt: float) -> float:
    """The share that must hold: 1 − x, and less by so little that rounding refuses no row that is allowed."""
    return max(0.0, 1 - exempt - 1e-12) if exempt else 1.0

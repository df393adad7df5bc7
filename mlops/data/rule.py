"""What a rule of a contract is, and the delivery it is held against.

One rule: a reason says how many rows, the limit, and an example.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any, Protocol

import pandas as pd

from mlops.errors import DataError
from mlops.spec import ContractSpec, TimestampsSpec

Result = Mapping[str, Any]  # what Great Expectations measured
Statistics = Mapping[
    str, Mapping[str, float]
]  # by column of numbers: `mean` and `std` of finite values, `nulls` (share)


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
class Terms:
    """What a delivery is held against, before anything of it was looked at.

    Args:
        contract: what it promises.
        entity: column of the entity.
        timestamps: columns of event and arrival.
        day: date of the delivery.
    """

    contract: ContractSpec
    entity: str
    timestamps: TimestampsSpec
    day: date

    @property
    def keys(self) -> tuple[str, ...]:
        """Entity, event time and arrival time, where there is one."""
        arrival = (self.timestamps.arrival,) if self.timestamps.arrival else ()
        return (self.entity, self.timestamps.event, *arrival)

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns that must be there."""
        return tuple(dict.fromkeys([*self.keys, *self.contract.columns]))

    @property
    def start(self) -> datetime:
        """When the day of delivery begins."""
        return datetime.combine(self.day, time(), UTC)


class Table(Protocol):
    """The rows of a delivery, wherever they are, as the rules see them."""

    @property
    def names(self) -> tuple[str, ...]:
        """Columns as delivered."""

    @property
    def rows(self) -> int:
        """How many rows there are."""

    def distinct(self, name: str) -> int:
        """How many different values a column has, null not among them."""

    def has_values(self, name: str) -> bool:
        """Whether any value of a column is not null."""

    def is_number(self, name: str) -> bool:
        """Whether a column of the contract holds numbers."""

    def extent(self, column: str) -> tuple[float, float]:
        """Smallest and largest value of a derived column (`number_column`, `hours_column`)."""

    def measured(self, rules: Sequence[Rule]) -> Mapping[int, tuple[bool, Result]]:
        """For each rule, by its identity: whether it holds, and what Great Expectations says was measured.

        Raises:
            DataError: a check could not be carried out; this says nothing about the data.
        """

    def statistics(self) -> dict[str, dict[str, float]]:
        """Of the contract's columns of numbers: mean and standard deviation of finite values, share of nulls."""

    def sample(self, rows: Sequence[int], columns: Sequence[str]) -> pd.DataFrame:
        """Some rows, by their number."""


@dataclass(frozen=True)
class Delivery:
    """A delivery as the rules see it.

    Args:
        terms: what it is held against.
        table: its rows.
        usual_rows: row counts of deliveries before.
        statistics: of accepted deliveries before, oldest first: by column `mean`, `std` and `nulls` (share).
    """

    terms: Terms
    table: Table
    usual_rows: Sequence[int]
    statistics: Sequence[Statistics] = ()

    @property
    def contract(self) -> ContractSpec:
        """What it promises."""
        return self.terms.contract

    @property
    def entity(self) -> str:
        """Column of the entity."""
        return self.terms.entity

    @property
    def keys(self) -> tuple[str, ...]:
        """Entity, event time and arrival time, where there is one."""
        return self.terms.keys

    def no_values(self, *columns: str) -> str:
        """Why rules over the values of these columns cannot be checked; empty if they can."""
        if reason := self.absent(*columns):
            return reason
        return "" if all(self.table.has_values(name) for name in columns) else "there are no values"

    def absent(self, *columns: str) -> str:
        """Why rules over these columns cannot be checked; empty if they can, be it that all values are null."""
        missing = [name for name in columns if name not in self.table.names]
        if missing:
            return f"{' and '.join(missing)} is missing"
        return "" if self.table.rows else "there are no rows"


def number_column(name: str) -> str:
    """Name of the column that carries the values of `name` as numbers."""
    return f"{name} [number]"


def fraction_column(name: str) -> str:
    """Name of the column that carries what the values of `name` have beyond whole numbers."""
    return f"{name} [fraction]"


def finite_column(name: str) -> str:
    """Name of the column that carries the finite values of `name`."""
    return f"{name} [finite]"


def hours_column(what: str) -> str:
    """Name of the column that carries a span of time that rules look at [h].

    `known` and `happened`: since the day of delivery began; `age`: until it ended; `delay`: from event to arrival;
    `lateness`: the same, but a row counts as arrived on the day of delivery at the earliest.
    """
    return f"{what} [hours]"


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


def not_carried_out(rule: Rule, message: str) -> DataError:
    """The error of a check that failed by itself."""
    return DataError(
        f"The check {rule.subject!r} {rule.promise!r} could not be carried out: {' '.join(message.split())}.",
        hint="This says nothing about the data. Check the contract's limits for this column.",
    )

"""What a first look asks of data, whoever holds it: the columns, the days, and which columns could be keys.

Two hold it: pandas (`profile_frame`) and DuckDB over Parquet where it lies (`profile_duck`).

One rule: both answer the same; a test holds them together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal, Protocol

from mlops.spec import ContractSpec

SourceKind = Literal["parquet", "csv", "sql"]
CATEGORIES = 20  # a column of text with more different values lists none


@dataclass(frozen=True, slots=True)
class Keys:
    """The columns that say what a row is about and when."""

    entity: str
    event: str
    arrival: str  # "" if no column says so
    unique: bool  # entity and event time name a row once
    candidates: tuple[str, ...]  # other columns that could be the entity

    @property
    def columns(self) -> tuple[str, ...]:
        """All of them."""
        return tuple(name for name in (self.entity, self.event, self.arrival) if name)

    @property
    def known(self) -> str:
        """The column that says when a row became known."""
        return self.arrival or self.event


@dataclass(frozen=True, slots=True)
class ColumnSeen:
    """What was seen of a column that is no key."""

    name: str
    kind: Literal["bool", "number", "string", ""]  # "": none that a contract can have
    dtype: str  # as its holder names it
    present: int  # values that are there; NaN is none
    null_share: float  # on the worst day, 0 to 1
    whole: bool = False  # of numbers: all are finite and whole, below 2**53
    finite: tuple[float, float] | None = None  # of numbers: the least and the greatest finite one
    infinite: bool = False  # of numbers: some are infinite
    categories: tuple[str, ...] | None = None  # of text: the different values, sorted; None: more than CATEGORIES


@dataclass(frozen=True, slots=True)
class DaySeen:
    """What was delivered on a day."""

    day: date
    rows: int
    newest: datetime  # event, zoned
    lateness_hours: float  # the latest arrival after its event, counted from the start of the day at the earliest


class ProfileTable(Protocol):
    """The rows of a first look."""

    @property
    def uri(self) -> str:
        """As it was given."""

    @property
    def template(self) -> str:
        """As a spec would say it: with {date} where files are by date."""

    @property
    def kind(self) -> SourceKind:
        """What it is read from."""

    @property
    def timezone(self) -> str | None:
        """Zone that times without one were taken to be in."""

    @property
    def rows(self) -> int:
        """How many."""

    @property
    def names(self) -> Sequence[str]:
        """Columns, in order."""

    @property
    def times(self) -> Sequence[str]:
        """Columns that hold instants throughout, without a null."""

    @property
    def keyable(self) -> Sequence[str]:
        """Columns of text or whole numbers, without a null, which could be an entity."""

    def never_before(self, name: str, event: str) -> bool:
        """Whether one time is never before another."""

    def twice(self, name: str, event: str) -> bool:
        """Whether two rows share entity and time."""

    def seems_twice(self, name: str, event: str) -> bool:
        """The same, looking at no more rows than it takes to rank columns."""

    def distinct(self, name: str) -> int:
        """How many different values a column has."""

    def days(self, keys: Keys) -> Sequence[DaySeen]:
        """The days of delivery, in order: by the files' names, or by when rows became known."""

    def columns(self, keys: Keys) -> Sequence[ColumnSeen]:
        """The columns that are no keys, in order."""

    def interval_minutes(self, keys: Keys) -> float | None:
        """Median time between readings of one entity; None if no entity has two."""

    def broken(self, contract: ContractSpec, keys: Keys) -> Mapping[str, tuple[str, ...]]:
        """By day, what breaks a contract, held against it as ingestion would."""

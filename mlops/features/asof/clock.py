"""Moments as whole numbers: microseconds since 1970, or nanoseconds where a source has them.

DuckDB rounds when it turns nanoseconds into microseconds, so a reading could join half a microsecond before it
happened; whole numbers compare exactly.

One rule: a time without a zone is UTC.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from mlops.features.asof.session import column

_NANOSECONDS = ("TIMESTAMP_NS", "TIMESTAMPTZ_NS")
_OTHERS = ("TIMESTAMP WITH TIME ZONE", "TIMESTAMP", "TIMESTAMP_MS", "TIMESTAMP_S", "DATE")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Span:
    """Times from `first` to `last`, both included, zoned; None: without bound."""

    first: datetime | None
    last: datetime | None

    @classmethod
    def of(cls, first: datetime | None, last: datetime | None) -> Span:
        """From times that may lack a zone."""
        return cls(*(None if t is None else t.replace(tzinfo=t.tzinfo or UTC).astimezone(UTC) for t in (first, last)))


@dataclass(frozen=True, slots=True)
class Unit:
    """What a second is counted in."""

    per_second: int

    @classmethod
    def of(cls, *kinds: str) -> Unit:
        """The coarsest unit in which times of all these DuckDB types are whole."""
        return NANO if any(kind in _NANOSECONDS for kind in kinds) else MICRO

    def instant(self, name: str) -> str:
        """SQL for a column of a source as a whole number."""
        function = "epoch_ns" if self == NANO else "epoch_us"
        return f"{function}({column(name)})"

    def number(self, moment: datetime) -> int:
        """A moment as a whole number."""
        return (moment - _EPOCH) // timedelta(microseconds=1) * (self.per_second // MICRO.per_second)

    def duration(self, length: timedelta) -> int:
        """A length of time as a whole number."""
        return length // timedelta(microseconds=1) * (self.per_second // MICRO.per_second)


MICRO = Unit(1_000_000)
NANO = Unit(1_000_000_000)


def is_time(kind: str) -> bool:
    """Whether a DuckDB type holds moments."""
    return kind in _NANOSECONDS + _OTHERS


def roughly(name: str, kind: str, span: Span) -> list[str]:
    """Conditions that Parquet's own statistics can check, a little wider than the span: what they leave out is out."""
    spare = timedelta(days=1) if kind == "DATE" else timedelta(seconds=1)
    bounds = ((">=", span.first and span.first - spare), ("<=", span.last and span.last + spare))
    return [f"{column(name)} {sign} cast('{moment.isoformat(sep=' ')}' as {kind})" for sign, moment in bounds if moment]


def exactly(name: str, kind: str, span: Span) -> list[str]:
    """Conditions for a span, after those of `roughly`."""
    unit = Unit.of(kind)
    conditions = roughly(name, kind, span)
    if span.first:
        conditions.append(f"{unit.instant(name)} >= {unit.number(span.first)}")
    if span.last:
        conditions.append(f"{unit.instant(name)} <= {unit.number(span.last)}")
    return conditions

"""A first look at rows in memory: CSV, tables of a database, and Parquet whose times take more than a cast.

One rule: times have become instants before anything is looked at (`looked_at`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property

import numpy as np
import pandas as pd

from mlops.data import contracts
from mlops.data.profile_table import CATEGORIES, ColumnSeen, DaySeen, Keys, SourceKind
from mlops.spec import ContractSpec, TimestampsSpec


@dataclass(frozen=True)
class FrameProfile:
    """Rows in memory."""

    uri: str
    template: str
    kind: SourceKind
    timezone: str | None
    frame: pd.DataFrame
    dates: pd.Series | None  # of each row's file; None where files are not by date

    @property
    def rows(self) -> int:
        """See `ProfileTable`."""
        return len(self.frame)

    @cached_property
    def names(self) -> list[str]:
        """See `ProfileTable`."""
        return [str(name) for name in self.frame.columns]

    @cached_property
    def times(self) -> list[str]:
        """See `ProfileTable`."""
        zoned = [name for name in self.names if isinstance(self.frame[name].dtype, pd.DatetimeTZDtype)]
        return [name for name in zoned if self.frame[name].notna().all()]

    @cached_property
    def keyable(self) -> list[str]:
        """See `ProfileTable`."""
        there = [name for name in self.names if name not in self.times and self.frame[name].notna().all()]
        return [name for name in there if _may_be_key(self.frame[name])]

    def never_before(self, name: str, event: str) -> bool:
        """See `ProfileTable`."""
        return bool((self.frame[name] >= self.frame[event]).all())

    def twice(self, name: str, event: str) -> bool:
        """See `ProfileTable`."""
        return bool(self.frame.duplicated([name, event]).any())

    seems_twice = twice

    def distinct(self, name: str) -> int:
        """See `ProfileTable`."""
        return int(self.frame[name].nunique())

    def days(self, keys: Keys) -> list[DaySeen]:
        """See `ProfileTable`."""
        return [
            DaySeen(day, len(part), part[keys.event].max(), _lateness(part, keys, day))
            for day, part in self._parts(keys).items()
        ]

    def columns(self, keys: Keys) -> list[ColumnSeen]:
        """See `ProfileTable`."""
        parts = list(self._parts(keys).values())
        return [
            _seen(name, self.frame[name], max(float(part[name].isna().mean()) for part in parts))
            for name in self.names
            if name not in keys.columns
        ]

    def interval_minutes(self, keys: Keys) -> float | None:
        """See `ProfileTable`."""
        gaps = self.frame.sort_values([keys.entity, keys.event]).groupby(keys.entity)[keys.event].diff().dropna()
        return float((gaps.dt.total_seconds() / 60).median()) if len(gaps) else None

    def broken(self, contract: ContractSpec, keys: Keys) -> Mapping[str, tuple[str, ...]]:
        """See `ProfileTable`."""
        timestamps = TimestampsSpec(event=keys.event, arrival=keys.arrival or None)
        counts: list[int] = []
        found = {}
        for day, part in self._parts(keys).items():
            usual: Sequence[int] = counts[-contract.volume_history :]
            result = contracts.check(
                part, contract, entity=keys.entity, timestamps=timestamps, day=day, usual_rows=usual
            )
            counts.append(len(part))
            if not result.passed:
                found[day.isoformat()] = result.reasons
        return found

    def _parts(self, keys: Keys) -> dict[date, pd.DataFrame]:
        delivered = self.dates if self.dates is not None else self.frame[keys.known].dt.date
        return {day: part.reset_index(drop=True) for day, part in self.frame.groupby(delivered, sort=True)}


def _may_be_key(values: pd.Series) -> bool:
    if pd.api.types.is_bool_dtype(values.dtype):
        return False
    return pd.api.types.is_integer_dtype(values.dtype) or pd.api.types.infer_dtype(values, skipna=True) == "string"


def _seen(name: str, values: pd.Series, null_share: float) -> ColumnSeen:
    present, dtype = int(values.notna().sum()), str(values.dtype)
    if pd.api.types.is_bool_dtype(values.dtype):
        return ColumnSeen(name, "bool", dtype, present, null_share)
    if pd.api.types.is_numeric_dtype(values.dtype):
        numbers = values.dropna().to_numpy(dtype=float)
        finite = numbers[np.isfinite(numbers)]
        infinite = len(finite) < len(numbers)
        whole = not infinite and bool((finite == np.round(finite)).all()) and np.abs(finite).max(initial=0) < 2**53
        ends = (float(finite.min()), float(finite.max())) if len(finite) else None
        return ColumnSeen(name, "number", dtype, present, null_share, bool(whole), ends, infinite)
    inferred = pd.api.types.infer_dtype(values, skipna=True)
    if inferred == "string":
        distinct = sorted(values.dropna().astype(str).unique())
        few = tuple(distinct) if len(distinct) <= CATEGORIES else None
        return ColumnSeen(name, "string", dtype, present, null_share, categories=few)
    return ColumnSeen(name, "bool" if inferred == "boolean" else "", dtype, present, null_share)


def _lateness(part: pd.DataFrame, keys: Keys, day: date) -> float:
    if not keys.arrival:
        return 0.0
    start, arrival = pd.Timestamp(day, tz="UTC"), part[keys.arrival]
    late = arrival.where(arrival >= start, start) - part[keys.event]
    return float(late.max().total_seconds() / 3600)

"""The rows to join: checked, as Arrow, their times made one.

One rule: every row stays, in its place, whatever is null in it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from mlops.errors import FeatureError, did_you_mean
from mlops.features.asof.clock import Span, Unit

EVENT = "event_timestamp"
_LAST = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Asked:
    """Rows to join."""

    rows: pa.Table  # as they were given, but for the times, which are in UTC
    event: str  # column of the times

    @property
    def span(self) -> Span:
        """From the earliest to the latest time."""
        found = pc.min_max(self.rows[self.event].cast(pa.timestamp("us", "UTC"), safe=False)).as_py()
        return Span.of(found["min"], found["max"])

    def __len__(self) -> int:
        return int(self.rows.num_rows)

    def key(self, column: str) -> pa.Array:
        """A column as a join key: categories as what they stand for."""
        values = self.rows[column].combine_chunks()
        return values.dictionary_decode() if pa.types.is_dictionary(values.type) else values

    def moments(self, unit: Unit) -> pa.Array:
        """Times as whole numbers, those finer than the unit cut down to it; null where a row has none."""
        times = self.rows[self.event].combine_chunks()
        per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[times.type.unit]
        there = times.is_valid().to_numpy(zero_copy_only=False)
        whole: npt.NDArray[np.int64] = times.cast(pa.int64()).fill_null(0).to_numpy()
        if per_second > unit.per_second:
            whole = whole // (per_second // unit.per_second)
        elif per_second < unit.per_second:  # beyond what nanoseconds can say, the farthest of them is as good
            factor = unit.per_second // per_second
            whole = np.clip(whole, -(_LAST // factor), _LAST // factor) * factor
        return pa.array(whole, mask=~there)

    def check(self, keys: Iterable[str], answers: Iterable[str]) -> None:
        """Refuse rows that lack a key or already have an answer.

        Raises:
            FeatureError: says which column.
        """
        names = self.rows.column_names
        for key in keys:
            if key not in names:
                raise FeatureError(
                    f"Column {key!r} is missing from the rows to join.",
                    hint=f"{did_you_mean(key, names)} They have {', '.join(names)}.",
                )
        if taken := sorted(set(answers) & set(names)):
            raise FeatureError(
                f"The rows to join already have {', '.join(taken)}.", hint="Rename or drop these columns."
            )


def asked(given: Any) -> Asked:
    """Rows to join, from a pandas frame or an Arrow table.

    Times stand in the column `event_timestamp`, or in the only column of times; without a zone they are UTC.

    Raises:
        FeatureError: no such column, or times of which some have a zone and some have none.
    """
    if isinstance(given, pa.Table):
        event = _event_column(given.column_names, [f.name for f in given.schema if pa.types.is_timestamp(f.type)])
        at = given.column_names.index(event)
        if not pa.types.is_timestamp(given[event].type):
            raise _no_times(event, given[event].type)
        return Asked(given.set_column(at, event, _in_utc(given[event])), event)
    if not isinstance(given, pd.DataFrame):
        raise FeatureError(
            f"The rows to join are {type(given).__name__}, expected a pandas.DataFrame, a pyarrow.Table or SQL.",
            hint="Pass entity_df=pandas.DataFrame(…).",
        )
    moments = [str(c) for c in given.columns if pd.api.types.is_datetime64_any_dtype(given[c])]
    event = _event_column(list(map(str, given.columns)), moments)
    frame = given.assign(**{event: _zoned(given[event])})
    try:
        table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise FeatureError(
            f"The rows to join cannot be read: {' '.join(map(str, error.args))}.",
            hint="One column holds values of one type.",
        ) from error
    return Asked(table.set_column(table.column_names.index(event), event, _in_utc(table[event])), event)


def _event_column(names: list[str], moments: list[str]) -> str:
    if EVENT in names:
        return EVENT
    if len(moments) == 1:
        return moments[0]
    raise FeatureError(
        f"The rows to join have no column {EVENT!r}, and {len(moments)} columns of times.",
        hint=f"{did_you_mean(EVENT, names)} Name the time at which each row is asked for {EVENT!r}.",
    )


def _zoned(times: pd.Series[Any]) -> pd.Series[Any]:
    """Times in UTC; of the type that they have, if they have one."""
    if isinstance(times.dtype, pd.DatetimeTZDtype) or pd.api.types.is_datetime64_any_dtype(times):
        return times
    if not (pd.api.types.is_object_dtype(times) or pd.api.types.is_string_dtype(times)):
        raise _no_times(str(times.name), times.dtype)
    try:
        parsed = times.map(pd.Timestamp, na_action="ignore")
    except (ValueError, TypeError) as error:
        raise FeatureError(f"{times.name} of the rows to join: {error}.", hint="Pass timestamps in UTC.") from error
    zoned = parsed.dropna().map(lambda time: time.tzinfo is not None)
    if zoned.any() and not zoned.all():
        raise FeatureError(
            f"{times.name} of the rows to join mixes times: {int((~zoned).sum()):,} of {len(zoned):,} have no zone.",
            hint="Give all of them a zone: pandas.to_datetime(…, utc=True) takes those without one for UTC.",
        )
    return pd.to_datetime(parsed, utc=True)


def _in_utc(times: pa.ChunkedArray) -> pa.ChunkedArray:
    return times.cast(pa.timestamp(times.type.unit, "UTC"))  # Arrow takes a time without a zone for UTC


def _no_times(column: str, kind: Any) -> FeatureError:
    return FeatureError(
        f"{column} of the rows to join is {kind}, expected timestamps.",
        hint="pandas.to_datetime(…, utc=True) makes them.",
    )

"""Timestamps as they come, in whatever form, become instants in UTC.

Local times are ambiguous for an hour each autumn and missing for an hour each spring. The first is resolved from the
order of the rows, the second refused.

One rule: a time without a zone is never guessed to be UTC.

References:
    Python Enhancement Proposal 495, Local Time Disambiguation: the earlier and the later reading of a repeated hour.
"""

from __future__ import annotations

import zoneinfo
from datetime import date, datetime
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from mlops.errors import SchemaError

_ISO_ZONE = r"(?:[Zz]|UTC|GMT|\d:?\d{2}(?:[.,:]\d+)*\s*[+-]\d{2}(?::?\d{2})?)\s*$"
_UTC = pd.DatetimeTZDtype("us", "UTC")


def to_utc(
    values: pd.Series,
    zone: str | None,
    *,
    per: pd.Series | None = None,
    repeated: Literal["in_order", "later"] = "in_order",
) -> pd.Series:
    """Instants in UTC.

    Args:
        values: timestamps, shape (n_rows,): datetimes, or ISO 8601 text with or without an offset. Nulls stay null.
        zone: IANA name of the zone of those that carry none.
        per: what the rows are about, same shape; the repeated hour is resolved for each on its own.
        repeated: how a local time that occurs twice is read. `in_order`: rows go on in time, so what follows a step
            back or repeats a time is the later one; without either it is the earlier one. `later`: always the later
            one, which suits arrival times, since known too late leaks nothing.

    Returns:
        `datetime64[us, UTC]` on the index of `values`.

    Raises:
        SchemaError: no zone is known, a value is not a timestamp, or a local time does not exist.
    """
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(object)
    if isinstance(values.dtype, pd.DatetimeTZDtype):
        instants: pd.Series = values.dt.tz_convert("UTC").astype(_UTC)
        return instants
    aware, naive = _parsed(values)
    if naive.notna().any():
        aware = aware.where(naive.isna(), _localised(naive, _known_zone(zone, values), per, repeated))
    resolved: pd.Series = aware.astype(_UTC)
    return resolved


def zone_of(name: str) -> zoneinfo.ZoneInfo:
    """The zone of an IANA name.

    Raises:
        SchemaError: there is none of that name.
    """
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise SchemaError(
            f"source.timezone {name!r} is not the name of a time zone.", hint="Use an IANA name such as Europe/Berlin."
        ) from error


def _parsed(values: pd.Series) -> tuple[pd.Series, pd.Series]:
    """Instants of the values that carry a zone, and local times of those that do not; null in the other."""
    index = values.index
    if pd.api.types.is_datetime64_dtype(values.dtype):
        return pd.Series(pd.NaT, index=index, dtype=_UTC), values.astype("datetime64[us]")
    if not (pd.api.types.is_object_dtype(values.dtype) or pd.api.types.is_string_dtype(values.dtype)):
        if values.isna().all():
            return pd.Series(pd.NaT, index=index, dtype=_UTC), pd.Series(pd.NaT, index=index, dtype="datetime64[us]")
        raise SchemaError(
            f"Column {values.name!r} holds {values.dtype}, expected timestamps; the first is {values.iloc[0]}.",
            hint="Deliver ISO 8601 text or a timestamp type: the unit of a number is unknown.",
        )
    present = values.dropna()
    text = present.map(_as_text).astype("string")
    zoned = text.str.contains(_ISO_ZONE, regex=True).fillna(value=False).to_numpy(dtype=bool)
    aware = pd.to_datetime(text[zoned], format="ISO8601", utc=True, errors="coerce")
    naive = pd.to_datetime(text[~zoned], format="ISO8601", errors="coerce")
    bad = present[(aware.reindex(present.index).isna() & naive.reindex(present.index).isna())]
    if len(bad):
        raise SchemaError(
            f"Column {values.name!r} holds {len(bad):,} values that are no timestamps, the first is {bad.iloc[0]!r}.",
            hint="Deliver ISO 8601; for CSV, `options: {parse_dates: [...], date_format: ...}` reads other forms.",
        )
    return aware.reindex(index).astype(_UTC), naive.reindex(index).astype("datetime64[us]")


def _as_text(value: object) -> str:
    return value.isoformat() if isinstance(value, date | datetime) else str(value)


def _known_zone(zone: str | None, values: pd.Series) -> zoneinfo.ZoneInfo:
    if zone is None:
        raise SchemaError(
            f"Column {values.name!r} holds times without a time zone, such as {values.dropna().iloc[0]}.",
            hint="Set source.timezone to the zone they are in, for example UTC or Europe/Berlin.",
        )
    return zone_of(zone)


def _localised(
    naive: pd.Series, zone: zoneinfo.ZoneInfo, per: pd.Series | None, repeated: Literal["in_order", "later"]
) -> pd.Series:
    earlier, later = (
        naive.dt.tz_localize(zone, ambiguous=np.full(len(naive), first_pass), nonexistent="NaT").dt.tz_convert("UTC")
        for first_pass in (True, False)
    )
    missing = earlier.isna() & naive.notna()
    if missing.any():
        raise SchemaError(
            f"Column {naive.name!r}: {naive[missing].iloc[0]} does not exist in {zone.key}: clocks go forward then "
            f"({int(missing.sum()):,} such rows).",
            hint="The times are probably in another zone: check source.timezone.",
        )
    twice = (earlier != later) & naive.notna()
    second = twice if repeated == "later" else _second_pass(naive[twice], per).reindex(naive.index, fill_value=False)
    resolved: pd.Series = earlier.where(~second, later)
    return resolved


def _second_pass(repeated: pd.Series, per: pd.Series | None) -> pd.Series:
    """Which rows of a repeated hour are of its second pass: those after a step back, or else the second of equal ones.

    Args:
        repeated: local times that occur twice, in the order of the rows.
        per: what the rows are about.
    """
    group: list[pd.Series | npt.NDArray[np.object_]] = [repeated.dt.normalize()]
    if per is not None:
        group.append(per.reindex(repeated.index))
    step_back = repeated.groupby(group, sort=False).diff() < pd.Timedelta(0)
    stepped = step_back.groupby(group, sort=False).cumsum() > 0
    any_step = step_back.groupby(group, sort=False).transform("any")
    again = repeated.groupby([*group, repeated], sort=False).cumcount() > 0
    return stepped.where(any_step, again)

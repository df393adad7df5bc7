"""A first look at data, and the contract that it would keep: types, ranges, nulls, keys, lateness, volume, by day.

Ranges get head-room of a quarter of their width, shares half as much again; what is never negative stays so. A person
edits the proposal: it knows what was, not what may be.

One rule: the proposal passes on every day that it was made from, or says on which it does not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np
import pandas as pd

from mlops.data import contracts
from mlops.data.looked_at import Looked
from mlops.data.profile_keys import Keys, find_keys
from mlops.errors import NoDataError
from mlops.spec import ColumnContract, ContractSpec, TimestampsSpec

_CATEGORIES = 20  # a text column with more different values, or with one for every second row, lists nothing
_HEADROOM = 0.25  # of the width of a range


@dataclass(frozen=True)
class Profile:
    """What a first look has found, and what it proposes."""

    uri: str  # with {date}, where the files are by date
    kind: str
    timezone: str | None
    keys: Keys
    contract: ContractSpec
    rows: int
    entities: int
    days: tuple[date, ...]
    interval_minutes: float | None  # median time between readings of one entity; None if no entity has two
    left_out: dict[str, str]  # columns that no contract can have, and why
    broken: dict[str, tuple[str, ...]] = field(default_factory=dict)  # by day, what breaks the proposal all the same


def profile(looked: Looked, *, entity: str = "", event: str = "", arrival: str = "") -> Profile:
    """Look at data and propose the contract that it keeps.

    Args:
        looked: the data.
        entity: column of the entity. Default: the one that best names rows together with the time.
        event: column of the event time. Default: the best of those that hold times.
        arrival: column that says when a row became known. Default: one that is named so and never before the event.

    Raises:
        NoDataError: there are no rows.
        SchemaError: no column holds times, or none can be a key; or one that was named is not there.
    """
    frame = looked.frame
    if frame.empty:
        raise NoDataError(f"{looked.uri} holds no rows; there is nothing to look at.")
    keys = find_keys(frame, entity=entity, event=event, arrival=arrival)
    known = frame[keys.arrival or keys.event]
    delivered = looked.days if looked.days is not None else known.dt.date
    parts = {day: part.reset_index(drop=True) for day, part in frame.groupby(delivered, sort=True)}
    columns, left_out = _columns(frame, keys, list(parts.values()))
    contract = ContractSpec(columns=columns, **_whole(keys, parts))
    timestamps = TimestampsSpec(event=keys.event, arrival=keys.arrival or None)
    gaps = frame.sort_values([keys.entity, keys.event]).groupby(keys.entity)[keys.event].diff().dropna()
    minutes = gaps.dt.total_seconds() / 60
    return Profile(
        uri=looked.template,
        kind=looked.kind,
        timezone=looked.timezone,
        keys=keys,
        contract=contract,
        rows=len(frame),
        entities=int(frame[keys.entity].nunique()),
        days=tuple(parts),
        interval_minutes=float(minutes.median()) if len(minutes) else None,
        left_out=left_out,
        broken=_broken(parts, contract, keys.entity, timestamps),
    )


def _broken(
    parts: dict[date, pd.DataFrame], contract: ContractSpec, entity: str, timestamps: TimestampsSpec
) -> dict[str, tuple[str, ...]]:
    """What each day breaks of the proposal, held against it as ingestion would."""
    counts: list[int] = []
    found = {}
    for day, part in parts.items():
        usual = counts[-contract.volume_history :]
        result = contracts.check(part, contract, entity=entity, timestamps=timestamps, day=day, usual_rows=usual)
        counts.append(len(part))
        if not result.passed:
            found[day.isoformat()] = result.reasons
    return found


def _columns(
    frame: pd.DataFrame, keys: Keys, parts: Sequence[pd.DataFrame]
) -> tuple[dict[str, ColumnContract], dict[str, str]]:
    columns, left_out = {}, {}
    for name in [str(column) for column in frame.columns if column not in keys.columns]:
        values = frame[name]
        if values.isna().all():
            left_out[name] = "null in all rows"
        elif (kind := _kind(values)) is None:
            left_out[name] = f"no numbers, text or truth values ({values.dtype})"
        else:
            columns[name] = _column(values, kind, max(float(part[name].isna().mean()) for part in parts))
    return columns, left_out


def _kind(values: pd.Series) -> Any:
    if pd.api.types.is_bool_dtype(values.dtype):
        return "bool"
    if pd.api.types.is_numeric_dtype(values.dtype):
        numbers = values.dropna().to_numpy(dtype=float)
        finite = numbers[np.isfinite(numbers)]
        whole = len(finite) == len(numbers) and bool((finite == np.round(finite)).all())
        return "int" if whole and np.abs(finite).max(initial=0) < 2**53 else "float"
    inferred = pd.api.types.infer_dtype(values, skipna=True)
    return {"string": "string", "boolean": "bool"}.get(inferred)


def _column(values: pd.Series, kind: Any, null_share: float) -> ColumnContract:
    found: dict[str, Any] = {"type": kind, "max_null_share": _roomy_share(null_share)}
    if kind in ("float", "int"):
        numbers = values.dropna().to_numpy(dtype=float)
        finite = numbers[np.isfinite(numbers)]
        if len(finite) < len(numbers):
            found["max_outside_share"] = 1.0
        if len(finite):
            found["min"], found["max"] = _range(float(finite.min()), float(finite.max()))
    if kind == "string":
        distinct = sorted(values.dropna().astype(str).unique())
        if len(distinct) <= _CATEGORIES and len(distinct) <= values.notna().sum() / 2:
            found["allowed"] = tuple(distinct)
    return ColumnContract(**found)


def _range(low: float, high: float) -> tuple[float, float]:
    """The range with head-room, at round numbers.

    >>> _range(0.0, 97.3), _range(5.0, 5.0)
    ((0.0, 130.0), (2.0, 8.0))
    """
    room = _HEADROOM * (high - low) or abs(high) / 2 or 1.0
    step = 10.0 ** math.floor(math.log10(room)) if room > 0 else 1.0
    least, most = math.floor((low - room) / step) * step, math.ceil((high + room) / step) * step
    least, most = (0.0 if low >= 0 > least else least), (0.0 if high <= 0 < most else most)
    least, most = float(f"{least:.12g}"), float(f"{most:.12g}")
    return min(least, low), max(most, high)


def _roomy_share(share: float) -> float:
    """Half as much again, rounded up to a hundredth.

    >>> _roomy_share(0.0), _roomy_share(0.013), _roomy_share(0.9)
    (0.0, 0.02, 1.0)
    """
    return min(1.0, math.ceil(share * 150) / 100)


def _whole(keys: Keys, parts: dict[date, pd.DataFrame]) -> dict[str, Any]:
    """What is promised about deliveries as a whole."""
    counts = [len(part) for part in parts.values()]
    found: dict[str, Any] = {"min_rows": max(1, min(counts) // 2), "unique": keys.unique}
    if keys.arrival:
        worst = max(_lateness(part, keys, day) for day, part in parts.items())
        found["max_lateness_hours"] = float(max(1, math.ceil(worst * 1.5)))
    ages = [_age(part, keys, day) for day, part in parts.items()]
    stale = max(ages)
    found["freshness_hours"] = float(max(1, math.ceil(stale * 1.5))) if stale <= 12 else None
    found["volume_tolerance"] = _tolerance(counts, 7)
    return found


def _lateness(part: pd.DataFrame, keys: Keys, day: date) -> float:
    start = pd.Timestamp(day, tz="UTC")
    arrival = part[keys.arrival]
    late = arrival.where(arrival >= start, start) - part[keys.event]
    return float(late.max().total_seconds() / 3600)


def _age(part: pd.DataFrame, keys: Keys, day: date) -> float:
    newest = part[keys.event].max() - pd.Timestamp(day, tz="UTC")
    return float(24 - newest.total_seconds() / 3600)


def _tolerance(counts: Sequence[int], history: int) -> float | None:
    """The share by which row counts have differed from the usual, and half as much again; None beyond reason."""
    worst = 0.0
    for i in range(3, len(counts)):
        usual = float(np.median(counts[max(0, i - history) : i]))
        worst = max(worst, abs(counts[i] - usual) / usual)
    roomy = max(0.2, _roomy_share(worst))
    return roomy if roomy < 1 else None

"""A first look at data, and the contract that it would keep: types, ranges, nulls, keys, lateness, volume, by day.

Ranges get head-room of a quarter of their width, shares half as much again; what is never negative stays so. A person
edits the proposal: it knows what was, not what may be.

One rule: the proposal passes on every day that it was made from, or says on which it does not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from typing import Any

import numpy as np

from mlops.data import looked_at, profile_duck
from mlops.data.profile_keys import find_keys
from mlops.data.profile_table import ColumnSeen, DaySeen, Keys, ProfileTable, SourceKind
from mlops.errors import NoDataError
from mlops.spec import ColumnContract, ContractSpec

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


def first_look(
    uri: str,
    *,
    kind: SourceKind | None = None,
    table: str = "",
    timezone: str = "",
    options: dict[str, Any] | None = None,
    **keys: str,
) -> Profile:
    """Look at data where it is; Parquet where it lies, within bounded memory, if its times need no more than a cast.

    Args:
        uri: path, glob, folder or URI, with or without {date}; or an SQLAlchemy URL.
        kind: default: by the ending of the files, or sql for a database URL.
        table: for sql: the table, or a query.
        timezone: zone of times that carry none. Default: they are taken to be UTC, and the proposal says so.
        options: options for fsspec or the CSV reader.
        keys: see `profile`.

    Raises:
        SourceError: nothing is there, or it cannot be read.
        NoDataError, SchemaError: see `profile`.
    """
    kind = kind or looked_at.kind_of(uri)
    if kind == "parquet":
        with profile_duck.opened(uri, timezone=timezone, options=options) as lying:
            if lying is not None:
                return profile(lying, **keys)
    return profile(looked_at.look(uri, kind=kind, table=table, timezone=timezone, options=options), **keys)


def profile(table: ProfileTable, *, entity: str = "", event: str = "", arrival: str = "") -> Profile:
    """Look at data and propose the contract that it keeps.

    Args:
        table: the data.
        entity: column of the entity. Default: the one that best names rows together with the time.
        event: column of the event time. Default: the best of those that hold times.
        arrival: column that says when a row became known. Default: one that is named so and never before the event.

    Raises:
        NoDataError: there are no rows.
        SchemaError: no column holds times, or none can be a key; or one that was named is not there.
    """
    if not table.rows:
        raise NoDataError(f"{table.uri} holds no rows; there is nothing to look at.")
    keys = find_keys(table, entity=entity, event=event, arrival=arrival)
    days = table.days(keys)
    columns, left_out = _columns(table.columns(keys))
    contract = ContractSpec(columns=columns, **_whole(keys, days))
    return Profile(
        uri=table.template,
        kind=table.kind,
        timezone=table.timezone,
        keys=keys,
        contract=contract,
        rows=table.rows,
        entities=table.distinct(keys.entity),
        days=tuple(each.day for each in days),
        interval_minutes=table.interval_minutes(keys),
        left_out=left_out,
        broken=dict(table.broken(contract, keys)),
    )


def _columns(seen: Sequence[ColumnSeen]) -> tuple[dict[str, ColumnContract], dict[str, str]]:
    columns, left_out = {}, {}
    for each in seen:
        if not each.present:
            left_out[each.name] = "null in all rows"
        elif not each.kind:
            left_out[each.name] = f"no numbers, text or truth values ({each.dtype})"
        else:
            columns[each.name] = _column(each)
    return columns, left_out


def _column(seen: ColumnSeen) -> ColumnContract:
    kind = seen.kind if seen.kind != "number" else "int" if seen.whole else "float"
    found: dict[str, Any] = {"type": kind, "max_null_share": _roomy_share(seen.null_share)}
    if seen.infinite:
        found["max_outside_share"] = 1.0
    if seen.finite:
        found["min"], found["max"] = _range(*seen.finite)
    if seen.categories is not None and len(seen.categories) <= seen.present / 2:
        found["allowed"] = seen.categories
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


def _whole(keys: Keys, days: Sequence[DaySeen]) -> dict[str, Any]:
    """What is promised about deliveries as a whole."""
    counts = [each.rows for each in days]
    found: dict[str, Any] = {"min_rows": max(1, min(counts) // 2), "unique": keys.unique}
    if keys.arrival:
        worst = max(each.lateness_hours for each in days)
        found["max_lateness_hours"] = float(max(1, math.ceil(worst * 1.5)))
    stale = max(_age_hours(each) for each in days)
    found["freshness_hours"] = float(max(1, math.ceil(stale * 1.5))) if stale <= 12 else None
    found["volume_tolerance"] = _tolerance(counts, 7)
    return found


def _age_hours(seen: DaySeen) -> float:
    """How old the newest row was when its day ended."""
    start = datetime.combine(seen.day, time(), UTC)
    return 24 - (seen.newest - start).total_seconds() / 3600


def _tolerance(counts: Sequence[int], history: int) -> float | None:
    """The share by which row counts have differed from the usual, and half as much again; None beyond reason."""
    worst = 0.0
    for i in range(3, len(counts)):
        usual = float(np.median(counts[max(0, i - history) : i]))
        worst = max(worst, abs(counts[i] - usual) / usual)
    roomy = max(0.2, _roomy_share(worst))
    return roomy if roomy < 1 else None

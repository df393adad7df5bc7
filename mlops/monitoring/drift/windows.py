"""The reference cut into windows as production has them: whole days, of the same hours, entities and size as tonight's.

Days are the blocks: rows of a day depend on one another (a sensor remembers, all devices share the weather), and so
does everything that is averaged over them. What a day differs from other days by is therefore learned from days, never
from rows.

One rule: like is compared with like. If tonight holds the morning of four devices, so do the days it is held against.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

_FULL = 0.8  # a night with so large a share of a usual day's rows is a whole one

Days = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Windows:
    """Which rows of the reference tonight is held against.

    Args:
        kept: shape (n_kept,), positions of rows, in order of their days.
        starts: shape (n_days + 1,), where in `kept` each day begins.
        days: shape (n_days,), the dates, in order.
        told: how the reference was narrowed down, in words; empty if it was not.
    """

    kept: npt.NDArray[np.intp]
    starts: npt.NDArray[np.intp]
    days: tuple[np.datetime64, ...]
    told: str = ""

    def parts(self, values: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
        """The rows of each day of something that has a value for each row of the reference."""
        return self.split(self.of_kept(values))

    def of_kept(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The kept rows of something that has a value for each row; itself where all are kept in their order."""
        return values if self._as_they_are and len(values) == len(self.kept) else values[self.kept]

    def split(self, kept: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
        """The kept rows of something, by day."""
        return [kept[start:end] for start, end in itertools.pairwise(self.starts)]

    @functools.cached_property
    def _as_they_are(self) -> bool:
        """Whether the kept rows are the first ones, in their order."""
        return bool((self.kept == np.arange(len(self.kept))).all())


def utc(times: Any) -> pd.DatetimeIndex:
    """Times in UTC; without zone they are that."""
    stamps = pd.DatetimeIndex(times)
    return stamps.tz_localize("UTC") if stamps.tz is None else stamps.tz_convert("UTC")


def cut(
    reference_times: Any,
    *,
    current_times: Any = None,
    reference_entities: Any = None,
    current_entities: Any = None,
    current_rows: int | None = None,
    seed: int = 0,
) -> Windows:
    """Cut the reference into days that are like tonight.

    Args:
        reference_times: shape (n_reference,), when each row happened; rows without a time are left out.
        current_times: shape (n_current,), likewise. None: not known, days are taken whole.
        reference_entities: shape (n_reference,), whose each row is.
        current_entities: shape (n_current,), likewise. None: all entities are taken.
        current_rows: how many rows tonight has, where those given are a sample of them.
        seed: of the stretches that days are shortened to, where tonight has fewer rows.
    """
    stamps = utc(reference_times)
    keep = ~np.asarray(stamps.isna())
    told: list[str] = []
    now = None if current_times is None else utc(current_times)
    if now is not None and len(now):
        same = np.isin(stamps.hour, now.hour.unique())
        if same[keep].any() and not same[keep].all():
            keep &= same
            told.append(f"{now.hour.nunique()} hours of the day")
    if reference_entities is not None and current_entities is not None:
        here, there = pd.unique(np.asarray(current_entities)), np.asarray(reference_entities)
        same = np.isin(there, here)
        if same[keep].any() and not same[keep].all():
            keep &= same
            told.append(f"{len(here):,} entities")
    rows = np.flatnonzero(keep)
    dates = stamps[rows].tz_localize(None).to_numpy().astype("datetime64[D]")
    order = np.argsort(dates, kind="stable")
    rows, dates = rows[order], dates[order]
    days, starts = np.unique(dates, return_index=True)
    bounds = np.append(starts, len(rows))
    size = 0 if now is None else current_rows or len(now)
    if len(days) and 0 < size < _FULL * float(np.median(np.diff(bounds))):
        entities = None if reference_entities is None else np.asarray(reference_entities)
        rows, bounds = _shortened(rows, bounds, size, entities, np.random.default_rng(seed))
        told.append(f"{size:,} rows a day")
    return Windows(rows, bounds.astype(np.intp), tuple(days), ", ".join(told))


def _shortened(
    rows: npt.NDArray[np.intp],
    bounds: npt.NDArray[np.intp],
    most: int,
    entities: npt.NDArray[Any] | None,
    rng: np.random.Generator,
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """One stretch of each day, at most `most` rows long: neighbours in time of one entity after the other."""
    parts = []
    for start, end in itertools.pairwise(bounds):
        day = rows[start:end]
        if entities is not None:
            day = day[np.argsort(pd.factorize(entities[day])[0], kind="stable")]
        first = int(rng.integers(len(day)))
        parts.append(np.sort(np.roll(day, -first)[:most]))
    return np.concatenate(parts), np.concatenate([[0], np.cumsum([len(part) for part in parts])])

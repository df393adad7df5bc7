"""Time windows over irregular readings of many entities, exactly as they were known at the time.

Readings are sorted by (entity, event time, known time). A window of reading i is a stretch of rows ending at i's event
time; rows that became known after i, and rows replaced by a later known reading of the same event time, are taken out
of it. What is left is laid out flat (`Spans`), and every statistic is one segmented reduction.

One rule: values are shifted by one of their own window before anything is squared, so that a stuck sensor has a
standard deviation of exactly 0 whatever its offset.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_MICROSECONDS_PER_HOUR = 3_600_000_000
_PAIRS_PER_BLOCK = 200_000  # of (reading, reading in its window): a few MB per array, so it stays in the cache


@dataclass(frozen=True)
class Readings:
    """Readings sorted by (entity, event, known), one row per (entity, event, known)."""

    source: Ints  # position of the row in the table it came from
    entity: Ints  # code of the entity
    event: Ints  # [µs since 1970]
    known: Ints  # [µs since 1970]
    values: dict[str, Floats]
    in_order: bool  # no reading arrived after a later one of its entity, none was replaced

    def __len__(self) -> int:
        return len(self.event)

    @classmethod
    def of(cls, entity: pd.Series[str], event: Ints, known: Ints, values: pd.DataFrame) -> Readings:
        """Sort; of rows with the same entity, event and known time the last one stays."""
        codes = pd.factorize(entity, sort=True)[0].astype(np.int64)
        order = np.lexsort((known, event, codes))
        codes, event, known = codes[order], event[order], known[order]
        same = (codes[1:] == codes[:-1]) & (event[1:] == event[:-1])
        last = np.append(~(same & (known[1:] == known[:-1])), True) if len(codes) else np.zeros(0, dtype=bool)
        late = (codes[1:] == codes[:-1]) & (known[1:] < known[:-1])
        order = order[last]
        columns = {str(c): values[c].to_numpy(dtype=np.float64, na_value=np.nan)[order] for c in values.columns}
        return cls(order, codes[last], event[last], known[last], columns, not (same.any() or late.any()))


@dataclass(frozen=True)
class Spans:
    """For each of n readings, the rows in its window: `rows[offsets[i]:offsets[i + 1]]`, by event time."""

    of: Ints  # shape (n,): the readings
    first: Ints  # shape (n,): first row of the stretch
    stop: Ints  # shape (n,): one past its last row

    def blocks(self, readings: Readings) -> Iterator[tuple[slice, Ints, Ints]]:
        """Yield (slice of the readings, rows in their windows laid out flat, lengths), in blocks of bounded size."""
        ends = np.cumsum(self.stop - self.first)
        begin = 0
        while begin < len(self.of):
            done = ends[begin - 1] if begin else 0
            end = max(int(np.searchsorted(ends, done + _PAIRS_PER_BLOCK, side="right")), begin + 1)
            part = slice(begin, end)
            rows, lengths = _flat(self.first[part], self.stop[part] - self.first[part])
            if not readings.in_order:
                rows, lengths = _as_known(readings, self.of[part], rows, lengths)
            yield part, rows, lengths
            begin = end


def spans_within(readings: Readings, of: Ints, width: int) -> Spans:
    """The stretches of rows with event time in (t − width, t], t being the event time of each reading in `of`.

    Args:
        readings: all readings.
        of: positions of the readings whose windows are wanted.
        width: [µs].
    """
    times, rank = np.unique(readings.event, return_inverse=True)
    stride = len(times) + 1
    key = readings.entity * stride + rank  # sorted, as the readings are
    oldest = np.searchsorted(times, readings.event[of] - width, side="right")  # rank of the first time in the window
    first = np.searchsorted(key, readings.entity[of] * stride + oldest, side="left")
    return Spans(of, first.astype(np.int64), np.searchsorted(key, key[of], side="right").astype(np.int64))


def previous_reading(readings: Readings, of: Ints, at: Ints, reach: int, usable: Bools | None = None) -> Ints:
    """The row of the latest reading before row `at`, as reading `of` knew it; −1 where there is none within reach.

    Args:
        readings: all readings.
        of: shape (n,): whose knowledge, and from whose event time the reach counts.
        at: shape (n,): rows to step back from; −1 stays −1.
        reach: how far before the event time of `of` the row may lie, inclusive [µs].
        usable: shape (rows,): only these rows count; default all.
    """
    found = np.full(len(of), -1, dtype=np.int64)
    open_ = np.flatnonzero(at >= 0)
    step = at[open_] - 1
    seen = readings.event[at[open_]]  # event time of the last reading stepped over: a replaced one shares it
    while len(open_):
        me = of[open_]
        inside = step >= 0
        inside &= (readings.entity[step] == readings.entity[me]) & (readings.event[step] >= readings.event[me] - reach)
        open_, step, seen, me = open_[inside], step[inside], seen[inside], me[inside]
        stands = (readings.known[step] <= readings.known[me]) & (readings.event[step] < seen)
        seen = np.where(stands, readings.event[step], seen)
        if usable is not None:
            stands &= usable[step]
        found[open_[stands]] = step[stands]
        open_, step, seen = open_[~stands], step[~stands] - 1, seen[~stands]
    return found


def summarise(readings: Readings, spans: Spans, needed: Set[str]) -> dict[tuple[str, str], Floats]:
    """Statistics of every column over each window. NaNs are skipped.

    Args:
        readings: all readings.
        spans: the windows.
        needed: any of `count`, `mean`, `std`, `min`, `max`, `slope`.

    Returns:
        by column and statistic, shape (n,). NaN where a window holds no value; for `std` and `slope` where it holds
        fewer than 2. `count` is never NaN.
    """
    result = {(c, name): np.full(len(spans.of), np.nan) for c in readings.values for name in needed}
    gaps = {c: bool(np.isnan(values).any()) for c, values in readings.values.items()}
    for part, rows, lengths in spans.blocks(readings):
        whole = _Clock.of(readings.event[rows], lengths) if "slope" in needed else None
        for column, values in readings.values.items():
            inside, sizes, clock = values[rows], lengths, whole
            if gaps[column]:
                there = ~np.isnan(inside)
                sizes = np.add.reduceat(there, _starts(lengths), dtype=np.int64)
                inside = inside[there]
                if clock is not None and len(inside) < len(rows):
                    clock = _Clock.of(readings.event[rows[there]], sizes[sizes > 0])
            filled = sizes > 0
            for name, found in _reduced(inside, clock, sizes[filled], needed).items():
                result[column, name][part][filled] = found
            if "count" in needed:
                result[column, "count"][part] = sizes
    return result


@dataclass(frozen=True)
class _Clock:
    """Times within segments, less the segment's mean [h], and the sums of their squares."""

    centred: Floats
    spread: Floats

    @classmethod
    def of(cls, event: Ints, sizes: Ints) -> _Clock:
        if not len(sizes):
            return cls(np.zeros(0), np.zeros(0))
        starts = _starts(sizes)
        hours = (event - np.repeat(event[starts], sizes)) / _MICROSECONDS_PER_HOUR
        hours -= np.repeat(np.add.reduceat(hours, starts) / sizes, sizes)
        return cls(hours, np.add.reduceat(hours * hours, starts))


def _reduced(values: Floats, clock: _Clock | None, sizes: Ints, needed: Set[str]) -> dict[str, Floats]:
    """Statistics of the segments of `values`; every segment holds at least one value, none is NaN."""
    found: dict[str, Floats] = {}
    if not len(sizes):
        return found
    starts = _starts(sizes)
    if "min" in needed:
        found["min"] = np.minimum.reduceat(values, starts)
    if "max" in needed:
        found["max"] = np.maximum.reduceat(values, starts)
    if not needed & {"mean", "std", "slope"}:
        return found
    base = values[starts]
    shifted = values - np.repeat(base, sizes)
    centre = np.add.reduceat(shifted, starts) / sizes
    found["mean"] = base + centre
    several = sizes > 1
    if "slope" in needed and clock is not None:
        rise = np.add.reduceat(clock.centred * shifted, starts)
        found["slope"] = np.divide(rise, clock.spread, out=np.full(len(sizes), np.nan), where=several)
    if "std" in needed:
        shifted -= np.repeat(centre, sizes)
        squares = np.add.reduceat(shifted * shifted, starts)
        found["std"] = np.sqrt(np.divide(squares, sizes - 1, out=np.full(len(sizes), np.nan), where=several))
    return {name: values for name, values in found.items() if name in needed}


def _as_known(readings: Readings, of: Ints, rows: Ints, lengths: Ints) -> tuple[Ints, Ints]:
    """Take out rows known after the reading itself, then rows replaced by a later known one of the same event time."""
    owner = np.repeat(np.arange(len(of)), lengths)
    kept = readings.known[rows] <= readings.known[of][owner]
    rows, owner = rows[kept], owner[kept]
    replaced = (owner[1:] == owner[:-1]) & (readings.event[rows[1:]] == readings.event[rows[:-1]])
    stands = np.append(~replaced, True)
    return rows[stands], np.bincount(owner[stands], minlength=len(of)).astype(np.int64)


def _flat(first: Ints, lengths: Ints) -> tuple[Ints, Ints]:
    """Rows first[i] … first[i] + lengths[i] − 1 for all i, one after another."""
    return np.arange(lengths.sum()) + np.repeat(first - _starts(lengths), lengths), lengths


def _starts(lengths: Ints) -> Ints:
    return np.cumsum(lengths) - lengths

"""The reading that leads at each row: the latest event among those of its key that are visible by then.

The rows are put in order, not the readings, which are many more and need not fit into memory. A reading is laid at the
first row of its key from which on it is visible; of those laid at one row the latest event stays. Along the rows of a
key the running maximum of these events is what leads: it only ever rises, so no reading has to be looked at twice.

One rule: the answer does not depend on the order or the batches in which readings come.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_NONE = -1
_BITS = 62  # of a number that holds a key and a moment


@dataclass(frozen=True, slots=True)
class Leaders:
    """The leading readings of the rows that have one; all shape (n_found,)."""

    asks: Ints  # position of the row among those asked for
    rows: Ints  # one of the leading readings
    events: Ints  # its event time
    tied: Bools  # whether other readings of this event time may be visible, too


@dataclass(frozen=True, slots=True)
class _Laid:
    """What a batch of readings leaves at the rows; all shape (n_places,)."""

    places: Ints
    events: Ints
    rows: Ints
    tied: Bools


def leaders(codes: Ints, moments: Ints, readings: Iterable[pa.RecordBatch], threads: int) -> Leaders:
    """Find the leading reading of each row.

    Args:
        codes: shape (n,), the key of each row, a number from 0 to n.
        moments: shape (n,), the time of each row.
        readings: batches of code, event, the moment from which on it is visible, and a number >= 0 that tells a
            reading from the others; no nulls.
        threads: batches worked on at once.
    """
    if not len(codes):
        return Leaders(codes, codes, codes, np.empty(0, bool))
    line = _Line(codes, moments)
    for laid in _worked(line, readings, threads):
        line.keep(laid)
    return line.leaders()


def _worked(line: _Line, readings: Iterable[pa.RecordBatch], threads: int) -> Iterator[_Laid]:
    """Lay batches at their rows, some at once; no more of them wait than work."""
    with ThreadPoolExecutor(threads) as pool:
        under_way: deque[Future[_Laid]] = deque()
        for batch in readings:
            under_way.append(pool.submit(line.lay, *(batch.column(i).to_numpy() for i in range(4))))
            if len(under_way) > threads:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()


class _Line:
    """Rows in the order of keys and moments, and what was laid at each of them."""

    def __init__(self, codes: Ints, moments: Ints) -> None:
        self._first, self._last = int(moments.min()), int(moments.max())
        self._bits = (self._last - self._first + 1).bit_length()
        self._steps: Ints | None = None  # moments of rows, if they and the keys together do not fit into a number
        if self._bits + int(codes.max()).bit_length() > _BITS:
            self._steps = np.unique(moments)
            self._bits = len(self._steps).bit_length()
        places = self._places(codes, moments)
        self._order = np.argsort(places)
        self._line = places[self._order]
        self._codes = codes[self._order]
        self._end = np.append(self._codes, _NONE)  # behind the last row
        n = len(codes)
        self._events, self._rows, self._tied = np.zeros(n, np.int64), np.full(n, _NONE), np.zeros(n, bool)

    def lay(self, codes: Ints, events: Ints, visible: Ints, rows: Ints) -> _Laid:
        """Lay readings at the first rows of their keys that see them; of each row's, the latest event stays."""
        places = self._places(codes, visible)
        order = np.argsort(places)
        at = np.searchsorted(self._line, places[order])
        mine = self._end[at] == codes[order]  # others are visible after the last row of their key
        order, at = order[mine], at[mine]
        starts = np.flatnonzero(np.diff(at, prepend=_NONE))
        if not len(starts):
            return _Laid(at, at, at, mine[:0])
        events = events[order]
        latest = np.maximum.reduceat(events, starts)
        best = np.flatnonzero(events == np.repeat(latest, np.diff(starts, append=len(at))))
        heads = np.flatnonzero(np.diff(at[best], prepend=_NONE))
        return _Laid(at[starts], latest, rows[order[best[heads]]], np.diff(heads, append=len(best)) > 1)

    def keep(self, laid: _Laid) -> None:
        """Let the latest event stay at each row, over all batches so far."""
        at = laid.places
        free, held = self._rows[at] == _NONE, self._events[at]
        later = free | (laid.events > held)
        self._tied[at] = np.where(later, laid.tied, self._tied[at] | (laid.events == held))
        self._rows[at] = np.where(later, laid.rows, self._rows[at])
        self._events[at] = np.where(later, laid.events, held)

    def leaders(self) -> Leaders:
        """The readings that lead, by the position of the rows."""
        laid = np.flatnonzero(self._rows != _NONE)
        events, ranks = np.unique(self._events[laid], return_inverse=True)
        height = self._codes[laid] * (len(events) + 1) + ranks
        highest = np.maximum.accumulate(height)
        rises = np.flatnonzero(np.diff(highest, prepend=_NONE))
        if not len(rises):
            return Leaders(laid, laid, laid, self._tied[:0])
        readings_at_top = np.where(height == highest, 1 + self._tied[laid], 0)
        tied = np.add.reduceat(readings_at_top, rises) > 1
        # The last rise at or before a row is its reading's, if it is one of the same key.
        last = np.searchsorted(laid[rises], np.arange(len(self._codes)), side="right") - 1
        leads = laid[rises][last]
        there = np.flatnonzero((last >= 0) & (self._codes[leads] == self._codes))
        leads, last = leads[there], last[there]
        return Leaders(self._order[there], self._rows[leads], self._events[leads], tied[last])

    def _places(self, codes: Ints, moments: Ints) -> Ints:
        """Numbers in the order of keys and, within each, of moments as far as rows can tell them apart."""
        if self._steps is None:
            steps = np.clip(moments, self._first, self._last + 1) - self._first
        else:
            steps = np.searchsorted(self._steps, moments)
        return codes << self._bits | steps

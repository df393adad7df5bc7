"""The leading readings against a loop over the definition, whatever the batches, keys and moments."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mlops.features.asof.leaders import leaders

Reading = tuple[int, int, int]  # code, event, visible
FAR = 2**61  # so far apart that a key and a moment no longer fit into one number


def batches(readings: list[Reading], size: int) -> Iterator[pa.RecordBatch]:
    """Readings as they come from a query, numbered by their place."""
    for first in range(0, len(readings), size):
        part = readings[first : first + size]
        columns = [*zip(*part, strict=True), range(first, first + len(part))]
        yield pa.record_batch([pa.array(c, pa.int64()) for c in columns], names=["code", "event", "visible", "row"])


moments = st.one_of(st.integers(-3, 9), st.sampled_from([-FAR, FAR, FAR + 1]))
readings = st.tuples(st.integers(0, 3), moments, st.integers(0, 4)).map(lambda r: (r[0], r[1], r[1] + r[2]))


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), moments), max_size=12),
    st.lists(readings, max_size=30),
    st.integers(1, 7),
    st.integers(1, 3),
)
@example(
    [(0, 5), (1, 2)], [(0, 6, 6), (1, 1, 1)], 9, 1
)  # visible after its key's last row, before the next key's first
def test_the_latest_visible_event_leads(
    rows: list[tuple[int, int]], history: list[Reading], size: int, threads: int
) -> None:
    """Of each row's key, the latest event among those visible by the row's moment; told where it may not be alone."""
    codes, times = (np.array([r[i] for r in rows], dtype=np.int64) for i in (0, 1))
    found = leaders(codes, times, batches(history, size), threads)
    led = {
        int(ask): (int(row), int(event), bool(t))
        for ask, row, event, t in zip(found.asks, found.rows, found.events, found.tied, strict=True)
    }
    assert len(led) == len(found.asks)
    for ask, (code, moment) in enumerate(rows):
        seen = [(event, row) for row, (c, event, visible) in enumerate(history) if c == code and visible <= moment]
        if not seen:
            assert ask not in led
            continue
        row, event, tied = led[ask]
        latest = [row for event_, row in seen if event_ == max(seen)[0]]
        assert event == max(seen)[0]
        assert tied or latest == [row]


@pytest.mark.parametrize("apart", [1, FAR // 1_000])
def test_rows_with_one_leader_are_not_called_tied(apart: int) -> None:
    """A history without equal events has no ties, so nothing is looked at twice."""
    rng = np.random.default_rng(3)
    history = [
        (int(c), int(e) * apart, int(e + d) * apart)
        for c, e, d in zip(rng.integers(0, 5, 400), rng.permutation(400), rng.integers(0, 50, 400), strict=True)
    ]
    rows = rng.integers(0, 5, 200), rng.integers(0, 450, 200) * apart
    found = leaders(*rows, batches(history, 64), 2)
    assert len(found.asks) > 190
    assert not found.tied.any()

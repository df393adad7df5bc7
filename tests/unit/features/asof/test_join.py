"""The as-of join against a loop over the definition, on whatever histories Hypothesis thinks of."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from feast import FileSource
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlops.features.asof.asking import asked
from mlops.features.asof.history import History
from mlops.features.asof.question import Question
from mlops.features.asof.session import Limits

LIMITS = Limits(memory="256MB", threads=2, spill=None)
# An hour before clocks in Berlin go forward, and on 25 October back: wall times are skipped and repeated.
STARTS = (datetime(2026, 3, 28, 23, 30, tzinfo=UTC), datetime(2026, 10, 24, 23, 30, tzinfo=UTC))
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu")

Row = tuple[Any, ...]


def oracle(rows: list[Row], source: list[Row], ttl: timedelta, *, known: bool) -> list[Row | None]:
    """The definition, word by word: rows are (keys…, moment), readings (keys…, event, created, f, g)."""
    answers: list[Row | None] = []
    for *keys, moment in rows:
        best: Row | None = None
        for *stored, event, created, f, g in source:
            if moment is None or event is None or None in keys or stored != keys:
                continue
            if event > moment or (ttl and event < moment - ttl):
                continue
            if known and (created is None or created > moment):
                continue
            rank = (
                event,
                *(
                    part
                    for x in (created, f, g)
                    for part in (x is not None, 0 if x is None else x.timestamp() if isinstance(x, datetime) else x)
                ),
            )
            if best is None or rank > best[0]:
                best = (rank, f, g)
        answers.append(None if best is None else best[1:])
    return answers


def question(path: Path, ttl: timedelta, *, keys: int = 1, created: bool = True) -> Question:
    """Two features of a source with so many keys."""
    return Question(
        view="v",
        source=FileSource(name="s", path=str(path), timestamp_field="event"),
        keys={f"k{i}": f"key{i}" for i in range(keys)},
        event="event",
        created="created" if created else None,
        features={"f": "f", "g": "g"},
        values=("f", "g"),
        ttl=ttl,
    )


def answered(rows: pd.DataFrame, parts: list[Question], *, known: bool = True, names: str = "fg") -> list[Row | None]:
    """What the join says, as the oracle says it."""
    found = History(asked(rows), parts, known, LIMITS, None).answer()
    assert found.num_rows == len(rows)
    values = zip(*(found[name].to_pylist() for name in names), strict=True)
    return [None if f is None and g is None else (f, g) for f, g in values]


moments = st.integers(0, 12)  # of ten minutes
keys = st.sampled_from(["a", "a", "a", "b", None])
readings = st.tuples(
    keys,
    keys,
    st.sampled_from([*range(13), None]),
    st.sampled_from([0, 0, 1, 3, 6, -1, None]),  # how much later it arrived
    st.one_of(st.none(), st.integers(0, 2)),
    st.one_of(st.none(), st.integers(0, 2)),
)


@st.composite
def histories(draw: st.DrawFn) -> dict[str, Any]:
    """A history and rows to join to it."""
    start = draw(st.sampled_from(STARTS))
    step = timedelta(minutes=10)
    parts = draw(st.sampled_from([1, 1, 2, 0]))
    return {
        "keys": parts,
        "source": [
            (
                *(k1, k2)[:parts],
                None if e is None else start + e * step,
                None if e is None or d is None else start + (e + d) * step,
                f,
                g,
            )
            for k1, k2, e, d, f, g in draw(st.lists(readings, max_size=30))
        ],
        "rows": [
            (*(k1, k2)[:parts], None if m is None else start + m * step)
            for k1, k2, m in draw(st.lists(st.tuples(keys, keys, st.one_of(st.none(), moments)), max_size=12))
        ],
        "ttl": draw(st.sampled_from([timedelta(0), 3 * step])),
        "created": draw(st.sampled_from([True, True, True, False])),
        "known": draw(st.sampled_from([True, True, True, False])),
        "unit": draw(st.sampled_from(["us", "ns", "ms"])),
        "zone": draw(st.sampled_from(ZONES)),
        "stored_zone": draw(st.sampled_from([None, *ZONES])),
        "files": draw(st.integers(1, 3)),
    }


def written(folder: Path, drawn: dict[str, Any]) -> None:
    """The history as some Parquet files."""
    names = [*(f"k{i}" for i in range(drawn["keys"])), "event", "created", "f", "g"]
    stamp = pa.timestamp(drawn["unit"], "UTC")
    types = [*[pa.string()] * drawn["keys"], stamp, stamp, pa.int64(), pa.int64()]
    for old in folder.glob("*.parquet"):
        old.unlink()
    for i in range(drawn["files"]):
        part = drawn["source"][i :: drawn["files"]]
        table = pa.table(
            {n: pa.array([r[j] for r in part], t) for j, (n, t) in enumerate(zip(names, types, strict=True))}
        )
        stored = pa.timestamp(drawn["unit"], drawn["stored_zone"])
        table = table.cast(pa.schema([(n, stored if t == stamp else t) for n, t in zip(names, types, strict=True)]))
        pq.write_table(table, folder / f"{i}.parquet")


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(histories())
def test_the_join_is_what_the_definition_says(tmp_path: Path, drawn: dict[str, Any]) -> None:
    """Ties, corrections, late rows, nulls, composite keys, zones, clock changes, units: the loop's answer."""
    written(tmp_path, drawn)
    frame = pd.DataFrame(drawn["rows"], columns=[*(f"key{i}" for i in range(drawn["keys"])), "event_timestamp"])
    times = pd.to_datetime(frame["event_timestamp"], utc=True).dt.tz_convert(drawn["zone"])
    part = question(tmp_path, drawn["ttl"], keys=drawn["keys"], created=drawn["created"])
    found = answered(frame.assign(event_timestamp=times), [part], known=drawn["known"])
    source = drawn["source"] if drawn["created"] else [(*r[:-3], None, *r[-2:]) for r in drawn["source"]]
    expected = oracle(drawn["rows"], source, drawn["ttl"], known=drawn["known"] and drawn["created"])
    assert found == [None if e == (None, None) else e for e in expected]


def test_the_moments_of_arrival_and_expiry_count_themselves(tmp_path: Path) -> None:
    """A late reading joins from its very arrival on, one that came early not before it happened; a ttl ends after."""
    step, start = timedelta(minutes=10), STARTS[0]
    history = [("a", e, c, f) for f, (e, c) in enumerate([(0, 0), (1, 3), (5, 1), (2, 9)])]
    drawn = {
        "keys": 1,
        "source": [(k, start + e * step, start + c * step, f, None) for k, e, c, f in history],
        "unit": "us",
        "stored_zone": "UTC",
        "files": 1,
    }
    written(tmp_path, drawn)
    rows = pd.DataFrame({"key0": "a", "event_timestamp": [start + m * step for m in (2, 3, 4, 5, 8, 9)]})
    found = answered(rows, [question(tmp_path, 3 * step)])
    assert found == [(0, None), (1, None), (1, None), (2, None), (2, None), None]


def test_columns_may_be_called_what_duckdb_calls_the_place_of_a_row(tmp_path: Path) -> None:
    """A source with a column `file_index` and `File_Row_Number` is joined by its rows all the same."""
    times = pa.array([STARTS[0], STARTS[0] + timedelta(minutes=10)], pa.timestamp("us", "UTC"))
    readings = {"k0": ["a", "a"], "event": times, "created": times, "f": [1, 2], "g": [3, 4]}
    places = {"file_index": [0, 0], "File_Row_Number": [1, 1]}
    pq.write_table(pa.table(readings | places), tmp_path / "s.parquet")
    rows = pd.DataFrame({"key0": "a", "event_timestamp": [STARTS[0] + timedelta(minutes=m) for m in (5, 15)]})
    assert answered(rows, [question(tmp_path, timedelta(0))]) == [(1, 3), (2, 4)]


def test_a_correction_counts_from_its_arrival_on_whichever_file_it_is_in(tmp_path: Path) -> None:
    """Of two readings of one moment, in two files, each row gets the one that had arrived by then."""
    step, start = timedelta(minutes=10), STARTS[0]
    history = [("a", start, start + c * step, f, None) for f, c in enumerate((0, 3))]
    written(tmp_path, {"keys": 1, "source": history, "unit": "us", "stored_zone": "UTC", "files": 2})
    rows = pd.DataFrame({"key0": "a", "event_timestamp": [start + m * step for m in (1, 2, 3, 4)]})
    assert answered(rows, [question(tmp_path, timedelta(0))]) == [(0, None), (0, None), (1, None), (1, None)]
    apart = [("a", start, start, 0, None), ("b", start, start, 1, None)]
    written(tmp_path, {"keys": 1, "source": apart, "unit": "us", "stored_zone": "UTC", "files": 2})
    both = pd.DataFrame({"key0": ["b", "a"], "event_timestamp": start + step})
    assert answered(both, [question(tmp_path, timedelta(0))]) == [(1, None), (0, None)]


def test_views_of_one_source_do_not_mix_their_answers(tmp_path: Path) -> None:
    """Views that share a source but not their time to live, keys or ties get each its own; those that do, the same."""
    step, start = timedelta(minutes=10), STARTS[0]
    history = [("a", "b", start, start, 1, 5), ("a", "b", start, start, 2, 4), ("b", "a", start + 3 * step, None, 7, 7)]
    history += [("b", "c", start + step, start + 4 * step, 8, 8)]
    written(tmp_path, {"keys": 2, "source": history, "unit": "us", "stored_zone": "UTC", "files": 2})
    rows = pd.DataFrame({"key0": ["a", "b"], "key1": ["b", "a"], "event_timestamp": [start + m * step for m in (2, 4)]})
    first = dataclasses.replace(question(tmp_path, timedelta(0)), keys={"k0": "key0"})
    others = {
        "same": (first, [(2, 4), (8, 8)]),
        "tied": (dataclasses.replace(first, values=("g", "f")), [(1, 5), (8, 8)]),
        "short": (dataclasses.replace(first, ttl=step), [None, None]),
        "other": (dataclasses.replace(first, keys={"k1": "key0"}), [None, (2, 4)]),
        "both": (question(tmp_path, timedelta(0), keys=2), [(2, 4), None]),
        "no_arrival": (dataclasses.replace(first, created=None), [(2, 4), (7, 7)]),
    }
    for other, expected in others.values():
        renamed = dataclasses.replace(other, features={"p": "f", "q": "g"})
        for parts in ([first, renamed], [renamed, first]):
            assert answered(rows, parts) == [(2, 4), (8, 8)]
            assert answered(rows, parts, names="pq") == expected

"""What is wrong with a request that is no request, in words: the field, what was expected, what came.

It is looked at only after the quick pass has refused it. A document of eight megabytes may hold a million faults: the
first few are told, and no more is looked for.

One rule: whatever came, to say what is wrong with it takes no longer than to read it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any

from mlops.errors import did_you_mean

MAX_PROBLEMS = 5
_LARGEST = 10**308
_ONE = ("model", "request_id", "unit", "contributions", "features", "entity", "event_timestamp")
_BATCH = (*_ONE[:4], "rows", "columns", "data", "entities", "event_timestamps")


def first(found: Iterable[str]) -> tuple[str, ...]:
    """The problems that are told."""
    return tuple(islice(found, MAX_PROBLEMS))


def problems(document: Any, features: Sequence[str], *, batch: bool, max_rows: int) -> tuple[str, ...]:
    """The first problems of a document, one sentence per field; () if none is found.

    Args:
        document: as decoded.
        features: of the model.
        batch: whether several rows were expected.
        max_rows: no more rows are looked at.
    """
    if not isinstance(document, dict):
        return (f"The body: expected an object, {came(document)} came.",)
    found = _batch_problems(document, features, max_rows) if batch else _one_problems(document, features)
    return first(chain(_unknown(document, _BATCH if batch else _ONE, ""), found))


def names(given: Any, features: Sequence[str], where: str) -> Iterator[str]:
    """Features that are missing, and names that are none."""
    yield from (f"{where}.{name}: missing, expected a number or null." for name in features if name not in given)
    yield from _unknown(given, features, f"{where}.")


def not_a_number(value: Any) -> str:
    """Why a JSON value is neither a finite number nor null; "" if it is one."""
    if value is None or isinstance(value, float):
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        return "" if abs(value) <= _LARGEST else "expected a finite number, one beyond all floats came."
    return f"expected a number or null, {came(value)} came."


def came(value: Any) -> str:
    """What a JSON value is, in words, shortened.

    >>> came("12.5"), came(True), came([1, 2]), came(None)
    ("the text '12.5'", 'the boolean true', 'a list of 2', 'null')
    """
    if isinstance(value, str):
        return f"the text {value[:40]!r}"
    if isinstance(value, bool):
        return f"the boolean {str(value).lower()}"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return "an object"
    return "null" if value is None else f"the number {shown(str(value))}"


def shown(text: str, most: int = 64) -> str:
    """A caller's text as it is said back to it: not more characters of it than help.

    >>> shown("temp"), len(shown("x" * 1_000_000))
    ('temp', 65)
    """
    return text if len(text) <= most else f"{text[:most]}…"


def _unknown(given: Iterable[str], known: Sequence[str], where: str) -> Iterator[str]:
    what = "unknown." if where else "unknown field."
    return (f"{where}{shown(name)}: {what} {did_you_mean(shown(name), known)}" for name in given if name not in known)


def _one_problems(document: dict[str, Any], features: Sequence[str]) -> Iterator[str]:
    row = document.get("features")
    if row is not None:
        yield from _row_problems(row, features, "features")


def _batch_problems(document: dict[str, Any], features: Sequence[str], max_rows: int) -> Iterator[str]:
    rows, data = document.get("rows"), document.get("data")
    if rows is not None and not isinstance(rows, list):
        yield f"rows: expected a list of objects, {came(rows)} came."
    for i, row in enumerate(rows[:max_rows] if isinstance(rows, list) else ()):
        yield from _row_problems(row, features, f"rows[{i}]")
    for i, row in enumerate(data[:max_rows] if isinstance(data, list) else ()):
        yield from _list_problems(row, len(features), f"data[{i}]")


def _row_problems(row: Any, features: Sequence[str], where: str) -> Iterator[str]:
    if not isinstance(row, dict):
        yield f"{where}: expected an object of {len(features)} numbers, {came(row)} came."
        return
    yield from names(row, features, where)
    for name in features:
        if name in row and (said := not_a_number(row[name])):
            yield f"{where}.{name}: {said}"


def _list_problems(row: Any, width: int, where: str) -> Iterator[str]:
    if not isinstance(row, list) or len(row) != width:
        given = f"{len(row)} values" if isinstance(row, list) else came(row)
        yield f"{where}: expected a list of {width} numbers, {given} came."
        return
    yield from (f"{where}[{j}]: {said}" for j, value in enumerate(row) if (said := not_a_number(value)))

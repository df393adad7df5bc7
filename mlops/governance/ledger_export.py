"""The ledger as a file of JSON lines: one entry a line as it is stored, the record of the last entry at the end.

What was exported can be verified without the database, and a database can be held against it: an old export kept
elsewhere shows what nobody can see from the database alone, that its newest entries were taken away together with the
record of them.

One rule: lines are written and read one at a time, so that a file may be larger than memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from mlops.errors import LedgerError
from mlops.governance.chain import Head, Row, Verification, follow

_HEAD_KEY = "ledger_head"


def lines(rows: Iterable[Row], head: Head | None) -> Iterator[str]:
    """The text of an export, line by line."""
    for row in rows:
        yield json.dumps(row._asdict())
    if head is not None:
        yield json.dumps({_HEAD_KEY: head._asdict()})


def verify_file(path: Path, keys: Mapping[str, bytes]) -> Verification:
    """Follow the chain in an exported file.

    Args:
        path: written from `lines`.
        keys: secrets by key id; empty: seals cannot be checked.

    Raises:
        LedgerError: the file cannot be read, or a line of it is not what an export holds.
    """
    with _opened(path) as file:
        heads: list[Head] = []
        entries = _entries(file, path, heads)
        return follow(entries, lambda: heads[-1] if heads else None, keys)


def compare(rows: Iterable[Row], path: Path) -> list[str]:
    """Where entries are no longer what they were when a file was exported, in words; later ones are no difference.

    Args:
        rows: the entries now, in order.
        path: an export made before.

    Raises:
        LedgerError: the file cannot be read, or a line of it is not what an export holds.
    """
    problems: list[str] = []
    now = iter(rows)
    current = next(now, None)
    with _opened(path) as file:
        for then in _entries(file, path, []):
            while current is not None and current.seq < then.seq:
                problems.append(f"entry {current.seq}: is not in {path.name}, which holds later ones")
                current = next(now, None)
            if current is None or current.seq > then.seq:
                problems.append(f"entry {then.seq}: is in {path.name} and missing now")
            else:
                if current != then:
                    changed = [name for name in Row._fields if getattr(current, name) != getattr(then, name)]
                    problems.append(f"entry {then.seq}: {', '.join(changed)} differ from {path.name}")
                current = next(now, None)
    return problems


def _entries(file: IO[str], path: Path, heads: list[Head]) -> Iterator[Row]:
    """The entries of a file; the record of the last one goes to `heads`."""
    for number, line in enumerate(file, start=1):
        try:
            found: dict[str, Any] = json.loads(line)
            if _HEAD_KEY in found:
                heads.append(Head(**found[_HEAD_KEY]))
            else:
                yield Row(**found | {"seq": int(found["seq"])})
        except (ValueError, TypeError, KeyError) as error:
            raise LedgerError(
                f"Line {number} of {path} is not an entry of a ledger: {error}.",
                hint="The file was edited, cut off or is something else; export again.",
            ) from error


def _opened(path: Path) -> IO[str]:
    try:
        return path.open(encoding="utf-8")
    except OSError as error:
        raise LedgerError(
            f"{path} cannot be read: {error.strerror}.", hint="Name a file of `mlops ledger export`."
        ) from error

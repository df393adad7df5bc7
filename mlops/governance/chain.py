"""The chain of ledger entries as plain values: how an entry is hashed and sealed, and how a broken chain is found.

Each hash covers everything an entry says and the hash before it; a seal is an HMAC of that hash with a key that is not
in the database. The hash alone finds what was edited, dropped or moved. The seal finds what somebody without the key
has written, even with all hashes computed right.

One rule: what cannot be checked, because its key is not here, is "cannot tell": neither whole nor broken.

References:
    Schneier, B. and Kelsey, J. (1999), Secure audit logs to support computer forensics, ACM TISSEC 2.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from json.encoder import encode_basestring_ascii as _quoted
from typing import Any, Literal, NamedTuple

FIELDS = ("seq", "model", "kind", "key", "actor", "at", "body", "previous", "sealed_by", "hash", "seal")
MAX_PROBLEMS = 1000  # kept in words; further ones are counted
ROTATION = "key_rotated"  # kind of the entry by which one key announces the next
_LISTED = 20  # more missing entries in a row than this are named as a range


class Row(NamedTuple):
    """An entry as it is stored."""

    seq: int
    model: str
    kind: str
    key: str | None
    actor: str
    at: str  # ISO 8601, UTC, microseconds
    body: str  # canonical JSON
    previous: str
    sealed_by: str | None  # id of the key; None: made without one
    hash: str
    seal: str | None


class Head(NamedTuple):
    """Number and hash of the last entry, with a seal of its own: it betrays entries cut off at the end."""

    seq: int
    hash: str
    sealed_by: str | None = None
    seal: str | None = None


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found when a chain was followed from its first entry to its last."""

    entries: int
    last_seq: int
    last_hash: str  # keep it elsewhere: it speaks for all entries up to `last_seq`
    problems: tuple[str, ...] = ()  # one per place where the chain is broken, each begins with the entry's number
    more_problems: int = 0  # found beyond those in `problems`
    unknown: tuple[str, ...] = ()  # what could not be checked, and why
    notes: tuple[str, ...] = ()  # worth knowing, nothing wrong
    sealed: int = 0  # entries whose seal was found right
    keys: tuple[str, ...] = ()  # ids of the keys that sealed them

    @property
    def verdict(self) -> Literal["whole", "broken", "cannot_tell"]:
        """Broken where something is wrong, else cannot_tell where something could not be checked, else whole."""
        if self.problems:
            return "broken"
        return "cannot_tell" if self.unknown else "whole"


def hash_of(row: Mapping[str, Any] | Row) -> str:
    """sha256 over all that an entry says: the JSON list of its fields, without blanks.

    >>> say = {"seq": 1, "model": "m", "kind": "k", "key": None, "actor": "a", "at": "t", "body": "{}", "previous": ""}
    >>> hash_of(say) == hashlib.sha256(b'[1,"m","k",null,"a","t","{}",""]').hexdigest()
    True
    """
    get = row._asdict() if isinstance(row, Row) else row
    return _hash(*(get.get(name) for name in FIELDS[:9]))  # type: ignore[arg-type]


def _hash(
    seq: int,
    model: str,
    kind: str,
    key: str | None,
    actor: str,
    at: str,
    body: str,
    previous: str,
    sealed_by: str | None,
) -> str:
    named = "null" if key is None else _quoted(key)
    text = f"[{seq},{_quoted(model)},{_quoted(kind)},{named},{_quoted(actor)},{_quoted(at)},{_quoted(body)}"
    sealer = "" if sealed_by is None else f",{_quoted(sealed_by)}"
    return hashlib.sha256(f"{text},{_quoted(previous)}{sealer}]".encode()).hexdigest()


def entry_seal(secret: bytes, entry_hash: str) -> str:
    """HMAC-SHA256 that says: who holds the key wrote the entry of this hash."""
    return hmac.digest(secret, b"entry\n" + entry_hash.encode(), "sha256").hex()


def head_seal(secret: bytes, seq: int, entry_hash: str) -> str:
    """HMAC-SHA256 that says: who holds the key had this entry for the last one."""
    return hmac.digest(secret, f"head\n{seq}\n{entry_hash}".encode(), "sha256").hex()


@dataclass
class _Findings:
    """Problems in words, bounded in number."""

    problems: list[str] = field(default_factory=list)
    more: int = 0

    def add(self, problem: str) -> None:
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(problem)
        else:
            self.more += 1

    def missing(self, first: int, last: int, where: str = "") -> None:
        if last - first < _LISTED:
            for seq in range(first, last + 1):
                self.add(f"entry {seq}: missing{where}")
        else:
            self.add(f"entry {first}: missing{where}, and all up to entry {last}")


@dataclass
class _Seals:
    """Follows the seals along the chain: which keys, in which order, and what no key is here for."""

    keys: Mapping[str, bytes]  # by id, the oldest generation first
    found: _Findings
    right: dict[str, int] = field(default_factory=dict)  # key id -> entries
    lost: dict[str, list[int]] = field(default_factory=dict)  # key id not here -> [entries, first, last]
    announced: set[str] = field(default_factory=set)
    bare: int = 0  # entries without a seal before the first that has one
    first_sealed: int = 0
    generation: int = -1
    by: str = ""

    def look(self, row: Row, *, content_holds: bool) -> None:
        """Check one entry's seal, and that a retired key was not used again."""
        if row.sealed_by is None:
            self._without(row)
            return
        self.first_sealed = self.first_sealed or row.seq
        secret = self.keys.get(row.sealed_by)
        if secret is None:
            if self.right and row.sealed_by not in self.announced:
                self.found.add(f"entry {row.seq}: names key {row.sealed_by}, which no key here announced (by hand)")
                return
            span = self.lost.setdefault(row.sealed_by, [0, row.seq, row.seq])
            span[0] += 1
            span[2] = row.seq
            return
        if not content_holds:
            return  # named already: no seal can be right for it
        if row.seal != entry_seal(secret, row.hash):
            self.found.add(f"entry {row.seq}: its seal was not made with key {row.sealed_by} (written by hand)")
            return
        place = list(self.keys).index(row.sealed_by) if row.sealed_by != self.by else self.generation
        if place < self.generation:
            self.found.add(f"entry {row.seq}: sealed with key {row.sealed_by}, which {self.by} had replaced before")
        else:
            self.generation, self.by = place, row.sealed_by
        self.right[row.sealed_by] = self.right.get(row.sealed_by, 0) + 1
        if row.kind == ROTATION:
            self.announced.add(str(json.loads(row.body).get("to")))

    def _without(self, row: Row) -> None:
        if row.seal is not None:
            self.found.add(f"entry {row.seq}: has a seal but names no key (edited)")
        elif self.first_sealed:
            self.found.add(f"entry {row.seq}: has no seal, though entry {self.first_sealed} has one (written by hand)")
        else:
            self.bare += 1

    def unknown(self, entries: int) -> list[str]:
        """What could not be checked, in words."""
        words = [
            f"{count:,} {'entry' if count == 1 else 'entries'} ({_span(first, last)}) sealed with key {name}, which is "
            f"not here: whether they were written by hand cannot be told"
            for name, (count, first, last) in self.lost.items()
        ]
        if entries and self.bare == entries:
            here = "although there is a key here" if self.keys else "and there is no key here"
            words.append(f"no entry is sealed, {here}: whether they were written by hand cannot be told")
        return words

    def notes(self) -> list[str]:
        """What is worth knowing though nothing is wrong."""
        if not self.bare or not self.first_sealed:
            return []
        return [
            f"{_span(1, self.bare)} were made without a key; the seal of entry {self.first_sealed} speaks for them as "
            f"they stood then"
        ]


def follow(rows: Iterable[Row], head: Callable[[], Head | None], keys: Mapping[str, bytes]) -> Verification:
    """Follow a chain from its first entry to its last, holding one entry at a time.

    Args:
        rows: in the order of `seq`.
        head: asked at the end for what is recorded of the last entry; None if that record is gone.
        keys: secrets by key id, the oldest generation first; empty: seals cannot be checked.
    """
    found = _Findings()
    seals = _Seals(keys, found)
    expected, previous, count, last = 1, "", 0, 0
    for row in rows:
        count += 1
        seq: Any = row.seq  # SQLite keeps whatever it is given
        if not isinstance(seq, int):
            found.add(f"entry {seq!r}: that is no number of an entry (written by hand)")
            continue
        if seq < expected:
            why = (
                "entries begin with 1 (written by hand)"
                if seq < 1
                else f"stands again, or too late, after entry {last}"
            )
            found.add(f"entry {seq}: {why}")
            continue
        if seq > expected:
            found.missing(expected, seq - 1)
        holds = _content_holds(row)
        if not holds:
            found.add(f"entry {seq}: its content is not what was sealed (edited or moved)")
        elif seq == expected and row.previous != previous:
            found.add(f"entry {seq}: it does not follow entry {seq - 1} as that stands now")
        seals.look(row, content_holds=holds)
        expected, previous, last = seq + 1, row.hash, seq
    _check_head(head(), last, previous, seals, found)
    return Verification(
        entries=count,
        last_seq=last,
        last_hash=previous,
        problems=tuple(found.problems),
        more_problems=found.more,
        unknown=tuple(seals.unknown(count)),
        notes=tuple(seals.notes()),
        sealed=sum(seals.right.values()),
        keys=tuple(seals.right),
    )


def _content_holds(row: Row) -> bool:
    try:
        return _hash(*row[:9]) == row.hash
    except TypeError:  # a column holds something that is no text
        return False


def _check_head(head: Head | None, last: int, last_hash: str, seals: _Seals, found: _Findings) -> None:
    if head is None:
        found.add(f"entry {last}: nothing says that it is the last one (ledger_head is empty)")
        return
    number: Any = head.seq
    if not isinstance(number, int):
        found.add(f"entry {last}: that it is the last one was written by hand: {number!r} is no number of an entry")
        return
    if head.seq > last:
        found.missing(last + 1, head.seq, " at the end")
        return
    if (head.seq, head.hash) != (last, last_hash):
        found.add(f"entry {last}: it should be entry {head.seq} with hash {head.hash[:12]} that comes last")
        return
    if head.sealed_by is None and head.seal is None:
        if seals.first_sealed:
            found.add(f"entry {last}: that it is the last one was written by hand; entries after it may be gone")
        return
    secret = seals.keys.get(head.sealed_by or "")
    if secret is None:
        if head.sealed_by not in seals.lost:
            found.add(
                f"entry {last}: that it is the last one is sealed with a key that sealed no entry: {head.sealed_by}"
            )
        return
    if head.seal != head_seal(secret, head.seq, head.hash):
        found.add(f"entry {last}: that it is the last one was written by hand; entries after it may be gone")


def _span(first: int, last: int) -> str:
    return f"entry {first}" if first == last else f"entries {first} to {last}"

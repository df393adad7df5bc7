"""What was decided, by whom, when and on what evidence: an append-only list in which each entry seals the one before.

An entry's hash covers its number, model, kind, key, actor, time, body and the hash of the entry before it, and a seal
made with a key outside the database covers the hash. So an edited, dropped or moved entry breaks the chain at its
place, one written by hand lacks the seal, and `check` names it. A second table holds number and hash of the last entry:
it is the lock that appenders queue at, and it betrays entries cut off at the end. What this cannot show stands in
docs/ledger.md.

One rule: nothing is ever updated or deleted; the database itself refuses to.

References:
    Haber, S. and Stornetta, W. S. (1991), How to time-stamp a digital document, Journal of Cryptology 3.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from mlops.errors import LedgerError
from mlops.governance import champions
from mlops.governance.chain import ROTATION, Head, Row, Verification, entry_seal, follow, hash_of, head_seal
from mlops.governance.database import Database
from mlops.governance.ledger_export import compare, lines, verify_file
from mlops.governance.ledger_keys import LedgerKeys

_METADATA = sa.MetaData()
_ENTRIES = sa.Table(
    "ledger_entries",
    _METADATA,
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("key", sa.Text, unique=True),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("at", sa.Text, nullable=False),  # ISO 8601, UTC, microseconds: sorts as text, hashes as it stands
    sa.Column("body", sa.Text, nullable=False),  # canonical JSON, hashed as it stands
    sa.Column("previous", sa.Text, nullable=False),
    sa.Column("sealed_by", sa.Text),  # id of the key that sealed it
    sa.Column("hash", sa.Text, nullable=False, unique=True),
    sa.Column("seal", sa.Text),
)
_HEAD = sa.Table(
    "ledger_head",
    _METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
    sa.Column("sealed_by", sa.Text),
    sa.Column("seal", sa.Text),
)
_ROWS = sa.select(*(_ENTRIES.c[name] for name in Row._fields)).order_by(_ENTRIES.c.seq)
_LAST = sa.select(*(_HEAD.c[name] for name in Head._fields))
_START = "INSERT INTO ledger_head (id, seq, hash) VALUES (1, 0, '') ON CONFLICT DO NOTHING"
_GUARDS = {
    "sqlite": (
        _START,
        *(
            f"CREATE TRIGGER IF NOT EXISTS ledger_entries_no_{verb} BEFORE {verb} ON ledger_entries "
            "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"
            for verb in ("update", "delete")
        ),
    ),
    "postgresql": (
        _START,
        "CREATE OR REPLACE FUNCTION ledger_refuses() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'the ledger is append-only'; END $$",
        "CREATE OR REPLACE TRIGGER ledger_entries_guard BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_entries "
        "FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuses()",
    ),
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that was decided or done."""

    seq: int  # 1, 2, 3, … without gaps
    model: str
    kind: str  # "promotion", "approval", …
    key: str | None  # identity of the piece of work; at most one entry has it
    actor: str
    at: datetime  # UTC
    body: dict[str, Any]
    previous: str  # hash of the entry before, "" for the first
    hash: str
    sealed_by: str | None = None  # id of the key that sealed it
    seal: str | None = None


class Ledger:
    """The ledger of one installation.

    Args:
        url: SQLAlchemy URL of a SQLite file or a PostgreSQL database.
        keys: what entries are sealed with; without it they are not, and seals are not checked.
    """

    def __init__(self, url: str, keys: LedgerKeys | None = None) -> None:
        self._database = Database(url, (_ENTRIES, _HEAD), _GUARDS)
        self._keys = keys

    def session(self) -> contextlib.AbstractContextManager[None]:
        """Keep the connection open within a block that appends or asks often."""
        return self._database.session()

    def append(
        self, kind: str, model: str, body: Mapping[str, Any], *, actor: str, at: datetime, key: str | None = None
    ) -> Entry:
        """Add an entry at the end.

        Args:
            kind: what sort of thing happened.
            model: which model it is about.
            body: JSON values; NaN and infinity are refused.
            actor: who did it.
            at: when, with a time zone.
            key: identity of the piece of work. If an entry with it is there and says the same, that one is returned.

        Returns:
            The entry as it stands in the ledger.

        Raises:
            LedgerError: an entry with that key says something else, the body is not JSON, `at` has no time zone, or the
                database refused. Nothing was written.
        """
        text = canonical(body)
        moment = _moment(at)
        with self._database.writing() as connection:
            # Appenders queue here (PostgreSQL: at this row; SQLite: at the transaction's start).
            head = connection.execute(sa.select(_HEAD).with_for_update()).one_or_none()
            if key is not None:
                there = connection.execute(sa.select(_ENTRIES).where(_ENTRIES.c.key == key)).one_or_none()
                if there is not None:
                    return _same(there, kind, model, text)
            if head is None:
                raise LedgerError(
                    "The ledger has lost the record of its last entry.",
                    hint="Somebody emptied ledger_head: restore the database from a backup.",
                )
            row: dict[str, Any] = {"seq": head.seq + 1, "model": model, "kind": kind, "key": key, "actor": actor}
            row |= {"at": moment, "body": text, "previous": head.hash}
            last = self._sealed(row)
            connection.execute(sa.insert(_ENTRIES), row)
            connection.execute(sa.update(_HEAD), last)
        return _entry(row)

    def entries(self, model: str | None = None, kind: str | None = None) -> list[Entry]:
        """Entries in the order they were made, all or those of one model or kind."""
        query = sa.select(_ENTRIES).order_by(_ENTRIES.c.seq)
        if model is not None:
            query = query.where(_ENTRIES.c.model == model)
        if kind is not None:
            query = query.where(_ENTRIES.c.kind == kind)
        with self._database.reading() as connection:
            return [_entry(row._mapping) for row in connection.execute(query)]

    def by_key(self, key: str) -> Entry | None:
        """The entry of a piece of work, or None."""
        with self._database.reading() as connection:
            row = connection.execute(sa.select(_ENTRIES).where(_ENTRIES.c.key == key)).one_or_none()
        return None if row is None else _entry(row._mapping)

    def history(self, model: str) -> list[Entry]:
        """The entries that made somebody champion of a model, oldest first: promotions and rollbacks, no refusals."""
        return champions.moves(entry for kind in champions.MOVES for entry in self.entries(model, kind))

    def champion_at(self, model: str, time: datetime) -> Entry | None:
        """The entry that made who was champion at `time`; None before the first.

        Raises:
            LedgerError: `time` has no time zone.
        """
        _moment(time)
        history = self.history(model)
        reign = champions.champion_at(champions.reigns(history), time)
        return next((entry for entry in history if reign and entry.seq == reign.entry_seq), None)

    def rows(self) -> Iterator[Row]:
        """All entries as they are stored, one after the other, however many there are."""
        with self._database.streaming() as connection:
            yield from map(Row._make, connection.execute(_ROWS))

    def check(self) -> Verification:
        """Follow the chain from the first entry to the last; appends at the same time do not disturb it."""
        keys = self._keys.all() if self._keys is not None else {}
        with self._database.streaming() as connection:
            found = connection.execute(_LAST).one_or_none()
            head = None if found is None else Head._make(found)
            return follow(map(Row._make, connection.execute(_ROWS)), lambda: head, keys)

    def verify(self) -> list[str]:
        """Every place where the chain is broken, in words, with the entry's number; `check` says more."""
        found = self.check()
        more = [f"and {found.more_problems:,} more"] if found.more_problems else []
        return [*found.problems, *more]

    def check_file(self, path: Path) -> Verification:
        """Follow the chain in an exported file, with the keys of this ledger.

        Raises:
            LedgerError: the file cannot be read, or is no export.
        """
        return verify_file(path, self._keys.all() if self._keys is not None else {})

    def differences(self, path: Path) -> list[str]:
        """Where entries are no longer what they were when `path` was exported, in words.

        Raises:
            LedgerError: the file cannot be read, or is no export.
        """
        return compare(self.rows(), path)

    def export(self) -> Iterator[str]:
        """Lines of JSON: every entry, then the record of the last one; all as of one instant."""
        with self._database.streaming() as connection:
            found = connection.execute(_LAST).one_or_none()
            yield from lines(map(Row._make, connection.execute(_ROWS)), None if found is None else Head._make(found))

    def rotate_key(self, *, actor: str, at: datetime) -> str:
        """Seal with a new key from now on; the old one announces it, and stays to verify what it sealed.

        Returns:
            The id of the new key.

        Raises:
            LedgerError: this ledger has no keys, or their file cannot be written. Doing it again finishes it.
        """
        if self._keys is None:
            raise LedgerError("This ledger has no keys.", hint="Set MLOPS_LEDGER_KEY_FILE.")
        there = self._keys.all()
        new = self._keys.add()
        if there:
            body = {"purpose": "ledger", "from": self._keys.current().id, "to": new}
            self.append(ROTATION, "", body, actor=actor, at=at, key=f"ledger/key/{new}")
            self._keys.use(new)
        return new

    def _sealed(self, row: dict[str, Any]) -> dict[str, Any]:
        """Complete a row with key id, hash and seal; the answer is what is recorded of it as the last one."""
        key = None if self._keys is None else self._keys.current()
        row["sealed_by"] = key and key.id
        row["hash"] = hash_of(row)
        row["seal"] = key and entry_seal(key.secret, row["hash"])
        last = key and head_seal(key.secret, row["seq"], row["hash"])
        return {"seq": row["seq"], "hash": row["hash"], "sealed_by": row["sealed_by"], "seal": last}


def canonical(value: Mapping[str, Any]) -> str:
    """A JSON object as the one text that is hashed: keys sorted, no blanks, ASCII.

    Raises:
        LedgerError: it holds something that is not JSON.

    >>> canonical({"b": 1, "a": "°"})
    '{"a":"\\\\u00b0","b":1}'
    """
    try:
        return json.dumps(dict(value), sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise LedgerError(
            f"The body of a ledger entry must be JSON: {error}.",
            hint="Pass a record through `to_dict`; leave out numbers that are NaN or infinite.",
        ) from error


def _same(row: sa.Row[Any], kind: str, model: str, text: str) -> Entry:
    if (row.kind, row.model, row.body) != (kind, model, text):
        raise LedgerError(
            f"Entry {row.seq} already has the key {row.key!r} and says something else ({row.kind}, {row.model}).",
            hint="The ledger is append-only: use another key for another decision.",
        )
    return _entry(row._mapping)


def _entry(row: Mapping[Any, Any]) -> Entry:
    fields = dict(row)
    return Entry(**fields | {"at": datetime.fromisoformat(fields["at"]), "body": json.loads(fields["body"])})


def _moment(at: datetime) -> str:
    if at.tzinfo is None:
        raise LedgerError(f"{at.isoformat()} has no time zone.", hint="Pass a time such as datetime.now(UTC).")
    return at.astimezone(UTC).isoformat(timespec="microseconds")

"""The one way in which the champion of a model changes: forwards by promotion, backwards by rollback.

    lease ─► intent in the ledger ─► fence ─► alias, read back ─► stages ─► completion in the ledger ─► look again

The intent holds the whole record, so that whoever comes next can finish what was cut short, and writes the same entry.
An intent is closed once: by its completion or by `…_undone`, under one key, so that of two processes that want to close
it differently the ledger lets one through. MLflow's alias has no compare-and-swap: the lease, the fence right before
the move and the look afterwards stand in for it, and the reconciler finds what still slips through.

One rule: the ledger says who is champion; alias and stages follow it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from mlops import log
from mlops.errors import LeaseError, LedgerError, PromotionError, RegistryError
from mlops.governance import champions
from mlops.governance.champions import Reign
from mlops.governance.leases import Lease
from mlops.governance.ledger import Entry
from mlops.records import PromotionRecord, from_dict, to_dict
from mlops.services import Services

LEASE_SECONDS = 30  # many times what a change takes
WAIT_SECONDS = 40  # longer than a process that was killed can keep the lease
_FIELDS = frozenset(field.name for field in dataclasses.fields(PromotionRecord))
_log = log.get(__name__)
_TIMES = ("decided_at", "entry_hash", "date")  # may differ from try to try


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a model stands: what the ledger says, and where the alias points."""

    model: str
    entries: tuple[Entry, ...]
    reigns: tuple[Reign, ...]
    alias: int | None  # version that the alias `champion` points to

    @property
    def reign(self) -> Reign | None:
        """The reign that lasts."""
        return self.reigns[-1] if self.reigns else None

    @property
    def version(self) -> int | None:
        """The champion's version, by the ledger."""
        return self.reigns[-1].version if self.reigns else None


def standing(services: Services, model: str) -> Standing:
    """Where a model stands now."""
    entries = services.ledger.entries(model)
    alias = services.registry.aliases(model).get("champion")
    return Standing(model, tuple(entries), champions.reigns(entries), alias)


@contextmanager
def exclusive(services: Services, model: str, work: str) -> Iterator[Lease]:
    """The lease under which a model's champion may change.

    Args:
        services: the adapters.
        model: the model.
        work: what for, as whoever has to wait will read it.

    Raises:
        LeaseError: somebody else held it for all the time waited.
    """
    attempt = dataclasses.replace(services.attempt, who=f"{services.actor}:{work}")
    with services.leases.hold(
        f"promotion/{model}",
        str(attempt),
        LEASE_SECONDS,
        wait_seconds=WAIT_SECONDS,
        supersedes=attempt.supersedes,
    ) as lease:
        yield lease


def change(services: Services, lease: Lease, record: PromotionRecord, key: str) -> PromotionRecord:
    """Make the version of a record champion. The lease is held, and everything was checked.

    Args:
        services: the adapters.
        lease: of `exclusive`.
        record: who, instead of whom, why and on what evidence.
        key: identity of this piece of work; it has at most one completion.

    Returns:
        The record as the ledger holds it.

    Raises:
        LeaseError: somebody else took over; the champion is what they made it.
        PromotionError: afterwards the champion was not what it should be.
        RegistryError: the alias did not move.
    """
    intent = _intent(services, lease, record, key)
    services.leases.check(lease)
    return finish(services, intent)


def finish(services: Services, intent: Entry) -> PromotionRecord:
    """Carry out what an intent says; what is done already stays."""
    record = intended(intent)
    services.registry.set_alias(record.model, "champion", record.version)
    put_in_production(services, record.model, record.version, instead_of=record.previous_version)
    entry = _close(services, intent, record.kind)
    confirm(services, record)
    return dataclasses.replace(record, entry_hash=entry.hash)


def undo(services: Services, intent: Entry, reason: str) -> Entry:
    """Close an intent that was never carried out."""
    return _close(services, intent, f"{intended(intent).kind}_undone", reason)


def settle(services: Services, where: Standing, *, keep: str = "") -> Standing:
    """Finish or undo what others left half done. The lease is held.

    An intent whose version already is where the alias points is finished: consumers may have loaded it. Any other one
    is undone, except those of the piece of work `keep`, which its own run takes up again.
    """
    pending = champions.open_intents(where.entries)
    for intent in pending:
        record = intended(intent)
        if where.alias == record.version and where.version == record.previous_version:
            finish(services, intent)
        elif not keep or not _belongs(intent, keep):
            undo(services, intent, "It was cut short before the alias moved.")
        else:
            continue
        where = standing(services, where.model)
    return where


def intended(intent: Entry) -> PromotionRecord:
    """The record that an intent would complete."""
    return from_dict(PromotionRecord, {name: value for name, value in intent.body.items() if name in _FIELDS})


def completed(services: Services, key: str) -> Entry | None:
    """The entry that completed a piece of work, on whichever try."""
    for closes in _tries(services, key):
        entry = services.ledger.by_key(closes)
        if entry is None or not entry.kind.endswith("_undone"):
            return entry
    return None


def put_in_production(services: Services, model: str, version: int, *, instead_of: int | None) -> None:
    """Bring a version to production and another one, if it still exists, into the archive, by legal moves only."""
    registry = services.registry
    if registry.get(model, version).stage == "development":
        registry.set_stage(model, version, "staging")
    registry.set_stage(model, version, "production")
    if instead_of is not None and instead_of != version and registry.exists(model, instead_of):
        try:
            registry.get(model, instead_of)
        except RegistryError as error:  # nobody can load it: it must not stand in the way of its successor
            _log.warning("What was champion stays in its stage: %s", error)
            return
        registry.set_stage(model, instead_of, "archived")


def _intent(services: Services, lease: Lease, record: PromotionRecord, key: str) -> Entry:
    """The open intent of a piece of work: the one that an earlier try left if it says the same, else a new one."""
    wanted = _essence(to_dict(record))
    for closes in _tries(services, key):
        there = services.ledger.by_key(f"{closes}/intent")
        if there is None:
            body = to_dict(record) | {"token": lease.token, "closes": closes}
            kind, at = f"{record.kind}_intent", services.clock()
            return services.ledger.append(kind, record.model, body, actor=services.actor, at=at, key=f"{closes}/intent")
        if services.ledger.by_key(closes) is not None:
            continue
        if _essence(to_dict(intended(there))) == wanted:
            return there
        undo(services, there, "Another try of the same work decided on something else.")
    raise PromotionError(f"{key} was completed before.", hint=f"See: mlops champion {record.model} --history")


def _tries(services: Services, key: str) -> Iterator[str]:
    """The keys of a piece of work's completions: the next one counts where the one before was undone."""
    yield key
    number = 2
    closes = key
    while (closed := services.ledger.by_key(closes)) is not None and closed.kind.endswith("_undone"):
        closes = f"{key}/{number}"
        number += 1
        yield closes


def _belongs(intent: Entry, key: str) -> bool:
    closes = str(intent.body["closes"])
    return closes == key or closes.removeprefix(f"{key}/").isdigit()


def _essence(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in _TIMES}


def _close(services: Services, intent: Entry, kind: str, reason: str = "") -> Entry:
    """Close an intent; the body follows from the intent alone, so that whoever finishes it writes the same."""
    closes = str(intent.body["closes"])
    body = to_dict(intended(intent))
    if reason:
        body |= {"promoted": False, "reason": reason}
    try:
        return services.ledger.append(kind, intent.model, body, actor=services.actor, at=services.clock(), key=closes)
    except LedgerError as error:
        there = services.ledger.by_key(closes)
        if there is None:
            raise
        raise LeaseError(
            f"{closes} was closed by {there.actor} as {there.kind.replace('_', ' ')} while it was under way.",
            hint=f"Run the step again. Who is champion: mlops champion {intent.model}.",
        ) from error


def confirm(services: Services, record: PromotionRecord) -> None:
    """The post-condition of every change: ledger, alias and stage name the same version.

    Raises:
        PromotionError: they do not.
    """
    where = standing(services, record.model)
    stage = services.registry.get(record.model, record.version).stage
    if (where.version, where.alias, stage) != (record.version, record.version, "production"):
        raise PromotionError(
            f"{record.model}: version {record.version} was made champion, but now the ledger says {where.version}, the "
            f"alias {where.alias}, and its stage is {stage}.",
            hint=f"Somebody else changed it at the same moment. Run: mlops reconcile {record.model}",
        )

"""Why versions stay, as the ledger tells it: holds, moves and questions that wait, experiments, champions of late.

One rule: pure functions of entries.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from mlops.governance import champions
from mlops.spec.retention import RetentionSpec

if TYPE_CHECKING:
    from mlops.governance.ledger import Entry


def held_versions(entries: Iterable[Entry]) -> dict[int, Entry]:
    """The versions that somebody has put a hold on, with the entry that did."""
    held: dict[int, Entry] = {}
    for entry in entries:
        if entry.kind == "hold":
            held[int(entry.body["version"])] = entry
        elif entry.kind == "release":
            held.pop(int(entry.body["version"]), None)
    return held


def running_experiments(entries: Iterable[Entry]) -> dict[str, Entry]:
    """The experiments that were started and not stopped, by name, with the entry that started each."""
    running: dict[str, Entry] = {}
    for entry in entries:
        if entry.kind == "experiment_start":
            running[str(entry.body["experiment"])] = entry
        elif entry.kind == "experiment_stop":
            running.pop(str(entry.body["experiment"]), None)
    return running


def waiting_versions(entries: Sequence[Entry]) -> dict[int, str]:
    """The versions that a move not yet carried out, or a question not yet answered, is about, with the reason."""
    waiting: dict[int, str] = {}
    for entry in champions.open_intents(entries):
        for name in ("version", "previous_version"):
            if isinstance(number := entry.body.get(name), int):
                waiting[number] = f"entry {entry.seq} ({entry.kind}) is not closed"
    asked: dict[int, str] = {}
    decided = ("promotion", "promotion_refused", "promotion_undone")
    for entry in entries:
        number = entry.body.get("version")
        if entry.kind == "approval_request" and isinstance(number, int):
            asked[number] = f"entry {entry.seq} asks for approval"
        elif (entry.kind in decided or entry.body.get("answer") == "reject") and isinstance(number, int):
            asked.pop(number, None)
    return asked | waiting


def ledger_reasons(entries: Sequence[Entry], spec: RetentionSpec, young: datetime) -> dict[int, list[str]]:
    """By version, why the ledger wants it kept.

    Args:
        entries: the model's ledger.
        spec: how long things are kept.
        young: whoever was champion until then or later stays.
    """
    why: dict[int, list[str]] = {}

    def add(version: int, reason: str) -> None:
        why.setdefault(version, []).append(reason)

    for version, entry in held_versions(entries).items():
        add(version, f"is held by {entry.actor}: {entry.body.get('reason', '')}")
    for version, reason in waiting_versions(entries).items():
        add(version, reason)
    for name, started in running_experiments(entries).items():
        for variant in started.body["variants"]:
            add(int(variant["version"]), f"answers as {variant['name']} of the experiment {name}")
    history = champions.reigns(entries)
    if history:
        add(history[-1].version, "is champion by the ledger")
    for reign in champions.way_back(history)[: spec.keep_versions]:
        add(reign.version, "a rollback may go back to it")
    former = list(dict.fromkeys(reign.version for reign in reversed(history)))
    for version in former[1 : spec.keep_versions + 1]:
        add(version, f"is one of the last {spec.keep_versions} champions")
    for reign in history:
        if reign.until_at is not None and reign.until_at >= young:
            add(reign.version, f"was champion until {reign.until_at:%Y-%m-%d}")
    return why

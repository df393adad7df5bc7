"""What a model has left behind, and what of it nobody can need any more: mark, then sweep.

Kept is what can still be reached: versions that are in use, held, waiting for a decision, young, or a way back; the
runs and training sets that these came from; whatever is younger than the spec says. The rest may go.

One rule: when in doubt it stays. A decision looks at facts alone and can be made again after half of it was done.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Literal

from mlops.governance import champions
from mlops.spec.retention import RetentionSpec

if TYPE_CHECKING:
    from mlops.governance.ledger import Entry

Kind = Literal["version", "runs", "training_set", "predictions", "reports"]
ORDER: tuple[Kind, ...] = ("version", "runs", "training_set", "predictions", "reports")  # nobody finds what comes later


@dataclass(frozen=True, slots=True)
class VersionFacts:
    """A registered version."""

    version: int
    stage: str
    aliases: tuple[str, ...]
    registered_at: datetime
    run_id: str
    training_set_uri: str
    ours: bool = True  # False: registered by hand, nothing is known of it
    size: int = 0  # [bytes]


@dataclass(frozen=True, slots=True)
class RunFacts:
    """A night's training in MLflow: a parent run and its candidates."""

    name: str  # id of the parent run
    run_key: str
    members: tuple[str, ...]  # ids of all its runs
    open: bool
    touched_at: datetime
    training_sets: tuple[str, ...]
    elsewhere: bool = False  # a version of another model was made from one of them
    size: int = 0


@dataclass(frozen=True, slots=True)
class FolderFacts:
    """A folder of files: a training set, the predictions or the reports of a date."""

    kind: Literal["training_set", "predictions", "reports"]
    uri: str
    touched_at: datetime  # the youngest of its files
    night: date | None = None  # of predictions and reports
    versions: tuple[int, ...] = ()  # reports: versions whose evidence lies there
    size: int = 0


@dataclass(frozen=True, slots=True)
class Holdings:
    """All that a model has left behind."""

    versions: tuple[VersionFacts, ...] = ()
    runs: tuple[RunFacts, ...] = ()
    folders: tuple[FolderFacts, ...] = ()


@dataclass(frozen=True, slots=True)
class Item:
    """One thing, and whether it stays."""

    kind: Kind
    name: str  # number of a version, id of a parent run, or URI
    keep: bool
    reasons: tuple[str, ...]  # why it stays, or why it may go
    size: int = 0  # [bytes]


def decide(held: Holdings, entries: Sequence[Entry], spec: RetentionSpec, now: datetime) -> tuple[Item, ...]:
    """What stays and what may go, the latter in the order in which it is to be deleted.

    Args:
        held: all that is there.
        entries: the model's ledger.
        spec: how long things are kept.
        now: the time, with a time zone.
    """
    why = reasons_to_keep(held.versions, entries, spec, now)
    items = [
        Item("version", str(v.version), v.version in why, why.get(v.version) or _gone(v), v.size) for v in held.versions
    ]
    kept = [version for version in held.versions if version.version in why]
    by_run = {version.run_id: version.version for version in kept}
    needed_sets = {version.training_set_uri: f"version {version.version}" for version in kept}
    young = now - timedelta(days=spec.keep_days)
    for runs in held.runs:
        reasons = _of_runs(runs, by_run, young)
        items.append(Item("runs", runs.name, bool(reasons), reasons or ("no version of it stays",), runs.size))
        if reasons:
            needed_sets |= {uri: f"the runs of {runs.run_key}" for uri in runs.training_sets if uri not in needed_sets}
    items += [_folder(folder, needed_sets, set(why), spec, now) for folder in held.folders]
    return tuple(sorted(items, key=lambda item: (item.keep, ORDER.index(item.kind))))


def reasons_to_keep(
    versions: Iterable[VersionFacts], entries: Sequence[Entry], spec: RetentionSpec, now: datetime
) -> dict[int, tuple[str, ...]]:
    """The versions that stay, each with its reasons."""
    young = now - timedelta(days=spec.keep_days)
    from_ledger = _ledger_reasons(entries, spec, young)
    why: dict[int, tuple[str, ...]] = {}
    for version in versions:
        reasons = [f"is {alias}" for alias in version.aliases]
        if version.stage in ("staging", "production"):
            reasons.append(f"is in {version.stage}")
        if not version.ours:
            reasons.append("was not registered by this project")
        if version.registered_at >= young:
            reasons.append(f"is younger than {spec.keep_days} days")
        reasons += from_ledger.get(version.version, [])
        if reasons:
            why[version.version] = tuple(dict.fromkeys(reasons))
    return why


def held_versions(entries: Iterable[Entry]) -> dict[int, Entry]:
    """The versions that somebody has put a hold on, with the entry that did."""
    held: dict[int, Entry] = {}
    for entry in entries:
        if entry.kind == "hold":
            held[int(entry.body["version"])] = entry
        elif entry.kind == "release":
            held.pop(int(entry.body["version"]), None)
    return held


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


def _ledger_reasons(entries: Sequence[Entry], spec: RetentionSpec, young: datetime) -> dict[int, list[str]]:
    """By version, why the ledger wants it kept."""
    why: dict[int, list[str]] = {}

    def add(version: int, reason: str) -> None:
        why.setdefault(version, []).append(reason)

    for version, entry in held_versions(entries).items():
        add(version, f"is held by {entry.actor}: {entry.body.get('reason', '')}")
    for version, reason in waiting_versions(entries).items():
        add(version, reason)
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


def _gone(version: VersionFacts) -> tuple[str, ...]:
    return (f"is in {version.stage}, and nothing asks for it",)


def _of_runs(runs: RunFacts, by_run: dict[str, int], young: datetime) -> tuple[str, ...]:
    reasons = [f"version {by_run[run_id]} came from it" for run_id in runs.members if run_id in by_run]
    if runs.open:
        reasons.append("it is running")
    if runs.elsewhere:
        reasons.append("a version of another model came from it")
    if runs.touched_at >= young:
        reasons.append("it is young")
    return tuple(reasons)


def _folder(
    folder: FolderFacts, needed_sets: dict[str, str], kept: set[int], spec: RetentionSpec, now: datetime
) -> Item:
    reasons: list[str] = []
    if folder.kind == "training_set":
        gone = "nobody who stays learned from it"
        if folder.uri in needed_sets:
            reasons.append(f"{needed_sets[folder.uri]} learned from it")
        if folder.touched_at >= now - timedelta(days=spec.keep_days):
            reasons.append("it is young")
    else:
        days = spec.predictions_days if folder.kind == "predictions" else spec.reports_days
        gone = f"they are older than {days} days"
        if days is None:
            reasons.append("the spec sets no limit")
        elif folder.night is None or folder.night >= (now - timedelta(days=days)).date():
            reasons.append(f"they are not older than {days} days")
        if stay := sorted(kept & set(folder.versions)):
            reasons.append(f"they hold the evidence of version {', '.join(map(str, stay))}")
    return Item(folder.kind, folder.uri, bool(reasons), tuple(reasons) or (gone,), folder.size)

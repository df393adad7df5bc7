"""What a model has left behind, and what of it nobody can need any more: mark, then sweep.

Kept is what can still be reached: versions that are in use, held, waiting for a decision, young, or a way back; the
runs and training sets that these came from; what an experiment that runs is answered by and looks at; whatever is
younger than the spec says. The rest may go.

One rule: when in doubt it stays. A decision looks at facts alone and can be made again after half of it was done.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Literal

from mlops.governance.ledger_reasons import ledger_reasons, running_experiments
from mlops.spec.retention import RetentionSpec

if TYPE_CHECKING:
    from mlops.governance.ledger import Entry

Folder = Literal["training_set", "predictions", "reports", "prediction_log", "backtest"]
Kind = Literal["version", "runs", "leftover"] | Folder
# Nobody finds what comes later.
ORDER: tuple[Kind, ...] = (
    "version",
    "runs",
    "training_set",
    "predictions",
    "reports",
    "prediction_log",
    "backtest",
)


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
    """A folder of files: a training set, a backtest, or what was predicted, reported or logged on a date."""

    kind: Folder
    uri: str
    touched_at: datetime  # the youngest of its files
    night: date | None = None  # of predictions, reports and the prediction log
    versions: tuple[int, ...] = ()  # reports: whose evidence lies there; predictions: who made them
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


@dataclass(frozen=True, slots=True)
class Collected:
    """What was found, and what was done."""

    items: tuple[Item, ...]  # as they were found: what may go first, in order
    applied: bool  # False: nothing was deleted

    @property
    def freed(self) -> int:
        """Size of what goes [bytes]."""
        return sum(item.size for item in self.items if not item.keep)


def decide(
    held: Holdings, entries: Sequence[Entry], spec: RetentionSpec, now: datetime, *, judged_from: date | None = None
) -> tuple[Item, ...]:
    """What stays and what may go, the latter in the order in which it is to be deleted.

    Args:
        held: all that is there.
        entries: the model's ledger.
        spec: how long things are kept.
        now: the time, with a time zone.
        judged_from: the oldest night whose predictions somebody may still measure; they and who made them stay.
    """
    why = reasons_to_keep(held.versions, entries, spec, now)
    for version, night in _still_judged(held, judged_from).items():
        why[version] = (*why.get(version, ()), f"its predictions for {night} are still judged")
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
    rules = _Rules(spec, now, needed_sets, frozenset(why), judged_from, _since_experiments(entries))
    items += [_folder(folder, rules) for folder in held.folders]
    return tuple(sorted(items, key=lambda item: (item.keep, ORDER.index(item.kind))))


def reasons_to_keep(
    versions: Iterable[VersionFacts], entries: Sequence[Entry], spec: RetentionSpec, now: datetime
) -> dict[int, tuple[str, ...]]:
    """The versions that stay, each with its reasons."""
    young = now - timedelta(days=spec.keep_days)
    from_ledger = ledger_reasons(entries, spec, young)
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


@dataclass(frozen=True, slots=True)
class _Rules:
    """What is known when folders are judged."""

    spec: RetentionSpec
    now: datetime
    needed_sets: dict[str, str]  # by URI, who learned from it
    kept: frozenset[int]  # versions
    judged_from: date | None
    experiments_from: date | None  # the first date of the oldest experiment that runs

    def night_limit(self, kind: Folder) -> int | None:
        """After how many days what lies by date may go."""
        limits = {
            "predictions": self.spec.predictions_days,
            "reports": self.spec.reports_days,
            "prediction_log": self.spec.prediction_log_days,
        }
        return limits[kind]


def _folder(folder: FolderFacts, rules: _Rules) -> Item:
    if folder.kind in ("training_set", "backtest"):
        reasons, gone = _by_age(folder, rules)
    else:
        reasons, gone = _by_night(folder, rules)
    return Item(folder.kind, folder.uri, bool(reasons), tuple(reasons) or (gone,), folder.size)


def _by_age(folder: FolderFacts, rules: _Rules) -> tuple[list[str], str]:
    """Why a training set or a backtest stays, and why it may go otherwise."""
    reasons: list[str] = []
    learns = folder.kind == "training_set"
    days = rules.spec.keep_days if learns else rules.spec.backtests_days
    if learns and folder.uri in rules.needed_sets:
        reasons.append(f"{rules.needed_sets[folder.uri]} learned from it")
    if days is None:
        reasons.append("the spec sets no limit")
    elif folder.touched_at >= rules.now - timedelta(days=days):
        reasons.append("it is young")
    return reasons, "nobody who stays learned from it" if learns else f"it is older than {days} days"


def _by_night(folder: FolderFacts, rules: _Rules) -> tuple[list[str], str]:
    """Why what belongs to a date stays, and why it may go otherwise."""
    reasons: list[str] = []
    days, night = rules.night_limit(folder.kind), folder.night
    if days is None:
        reasons.append("the spec sets no limit")
    elif night is None or night >= (rules.now - timedelta(days=days)).date():
        reasons.append(f"they are not older than {days} days")
    if folder.kind == "reports" and (stay := sorted(rules.kept & set(folder.versions))):
        reasons.append(f"they hold the evidence of version {', '.join(map(str, stay))}")
    if folder.kind == "predictions" and night is not None and rules.judged_from and night >= rules.judged_from:
        reasons.append("they are still judged")
    since = rules.experiments_from
    if folder.kind == "prediction_log" and night is not None and since is not None and night >= since:
        reasons.append(f"an experiment has looked at them since {since}")
    return reasons, f"they are older than {days} days"


def _still_judged(held: Holdings, judged_from: date | None) -> dict[int, date]:
    """By version, the newest night of its predictions that may still be measured."""
    if judged_from is None:
        return {}
    nights = [
        (f.night, f.versions) for f in held.folders if f.kind == "predictions" and f.night and f.night >= judged_from
    ]
    there = {version.version for version in held.versions}
    return {version: night for night, versions in sorted(nights) for version in versions if version in there}


def _since_experiments(entries: Iterable[Entry]) -> date | None:
    started = [date.fromisoformat(entry.body["date"]) for entry in running_experiments(entries).values()]
    return min(started, default=None)

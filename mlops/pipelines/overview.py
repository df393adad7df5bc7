"""Where every model stands, and what became of its nights: what the pages in Airflow and `mlops status` show.

Read from the ledger, the step log, the incidents and the kept reports; MLflow is not asked, and nothing is worked out
again. What cannot be read is shown as such, and hides nothing else.

One rule: looking changes nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any, Literal, TypeVar

from mlops.data import partitions, quarantine
from mlops.errors import MLOpsError, NoDataError
from mlops.governance import champions
from mlops.governance.champions import Reign
from mlops.monitoring.step_log import StepResult
from mlops.pipelines import approval
from mlops.pipelines.inference import predictions_uri
from mlops.pipelines.judged import read_judged
from mlops.pipelines.night import report_uri
from mlops.pipelines.night_performance import NightPerformance
from mlops.records import DriftReport, GateDecision, Incident, Outcome, from_dict
from mlops.services import Services
from mlops.spec import ModelSpec
from mlops.storage import Manifest

Found = TypeVar("Found")
Kept = TypeVar("Kept")
STEPS = ("ingestion", "features", "training", "validation", "promotion", "inference", "monitoring")
NIGHTS = 14
_CONTRACT, _EVIDENCE, _DRIFT_PAGE = "contract.html", "evidence.html", "drift.html"  # among a night's reports
Tone = Literal["good", "bad", "unsure", "quiet"]
_GLYPHS: dict[Tone, str] = {"good": "✓", "bad": "!", "unsure": "?", "quiet": "·"}
_OUTCOMES: dict[Outcome, Tone] = {"done": "good", "no": "bad", "cannot_tell": "unsure", "nothing_to_do": "quiet"}
_GATES: dict[str, tuple[Tone, str]] = {
    "pass": ("good", "passed"),
    "fail": ("quiet", "refused"),  # nothing is wrong: the champion stays
    "cannot_tell": ("unsure", "cannot tell"),
}
_DRIFT: dict[str, tuple[Tone, str]] = {
    "no_drift": ("good", "no drift"),
    "drift": ("bad", "drift"),
    "cannot_tell": ("unsure", "cannot tell"),
}


@dataclass(frozen=True, slots=True)
class Word:
    """What there is to say of one thing in one night."""

    text: str = ""
    tone: Tone = "quiet"
    why: str = ""
    page: str = ""  # file among the night's reports that says more

    def __bool__(self) -> bool:
        return bool(self.text)


@dataclass(frozen=True, slots=True)
class Night:
    """What became of one date."""

    date: date
    delivery: Word = Word()
    challenger: Word = Word()
    champion: Word = Word()  # where it changed in this night
    predictions: Word = Word()
    drift: Word = Word()
    performance: Word = Word()
    pages: tuple[str, ...] = ()  # other pages of the night


@dataclass(frozen=True, slots=True)
class Step:
    """How a step ended when it was last at work."""

    name: str
    tone: Tone
    result: StepResult | None = None  # None: it has not been at work yet

    @property
    def glyph(self) -> str:
        """One character for it."""
        return _GLYPHS[self.tone]


@dataclass(frozen=True, slots=True)
class Overview:
    """Where one model stands."""

    model: str
    owner: str
    task: str
    reigns: tuple[Reign, ...] = ()  # oldest first
    steps: tuple[Step, ...] = ()
    incidents: tuple[Incident, ...] = ()  # what is not over
    waiting: tuple[str, ...] = ()  # for people
    unknown: tuple[str, ...] = field(default=())  # what could not be read, and why

    @property
    def champion(self) -> Reign | None:
        """The reign that lasts."""
        return self.reigns[-1] if self.reigns else None

    def facts(self) -> dict[str, Any]:
        """What `mlops status --json` prints of it."""
        champion = self.champion
        return {
            "model": self.model,
            "owner": self.owner,
            "champion": champion.version if champion else None,
            "champion_since": champion.from_at.isoformat() if champion else None,
            "steps": {s.name: {"outcome": s.result.outcome, "date": s.result.date} for s in self.steps if s.result},
            "incidents": [one.key for one in self.incidents],
            "waiting_for_approval": list(self.waiting),
            "unknown": list(self.unknown),
        }


def overview(services: Services, spec: ModelSpec) -> Overview:
    """Where a model stands, from the ledger's database alone."""
    unknown: list[str] = []
    reigns = _asked(unknown, lambda: champions.reigns(services.ledger.entries(spec.name)))
    results = _asked(unknown, lambda: services.step_log.results(spec.name))
    incidents = _asked(unknown, lambda: services.alerts.list_incidents(spec.name, resolved=False))
    pending = _asked(unknown, lambda: approval.pending(services, spec))
    last: dict[str, StepResult] = {}
    for result in sorted(results, key=lambda one: (one.date, one.at)):
        last[result.step] = result
    steps = [
        Step(name, _OUTCOMES[last[name].outcome], last[name]) if name in last else Step(name, "quiet") for name in STEPS
    ]
    return Overview(
        model=spec.name,
        owner=spec.owner,
        task=spec.task,
        reigns=tuple(reigns),
        steps=tuple(steps),
        incidents=tuple(sorted(incidents, key=lambda one: one.number, reverse=True)),
        waiting=tuple(f"version {one.version}: {one.state.reason}" for one in pending),
        unknown=tuple(dict.fromkeys(unknown)),
    )


def nights(services: Services, spec: ModelSpec, reigns: Iterable[Reign], last: int = NIGHTS) -> list[Night]:
    """The newest dates of which anything is known, newest first.

    Args:
        services: the adapters.
        spec: the model.
        reigns: of the model.
        last: how many dates.

    Raises:
        StorageError: the storage cannot be read.
    """
    storage = services.storage
    root = storage.uri("reports", spec.name)
    files: dict[date, set[str]] = {}
    for file in storage.listing(root):
        day, _, name = file.uri.removeprefix(f"{root}/").partition("/")
        with contextlib.suppress(ValueError):  # a folder of somebody else
            files.setdefault(date.fromisoformat(day), set()).add(name)
    valid = set(partitions.delivered_days(storage, spec.dataset))
    held = set(quarantine.waiting_days(storage, spec.dataset))
    moves = {reign.night: reign for reign in reigns if reign.night is not None}
    dates = sorted({*files, *valid, *held, *moves}, reverse=True)[:last]
    return [
        _night(services, spec, day, files.get(day, set()), day in valid, day in held, moves.get(day)) for day in dates
    ]


def report_page(services: Services, spec: ModelSpec, day: date, name: str) -> bytes:
    """A page that was kept for a night.

    Raises:
        NoDataError: there is none of that name.
    """
    root = report_uri(services, spec, day, "")
    names = {file.uri.removeprefix(root) for file in services.storage.listing(root)}
    if name not in names or not name.endswith(".html"):
        known = ", ".join(sorted(one for one in names if one.endswith(".html"))) or "none"
        raise NoDataError(f"There is no page {name!r} of {spec.name} for {day}.", hint=f"Pages of that night: {known}.")
    return services.storage.read_bytes(report_uri(services, spec, day, name))


def _night(
    services: Services, spec: ModelSpec, day: date, files: set[str], valid: bool, held: bool, reign: Reign | None
) -> Night:
    def page(name: str) -> str:
        return name if name in files else ""

    def kept(name: str, kind: type[Kept], say: Callable[[Kept], Word]) -> Word:
        if name not in files:
            return Word()
        return _told(lambda: say(from_dict(kind, services.storage.read_json(report_uri(services, spec, day, name)))))

    def judged() -> Word:
        decision = read_judged(services, spec, day).decision
        return _challenger(decision, page(f"evidence-v{decision.version}.html") or page(_EVIDENCE))

    delivery = Word("quarantined", "bad") if held else Word("valid", "good") if valid else Word()
    challenger = _told(judged) if "evidence.json" in files else Word()
    shown = {_CONTRACT, _EVIDENCE, _DRIFT_PAGE, challenger.page}
    return Night(
        date=day,
        delivery=replace(delivery, page=page(_CONTRACT)),
        challenger=challenger,
        champion=Word(f"version {reign.version}", "good", reign.reason) if reign else Word(),
        predictions=_told(lambda: _predictions(services.storage.manifest(predictions_uri(services, spec, day)))),
        drift=kept("drift.json", DriftReport, lambda found: _drift(found, page(_DRIFT_PAGE))),
        performance=kept("performance.json", NightPerformance, _performance),
        pages=tuple(sorted(name for name in files if name.endswith(".html") and name not in shown)),
    )


def _told(say: Callable[[], Word]) -> Word:
    """What there is to say; where it cannot be read (half-written, damaged, taken away meanwhile), that."""
    try:
        return say()
    except (MLOpsError, ValueError, KeyError, TypeError) as error:
        return Word("cannot be read", "unsure", str(error))


def _challenger(decision: GateDecision, page: str) -> Word:
    tone, word = _GATES[decision.verdict]
    why = "; ".join(reason.replace("_", " ", reason.partition(":")[0].count("_")) for reason in decision.reasons)
    return Word(f"version {decision.version} {word}", tone, why, page)


def _predictions(manifest: Manifest | None) -> Word:
    if manifest is None:
        return Word()
    return Word(f"{manifest.rows:,} rows", "good", f"by version {manifest.facts.get('version', '?')}")


def _drift(found: DriftReport, page: str) -> Word:
    tone, word = _DRIFT[found.verdict]
    if found.verdict == "drift" and found.degree == "without_consequence":
        tone, word = "unsure", "drift, no consequence"
    return Word(word, tone, found.decision or found.reason, page)


def _performance(found: NightPerformance) -> Word:
    """The first metric that was measured, else the first that was estimated."""
    for kind, about, estimates in (("measured", "", found.realised), ("estimated", "≈ ", found.estimated)):
        for one in estimates:
            if one.value is not None:
                span = "" if one.low is None or one.high is None else f"{one.low:.3g} to {one.high:.3g}, "
                words = f"{about}{one.metric.replace('_', ' ')} {one.value:.3g}"
                return Word(words, "quiet", f"{kind}: {span}{one.rows:,} rows")
    return Word("cannot tell", "unsure", found.reason) if found.reason else Word()


def _asked(unknown: list[str], ask: Callable[[], Iterable[Found]]) -> list[Found]:
    """What `ask` finds; nothing where it cannot be told, and why is noted."""
    try:
        return list(ask())
    except MLOpsError as error:
        unknown.append(str(error))
        return []

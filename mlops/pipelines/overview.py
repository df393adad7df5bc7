"""Where every model stands, and what became of its nights: what the pages in Airflow and `mlops status` show.

Read from the ledger, the step log, the incidents and the kept reports; MLflow is not asked, and nothing is worked out
again. What cannot be read is shown as such, and hides nothing else.

One rule: looking changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal, TypeVar

from mlops.data import partitions, quarantine
from mlops.errors import MLOpsError, NoDataError
from mlops.governance import champions
from mlops.governance.champions import Reign
from mlops.monitoring.step_log import StepResult
from mlops.pipelines import approval
from mlops.pipelines.inference import predictions_uri
from mlops.records import Incident, Outcome
from mlops.services import Services
from mlops.spec import ModelSpec

Found = TypeVar("Found")
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
    root = services.storage.uri("reports", spec.name, day.isoformat())
    names = {file.uri.removeprefix(f"{root}/") for file in services.storage.listing(root)}
    if name not in names or not name.endswith(".html"):
        known = ", ".join(sorted(one for one in names if one.endswith(".html"))) or "none"
        raise NoDataError(f"There is no page {name!r} of {spec.name} for {day}.", hint=f"Pages of that night: {known}.")
    return services.storage.read_bytes(services.storage.uri("reports", spec.name, day.isoformat(), name))


def _night(
    services: Services, spec: ModelSpec, day: date, files: set[str], valid: bool, held: bool, reign: Reign | None
) -> Night:
    def kept(name: str) -> dict[str, Any]:
        uri = services.storage.uri("reports", spec.name, day.isoformat(), name)
        try:
            found = services.storage.read_json(uri) if name in files else {}
        except (MLOpsError, json.JSONDecodeError):  # half-written or taken away meanwhile: the rest is still shown
            return {}
        return found if isinstance(found, dict) else {}

    def page(name: str) -> str:
        return name if name in files else ""

    delivery = Word()
    if held:
        delivery = Word("quarantined", "bad", page=page(_CONTRACT))
    elif valid:
        delivery = Word("valid", "good", page=page(_CONTRACT))
    manifest = services.storage.manifest(predictions_uri(services, spec, day))
    predictions = Word()
    if manifest is not None:
        predictions = Word(f"{manifest.rows:,} rows", "good", f"by version {manifest.facts.get('version', '?')}")
    decision = kept("evidence.json").get("decision", {})
    judged = page(f"evidence-v{decision.get('version')}.html") or page(_EVIDENCE)
    shown = {_CONTRACT, _EVIDENCE, _DRIFT_PAGE, judged}
    return Night(
        date=day,
        delivery=delivery,
        challenger=_challenger(decision, judged),
        champion=Word(f"version {reign.version}", "good", reign.reason) if reign else Word(),
        predictions=predictions,
        drift=_drift(kept("drift.json"), page(_DRIFT_PAGE)),
        performance=_performance(kept("performance.json")),
        pages=tuple(sorted(name for name in files if name.endswith(".html") and name not in shown)),
    )


def _challenger(decision: dict[str, Any], page: str) -> Word:
    if not decision:
        return Word()
    tone, word = _GATES[decision["verdict"]]
    blocking = [g for g in decision["gates"] if g.get("decides", True) and g["verdict"] != "pass"]
    why = "; ".join(f"{g['name'].replace('_', ' ')}: {g['reason']}" for g in blocking)
    return Word(f"version {decision['version']} {word}", tone, why, page)


def _drift(kept: dict[str, Any], page: str) -> Word:
    if not kept:
        return Word()
    tone, word = _DRIFT[kept["verdict"]]
    if kept["verdict"] == "drift" and kept.get("degree") == "without_consequence":
        tone, word = "unsure", "drift, no consequence"
    return Word(word, tone, kept.get("decision") or kept["reason"], page)


def _performance(kept: dict[str, Any]) -> Word:
    """The first metric that was measured, else the first that was estimated."""
    for kind in ("realised", "estimated"):
        for one in kept.get(kind, ()):
            if one["value"] is not None:
                span = "" if one["low"] is None else f"{one['low']:.3g} to {one['high']:.3g}, {one['rows']:,} rows"
                about = "≈ " if kind == "estimated" else ""
                return Word(f"{about}{one['metric'].replace('_', ' ')} {one['value']:.3g}", "quiet", f"{kind}: {span}")
    return Word("cannot tell", "unsure", kept["reason"]) if kept.get("reason") else Word()


def _asked(unknown: list[str], ask: Callable[[], Iterable[Found]]) -> list[Found]:
    """What `ask` finds; nothing where it cannot be told, and why is noted."""
    try:
        return list(ask())
    except MLOpsError as error:
        unknown.append(str(error))
        return []

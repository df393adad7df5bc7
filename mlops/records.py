"""The frozen values that move between steps and, as JSON, through Airflow's XCom: ids, URIs and numbers, never data.

One rule: a record is built once, never changed, and survives `from_dict(type(r), json.loads(json.dumps(to_dict(r))))`.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Any, Literal, TypeVar, cast

from pydantic import TypeAdapter

R = TypeVar("R")

Verdict = Literal["pass", "fail", "cannot_tell"]
Outcome = Literal["done", "nothing_to_do", "no", "cannot_tell"]
Stage = Literal["development", "staging", "production", "archived"]
Urgency = Literal["low", "normal", "high"]
IncidentState = Literal["open", "acknowledged", "silenced", "resolved"]
RunStatus = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]


@dataclass(frozen=True, slots=True)
class DataSlice:
    """One delivery of a source, for one date, after the contract was checked."""

    dataset: str
    date: dt.date
    status: Literal["validated", "quarantined", "nothing_to_do"]
    uri: str = ""
    rows: int = 0
    entities: int = 0
    late_rows: int = 0  # rows whose event date is before the delivery date
    content_hash: str = ""
    reasons: tuple[str, ...] = ()  # one sentence per broken rule; also of a validated one: those that people set aside
    report_uri: str = ""  # HTML page a person reads
    released: bool = False  # True when this good delivery replaces a quarantined one


@dataclass(frozen=True, slots=True)
class FeatureBatch:
    """The engineered features of one delivery, offline and materialised online."""

    service: str
    date: dt.date
    views: tuple[str, ...] = ()
    uris: tuple[str, ...] = ()
    rows: int = 0
    content_hash: str = ""
    online_rows: int = 0  # rows handed to the online store in this batch
    gates: tuple[GateResult, ...] = ()  # parity of online and offline, freshness of each view
    checks_uri: str = ""  # the same as JSON


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """A point-in-time training table, fingerprinted and kept, with its time-ordered split."""

    model: str
    date: dt.date
    run_key: str
    uri: str
    fingerprint: str  # sha256 over the content, the feature list and the split
    features: tuple[str, ...]
    rows: int
    entities: int
    fit_rows: int
    calibration_rows: int
    holdout_rows: int
    labelled_rows: int  # holdout rows with a mature label
    positives: int  # of these, positive (0 for regression)
    window_start: dt.datetime
    holdout_start: dt.datetime
    window_end: dt.datetime
    reason: str = "schedule"  # why this training was started
    started_by: str = ""  # who started it: a user of Airflow or of the shell, or "airflow" for a schedule or an event
    dropped_rows: int = 0  # rows left out because they arrived out of order
    gates: tuple[GateResult, ...] = ()  # conservation and leakage of the join


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A tracked run of one candidate."""

    run_key: str
    run_id: str
    parent_run_id: str
    candidate: str
    algorithm: str
    status: RunStatus
    model_uri: str = ""
    digest: str = ""  # sha256 over the files of the logged model
    metrics: dict[str, float] = field(default_factory=dict)
    fit_seconds: float = 0.0  # inside `fit`, cross-validation included
    seconds: float = 0.0  # the whole step
    reused: bool = False
    error: str = ""


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A registered version of a model."""

    model: str
    version: int
    run_id: str
    run_key: str
    model_uri: str
    digest: str
    inputs_hash: str  # data fingerprint, code version, spec hash, seed
    candidate: str
    stage: Stage = "development"
    training_set_uri: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    signed_by: str = ""  # id of the key that signed its files; "" if nobody did
    reused: bool = False  # True when the same inputs had already made this version
    started_by: str = ""  # who started its training


@dataclass(frozen=True, slots=True)
class SignatureRecord:
    """Who vouches for a version's files."""

    model: str
    version: int
    digest: str  # sha256 over the files
    signed_by: str  # id of the key
    vouched_by: Literal["signature", "ledger", "registry"] = "signature"  # what made the files believable
    previously: str = ""  # id of the key that had signed before


@dataclass(frozen=True, slots=True)
class GatePart:
    """One slice or stretch of time of a gate that judges several."""

    name: str
    estimate: float  # difference from the opponent, positive is better
    low: float
    high: float
    limit: float  # the difference that is tolerated, ≤ 0
    rows: int
    harmed: bool  # shown to be worse than tolerated


@dataclass(frozen=True, slots=True)
class GateResult:
    """What one gate measured."""

    name: str
    verdict: Verdict
    reason: str
    value: float | None = None
    limit: float | None = None
    numbers: dict[str, float] = field(default_factory=dict)  # what `value` was made of, for plots
    parts: tuple[GatePart, ...] = ()  # slices or stretches of time, for plots
    decides: bool = True  # False: shown, but the decision does not depend on it


@dataclass(frozen=True, slots=True)
class GateDecision:
    """All gates of one challenger: the evidence a promotion stands on."""

    model: str
    version: int
    champion_version: int | None
    verdict: Verdict
    gates: tuple[GateResult, ...]
    date: dt.date
    digest: str  # of the challenger that was judged
    evidence_uri: str = ""
    evidence_hash: str = ""
    inputs_hash: str = ""  # sha256 over all that was judged and by what: equal inputs keep the decision

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it was not a pass, in words; empty for a pass."""
        return tuple(f"{g.name}: {g.reason}" for g in self.gates if g.decides and g.verdict != "pass")


@dataclass(frozen=True, slots=True)
class PromotionRecord:
    """A move of the champion, or the refusal of one."""

    model: str
    version: int
    previous_version: int | None
    promoted: bool
    reason: str
    decided_by: str
    decided_at: dt.datetime
    evidence_hash: str = ""
    entry_hash: str = ""  # of the ledger entry that holds it
    kind: Literal["promotion", "rollback"] = "promotion"
    evidence_uri: str = ""
    approved_by: tuple[str, ...] = ()  # people, where the policy asks for them
    date: dt.date | None = None  # the night it was decided for


@dataclass(frozen=True, slots=True)
class PredictionBatch:
    """The champion's predictions for one date."""

    model: str
    version: int
    date: dt.date
    uri: str
    rows: int
    scored_rows: int  # rows that have a score; the rest are "cannot tell"
    flagged_rows: int  # alarms as rows (anomaly), positives (classification), 0 (regression)
    alarms: int  # alarms as onsets per entity
    threshold: float | None
    content_hash: str = ""
    gates: tuple[GateResult, ...] = ()  # conservation and leakage of the join
    confidence: float | None = None  # mean probability of the class answered; None: no classifier, or no answer
    unsure_rows: int = 0  # rows whose class answered has a low probability


@dataclass(frozen=True, slots=True)
class ColumnDrift:
    """The shift of one column between reference and current, or of its missing values, or of the table as a whole."""

    column: str  # or `missing(column)`, or `joint(measure)`
    verdict: Literal["drift", "no_drift", "cannot_tell"]
    method: str
    value: float | None
    threshold: float | None  # None: cannot tell, or no distance would be enough in one night
    reason: str = ""
    importance: float | None = None  # how far scores follow it, in their standard deviations; asked where it drifted
    consequence: float | None = None  # how far they follow it now


@dataclass(frozen=True, slots=True)
class ConceptDrift:
    """Whether errors have grown since their truth is known."""

    detector: str
    verdict: Literal["drift", "no_drift", "cannot_tell"]
    at: dt.datetime | None  # when it was noticed
    reason: str


@dataclass(frozen=True, slots=True)
class DriftReport:
    """What monitoring found for one date."""

    model: str
    version: int
    date: dt.date
    verdict: Literal["drift", "no_drift", "cannot_tell"]
    reason: str
    columns: tuple[ColumnDrift, ...] = ()
    share: float = 0.0  # share of columns in drift, of those that could be judged
    reference_rows: int = 0
    current_rows: int = 0
    report_uri: str = ""
    retrain: bool = False  # True when this finding asks for a training
    retrain_reason: str = ""  # the triggers that ask for it; "": drift
    metrics: dict[str, float] = field(default_factory=dict)  # realised performance where labels are mature
    gates: tuple[GateResult, ...] = ()  # what was served against what the offline store says
    degree: Literal["none", "without_consequence", "with_consequence", "cannot_tell"] = "none"
    since: dt.date | None = None  # the night with which it began
    consequence: float | None = None  # mean change of the scores by it, in their standard deviations; None: not known
    entities: tuple[str, ...] = ()  # that moved, the strongest first
    entities_seen: int = 0  # of tonight
    nights: int = 0  # looked at before this one against the same reference
    decision: str = ""  # what was decided and why, in one sentence
    concept: tuple[ConceptDrift, ...] = ()  # of the champion's errors where labels are mature; shown, not acted on

    @property
    def drifted(self) -> tuple[str, ...]:
        """Names of the columns in drift, the strongest first (by value over threshold)."""
        hits = [c for c in self.columns if c.verdict == "drift"]
        return tuple(
            c.column for c in sorted(hits, key=lambda c: (c.value or 0.0) / (c.threshold or 1.0), reverse=True)
        )


@dataclass(frozen=True, slots=True)
class Incident:
    """A finding that a person should know of, and, once it is kept, what has become of it."""

    key: str  # <model>/<kind>
    model: str
    kind: str
    date: dt.date  # the newest date it was found on
    urgency: Urgency
    summary: str  # what happened
    consequence: str  # what it means
    action: str  # what to do
    evidence_uri: str = ""
    resolved_at: dt.datetime | None = None  # since when it is over; None while it is not
    goes_on: str = ""  # what goes on working
    parts: tuple[str, ...] = ()  # what it groups: columns, entities, checks
    owner: str = ""
    runbook: str = ""  # page and anchor
    # What the store adds:
    number: int = 0
    state: IncidentState = "open"
    first_seen_at: dt.datetime | None = None
    last_seen_at: dt.datetime | None = None
    dates: tuple[dt.date, ...] = ()  # on which it was found and is not over
    count: int = 1  # dates on which it was found
    told_at: dt.datetime | None = None  # when channels were told last; None: never
    reminded: int = 0  # how often they were told of it again
    reopened: int = 0  # how often it came back soon after it was over
    silenced_until: dt.datetime | None = None
    by: str = ""  # who acknowledged, silenced or resolved it by hand
    note: str = ""  # why


@dataclass(frozen=True, slots=True)
class StepReport:
    """What a pipeline answers: to a person, to the shell (exit code) and to Airflow (XCom)."""

    step: str
    model: str
    date: dt.date
    outcome: Outcome
    reason: str
    seconds: float = 0.0
    record: dict[str, Any] = field(default_factory=dict)  # the step's own record, as `to_dict` makes it

    @property
    def exit_code(self) -> int:
        """0 for done and nothing to do, 3 for a "no" and for "cannot tell"."""
        return 0 if self.outcome in ("done", "nothing_to_do") else 3


@cache
def _adapter(cls: Any) -> TypeAdapter[Any]:
    return TypeAdapter(cls)


def to_dict(record: Any) -> dict[str, Any]:
    """A record as plain JSON values (dates and times as ISO 8601).

    >>> to_dict(GateResult("auc", "pass", "fine", 0.9))["value"]
    0.9
    """
    dumped = _adapter(cast(Any, type(record))).dump_python(record, mode="json")
    assert isinstance(dumped, dict)
    return dumped


def from_dict(cls: type[R], data: dict[str, Any]) -> R:
    """The record that `to_dict` made `data` from.

    >>> from_dict(GateResult, {"name": "auc", "verdict": "pass", "reason": "fine"}).verdict
    'pass'
    """
    record: R = _adapter(cast(Any, cls)).validate_python(data)
    return record


def as_plain(record: Any) -> dict[str, Any]:
    """A record as a dict of its fields with Python values, for tables and plots."""
    return asdict(record)

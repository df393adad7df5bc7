"""`summary.json`: what happened in every night and step, as one value. It is written at the end and holds no opinion.

```
schema, model, task, metric, owner   version of this layout (1), and the model's facts from its spec
devices, step_minutes, seed     the sample fleet
alerts_per_entity_day       limit of the spec that the report draws
started_at, seconds             when the demo started (UTC), and how long it took in all [s]
seconds_by_part                 [s] of: setup, history, nights, report
peak_rss_mb                     largest resident memory of the process [MB]
history                         dates (deliveries before the first night), runs, seconds, rows
nights[]
  number, date, deliveries[]    the night; each delivery: date, kind (normal, corrupt, re-delivery, new regime)
  champion                      version that is champion when the night is over, or null
  seconds                       [s]
  steps[]                       one per DAG run, in the order in which they ran
    step, dag_id, run_id        pipeline and its DAG run
    started_by, events[]        cron, form (a person) or asset; names of the Assets whose events started it
    status                      success or failed, of the DAG run
    outcome                     done, nothing_to_do, no, cannot_tell; failed if the DAG run did
    reason                      in words; of several dates, of the last with the gravest outcome
    dates[]                     the dates it worked on
    seconds, work_seconds       of the DAG run, and of these inside the pipeline's own functions [s]
    cpu_seconds                 processor time of all threads during the DAG run [s]
    challenger, champion        versions it made, judged or used, or null
    promoted                    whether a new champion came of it
    trained_because             training only: schedule, drift or manual
    candidates[]                training only: RunRecords
    gates[]                     validation only: name, verdict, value, limit, reason
    drift[]                     monitoring only, one per date: DriftReports (verdict, share, columns, retrain, metrics)
    incidents[]                 told of in this step: kind, urgency, summary, consequence, action
    tasks[]                     task, map_index, state, seconds
    reports[]                   the StepReports, as the tasks returned them
    error                       of a failed run
champions[]                     version, candidate, previous, night, date, reason: the changes, as the ledger has them
expectations[]                  text, held, found
```
Fields of records are explained in `mlops/records.py`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any, Literal, TypeGuard

from demo.plan import Delivery
from demo.scheduler import DagRun, StartedBy, TaskTime
from mlops.records import DriftReport, GateResult, Incident, RunRecord, StepReport, from_dict

StepOutcome = Literal["done", "nothing_to_do", "no", "cannot_tell", "failed"]
GRAVITY: tuple[StepOutcome, ...] = ("nothing_to_do", "done", "cannot_tell", "no", "failed")


@dataclass(frozen=True, slots=True)
class Step:
    """One DAG run of one night; see the module's docstring."""

    step: str
    dag_id: str
    run_id: str
    started_by: StartedBy
    events: tuple[str, ...]
    status: Literal["success", "failed"]
    outcome: StepOutcome
    reason: str
    dates: tuple[date, ...]
    seconds: float
    work_seconds: float
    cpu_seconds: float
    challenger: int | None
    champion: int | None
    promoted: bool
    trained_because: str
    candidates: tuple[RunRecord, ...]
    gates: tuple[GateResult, ...]
    drift: tuple[DriftReport, ...]
    incidents: tuple[Incident, ...]
    tasks: tuple[TaskTime, ...]
    reports: tuple[StepReport, ...]
    error: str = ""


@dataclass(frozen=True, slots=True)
class Night:
    """One night."""

    number: int
    date: date
    deliveries: tuple[Delivery, ...]
    steps: tuple[Step, ...]
    champion: int | None
    seconds: float

    def of(self, step: str) -> tuple[Step, ...]:
        """The runs of one pipeline in this night."""
        return tuple(found for found in self.steps if found.step == step)


@dataclass(frozen=True, slots=True)
class History:
    """What was delivered before the first night."""

    dates: tuple[date, ...]
    runs: int  # DAG runs
    rows: int  # validated rows
    seconds: float


@dataclass(frozen=True, slots=True)
class ChampionChange:
    """One change of the champion, as the ledger has it."""

    version: int
    candidate: str
    previous: int | None
    night: int
    date: date
    reason: str


@dataclass(frozen=True, slots=True)
class Expectation:
    """One thing the demo should show, and what it showed."""

    text: str
    held: bool
    found: str


@dataclass(frozen=True, slots=True)
class Summary:
    """The whole demo; see the module's docstring."""

    schema: int
    model: str
    task: str
    metric: str
    owner: str
    devices: int
    step_minutes: int
    seed: int
    alerts_per_entity_day: float
    started_at: datetime
    seconds: float
    seconds_by_part: dict[str, float]
    peak_rss_mb: float
    history: History
    nights: tuple[Night, ...]
    champions: tuple[ChampionChange, ...]
    expectations: tuple[Expectation, ...] = ()

    @property
    def steps(self) -> tuple[Step, ...]:
        """All steps of all nights."""
        return tuple(step for night in self.nights for step in night.steps)


def step_of(run: DagRun, incidents: Sequence[Incident] = ()) -> Step:
    """What a DAG run did, from what its tasks returned.

    Args:
        run: the run.
        incidents: what was told of while it ran.
    """
    name = run.dag_id.partition("__")[0]
    told = _told(run.returned)
    reports = _reports(told, name)
    gravest = max(reports, key=lambda report: (GRAVITY.index(report.outcome), report.date), default=None)
    outcome: StepOutcome = "failed" if run.status == "failed" or gravest is None else gravest.outcome
    reason = run.error or (gravest.reason if gravest else "No task of this run returned a report.")
    records = [report.record for report in reports if report.record]
    return Step(
        step=name,
        dag_id=run.dag_id,
        run_id=run.run_id,
        started_by=run.by,
        events=run.events,
        status=run.status,
        outcome=outcome,
        reason=reason,
        dates=tuple(sorted({report.date for report in reports})),
        seconds=round(run.seconds, 3),
        work_seconds=round(_work_seconds(run.returned, told, reports), 3),
        cpu_seconds=round(run.cpu_seconds, 3),
        challenger=_last(records, "version") if name in ("training", "validation", "promotion") else None,
        champion=_champion(name, reports),
        promoted=name == "promotion" and any(record.get("promoted") for record in records),
        trained_because=_trained_because(run.returned),
        candidates=tuple(from_dict(RunRecord, value) for value in run.returned if _is_run_record(value)),
        gates=tuple(from_dict(GateResult, gate) for record in records for gate in record.get("gates", ())),
        drift=tuple(from_dict(DriftReport, r.record) for r in reports if r.step == "monitoring" and r.record),
        incidents=tuple(incidents),
        tasks=run.tasks,
        reports=reports,
        error=run.error,
    )


def _told(returned: Iterable[Any]) -> tuple[StepReport, ...]:
    """What the tasks reported, in the order in which they ended."""
    values = (v.get("report") if isinstance(v, dict) and "training_set" in v else v for v in returned)
    wanted = {"step", "outcome", "reason", "record"}
    return tuple(from_dict(StepReport, v) for v in values if isinstance(v, dict) and wanted <= v.keys())


def _reports(told: Iterable[StepReport], step: str) -> tuple[StepReport, ...]:
    """The step's last report of every date: of a training, what was selected outweighs what was prepared.

    What runs beside the step, as measuring performance does beside monitoring, is not the step's outcome.
    """
    by_date = {report.date: report for report in told if report.step == step}
    return tuple(by_date[day] for day in sorted(by_date))


def _is_run_record(value: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict) and {"run_key", "candidate", "fit_seconds"} <= value.keys()


def _work_seconds(returned: Iterable[Any], told: Iterable[StepReport], reports: Sequence[StepReport]) -> float:
    """Seconds that the tasks say they worked; a training's are prepare, fits and select."""
    parts = [value for value in returned if isinstance(value, dict)]
    fits = sum(float(value["seconds"]) for value in parts if _is_run_record(value))
    prepared = [value["report"] for value in parts if "training_set" in value and isinstance(value.get("report"), dict)]
    steps = {report.step for report in reports}
    counted = {(report.step, report.date, report.seconds) for report in told if report.step not in steps}
    counted |= {(report.step, report.date, report.seconds) for report in reports}
    counted |= {("training", date.fromisoformat(value["date"]), float(value["seconds"])) for value in prepared}
    return fits + sum(seconds for _, _, seconds in counted)


def _trained_because(returned: Iterable[Any]) -> str:
    for value in returned:
        if isinstance(value, dict) and isinstance(value.get("training_set"), dict):
            return str(value["training_set"]["reason"])
    return ""


def _champion(step: str, reports: Sequence[StepReport]) -> int | None:
    """The champion a step judged against, made or used."""
    records = [report.record for report in reports if report.record]
    if step == "validation":
        return _last(records, "champion_version")
    if step == "promotion":
        promoted = any(record.get("promoted") for record in records)
        return _last(records, "version" if promoted else "previous_version")
    return _last(records, "version") if step in ("inference", "monitoring") else None


def _last(records: Sequence[dict[str, Any]], key: str) -> int | None:
    found = [record[key] for record in records if record.get(key) is not None]
    return int(found[-1]) if found else None


def to_json(summary: Summary) -> str:
    """The summary as `summary.json`: times as ISO 8601, numbers that are not finite as null."""
    return json.dumps(_plain(asdict(summary)), indent=1, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, date):  # and datetime, which is one
        return value.isoformat()
    return None if isinstance(value, float) and not math.isfinite(value) else value

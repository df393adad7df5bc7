"""A demo that never ran: what the DAG runs of eight nights would have returned, written down by hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

from demo.scheduler import DagRun, TaskTime
from mlops.data import fleet
from mlops.records import (
    ColumnDrift,
    DataSlice,
    DriftReport,
    FeatureBatch,
    GateDecision,
    GateResult,
    Incident,
    ModelVersion,
    Outcome,
    PredictionBatch,
    PromotionRecord,
    RunRecord,
    StepReport,
    TrainingSet,
    to_dict,
)

MODEL = "fleet_anomaly"
COLUMNS = [f"{s}__{f}" for s in fleet.CHANNELS for f in ("value", "mean_1h", "std_1h", "slope_1h", "mean_6h")]


def told(step: str, day: date, outcome: Outcome, reason: str, record: Any, seconds: float = 0.5) -> dict[str, Any]:
    """A StepReport as a task returns it."""
    return to_dict(StepReport(step, MODEL, day, outcome, reason, seconds, to_dict(record) if record else {}))


def dag_run(step: str, *returned: Any, by: Any = "asset", events: tuple[str, ...] = (), seconds: float = 1.0) -> DagRun:
    """A run of a DAG that is over."""
    tasks = tuple(TaskTime(f"task_{i}", -1, "success", seconds / len(returned)) for i in range(len(returned)))
    names = tuple(f"{MODEL}/{event}" for event in events)
    return DagRun(f"{step}__{MODEL}", f"run-{step}", by, names, "success", seconds, seconds, tasks, returned)


def ingested(day: date, *, good: bool = True, released: bool = False) -> dict[str, Any]:
    """What ingestion returns."""
    if good:
        record = DataSlice("fleet", day, "validated", "uri", 3456, 24, 31, "h", released=released)
        return told("ingestion", day, "done", "3,456 rows of 24 entities keep their contract, 31 of them late.", record)
    why = ("temperature: 2,988 of 3,524 rows (84.8 %) outside −40…150 °C, largest 187.3",)
    record = DataSlice("fleet", day, "quarantined", "uri", 3524, 24, 31, "h", reasons=why)
    return told("ingestion", day, "no", f"Quarantined: {why[0]}", record)


def trained(day: date, version: int, reason: str = "schedule") -> DagRun:
    """A training run: prepare, two fits, select."""
    at = datetime(day.year, day.month, day.day, tzinfo=UTC)
    training_set = TrainingSet(
        MODEL, day, "key", "uri", "f", ("a",), 34000, 24, 24000, 6900, 6900, 6900, 120, at, at, at, reason
    )
    prepared = {
        "report": told("training", day, "done", "34,000 rows of 24 entities.", training_set, 0.8),
        "training_set": to_dict(training_set),
        "candidates": [0, 1],
        "labels": ["isolation_forest", "ecod"],
    }
    runs = [
        RunRecord(f"{MODEL}/training/{day}/{c}", "r", "p", c, c, "FINISHED", metrics={"cv": 0.4}, seconds=1.2)
        for c in ("isolation_forest", "ecod")
    ]
    made = ModelVersion(MODEL, version, "r", "key", "uri", "d", "h", "isolation_forest")
    selected = told("training", day, "done", f"Version {version} (isolation_forest) is new.", made, 0.4)
    by, events = ("asset", ("drift",)) if reason == "drift" else ("cron", ())
    return dag_run("training", prepared, *map(to_dict, runs), selected, by=by, events=events, seconds=5.0)


def judged(day: date, version: int, champion: int | None, low: float) -> DagRun:
    """A validation run; it passes if the lower bound `low` is above 0."""
    name = "better_than_champion" if champion else "reaches_floor_and_beats_dummy"
    numbers = {
        "challenger": 0.42 + low,
        "champion" if champion else "baseline": 0.4,
        "difference": low + 0.02,
        "low": low,
    }
    gates = (
        GateResult("not_the_champion", "pass", "Scores differ on 98.2 % of rows.", 0.982, 0.0),
        GateResult("no_leakage", "pass", "Nothing of the holdout was seen."),
        GateResult(
            name, "pass" if low > 0 else "fail", f"average precision: lower bound {low:+.3f}.", low, 0.0, numbers
        ),
        GateResult("alert_budget_kept", "pass", "12 alarms in 48.0 entity-days.", 0.25, 0.9),
        GateResult("no_slice_harmed", "cannot_tell", "0 of 30 slices have enough rows to be judged.", decides=False),
    )
    decision = GateDecision(MODEL, version, champion, "pass" if low > 0 else "fail", gates, day, "d")
    words = f"Version {version} {'passed all 4 gates' if low > 0 else 'was refused'}."
    return dag_run(
        "validation", told("validation", day, "done" if low > 0 else "no", words, decision), events=("challenger",)
    )


def promoted(day: date, version: int, previous: int | None) -> DagRun:
    """A promotion run."""
    words = (
        f"Version {version} takes over from version {previous}."
        if previous
        else f"Version {version} is the first champion."
    )
    record = PromotionRecord(
        MODEL, version, previous, True, words, "policy:automatic", datetime(2026, 3, 1, tzinfo=UTC)
    )
    return dag_run("promotion", told("promotion", day, "done", words, record), events=("validated_challenger",))


def scored(days: list[date], version: int) -> DagRun:
    """An inference run."""
    returned = [
        told("inference", d, "done", "scored", PredictionBatch(MODEL, version, d, "uri", 3456, 3456, 20, 9, 0.6))
        for d in days
    ]
    return dag_run("inference", *returned, events=("features",))


def watched(days: list[date], version: int, *, moved: bool, since: date | None = None) -> DagRun:
    """A monitoring run; without `since` what moved did so on its own date."""
    returned = []
    for day in days:
        columns = tuple(
            ColumnDrift(
                name,
                "drift" if moved and index % 3 else "no_drift",
                "wasserstein",
                round((0.16 + 0.05 * (index % 4) if moved and index % 3 else 0.04 + 0.01 * (index % 5)), 3),
                0.1,
            )
            for index, name in enumerate(COLUMNS)
        )
        share = sum(column.verdict == "drift" for column in columns) / len(columns)
        verdict = "drift" if moved else "no_drift"
        words = f"{share:.0%} of the columns drifted."
        found = DriftReport(MODEL, version, day, verdict, words, columns, share, 20000, 3456, retrain=moved)
        if moved:
            pumps = tuple(f"pump-{i + 1:02d}" for i in range(30))
            found = replace(
                found,
                degree="with_consequence",
                since=since or day,
                consequence=1.2,
                entities=pumps,
                entities_seen=30,
            )
        returned.append(told("monitoring", day, "no" if moved else "done", words, found))
    return dag_run("monitoring", *returned, events=("predictions",))


def featured(days: list[date]) -> DagRun:
    """A features run."""
    batch = [told("features", d, "done", "3,456 rows.", FeatureBatch("s", d, rows=3456)) for d in days]
    return dag_run("features", *batch, events=("validated_data",))


def runs_of(number: int, days: list[date]) -> list[DagRun]:
    """The runs of each night, written by hand."""
    today = days[number - 1]
    if number == 3:
        nothing = told("training", today, "nothing_to_do", "The delivery is in quarantine; the champion stays.", None)
        skipped = {"report": nothing, "training_set": None, "candidates": [], "labels": []}
        return [dag_run("ingestion", ingested(today, good=False), by="cron"), dag_run("training", skipped, by="cron")]
    fresh = [days[2], today] if number == 4 else [today]
    first = [dag_run("ingestion", ingested(days[2], released=True), by="form")] if number == 4 else []
    before = [*first, dag_run("ingestion", ingested(today), by="cron"), featured(fresh)]
    if number == 1:
        after = [trained(today, 1), judged(today, 1, None, 0.21), promoted(today, 1, None), scored(fresh, 1)]
        return [*before, *after, watched(fresh, 1, moved=False)]
    champion = 1 if number < 8 else 7
    night = [*before, trained(today, number), judged(today, number, champion, -0.03 + 0.001 * number)]
    night += [scored(fresh, champion), watched(fresh, champion, moved=number in (5, 6, 7), since=days[4])]
    if number == 5:
        night += [trained(today, 6, "drift"), judged(today, 6, 1, -0.01)]
    if number == 7:
        night += [trained(today, 7, "manual"), judged(today, 7, 1, 0.04), promoted(today, 7, 1), scored(fresh, 7)]
        night += [watched(fresh, 7, moved=False)]
    return night


def incident(kind: str, day: date) -> Incident:
    """Something a person should know of."""
    return Incident(f"{MODEL}/{kind}", MODEL, kind, day, "normal", f"{kind} of {day}", "The champion stays.", "Look.")

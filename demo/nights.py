"""Living through the plan: deliveries arrive, Airflow works, and what happened is written down.

One rule: what this module starts by itself is what a clock or a person would start (`Start`); the rest follows from
Assets.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from demo import environment
from demo.plan import Plan, PlannedNight
from demo.scheduler import Scheduler, Start
from demo.summary import ChampionChange, History, Night, Step, Summary, step_of
from demo.terminal import Screen
from mlops.data import fleet
from mlops.records import Incident
from mlops.services import Services
from mlops.spec import ModelSpec

NIGHT_HOUR = 1  # UTC, when the nights' work begins

_BYTES_PER_UNIT = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss


@dataclass(frozen=True)
class World:
    """What the demo lives in.

    Args:
        plan: what is delivered when.
        scheduler: Airflow.
        services: the demo's own installation.
        spec: its model.
        screen: who watches.
    """

    plan: Plan
    scheduler: Scheduler
    services: Services
    spec: ModelSpec
    screen: Screen

    @property
    def inbox(self) -> str:
        """Where deliveries arrive."""
        return self.services.storage.uri("inbox")


def live_history(world: World) -> History:
    """Deliver and ingest what lies before the first night; the features follow as their DAG is told of it."""
    began = time.perf_counter()
    plan, screen = world.plan, world.screen
    with screen.working(f"history: {len(plan.history)} days, ingested and featured", total=2 * len(plan.history)):
        for day in plan.history:
            fleet.write_delivery(plan.fleet, day, world.inbox)
        steps: list[Step] = []
        for run in world.scheduler.live([_ingestion(world.spec, day) for day in plan.history]):
            step = step_of(run)
            steps.append(step)
            if step.outcome == "failed":
                raise RuntimeError(f"{step.dag_id} failed before the first night: {step.reason}")
            if step.step in ("ingestion", "features"):
                for _ in step.dates:
                    screen.advance()
    rows = sum(int(r.record.get("rows", 0)) for s in steps if s.step == "ingestion" for r in s.reports)
    return History(plan.history, len(steps), rows, round(time.perf_counter() - began, 3))


def live_night(world: World, night: PlannedNight, champion: int | None) -> Night:
    """One night: what is delivered arrives, the clock starts ingestion and training, a re-delivery is a person's work.

    Args:
        world: see `World`.
        night: its deliveries.
        champion: version that is champion when the night begins.
    """
    spec, incidents_of = world.spec, world.services.alerts.list_incidents
    began = time.perf_counter()
    environment.live_at(night.date + timedelta(days=1), NIGHT_HOUR)
    starts: list[Start] = []
    for delivery in night.deliveries:
        fleet.write_delivery(world.plan.fleet, delivery.date, world.inbox, corrupt=delivery.kind == "corrupt")
        starts.append(_ingestion(spec, delivery.date, by_hand=delivery.kind == "re-delivery"))
    starts.append(Start(f"training__{spec.name}", "cron", {"date": night.date.isoformat(), "reason": "schedule"}))
    steps: list[Step] = []
    known = incidents_of(spec.name)
    with world.screen.night(night):
        for run in world.scheduler.live(starts):
            told = incidents_of(spec.name)
            step = step_of(run, _new(told, known))
            known = told
            steps.append(step)
            champion = step.champion if step.promoted else champion
            world.screen.step(step)
    seconds = round(time.perf_counter() - began, 3)
    return Night(night.number, night.date, night.deliveries, tuple(steps), champion, seconds)


def champion_changes(world: World, nights: Sequence[Night]) -> tuple[ChampionChange, ...]:
    """The changes of the champion as the ledger has them, with the nights in which they came about."""
    when = {step.champion: night for night in nights for step in night.steps if step.promoted}
    names = {
        int(report.record["version"]): str(report.record["candidate"])
        for night in nights
        for step in night.of("training")
        for report in step.reports
        if "candidate" in report.record
    }
    changes = []
    for entry in world.services.ledger.history(world.spec.name):
        version = int(entry.body["version"])
        night = when[version]
        changes.append(
            ChampionChange(
                version=version,
                candidate=names.get(version, ""),
                previous=entry.body["previous_version"],
                night=night.number,
                date=night.date,
                reason=str(entry.body["reason"]),
            )
        )
    return tuple(changes)


def summarise(world: World, history: History, nights: Sequence[Night], started_at: datetime) -> Summary:
    """The nights as one value, without what is known only at the very end: expectations, time and memory."""
    plan, spec = world.plan, world.spec
    return Summary(
        schema=1,
        model=spec.name,
        task=spec.task,
        metric=spec.metric,
        owner=spec.owner,
        devices=plan.fleet.devices,
        step_minutes=plan.fleet.step_minutes,
        seed=plan.fleet.seed,
        alerts_per_entity_day=spec.alerts_per_entity_day,
        started_at=started_at,
        seconds=0.0,
        seconds_by_part={},
        peak_rss_mb=peak_rss_mb(),
        history=history,
        nights=tuple(nights),
        champions=champion_changes(world, nights),
    )


def peak_rss_mb() -> float:
    """The largest resident memory of this process so far [MB]."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _BYTES_PER_UNIT / 1e6, 1)


def _ingestion(spec: ModelSpec, day: date, *, by_hand: bool = False) -> Start:
    return Start(f"ingestion__{spec.name}", "form" if by_hand else "cron", {"date": day.isoformat()})


def _new(told: Sequence[Incident], known: Sequence[Incident]) -> list[Incident]:
    names = {(incident.key, incident.date) for incident in known}
    return [incident for incident in told if (incident.key, incident.date) not in names]

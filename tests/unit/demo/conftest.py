"""Eight nights in which all that should happen did, as a summary and as series."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta

import pytest

from demo import story
from demo.plan import Plan, make_plan
from demo.series import KnownFault, Series, Trace
from demo.summary import ChampionChange, History, Night, Summary, step_of
from mlops.data import fleet
from mlops.records import Incident
from tests.unit.demo.by_hand import MODEL, incident, runs_of


@pytest.fixture
def plan() -> Plan:
    """The demo's own plan."""
    return make_plan()


@pytest.fixture
def summary(plan: Plan) -> Summary:
    """Eight nights in which all that should happen did."""
    days = [night.date for night in plan.nights]
    nights = []
    champion: int | None = None
    for planned in plan.nights:
        steps = []
        for run in runs_of(planned.number, days):
            step = step_of(run, _told(planned.number, run.dag_id.split("__")[0], days))
            steps.append(step)
            champion = step.champion if step.promoted else champion
        seconds = sum(step.seconds for step in steps)
        nights.append(Night(planned.number, planned.date, planned.deliveries, tuple(steps), champion, seconds))
    made = Summary(
        schema=1,
        model=MODEL,
        task="anomaly",
        metric="average_precision",
        owner="platform@example.com",
        devices=24,
        step_minutes=10,
        seed=7,
        alerts_per_entity_day=0.3,
        started_at=datetime(2026, 11, 21, 5, 30, tzinfo=UTC),
        seconds=131.4,
        seconds_by_part={"setup": 9.2, "history": 14.0, "nights": 104.1, "report": 1.2},
        peak_rss_mb=912.4,
        history=History(plan.history, 24, 41000, 14.0),
        nights=tuple(nights),
        champions=(
            ChampionChange(1, "isolation_forest", None, 1, days[0], "Version 1 is the first champion."),
            ChampionChange(7, "isolation_forest", 1, 7, days[6], "Version 7 takes over from version 1."),
        ),
    )
    return replace(made, expectations=story.check(made, []))


def _told(number: int, step: str, days: list[date]) -> list[Incident]:
    """A finding in night 3; the drift of nights 5 to 7: told of in the first of them, and again as a reminder."""
    if (number, step) == (3, "ingestion"):
        return [incident("finding", days[2])]
    if number not in (5, 6, 7) or step != "monitoring":
        return []
    moments = [datetime.combine(day, time(1), UTC) for day in days[4:6]]
    reminded = int(number > 5)
    found = replace(incident("drift", days[number - 1]), number=2, dates=tuple(days[4:number]))
    return [replace(found, told_at=moments[reminded], reminded=reminded)]


@pytest.fixture
def series(plan: Plan) -> Series:
    """Alarms and faults as the fleet has them; every second fault is caught."""
    dates = tuple(night.date for night in plan.nights)
    devices = tuple(fleet.device_name(i) for i in range(plan.fleet.devices))
    faults = tuple(
        KnownFault(fleet.device_name(f.device), f.kind, fleet.CHANNELS[f.channel], f.start, f.end, i % 3 > 0)
        for day in dates
        for i, f in enumerate(fleet.faults(plan.fleet, day))
    )
    alarms = tuple(
        tuple(
            sum(f.caught and f.device == device and f.start.date() == day for f in faults) + (i * 7 + j * 3) % 11 // 10
            for j, day in enumerate(dates)
        )
        for i, device in enumerate(devices)
    )
    return Series(devices, dates, alarms, faults, tuple(_trace(plan, fault) for fault in faults[:4]))


@pytest.fixture
def broken(summary: Summary) -> Callable[..., Summary]:
    """The summary with one night's steps replaced."""

    def make(number: int, change: Callable[[Night], Night]) -> Summary:
        nights = tuple(change(night) if night.number == number else night for night in summary.nights)
        return replace(summary, nights=nights)

    return make


def _trace(plan: Plan, fault: KnownFault) -> Trace:
    day = fault.start.date()
    rows = fleet.deliver(plan.fleet, day, corrupt=False)
    mine = rows[(rows["device_id"] == fault.device) & (rows["event_timestamp"].dt.date == day)]
    mine = mine.sort_values("event_timestamp")
    times = tuple(moment.to_pydatetime() for moment in mine["event_timestamp"])
    inside = [fault.start <= moment < fault.end for moment in times]
    hit = [moment for moment, yes in zip(times, inside, strict=True) if yes]
    return Trace(
        device=fault.device,
        date=day,
        title=f"{fault.device}, {day:%d %b}: {fault.kind}",
        times=times,
        signals={n: tuple(None if math.isnan(v) else float(v) for v in mine[n]) for n in fleet.CHANNELS},
        score=tuple(0.8 if yes else 0.4 for yes in inside),
        threshold=0.6,
        version=1,
        alarms=((hit[0], min(hit[-1], hit[0] + timedelta(hours=1))),) if hit and fault.caught else (),
        faults=(fault,),
    )

"""Which nights the demo lives through: what is delivered when, and from when on the fleet works differently.

One rule: only deliveries are planned. What the pipelines make of them is theirs.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

from mlops.data.fleet import FleetConfig

FIRST_DAY = date(2026, 3, 2)
HISTORY_DAYS = 10  # the training window; the labels of the last of them mature by the first night
NIGHTS = 8
CORRUPT_NIGHT = 3
REGIME_NIGHT = 5
SEED = 1  # of the seeds 1 to 24, nine bring the new champion in night 6 or 7, three in night 8, the others later


@dataclass(frozen=True, slots=True)
class Delivery:
    """What arrives for one date."""

    date: date
    kind: Literal["normal", "corrupt", "re-delivery", "new regime"]


@dataclass(frozen=True, slots=True)
class PlannedNight:
    """One night: its deliveries, in order of arrival."""

    number: int  # from 1
    date: date
    deliveries: tuple[Delivery, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole demo."""

    fleet: FleetConfig
    history: tuple[date, ...]  # delivered before the first night
    nights: tuple[PlannedNight, ...]


def make_plan(devices: int = 30, seed: int = SEED) -> Plan:
    """The plan of the demo: a corrupt delivery on the third night, another operating regime from the fifth on.

    >>> [delivery.kind for delivery in make_plan().nights[3].deliveries]
    ['re-delivery', 'normal']
    """
    history = tuple(FIRST_DAY + timedelta(days=i) for i in range(HISTORY_DAYS))
    dates = [history[-1] + timedelta(days=number) for number in range(1, NIGHTS + 1)]
    fleet = FleetConfig(devices=devices, seed=seed, first_day=FIRST_DAY, regime_day=dates[REGIME_NIGHT - 1])
    return Plan(fleet, history, tuple(_night(number, dates) for number in range(1, NIGHTS + 1)))


def _night(number: int, dates: list[date]) -> PlannedNight:
    today = dates[number - 1]
    if number == CORRUPT_NIGHT:
        return PlannedNight(number, today, (Delivery(today, "corrupt"),))
    own = Delivery(today, "new regime" if number == REGIME_NIGHT else "normal")
    late = (Delivery(dates[CORRUPT_NIGHT - 1], "re-delivery"),) if number == CORRUPT_NIGHT + 1 else ()
    return PlannedNight(number, today, (*late, own))

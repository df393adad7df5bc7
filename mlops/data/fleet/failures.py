"""Faults: spikes, level shifts, stuck sensors and slow drifts, drawn per device and day.

One rule: a fault begins on the day it is drawn for, and none lasts longer than a day.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Literal

import numpy as np
import numpy.typing as npt

from mlops.data.fleet.plant import CHANNELS, FAULTS, FleetConfig, Floats, midnight, naive, rng_of, times_of
from mlops.data.fleet.signals import clean_signal

FaultKind = Literal["spike", "level_shift", "stuck_sensor", "slow_drift"]

_FAULT_UNIT = np.array([5.0, 0.45, 0.45, 45.0])  # a fault of size 1, in the channel's unit
_KINDS: tuple[FaultKind, ...] = ("spike", "level_shift", "stuck_sensor", "slow_drift")
_KIND_SHARES = (0.35, 0.30, 0.20, 0.15)
_KIND_HOURS = {"spike": (0.2, 0.5), "level_shift": (2.0, 5.0), "stuck_sensor": (2.0, 6.0), "slow_drift": (4.0, 9.0)}
_KIND_SIZES = {"spike": (4.0, 8.0), "level_shift": (3.0, 6.0), "stuck_sensor": (0.0, 0.0), "slow_drift": (5.0, 9.0)}
_PARTNER = (2, 3, 0, 1)  # a failing bearing runs hot and shakes, a failing drive loses speed and pressure
_RISING = (0, 2)  # heat and vibration of a failing machine go up only
_PARTNER_SHARE = 0.6  # of a fault of the process (level shift, slow drift); other faults are of one sensor


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of one sensor of one device, from `start` up to but not including `end`."""

    device: int
    kind: FaultKind
    channel: int  # index into CHANNELS
    start: datetime
    end: datetime
    size: float  # signed, in the channel's unit; 0 for a stuck sensor


def faults(config: FleetConfig, day: date) -> tuple[Fault, ...]:
    """The faults that begin on `day`, by device and start."""
    found: list[Fault] = []
    for device in range(config.devices):
        rng = rng_of(config, FAULTS, device, day)
        count = int(rng.poisson(config.faults_per_device_day))
        found.extend(_draw_fault(config, device, day, rng) for _ in range(count))
    return tuple(sorted(found, key=lambda f: (f.device, f.start)))


def touching(config: FleetConfig, day: date) -> list[Fault]:
    """Faults that are active at some time of `day`; none lasts longer than a day."""
    begun = [f for d in (day - timedelta(days=1), day) if d >= config.first_day for f in faults(config, d)]
    return [fault for fault in begun if fault.end > midnight(day)]


def active(fault: Fault, times: npt.NDArray[np.datetime64]) -> npt.NDArray[np.bool_]:
    """At which of these times the fault is there."""
    return (times >= naive(fault.start)) & (times < naive(fault.end))


def strike(config: FleetConfig, fault: Fault, times: npt.NDArray[np.datetime64], values: Floats) -> None:
    """Put a fault into `values`, shape (4, devices, steps)."""
    on = active(fault, times)
    if fault.kind == "stuck_sensor":
        onset = np.array([[fault.start.timestamp() / 3600]])
        values[fault.channel, fault.device, on] = clean_signal(config, [fault.device], onset)[fault.channel, 0, 0]
        return
    grown: Floats | float = 1.0
    if fault.kind == "slow_drift":
        lasts = (fault.end - fault.start) / timedelta(microseconds=1)
        grown = (times[on] - naive(fault.start)).astype(np.int64) / lasts
    values[fault.channel, fault.device, on] += fault.size * grown
    if fault.kind != "spike":
        partner = _PARTNER[fault.channel]
        echo = _PARTNER_SHARE * fault.size / _FAULT_UNIT[fault.channel] * _FAULT_UNIT[partner]
        values[partner, fault.device, on] += echo * grown


def _draw_fault(config: FleetConfig, device: int, day: date, rng: np.random.Generator) -> Fault:
    kind = _KINDS[int(rng.choice(len(_KINDS), p=_KIND_SHARES))]
    channel = int(rng.integers(len(CHANNELS)))
    step = timedelta(minutes=config.step_minutes)
    start = midnight(day) + int(rng.integers(len(times_of(config, day)))) * step
    steps = max(1, round(rng.uniform(*_KIND_HOURS[kind]) * 60 / config.step_minutes))
    sign = 1.0 if channel in _RISING else float(rng.choice([-1.0, 1.0]))
    size = sign * rng.uniform(*_KIND_SIZES[kind]) * _FAULT_UNIT[channel]
    return Fault(device, kind, channel, start, start + steps * step, float(size))

"""The sample fleet: telemetry of pumps that breathe with the day, wear out and fail, generated from a seed.

A device's clean signal is an analytic function of time: ambient temperature and load set the pace, speed follows load,
pressure follows speed squared (affinity law of pumps), vibration follows speed and wear. White noise, faults and late
arrivals are drawn per device and day. `regime_day` changes the operating regime of the whole fleet for good.

One rule: the same (seed, device, day) gives the same rows, whichever other devices and days are asked for.

References:
    ISO 10816-7, rotodynamic pumps: vibration of healthy machines lies below some 4 mm/s RMS.
    Gülich, Centrifugal Pumps (2014), ch. 3.4.4: affinity laws.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from mlops.errors import NoDataError
from mlops.storage import Storage

Floats = npt.NDArray[np.float64]
FaultKind = Literal["spike", "level_shift", "stuck_sensor", "slow_drift"]

CHANNELS = ("temperature", "pressure", "vibration", "rotation")  # [°C], [bar], [mm/s], [rpm]
_DECIMALS = (2, 3, 3, 1)
_NOISE = np.array([0.35, 0.04, 0.06, 4.0])  # standard deviation, in the channel's unit
_FAULT_UNIT = np.array([5.0, 0.45, 0.45, 45.0])  # a fault of size 1, in the channel's unit
_KINDS: tuple[FaultKind, ...] = ("spike", "level_shift", "stuck_sensor", "slow_drift")
_KIND_SHARES = (0.35, 0.30, 0.20, 0.15)
_KIND_HOURS = {"spike": (0.2, 0.5), "level_shift": (2.0, 5.0), "stuck_sensor": (2.0, 6.0), "slow_drift": (4.0, 9.0)}
_KIND_SIZES = {"spike": (4.0, 8.0), "level_shift": (3.0, 6.0), "stuck_sensor": (0.0, 0.0), "slow_drift": (5.0, 9.0)}
_PARTNER = (2, 3, 0, 1)  # a failing bearing runs hot and shakes, a failing drive loses speed and pressure
_RISING = (0, 2)  # heat and vibration of a failing machine go up only
_PARTNER_SHARE = 0.6  # of a fault of the process (level shift, slow drift); other faults are of one sensor
_DEVICE, _DAY, _FAULTS, _CORRUPTION = range(4)  # streams of random numbers


@dataclass(frozen=True, slots=True)
class FleetConfig:
    """What fleet is generated."""

    devices: int = 30
    step_minutes: int = 10  # between two readings of a device [min]
    seed: int = 7
    late_share: float = 0.01  # share of readings that arrive on the day after
    null_share: float = 0.002  # share of single values that a sensor fails to give
    faults_per_device_day: float = 0.5  # mean number of faults that begin, per device and day
    first_day: date = date(2026, 3, 2)
    regime_day: date | None = None  # from this day on: hotter, faster, rougher
    corrupt_days: frozenset[date] = frozenset()  # days on which the first delivery is corrupt


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of one sensor of one device, from `start` up to but not including `end`."""

    device: int
    kind: FaultKind
    channel: int  # index into CHANNELS
    start: datetime
    end: datetime
    size: float  # signed, in the channel's unit; 0 for a stuck sensor


def device_name(index: int) -> str:
    """The id of a device.

    >>> device_name(3)
    'pump-04'
    """
    return f"pump-{index + 1:02d}"


def deliver(config: FleetConfig, day: date, *, corrupt: bool | None = None) -> pd.DataFrame:
    """The telemetry that is delivered on `day`: its readings less the late ones, and the late ones of the day before.

    Args:
        config: the fleet.
        day: date of the delivery, UTC.
        corrupt: True for the corrupt form (temperature in °F, a third of pressure null, 2 % of the rows twice), False
            for the good one; default: corrupt if `day` is one of `config.corrupt_days`.

    Returns:
        device_id, event_timestamp, arrived_at (UTC), temperature [°C], pressure [bar], vibration [mm/s], rotation
        [rpm], in order of arrival.

    Raises:
        NoDataError: `day` lies before the fleet's first day.
    """
    _refuse_before_start(config, day)
    parts = [_readings(config, day)]
    if day > config.first_day:
        parts.insert(0, _readings(config, day - timedelta(days=1)))
    rows = pd.concat(parts, ignore_index=True)
    known_on = rows["arrived_at"].dt.date
    rows = rows[known_on == day].sort_values(["arrived_at", "device_id"], kind="stable").reset_index(drop=True)
    spoilt = day in config.corrupt_days if corrupt is None else corrupt
    return _corrupted(config, day, rows) if spoilt else rows


def labels(config: FleetConfig, day: date) -> pd.DataFrame:
    """What technicians found about the readings of `day`, written down on the day after.

    Returns:
        One row per reading, late ones included: device_id, event_timestamp, is_anomaly (0 or 1), labelled_at.

    Raises:
        NoDataError: `day` lies before the fleet's first day.
    """
    _refuse_before_start(config, day)
    times = _times(config, day)
    hit = np.zeros((config.devices, len(times)), dtype=bool)
    for fault in _faults_touching(config, day):
        hit[fault.device] |= _active(fault, times)
    labelled_at = _midnight(day) + timedelta(days=1, hours=9)
    minutes = np.repeat(np.arange(config.devices) % 240, len(times))
    return pd.DataFrame(
        {
            "device_id": np.repeat([device_name(i) for i in range(config.devices)], len(times)),
            "event_timestamp": _utc(np.tile(times, config.devices)),
            "is_anomaly": hit.ravel().astype(np.int64),
            "labelled_at": _utc(np.datetime64(labelled_at.replace(tzinfo=None), "us") + minutes.astype("m8[m]")),
        }
    )


def faults(config: FleetConfig, day: date) -> tuple[Fault, ...]:
    """The faults that begin on `day`, by device and start."""
    found: list[Fault] = []
    for device in range(config.devices):
        rng = _rng(config, _FAULTS, device, day)
        count = int(rng.poisson(config.faults_per_device_day))
        found.extend(_draw_fault(config, device, day, rng) for _ in range(count))
    return tuple(sorted(found, key=lambda f: (f.device, f.start)))


def write_delivery(config: FleetConfig, day: date, folder_uri: str, *, corrupt: bool | None = None) -> str:
    """Write what becomes known on `day`: telemetry, and the labels of the day before.

    Args:
        config: the fleet.
        day: date of the delivery, UTC.
        folder_uri: gets `fleet/<day>.parquet` and, from the second day on, `fleet_labels/<day>.parquet`.
        corrupt: see `deliver`.

    Returns:
        The URI of the telemetry.
    """
    inbox = Storage(folder_uri)
    target = inbox.uri("fleet", f"{day.isoformat()}.parquet")
    inbox.write_bytes(target, _parquet(deliver(config, day, corrupt=corrupt)))
    if day > config.first_day:
        known = labels(config, day - timedelta(days=1))
        inbox.write_bytes(inbox.uri("fleet_labels", f"{day.isoformat()}.parquet"), _parquet(known))
    return target


# --- signals ----------------------------------------------------------------------------------------------------------


def clean_signal(config: FleetConfig, devices: Sequence[int] | npt.NDArray[np.int64], hours: Floats) -> Floats:
    """The signal without noise and faults.

    Args:
        config: the fleet.
        devices: device indices, shape (n,).
        hours: hours since the epoch [h], shape (n, t).

    Returns:
        Shape (4, n, t), in the order and units of `CHANNELS`.
    """
    traits = np.stack([_rng(config, _DEVICE, int(device)).standard_normal(6) for device in devices])[..., None]
    regime = _regime(config, hours)
    hour = hours % 24.0
    weather = np.sin(2 * np.pi * hours / (24 * 3.1)) + np.sin(2 * np.pi * hours / (24 * 5.7))
    ambient = 16.0 + 3.0 * np.sin(2 * np.pi * (hour - 9.0) / 24) + 0.5 * weather + 8.0 * regime
    load = _load(hours, traits, regime)
    lagged_load = _load(hours - 1.0, traits, regime)  # iron warms up with an hour's delay
    age_days = (
        hours / 24 + 45.0 * (np.abs(traits[:, 5]) % 1.0)
    ) % 45.0  # overhauled every 45 days, one after the other
    setpoint = (1480.0 + 6.0 * traits[:, 0]) * (1.0 + 0.07 * regime)
    rotation = setpoint * (0.94 + 0.10 * load)
    speed = rotation / 1480.0
    pressure = 6.0 * speed**2 * (1.0 - 0.10 * load) + 0.06 * traits[:, 1] - 0.004 * age_days
    temperature = 46.0 + ambient + 16.0 * lagged_load + 0.8 * traits[:, 2]
    vibration = 1.5 + 2.0 * (speed - 1.0) + 0.08 * traits[:, 3] + 0.008 * age_days + 0.8 * regime
    return np.stack([temperature, pressure, vibration, rotation])


def _load(hours: Floats, traits: Floats, regime: Floats) -> Floats:
    """Share of full load: two shifts a day, begun a little earlier or later by each device."""
    phase = 2 * np.pi * (hours + 0.7 * traits[:, 4]) / 24
    wobble = np.sin(2 * np.pi * hours / 7.3 + 6.0 * traits[:, 5])
    swing = 0.14 * np.sin(phase - 2.2) + 0.05 * np.sin(2 * phase) + 0.03 * wobble
    return 0.55 + swing * (1.0 + 0.8 * regime)


def _regime(config: FleetConfig, hours: Floats) -> Floats:
    """1 from `regime_day` on, 0 before."""
    if config.regime_day is None:
        return np.zeros_like(hours)
    return (hours >= _midnight(config.regime_day).timestamp() / 3600).astype(float)


def _readings(config: FleetConfig, day: date) -> pd.DataFrame:
    """All readings of `day` with the time each arrives."""
    times = _times(config, day)
    hours = np.broadcast_to(times.astype(np.int64) / 3.6e9, (config.devices, len(times)))
    values = clean_signal(config, np.arange(config.devices), hours)
    noise, nulls, delay_us = _chance(config, day, len(times))
    values = values + noise * _NOISE[:, None, None] * (1.0 + 0.4 * _regime(config, hours))
    for fault in _faults_touching(config, day):
        _strike(config, fault, times, values)
    values[nulls] = np.nan
    columns = {name: np.round(values[k].ravel(), _DECIMALS[k]) for k, name in enumerate(CHANNELS)}
    event = np.tile(times, config.devices)
    return pd.DataFrame(
        {
            "device_id": np.repeat([device_name(i) for i in range(config.devices)], len(times)),
            "event_timestamp": _utc(event),
            "arrived_at": _utc(_arrival(event, delay_us.ravel(), day)),
            **columns,
        }
    )


def _chance(config: FleetConfig, day: date, steps: int) -> tuple[Floats, npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """Noise (4, devices, steps), missing values (same shape), delay [µs] (devices, steps); a late row's is negative."""
    noise = np.empty((len(CHANNELS), config.devices, steps))
    nulls = np.empty(noise.shape, dtype=bool)
    delay = np.empty((config.devices, steps), dtype=np.int64)
    for device in range(config.devices):
        rng = _rng(config, _DAY, device, day)
        noise[:, device] = rng.standard_normal((len(CHANNELS), steps))
        nulls[:, device] = rng.random((len(CHANNELS), steps)) < config.null_share
        late = rng.random(steps) < config.late_share
        prompt_us = rng.integers(2_000_000, 58_000_000, steps)
        delay[device] = np.where(late, -rng.integers(1_000_000, 12 * 3_600_000_000, steps), prompt_us)
    return noise, nulls, delay


def _arrival(
    event: npt.NDArray[np.datetime64], delay_us: npt.NDArray[np.int64], day: date
) -> npt.NDArray[np.datetime64]:
    """Seconds after the event, or for a late row (negative delay) that long after the next midnight."""
    next_midnight = np.datetime64(day + timedelta(days=1), "us")
    return np.where(delay_us < 0, next_midnight - delay_us.astype("m8[us]"), event + delay_us.astype("m8[us]"))


# --- faults -----------------------------------------------------------------------------------------------------------


def _draw_fault(config: FleetConfig, device: int, day: date, rng: np.random.Generator) -> Fault:
    kind = _KINDS[int(rng.choice(len(_KINDS), p=_KIND_SHARES))]
    channel = int(rng.integers(len(CHANNELS)))
    step = timedelta(minutes=config.step_minutes)
    start = _midnight(day) + int(rng.integers(len(_times(config, day)))) * step
    steps = max(1, round(rng.uniform(*_KIND_HOURS[kind]) * 60 / config.step_minutes))
    sign = 1.0 if channel in _RISING else float(rng.choice([-1.0, 1.0]))
    size = sign * rng.uniform(*_KIND_SIZES[kind]) * _FAULT_UNIT[channel]
    return Fault(device, kind, channel, start, start + steps * step, float(size))


def _faults_touching(config: FleetConfig, day: date) -> list[Fault]:
    """Faults that are active at some time of `day`; none lasts longer than a day."""
    begun = [f for d in (day - timedelta(days=1), day) if d >= config.first_day for f in faults(config, d)]
    return [fault for fault in begun if fault.end > _midnight(day)]


def _active(fault: Fault, times: npt.NDArray[np.datetime64]) -> npt.NDArray[np.bool_]:
    return (times >= _naive(fault.start)) & (times < _naive(fault.end))


def _strike(config: FleetConfig, fault: Fault, times: npt.NDArray[np.datetime64], values: Floats) -> None:
    """Put a fault into `values`, shape (4, devices, steps)."""
    on = _active(fault, times)
    if fault.kind == "stuck_sensor":
        onset = np.array([[fault.start.timestamp() / 3600]])
        values[fault.channel, fault.device, on] = clean_signal(config, [fault.device], onset)[fault.channel, 0, 0]
        return
    grown: Floats | float = 1.0
    if fault.kind == "slow_drift":
        lasts = (fault.end - fault.start) / timedelta(microseconds=1)
        grown = (times[on] - _naive(fault.start)).astype(np.int64) / lasts
    values[fault.channel, fault.device, on] += fault.size * grown
    if fault.kind != "spike":
        partner = _PARTNER[fault.channel]
        echo = _PARTNER_SHARE * fault.size / _FAULT_UNIT[fault.channel] * _FAULT_UNIT[partner]
        values[partner, fault.device, on] += echo * grown


def _corrupted(config: FleetConfig, day: date, rows: pd.DataFrame) -> pd.DataFrame:
    rng = _rng(config, _CORRUPTION, 0, day)
    spoilt = rows.copy()
    spoilt["temperature"] = (spoilt["temperature"] * 9 / 5 + 32).round(2)
    spoilt.loc[rng.random(len(spoilt)) < 1 / 3, "pressure"] = np.nan
    again = spoilt.sample(n=max(1, len(spoilt) // 50), random_state=int(rng.integers(2**31)))
    return pd.concat([spoilt, again], ignore_index=True).sort_values("arrived_at", kind="stable", ignore_index=True)


# --- time, chance, files ----------------------------------------------------------------------------------------------


def _rng(config: FleetConfig, stream: int, device: int, day: date | None = None) -> np.random.Generator:
    return np.random.default_rng((config.seed, stream, device, day.toordinal() if day else 0))


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _naive(moment: datetime) -> np.datetime64:
    return np.datetime64(moment.replace(tzinfo=None), "us")


def _times(config: FleetConfig, day: date) -> npt.NDArray[np.datetime64]:
    start = np.datetime64(day, "us")
    return np.arange(start, start + np.timedelta64(1, "D"), np.timedelta64(config.step_minutes, "m"))


def _utc(naive: npt.NDArray[np.datetime64]) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(naive.astype("M8[us]")).tz_localize("UTC")


def _refuse_before_start(config: FleetConfig, day: date) -> None:
    if day < config.first_day:
        raise NoDataError(
            f"The sample fleet has no data for {day}: it starts on {config.first_day}.",
            hint="Ask for a later day, or set FleetConfig.first_day.",
        )


def _parquet(frame: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    return buffer.getvalue()

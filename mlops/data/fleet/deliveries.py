"""What is delivered on a day: readings with noise, gaps and late arrivals, and what technicians found about them.

One rule: the same (seed, device, day) gives the same rows, whichever other devices and days are asked for.
"""

from __future__ import annotations

import io
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt
import pandas as pd

from mlops.data.fleet.failures import active, strike, touching
from mlops.data.fleet.plant import (
    CHANNELS,
    CORRUPTION,
    DAY,
    FleetConfig,
    Floats,
    device_name,
    midnight,
    refuse_before_start,
    rng_of,
    times_of,
    utc,
)
from mlops.data.fleet.signals import clean_signal, regime_at
from mlops.storage import Storage

_DECIMALS = (2, 3, 3, 1)
_NOISE = np.array([0.35, 0.04, 0.06, 4.0])  # standard deviation, in the channel's unit


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
    refuse_before_start(config, day)
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
    refuse_before_start(config, day)
    times = times_of(config, day)
    hit = np.zeros((config.devices, len(times)), dtype=bool)
    for fault in touching(config, day):
        hit[fault.device] |= active(fault, times)
    labelled_at = midnight(day) + timedelta(days=1, hours=9)
    minutes = np.repeat(np.arange(config.devices) % 240, len(times))
    return pd.DataFrame(
        {
            "device_id": np.repeat([device_name(i) for i in range(config.devices)], len(times)),
            "event_timestamp": utc(np.tile(times, config.devices)),
            "is_anomaly": hit.ravel().astype(np.int64),
            "labelled_at": utc(np.datetime64(labelled_at.replace(tzinfo=None), "us") + minutes.astype("m8[m]")),
        }
    )


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


def _readings(config: FleetConfig, day: date) -> pd.DataFrame:
    """All readings of `day` with the time each arrives."""
    times = times_of(config, day)
    hours = np.broadcast_to(times.astype(np.int64) / 3.6e9, (config.devices, len(times)))
    values = clean_signal(config, np.arange(config.devices), hours)
    noise, nulls, delay_us = _chance(config, day, len(times))
    values = values + noise * _NOISE[:, None, None] * (1.0 + 0.4 * regime_at(config, hours))
    for fault in touching(config, day):
        strike(config, fault, times, values)
    values[nulls] = np.nan
    columns = {name: np.round(values[k].ravel(), _DECIMALS[k]) for k, name in enumerate(CHANNELS)}
    event = np.tile(times, config.devices)
    return pd.DataFrame(
        {
            "device_id": np.repeat([device_name(i) for i in range(config.devices)], len(times)),
            "event_timestamp": utc(event),
            "arrived_at": utc(_arrival(event, delay_us.ravel(), day)),
            **columns,
        }
    )


def _chance(config: FleetConfig, day: date, steps: int) -> tuple[Floats, npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """Noise (4, devices, steps), missing values (same shape), delay [µs] (devices, steps); a late row's is negative."""
    noise = np.empty((len(CHANNELS), config.devices, steps))
    nulls = np.empty(noise.shape, dtype=bool)
    delay = np.empty((config.devices, steps), dtype=np.int64)
    for device in range(config.devices):
        rng = rng_of(config, DAY, device, day)
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


def _corrupted(config: FleetConfig, day: date, rows: pd.DataFrame) -> pd.DataFrame:
    rng = rng_of(config, CORRUPTION, 0, day)
    spoilt = rows.copy()
    spoilt["temperature"] = (spoilt["temperature"] * 9 / 5 + 32).round(2)
    spoilt.loc[rng.random(len(spoilt)) < 1 / 3, "pressure"] = np.nan
    again = spoilt.sample(n=max(1, len(spoilt) // 50), random_state=int(rng.integers(2**31)))
    return pd.concat([spoilt, again], ignore_index=True).sort_values("arrived_at", kind="stable", ignore_index=True)


def _parquet(frame: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    return buffer.getvalue()

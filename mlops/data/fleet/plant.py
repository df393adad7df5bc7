"""What fleet is generated, and the time and chance that everything about it is drawn from.

One rule: every random number comes from a stream of (seed, purpose, device, day), so that no order of asking matters.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time

import numpy as np
import numpy.typing as npt
import pandas as pd

from mlops.errors import NoDataError

Floats = npt.NDArray[np.float64]

CHANNELS = ("temperature", "pressure", "vibration", "rotation")  # [°C], [bar], [mm/s], [rpm]
DEVICE, DAY, FAULTS, CORRUPTION = range(4)  # streams of random numbers


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


def device_name(index: int) -> str:
    """The id of a device.

    >>> device_name(3)
    'pump-04'
    """
    return f"pump-{index + 1:02d}"


def rng_of(config: FleetConfig, stream: int, device: int, day: date | None = None) -> np.random.Generator:
    """The random numbers of a stream for a device, and a day if it is about one."""
    return np.random.default_rng((config.seed, stream, device, day.toordinal() if day else 0))


def midnight(day: date) -> datetime:
    """The beginning of a day, UTC."""
    return datetime.combine(day, time(), UTC)


def naive(moment: datetime) -> np.datetime64:
    """An instant as NumPy counts them: UTC without saying so."""
    return np.datetime64(moment.replace(tzinfo=None), "us")


def times_of(config: FleetConfig, day: date) -> npt.NDArray[np.datetime64]:
    """The times of a device's readings on a day, UTC without saying so."""
    start = np.datetime64(day, "us")
    return np.arange(start, start + np.timedelta64(1, "D"), np.timedelta64(config.step_minutes, "m"))


def utc(times: npt.NDArray[np.datetime64]) -> pd.DatetimeIndex:
    """Times that are UTC, saying so."""
    return pd.DatetimeIndex(times.astype("M8[us]")).tz_localize("UTC")


def refuse_before_start(config: FleetConfig, day: date) -> None:
    """Raise `NoDataError` for a day before the fleet's first."""
    if day < config.first_day:
        raise NoDataError(
            f"The sample fleet has no data for {day}: it starts on {config.first_day}.",
            hint="Ask for a later day, or set FleetConfig.first_day.",
        )

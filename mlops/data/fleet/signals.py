"""The clean signal of a device: an analytic function of time, before noise and faults.

Ambient temperature and load set the pace, speed follows load, pressure follows speed squared (affinity law of pumps),
vibration follows speed and wear. `regime_day` changes the operating regime of the whole fleet for good.

One rule: the signal at a moment depends on nothing but configuration, device and moment.

References:
    ISO 10816-7, rotodynamic pumps: vibration of healthy machines lies below some 4 mm/s RMS.
    Gülich, Centrifugal Pumps (2014), ch. 3.4.4: affinity laws.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mlops.data.fleet.plant import DEVICE, FleetConfig, Floats, midnight, rng_of


def clean_signal(config: FleetConfig, devices: Sequence[int] | npt.NDArray[np.int64], hours: Floats) -> Floats:
    """The signal without noise and faults.

    Args:
        config: the fleet.
        devices: device indices, shape (n,).
        hours: hours since the epoch [h], shape (n, t).

    Returns:
        Shape (4, n, t), in the order and units of `CHANNELS`.
    """
    traits = np.stack([rng_of(config, DEVICE, int(device)).standard_normal(6) for device in devices])[..., None]
    regime = regime_at(config, hours)
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


def regime_at(config: FleetConfig, hours: Floats) -> Floats:
    """1 from `regime_day` on, 0 before."""
    if config.regime_day is None:
        return np.zeros_like(hours)
    return (hours >= midnight(config.regime_day).timestamp() / 3600).astype(float)

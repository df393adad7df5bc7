"""The sample fleet: telemetry of pumps that breathe with the day, wear out and fail, generated from a seed.

`plant` says what fleet it is, `signals` how a healthy pump sounds, `failures` what goes wrong with it, `deliveries`
what of all that reaches us, and when.

One rule: the same (seed, device, day) gives the same rows, whichever other devices and days are asked for.
"""

from __future__ import annotations

from mlops.data.fleet.deliveries import deliver, labels, write_delivery
from mlops.data.fleet.failures import Fault, FaultKind, faults
from mlops.data.fleet.plant import CHANNELS, FleetConfig, device_name
from mlops.data.fleet.signals import clean_signal

__all__ = [
    "CHANNELS",
    "Fault",
    "FaultKind",
    "FleetConfig",
    "clean_signal",
    "deliver",
    "device_name",
    "faults",
    "labels",
    "write_delivery",
]

"""Worlds in which it is known whether anything has changed: days of rows, with the dependence that real rows have.

One rule: a world without a change has one law for all its days; what a day differs from others by is drawn anew.
No tool is imported here, so that each can be asked from an environment of its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.signal import lfilter

WORLDS = ("i.i.d.", "AR(1)", "daily season", "20 devices")
DEVICES = 20
MEMORY = 0.95  # of AR(1), from row to row
REFERENCE_DAYS = 14
QUIET_NIGHTS, CHANGED_NIGHTS = 30, 20
BEFORE = 3  # of the changed nights nothing has changed on so many
_FIRST = pd.Timestamp("2026-03-01", tz="UTC")

Floats = npt.NDArray[np.float64]


def days_of(world: str, rng: np.random.Generator, *, days: int, rows: int, features: int) -> list[pd.DataFrame]:
    """Days without a change.

    Args:
        world: one of `WORLDS`.
        rng: source of randomness.
        days: how many.
        rows: of a day.
        features: columns `c0`, `c1`, …

    Returns:
        One table a day with `at` and `device`, and the features.
    """
    devices = DEVICES if world == "20 devices" else 1
    steps = rows // devices
    noise = rng.normal(size=(days * steps, devices, features))
    if world == "AR(1)":
        noise = lfilter([np.sqrt(1 - MEMORY**2)], [1.0, -MEMORY], noise, axis=0)
    if world in ("daily season", "20 devices"):
        hour = np.tile(np.arange(steps) / steps, days)
        noise += np.sin(2 * np.pi * hour)[:, None, None] * (1 + rng.random(features))
    if world == "20 devices":
        noise += rng.normal(size=(1, devices, features))  # its level
        noise += np.repeat(rng.normal(0, 0.2, (days, 1, features)), steps, axis=0)  # the weather of a day
        noise += np.repeat(rng.normal(0, 0.3, (days, devices, features)), steps, axis=0)  # its own mood
    at = _FIRST + pd.to_timedelta(np.arange(days * steps) / steps, unit="D")
    found = []
    for day in range(days):
        part = noise[day * steps : (day + 1) * steps].reshape(-1, features)
        frame = pd.DataFrame(part, columns=[f"c{i}" for i in range(features)])
        times = np.repeat(at[day * steps : (day + 1) * steps], devices)
        found.append(frame.assign(at=times, device=np.tile(np.arange(devices), steps)))
    return found


def with_more(frame: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """With a category `kind` of four values, and a hundredth of `c3` missing."""
    kind = rng.choice(list("abcd"), len(frame), p=[0.4, 0.3, 0.2, 0.1])
    return frame.assign(kind=kind, c3=frame["c3"].where(rng.random(len(frame)) > 0.01))


SHIFTS: dict[str, tuple[float, ...]] = {
    "mean of 2 columns, by standard deviations": (0.5, 1.0, 2.0),
    "spread of 2 columns, times": (1.5, 2.0, 3.0),
    "correlation of 2 columns, from 0 to": (0.5, 0.8, 0.95),
    "category, share that moves": (0.1, 0.2, 0.4),
    "missing in 1 column, share": (0.05, 0.1, 0.3),
}


def shifted(frame: pd.DataFrame, shift: str, size: float, rng: np.random.Generator) -> pd.DataFrame:
    """A night after a change of one of `SHIFTS`."""
    changed = frame.copy()
    spread = frame["c0"].std()
    if shift.startswith("mean"):
        changed[["c0", "c1"]] += size * spread
    elif shift.startswith("spread"):
        for name in ("c0", "c1"):
            changed[name] = frame[name].mean() + size * (frame[name] - frame[name].mean())
    elif shift.startswith("correlation"):
        one, other = (frame[name] - frame[name].mean() for name in ("c0", "c1"))
        mixed = size * one / one.std() + np.sqrt(1 - size**2) * other / other.std()
        changed["c1"] = frame["c1"].mean() + other.std() * mixed
    elif shift.startswith("category"):
        changed["kind"] = frame["kind"].where(rng.random(len(frame)) > size, "d")
    else:
        changed["c2"] = frame["c2"].where(rng.random(len(frame)) > size)
    return changed


def scene(job: tuple[Any, ...]) -> tuple[pd.DataFrame, list[pd.DataFrame], list[str]]:
    """What a job is about: a reference, the nights after it, and the columns to compare.

    Args:
        job: ("quiet", world, rows, features, life); ("oracle", life), quiet nights of the world of the changes; or
            ("change", shift, size, life), in which `BEFORE` nights are quiet.
    """
    kind, *asked = job
    if kind == "quiet":
        world, rows, features, life = asked
        rng = np.random.default_rng([WORLDS.index(world), rows, features, life])
        days = days_of(world, rng, days=REFERENCE_DAYS + QUIET_NIGHTS, rows=rows, features=features)
        columns = [f"c{i}" for i in range(features)]
    else:
        shift, size, life = asked if kind == "change" else ("mean", 0.0, 1_000 + asked[0])
        quiet = BEFORE if kind == "change" else CHANGED_NIGHTS
        rng = np.random.default_rng([77, life])
        days = days_of("20 devices", rng, days=REFERENCE_DAYS + CHANGED_NIGHTS, rows=1_000, features=10)
        days = [with_more(day, rng) for day in days]
        first = REFERENCE_DAYS + quiet
        days = [*days[:first], *(shifted(day, shift, size, rng) for day in days[first:])]
        columns = [*(f"c{i}" for i in range(10)), "kind"]
    return pd.concat(days[:REFERENCE_DAYS], ignore_index=True), days[REFERENCE_DAYS:], columns


def looked_at(job: tuple[Any, ...], nights: list[pd.DataFrame]) -> list[pd.DataFrame]:
    """The nights that tools without a memory are asked about: all after a change, some of those without one."""
    if job[0] == "change":
        return nights[BEFORE:]
    return nights[:: 4 if job[0] == "oracle" else 3 if job[3] < 50 else 6]

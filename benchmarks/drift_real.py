"""Drift where it is known from the world: servers whose publisher says there is none, and air with seasons.

One rule: nights follow one another as in production, with the memory of the nights before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from mlops.monitoring.drift.detect import detect
from mlops.spec import DriftSpec

WEATHER = ("temperature_c", "pressure_hpa", "dew_point_c", "wind_speed_ms")
AIR = ("pm25_ugm3", "pm10_ugm3", "so2_ugm3", "no2_ugm3", "co_ugm3", "o3_ugm3", *WEATHER)
REFERENCE_DAYS = {"asd": 14, "beijing": 30}


@dataclass(frozen=True, slots=True)
class Watched:
    """What a stretch of nights brought.

    Args:
        nights: how many were looked at.
        alarms: on how many.
        first: the first of them, from 1; None if there was none.
        columns: that the first named, the strongest first.
    """

    nights: int
    alarms: int
    first: int | None
    columns: tuple[str, ...]


def watch(
    rows: pd.DataFrame, reference: tuple[pd.Timestamp, int], first: pd.Timestamp, nights: int, columns: Sequence[str]
) -> Watched:
    """Hold nights against a reference.

    Args:
        rows: with `event_timestamp` and `device_id`.
        reference: its first day, and how many.
        first: the first night.
        nights: how many.
        columns: to compare.
    """
    start, days = reference
    times = rows["event_timestamp"]
    taught = rows[(times >= start) & (times < start + pd.Timedelta(days=days))]
    known: dict = {}
    before: list = []
    alarms, found, named = 0, None, ()
    for night in range(nights):
        begin = first + pd.Timedelta(days=night)
        current = rows[(times >= begin) & (times < begin + pd.Timedelta(days=1))]
        result = detect(
            taught,
            current,
            spec=DriftSpec(),
            reference_times=taught["event_timestamp"],
            columns=columns,
            nights=before,
            known=known,
            thresholds=False,
        )
        before = [] if result.verdict == "drift" else [*before, result.distances]
        if result.verdict == "drift":
            alarms += 1
            if found is None:
                drifted = [column for column in result.columns if column.verdict == "drift"]
                named = tuple(c.column for c in sorted(drifted, key=lambda c: -(c.value or 0)))
                found = night + 1
    return Watched(nights, alarms, found, named)


def servers(folder: Path, *, anomalies: bool) -> Watched:
    """Twelve real servers of ASD, nineteen metrics: two weeks, then a month in which its publisher sees no drift.

    Args:
        folder: of the data.
        anomalies: whether rows that are labelled as anomalies are among them.
    """
    rows = pd.read_parquet(folder / "asd" / "metrics.parquet")
    rows["event_timestamp"] = pd.to_datetime(rows["event_timestamp"], utc=True)
    rows = rows if anomalies else rows[rows["anomaly"].astype("float64").fillna(0.0) != 1.0]
    start = rows["event_timestamp"].min().floor("D")
    nights = (rows["event_timestamp"].max() - start).days + 1 - REFERENCE_DAYS["asd"]
    columns = [f"metric_{i:02d}" for i in range(19)]
    reference = (start, REFERENCE_DAYS["asd"])
    return watch(rows, reference, start + pd.Timedelta(days=REFERENCE_DAYS["asd"]), nights, columns)


def air(folder: Path, columns: Sequence[str], starts: Sequence[str], *, later_days: int, nights: int) -> list[Watched]:
    """Twelve stations in Beijing: a month as reference, and nights that begin so many days after its first."""
    rows = pd.read_parquet(folder / "beijing_air" / "hourly.parquet")
    rows["event_timestamp"] = pd.to_datetime(rows["event_timestamp"]).dt.tz_localize(None).dt.tz_localize("UTC")
    rows = rows.replace([np.inf, -np.inf], np.nan)
    found = []
    for begin in starts:
        start = pd.Timestamp(begin, tz="UTC")
        reference = (start, REFERENCE_DAYS["beijing"])
        found.append(watch(rows, reference, start + pd.Timedelta(days=later_days), nights, columns))
    return found

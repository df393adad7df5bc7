"""What the report draws beside the summary: alarms by device and night, and single days of single devices.

Everything is read back from what the pipelines have written; the true faults come from the fleet, which knows them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import pandas as pd

from demo.plan import Plan
from mlops.data import fleet, partitions
from mlops.models import thresholds
from mlops.services import Services
from mlops.spec import ModelSpec

TRACES = 9  # device-days that can be looked at


@dataclass(frozen=True, slots=True)
class KnownFault:
    """A fault as the fleet made it, and whether an alarm fell into it."""

    device: str
    kind: str
    channel: str
    start: datetime
    end: datetime
    caught: bool


@dataclass(frozen=True, slots=True)
class Trace:
    """One device's day: signals, score, alarms and faults."""

    device: str
    date: date
    title: str
    times: tuple[datetime, ...]
    signals: dict[str, tuple[float | None, ...]]
    score: tuple[float | None, ...]
    threshold: float | None
    version: int | None
    alarms: tuple[tuple[datetime, datetime], ...]  # stretches of flagged readings, first to last
    faults: tuple[KnownFault, ...]


@dataclass(frozen=True, slots=True)
class Series:
    """Alarms and faults of all devices and nights."""

    devices: tuple[str, ...]
    dates: tuple[date, ...]
    alarms: tuple[tuple[int | None, ...], ...]  # by device, then date; None where nothing was scored
    faults: tuple[KnownFault, ...]
    traces: tuple[Trace, ...]


def read(plan: Plan, services: Services, spec: ModelSpec) -> Series:
    """The series of all planned nights."""
    dates = tuple(night.date for night in plan.nights)
    devices = tuple(fleet.device_name(i) for i in range(plan.fleet.devices))
    scored = _predictions(services, spec, dates)
    faults = tuple(_known(f, scored) for day in dates for f in fleet.faults(plan.fleet, day))
    alarms = tuple(tuple(_alarms(scored, device, day) for day in dates) for device in devices)
    chosen = _interesting(devices, dates, alarms, faults)
    raw = partitions.read_rows(services.storage, spec.dataset, dates[0], dates[-1])
    traces = tuple(_trace(raw, scored, faults, device, day, title) for device, day, title in chosen)
    return Series(devices, dates, alarms, faults, traces)


def _predictions(services: Services, spec: ModelSpec, dates: Sequence[date]) -> pd.DataFrame:
    frames = []
    for day in dates:
        uri = services.storage.uri("predictions", spec.name, f"date={day.isoformat()}")
        if services.storage.manifest(uri) is not None:
            frames.append(services.storage.read_table(uri).to_pandas().assign(delivered=day))
    columns = ["device_id", "observed_at", "score", "flag", "threshold", "model_version", "delivered"]
    if not frames:
        return pd.DataFrame(columns=columns)
    found: pd.DataFrame = pd.concat(frames, ignore_index=True)[columns]
    found["flag"] = found["flag"].astype("boolean").fillna(value=False).astype(bool)
    return found.sort_values(["device_id", "observed_at"], ignore_index=True)


def _alarms(scored: pd.DataFrame, device: str, day: date) -> int | None:
    rows = scored[(scored["device_id"] == device) & (scored["delivered"] == day)]
    if rows.empty or rows["threshold"].isna().all():
        return None
    limit = float(rows["threshold"].iloc[0])
    return thresholds.onsets(rows["score"].to_numpy(), rows["device_id"], rows["observed_at"], limit)


def _known(fault: fleet.Fault, scored: pd.DataFrame) -> KnownFault:
    device = fleet.device_name(fault.device)
    during = (scored["observed_at"] >= fault.start) & (scored["observed_at"] < fault.end)
    caught = bool(scored.loc[(scored["device_id"] == device) & during, "flag"].any())
    return KnownFault(device, fault.kind, fleet.CHANNELS[fault.channel], fault.start, fault.end, caught)


def _interesting(
    devices: Sequence[str],
    dates: Sequence[date],
    alarms: Sequence[Sequence[int | None]],
    faults: Sequence[KnownFault],
) -> list[tuple[str, date, str]]:
    """Days worth a look: of every kind of fault one that was caught and one that was missed; alarms without a fault."""
    by_length = sorted(faults, key=lambda f: f.end - f.start, reverse=True)
    found: dict[tuple[str, date], str] = {}
    for caught in (True, False):
        for kind in ("level_shift", "slow_drift", "stuck_sensor", "spike"):
            pick = next((f for f in by_length if (f.kind, f.caught) == (kind, caught) and f.start.hour < 21), None)
            if pick is not None:
                words = f"{kind.replace('_', ' ')}, {'caught' if caught else 'missed'}"
                found.setdefault((pick.device, pick.start.date()), words)
    ill = {(fault.device, day) for fault in faults for day in (fault.start.date(), fault.end.date())}
    for device, counts in zip(devices, alarms, strict=True):
        for day, count in zip(dates, counts, strict=True):
            if count and (device, day) not in ill and len(found) < TRACES:
                found[(device, day)] = "alarm without a fault"
    return [(device, day, f"{device}, {day:%d %b}: {words}") for (device, day), words in found.items()]


def _trace(
    raw: pd.DataFrame, scored: pd.DataFrame, faults: Sequence[KnownFault], device: str, day: date, title: str
) -> Trace:
    start = datetime.combine(day, time(), UTC)
    end = start + timedelta(days=1)
    readings = _of(raw.rename(columns={"event_timestamp": "observed_at"}), device, start, end)
    judged = _of(scored, device, start, end)
    merged = readings.merge(judged[["observed_at", "score", "flag"]], on="observed_at", how="left")
    moments = tuple(moment.to_pydatetime() for moment in merged["observed_at"])
    flags = merged["flag"].astype("boolean").fillna(value=False).astype(bool).tolist()
    return Trace(
        device=device,
        date=day,
        title=title,
        times=moments,
        signals={name: _numbers(merged[name]) for name in fleet.CHANNELS},
        score=_numbers(merged["score"]),
        threshold=float(judged["threshold"].iloc[0]) if len(judged) else None,
        version=int(judged["model_version"].iloc[0]) if len(judged) else None,
        alarms=tuple(_stretches(moments, flags)),
        faults=tuple(f for f in faults if f.device == device and f.start < end and f.end > start),
    )


def _of(rows: pd.DataFrame, device: str, start: datetime, end: datetime) -> pd.DataFrame:
    mine: pd.DataFrame = rows[
        (rows["device_id"] == device) & (rows["observed_at"] >= start) & (rows["observed_at"] < end)
    ]
    return mine.drop_duplicates("observed_at", keep="last").sort_values("observed_at", ignore_index=True)


def _numbers(column: pd.Series) -> tuple[float | None, ...]:
    return tuple(None if pd.isna(value) else round(float(value), 4) for value in column)


def _stretches(moments: Sequence[datetime], flags: Sequence[bool]) -> list[tuple[datetime, datetime]]:
    """First and last moment of every run of flagged readings.

    >>> _stretches([datetime(2026, 1, 1, hour) for hour in range(4)], [False, True, True, False])
    [(datetime.datetime(2026, 1, 1, 1, 0), datetime.datetime(2026, 1, 1, 2, 0))]
    """
    found: list[tuple[datetime, datetime]] = []
    for index, (moment, flag) in enumerate(zip(moments, flags, strict=True)):
        if flag and (index == 0 or not flags[index - 1]):
            found.append((moment, moment))
        elif flag:
            found[-1] = (found[-1][0], moment)
    return found

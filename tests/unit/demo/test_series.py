"""What the report draws beside the summary, read back from what the pipelines wrote."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pandas as pd
import pyarrow as pa
import pytest

from demo import series
from demo.plan import Plan, make_plan
from demo.series import Series
from mlops.data import fleet, partitions
from mlops.data.validated import Form
from mlops.services import Services
from mlops.spec import ModelSpec


@pytest.fixture
def one_night() -> Plan:
    """A fleet of six devices with many faults, and its first night only."""
    plan = make_plan(devices=6)
    return replace(plan, fleet=replace(plan.fleet, faults_per_device_day=1.5), nights=plan.nights[:1])


@pytest.fixture
def spec(services: Services) -> ModelSpec:
    """The default model."""
    return services.spec("fleet_anomaly")


def published(services: Services, spec: ModelSpec, plan: Plan, flagged: pd.Series | None) -> pd.DataFrame:
    """Publish the night's telemetry, and predictions where `flagged` (by position in event order) says so."""
    day = plan.nights[0].date
    rows = fleet.deliver(plan.fleet, day, corrupt=False)
    partitions.publish(services.storage, spec.dataset, rows, Form(day, spec.contract, spec.entity, spec.timestamps))
    rows = rows.sort_values(["device_id", "event_timestamp"], ignore_index=True)
    if flagged is not None:
        flags = flagged(rows) if callable(flagged) else flagged
        table = pd.DataFrame(
            {
                "device_id": rows["device_id"],
                "observed_at": rows["event_timestamp"],
                "score": flags.map({True: 0.9, False: 0.1}),
                "flag": flags,
                "threshold": 0.5,
                "model_version": 3,
            }
        )
        uri = services.storage.uri("predictions", spec.name, f"date={day.isoformat()}")
        services.storage.write_table(uri, pa.Table.from_pandas(table, preserve_index=False))
    return rows


def read(services: Services, spec: ModelSpec, plan: Plan) -> Series:
    """The series of the night."""
    return series.read(plan, services, spec)


def test_alarms_are_onsets_not_rows(services: Services, spec: ModelSpec, one_night: Plan) -> None:
    """Readings 10 to 12 and 20 of one device are two alarms of it, and none of the others."""

    def flag(rows: pd.DataFrame) -> pd.Series:
        position = rows.groupby("device_id").cumcount()
        return (rows["device_id"] == "pump-02") & position.isin([10, 11, 12, 20])

    published(services, spec, one_night, flag)
    found = read(services, spec, one_night)
    assert found.alarms == ((0,), (2,), (0,), (0,), (0,), (0,))


def test_a_night_without_predictions_is_not_a_night_without_alarms(
    services: Services, spec: ModelSpec, one_night: Plan
) -> None:
    """Where nothing was scored, alarms are unknown, and every fault is missed."""
    published(services, spec, one_night, None)
    found = read(services, spec, one_night)
    assert set(found.alarms) == {(None,)}
    assert found.faults
    assert not any(fault.caught for fault in found.faults)


def test_a_fault_is_caught_by_a_flag_inside_it_only(services: Services, spec: ModelSpec, one_night: Plan) -> None:
    """Flagging exactly the readings of one fault catches it; faults of other devices stay missed."""
    day = one_night.nights[0].date
    target = max(fleet.faults(one_night.fleet, day), key=lambda f: f.end - f.start)
    device = fleet.device_name(target.device)

    def flag(rows: pd.DataFrame) -> pd.Series:
        times = rows["event_timestamp"]
        return (rows["device_id"] == device) & (times >= target.start) & (times < target.end)

    published(services, spec, one_night, flag)
    found = read(services, spec, one_night)
    caught = [fault for fault in found.faults if fault.caught]
    assert device in {fault.device for fault in caught}
    assert (target.start, target.end) in {(fault.start, fault.end) for fault in caught}
    assert all(fault.device == device for fault in caught)


def test_a_flag_just_after_a_fault_does_not_catch_it(services: Services, spec: ModelSpec, one_night: Plan) -> None:
    """The end of a fault is not part of it."""
    day = one_night.nights[0].date
    hour = timedelta(hours=1)
    found = fleet.faults(one_night.fleet, day)
    alone = next(
        f
        for f in found
        if f.end.date() == day
        and not any(g.device == f.device and g.start < f.end + hour and g is not f for g in found)
    )
    device = fleet.device_name(alone.device)

    def flag(rows: pd.DataFrame) -> pd.Series:
        times = rows["event_timestamp"]
        return (rows["device_id"] == device) & (times >= alone.end) & (times < alone.end + hour)

    published(services, spec, one_night, flag)
    known = read(services, spec, one_night).faults
    assert [f.caught for f in known if (f.device, f.start) == (device, alone.start)] == [False]


def test_a_trace_shows_the_day_as_it_was(services: Services, spec: ModelSpec, one_night: Plan) -> None:
    """Signals, score and threshold of the day stand side by side in time order; a missing value is a gap, not 0."""

    def flag(rows: pd.DataFrame) -> pd.Series:
        return rows.groupby("device_id").cumcount().isin([5])

    rows = published(services, spec, one_night, flag)
    one = read(services, spec, one_night).traces[0]
    mine = rows[(rows["device_id"] == one.device) & (rows["event_timestamp"].dt.date == one.date)]
    assert list(one.times) == sorted(one.times)
    assert len(one.times) == len(mine)
    assert (one.threshold, one.version) == (0.5, 3)
    assert sum(value is None for value in one.signals["pressure"]) == int(mine["pressure"].isna().sum())
    assert [value for value in one.score if value == pytest.approx(0.9)]
    assert one.alarms == ((one.times[one.score.index(0.9)],) * 2,)

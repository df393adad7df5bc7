"""The nightly checks on features, on a small fleet: faults planted in a store are told with where they are."""

from __future__ import annotations

import contextlib
import sqlite3
import struct
from datetime import date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlops.config import MLOpsConfig
from mlops.data import fleet
from mlops.errors import FeatureError, NotReadyError
from mlops.features import partitions as feature_tables
from mlops.pipelines import feature_checks, inference
from mlops.pipelines import training_set as sets
from mlops.pipelines.night import as_of
from mlops.pipelines.tasks import execute
from mlops.records import GateResult, StepReport
from mlops.services import Services
from mlops.serving import log_writer
from mlops.serving.log_frames import Columns, Rows
from mlops.spec import ModelSpec, SplitSpec

ROOT = Path(__file__).parents[3]
FLEET = fleet.FleetConfig(devices=3, step_minutes=30, late_share=0.05)
DAYS = tuple(FLEET.first_day + timedelta(days=number) for number in range(4))
LAST = DAYS[-1]


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> tuple[Services, ModelSpec, StepReport]:
    """Four nights of ingestion and features, and the report of the last."""
    var = tmp_path_factory.mktemp("plant") / "var"
    services = Services.open(MLOpsConfig.build({"home": ROOT, "var": str(var), "code_version": "test"}))
    spec = services.spec("fleet_anomaly")
    contract = spec.contract.model_copy(update={"min_rows": 1, "volume_tolerance": None})
    split = SplitSpec(window_days=3, holdout_days=1, calibration_days=1, folds=0, gap_hours=1)
    spec = spec.model_copy(update={"contract": contract, "split": split})
    for day in DAYS:
        fleet.write_delivery(FLEET, day, f"{var}/inbox")
        assert execute("ingestion", services, spec, day).outcome == "done"
        answer = execute("features", services, spec, day)
    return services, spec, answer


def incidents(services: Services, spec: ModelSpec, day: date) -> list[str]:
    """The open incidents of a date that the checks have raised."""
    found = services.alerts.list_incidents(spec.name)
    return [one.summary for one in found if one.date == day and one.kind.startswith("checks") and not one.resolved_at]


def spoilt(services: Services, feature: str, by: float) -> None:
    """Change one feature of all devices in the online store, behind everybody's back."""
    value = b"\x29" + struct.pack("<d", by)
    with (
        contextlib.closing(sqlite3.connect(services.config.state_dir / "feast" / "online.db")) as connection,
        connection,
    ):
        connection.execute(
            "update mlops_fleet_telemetry set value = ? where feature_name = ? and value != ''", [value, feature]
        )


def test_a_night_that_is_right_passes_with_its_numbers(plant: tuple[Services, ModelSpec, StepReport]) -> None:
    """Parity and freshness are in the record of the step and kept as JSON; nobody is told anything."""
    services, spec, answer = plant
    gates = {gate["name"]: gate for gate in answer.record["gates"]}
    assert {name: gate["verdict"] for name, gate in gates.items()} == {
        "online_equals_offline": "pass",
        "fresh:fleet_telemetry": "pass",
    }
    assert gates["online_equals_offline"]["numbers"]["entities"] == FLEET.devices
    assert services.storage.read_json(answer.record["checks_uri"]) == answer.record["gates"]
    assert incidents(services, spec, LAST) == []


def test_a_value_changed_online_is_told_and_the_next_run_mends_it(
    plant: tuple[Services, ModelSpec, StepReport],
) -> None:
    """The incident names view, feature, entity and both values; running the date again mends it, and it is over."""
    services, spec, _ = plant
    spoilt(services, "pressure", 77.25)
    gates, _ = feature_checks.of_online_store(services, spec, LAST)
    assert gates[0].verdict == "fail"
    assert "fleet_telemetry:pressure of device_id" in gates[0].reason
    assert gates[0].reason.rstrip().endswith("online 77.25.")
    assert "online 77.25" in " ".join(incidents(services, spec, LAST))
    answer = execute("features", services, spec, LAST)
    assert answer.record["gates"][0]["verdict"] == "pass"
    assert incidents(services, spec, LAST) == []


def test_a_sample_is_the_same_in_a_retry_and_another_on_another_date(
    plant: tuple[Services, ModelSpec, StepReport],
) -> None:
    """What is looked at depends on seed and date alone."""
    _, spec, _ = plant
    values = pd.Series(range(1_000))
    first = feature_checks._sampled(values, 20, spec, LAST).tolist()
    assert first == feature_checks._sampled(values, 20, spec, LAST).tolist()
    assert first != feature_checks._sampled(values, 20, spec, LAST - timedelta(days=1)).tolist()
    assert len(set(first)) == 20


def test_nothing_is_joined_before_the_features_of_a_delivery_are_there(
    plant: tuple[Services, ModelSpec, StepReport], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who comes too early is told which dates lack features; afterwards the answer is what it would have been."""
    services, spec, _ = plant
    whole = sets.make(services, spec, LAST, "schedule")
    stored = Path(feature_tables.uri_of(services.storage, "fleet_telemetry", DAYS[2]))
    away = stored.rename(tmp_path / "away")
    try:
        with pytest.raises(NotReadyError, match=f"1 of . validated deliveries .*first {DAYS[2]}, last {DAYS[2]}"):
            sets.make(services, spec, LAST, "schedule")
        with pytest.raises(NotReadyError, match=f"mlops run features fleet_anomaly --date {DAYS[2]}"):
            feature_checks.ready(services, spec, DAYS[2], DAYS[2])
        some_champion = SimpleNamespace(by_alias=lambda _model, _alias: object())  # it is not got as far as loading it
        with monkeypatch.context() as patched:
            patched.setitem(services.__dict__, "registry", some_champion)
            with pytest.raises(NotReadyError, match=f"first {DAYS[2]}"):
                inference.run(services, spec, DAYS[2])
        feature_checks.ready(services, spec, LAST, LAST)
    finally:
        away.rename(stored)
    assert sets.make(services, spec, LAST, "schedule").fingerprint == whole.fingerprint


def test_a_training_set_carries_what_was_checked_of_its_join(plant: tuple[Services, ModelSpec, StepReport]) -> None:
    """Conservation and leakage pass, and stand in the record that a version is traced by."""
    services, spec, _ = plant
    made = sets.make(services, spec, LAST, "schedule")
    assert [(gate.name, gate.verdict) for gate in sets.find(services, made.uri).gates] == [
        ("rows_conserved", "pass"),
        ("nothing_from_the_future", "pass"),
    ]


def test_a_join_that_leaks_is_neither_learned_from_nor_kept(
    plant: tuple[Services, ModelSpec, StepReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that hands out a reading from the future ends the step with the row, and is an incident."""
    services, spec, _ = plant
    honest = services.features.historical

    def leaking(service: str, rows: pd.DataFrame) -> pd.DataFrame:
        found = honest(service, rows)
        found.loc[5, "feature_known_at"] = found.loc[5, "event_timestamp"] + timedelta(seconds=1)
        return found

    monkeypatch.setattr(services.features, "historical", leaking)
    before = services.storage.listing(services.storage.uri("training_sets"))
    with pytest.raises(
        FeatureError, match=r"training of .* cannot be used: nothing_from_the_future: 1 of .* first row 5"
    ):
        sets.make(services, spec, LAST, "schedule")
    assert services.storage.listing(services.storage.uri("training_sets")) == before
    assert "nothing_from_the_future" in " ".join(incidents(services, spec, LAST))


def test_predictions_made_from_other_features_than_offline_are_told(
    plant: tuple[Services, ModelSpec, StepReport],
) -> None:
    """A log as inference writes it passes; with one feature changed in it, the incident names entity and values."""
    services, spec, _ = plant
    times = pd.DatetimeIndex([as_of(LAST) - timedelta(hours=hours) for hours in (1, 5, 9)])
    rows = pd.DataFrame({"device_id": [fleet.device_name(i) for i in range(3)], "event_timestamp": times})
    log = services.features.historical(spec.features.service, rows).rename(columns={"event_timestamp": "known_at"})
    assert [gate.verdict for gate in feature_checks.of_predictions(services, spec, LAST, log)] == ["pass"]
    log["vibration"] += 1.0
    (gate,) = feature_checks.of_predictions(services, spec, LAST, log)
    assert gate.verdict == "fail"
    assert gate.value == log["vibration"].notna().sum()
    assert "fleet_telemetry:vibration of device_id" in " ".join(incidents(services, spec, LAST))


def test_answers_made_from_other_features_than_offline_are_told(
    plant: tuple[Services, ModelSpec, StepReport],
) -> None:
    """The log of live serving passes as it is; a feature that was another one is told, with entity and both values."""
    services, spec, _ = plant
    times = pd.DatetimeIndex([as_of(LAST) - timedelta(hours=hours) for hours in (1, 5, 9)])
    keys = [fleet.device_name(i) for i in range(3)]
    batch = services.features.historical(
        spec.features.service, pd.DataFrame({"device_id": keys, "event_timestamp": times})
    )
    batch = batch.rename(columns={"event_timestamp": "known_at"})
    features = services.features.features_of(spec.features.service)
    served = services.features.online(spec.features.service, keys, as_of=as_of(LAST))

    evening = as_of(LAST) - timedelta(seconds=1)

    def answered(at: datetime = evening, **changes: Any) -> tuple[GateResult, ...]:
        """The checks of the date after `mlops serve` has logged these answers, and one with features of the caller."""
        rows = served.assign(**changes)
        stamps = {c: [int(t.timestamp() * 1e6) for t in rows[c]] for c in ("feature_timestamp", "feature_known_at")}
        frame = Rows(
            1, "r1", "champion", int(at.timestamp() * 1e6), 40.0,
            rows[list(features)].to_numpy(np.float64).tobytes(), np.zeros(3).tobytes(), keys,
            None, stamps["feature_timestamp"], stamps["feature_known_at"],
        )  # fmt: skip
        columns = Columns(1, spec.name, 1, "device_id", features, (), None, ())
        own = Rows(
            1, "r2", "champion", frame.at_us, 40.0, np.ones(len(features)).tobytes(), np.zeros(1).tobytes(), ["x"]
        )
        uri = f"{log_writer.log_uri(services.storage, spec.name)}/date={LAST}/s"
        services.storage.write_table(uri, log_writer._table([(columns, frame), (columns, own)]))
        return feature_checks.of_predictions(services, spec, LAST, batch)

    try:
        found = answered()
        assert [(gate.name, gate.verdict) for gate in found] == [
            ("served_equals_offline", "pass"),
            ("live_served_equals_offline", "pass"),
        ]
        assert found[1].numbers == {"rows": 3.0, "not_compared": 0.0}
        one_wrong = served["vibration"].where(served.index != 1, served["vibration"] + 1.0)
        (_, gate) = answered(vibration=one_wrong)
        assert (gate.verdict, gate.value) == ("fail", 1.0)
        named = f"fleet_telemetry:vibration of device_id {keys[1]}: served {one_wrong[1]}"
        assert named in " ".join(incidents(services, spec, LAST))
        services.alerts.resolve(spec.name, "checks of monitoring", at=services.clock(), day=LAST, terms=spec.alerts)
        assert named not in " ".join(incidents(services, spec, LAST))
        alone = execute("monitoring", services, spec, LAST)  # no batch was predicted of this date
        assert (alone.outcome, named in alone.reason) == ("nothing_to_do", True)
        assert named in " ".join(incidents(services, spec, LAST))
        pushed = served["feature_known_at"].where(served.index != 1, as_of(LAST) - timedelta(seconds=1))
        (_, gate) = answered(vibration=one_wrong, feature_known_at=pushed)
        assert (gate.verdict, gate.numbers["not_compared"]) == ("pass", 1.0)
        (_, gate) = answered(at=as_of(LAST) + timedelta(days=30), vibration=one_wrong)  # long past its time to live
        assert gate.verdict == "cannot_tell"
        (_, gate) = answered(feature_known_at=pd.DatetimeIndex([as_of(LAST) - timedelta(seconds=1)] * 3))
        assert (gate.verdict, gate.numbers["not_compared"]) == ("cannot_tell", 3.0)
    finally:
        services.storage.delete(log_writer.log_uri(services.storage, spec.name))

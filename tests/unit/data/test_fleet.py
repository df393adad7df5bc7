"""The sample fleet: the same from the same seed, plausible, learnable, and spoilt where it should be."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score

from mlops.data import fleet
from mlops.errors import NoDataError
from mlops.spec import ContractSpec

FIRST = date(2026, 3, 2)
CHANNELS = list(fleet.CHANNELS)
SPEC = Path(__file__).parents[3] / "config" / "models" / "fleet_anomaly.yaml"


def days(first: date, count: int) -> list[date]:
    """So many days from the first."""
    return [first + timedelta(days=i) for i in range(count)]


def delivered(config: fleet.FleetConfig, wanted: list[date]) -> pd.DataFrame:
    """The deliveries of all these days."""
    return pd.concat([fleet.deliver(config, day) for day in wanted], ignore_index=True)


def test_the_same_seed_gives_the_same_delivery() -> None:
    """A delivery depends on nothing but configuration and date."""
    config = fleet.FleetConfig(first_day=FIRST)
    day = FIRST + timedelta(days=3)
    pd.testing.assert_frame_equal(fleet.deliver(config, day), fleet.deliver(replace(config), day))
    other = fleet.deliver(replace(config, seed=8), day)
    assert not other["temperature"].head(100).equals(fleet.deliver(config, day)["temperature"].head(100))


def test_a_device_does_not_depend_on_the_others() -> None:
    """The first devices of a larger fleet are those of a smaller one."""
    day = FIRST + timedelta(days=2)
    small = fleet.deliver(fleet.FleetConfig(devices=3, first_day=FIRST), day)
    large = fleet.deliver(fleet.FleetConfig(devices=9, first_day=FIRST), day)
    same = large[large["device_id"].isin(small["device_id"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(small, same)


def test_every_reading_arrives_once_and_the_late_ones_a_day_later() -> None:
    """Over four deliveries the readings of the first three days come exactly once, late ones on the day after."""
    config = fleet.FleetConfig(devices=12, first_day=FIRST, late_share=0.05)
    rows = pd.concat([fleet.deliver(config, day).assign(delivery=str(day)) for day in days(FIRST, 4)])
    assert not rows.duplicated(["device_id", "event_timestamp"]).any()
    assert (rows["arrived_at"].dt.strftime("%Y-%m-%d") == rows["delivery"]).all()
    three = rows[rows["event_timestamp"] < datetime(2026, 3, 5, tzinfo=UTC)]
    assert len(three) == 3 * 12 * 144
    late = three[three["event_timestamp"].dt.date != three["arrived_at"].dt.date]
    # 3 x 12 x 144 readings at 5 %: binomial, standard deviation 15.7; five of them either way.
    assert abs(len(late) - 259.2) < 5 * 15.7
    assert ((late["arrived_at"] - late["event_timestamp"]) < pd.Timedelta(hours=36)).all()
    assert (rows["arrived_at"] > rows["event_timestamp"]).all()


def test_a_fault_moves_what_its_label_marks_and_nothing_else() -> None:
    """With and without faults the same noise is drawn, so the readings differ in labelled rows alone."""
    config = fleet.FleetConfig(first_day=FIRST, late_share=0.0, faults_per_device_day=0.4)
    day = FIRST + timedelta(days=1)
    keys = ["device_id", "event_timestamp"]
    faulty = fleet.deliver(config, day).sort_values(keys, ignore_index=True)
    healthy = fleet.deliver(replace(config, faults_per_device_day=0.0), day).sort_values(keys, ignore_index=True)
    differs = ((faulty[CHANNELS] - healthy[CHANNELS]).abs() > 0).any(axis=1)
    marked = fleet.labels(config, day).sort_values(keys, ignore_index=True)["is_anomaly"] == 1
    assert marked.sum() > 100
    assert not differs[~marked].any()
    assert differs[marked].mean() > 0.95  # the first row of a drift has not moved yet


def test_a_fault_goes_on_past_midnight() -> None:
    """What begins in the evening is still there, and labelled, on the day after."""
    config = fleet.FleetConfig(first_day=FIRST)
    over = next(f for day in days(FIRST, 9) for f in fleet.faults(config, day) if f.end.date() > f.start.date())
    told = fleet.labels(config, over.end.date())
    of_it = (told["device_id"] == fleet.device_name(over.device)) & (told["event_timestamp"] < over.end)
    assert of_it.any()
    assert (told.loc[of_it, "is_anomaly"] == 1).all()


def test_every_kind_of_fault_occurs_and_a_stuck_sensor_stands_still() -> None:
    """Spike, level shift, stuck sensor and slow drift are all drawn; a stuck channel holds one value."""
    config = fleet.FleetConfig(first_day=FIRST, null_share=0.0, late_share=0.0)
    drawn = [fault for day in days(FIRST, 10) for fault in fleet.faults(config, day)]
    assert {fault.kind for fault in drawn} == {"spike", "level_shift", "stuck_sensor", "slow_drift"}
    stuck = next(f for f in drawn if f.kind == "stuck_sensor" and f.start.date() == f.end.date())
    rows = fleet.deliver(config, stuck.start.date())
    of_it = (rows["device_id"] == fleet.device_name(stuck.device)) & (rows["event_timestamp"] >= stuck.start)
    held = rows.loc[of_it & (rows["event_timestamp"] < stuck.end), CHANNELS[stuck.channel]]
    others = [f for f in fleet.faults(config, stuck.start.date()) if f.device == stuck.device and f is not stuck]
    assert len(held) >= 12
    assert others or held.nunique() == 1


def test_about_one_row_in_twenty_is_faulty() -> None:
    """The share of faulty rows lies between three and eight percent: enough faults a day to compare models by."""
    config = fleet.FleetConfig(first_day=FIRST)
    share = pd.concat([fleet.labels(config, day) for day in days(FIRST, 14)])["is_anomaly"].mean()
    assert 0.03 < share < 0.08


def test_labels_cover_every_reading_and_are_written_down_the_day_after() -> None:
    """One label per device and step, known on the next day."""
    config = fleet.FleetConfig(devices=5, step_minutes=30, first_day=FIRST)
    told = fleet.labels(config, FIRST)
    assert len(told) == 5 * 48
    assert set(told["is_anomaly"]) <= {0, 1}
    assert set(told["event_timestamp"].dt.date) == {FIRST}
    assert set(told["labelled_at"].dt.date) == {FIRST + timedelta(days=1)}


def test_speed_and_pressure_obey_the_affinity_law() -> None:
    """Of the healthy signal, pressure goes with the square of speed, less what load takes off it."""
    config = fleet.FleetConfig(devices=1, first_day=FIRST)
    hours = np.array([[492_000.0, 492_012.0]])
    slow, fast = fleet.clean_signal(config, [0], hours)[:, 0, :].T
    regime = fleet.clean_signal(replace(config, regime_day=date(2020, 1, 1)), [0], hours)[:, 0, 0]
    assert slow[0] != pytest.approx(fast[0], abs=0.5)  # half a day apart: the daily rhythm
    assert regime[3] / slow[3] == pytest.approx(1.07, abs=0.03)  # set point up by 7 %, load swings wider
    assert regime[1] / slow[1] == pytest.approx(1.07**2, abs=0.06)


def test_the_new_regime_is_hotter_by_eight_degrees_and_rougher() -> None:
    """A day's mean temperature rises by 8 °C, vibration by .8 mm/s beyond what the higher speed brings."""
    config = fleet.FleetConfig(first_day=FIRST, faults_per_device_day=0.0, late_share=0.0)
    old = fleet.deliver(config, FIRST)[CHANNELS].mean()
    new = fleet.deliver(replace(config, regime_day=FIRST), FIRST)[CHANNELS].mean()
    assert new["temperature"] - old["temperature"] == pytest.approx(8.0, abs=0.3)
    speed = (new["rotation"] - old["rotation"]) / 1480
    assert new["vibration"] - old["vibration"] == pytest.approx(0.8 + 2.0 * speed, abs=0.05)


def test_values_stay_within_the_contract_of_the_default_model() -> None:
    """Good deliveries, before and after the change of regime, lie within the ranges that the shipped spec promises."""
    contract = ContractSpec.model_validate(yaml.safe_load(SPEC.read_text(encoding="utf-8"))["contract"])
    for seed in range(5):
        config = fleet.FleetConfig(first_day=FIRST, seed=seed, regime_day=FIRST + timedelta(days=2))
        rows = delivered(config, days(FIRST, 4))
        for name, column in contract.columns.items():
            assert rows[name].min() >= column.min, name
            assert rows[name].max() <= column.max, name
            assert rows[name].isna().mean() <= column.max_null_share


def test_a_corrupt_delivery_is_in_fahrenheit_with_holes_and_doubles() -> None:
    """On a corrupt day temperature is in °F, a third of pressure is gone, rows come twice; the re-delivery is good."""
    day = FIRST + timedelta(days=4)
    config = fleet.FleetConfig(first_day=FIRST, corrupt_days=frozenset({day}))
    spoilt, good = fleet.deliver(config, day), fleet.deliver(config, day, corrupt=False)
    keys = ["device_id", "event_timestamp"]
    assert spoilt.duplicated(keys).sum() == len(good) // 50
    assert 0.25 < spoilt["pressure"].isna().mean() < 0.42
    both = good.merge(spoilt.drop_duplicates(keys), on=keys, suffixes=("", "_f")).dropna(subset=["temperature"])
    np.testing.assert_allclose(both["temperature_f"], both["temperature"] * 1.8 + 32, atol=0.006)
    pd.testing.assert_frame_equal(good, fleet.deliver(replace(config, corrupt_days=frozenset()), day))


def test_a_day_before_the_first_is_refused() -> None:
    """The fleet has no past before its first day, and says so."""
    with pytest.raises(NoDataError, match="starts on 2026-03-02"):
        fleet.deliver(fleet.FleetConfig(first_day=FIRST), FIRST - timedelta(days=1))


def test_written_deliveries_are_found_by_date_with_the_labels_of_the_day_before(tmp_path: Path) -> None:
    """A delivery is two files under its date; the first day has no labels yet."""
    config = fleet.FleetConfig(devices=2, first_day=FIRST)
    for day in days(FIRST, 2):
        assert fleet.write_delivery(config, day, str(tmp_path)).endswith(f"fleet/{day}.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / f"fleet/{FIRST}.parquet"), fleet.deliver(config, FIRST))
    assert [p.name for p in (tmp_path / "fleet_labels").iterdir()] == ["2026-03-03.parquet"]
    told = pd.read_parquet(tmp_path / "fleet_labels/2026-03-03.parquet")
    assert set(told["event_timestamp"].dt.date) == {FIRST}


# --- what a detector sees ---------------------------------------------------------------------------------------------


def features(rows: pd.DataFrame) -> pd.DataFrame:
    """Value, and mean, spread and range over an hour, of each channel; rows sorted by device and time."""
    ordered = rows.sort_values(["device_id", "event_timestamp"]).set_index("event_timestamp")
    hour = ordered.groupby("device_id")[CHANNELS].rolling("1h")
    parts = [
        hour.mean().add_suffix("_mean"),
        hour.std().add_suffix("_std"),
        (hour.max() - hour.min()).add_suffix("_range"),
    ]
    table = pd.concat([ordered.reset_index().set_index(["device_id", "event_timestamp"])[CHANNELS], *parts], axis=1)
    return table.fillna(table.median())


def test_a_detector_learns_the_faults_loses_them_with_the_regime_and_learns_them_again() -> None:
    """Average precision is far above the base rate, falls far after the change, and a retraining mends it."""
    change = FIRST + timedelta(days=8)
    config = fleet.FleetConfig(first_day=FIRST, regime_day=change)
    table = features(delivered(config, days(FIRST, 14)))
    told = pd.concat([fleet.labels(config, day) for day in days(FIRST, 14)]).set_index(["device_id", "event_timestamp"])
    truth = told["is_anomaly"].reindex(table.index).to_numpy()
    day = (table.index.get_level_values("event_timestamp") - pd.Timestamp(FIRST, tz="UTC")).days.to_numpy()

    def precision(learn: tuple[int, int], judge: tuple[int, int]) -> tuple[float, float]:
        fit, test = (day >= learn[0]) & (day < learn[1]), (day >= judge[0]) & (day < judge[1])
        detector = IsolationForest(n_estimators=50, random_state=0).fit(table[fit])
        scores, usual = -detector.score_samples(table[test]), -detector.score_samples(table[fit])
        alarms = float(np.mean(scores > np.quantile(usual, 0.95)))
        return float(average_precision_score(truth[test], scores)), alarms

    before, _ = precision((0, 6), (6, 8))
    stale, alarms = precision((0, 6), (11, 14))
    renewed, _ = precision((8, 11), (11, 14))
    assert 0.25 < before < 0.95
    assert 0.25 < renewed < 0.95
    assert stale < 0.75 * renewed
    assert alarms > 0.5

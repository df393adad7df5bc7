"""The metrics say what the records say, and say so when they cannot."""

from __future__ import annotations

import itertools
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from mlops import metric_names as names
from mlops.errors import NoDataError
from mlops.metric_names import Metric
from mlops.monitoring.estimates import Estimate
from mlops.pipelines import metrics, metrics_history
from mlops.pipelines.night import as_of, report_uri
from mlops.pipelines.night_performance import NightPerformance, Performance
from mlops.pipelines.tasks import execute
from mlops.records import (
    ColumnDrift,
    DriftReport,
    GateDecision,
    GateResult,
    Outcome,
    PredictionBatch,
    StepReport,
    to_dict,
)  # fmt: skip
from tests.plant import DAY, Plant, mlops, opened


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plant:
    """An installation with one model."""
    return opened(tmp_path, monkeypatch)


def read(plant: Plant) -> dict[tuple[str, ...], float]:
    """All metrics by name and labels."""
    return {(sample.metric.name, *sample.labels): sample.value for sample in metrics.collect(plant.services)}


def of(found: dict[tuple[str, ...], float], metric: Metric) -> dict[tuple[str, ...], float]:
    """The values of one metric by its labels."""
    return {key[1:]: value for key, value in found.items() if key[0] == metric.name}


def note(plant: Plant, step: str, outcome: Outcome, record: Any, day: date = DAY) -> None:
    """Note how a step ended."""
    answer = StepReport(step, "pumps", day, outcome, "", 2.5, to_dict(record))
    plant.services.step_log.note(answer, at=plant.services.clock())


def test_a_new_installation_has_its_models_and_nothing_invented(plant: Plant) -> None:
    """Before the first night there is no champion, no step and no row: absent, not 0; every part was read."""
    found = read(plant)
    assert of(found, names.MODEL_INFO) == {("pumps", "team@example.com", "anomaly"): 1}
    assert set(of(found, names.COLLECT_UP).values()) == {1}
    assert of(found, names.QUARANTINE_DELIVERIES) == {("pumps",): 0}
    assert of(found, names.ALERTS_UNDELIVERED) == {("log",): 0}
    for metric in (names.CHAMPION_VERSION, names.STEP_LAST_RUN, names.DELIVERY_ROWS, names.PREDICTION_ROWS):
        assert of(found, metric) == {}


def test_a_step_is_seen_with_what_it_found(plant: Plant) -> None:
    """A good delivery, then a broken one: last success and last outcome differ, the good rows stay, one incident."""
    plant.deliver()
    assert execute("ingestion", plant.services, plant.spec, DAY).outcome == "done"
    first = read(plant)
    assert of(first, names.DELIVERY_ROWS) == {("pumps",): 4}
    assert of(first, names.DELIVERY_NEWEST) == {("pumps",): as_of(DAY).timestamp()}
    later = date(2026, 3, 6)
    plant.deliver(later, heat=[10.0, 20.0, 500.0, 40.0])
    assert execute("ingestion", plant.services, plant.spec, later).outcome == "no"
    found = read(plant)
    assert of(found, names.DELIVERY_ROWS) == {("pumps",): 4}
    assert of(found, names.QUARANTINE_DELIVERIES) == {("pumps",): 1}
    assert of(found, names.INCIDENTS) == {("pumps", "quarantine", "warning", "open"): 1}
    outcomes = {labels[-1]: value for labels, value in of(found, names.STEP_LAST_OUTCOME).items()}
    assert outcomes == {"done": 0, "nothing_to_do": 0, "no": 1, "cannot_tell": 0}
    step = ("pumps", "ingestion")
    assert of(found, names.STEP_LAST_SUCCESS)[step] == of(first, names.STEP_LAST_SUCCESS)[step]
    assert of(found, names.STEP_LAST_RUN)[step] > of(found, names.STEP_LAST_SUCCESS)[step]


def test_drift_predictions_and_gates_are_those_of_the_newest_date(plant: Plant) -> None:
    """Verdicts as 1 and 0, columns without a value absent, a backfill of an older date changes nothing."""
    columns = (
        ColumnDrift("heat", "drift", "ks", 0.5, 0.2),
        ColumnDrift("dust", "cannot_tell", "ks", None, None),
    )
    report = DriftReport(
        "pumps", 3, DAY, "drift", "", columns, 0.5, metrics={"roc_auc": 0.9}, degree="with_consequence"
    )
    note(plant, "monitoring", "no", report)
    note(plant, "monitoring", "done", DriftReport("pumps", 3, date(2026, 3, 1), "no_drift", ""), date(2026, 3, 1))
    note(plant, "inference", "done", PredictionBatch("pumps", 3, DAY, "uri", 100, 90, 5, 2, 0.5))
    gates = (GateResult("size", "pass", ""), GateResult("floor", "fail", ""))
    note(plant, "validation", "no", GateDecision("pumps", 4, 3, "fail", gates, DAY, "d"))
    found = read(plant)
    assert of(found, names.DRIFT_VERDICT) == {
        ("pumps", "drift"): 1, ("pumps", "no_drift"): 0, ("pumps", "cannot_tell"): 0,
    }  # fmt: skip
    assert [key for key, value in of(found, names.DRIFT_DEGREE).items() if value] == [("pumps", "with_consequence")]
    assert of(found, names.DRIFT_VALUE) == {("pumps", "heat"): 0.5}
    assert of(found, names.DRIFT_THRESHOLD) == {("pumps", "heat"): 0.2}
    assert of(found, names.PERFORMANCE) == {("pumps", "roc_auc"): 0.9}
    assert of(found, names.PREDICTION_SCORED_ROWS) == {("pumps",): 90}
    assert of(found, names.PREDICTION_CONFIDENCE) == of(found, names.PREDICTION_UNSURE_ROWS) == {}
    assert of(found, names.DECISION_VERDICT)["pumps", "fail"] == 1
    assert [key for key, value in of(found, names.GATE_VERDICT).items() if value] == [
        ("pumps", "size", "pass"), ("pumps", "floor", "fail"),
    ]  # fmt: skip


def test_estimates_are_those_of_the_newest_night_and_held_is_of_all(plant: Plant) -> None:
    """Value and ends of what could be estimated; of the nights with a truth, the share that held; else absent."""
    guess = Estimate("roc_auc", 0.8, 0.7, 0.9, 50)
    nights = (
        NightPerformance(date(2026, 3, 3), 1, 50, 50, (guess,), (guess,), {"roc_auc": True}),
        NightPerformance(date(2026, 3, 4), 1, 50, 50, (guess,), (guess,), {"roc_auc": False, "f1": True}),
        NightPerformance(DAY, 1, 50, 0, (Estimate("roc_auc", 0.6, 0.5, 0.7, 50), Estimate("f1", None, reason="why"))),
    )
    note(plant, "performance", "done", Performance("pumps", "roc_auc", nights))
    found = read(plant)
    assert of(found, names.PERFORMANCE_ESTIMATE) == {
        ("pumps", "roc_auc", "value"): 0.6, ("pumps", "roc_auc", "low"): 0.5, ("pumps", "roc_auc", "high"): 0.7,
    }  # fmt: skip
    assert of(found, names.ESTIMATES_HELD) == {("pumps",): 0.5}
    note(plant, "performance", "cannot_tell", Performance("pumps", "roc_auc", nights[2:]), DAY + timedelta(days=1))
    assert of(read(plant), names.ESTIMATES_HELD) == {}


def test_what_cannot_be_read_is_missing_and_said_to_be(plant: Plant) -> None:
    """A record of another version: its metrics are absent, its part is down, all others are there."""
    plant.services.step_log.note(
        StepReport("monitoring", "pumps", DAY, "no", "", 1.0, {"verdict": "perhaps"}), at=plant.services.clock()
    )
    found = read(plant)
    assert of(found, names.DRIFT_VERDICT) == {}
    down = [labels for labels, value in of(found, names.COLLECT_UP).items() if value == 0]
    assert down == [("pumps", "drift")]
    assert of(found, names.STEP_LAST_RUN) != {}


def test_the_page_is_the_same_from_the_shell(plant: Plant, tmp_path: Path) -> None:
    """Shown, as JSON, and as a file: the same series; the names are documented."""
    shown = mlops("metrics", "show").stdout
    assert 'mlops_model_info{model="pumps",owner="team@example.com",task="anomaly"} 1.0' in shown
    assert '"mlops_quarantine_deliveries"' in mlops("metrics", "show", "--json").stdout
    assert mlops("metrics", "write", str(tmp_path / "m.prom")).exit_code == 0
    written = (tmp_path / "m.prom").read_text()
    series = [line.split(" ")[0] for line in written.splitlines()]
    assert series == [line.split(" ")[0] for line in shown.splitlines()]
    docs = (Path(__file__).parents[3] / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert mlops("metrics", "names").stdout in docs


def test_the_past_is_what_each_nights_records_say(plant: Plant, tmp_path: Path) -> None:
    """A night that was looked at has its own values until the next; one that was not has none; the future has none."""
    second, third = DAY + timedelta(days=1), DAY + timedelta(days=2)
    for night, value in ((DAY, 0.1), (third, 0.7)):
        found = DriftReport("pumps", 3, night, "no_drift", "", (ColumnDrift("heat", "no_drift", "ks", value, 0.9),))
        plant.services.storage.write_json(report_uri(plant.services, plant.spec, night, "drift.json"), to_dict(found))
    points = list(metrics_history.history(plant.services, DAY, third))
    seen = [(at, sample.value) for at, samples in points for sample in samples if sample.metric == names.DRIFT_VALUE]
    assert {value for at, value in seen if as_of(DAY) <= at < as_of(second)} == {0.1}
    assert {value for at, value in seen if as_of(second) <= at < as_of(third)} == set()
    assert {value for at, value in seen if at >= as_of(third)} == {0.7}
    times = [at for at, _ in points]
    assert times[0] == as_of(DAY)
    assert times[-1] < as_of(third + timedelta(days=1))
    gaps = {later - earlier for earlier, later in itertools.pairwise(times)}
    assert max(gaps) < timedelta(minutes=5), "Prometheus takes a value for gone that is older"
    with pytest.raises(NoDataError, match="no night from"):
        list(metrics_history.history(plant.services, third, DAY))
    file = tmp_path / "past.om"
    assert mlops("metrics", "history", str(file), "--from", str(DAY), "--to", str(third)).exit_code == 0
    text = file.read_text()
    assert text.endswith("# EOF\n")
    assert f'mlops_drift_value{{column="heat",model="pumps"}} 0.7 {as_of(third).timestamp()}' in text

"""What monitoring decides beside drift: by the spec's policy, once a night, with the reason carried on."""

from __future__ import annotations

import dataclasses
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from dags import nights
from mlops.errors import SpecError
from mlops.pipelines import retraining
from mlops.pipelines.inference import predictions_uri
from mlops.pipelines.night import report_uri
from mlops.records import DriftReport, to_dict
from mlops.spec import PerformanceTrigger, RetrainingSpec, load_spec
from tests.contenders import Contenders

FIRST = date(2026, 4, 1)
POLICY = RetrainingSpec(performance=PerformanceTrigger(worse_by=0.1, nights=2), cooldown_days=5)


class Watched:
    """A champion whose nights have predictions, and reports with what they were worth a day later."""

    def __init__(self, contenders: Contenders, policy: RetrainingSpec | None) -> None:
        self.contenders, self.services = contenders, contenders.services
        self.version = contenders.register().version
        self.spec = contenders.spec.model_copy(update={"retraining": policy})

    def night(self, day: date, worth: float | None, **more: Any) -> DriftReport:
        """A night on which the truth of the night before has come to `worth`."""
        table = pa.table({"score": [1.0]})
        facts = {"version": str(more.pop("version", self.version))}
        self.services.storage.write_table(predictions_uri(self.services, self.spec, day), table, facts)
        metrics = {} if worth is None else {self.spec.metric: worth}
        plain = DriftReport(self.spec.name, self.version, day, "no_drift", "Nothing moved.", metrics=metrics)
        found = retraining.decided(self.services, self.spec, dataclasses.replace(plain, **more))
        self.services.storage.write_json(report_uri(self.services, self.spec, day, "drift.json"), to_dict(found))
        return found

    def nights(self, *worth: float | None) -> list[DriftReport]:
        """One after the other."""
        return [self.night(FIRST + timedelta(days=i), value) for i, value in enumerate(worth)]


def test_a_champion_that_has_become_worse_is_trained_anew_once(contenders: Contenders) -> None:
    """Two nights at .9, two at .7: a training, with the reason for people, DAG and ledger; then the cool-down."""
    watched = Watched(contenders, POLICY)
    told = watched.nights(None, 0.9, 0.9, 0.7, 0.7, 0.7)
    assert [report.retrain for report in told] == [False, False, False, False, True, False]
    asked = told[4]
    assert asked.retrain_reason == "performance"
    assert "first 2 nights came to 0.9, its last 2 to 0.7" in asked.decision
    assert "No training before" in told[5].decision
    entries = watched.services.ledger.entries(watched.spec.name, "retraining")
    assert [entry.body["date"] for entry in entries] == [asked.date.isoformat()]
    report = {"step": "monitoring", "model": "m", "date": str(asked.date), "outcome": "done", "reason": "r"}
    event = nights.news(report | {"record": to_dict(asked)})
    assert event is not None
    assert nights.training_reason(None, [event], "asset_triggered") == "performance"


def test_a_retry_of_the_night_asks_again_and_writes_nothing(contenders: Contenders) -> None:
    """The same answer, one entry in the ledger; so after a crash between the two."""
    watched = Watched(contenders, POLICY)
    told = watched.nights(None, 0.9, 0.9, 0.7, 0.7)
    assert watched.night(told[-1].date, 0.7) == told[-1]
    revised = watched.night(told[-1].date, 0.9)  # a training that was started stays started, whatever labels say by now
    assert (revised.retrain, revised.retrain_reason) == (True, "performance")
    assert len(watched.services.ledger.entries(watched.spec.name, "retraining")) == 1


def test_nights_of_another_champion_do_not_count(contenders: Contenders) -> None:
    """What an earlier version was worth says nothing about this one."""
    watched = Watched(contenders, POLICY)
    for i, worth in enumerate((None, 0.9, 0.9)):
        watched.night(FIRST + timedelta(days=i), worth, version=watched.version + 1)
    told = [watched.night(FIRST + timedelta(days=3 + i), worth) for i, worth in enumerate((0.7, 0.7, 0.7))]
    assert not any(report.retrain for report in told)
    assert "nights of this champion have their truth" in told[-1].decision


def test_drift_that_starts_a_training_is_reason_enough(contenders: Contenders) -> None:
    """What was decided on drift stays as it is, and no second reason is looked for."""
    watched = Watched(contenders, RetrainingSpec(every_days=1))
    asked = watched.night(FIRST, None, retrain=True, verdict="drift")
    assert (asked.retrain, asked.retrain_reason) == (True, "")
    assert watched.services.ledger.entries(watched.spec.name, "retraining") == []


def test_without_a_policy_nothing_is_decided(contenders: Contenders) -> None:
    """The report is the one that came in."""
    watched = Watched(contenders, None)
    assert watched.night(FIRST, 0.1).decision == ""


def test_drift_is_asked_for_in_one_place(tmp_path: Path, contenders: Contenders) -> None:
    """`retraining.drift` beside `drift.retrain` would start two trainings for one finding."""
    home = contenders.services.config.home
    text = (home / "config" / "models" / "fleet_anomaly.yaml").read_text(encoding="utf-8")
    file = tmp_path / "fleet_anomaly.yaml"
    file.write_text(f"{text}\nretraining: {{drift: true, labels: 100, need: all}}\n", encoding="utf-8")
    with pytest.raises(SpecError, match=r"drift\.retrain and by retraining\.drift"):
        load_spec(file, {"MLOPS_VAR": "var"})

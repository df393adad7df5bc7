"""Nights of monitoring: what is remembered between them, and what is decided."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlops.models.scoring import Scorer
from mlops.pipelines import drift_decision, drift_nights, monitoring
from mlops.records import DriftReport, ModelVersion
from mlops.spec import DriftSpec, ModelSpec
from tests.contenders import FEATURES, Contenders

FIRST = date(2026, 4, 1)
DEVICES = tuple("abcdefghij")


def rows(day: date, days: int = 1, *, shift: float = 0.0, of: tuple[str, ...] = DEVICES) -> pd.DataFrame:
    """What ten devices measure, every half hour: the same whenever a day is asked for."""
    parts = []
    for at in (day + timedelta(days=i) for i in range(days)):
        rng = np.random.default_rng(at.toordinal())
        times = pd.date_range(str(at), periods=48, freq="30min", tz="UTC")
        frame = pd.DataFrame([(d, t) for d in DEVICES for t in times], columns=["device_id", "observed_at"])
        for name in FEATURES:
            frame[name] = rng.normal(rng.normal(0, 0.05), 1, len(frame))
        frame.loc[frame["device_id"].isin(of), "temperature"] += shift
        parts.append(frame)
    return pd.concat(parts, ignore_index=True)


class Nights:
    """A champion that is watched from `FIRST` on."""

    def __init__(self, contenders: Contenders, **drift: Any) -> None:
        self.services = contenders.services
        settings = {"columns": (*FEATURES, monitoring.PREDICTION), "min_rows": 50, **drift}
        self.spec: ModelSpec = contenders.spec.model_copy(update={"drift": DriftSpec(**settings)})
        self.version: ModelVersion = contenders.register()
        self.scorer: Scorer = self.services.registry.load(self.version)
        self.reference = self.scored(rows(FIRST - timedelta(days=14), 14))

    def scored(self, frame: pd.DataFrame) -> pd.DataFrame:
        """With the champion's scores."""
        return frame.assign(**{monitoring.PREDICTION: self.scorer.score(frame)})

    def live(self, night: int, **more: Any) -> DriftReport:
        """One night, as monitoring lives it; nights are counted from 0."""
        day = FIRST + timedelta(days=night)
        current = self.scored(rows(day, **more))
        found = monitoring._compare(self.services, self.spec, day, self.version, self.scorer, self.reference, current)
        return drift_decision.decided(self.services, self.spec, found)


@pytest.fixture
def nights(contenders: Contenders) -> Nights:
    """Nights under the settings of the sample fleet."""
    return Nights(contenders, retrain_after_days=2, cooldown_days=7)


def test_a_retry_finds_what_the_first_try_found(nights: Nights) -> None:
    """A night lived twice says the same twice, thresholds included, and so do the nights after it."""
    shifts = [0.0, 0.0, 0.35, 0.35]
    first = [nights.live(i, shift=shift) for i, shift in enumerate(shifts)]
    again = [nights.live(3, shift=shifts[3]), nights.live(3, shift=shifts[3])]
    assert again == [first[3], first[3]]
    assert nights.live(4) == nights.live(4)


def test_a_shift_too_small_for_one_night_is_found_after_several(nights: Nights) -> None:
    """Each night adds to the evidence of those before it; what is found began with the first of them, or the next."""
    told = [nights.live(i, shift=0.3) for i in range(4)]
    assert [report.verdict for report in told[:2]] == ["no_drift"] * 2
    found = next(report for report in told if report.verdict == "drift")
    assert found.since is not None
    assert found.since <= FIRST + timedelta(days=1)
    alone = nights.live(9, shift=0.3)  # the night after an alarm begins again from nothing
    assert alone.verdict == "no_drift"


def test_an_older_date_is_decided_as_it_was_known_then(nights: Nights) -> None:
    """Running a past night again gives its old answer, whatever came later."""
    reports = [nights.live(i, shift=0.4 * (i > 1)) for i in range(5)]
    assert [nights.live(i, shift=0.4 * (i > 1)) for i in (1, 0, 2)] == [reports[1], reports[0], reports[2]]
    assert [report.nights for report in reports] == [0, 1, 2, 3, 4]


def test_nights_of_another_reference_are_not_remembered(nights: Nights) -> None:
    """Another champion, or another measure, starts with nothing."""
    nights.live(0)
    assert nights.live(1).nights == 1
    nights.version = replace(nights.version, digest="other")
    assert nights.live(2).nights == 0
    nights.spec = nights.spec.model_copy(update={"drift": nights.spec.drift.model_copy(update={"method": "ks"})})
    assert nights.live(3).nights == 0


def test_evidence_starts_again_after_an_alarm_and_drift_goes_on_from_its_first_night(nights: Nights) -> None:
    """Drift that lasts is one stretch, dated to its beginning; what led to an alarm is not counted again."""
    quiet = [nights.live(i) for i in range(2)]
    loud = [nights.live(i, shift=6.0) for i in range(2, 5)]
    after = nights.live(5)
    assert [report.degree for report in quiet] == ["none", "none"]
    assert [report.degree for report in loud] == ["with_consequence"] * 3
    assert {report.since for report in loud} == {FIRST + timedelta(days=2)}
    assert after.verdict == "no_drift"
    key = drift_nights.reference_key(nights.spec, nights.version, nights.spec.drift.columns)
    kept = drift_nights.before(nights.services, nights.spec, FIRST + timedelta(days=6), key)
    assert [night.drift for night in kept] == [False, False, True, True, True, False]
    assert [night.date for night in drift_nights.since_alarm(kept)] == [FIRST + timedelta(days=5)]


def test_one_stretch_of_drift_is_one_incident_and_one_training(nights: Nights) -> None:
    """The training waits two days for something to learn from and then comes once; the incident ends with the drift."""
    reports = [nights.live(i, shift=6.0 if 1 <= i <= 5 else 0.0) for i in range(8)]
    assert [report.retrain for report in reports] == [False, False, False, True, False, False, False, False]
    told = [report.decision for report in reports]
    assert "a training is started on 2026-04-04" in told[1]
    assert "Decided: a training is started, because since 2026-04-02" in told[3]
    assert "no further training before 2026-04-11 (one was started on 2026-04-04)" in told[4]
    assert "nothing speaks for a change" in told[7]
    assert all(report.reason.endswith(report.decision) for report in reports)
    drift = [one for one in nights.services.alerts.list_incidents(nights.spec.name) if one.kind == "drift"]
    assert drift
    assert all(one.resolved_at is not None for one in drift)
    assert len(nights.services.ledger.entries(nights.spec.name, "drift_alarm")) == 5


def test_a_night_lived_again_asks_for_the_same_training(nights: Nights) -> None:
    """The answer of a date is kept in the ledger: a retry gives it again and writes nothing new."""
    for i in range(4):
        nights.live(i, shift=6.0)
    assert [nights.live(i, shift=6.0).retrain for i in (2, 2, 3, 1)] == [True, True, False, False]
    assert len(nights.services.ledger.entries(nights.spec.name, "drift_alarm")) == 4


def test_drift_is_put_down_to_the_devices_and_columns_that_moved(nights: Nights) -> None:
    """Three of ten devices run hot: they are named, with the column, its importance and its consequence."""
    report = nights.live(0, shift=12.0, of=("c", "f", "h"))
    assert report.verdict == "drift"
    assert set(report.entities) == {"c", "f", "h"}
    assert report.entities_seen == 10
    moved = {column.column: column for column in report.columns if column.verdict == "drift"}
    assert "temperature" in moved
    assert "pressure" not in moved
    assert (moved["temperature"].importance or 0) > 0
    assert (moved["temperature"].consequence or 0) > 0.1
    assert "on 3 of 10 entities: " in report.decision


def test_drift_that_the_scores_do_not_follow_starts_nothing_unless_the_spec_says_so(contenders: Contenders) -> None:
    """A column that is no feature of the model moves: it is written down, nobody is told; `act_on: any` tells."""
    for act_on, told in (("consequence", False), ("any", True)):
        nights = Nights(contenders, columns=("pressure", "humidity"), act_on=act_on)
        nights.reference["humidity"] = np.random.default_rng(0).normal(size=len(nights.reference))
        current = nights.scored(rows(FIRST)).assign(humidity=9.0)
        found = monitoring._compare(
            nights.services, nights.spec, FIRST, nights.version, nights.scorer, nights.reference, current
        )
        report = drift_decision.decided(nights.services, nights.spec, found)
        assert (report.verdict, report.degree, report.retrain) == ("drift", "without_consequence", told)
        assert drift_decision.acts(nights.spec, report) is told
        assert bool(nights.services.alerts.list_incidents(nights.spec.name)) is told
    assert "nothing is started" not in report.decision


def test_a_consequence_that_is_not_known_counts_as_one(contenders: Contenders) -> None:
    """A model whose scores never vary cannot show what drift does to it: that is not "no consequence"."""
    nights = Nights(contenders, columns=FEATURES)
    mute: Any = SimpleNamespace(score=lambda frame: np.zeros(len(frame)), features=FEATURES)
    current = nights.scored(rows(FIRST, shift=6.0))
    found = monitoring._compare(nights.services, nights.spec, FIRST, nights.version, mute, nights.reference, current)
    assert (found.verdict, found.consequence, found.degree) == ("drift", None, "with_consequence")
    report = drift_decision.decided(nights.services, nights.spec, found)
    assert report.retrain
    assert "whose consequence is not known" in report.decision


def test_what_cannot_be_told_decides_nothing_and_ends_no_incident(nights: Nights) -> None:
    """A night of a few rows after drift: the incident stays as it is."""
    nights.live(0, shift=6.0)
    day = FIRST + timedelta(days=1)
    few = nights.scored(rows(day)).iloc[:20]
    found = monitoring._compare(nights.services, nights.spec, day, nights.version, nights.scorer, nights.reference, few)
    report = drift_decision.decided(nights.services, nights.spec, found)
    assert (report.verdict, report.degree, report.retrain) == ("cannot_tell", "cannot_tell", False)
    assert "cannot be told" in report.decision
    assert [one.resolved_at for one in nights.services.alerts.list_incidents(nights.spec.name)] == [None]


def test_a_spec_that_wants_no_training_gets_none(contenders: Contenders) -> None:
    """People are told, and the sentence says why nothing is started."""
    report = Nights(contenders, retrain=False).live(0, shift=6.0)
    assert report.retrain is False
    assert "the spec asks for none" in report.decision

"""Labels that people give: about events that are there, known once they were given, counted where the spec says."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from mlops.errors import DataError, MLOpsError, NoDataError, SchemaError, SourceError
from mlops.pipelines import labelled, labelling
from mlops.services import Services
from tests.plant import DAY, Plant, mlops, opened

START = datetime(2026, 3, 5, tzinfo=UTC)
EVERYBODY = {"store": ["hand", "import", "alarm"], "maturity_days": 1}


def at(hours: float) -> datetime:
    """So long after the day began."""
    return START + timedelta(hours=hours)


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plant:
    """A plant whose model learns from people, with one day of data and predictions: pump a alarmed from 0 to 1 h."""
    made = opened(tmp_path, monkeypatch, label=EVERYBODY)
    made.deliver()
    assert made.ingest().outcome == "done"
    flags = pd.DataFrame({"pump": ["a", "a", "b", "b"], "observed_at": [at(0), at(1)] * 2})
    flags = flags.assign(score=[5.0, 9.0, 1.0, 7.0], flag=[True, True, False, True], model_version=3)
    uri = made.services.storage.uri("predictions", "pumps", f"date={DAY}")
    made.services.storage.write_table(uri, pa.Table.from_pandas(flags, preserve_index=False))
    return made


def when(plant: Plant, moment: datetime) -> Plant:
    """The same plant at that time."""
    return Plant(Services(plant.services.config, clock=lambda: moment))


def mature(plant: Plant, as_of: datetime) -> dict[tuple[str, int], tuple[Any, str]]:
    """Label and source by pump and hour, as training and evaluation would see them."""
    found = labelled.mature(plant.services, plant.spec, start=START, end=at(24), as_of=as_of)
    hours = ((found["observed_at"] - START) / timedelta(hours=1)).astype(int)
    return {
        (pump, hour): (value, source)
        for pump, hour, value, source in zip(found["pump"], hours, found["label"], found["label_source"], strict=True)
    }


def test_alarms_are_listed_by_the_name_to_judge_them_by(plant: Plant) -> None:
    """Rows flagged one after the other are one alarm, of one pump; what was said of it is shown."""
    found = labelling.alarms(plant.services, plant.spec, DAY, DAY)
    assert [(one.id, len(one.events), one.score, one.verdict) for one in found] == [
        ("a@2026-03-05T00:00:00Z", 2, 9.0, ""),
        ("b@2026-03-05T01:00:00Z", 1, 7.0, ""),
    ]
    assert mlops("label", "confirm", "pumps", found[0].id, "--comment", "bearing").exit_code == 0
    told = json.loads(mlops("label", "alarms", "pumps", "--from", str(DAY), "--to", str(DAY), "--json").output)
    assert [(one["verdict"], one["by"]) for one in told] == [("confirmed", "ann"), ("", "")]
    left = mlops("label", "alarms", "pumps", "--from", str(DAY), "--to", str(DAY), "--open").output
    assert "b@2026" in left
    assert "a@2026" not in left


def test_confirmed_and_dismissed_alarms_become_labels_with_their_source(plant: Plant) -> None:
    """All rows of the alarm, from any time within it; a day later they are mature."""
    now = when(plant, at(20))
    labelling.judge(now.services, now.spec, "a", at(0.5), real=True)
    labelling.judge(now.services, now.spec, "b", at(1), real=False)
    assert mature(plant, at(48)) == {("a", 0): (1.0, "alarm"), ("a", 1): (1.0, "alarm"), ("b", 1): (0.0, "alarm")}
    (first, _) = now.services.ledger.entries("pumps", "label_revision")
    assert (first.body["act"], first.body["alarm"]) == ("confirm", "a@2026-03-05T00:00:00Z")


def test_labels_of_sources_that_the_spec_does_not_name_do_not_count(
    plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without `alarm` in label.store a confirmation is kept and learned from by nobody, and the shell says so."""
    by_hand = opened(tmp_path, monkeypatch, label={"store": ["hand"]})
    answer = mlops("label", "dismiss", "pumps", "a@2026-03-05T00:00:00Z")
    assert "does not count them" in answer.output
    assert mature(by_hand, datetime(2100, 1, 1, tzinfo=UTC)) == {}
    assert len(by_hand.services.labels.history("pumps")) == 2


def test_what_is_said_of_an_alarm_never_outranks_another_label(plant: Plant) -> None:
    """Said later it still does not; taken back by hand, the alarm's counts."""
    for moment, give in (
        (20, lambda now: labelling.add(now.services, now.spec, "a", at(0), 0.0)),
        (21, lambda now: labelling.judge(now.services, now.spec, "a", at(0), real=True)),
    ):
        give(when(plant, at(moment)))
    assert mature(plant, at(48))["a", 0] == (0.0, "hand")
    now = when(plant, at(50))
    labelling.add(now.services, now.spec, "a", at(0), None)
    assert mature(plant, at(51))["a", 0] == (1.0, "alarm")
    assert mature(plant, at(49))["a", 0] == (0.0, "hand")


def test_a_label_is_immature_until_its_days_have_passed(plant: Plant) -> None:
    """The spec asks for a day: an hour less and nobody may count on it."""
    now = when(plant, at(2))
    labelling.add(now.services, now.spec, "a", at(1), 1.0)
    assert mature(plant, at(24.9)) == {}
    assert mature(plant, at(25)) == {("a", 1): (1.0, "hand")}


def test_a_date_is_immature_until_the_share_of_its_events_is_labelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of four events three must be labelled: at two, evaluation has nothing to count on; days and share both hold."""
    share = {"store": ["hand"], "maturity_share": 0.75, "maturity_days": 1}
    plant = opened(tmp_path, monkeypatch, label=share)
    plant.deliver()
    plant.ingest()
    for moment, pump, hour in ((20, "a", 0), (21, "a", 1), (30, "b", 0)):
        now = when(plant, at(moment))
        labelling.add(now.services, now.spec, pump, at(hour), 1.0)
    assert mature(plant, at(29)) == {}
    assert set(mature(plant, at(30))) == {("a", 0), ("a", 1), ("b", 0)}
    assert mature(plant, at(24.5)) == {}


def test_a_label_is_only_given_to_an_event_that_is_there(plant: Plant) -> None:
    """A time or pump that misses is answered with the nearest, and nothing is written."""
    with pytest.raises(NoDataError, match="nearest is about 2026-03-05T01:00:00"):
        labelling.add(plant.services, plant.spec, "a", at(1.2), 1.0)
    with pytest.raises(NoDataError, match="Known: a, b"):
        labelling.add(plant.services, plant.spec, "zz", at(1), 1.0)
    with pytest.raises(NoDataError, match="no validated rows"):
        labelling.add(plant.services, plant.spec, "a", at(999), 1.0)
    with pytest.raises(NoDataError, match="nearest is a@2026-03-05T00:00:00Z"):
        labelling.judge(plant.services, plant.spec, "a", at(7), real=True)
    assert plant.services.labels.history("pumps") == []
    assert plant.services.ledger.entries() == []


@pytest.mark.parametrize("value", [0.5, "yes", float("nan"), 2.0])
def test_values_that_the_model_cannot_learn_are_refused(plant: Plant, value: Any) -> None:
    """An anomaly is there or it is not."""
    with pytest.raises(DataError, match="neither 1 nor 0"):
        labelling.add(plant.services, plant.spec, "a", at(0), value)


def test_a_file_is_imported_once_and_arrives_now(plant: Plant, tmp_path: Path) -> None:
    """A dry run changes nothing; a second import says nothing new; an empty label takes one back."""
    file = tmp_path / "labels.csv"
    file.write_text(f"pump,at,label\na,{at(0).isoformat()},1\nb,{at(1).isoformat()},false\nb,{at(9).isoformat()},1\n")
    dry = json.loads(mlops("label", "import", "pumps", str(file), "--dry-run", "--json").output)
    assert (dry["added"], dry["rows"], dry["without_event"]) == (0, 3, 1)
    assert plant.services.labels.history("pumps") == []
    now = when(plant, at(30))
    assert labelling.import_file(now.services, now.spec, file).added == 3
    assert labelling.import_file(now.services, now.spec, file).added == 0
    assert mature(plant, at(29)) == {}
    assert mature(plant, at(48))["b", 1] == (0.0, "import")
    file.write_text(f"pump,at,label\nb,{at(1).isoformat()},\n")
    later = when(plant, at(50))
    labelling.import_file(later.services, later.spec, file)
    assert ("b", 1) not in mature(plant, at(50))
    assert ("b", 1) in mature(plant, at(49))


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("pump,at,lable\na,2026-03-05T00:00:00Z,1\n", SchemaError, "Did you mean 'lable'"),
        ("pump,at,label\na,2026-03-05T00:00:00,1\n", SchemaError, "time zone"),
        ("pump,at,label\na,2026-03-05T00:00:00Z,1\na,2026-03-05T00:00:00Z,0\n", DataError, "there twice"),
        ("pump,at,label\n,2026-03-05T00:00:00Z,1\n", DataError, "lack pump or at"),
        ("pump,at,label\na,2026-03-05T00:30:00Z,1\n", DataError, "None of the 1 labels is about an event"),
        ("pump,at,label\na,2026-03-05T00:00:00Z,maybe\n", DataError, "neither 1 nor 0"),
        ("", SourceError, "cannot be read as CSV"),
    ],
)
def test_a_wrong_file_is_refused_whole(plant: Plant, tmp_path: Path, text: str, error: Any, says: str) -> None:
    """What is wrong with it is said, and nothing of it is taken."""
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(error, match=says):
        labelling.import_file(plant.services, plant.spec, tmp_path / "labels.csv")
    assert plant.services.labels.history("pumps") == []


def test_people_are_answered_in_words(plant: Plant) -> None:
    """Usage errors leave with 2, absent files are errors, and the list shows who said what."""
    assert mlops("label", "confirm", "pumps").exit_code == 2
    assert mlops("label", "add", "pumps", "--entity", "a", "--at", "noon", "--value", "1").exit_code == 2
    assert isinstance(mlops("label", "import", "pumps", "absent.csv").exception, MLOpsError)
    assert "Nobody has said anything" in mlops("label", "list", "pumps").output
    mlops("label", "add", "pumps", "--entity", "a", "--at", "2026-03-05", "--value", "1", "--comment", "leak")
    mlops("label", "add", "pumps", "--entity", "a", "--at", "2026-03-05", "--value", "none")
    told = mlops("label", "list", "pumps").output
    assert "leak" in told
    assert "taken back" in told
    assert [one["value"] for one in json.loads(mlops("label", "list", "pumps", "--json").output)] == [1.0, None]


def test_delivered_labels_and_those_of_people_meet_in_one_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A label column of the data, numbers for keys, and a correction by hand: the later one counts."""
    plant = opened(
        tmp_path, monkeypatch, label={"column": "bad", "store": ["hand"]},
        contract={"columns": {"heat": {}, "bad": {"max_null_share": 1}}},
    )  # fmt: skip
    plant.deliver(pump=[1, 1, 2, 2], bad=[0.0, 0.0, None, 1.0])
    plant.ingest()
    now = when(plant, at(30))
    labelling.add(now.services, now.spec, "1", at(0), 1.0)
    before, after = (mature(plant, at(hours)) for hours in (29, 31))
    assert {key: value for key, (value, _) in before.items()} == {(1, 0): 0.0, (1, 1): 0.0, (2, 1): 1.0}
    assert after == before | {(1, 0): (1.0, "hand")}

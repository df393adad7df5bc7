"""Quarantine: what waits is explained by row and rule, and people release or drop it, with a reason, for good."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mlops.data import lying, partitions, sources
from mlops.errors import DataError, MLOpsError, NoDataError, SchemaError
from mlops.pipelines import ingestion, quarantine
from tests.plant import DAY, Plant, mlops, opened


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plant:
    """An installation that the environment names."""
    return opened(tmp_path, monkeypatch)


def test_what_waits_is_listed_with_date_rows_and_reasons(plant: Plant) -> None:
    """An empty quarantine says so; a refused delivery is there, by the name of the model and of the data set."""
    assert "Nothing waits" in mlops("quarantine", "list").output
    plant.refused()
    for name in ("pumps", "plant"):
        (found,) = json.loads(mlops("quarantine", "list", name, "--json").output)
        assert (found["dataset"], found["date"], found["model"], found["rows"]) == ("plant", str(DAY), "pumps", 4)
        assert found["reasons"] == ["heat: 1 of 4 rows (25.0 %) outside 0…100, largest 500."]
        assert found["since"]
    assert "largest 500" in mlops("quarantine", "list").output


def test_an_unknown_name_is_answered_with_the_nearest(plant: Plant) -> None:
    """Neither a model nor a data set: which one was meant is said."""
    answer = mlops("quarantine", "list", "pump")
    assert "Did you mean 'pumps'?" in str(answer.exception)


def test_explain_names_the_rule_the_rows_and_their_values(plant: Plant, tmp_path: Path) -> None:
    """As a table, as JSON and as a page of its own: the row by its number in the delivery, and its value."""
    plant.refused()
    told = json.loads(mlops("quarantine", "explain", "pumps", str(DAY), "--json").output)
    (broken,) = told["broken"]
    assert (broken["subject"], broken["promise"], broken["unexpected"]) == ("heat", "within 0…100", 1)
    (example,) = broken["examples"]
    assert example["row"] == 2
    assert (example["values"]["pump"], example["values"]["heat"]) == ("b", 500.0)
    page = tmp_path / "page.html"
    words = mlops("quarantine", "explain", "plant", str(DAY), "--html", str(page)).output
    assert "largest 500" in words
    assert "2026-03-05T00:00:00+00:00" in words
    assert "<td>500</td>" in page.read_text()
    assert "http" not in page.read_text()


def test_a_date_that_does_not_wait_is_an_error_that_names_those_that_do(plant: Plant) -> None:
    """Explain, release and drop alike."""
    plant.refused()
    other = DAY + timedelta(days=1)
    for call in (quarantine.release, quarantine.drop):
        with pytest.raises(NoDataError, match=f"Dates that wait: {DAY}"):
            call(plant.services, plant.spec, other, "a reason")
    assert isinstance(mlops("quarantine", "explain", "pumps", str(other)).exception, MLOpsError)


def test_a_large_delivery_goes_its_way_without_being_loaded(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kept, quarantined, released, met again: from file to file, with the same records as a small one."""
    plant.deliver()
    small = plant.ingest()
    monkeypatch.setattr(lying, "IN_MEMORY_ROWS", 0)
    monkeypatch.setattr(sources, "read_delivery", lambda *_, **__: pytest.fail("the rows were loaded"))
    assert plant.ingest() == small
    assert plant.refused().outcome == "no"
    done = quarantine.release(plant.services, plant.spec, DAY, "it was that hot")
    assert done.record["released"] is True
    published = partitions.read_rows(plant.services.storage, "plant", DAY, DAY)
    assert list(published["pump"]) == ["a", "a", "b", "b"]
    assert published["heat"].max() == 500.0
    again = plant.ingest()
    assert (again.outcome, again.record["content_hash"]) == ("done", done.record["content_hash"])


def test_a_released_delivery_is_what_a_good_one_is_and_says_why(plant: Plant) -> None:
    """Downstream sees its rows; slice, ledger and incident know who set which rule aside."""
    plant.refused()
    answer = mlops("quarantine", "release", "pumps", str(DAY), "--reason", "a test run, it was that hot", "--json")
    record = json.loads(answer.output)["record"]
    assert (record["status"], record["rows"], record["released"]) == ("validated", 4, True)
    assert record["reasons"] == ["heat: 1 of 4 rows (25.0 %) outside 0…100, largest 500."]
    assert plant.rows()["heat"].max() == 500
    assert quarantine.waiting(plant.services, [plant.spec]) == []
    (entry,) = plant.services.ledger.entries("pumps", "quarantine_release")
    assert (entry.actor, entry.body["reason"]) == ("ann", "a test run, it was that hot")
    assert entry.body["rules"] == record["reasons"]
    assert all(incident.resolved_at for incident in plant.services.alerts.list_incidents("pumps"))


def test_meeting_a_released_delivery_again_publishes_it_again(plant: Plant) -> None:
    """The release is about these rows: ingestion of the same ones is done, of other bad ones it is not."""
    plant.refused()
    quarantine.release(plant.services, plant.spec, DAY, "fine")
    again = plant.ingest()
    assert again.outcome == "done"
    assert "released by ann" in again.reason
    assert quarantine.waiting(plant.services, [plant.spec]) == []
    assert len(plant.services.ledger.entries("pumps")) == 1
    plant.refused(heat=[10.0, 20.0, 501.0, 40.0])
    assert plant.rows()["heat"].max() == 500


def test_a_killed_release_is_finished_by_the_next_with_one_entry(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger speaks first; whoever comes next publishes, whatever reason he gives."""

    def killed(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    plant.refused()
    with monkeypatch.context() as patched:
        patched.setattr(partitions, "publish", killed)
        with pytest.raises(ZeroDivisionError):
            quarantine.release(plant.services, plant.spec, DAY, "first")
    assert quarantine.release(plant.services, plant.spec, DAY, "second").outcome == "done"
    (entry,) = plant.services.ledger.entries("pumps", "quarantine_release")
    assert entry.body["reason"] == "first"


def test_a_good_delivery_after_a_release_replaces_it(plant: Plant) -> None:
    """What people set aside is not inherited by the delivery that mends it."""
    plant.refused()
    quarantine.release(plant.services, plant.spec, DAY, "fine")
    plant.deliver()
    record = plant.ingest().record
    assert (record["status"], record["reasons"], record["released"]) == ("validated", [], False)
    assert plant.rows()["heat"].max() == 40


def test_a_dropped_delivery_is_gone_and_stays_gone(plant: Plant) -> None:
    """What was published before stays; meeting the same rows again is a "no" that says who dropped them."""
    plant.deliver()
    assert plant.ingest().outcome == "done"
    plant.refused()
    answer = mlops("quarantine", "drop", "plant", str(DAY), "--reason", "a broken sensor")
    assert "is dropped by ann: a broken sensor" in answer.output
    assert quarantine.waiting(plant.services, [plant.spec]) == []
    again = plant.ingest()
    assert (again.outcome, again.record["status"]) == ("no", "nothing_to_do")
    assert "dropped by ann" in again.reason
    assert quarantine.waiting(plant.services, [plant.spec]) == []
    assert plant.rows()["heat"].max() == 40
    (entry,) = plant.services.ledger.entries("pumps", "quarantine_drop")
    assert entry.body["reason"] == "a broken sensor"


@pytest.mark.parametrize("reason", ["", "  "])
def test_nothing_is_decided_without_a_reason(plant: Plant, reason: str) -> None:
    """The ledger says why, so somebody must."""
    plant.refused()
    for call in (quarantine.release, quarantine.drop):
        with pytest.raises(DataError, match="for a reason, and none is given"):
            call(plant.services, plant.spec, DAY, reason)
    assert len(quarantine.waiting(plant.services, [plant.spec])) == 1


@pytest.mark.parametrize(
    ("columns", "rule"),
    [
        ({"pump": ["a", None, "b", "b"]}, "pump: null in 1 of 4 rows"),
        ({"pump": "a"}, "4 of 4 rows .* share entity and time"),
        ({"at": pd.Timestamp("2026-03-06T12:00", tz="UTC")}, "lie after the end of 2026-03-05"),
    ],
)
def test_rows_without_a_place_are_not_released(plant: Plant, columns: dict[str, Any], rule: str) -> None:
    """No key, one key for two rows, known only tomorrow: nobody can set that aside, and nothing is written."""
    plant.refused(**columns)
    with pytest.raises(DataError, match=f"cannot be released: .*{rule}"):
        quarantine.release(plant.services, plant.spec, DAY, "please")
    assert plant.services.ledger.entries() == []
    assert len(quarantine.waiting(plant.services, [plant.spec])) == 1


def test_values_of_a_wrong_type_are_not_released(plant: Plant) -> None:
    """What cannot be kept in its type is refused before the ledger says that it was released."""
    plant.refused(heat=["10", "hot", "30", "40"])
    with pytest.raises(SchemaError, match="heat"):
        quarantine.release(plant.services, plant.spec, DAY, "please")
    assert plant.services.ledger.entries() == []


def test_ingestion_releases_what_waits_for_whom_its_form_names(plant: Plant) -> None:
    """As from Airflow's form: a reason releases, "done" is what announces the date; a retry leaves the same."""
    plant.refused()
    answer = ingestion.run(plant.services, plant.spec, DAY, release="fine", actor="bob")
    assert answer.outcome == "done"
    (entry,) = plant.services.ledger.entries("pumps", "quarantine_release")
    assert entry.actor == "bob"
    assert ingestion.run(plant.services, plant.spec, DAY, release="fine", actor="bob").outcome == "done"
    assert len(plant.services.ledger.entries()) == 1


def test_the_ledger_that_holds_decisions_is_whole(plant: Plant) -> None:
    """The new kinds of entries verify like any other."""
    plant.refused()
    quarantine.drop(plant.services, plant.spec, DAY, "wrong")
    assert mlops("ledger", "verify").exit_code == 0

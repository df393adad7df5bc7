"""A team's own CSV files become a model, night after night, and every kind of bad input is refused in words."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mlops.data import partitions
from mlops.errors import DataError, FeatureError, MLOpsError, SourceError, StorageError, TrainingError
from mlops.models.evidence import evidence_hash
from mlops.pipelines import serving
from mlops.pipelines.tasks import STEPS
from tests.e2e.conftest import FIRST, Team

JUDGED_STEPS = ("training", "validation", "promotion", "inference", "monitoring")


def state(team: Team) -> dict[str, Any]:
    """All that a night leaves: tables by content, versions, champion, runs by status, ledger entries by body."""
    storage, tables = team.services.storage, {}
    for path in sorted(Path(team.folder / "var").rglob("part.parquet")):
        manifest = storage.manifest(str(path.parent))
        assert manifest is not None
        tables[str(path.relative_to(team.folder))] = manifest.content_hash
    tracking = team.services.tracker.client
    experiment = tracking.get_experiment_by_name("presses")
    runs = tracking.search_runs([experiment.experiment_id]) if experiment else []
    champion = team.services.registry.by_alias("presses", "champion")
    return {
        "tables": tables,
        "versions": [(v.version, v.stage, v.digest) for v in team.services.registry.versions("presses")],
        "champion": champion.version if champion else None,
        "runs": sorted((r.data.tags["mlops.run_key"], r.info.status) for r in runs),
        "ledger": [(e.kind, e.key, e.body["version"]) for e in team.services.ledger.entries()],
    }


def test_a_team_gets_a_champion_from_its_csv_files(team: Team) -> None:
    """Nine days of CSV files, one spec and one view make a first champion that scores the night's delivery."""
    day = team.history()
    told = {step: team.run(step, day) for step in JUDGED_STEPS}
    assert [told[s].outcome for s in ("training", "validation", "promotion", "inference")] == ["done"] * 4, told
    batch = told["inference"].record
    assert (batch["version"], batch["rows"], batch["scored_rows"]) == (1, 6 * 48, 6 * 48)
    proven = next(gate for gate in told["validation"].record["gates"] if gate["name"] == "compiled_equals_plain")
    assert (proven["verdict"], proven["decides"]) == ("pass", True)
    served, _ = serving.load(team.services, team.services.spec("presses"), 1)
    assert served.compiled, served.reason
    assert f"On {served.proof.rows:,} validation rows" in proven["reason"]
    entry = team.services.ledger.history("presses")[-1]
    assert entry.body["evidence_hash"] == told["validation"].record["evidence_hash"]
    assert team.services.ledger.verify() == []
    kept = team.services.storage.read_json(told["validation"].record["evidence_uri"])
    assert evidence_hash(kept["evidence"]) == entry.body["evidence_hash"]
    assert told["monitoring"].outcome in ("done", "cannot_tell")


def test_running_a_night_again_changes_nothing(team: Team) -> None:
    """Every step of a night run twice leaves what it left the first time: tables, runs, versions, champion, ledger."""
    day = team.history()
    for step in JUDGED_STEPS:
        team.run(step, day)
    before = state(team)
    assert before["champion"] == 1
    again = {step: team.run(step, day) for step in STEPS}
    assert state(team) == before
    assert "reused" in again["training"].reason
    assert {status for _, status in before["runs"]} == {"FINISHED"}


def test_judging_again_reuses_the_decision_and_its_evidence(team: Team) -> None:
    """The same inputs keep the evidence hash, though times differ, and the answer says so; other gates judge anew."""
    day = team.history()
    team.run("training", day)
    first, again = (team.run("validation", day) for _ in range(2))
    assert "reused" not in first.reason
    assert "the decision is reused" in again.reason
    assert again.record == first.record
    team.write_spec(gates={"alpha": 0.01})
    other = team.run("validation", day)
    assert "reused" not in other.reason
    assert other.record["inputs_hash"] != first.record["inputs_hash"]
    assert other.record["evidence_hash"] != first.record["evidence_hash"]


def test_a_decision_whose_evidence_was_touched_is_not_reused(team: Team) -> None:
    """A kept decision that was edited by hand is judged anew."""
    day = team.history()
    team.run("training", day)
    first = team.run("validation", day)
    kept = team.services.storage.read_json(first.record["evidence_uri"])
    kept["evidence"]["decision"]["gates"][0]["reason"] = "All is well."
    team.services.storage.write_json(first.record["evidence_uri"], kept)
    again = team.run("validation", day)
    assert "reused" not in again.reason
    assert team.services.storage.read_json(first.record["evidence_uri"]) != kept


def test_models_of_several_classes_are_compared(team: Team) -> None:
    """Three classes: the first champion beats knowing their shares, the next challenger is compared with it."""
    day = team.history()
    for back in range(8, -2, -1):
        at = day - timedelta(days=back)
        frame = team.readings(at)
        team.deliver(at, frame.assign(failing=frame["failing"] + (frame["load"] > 80)))
        for step in ("ingestion", "features"):
            assert team.run(step, at).outcome == "done"
    team.write_spec(gates={"floor": None})
    nights = [{step: team.run(step, at) for step in ("training", "validation", "promotion")}
              for at in (day, day + timedelta(days=1))]  # fmt: skip
    assert nights[0]["promotion"].outcome == "done", nights[0]["validation"].reason
    gates = {gate["name"]: gate for gate in nights[1]["validation"].record["gates"]}
    assert gates["better_than_champion"]["verdict"] in ("pass", "fail")
    assert gates["label_health"]["verdict"] == "pass"


def test_a_change_of_the_data_makes_a_new_version(team: Team) -> None:
    """A corrected delivery is another training set: a new version supersedes, and the old runs say so."""
    day = team.history()
    team.run("training", day)
    frame = team.readings(day - timedelta(days=1))
    team.deliver(day - timedelta(days=1), frame.assign(load=frame["load"] * 0.5))
    for step in ("ingestion", "features"):
        team.run(step, day - timedelta(days=1))
    answer = team.run("training", day)
    assert answer.record["version"] == 2
    assert "is new" in answer.reason


def test_nothing_delivered_is_nothing_to_do(team: Team) -> None:
    """A date without a delivery is a success that says so, in every step."""
    day = team.history()
    for step in STEPS:
        answer = team.run(step, day + timedelta(days=1))
        assert (answer.outcome, answer.exit_code) == ("nothing_to_do", 0), answer
        assert str(day + timedelta(days=1)) in answer.reason


def test_too_little_history_says_what_to_ingest(team: Team) -> None:
    """Training on the first night fails with the part that is empty and what to do."""
    day = team.history(days=1)
    with pytest.raises(TrainingError, match=r"no rows in the .*fit.*Ingest more days"):
        team.run("training", day)


def _missing_column(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.drop(columns="heat")


def _wrong_type(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(load="high")


def _duplicates(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([frame, frame.head(3)])


def _nulls(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(heat=None)


def _future(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(event_timestamp=frame["event_timestamp"] + pd.Timedelta(days=3))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_missing_column, "heat"),
        (_wrong_type, "load"),
        (_duplicates, "press_id"),
        (_nulls, "heat"),
        (_future, "event_timestamp"),
        (lambda frame: frame.head(0), "row"),
    ],
)
def test_a_bad_delivery_is_quarantined_and_the_champion_stays(team: Team, spoil: Any, words: str) -> None:
    """What breaks the contract is set aside with its reason; a good delivery of the date releases it."""
    day = team.history(days=2) + timedelta(days=1)
    team.deliver(day, spoil(team.readings(day)))
    answer = team.run("ingestion", day)
    assert answer.outcome == "no", answer.reason
    assert words in answer.reason
    assert day not in partitions.delivered_days(team.services.storage, "presses")
    assert [i.kind for i in team.services.alerts.list_incidents("presses")] == ["quarantine"]
    assert team.run("features", day).outcome == "nothing_to_do"
    team.deliver(day)
    good = team.run("ingestion", day)
    assert good.outcome == "done"
    assert good.record["released"] is True


def test_a_timestamp_without_zone_is_refused(team: Team) -> None:
    """Naive times are not guessed: the error names the setting that says what they mean."""
    frame = team.readings(FIRST)
    team.deliver(FIRST, frame.assign(event_timestamp=frame["event_timestamp"].dt.tz_localize(None)))
    with pytest.raises(DataError, match="timezone"):
        team.run("ingestion", FIRST)


def test_an_unreadable_file_is_an_error_that_names_it(team: Team) -> None:
    """Binary rubbish instead of CSV is neither data nor quarantine."""
    path = team.deliver(FIRST)
    path.write_bytes(b"\x00\xff\xfe" * 100)
    with pytest.raises(MLOpsError, match=re.escape(path.name)):
        team.run("ingestion", FIRST)


def test_labels_keyed_by_numbers_meet_data_keyed_by_text(team: Team) -> None:
    """Readings in CSV have text keys, a table of labels whole numbers: the model learns from them all the same."""
    kept = {"kind": "parquet", "uri": "${MLOPS_VAR}/inbox/{date}.labels.parquet"}
    team.write_spec(label={"column": "failing", "source": kept})
    for day in (FIRST + timedelta(days=i) for i in range(9)):
        frame = team.readings(day).assign(press_id=lambda f: f["press_id"].str.removeprefix("press-"))
        team.deliver(day, frame.drop(columns="failing"))
        known = frame[["press_id", "event_timestamp", "failing"]].astype({"press_id": "int64"})
        known.to_parquet(team.inbox / f"{day}.labels.parquet", index=False)
        for step in ("ingestion", "features"):
            team.run(step, day)
    made = team.run("training", day)
    assert made.outcome == "done", made.reason
    kept_set = next(Path(team.folder / "var" / "training_sets").rglob("training_set.json")).read_text()
    assert json.loads(kept_set)["labelled_rows"] == 2 * 6 * 48


def test_keys_of_another_type_than_the_view_declares_are_refused(team: Team) -> None:
    """The features step says what the view declares, what the data has, and the two ways out."""
    team.write_spec(source={"options": {"dtype": {"press_id": "int64"}}})
    frame = team.readings(FIRST)
    team.deliver(FIRST, frame.assign(press_id=frame["press_id"].str.removeprefix("press-")))
    assert team.run("ingestion", FIRST).outcome == "done"
    with pytest.raises(FeatureError, match=r"declares press_id as STRING, the data has 0 .*dtype: \{press_id: str\}"):
        team.run("features", FIRST)


def test_a_missing_database_is_an_error_that_may_pass(team: Team) -> None:
    """A source that is away raises SourceError, which Airflow tries again."""
    uri = "postgresql+psycopg://127.0.0.1:9/nothing"
    team.write_spec(source={"kind": "sql", "uri": uri, "query": "select 1 where :start < :end"})
    with pytest.raises(SourceError):
        team.run("ingestion", FIRST)


def test_one_class_only_is_an_error_that_says_so(team: Team) -> None:
    """A classifier that has only ever seen one class is not trained."""
    for day in (FIRST + timedelta(days=i) for i in range(9)):
        team.deliver(day, team.readings(day).assign(failing=0))
        for step in ("ingestion", "features"):
            team.run(step, day)
    with pytest.raises(TrainingError, match="two classes"):
        team.run("training", day)


def test_a_feature_that_is_null_throughout_is_named(team: Team) -> None:
    """A sensor that never speaks is an error with the feature's name, not a silent median."""
    team.write_spec(contract={"columns": {"load": {}, "heat": {"max_null_share": 1.0}}})
    for day in (FIRST + timedelta(days=i) for i in range(9)):
        team.deliver(day, team.readings(day).assign(heat=float("nan")))
        for step in ("ingestion", "features"):
            team.run(step, day)
    with pytest.raises(TrainingError, match=r"heat.*null in all"):
        team.run("training", day)


def test_an_entity_never_seen_is_scored_by_a_shared_model_and_not_by_its_own(team: Team) -> None:
    """One model for all scores a new press; one model per press cannot tell, says how many, and flags nothing."""
    team.write_spec(candidates=[{"algorithm": "logistic_regression", "per_entity": True}])
    day = team.history()
    for step in JUDGED_STEPS:
        team.run(step, day)
    later = day + timedelta(days=1)
    frame = team.readings(later)
    team.deliver(later, frame.replace({"press_id": {"press-0": "press-new"}}))
    for step in ("ingestion", "features"):
        team.run(step, later)
    answer = team.run("inference", later)
    assert answer.outcome == "done"
    assert answer.record["rows"] - answer.record["scored_rows"] == 48
    assert "48 could not be scored" in answer.reason


def test_an_unknown_feature_service_is_refused_with_the_one_that_was_meant(team: Team) -> None:
    """A mistyped service is named with its nearest neighbour."""
    team.write_spec(features={"service": "presses_v2"})
    team.deliver(FIRST)
    team.run("ingestion", FIRST)
    with pytest.raises(FeatureError, match="presses_v1"):
        team.run("features", FIRST)


def test_a_state_folder_that_cannot_be_written_loses_nothing(team: Team) -> None:
    """Where `var` cannot be written the step says so and the last good partition stands."""
    day = team.history(days=1)
    folder = Path(team.services.storage.uri("data", "presses", f"date={day + timedelta(days=1)}"))
    folder.write_text("a file where a folder belongs")
    team.deliver(day + timedelta(days=1))
    with pytest.raises(StorageError, match="could not be written"):
        team.run("ingestion", day + timedelta(days=1))
    assert partitions.delivered_days(team.services.storage, "presses") == [day]


def test_a_changed_model_file_is_not_loaded(team: Team) -> None:
    """A champion whose bytes were changed is refused by name before it is loaded, and the last predictions stand."""
    day = team.history()
    for step in JUDGED_STEPS:
        team.run(step, day)
    files = [p for p in Path(team.services.config.artifact_uri).rglob("model.*") if p.is_file()]
    assert files
    for path in files:
        path.write_bytes(path.read_bytes() + b"x")
    before = team.services.storage.manifest(team.services.storage.uri("predictions", "presses", f"date={day}"))
    with pytest.raises(MLOpsError, match="changed"):
        team.run("inference", day)
    assert team.services.storage.manifest(team.services.storage.uri("predictions", "presses", f"date={day}")) == before

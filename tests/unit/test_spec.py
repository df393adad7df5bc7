"""Model specs: what is accepted, and how a wrong one is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from mlops.errors import SpecError
from mlops.spec import ModelSpec, find_spec, load_spec, load_specs

MINIMAL: dict[str, Any] = {
    "name": "pumps",
    "owner": "team@example.com",
    "task": "anomaly",
    "entity": "device_id",
    "source": {"uri": "${INBOX}/{date}.parquet"},
    "contract": {"columns": {"pressure": {"min": 0}}},
    "features": {"service": "pumps_v1"},
    "candidates": [{"algorithm": "ecod"}],
}


def write(folder: Path, **changes: Any) -> Path:
    """A spec file: the minimal one with `changes`; a key set to None is left out."""
    spec = {key: value for key, value in (MINIMAL | changes).items() if value is not None}
    path = folder / f"{spec.get('name', 'pumps')}.yaml"
    path.write_text(yaml.safe_dump(spec))
    return path


def refused(path: Path) -> str:
    """The message with which a spec is refused."""
    with pytest.raises(SpecError) as caught:
        load_spec(path, {"INBOX": "/in"})
    return str(caught.value)


def test_the_smallest_spec_gets_its_defaults(tmp_path: Path) -> None:
    """Eight keys are a model; variables are filled in and the rest has defaults."""
    spec = load_spec(write(tmp_path), {"INBOX": "/in"})
    assert spec.source.uri == "/in/{date}.parquet"
    assert spec.dataset == "pumps"
    assert spec.metric == "average_precision"
    assert spec.known_at == "event_timestamp"
    assert spec.candidates[0].label == "ecod"


def test_an_unknown_key_is_refused_with_the_one_that_was_meant(tmp_path: Path) -> None:
    """A typing error at any depth is named with its place and the nearest known key."""
    assert "ownr: unknown key. Did you mean 'owner'?" in refused(write(tmp_path, ownr="x"))
    assert "split.window_day: unknown key. Did you mean 'window_days'?" in refused(
        write(tmp_path, split={"window_day": 3})
    )
    nested = refused(write(tmp_path, contract={"columns": {"pressure": {"maxx": 3}}}))
    assert "contract.columns.pressure.maxx: unknown key. Did you mean 'max'?" in nested
    listed = refused(write(tmp_path, candidates=[{"algoritm": "ecod"}]))
    assert "candidates.0.algoritm: unknown key. Did you mean 'algorithm'?" in listed
    assert "candidates.0.algorithm: missing" in listed


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    """A person mends a spec in one go."""
    message = refused(write(tmp_path, owner=None, task="anomalies", seed=-1))
    assert all(part in message for part in ("owner: missing", "task: ", "given: 'anomalies'", "seed: "))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"task": "regression"}, "needs a label"),
        ({"candidates": [{"algorithm": "ecod"}, {"algorithm": "ecod"}]}, "share a name"),
        ({"name": "Pumps!"}, "lower case letters"),
        ({"split": {"window_days": 3, "holdout_days": 2, "calibration_days": 2}}, "nothing is left to fit on"),
        ({"source": {"uri": "x", "kind": "sql"}}, "kind sql needs a query"),
        ({"source": {"uri": "${NOWHERE}/x"}}, "NOWHERE"),
        ({"contract": {"columns": {"device_id": {}}}}, "entity and timestamps"),
        ({"objective": {"metric": "average_precison"}}, "Did you mean 'average_precision'"),
        ({"split": {"folds": 0, "calibration_days": 0}}, "nothing is left to choose"),
        ({"contract": {"columns": {"pressure": {"min": 9, "max": 3}}}}, "pressure: min 9 is above max 3"),
        ({"contract": {"columns": {"mode": {"type": "string", "min": 0}}}}, "min and max are for numbers"),
        ({"contract": {"columns": {"mode": {"allowed": ["a"]}}}}, "allowed lists the values of a string"),
        ({"schedule": {"training": "0 3 * *"}}, "schedule.training: '0 3 * *' is not cron"),
        ({"schedule": {"ingestion": "0 25 * * *"}}, "schedule.ingestion: '0 25 * * *' is not cron"),
        ({"schedule": {"training": "0 0 31 2 *"}}, "'0 0 31 2 *' is not cron: failed to find next date"),
    ],
)
def test_what_cannot_work_is_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    """Contradictions are found when the spec is read, not at night."""
    assert words in refused(write(tmp_path, **changes))


@pytest.mark.parametrize("cron", ["0 3 * * *", "*/15 * * * MON-FRI", "0 3 * * 1#1", "@daily", None])
def test_what_cron_can_say_is_a_schedule(tmp_path: Path, cron: str | None) -> None:
    """Names of days, steps, the n-th weekday, words for common schedules, and none at all."""
    spec = load_spec(write(tmp_path, schedule={"training": cron}), {"INBOX": "/in"})
    assert spec.schedule.training == cron


def test_a_file_that_is_no_spec_says_so(tmp_path: Path) -> None:
    """Broken YAML, a list, a missing file and a name that is not the file's are each told apart."""
    path = tmp_path / "pumps.yaml"
    path.write_text("name: [unclosed")
    assert "not valid YAML" in refused(path)
    path.write_text("- a\n- b\n")
    assert "holds list, expected keys and values" in refused(path)
    assert "cannot be read" in refused(tmp_path / "absent.yaml")
    write(tmp_path).rename(tmp_path / "other.yaml")
    assert "Rename the file to pumps.yaml" in refused(tmp_path / "other.yaml")


def test_a_mistyped_model_name_gets_the_one_that_was_meant(tmp_path: Path) -> None:
    """Asking for a model that has no spec names the nearest."""
    write(tmp_path)
    with pytest.raises(SpecError, match="Did you mean 'pumps'"):
        find_spec(tmp_path, "pump", {"INBOX": "/in"})
    assert list(load_specs(tmp_path, {"INBOX": "/in"})) == ["pumps"]


def test_the_training_hash_ignores_what_does_not_change_the_model(tmp_path: Path) -> None:
    """Another owner or schedule is the same training; another seed, candidate or split is not."""

    def digest(**changes: Any) -> str:
        return load_spec(write(tmp_path, **changes), {"INBOX": "/in"}).training_hash

    base = digest()
    assert digest(owner="else@example.com", schedule={"training": None}) == base
    assert len({base, digest(seed=1), digest(candidates=[{"algorithm": "hbos"}]), digest(split={"folds": 4})}) == 4


def test_the_schema_describes_every_key() -> None:
    """The JSON schema explains each key that a person may write, so that an editor can."""
    schema = ModelSpec.model_json_schema()
    bare = {
        f"{name}.{key}"
        for name, definition in schema["$defs"].items()
        for key, entry in definition["properties"].items()
        if not any(word in entry for word in ("description", "$ref", "enum", "const", "anyOf"))
    }
    assert bare <= {"AlertsSpec.channels"}, bare


def test_the_shipped_specs_are_valid() -> None:
    """Every spec of the repository can be read."""
    folder = Path(__file__).parents[2] / "config" / "models"
    assert "fleet_anomaly" in load_specs(folder, {"MLOPS_VAR": "/var"})

"""The DAGs at work: real pipelines on the sample fleet, run by the engine behind `airflow dags test`."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from datetime import date, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from mlops.data import fleet
from mlops.mlflow_store import artifact_bytes
from mlops.services import Services

FLEET = fleet.FleetConfig(devices=6, step_minutes=30, faults_per_device_day=1.0)
FIRST = FLEET.first_day
FEW_ROWS = {"min_rows": 10, "volume_tolerance": None}

pytestmark = pytest.mark.dags
Events = Callable[[str], list[dict[str, Any]]]


@pytest.fixture
def deliver(installation: SimpleNamespace) -> Callable[..., None]:
    """Delivers dates of the sample fleet into the inbox of the installation."""

    def delivered(*days: date, corrupt: bool | None = None) -> None:
        for day in days:
            fleet.write_delivery(FLEET, day, f"{installation.var}/inbox", corrupt=corrupt)

    return delivered


@pytest.fixture
def learnable(request: pytest.FixtureRequest, write_spec: Callable[..., Any]) -> str:
    """Name of a model whose training window is short and whose second candidate is fast, too."""
    name = f"m{zlib.crc32(request.node.name.encode())}"
    split = {"window_days": 4, "holdout_days": 1, "calibration_days": 1, "folds": 0, "gap_hours": 1}
    candidates = [{"algorithm": "hbos"}, {"algorithm": "ecod", "name": "tails"}]
    write_spec(name, contract=_contract(), split=split, candidates=candidates)
    return name


@pytest.fixture
def model(request: pytest.FixtureRequest, write_spec: Callable[..., Any]) -> str:
    """Name of a model that no other test has: Airflow's database, and so the events in it, is shared."""
    name = f"m{zlib.crc32(request.node.name.encode())}"
    write_spec(name, contract=_contract())
    return name


def _contract() -> dict[str, Any]:
    """The sample fleet's contract for a fleet as small as this one."""
    units = {"temperature": 150, "pressure": 40, "vibration": 50, "rotation": 5000}
    low = {"temperature": -40}
    columns = {name: {"min": low.get(name, 0), "max": most, "max_null_share": 0.02} for name, most in units.items()}
    return {"columns": columns, **FEW_ROWS}


def run(dag: Any, **form: Any) -> tuple[str, dict[str, str]]:
    """Run a DAG from its form; the run's state and the state of each task, by `id` or `id[index]`."""
    result = dag.test(run_conf=form)
    states = {
        ti.task_id if ti.map_index < 0 else f"{ti.task_id}[{ti.map_index}]": str(ti.state)
        for ti in result.get_task_instances()
    }
    return str(result.state), states


def answer(result: Any, task_id: str, map_index: int = -1) -> dict[str, Any]:
    """What a task of a run has returned."""
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session

    query = XComModel.get_many(
        run_id=result.run_id, key="return_value", task_ids=task_id, dag_ids=result.dag_id, map_indexes=map_index
    )
    with create_session() as session:
        found: dict[str, Any] = session.execute(query).scalars().one().value
    return found


def test_a_good_delivery_is_announced_with_its_date(
    model: str, deliver: Callable[..., None], parse: Callable[[], Any], events: Events
) -> None:
    """The event that starts the features says which date of which model is there."""
    deliver(FIRST)
    state, tasks = run(parse().dags[f"ingestion__{model}"], date=FIRST.isoformat())
    assert state == "success"
    assert tasks == {"days": "success", "each_day.ingest[0]": "success", "each_day.announce[0]": "success"}
    (facts,) = events(f"{model}/validated_data")
    assert (facts["model"], facts["date"]) == (model, FIRST.isoformat())


def test_a_corrupt_delivery_is_announced_to_nobody(
    model: str, deliver: Callable[..., None], parse: Callable[[], Any], events: Events
) -> None:
    """Quarantine is an answer, not a failure: the run is green, `announce` is skipped, no event starts anything."""
    deliver(FIRST, corrupt=True)
    state, tasks = run(parse().dags[f"ingestion__{model}"], date=FIRST.isoformat())
    assert state == "success"
    assert tasks == {"days": "success", "each_day.ingest[0]": "success", "each_day.announce[0]": "skipped"}
    assert events(f"{model}/validated_data") == []


def test_a_quarantined_delivery_is_released_from_the_form_and_announced(
    model: str, write_spec: Callable[..., Any], deliver: Callable[..., None], parse: Callable[[], Any], events: Events
) -> None:
    """With a reason in the form the date goes downstream as after a good re-delivery; so does running it again."""
    contract = _contract()
    contract["columns"]["temperature"]["max"] = 1
    write_spec(model, contract=contract)
    deliver(FIRST)
    dag = parse().dags[f"ingestion__{model}"]
    assert run(dag, date=FIRST.isoformat())[1]["each_day.announce[0]"] == "skipped"
    assert run(dag, date=FIRST.isoformat(), release="it was a hot day")[1]["each_day.announce[0]"] == "success"
    assert run(dag, date=FIRST.isoformat())[1]["each_day.announce[0]"] == "success"
    assert [facts["date"] for facts in events(f"{model}/validated_data")] == [FIRST.isoformat()] * 2


def test_nothing_delivered_is_a_success_that_starts_nothing(
    model: str, parse: Callable[[], Any], events: Events
) -> None:
    """An empty night is green, and says so."""
    state, tasks = run(parse().dags[f"ingestion__{model}"], date=FIRST.isoformat())
    assert (state, tasks["each_day.announce[0]"]) == ("success", "skipped")
    assert events(f"{model}/validated_data") == []


def test_a_date_that_fails_does_not_hold_back_the_others(
    model: str, deliver: Callable[..., None], installation: SimpleNamespace, parse: Callable[[], Any], events: Events
) -> None:
    """Of three dates that waited, the unreadable one fails the run; the other two are published and announced."""
    days = [FIRST + timedelta(days=n) for n in range(3)]
    deliver(*days)
    (installation.var / "inbox" / "fleet" / f"{days[1]}.parquet").write_text("not a table")
    dag = parse().dags[f"ingestion__{model}"]
    dag.task_dict["days"].python_callable = lambda: [day.isoformat() for day in days]
    state, tasks = run(dag)
    assert state == "failed"
    assert [tasks[f"each_day.ingest[{n}]"] for n in range(3)] == ["success", "failed", "success"]
    assert [tasks[f"each_day.announce[{n}]"] for n in range(3)] == ["success", "upstream_failed", "success"]
    told = sorted(facts["date"] for facts in events(f"{model}/validated_data"))
    assert told == [days[0].isoformat(), days[2].isoformat()]


def test_a_mapped_task_is_named_by_its_date(model: str, deliver: Callable[..., None], parse: Callable[[], Any]) -> None:
    """In the UI a mapped task shows its date, not a number, whether it succeeded or was skipped."""
    deliver(FIRST)
    dag = parse().dags[f"ingestion__{model}"]
    result = dag.test(run_conf={"date": FIRST.isoformat()})
    names = {ti.task_id: ti.rendered_map_index for ti in result.get_task_instances() if ti.map_index >= 0}
    assert names == {"each_day.ingest": FIRST.isoformat(), "each_day.announce": FIRST.isoformat()}


def test_a_run_leaves_the_dags_of_other_models_alone(
    model: str, write_spec: Callable[..., Any], parse: Callable[[], Any]
) -> None:
    """A run parses the files again; the other models' DAGs stay active."""
    from airflow.models.dag import DagModel

    write_spec("another", contract=_contract())
    dags = parse().dags
    run(dags[f"ingestion__{model}"], date=FIRST.isoformat())
    other = DagModel.get_dagmodel("ingestion__another")
    assert other is not None
    assert not other.is_stale
    assert "ingestion__another" in parse().dags


def test_without_a_validated_delivery_there_is_nothing_to_learn(model: str, parse: Callable[[], Any]) -> None:
    """Training is green, its parts are skipped, and no challenger is announced."""
    state, tasks = run(parse().dags[f"training__{model}"], date=FIRST.isoformat())
    assert state == "success"
    assert tasks == {
        "day": "success",
        "prepare": "success",
        "candidates": "skipped",
        "fit": "skipped",
        "select": "skipped",
        "announce": "skipped",
    }


def test_candidates_are_fitted_under_their_names_and_the_best_is_announced(
    learnable: str, deliver: Callable[..., None], parse: Callable[[], Any], events: Events
) -> None:
    """From deliveries to a registered version, all through DAGs; a second run of the date gives the same version."""
    days = [FIRST + timedelta(days=n) for n in range(6)]
    deliver(*days)
    dags = parse().dags
    for step in ("ingestion", "features"):
        dags[f"{step}__{learnable}"].task_dict["days"].python_callable = lambda: [day.isoformat() for day in days]
        assert run(dags[f"{step}__{learnable}"])[0] == "success"
    assert sorted(facts["date"] for facts in events(f"{learnable}/features")) == [day.isoformat() for day in days]
    form = {"date": days[-1].isoformat(), "reason": "new pumps"}
    first = dags[f"training__{learnable}"].test(run_conf=form)
    assert {str(ti.state) for ti in first.get_task_instances()} == {"success"}
    names = [ti.rendered_map_index for ti in first.get_task_instances() if ti.task_id == "fit"]
    assert sorted(names) == ["hbos", "tails"]
    assert answer(first, "prepare")["training_set"]["reason"] == "new pumps"
    again = dags[f"training__{learnable}"].test(run_conf=form)
    assert answer(again, "fit", 0)["reused"]
    assert [facts["version"] for facts in events(f"{learnable}/challenger")] == [1, 1]
    validated = dags[f"validation__{learnable}"].test(run_conf={"date": days[-1].isoformat()})
    passed = answer(validated, "validate")["outcome"] == "done"
    assert len(events(f"{learnable}/validated_challenger")) == int(passed)
    services = Services.open()
    stored = services.registry.artifacts.location(services.registry.get(learnable, 1).model_uri)
    (size,) = [gate["value"] for gate in answer(validated, "validate")["record"]["gates"] if gate["name"] == "size"]
    assert size == artifact_bytes(services.config, stored) / 1e6  # of what is signed, not of the object in memory


def test_a_candidate_that_cannot_be_built_fails_by_its_name_and_nothing_is_registered(
    learnable: str,
    write_spec: Callable[..., Any],
    deliver: Callable[..., None],
    parse: Callable[[], Any],
    events: Events,
) -> None:
    """The run is red, the task that failed carries the candidate's name, and validation is not started."""
    days = [FIRST + timedelta(days=n) for n in range(6)]
    deliver(*days)
    split = {"window_days": 4, "holdout_days": 1, "calibration_days": 1, "folds": 0, "gap_hours": 1}
    candidates = [{"algorithm": "hbos"}, {"algorithm": "isolation_forrest"}]
    write_spec(learnable, contract=_contract(), split=split, candidates=candidates)
    dags = parse().dags
    for step in ("ingestion", "features"):
        dags[f"{step}__{learnable}"].task_dict["days"].python_callable = lambda: [day.isoformat() for day in days]
        run(dags[f"{step}__{learnable}"])
    result = dags[f"training__{learnable}"].test(run_conf={"date": days[-1].isoformat()})
    assert str(result.state) == "failed"
    fits = {
        ti.rendered_map_index: (str(ti.state), ti.try_number)
        for ti in result.get_task_instances()
        if ti.task_id == "fit"
    }
    assert fits == {"hbos": ("success", 1), "isolation_forrest": ("failed", 1)}
    assert events(f"{learnable}/challenger") == []

"""The DAGs of the model specs: that they are all there, and that each is what it promises."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DAGS = ROOT / "dags"
STEPS = ("ingestion", "features", "training", "validation", "promotion", "rollback", "inference", "monitoring")
WORK = {
    "ingestion": "each_day.ingest",
    "features": "each_day.build_features",
    "inference": "each_day.score",
    "monitoring": "each_day.monitor",
    "validation": "validate",
    "promotion": "promote",
    "rollback": "roll_back",
    "training": "select",
}
GIVES = {
    "ingestion": "validated_data",
    "features": "features",
    "training": "challenger",
    "validation": "validated_challenger",
    "promotion": "champion",
    "rollback": "champion",
    "inference": "predictions",
    "monitoring": "drift",
}
MANY_DAYS = ("ingestion", "features", "inference", "monitoring")
HEAVY = ("mlflow", "feast", "evidently", "great_expectations", "pyod", "sklearn", "scipy", "duckdb", "numba", "plotly")

pytestmark = pytest.mark.dags


def assets_of(schedule: Any) -> set[str]:
    """Names of the Assets a timetable waits for."""
    condition = getattr(schedule, "asset_condition", None)
    members = getattr(condition, "objects", [condition] if condition is not None else [])
    return {asset.name for asset in members}


def announce_of(dag: Any, step: str) -> Any:
    """The task that announces a step's outcome."""
    return dag.task_dict["each_day.announce" if step in MANY_DAYS else "announce"]


def test_the_repository_gives_eight_dags_for_each_of_its_specs_and_one_for_all(
    installation: SimpleNamespace, parse: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is in config/models is what Airflow shows: neither a DAG less nor a DAG more, and no import error."""
    monkeypatch.delenv("MLOPS_MODELS_DIR")
    models = sorted(path.stem for path in (ROOT / "config" / "models").glob("*.yaml"))
    bag = parse()
    assert models
    assert bag.import_errors == {}
    experiments = {"ab_analysis__fleet_anomaly"}  # the only model that an experiment of the repository names
    assert set(bag.dags) == {f"{step}__{model}" for step in STEPS for model in models} | {"maintenance"} | experiments


def test_two_models_share_no_asset(write_spec: Callable[..., Path], parse: Callable[[], Any]) -> None:
    """Names and URIs of Assets are unique: two Assets of one URI would fail the tasks of one of them."""
    write_spec("one")
    write_spec("two")
    outlets = {(o.name, o.uri) for dag in parse().dags.values() for task in dag.tasks for o in task.outlets}
    assert len(outlets) == 2 * len(set(GIVES.values()))
    assert len({name for name, _ in outlets}) == len({uri for _, uri in outlets}) == len(outlets)


def test_each_step_announces_its_asset_and_nothing_else(dags: dict[str, Any]) -> None:
    """The one task with an outlet is `announce`, last in its DAG."""
    for step in STEPS:
        dag = dags[f"{step}__fleet"]
        found = {task.task_id: {o.name for o in task.outlets} for task in dag.tasks if task.outlets}
        announce = announce_of(dag, step)
        assert found == {announce.task_id: {f"fleet/{GIVES[step]}"}}
        assert announce.downstream_task_ids == set()
        assert announce.upstream_task_ids == {WORK[step]}


def test_the_steps_are_chained_by_their_assets(dags: dict[str, Any]) -> None:
    """Features wait for validated data, inference for features or a champion, training for drift, and so on."""
    waits = {step: assets_of(dags[f"{step}__fleet"].timetable) for step in STEPS}
    assert waits == {
        "ingestion": set(),
        "features": {"fleet/validated_data"},
        "training": {"fleet/drift"},
        "validation": {"fleet/challenger"},
        "promotion": {"fleet/validated_challenger"},
        "rollback": set(),
        "inference": {"fleet/features", "fleet/champion"},
        "monitoring": {"fleet/predictions"},
    }


def test_inference_needs_only_one_of_its_assets(dags: dict[str, Any]) -> None:
    """New features are scored without waiting for a new champion, and the other way round."""
    from airflow.sdk import AssetAny

    assert isinstance(dags["inference__fleet"].timetable.asset_condition, AssetAny)


def test_the_training_edges_are_prepare_candidates_fit_select(dags: dict[str, Any]) -> None:
    """Candidates are fitted in parallel between one preparation and one selection."""
    dag = dags["training__fleet"]
    edges = {task.task_id: task.downstream_task_ids for task in dag.tasks}
    assert edges == {
        "day": {"prepare"},
        "prepare": {"candidates", "fit", "select"},
        "candidates": {"fit"},
        "fit": {"select"},
        "select": {"announce"},
        "announce": set(),
    }
    assert dag.task_dict["fit"].is_mapped


@pytest.mark.parametrize(
    ("cron", "retrain", "expected"),
    [
        ("0 3 * * *", True, ("AssetOrTimeSchedule", {"fleet/drift"})),
        (None, True, ("AssetTriggeredTimetable", {"fleet/drift"})),
        ("0 3 * * *", False, ("CronTriggerTimetable", set())),
        (None, False, ("NullTimetable", set())),
    ],
)
def test_the_spec_says_what_starts_a_training(
    cron: str | None,
    retrain: bool,
    expected: tuple[str, set[str]],
    write_spec: Callable[..., Path],
    parse: Callable[[], Any],
) -> None:
    """By the clock, by drift, by both, or by hand only."""
    write_spec("fleet", schedule={"ingestion": "0 1 * * *", "training": cron}, drift={"retrain": retrain})
    timetable = parse().dags["training__fleet"].timetable
    assert (type(timetable).__name__, assets_of(timetable)) == expected


def test_a_scheduled_run_covers_the_day_before_it(dags: dict[str, Any]) -> None:
    """The run of 2026-03-09 01:00 has the interval that began on the 8th, whose delivery it works on."""
    from airflow.serialization.encoders import coerce_to_core_timetable
    from airflow.timetables.base import TimeRestriction
    from pendulum import datetime as moment

    timetable = coerce_to_core_timetable(dags["ingestion__fleet"].timetable)
    restriction = TimeRestriction(earliest=moment(2026, 3, 8, 12), latest=None, catchup=True)
    run = timetable.next_dagrun_info(last_automated_data_interval=None, restriction=restriction)
    assert run is not None
    assert run.data_interval.end == run.run_after == datetime(2026, 3, 9, 1, tzinfo=UTC)
    assert run.data_interval.start == datetime(2026, 3, 8, 1, tzinfo=UTC)


def test_every_dag_keeps_the_policy(dags: dict[str, Any]) -> None:
    """Owner, tags, documentation, bounds in time, one run at a time, nothing caught up, the date in the form."""
    for step in STEPS:
        dag = dags[f"{step}__fleet"]
        assert dag.tags == {"fleet", "anomaly", step}
        assert dag.dag_display_name == f"fleet · {step}"
        assert dag.owner_links == {"platform@example.com": "mailto:platform@example.com"}
        assert (dag.catchup, dag.max_active_runs) == (False, 1)
        assert dag.start_date == datetime(2024, 1, 1, tzinfo=UTC)
        assert dag.dagrun_timeout == timedelta(hours=6)
        assert "date" in dag.params
        for task in dag.tasks:
            assert task.owner == "platform@example.com"
            assert task.retries == 2
            assert task.execution_timeout == timedelta(hours=1)
            assert task.retry_policy is not None


def test_the_page_of_every_dag_answers_the_four_questions(dags: dict[str, Any]) -> None:
    """What it reads, what it writes, what if it fails, what re-running does; and it names the Asset it announces."""
    for step in STEPS:
        page = dags[f"{step}__fleet"].doc_md
        for question in ("**Reads**", "**Writes**", "**If it fails**", "**Re-running**"):
            assert page.count(question) == 1, (step, question)
        assert f"`{GIVES[step]}`" in page


def test_the_dates_of_a_run_are_worked_off_one_by_one_and_each_by_itself(dags: dict[str, Any]) -> None:
    """Mapped over dates, one at a time; only for steps where every date counts."""
    for step in MANY_DAYS:
        dag = dags[f"{step}__fleet"]
        assert dag.task_dict[WORK[step]].max_active_tis_per_dagrun == 1
        assert dag.task_dict[WORK[step]].get_closest_mapped_task_group() is not None
    for step in ("training", "validation", "promotion", "rollback"):
        assert "day" in dags[f"{step}__fleet"].task_dict


def test_a_mistake_fails_at_once_and_what_may_pass_is_tried_again(dags: dict[str, Any]) -> None:
    """Wrong specs, data and bytes are not retried; an absent source, a held lease or a broken disk is."""
    from airflow.sdk import RetryAction

    from mlops import errors

    policy = dags["training__fleet"].task_dict["fit"].retry_policy
    action = {
        name: policy.evaluate(getattr(errors, name)("x"), 1, 3).action for name in dir(errors) if name.endswith("Error")
    }
    again = {name for name, chosen in action.items() if chosen != RetryAction.FAIL}
    from_outside = {"SourceError", "LeaseError", "LedgerError", "RegistryError", "StorageError", "DeliveryError"}
    assert again == from_outside | {"NotReadyError", "MLOpsError"}
    assert policy.evaluate(ConnectionError("x"), 1, 3).action == RetryAction.DEFAULT


def test_dags_survive_serialization(dags: dict[str, Any]) -> None:
    """What the scheduler reads from its database is what the file said."""
    from airflow.serialization.serialized_objects import DagSerialization

    for dag_id, dag in dags.items():
        data = DagSerialization.to_dict(dag)
        DagSerialization.validate_schema(data)
        back = DagSerialization.from_dict(json.loads(json.dumps(data)))
        assert back.dag_id == dag_id
        assert {t.task_id: t.downstream_task_ids for t in back.tasks} == {
            t.task_id: t.downstream_task_ids for t in dag.tasks
        }


def test_a_broken_spec_is_shown_and_takes_no_other_model_down(
    write_spec: Callable[..., Path], parse: Callable[[], Any]
) -> None:
    """One import error, in one place, that names file and key; the other models' DAGs are all there."""
    write_spec("good")
    write_spec("bad", alertsperentityday=1)
    bag = parse()
    assert set(bag.dags) == {f"{step}__good" for step in STEPS} | {"maintenance"}
    assert set(bag.import_errors) == {"check_specs.py"}
    error = bag.import_errors["check_specs.py"]
    assert "bad.yaml" in error
    assert "alertsperentityday: unknown key. Did you mean 'alerts_per_entity_day'?" in error


@pytest.mark.parametrize("cron", ["every night", "0 25 * * *"])
def test_a_schedule_that_is_not_cron_breaks_only_that_model(
    cron: str, write_spec: Callable[..., Path], parse: Callable[[], Any]
) -> None:
    """The error names file, key and expression, and other models keep their DAGs."""
    write_spec("good")
    write_spec("bad", schedule={"ingestion": cron, "training": None})
    bag = parse()
    assert set(bag.dags) == {f"{step}__good" for step in STEPS} | {"maintenance"}
    error = bag.import_errors["check_specs.py"]
    assert "bad.yaml" in error
    assert f"schedule.ingestion: {cron!r} is not cron" in error


def test_no_spec_is_no_error(installation: SimpleNamespace, parse: Callable[[], Any]) -> None:
    """A fresh clone without models has none of theirs, and says nothing is wrong."""
    bag = parse()
    assert (set(bag.dags), bag.import_errors) == ({"maintenance"}, {})


def test_a_task_reads_only_the_spec_of_its_own_model(
    write_spec: Callable[..., Path], parse: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With hundreds of models, starting a task does not read hundreds of files."""
    write_spec("one")
    write_spec("two")
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", "features__two")
    assert set(parse().dags) == {f"{step}__two" for step in STEPS} | {"maintenance"}


def test_a_changed_spec_is_read_again(write_spec: Callable[..., Path], parse: Callable[[], Any]) -> None:
    """A process that parses for days sees what has been edited."""
    write_spec("fleet", owner="first@example.com")
    assert parse().dags["training__fleet"].owner == "first@example.com"
    path = write_spec("fleet", owner="second.owner@example.com")
    os.utime(path, ns=(1, 1))
    assert parse().dags["training__fleet"].owner == "second.owner@example.com"


def test_parsing_imports_nothing_heavy(write_spec: Callable[..., Path], airflow_db: None) -> None:
    """A fresh process that parses all DAG files has loaded none of the libraries that cost seconds."""
    write_spec("fleet")
    code = f"""
import json, sys
from airflow.dag_processing.dagbag import BundleDagBag
before = set(sys.modules)
bag = BundleDagBag(dag_folder={str(DAGS)!r}, bundle_path={str(DAGS)!r}, bundle_name="dags-folder")
loaded = {{name.partition(".")[0] for name in set(sys.modules) - before}}
print(json.dumps([len(bag.dags), bag.import_errors, sorted(loaded & {set(HEAVY)!r}), "pandas" in loaded]))
"""
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    run = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    assert json.loads(run.stdout.splitlines()[-1]) == [len(STEPS) + 1, {}, [], False]


def test_dag_files_share_code_only_through_files_that_are_no_dags() -> None:
    """Airflow loads a DAG file under a name of its own: one that imported another would load it twice."""
    ignored = {line for line in (DAGS / ".airflowignore").read_text(encoding="utf-8").splitlines() if ".py" in line}
    files = {path.name for path in DAGS.glob("*.py")}
    shared = (
        files - {f"{step}.py" for step in STEPS} - {"ab_analysis.py", "ab_watch.py", "check_specs.py", "maintenance.py"}
    )
    assert ignored == shared
    for path in DAGS.glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert not imported & {f"dags.{step}" for step in STEPS}, path.name


def test_a_dag_file_calls_the_pipeline_of_its_own_name() -> None:
    """DAG file, DAG id and pipeline share one name, and a file holds no more than a page."""
    for step in STEPS:
        text = (DAGS / f"{step}.py").read_text(encoding="utf-8")
        assert f'pipeline("{step}", spec' in text
        assert len(text.splitlines()) <= 100
        assert (ROOT / "mlops" / "pipelines" / f"{step}.py").exists()


def test_a_run_by_hand_finds_its_date_without_a_data_interval(dags: dict[str, Any]) -> None:
    """Started from the form without a date, a run is about the last whole day before it was asked for."""
    run = SimpleNamespace(data_interval_end=None, run_after=datetime(2026, 3, 9, 14, tzinfo=UTC))
    days = dags["features__fleet"].task_dict["days"].python_callable
    assert days(params={"date": None}, dag_run=run, triggering_asset_events={}) == ["2026-03-08"]


def test_a_step_for_the_newest_night_takes_the_newest_of_the_events_that_waited(dags: dict[str, Any]) -> None:
    """Two challengers that waited for validation: the older one is moot."""
    run = SimpleNamespace(data_interval_end=None, run_after=datetime(2026, 3, 9, 14, tzinfo=UTC))
    waited = {
        "challenger": [SimpleNamespace(extra={"date": "2026-03-06"}), SimpleNamespace(extra={"date": "2026-03-05"})]
    }
    day = dags["validation__fleet"].task_dict["day"].python_callable
    assert day(params={"date": None}, dag_run=run, triggering_asset_events=waited) == "2026-03-06"
    days = dags["features__fleet"].task_dict["days"].python_callable
    assert days(params={"date": None}, dag_run=run, triggering_asset_events=waited) == ["2026-03-05", "2026-03-06"]


def test_the_form_refuses_what_is_no_date(dags: dict[str, Any]) -> None:
    """The UI and the REST API check the date before a run is made."""
    from airflow.sdk.exceptions import ParamValidationError

    param = dags["ingestion__fleet"].params.get_param("date")
    assert param.resolve("2026-03-05") == "2026-03-05"
    with pytest.raises(ParamValidationError, match="is not a 'date'"):
        param.resolve("5 March")


def test_compose_and_the_embedded_platform_give_airflow_the_same_settings(installation: SimpleNamespace) -> None:
    """Where both name a variable they agree, but for what is meant to differ between one process and many."""
    from mlops.airflow_settings import airflow_environment
    from mlops.config import MLOpsConfig

    compose = yaml.safe_load((ROOT / "docker-compose.yaml").read_text(encoding="utf-8"))
    there = compose["services"]["worker"]["environment"]
    plain = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    here = airflow_environment(MLOpsConfig.load(plain))
    differ = {key for key in set(here) & set(there) if here[key].replace(str(ROOT), "/opt/mlops") != str(there[key])}
    expected = {
        "AIRFLOW_HOME",
        "AIRFLOW__CORE__EXECUTOR",
        "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN",
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER",
        "MLOPS_ENV",
        "MLOPS_VAR",
        "MLOPS_STATE_DIR",
    }
    assert {key for key in differ if key != "PYTHONPATH"} == expected
    only_here = {"AIRFLOW__CORE__PARALLELISM"}
    own = {key for key in here if key.startswith("MLOPS_")}
    assert set(here) - set(there) - own == only_here

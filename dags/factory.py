"""What every pipeline's DAGs have in common, so that a pipeline's file says only what is its own.

A DAG file reads `for spec in specs(): build(spec)`; `build` opens `pipeline(…)` and names its tasks.

One rule: parsing costs no more than reading the specs. Whatever is heavy is imported inside a task.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

from airflow.sdk import (
    DAG,
    Asset,
    CronTriggerTimetable,
    ExceptionRetryPolicy,
    Param,
    RetryAction,
    RetryRule,
    get_parsing_context,
    task,
)
from airflow.sdk.exceptions import AirflowTimetableInvalid

from dags import nights
from mlops import errors
from mlops.config import MLOpsConfig
from mlops.spec import ModelSpec, load_spec
from mlops.spec.experiment import ExperimentSpec
from mlops.spec.experiments import load_experiment

START = datetime(2024, 1, 1, tzinfo=UTC)
ONE_DAY = timedelta(days=1)
RETRIES = 2  # how long to wait between them is Airflow's setting [core] default_task_retry_delay
TASK_TIMEOUT = timedelta(hours=1)
RUN_TIMEOUT = timedelta(hours=6)

# A mistake stays a mistake: retrying it only delays the news. What may pass by itself (a source or server that is away,
# a lease that somebody else holds) is tried again.
RETRY_POLICY = ExceptionRetryPolicy(
    rules=[
        RetryRule(
            [errors.SourceError, errors.LeaseError, errors.NotReadyError],
            action=RetryAction.RETRY,
            reason="It may pass: a source is away, somebody else holds the lease, or a step before is not done yet.",
        ),
        RetryRule(
            [
                errors.ConfigError,
                errors.DataError,
                errors.FeatureError,
                errors.TrainingError,
                errors.IntegrityError,
                errors.UntrustedTypeError,
                errors.PromotionError,
                errors.IncidentError,
                errors.DeploymentError,
                errors.MissingDependencyError,
            ],
            action=RetryAction.FAIL,
            reason="Trying again cannot help: the message says what to change.",
        ),
    ]
)


def specs() -> list[ModelSpec]:
    """The model specs to make DAGs of, by name; broken ones are left to `check_specs.py`.

    A task's process parses its DAG file again: there, only the spec of that task's DAG is read.
    """
    return list(read_specs(wanted=get_parsing_context().dag_id)[0].values())


def read_specs(wanted: str | None = None) -> tuple[dict[str, ModelSpec], dict[str, errors.SpecError]]:
    """All specs of the installation: those that are right, and what is wrong with the others, by name.

    Args:
        wanted: a DAG id; only its model is read.
    """
    config = MLOpsConfig.load()
    variables = frozenset(config.variables.items())
    good: dict[str, ModelSpec] = {}
    broken: dict[str, errors.SpecError] = {}
    for path in sorted(config.models_dir.glob("*.yaml")):
        if wanted and not wanted.endswith(f"__{path.stem}"):
            continue
        try:
            stat = path.stat()
            good[path.stem] = _spec(path, stat.st_mtime_ns, stat.st_size, variables)
        except errors.SpecError as error:
            broken[path.stem] = error
    return good, broken


@lru_cache(maxsize=4096)
def _spec(path: Path, _changed_at: int, _size: int, variables: frozenset[tuple[str, str]]) -> ModelSpec:
    """One spec; read once per process and change, for all pipelines."""
    spec = load_spec(path, dict(variables))
    for key, cron in spec.schedule.model_dump().items():
        try:
            if timetable := nightly(cron):
                timetable.validate()
        except AirflowTimetableInvalid as error:
            raise errors.SpecError(f"{path}: schedule.{key}: {cron!r} is not cron: {error}") from error
    return spec


def experimenting_models(kind: str | None = None) -> frozenset[str]:
    """Models that an experiment (of a kind) names; experiments that are wrong are left to `check_specs.py`."""
    return frozenset(spec.model for spec in read_experiments()[0].values() if kind in (None, spec.kind))


def read_experiments() -> tuple[dict[str, ExperimentSpec], dict[str, errors.SpecError]]:
    """All experiments of the installation: those that are right, and what is wrong with the others, by name."""
    config = MLOpsConfig.load()
    good: dict[str, ExperimentSpec] = {}
    broken: dict[str, errors.SpecError] = {}
    for path in sorted(config.experiments_dir.glob("*.yaml")):
        try:
            good[path.stem] = load_experiment(path, config.variables)
        except errors.SpecError as error:
            broken[path.stem] = error
    return good, broken


def pipeline(step: str, spec: ModelSpec, *, doc: str, schedule: Any, form: Mapping[str, Param] | None = None) -> DAG:
    """The DAG of one pipeline of one model, to be used in a `with`.

    Args:
        step: name of the pipeline; the DAG id is `<step>__<model>`.
        spec: the model.
        doc: the page people read in the UI.
        schedule: timetable or Assets; None: started by hand only.
        form: fields of the trigger form beside `date`.
    """
    date_field = Param(
        None,
        type=["null", "string"],
        format="date",
        title="Date",
        description="The delivery's date. Empty: what started the run says it; by hand, the last whole day.",
    )
    return DAG(
        f"{step}__{spec.name}",
        dag_display_name=f"{spec.name} · {step}",
        description=doc.strip().splitlines()[0].lstrip("# "),
        doc_md=doc,
        schedule=schedule,
        start_date=START,
        catchup=False,
        max_active_runs=1,
        dagrun_timeout=RUN_TIMEOUT,
        tags=[spec.name, spec.task, step],
        owner_links={spec.owner: f"mailto:{spec.owner}"} if "@" in spec.owner else {},
        params={"date": date_field, **(form or {})},
        default_args={
            "owner": spec.owner,
            "retries": RETRIES,
            "retry_policy": RETRY_POLICY,
            "execution_timeout": TASK_TIMEOUT,
        },
    )


def nightly(cron: str | None) -> CronTriggerTimetable | None:
    """A schedule in cron's words, UTC, whose runs are about the day that ends with them; None for none."""
    return CronTriggerTimetable(cron, timezone="UTC", interval=ONE_DAY) if cron else None


@task(task_id="days")
def days(*, params: Any, dag_run: Any, triggering_asset_events: Any) -> list[str]:
    """The dates this run is about, oldest first."""
    return nights.dates(params["date"], event_facts(triggering_asset_events), _moment(dag_run))


@task(task_id="day")
def last_day(*, params: Any, dag_run: Any, triggering_asset_events: Any) -> str:
    """The newest of the dates this run is about: for steps where a later night makes an earlier one moot."""
    return nights.dates(params["date"], event_facts(triggering_asset_events), _moment(dag_run))[-1]


def announce(report: Any, asset: Asset) -> Any:
    """A task that tells the next DAGs of a step's outcome. It is skipped, and nobody is told, if nothing was done."""

    @task(task_id="announce", outlets=[asset], map_index_template="{{ day }}")
    def tell(report: dict[str, Any], *, outlet_events: Any) -> dict[str, Any]:
        from airflow.sdk.exceptions import AirflowSkipException

        label(day=report["date"])
        if (facts := nights.news(report)) is None:
            raise AirflowSkipException(f"Nothing to announce: {report['reason']}")
        outlet_events[asset].extra = facts
        return facts

    return tell(report)


def event_facts(triggering_asset_events: Mapping[Any, Any]) -> list[Mapping[str, Any]]:
    """The facts that the events which started a run carry."""
    return [event.extra or {} for events in triggering_asset_events.values() for event in events]


def label(**names: str) -> None:
    """Name a mapped task instance in the UI; the names are those of its `map_index_template`."""
    from airflow.sdk import get_current_context

    get_current_context().update(names)


def _moment(dag_run: Any) -> datetime:
    moment: datetime = dag_run.data_interval_end or dag_run.run_after
    return moment

"""# Training: candidates learn from a point-in-time set, and the best becomes a version

**Reads** validated rows, features as they were known at their time, and mature labels, up to the end of the date. Runs
nightly, and whenever `drift` asks for it.

**Writes** the training set, one MLflow run per candidate below one parent run, one registered version; then the Asset
`challenger`, which starts validation. Without a validated delivery of the date there is nothing to learn: the rest is
skipped, the run is green and the champion stays.

**If it fails** the champion stays and goes on serving. A candidate that cannot be fitted fails by its name; clear that
task after mending its parameters, the others are not fitted again.

**Re-running** a date reopens its MLflow runs. The same data, spec and code give the same version back; changed ones
give a new version.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import AssetOrTimeSchedule, Param, task

from dags.assets import asset
from dags.factory import announce, event_facts, label, last_day, nightly, pipeline, specs
from dags.nights import training_reason
from mlops.spec import ModelSpec

FORM = {
    "reason": Param(
        None,
        type=["null", "string"],
        title="Reason",
        description="Why this training runs; `drift` uses the spec's drift.retrain_split. Empty: what started the run.",
    )
}


def schedule(spec: ModelSpec) -> Any:
    """By cron, by what monitoring finds, by both or by hand only, as the spec says."""
    cron = nightly(spec.schedule.training)
    drift = asset(spec.name, "drift")
    if not spec.drift.retrain and spec.retraining is None:
        return cron
    return AssetOrTimeSchedule(timetable=cron, assets=drift) if cron else [drift]


def build(spec: ModelSpec) -> None:
    """The training DAG of one model."""
    with pipeline("training", spec, doc=__doc__, schedule=schedule(spec), form=FORM):

        @task
        def prepare(day: str, *, params: Any, dag_run: Any, triggering_asset_events: Any) -> dict[str, Any]:
            from mlops.pipelines import tasks

            events = event_facts(triggering_asset_events)
            reason = training_reason(params["reason"], events, str(dag_run.run_type))
            return tasks.prepare(spec.name, day, reason, started_by=dag_run.triggering_user_name or "airflow")

        @task
        def candidates(prepared: dict[str, Any]) -> list[dict[str, Any]]:
            from airflow.sdk.exceptions import AirflowSkipException

            if prepared["training_set"] is None:
                raise AirflowSkipException(prepared["report"]["reason"])
            return [
                {"index": index, "name": name}
                for index, name in zip(prepared["candidates"], prepared["labels"], strict=True)
            ]

        @task(map_index_template="{{ candidate_name }}")
        def fit(prepared: dict[str, Any], candidate: dict[str, Any]) -> dict[str, Any]:
            from mlops.pipelines import tasks

            label(candidate_name=candidate["name"])
            return tasks.fit(spec.name, prepared["training_set"], candidate["index"])

        @task
        def select(prepared: dict[str, Any], runs: Any) -> dict[str, Any]:
            from mlops.pipelines import tasks

            return tasks.select(spec.name, prepared["training_set"], list(runs))

        prepared = prepare(last_day())
        runs = fit.partial(prepared=prepared).expand(candidate=candidates(prepared))
        announce(select(prepared, runs), asset(spec.name, "challenger"))


for model in specs():
    build(model)

"""# Ingestion: a delivery is held against its contract, and published whole or quarantined

**Reads** the source of the model's spec, for one date: the rows that became known on that day.

**Writes** the validated partition of that date, or a quarantine entry with the reasons and a page that shows every
expectation; then the Asset `validated_data`, which starts the features. A quarantined delivery announces nothing.

**If it fails** the source could not be read: the task is tried again, and nothing downstream has seen the date. A
broken contract is no failure: the run is green, `announce` is skipped, and an incident says what to do.

**Re-running** a date replaces that date and no other. A good delivery of a quarantined date releases it. So does a
person: give the date and the reason in the form, or call `mlops quarantine release` and run the date again.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import Param, task, task_group

from dags.assets import asset
from dags.factory import announce, days, label, nightly, pipeline, specs
from mlops.spec import ModelSpec

FORM = {
    "release": Param(
        None,
        type=["null", "string"],
        title="Release",
        description="Why the quarantined delivery of the date may pass; kept in the ledger. Empty: ingest it anew.",
    )
}


def build(spec: ModelSpec) -> None:
    """The ingestion DAG of one model."""
    with pipeline("ingestion", spec, doc=__doc__, schedule=nightly(spec.schedule.ingestion), form=FORM):

        @task(max_active_tis_per_dagrun=1, map_index_template="{{ day }}")
        def ingest(day: str, *, params: Any, dag_run: Any) -> dict[str, Any]:
            from mlops.pipelines import tasks

            label(day=day)
            return tasks.ingest(spec.name, day, params["release"] or "", dag_run.triggering_user_name or "airflow")

        @task_group
        def each_day(day: str) -> None:
            announce(ingest(day), asset(spec.name, "validated_data"))

        each_day.expand(day=days())


for model in specs():
    build(model)

"""# Features: a validated delivery becomes feature rows, offline and online

**Reads** the validated partitions of the date and of the look-back before it, when `validated_data` is announced.

**Writes** one partition per feature view of the model's Feast service and the newest values into the online store; then
the Asset `features`, which starts batch inference.

**If it fails** the partition of that date is absent or the earlier one still stands; training and scoring of that date
do not see half of it. The message says which view or column is at fault.

**Re-running** a date replaces that date's partitions; the online store keeps the newest readings whatever the order.
Several dates that waited are built one after the other.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import task, task_group

from dags.assets import asset
from dags.factory import announce, days, label, pipeline, specs
from mlops.spec import ModelSpec


def build(spec: ModelSpec) -> None:
    """The feature DAG of one model."""
    with pipeline("features", spec, doc=__doc__, schedule=[asset(spec.name, "validated_data")]):

        @task(max_active_tis_per_dagrun=1, map_index_template="{{ day }}")
        def build_features(day: str) -> dict[str, Any]:
            from mlops.pipelines import tasks

            label(day=day)
            return tasks.build_features(spec.name, day)

        @task_group
        def each_day(day: str) -> None:
            announce(build_features(day), asset(spec.name, "features"))

        each_day.expand(day=days())


for model in specs():
    build(model)

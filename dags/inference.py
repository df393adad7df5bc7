"""# Inference: the champion scores the delivery of a date

**Reads** the validated partition and its features as they were known when each row arrived, when `features` or a new
`champion` is announced. The champion's bytes are held against their registered digest before they are loaded.

**Writes** one partition of predictions (version, score, threshold, flag, feature timestamps); then the Asset
`predictions`, which starts monitoring. Without a champion or a delivery there is nothing to do: `announce` is skipped.

**If it fails** the predictions of that date are absent or the earlier ones still stand. Files that are not those that
were registered are never loaded: the task fails at once.

**Re-running** a date replaces that date's predictions with those of the present champion.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import task, task_group

from dags.assets import asset
from dags.factory import announce, days, label, pipeline, specs
from mlops.spec import ModelSpec


def build(spec: ModelSpec) -> None:
    """The inference DAG of one model."""
    with pipeline("inference", spec, doc=__doc__, schedule=asset(spec.name, "features") | asset(spec.name, "champion")):

        @task(max_active_tis_per_dagrun=1, map_index_template="{{ day }}")
        def score(day: str) -> dict[str, Any]:
            from mlops.pipelines import tasks

            label(day=day)
            return tasks.score(spec.name, day)

        @task_group
        def each_day(day: str) -> None:
            announce(score(day), asset(spec.name, "predictions"))

        each_day.expand(day=days())


for model in specs():
    build(model)

"""# Monitoring: the world of a date is compared with the one the champion learned

**Reads** the predictions and features of the date, the champion's reference, and the labels that have matured, when
`predictions` is announced.

**Writes** a drift report with its page, realised metrics where labels are mature, and an incident if somebody should
know; then, only if the finding asks for a training, the Asset `drift`, which starts one. Beside it, by a task of its
own, how good the date's predictions probably are without labels, and how good those were whose labels have matured.

**If it fails** the date counts as not looked at, which is not "no drift"; serving is not touched. Too few rows or no
reference is no failure: the report says "cannot tell".

**Re-running** a date replaces that date's report; an incident that is already known is not told twice.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import task, task_group

from dags.assets import asset
from dags.factory import announce, days, label, pipeline, specs
from mlops.spec import ModelSpec


def build(spec: ModelSpec) -> None:
    """The monitoring DAG of one model."""
    with pipeline("monitoring", spec, doc=__doc__, schedule=[asset(spec.name, "predictions")]):

        @task(max_active_tis_per_dagrun=1, map_index_template="{{ day }}")
        def monitor(day: str) -> dict[str, Any]:
            from mlops.pipelines import tasks

            label(day=day)
            return tasks.monitor(spec.name, day)

        @task(max_active_tis_per_dagrun=1, map_index_template="{{ day }}")
        def measure(day: str) -> dict[str, Any]:
            from mlops.pipelines import tasks

            label(day=day)
            return tasks.measure_performance(spec.name, day)

        @task_group
        def each_day(day: str) -> None:
            measure(day)
            announce(monitor(day), asset(spec.name, "drift"))

        each_day.expand(day=days())


for model in specs():
    build(model)

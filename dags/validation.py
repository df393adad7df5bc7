"""# Validation: the challenger passes its gates, or stays where it is

**Reads** the challenger of the date, the champion, and the holdout that neither of them has learned from, when
`challenger` is announced.

**Writes** the gate decision with every number, limit and reason, and the alias `challenger` on a pass; then the Asset
`validated_challenger`, which starts promotion. A gate that refuses, or cannot tell, announces nothing.

**If it fails** nothing has been decided: the champion stays. A refusal is no failure: the run is green, `announce` is
skipped, and the decision says why.

**Re-running** a date judges that date's challenger again and replaces its decision.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import task

from dags.assets import asset
from dags.factory import announce, last_day, pipeline, specs
from mlops.spec import ModelSpec


def build(spec: ModelSpec) -> None:
    """The validation DAG of one model."""
    with pipeline("validation", spec, doc=__doc__, schedule=[asset(spec.name, "challenger")]):

        @task
        def validate(day: str) -> dict[str, Any]:
            from mlops.pipelines import tasks

            return tasks.validate(spec.name, day)

        announce(validate(last_day()), asset(spec.name, "validated_challenger"))


for model in specs():
    build(model)

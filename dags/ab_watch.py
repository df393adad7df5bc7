"""# A/B watch: a canary that harms is taken back within the quarter of an hour

**Reads** what the units of a running canary met so far, the day under way included: errors, latency and scores, from
the experiment's table of outcomes or from the prediction log. Only models that a canary in config/experiments names
have this DAG.

**Writes** nothing, as long as a canary does not harm. One that does is taken back: an entry in the ledger, the routing
table, an incident. Growing and ending are decided at night, by `ab_analysis`.

**If it fails** nothing was taken back; the next run looks at everything, and so does the night.

**Re-running** looks again: the evidence is valid at any time, however often one looks.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import task

from dags.factory import experimenting_models, nightly, pipeline, specs
from mlops.spec import ModelSpec

WATCHES_AT = "*/15 * * * *"


def build(spec: ModelSpec) -> None:
    """The watch of one model."""
    with pipeline("ab_watch", spec, doc=__doc__, schedule=nightly(WATCHES_AT)):

        @task
        def watch() -> dict[str, Any]:
            from mlops.pipelines import tasks

            return tasks.watch_canaries(spec.name)

        watch()


canaries = experimenting_models("canary")
for model in specs():
    if model.name in canaries:
        build(model)

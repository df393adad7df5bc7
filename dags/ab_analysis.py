"""# A/B analysis: the night's look at the experiments of a model

**Reads** the outcomes of all units up to the date (a table of the experiment's spec, or the prediction log joined with
its mature labels) and the looks that were made before. Only models that an experiment in config/experiments names have
this DAG.

**Writes** one entry in the ledger a look, its page and record, the end of an experiment that is decided and, where its
policy says `on_win: promote`, the promotion of the winner by the normal transaction with all its checks; then the Asset
`champion`, which starts batch inference with the new champion.

**If it fails** the look was not made, and no error was spent; experiments go on and the next night looks at everything.
A promotion that is refused is no failure: the experiment ends, and says why its winner was not promoted.

**Re-running** a date repeats what follows from its look and never looks again. A date before the last look is not
looked at any more.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import task

from dags.assets import asset
from dags.factory import announce, experimenting_models, last_day, nightly, pipeline, specs
from mlops.spec import ModelSpec

LOOKS_AT = "30 4 * * *"  # after the night's labels have come and its challenger is decided


def build(spec: ModelSpec) -> None:
    """The analysis DAG of one model."""
    with pipeline("ab_analysis", spec, doc=__doc__, schedule=nightly(LOOKS_AT)):

        @task
        def analyse(day: str) -> dict[str, Any]:
            from mlops.pipelines import tasks

            return tasks.analyse_experiments(spec.name, day)

        announce(analyse(last_day()), asset(spec.name, "champion"))


experimenting = experimenting_models()
for model in specs():
    if model.name in experimenting:
        build(model)

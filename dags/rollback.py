"""# Rollback: the champion before this one takes over again

**Reads** the champion history and the files of the version to go back to. Trigger it from its form: nothing starts it
by itself.

**Writes** the alias `champion`, the stages of both versions and the ledger, under the same lease as a promotion; then
the Asset `champion`, which starts batch inference with the version that is back.

**If it fails** the champion that was, is; or the move is half done, and the next try finishes it. That there is nothing
to go back to, or that the version is gone or damaged, is no failure: `announce` is skipped, with the reason.

**Re-running** a run goes back no further: it is bound to the reign that it was asked to end. To go back another step,
trigger a new run.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import Param, task

from dags.assets import asset
from dags.factory import announce, last_day, pipeline, specs
from mlops.spec import ModelSpec

FORM = {
    "to": Param(
        None,
        type=["null", "integer"],
        minimum=1,
        title="Version",
        description="Version to go back to; it must have been champion. Empty: the champion before this one.",
    ),
    "reason": Param("", type=["null", "string"], title="Reason", description="Why; it is kept in the ledger."),
}


def build(spec: ModelSpec) -> None:
    """The rollback DAG of one model."""
    with pipeline("rollback", spec, doc=__doc__, schedule=None, form=FORM):

        @task
        def ask() -> int | None:
            from mlops.pipelines import tasks

            return tasks.reign(spec.name)

        @task
        def roll_back(day: str, ends: int | None, *, params: Any) -> dict[str, Any]:
            from mlops.pipelines import tasks

            return tasks.roll_back(spec.name, day, to=params["to"], reason=params["reason"] or "", ends=ends)

        announce(roll_back(last_day(), ask()), asset(spec.name, "champion"))


for model in specs():
    build(model)

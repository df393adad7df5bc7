"""# Promotion: the challenger whose evidence holds becomes champion

**Reads** the gate decision of the date, when `validated_challenger` is announced. It is a DAG of its own, so that
whoever decides may take their time without blocking the next night's training.

**Writes** the alias `champion`, the stages of both versions and the ledger, under a lease; then the Asset `champion`,
which starts batch inference with the new champion. Where the spec says `promotion: {approval: people}`, the tasks
`approve_1`, `approve_2`, … wait for people first (Required Actions, above) and show them the evidence.

**If it fails** the champion that was, is; or the move is half done, and the next try finishes it. A lease held by
somebody else is waited for. Evidence that no longer holds, a rejection, or silence until the time is up is no failure:
`announce` is skipped, with the reason. An approval that does not count fails its task: clear it to be asked again.

**Re-running** a finished promotion changes nothing. After the version was displaced, it is refused: roll back instead.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import chain, task

from dags.assets import asset
from dags.factory import RUN_TIMEOUT, announce, last_day, pipeline, specs
from mlops.spec import ModelSpec

WAITING_RUNS = 16  # a newer challenger need not wait until people have decided on an older one


def build(spec: ModelSpec) -> None:
    """The promotion DAG of one model; it waits for nobody if the policy is automatic."""
    schedule = [asset(spec.name, "validated_challenger")]
    if spec.promotion.approval == "automatic":
        with pipeline("promotion", spec, doc=__doc__, schedule=schedule):
            announce(_promote(spec.name)(last_day()), asset(spec.name, "champion"))
        return
    from dags.approval import FORM, approvals

    with pipeline("promotion", spec, doc=__doc__, schedule=schedule, form=FORM) as dag:
        dag.dagrun_timeout = RUN_TIMEOUT + timedelta(hours=spec.promotion.timeout_hours)
        dag.max_active_runs = WAITING_RUNS
        day = last_day()
        promoted = _promote(spec.name, trigger_rule="none_failed")(day)
        chain(_ask(spec.name)(day), *approvals(spec.name, spec.promotion.approvers), promoted)
        announce(promoted, asset(spec.name, "champion"))


def _promote(model: str, **options: Any) -> Any:
    @task(**options)
    def promote(day: str) -> dict[str, Any]:
        from mlops.pipelines import tasks

        return tasks.promote(model, day)

    return promote


def _ask(model: str) -> Any:
    @task
    def ask(day: str) -> dict[str, Any]:
        from airflow.sdk.exceptions import AirflowSkipException

        from mlops.pipelines import tasks

        page = tasks.ask_for_approval(model, day)
        if page["report"]["outcome"] != "cannot_tell":
            raise AirflowSkipException(page["report"]["reason"])
        return page

    return ask


for model in specs():
    build(model)

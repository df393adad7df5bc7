"""# Maintenance: what nobody else does

**Reads** the runs and leases of the installation, and its ledger.

**Writes** `reap`: runs that a killed process has left RUNNING become KILLED, logged models that were cut short FAILED.
`reconcile`: aliases and stages that were changed outside are put back to what the ledger says, or reported, by the
policy of the model, as an incident. `verify_ledger` writes nothing; it fails if an entry was edited, dropped or added
by hand, and says which. `deliver_alerts` tells what a channel has not taken so far; it fails if something has waited
for more than an hour. `collect_garbage` says what of each model nobody can need any more, and deletes it where the
spec says `retention: {automatic: true}`; temporary files of writers that were killed go as well.

**If it fails** nothing that was decided or learned is touched. A task that failed says what to do.

**Re-running** changes nothing more: what is in order is left alone, and so is what somebody is at work on.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, task

from dags.factory import RETRIES, RUN_TIMEOUT, START, TASK_TIMEOUT, nightly

with DAG(
    "maintenance",
    dag_display_name="maintenance",
    description=__doc__.strip().splitlines()[0].lstrip("# "),
    doc_md=__doc__,
    schedule=nightly("30 5 * * *"),
    start_date=START,
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=RUN_TIMEOUT,
    tags=["maintenance"],
    default_args={"owner": "platform", "retries": RETRIES, "execution_timeout": TASK_TIMEOUT},
):

    @task
    def reap() -> dict[str, Any]:
        """End what killed processes have left open."""
        from mlops.pipelines import tasks

        return tasks.reap()

    @task
    def reconcile() -> list[dict[str, Any]]:
        """Put back what was changed behind the ledger's back, or report it."""
        from mlops.pipelines import tasks

        return tasks.reconcile()

    @task
    def verify_ledger() -> list[str]:
        """Make sure that the ledger's chain is whole."""
        from mlops.pipelines import tasks

        return tasks.verify_ledger()

    @task
    def deliver_alerts() -> dict[str, Any]:
        """Tell what a channel has not taken so far."""
        from mlops.pipelines import tasks

        return tasks.deliver_alerts()

    @task
    def collect_garbage() -> list[dict[str, Any]]:
        """Find, and where the spec says so delete, what nobody can need any more."""
        from mlops.pipelines import tasks

        return tasks.collect_garbage()

    reap()
    reconcile() >> deliver_alerts()
    verify_ledger() >> collect_garbage()

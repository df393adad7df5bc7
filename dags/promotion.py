"""# Promotion: the challenger whose evidence holds becomes champion

**Reads** the gate decision of the date, when `validated_challenger` is announced. It is a DAG of its own, so that
whoever decides may take their time without blocking the next night's training.

**Writes** the alias `champion`, the stages of both versions and one ledger entry, under a lease; then the Asset
`champion`, which starts batch inference with the new champion.

**If it fails** the champion that was, is; or the move is half done, and the next try finishes it. A lease held by
somebody else is waited for. Evidence that no longer holds is no failure: `announce` is skipped, with the reason.

**Re-running** a finished promotion changes nothing. After the version was displaced, it is refused: roll back instead.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import task

from dags.assets import asset
from dags.factory import announce, last_day, pipeline, specs
from mlops.spec import ModelSpec


def build(spec: ModelSpec) -> None:
    """The promotion DAG of one model."""
    with pipeline("promotion", spec, doc=__doc__, schedule=[asset(spec.name, "validated_challenger")]):

        @task
        def promote(day: str) -> dict[str, Any]:
            from mlops.pipelines import tasks

            return tasks.promote(spec.name, day)

        announce(promote(last_day()), asset(spec.name, "champion"))


for model in specs():
    build(model)

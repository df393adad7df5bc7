"""How runs end: a parent from what its children say, and what nobody ended from outside.

A parent has no process of its own: it is RUNNING while a child is, FAILED if one is FAILED or KILLED, else FINISHED. So
a retry that succeeds brings it back, and there is no state in which it could be left behind for good.

One rule: the status of a parent is always computed from its children, never set by the one who happens to end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mlops.experiments.run import ERROR, IS_PARENT, PARENT, RUN_KEY, SUPERSEDED_BY, TAG_LENGTH
from mlops.records import RunStatus

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun

_PAGE = 500


@dataclass(frozen=True, slots=True)
class OpenRun:
    """A run that says that it is RUNNING."""

    run_id: str
    run_key: str
    experiment_id: str
    parent_run_id: str
    is_parent: bool
    started_at: datetime


def settle(client: MlflowClient, parent: MlflowRun) -> RunStatus:
    """Set the status of a parent to what its children say; nothing is written while one of them is RUNNING.

    Args:
        client: of the store.
        parent: its id and experiment count; reopening has removed its last error.

    Returns:
        The status it has now; KILLED if it has no children, because whoever made it was killed then.
    """
    children = children_of(client, parent)
    if not children:
        client.set_terminated(parent.info.run_id, "KILLED")
        return "KILLED"
    if any(child.info.status in ("RUNNING", "SCHEDULED") for child in children):
        return "RUNNING"
    failed = [child for child in children if child.info.status in ("FAILED", "KILLED")]
    run_id, status = parent.info.run_id, "FAILED" if failed else "FINISHED"
    if failed:
        said = "; ".join(f"{child.info.run_name}: {child.data.tags.get(ERROR, child.info.status)}" for child in failed)
        client.set_tag(run_id, ERROR, said[:TAG_LENGTH])
    client.set_terminated(run_id, status)
    return "FAILED" if failed else "FINISHED"


def children_of(client: MlflowClient, parent: MlflowRun) -> list[MlflowRun]:
    """The children of a run that are not superseded."""
    words = f"tags.`{PARENT}` = '{parent.info.run_id}'"
    found = _all_runs(client, [parent.info.experiment_id], words)
    return [run for run in found if SUPERSEDED_BY not in run.data.tags]


def open_runs(client: MlflowClient) -> list[OpenRun]:
    """The runs of this project that say RUNNING, in all experiments, the oldest first."""
    experiments = [item.experiment_id for item in client.search_experiments()]
    found = _all_runs(client, experiments, "attributes.status = 'RUNNING'") if experiments else []
    ours = [run for run in found if RUN_KEY in run.data.tags]
    made = [
        OpenRun(
            run_id=run.info.run_id,
            run_key=run.data.tags[RUN_KEY],
            experiment_id=run.info.experiment_id,
            parent_run_id=run.data.tags.get(PARENT, ""),
            is_parent=run.data.tags.get(IS_PARENT) == "true",
            started_at=datetime.fromtimestamp(run.info.start_time / 1000, UTC),
        )
        for run in ours
    ]
    return sorted(made, key=lambda run: run.started_at)


def kill(client: MlflowClient, run_id: str, why: str) -> bool:
    """End a run as KILLED with the reason; False if it has ended by itself meanwhile."""
    if client.get_run(run_id).info.status != "RUNNING":
        return False
    client.set_tag(run_id, ERROR, why[:TAG_LENGTH])
    client.set_terminated(run_id, "KILLED")
    return True


def fail_unfinished_models(client: MlflowClient) -> list[str]:
    """Finalise as FAILED the logged models whose upload was cut short: not ready, and their run has ended.

    Returns:
        Ids of the models.
    """
    experiments = [item.experiment_id for item in client.search_experiments()]
    cut: list[str] = []
    token: str | None = None
    while experiments:
        page = client.search_logged_models(experiments, page_token=token)
        for model in page:
            if str(model.status) != "PENDING" or RUN_KEY not in model.tags or not model.source_run_id:
                continue
            if _status(client, model.source_run_id) != "RUNNING":
                client.finalize_logged_model(model.model_id, "FAILED")
                cut.append(model.model_id)
        token = page.token
        if not token:
            break
    return cut


def _status(client: MlflowClient, run_id: str) -> str:
    """Status of a run; empty if it was deleted for good (`mlflow gc`)."""
    from mlflow.exceptions import MlflowException

    try:
        return str(client.get_run(run_id).info.status)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return ""


def _all_runs(client: MlflowClient, experiments: Sequence[str], words: str) -> list[MlflowRun]:
    found: list[MlflowRun] = []
    token: str | None = None
    while True:
        page = client.search_runs(list(experiments), filter_string=words, max_results=_PAGE, page_token=token)
        found += page
        token = page.token
        if not token:
            return found

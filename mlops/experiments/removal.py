"""Runs that are no longer needed: which belong together, and how they are deleted.

A night's training is one parent run with its candidates below it: they stay or go together.

One rule: files go before the record that names them, children before their parent, so that what was cut short is found
and finished the next time.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from mlops.config import MLOpsConfig
from mlops.experiments.run import PARENT, RUN_KEY
from mlops.mlflow_store import artifact_bytes, delete_artifacts

if TYPE_CHECKING:
    from mlflow import MlflowClient

_PAGE = 500


@dataclass(frozen=True, slots=True)
class RunFamily:
    """A parent run and its children."""

    run_id: str  # of the parent
    run_key: str
    members: tuple[str, ...]  # ids of all its runs, the parent last
    open: bool  # one of them is RUNNING
    touched_at: datetime  # the latest start or end of any of them
    datasets: tuple[str, ...]  # URIs of the data that went in


def families(client: MlflowClient, experiment: str, prefix: str) -> list[RunFamily]:
    """The families whose run key begins with `prefix`, the oldest first; runs of others are not among them."""
    found = client.get_experiment_by_name(experiment)
    if found is None:
        return []
    runs = {run.info.run_id: run for run in _runs(client, found.experiment_id, prefix)}
    by_parent: dict[str, list[Any]] = {}
    for run in runs.values():
        parent = run.data.tags.get(PARENT, run.info.run_id)
        by_parent.setdefault(parent if parent in runs else run.info.run_id, []).append(run)
    return sorted((_family(parent, members) for parent, members in by_parent.items()), key=lambda f: f.touched_at)


def family_bytes(client: MlflowClient, config: MLOpsConfig, family: RunFamily) -> int:
    """Size of all files of a family, its logged models included [bytes]."""
    places = [client.get_run(run_id).info.artifact_uri for run_id in family.members]
    places += [model.artifact_location for run_id in family.members for model in _models(client, run_id)]
    return sum(artifact_bytes(config, place) for place in places)


def remove(client: MlflowClient, config: MLOpsConfig, family: RunFamily) -> None:
    """Delete a family: files for good; MLflow keeps the bare records, marked deleted, until `mlflow gc`.

    Raises:
        StorageError: files could not be deleted.
    """
    for run_id in family.members:
        for model in _models(client, run_id):
            delete_artifacts(config, model.artifact_location)
            client.delete_logged_model(model.model_id)
        delete_artifacts(config, client.get_run(run_id).info.artifact_uri)
        client.delete_run(run_id)


def _runs(client: MlflowClient, experiment_id: str, prefix: str) -> list[Any]:
    found: list[Any] = []
    token: str | None = None
    words = f"tags.`{RUN_KEY}` LIKE '{prefix}%'"
    while True:
        page = client.search_runs([experiment_id], filter_string=words, max_results=_PAGE, page_token=token)
        found += [run for run in page if run.data.tags[RUN_KEY].startswith(prefix)]  # _ is a wildcard in SQL
        token = page.token
        if not token:
            return found


def _family(parent: str, members: Sequence[Any]) -> RunFamily:
    ordered = sorted(members, key=lambda run: (run.info.run_id == parent, run.info.start_time))
    moments = [run.info.end_time or run.info.start_time for run in ordered] + [run.info.start_time for run in ordered]
    sources = {item.dataset.source for run in ordered if run.inputs for item in run.inputs.dataset_inputs}
    return RunFamily(
        run_id=parent,
        run_key=ordered[-1].data.tags[RUN_KEY],
        members=tuple(run.info.run_id for run in ordered),
        open=any(run.info.status in ("RUNNING", "SCHEDULED") for run in ordered),
        touched_at=datetime.fromtimestamp(max(moments) / 1000, UTC),
        datasets=tuple(sorted(uri for source in sources if (uri := _uri(source)))),
    )


def _uri(source: str) -> str:
    try:
        return str(json.loads(source).get("uri", ""))
    except (ValueError, AttributeError):
        return ""


def _models(client: MlflowClient, run_id: str) -> list[Any]:
    experiment_id = client.get_run(run_id).info.experiment_id
    return list(client.search_logged_models([experiment_id], filter_string=f"source_run_id = '{run_id}'"))

"""Past nights of monitoring in a workspace of Evidently's, where they are looked at side by side in its own UI.

Reads: the drift report of each night, its predictions, what the champion had learned from. Writes: a project of the
model's name in the workspace's folder, one run a night.

One rule: measures, values and thresholds are those that were decided then; nothing is judged again.
"""

from __future__ import annotations

import os
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from mlops.errors import NoDataError
from mlops.monitoring.drift import evidently_report
from mlops.pipelines import monitoring
from mlops.pipelines.night import as_of, report_uri
from mlops.records import DriftReport, from_dict
from mlops.services import Services
from mlops.spec import ModelSpec


def fill(services: Services, spec: ModelSpec, folder: Path, start: date, end: date) -> list[date]:
    """Add the nights of a model to a workspace; those that are in it are left as they are.

    Args:
        services: the adapters.
        spec: the model.
        folder: of the workspace; made if it is not there.
        start: the first night.
        end: the last one.

    Returns:
        The nights that were added.

    Raises:
        NoDataError: no night from `start` to `end` was looked at for drift.
    """
    os.environ["DO_NOT_TRACK"] = "1"
    from evidently.ui.workspace import Workspace

    nights = [start + timedelta(days=i) for i in range((end - start).days + 1)]
    looked = [n for n in nights if services.storage.exists(report_uri(services, spec, n, "drift.json"))]
    if not looked:
        raise NoDataError(
            f"{spec.name}: no night from {start} to {end} was looked at for drift.",
            hint=f"Run: mlops run monitoring {spec.name} --date {start} --until {end}",
        )
    workspace = Workspace.create(str(folder))
    project = next(iter(workspace.search_project(spec.name)), None) or workspace.create_project(spec.name)
    there = {workspace.get_run(project.id, run).metadata.get("night") for run in workspace.list_runs(project.id)}
    added = [night for night in looked if night.isoformat() not in there]
    for night in added:
        workspace.add_run(project.id, _run(services, spec, night), include_data=False)
    return added


def _run(services: Services, spec: ModelSpec, night: date) -> Any:
    found = from_dict(DriftReport, services.storage.read_json(report_uri(services, spec, night, "drift.json")))
    reference, current = monitoring.sides(services, spec, night, found.version)
    metadata = {"night": night.isoformat(), "version": str(found.version), "verdict": found.verdict}
    return evidently_report.snapshot(
        evidently_report.sampled(reference, spec.seed),
        evidently_report.sampled(current, spec.seed),
        evidently_report.most_moved(found.columns, reference, current),
        at=as_of(night),
        metadata=metadata,
    )

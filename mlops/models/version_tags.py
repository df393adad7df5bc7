"""What a version's tags in MLflow say, as a record.

One rule: tags are claims; what a version is made of is believed only after its signature was verified.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import cast

from mlops.errors import RegistryError
from mlops.models.index import Found
from mlops.records import ModelVersion, RunRecord, Stage

PREFIX = "mlops."


def tags_of(run: RunRecord, *, inputs_hash: str, files: Mapping[str, str], training_set_uri: str) -> dict[str, str]:
    """The tags of a version that is made from a run."""
    found = {
        "inputs_hash": inputs_hash,
        "digest": run.digest,
        "files": json.dumps(dict(files), sort_keys=True),
        "model_uri": run.model_uri,
        "run_key": run.run_key,
        "candidate": run.candidate,
        "stage": "development",
        "training_set_uri": training_set_uri,
        "metrics": json.dumps(run.metrics, sort_keys=True),
    }
    return {f"{PREFIX}{key}": value for key, value in found.items()}


def unreadable(found: Found) -> str:
    """Why a version's tags make no record, empty if they do; the stage may be anything: a move puts it right."""
    wanted = (f"{PREFIX}{key}" for key in ("digest", "files", "inputs_hash", "model_uri"))
    if missing := [key for key in wanted if key not in found.tags]:
        return f"has no tag {', '.join(missing)}"
    try:
        numbers = json.loads(found.tags.get(f"{PREFIX}metrics", "{}"))
    except ValueError:
        numbers = None
    return "" if isinstance(numbers, dict) else f"has a tag {PREFIX}metrics that holds no metrics"


def record_of(found: Found, *, reused: bool = False) -> ModelVersion:
    """MLflow's version as ours.

    Raises:
        RegistryError: it was not registered by this project, or its tags were changed outside.
    """
    if problem := unreadable(found):
        raise RegistryError(
            f"{found.name} version {found.version} {problem}.",
            hint="It was not registered by this project (do so through a training run), or somebody changed its tags.",
        )
    tags = {key.removeprefix(PREFIX): value for key, value in found.tags.items()}
    return ModelVersion(
        model=found.name,
        version=found.version,
        run_id=found.run_id,
        run_key=tags.get("run_key", ""),
        model_uri=tags["model_uri"],
        digest=tags["digest"],
        inputs_hash=tags["inputs_hash"],
        candidate=tags.get("candidate", ""),
        stage=cast("Stage", tags.get("stage", "none")),
        training_set_uri=tags.get("training_set_uri", ""),
        metrics=json.loads(tags.get("metrics", "{}")),
        signed_by=tags.get("signed_by", ""),
        started_by=found.tags.get("started_by", ""),
        reused=reused,
    )

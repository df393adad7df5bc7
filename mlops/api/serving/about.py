"""What the service says of itself: its models, their versions, its health.

One rule: what is told is what answers at this moment; nothing is remembered for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import FastAPI

from mlops.records import as_plain
from mlops.serving.served import Served
from mlops.serving.service import Service

if TYPE_CHECKING:
    from mlops.api.serving.worker import Worker


def versions(service: Service) -> dict[str, int | None]:
    """The version that answers for each model; None: none yet."""
    return {name: served.live.version if served.live else None for name, served in service.models.items()}


def routes(app: FastAPI) -> list[str]:
    """All routes with their methods."""
    return sorted(f"{method.upper()} {path}" for path, each in app.openapi()["paths"].items() for method in each)


def health(worker: Worker) -> dict[str, Any]:
    """Whether the process can answer all that it may be asked, and why not."""
    models = {}
    for follower in worker.followers:
        served = follower.served
        models[served.name] = {
            "version": served.live.version if served.live else None,
            "signed_by": served.live.predictor.version.signed_by if served.live else "",
            "registry": "reachable" if follower.reachable else "does not answer",
            "features": _lookups(worker, served),
            "problem": served.problem,
        }
    return {"live": True, "answering": worker.answering, "ready": worker.ready, "models": models}


def classes(service: Service, served: Served) -> dict[str, Any]:
    """What a model can answer."""
    scorer = service.live(served).predictor.scorer
    return {"model": served.name, "task": scorer.task, "classes": list(scorer.classes), "threshold": scorer.threshold}


def info(service: Service, served: Served) -> dict[str, Any]:
    """The version that answers, and how it does."""
    live = service.live(served)
    predictor, version = live.predictor, live.predictor.version
    return {
        "model": served.name,
        "version": version.version,
        "digest": version.digest,
        "signed_by": version.signed_by,
        "run_id": version.run_id,
        "algorithm": predictor.scorer.algorithm,
        "task": predictor.scorer.task,
        "entity": predictor.scorer.entity,
        "per_entity": predictor.scorer.per_entity,
        "features": list(predictor.scorer.features),
        "threshold": predictor.scorer.threshold,
        "experiments": {
            version: as_plain(shadow.report()) if (shadow := service.shadows.get(version)) else "loaded"
            for version in served.others
        },
        "scorer": {
            "form": "compiled" if predictor.compiled else "plain",
            "reason": predictor.reason,
            "largest_difference": predictor.largest_difference,
            "golden_rows": predictor.golden_rows,
            "proof": as_plain(predictor.proof),
            "row_microseconds": round(1e6 * predictor.row_seconds, 1),
        },
    }


def _lookups(worker: Worker, served: Served) -> str:
    if served.fetch is None:
        return "are not looked up here"
    return (lookups.problem if (lookups := worker.lookups.get(served.name)) else "") or "reachable"

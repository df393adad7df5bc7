"""What every night of monitoring has measured: the memory of the rule that looks every night.

One small file a date, `drift/<model>/<date>.json`. A night's verdict follows from its own distances and those of the
nights before it that were held against the same reference, and from nothing else; so a retry finds the same nights, and
running an older date again decides it as it was known then and leaves later nights alone.

One rule: a night writes its own file only.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from mlops.records import ModelVersion, from_dict, to_dict
from mlops.services import Services
from mlops.spec import ModelSpec

MOST_NIGHTS = 60  # looked back at: a change that has not shown in two months is part of the world


@dataclass(frozen=True, slots=True)
class DriftNight:
    """What a night measured, and what came of it."""

    date: dt.date
    reference: str  # what it was held against, see `reference_key`
    distances: dict[str, float]
    drift: bool
    since: dt.date | None = None  # since when, if there was drift


def reference_key(spec: ModelSpec, version: ModelVersion, columns: Sequence[str]) -> str:
    """What distances must share to be compared: champion, training set, columns and measures."""
    measured = spec.drift.model_dump(mode="json", include={"method", "category_method", "joint", "min_rows"})
    parts = [version.version, version.digest, version.training_set_uri, list(columns), measured, spec.seed]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def before(services: Services, spec: ModelSpec, day: dt.date, reference: str) -> list[DriftNight]:
    """The newest nights before `day` with the same reference, in order of time."""
    folder = services.storage.uri("drift", spec.name)
    names = [file.uri.rsplit("/", 1)[-1].removesuffix(".json") for file in services.storage.listing(folder)]
    earlier = sorted(name for name in names if name < day.isoformat())[-MOST_NIGHTS:]
    nights = [
        from_dict(DriftNight, services.storage.read_json(services.storage.uri("drift", spec.name, f"{name}.json")))
        for name in earlier
    ]
    return [night for night in nights if night.reference == reference]


def since_alarm(nights: Sequence[DriftNight]) -> list[DriftNight]:
    """Those after the last alarm: evidence starts again from nothing when it has been told."""
    alarms = [place for place, night in enumerate(nights) if night.drift]
    return list(nights[alarms[-1] + 1 :]) if alarms else list(nights)


def keep(services: Services, spec: ModelSpec, night: DriftNight) -> None:
    """Write the file of a night."""
    services.storage.write_json(services.storage.uri("drift", spec.name, f"{night.date}.json"), to_dict(night))

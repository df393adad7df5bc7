"""One of many promoters that start at once; imports little, as every racer is a process of its own."""

from __future__ import annotations

from datetime import date
from typing import Any

from mlops.config import MLOpsConfig
from mlops.errors import MLOpsError
from mlops.pipelines import promotion
from mlops.services import Services
from mlops.spec import ModelSpec


def race(values: dict[str, Any], spec: ModelSpec, version: int, day: date, barrier: Any, told_here: Any) -> None:
    """Wait for all others, promote, and put (version, what came of it) into the queue `told_here`.

    Args:
        values: of the settings.
        spec: the model.
        version: what to promote.
        day: the night that judged it.
        barrier: where the racers meet.
        told_here: the queue.
    """
    own = Services(MLOpsConfig.build(values))
    assert own.registry.aliases(spec.name)  # imports and connections are there when the race begins
    try:
        barrier.wait(timeout=240)
        told_here.put((version, promotion.run(own, spec, day, version)))
    except MLOpsError as error:
        told_here.put((version, type(error)(str(error))))
    except BaseException as error:
        told_here.put((version, repr(error)))
        raise

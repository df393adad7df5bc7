"""Golden answers: what the champion says of some rows here, held against what a deployed service says of them.

Reads: the champion (its signature is verified before a byte of it is loaded), rows of its training set; where that is
not kept, rows made up. The service is asked under request ids that begin with `golden-`, so that they are recognised in
the prediction log.

One rule: a service that cannot be reached is "not proven", in words; only a wrong answer is an error.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mlops.errors import DeploymentError, MLOpsError
from mlops.models.scoring import Scorer
from mlops.records import ModelVersion
from mlops.services import Services
from mlops.serving.compiled_proof import LIMIT
from mlops.serving.targets.deployment import Ask, Prove
from mlops.spec import ModelSpec

ROWS = 8
FOLLOW_SECONDS = 10.0  # a promotion meanwhile is live in two
_POLL_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Golden:
    """Rows and what the champion says of them."""

    version: int
    rows: list[dict[str, float | None]]
    entities: list[Any] | None  # where the model needs them
    scores: list[float | None]  # None: cannot tell


def prover(services: Services, spec: ModelSpec, key: str, *, wait: Callable[[float], None] = time.sleep) -> Prove:
    """Asks a service the golden rows.

    Args:
        services: the adapters.
        spec: the model.
        key: of the piece of work, for the request ids.
        wait: how to wait for a promotion to be followed [s].
    """

    def prove(ask: Ask) -> str:
        for attempt in range(int(FOLLOW_SECONDS / _POLL_SECONDS)):
            golden = answers(services, spec)
            body: dict[str, Any] = {
                "model": spec.name, "rows": golden.rows, "request_id": f"golden-{key[:16]}-{attempt}",
            }  # fmt: skip
            body |= {"entities": golden.entities} if golden.entities is not None else {}
            try:
                reply = ask("/predict/batch", body)
            except OSError as error:
                return f"Not proven: the golden rows could not be asked ({error})."
            said = reply.body if isinstance(reply.body, dict) else {}
            if reply.status != 200:
                raise DeploymentError(
                    f"{spec.name} answers {reply.status} to {len(golden.rows)} golden rows: {said.get('detail', said)}."
                )
            if said.get("variant", "champion") != "champion":
                return f"Not proven: the golden rows met variant {said['variant']!r} of an experiment."
            if said.get("version") == golden.version:
                return compared(spec.name, golden, [row.get("score") for row in said.get("predictions", [])])
            wait(_POLL_SECONDS)
        raise DeploymentError(
            f"{spec.name} answers with version {said.get('version')}, but version {golden.version} is champion.",
            hint="Do both read the same registry? See MLFLOW_TRACKING_URI of the service.",
        )

    return prove


def answers(services: Services, spec: ModelSpec) -> Golden:
    """What the champion says of the golden rows, in this process.

    Raises:
        DeploymentError: there is no champion.
        RegistryError: it must not be loaded.
    """
    version = services.registry.by_alias(spec.name, "champion")
    if version is None:
        raise DeploymentError(f"{spec.name} has no champion.", hint=f"Promote one first: mlops promote {spec.name}")
    scorer = services.registry.load(version)
    frame = _rows(services, version, scorer)
    values = frame[list(scorer.features)].to_numpy(dtype=np.float64, na_value=np.nan)
    rows = [dict(zip(scorer.features, map(_plain, row), strict=True)) for row in values.tolist()]
    entities = frame[scorer.entity].tolist() if scorer.per_entity else None
    return Golden(version.version, rows, entities, [_plain(score) for score in scorer.predict(frame)["score"].tolist()])


def compared(model: str, golden: Golden, scores: list[float | None]) -> str:
    """What the comparison found, in words.

    Raises:
        DeploymentError: an answer is another one.
    """
    if len(scores) != len(golden.scores):
        raise DeploymentError(f"{model} gave {len(scores)} answers to {len(golden.scores)} golden rows.")
    largest = 0.0
    for position, (expected, found) in enumerate(zip(golden.scores, scores, strict=True)):
        away = 0.0 if expected is None and found is None else _distance(expected, found)
        if not away <= LIMIT * max(1.0, abs(expected or 0.0)):
            raise DeploymentError(
                f"{model} answers {found} to golden row {position}, expected {expected} (version {golden.version}): "
                "the service does not compute what was registered.",
                hint="Does its image hold the same lock (requirements.txt) as this installation?",
            )
        largest = max(largest, away)
    return f"{len(scores)} golden rows answered by version {golden.version}; largest difference {largest:.1g}."


def _rows(services: Services, version: ModelVersion, scorer: Scorer) -> pd.DataFrame:
    """Rows of the training set, spread over it; rows made up if it is not kept (any more)."""
    columns = [*scorer.features, *([scorer.entity] if scorer.per_entity else [])]
    try:
        if version.training_set_uri and services.storage.manifest(version.training_set_uri) is not None:
            table = services.storage.read_table(version.training_set_uri, columns)
            step = max(1, table.num_rows // ROWS)
            chosen: pd.DataFrame = table.take(list(range(0, table.num_rows, step))[:ROWS]).to_pandas()
            return chosen.replace([np.inf, -np.inf], np.nan)
    except MLOpsError:
        pass  # rows made up serve as well: both sides are asked the same
    made = pd.DataFrame({name: np.linspace(-1.0, 1.0, ROWS) for name in scorer.features})
    return made.assign(**{scorer.entity: next(iter(scorer.units), None)}) if scorer.per_entity else made


def _distance(expected: float | None, found: float | None) -> float:
    return math.inf if expected is None or found is None else abs(expected - found)


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else float(value)

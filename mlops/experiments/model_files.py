"""A scorer as a folder in MLflow's format: pickle, signature, input example, pinned requirements.

One rule: every MLflow client that has this project installed can load the folder and gets our answer.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from mlops.errors import MissingDependencyError


class LoggedScorer(Protocol):
    """What of a scorer is needed to log it."""

    @property
    def features(self) -> tuple[str, ...]: ...
    @property
    def entity(self) -> str: ...
    @property
    def per_entity(self) -> bool: ...
    @property
    def task(self) -> str: ...
    @property
    def algorithm(self) -> str: ...
    @property
    def packages(self) -> tuple[str, ...]: ...
    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Scores and what follows from them."""


def save(
    scorer: LoggedScorer, example: pd.DataFrame, requirements: list[str], path: Path, *, model_id: str, run_id: str
) -> None:
    """Write a model folder: cloudpickle, because MLflow's default (skops) refuses PyOD's and scikit-learn's forests."""
    import mlflow.sklearn
    from mlflow.models import Model

    columns = [name for name in (scorer.entity, *scorer.features) if name in example.columns]
    noisy = logging.getLogger("mlflow.sklearn")
    level = noisy.level
    noisy.setLevel(logging.ERROR)  # it warns of pickle on every save; what we load is held against its digest first
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mlflow.sklearn.save_model(
                scorer,
                str(path),
                mlflow_model=Model(model_uuid=model_id, run_id=run_id, model_id=model_id),
                serialization_format="cloudpickle",
                signature=_signature(scorer, example),
                input_example=example[columns].reset_index(drop=True),
                pip_requirements=requirements,
            )
    finally:
        noisy.setLevel(level)


def _signature(scorer: LoggedScorer, example: pd.DataFrame) -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    inputs = [ColSpec("double", name) for name in scorer.features]
    if scorer.entity in example.columns:
        whole = pd.api.types.is_integer_dtype(example[scorer.entity])
        kind = "long" if whole else "string"
        inputs.insert(0, ColSpec(kind, scorer.entity, required=scorer.per_entity))
    answer = scorer.predict(example.head(1))
    outputs = [ColSpec(_kind(answer[name]), str(name), required=False) for name in answer.columns]
    return ModelSignature(inputs=Schema(inputs), outputs=Schema(outputs))


def _kind(column: pd.Series) -> str:
    if pd.api.types.is_bool_dtype(column):
        return "boolean"
    return "double" if pd.api.types.is_numeric_dtype(column) else "string"


def pinned(packages: Sequence[str]) -> list[str]:
    """Requirements that pin what is installed here."""
    try:
        return [f"{name}=={metadata.version(name)}" for name in packages]
    except metadata.PackageNotFoundError as error:
        raise MissingDependencyError(
            f"The model needs {error}, which is not installed.", hint="Run `make setup`."
        ) from error

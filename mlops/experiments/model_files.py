"""A scorer as a folder in MLflow's format: the scorer itself, input schema, input example, pinned requirements.

It is kept by skops, which builds nothing but types that the reader trusts; what skops cannot hold is pickled, if
settings allow it. For MLflow's own clients the folder lists the types that it may hold; we never read that list.

One rule: every MLflow client that has this project installed can load the folder and gets our answer.
"""

from __future__ import annotations

import logging
import shutil
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from mlops import log
from mlops.errors import MissingDependencyError, TrainingError

_logger = log.get(__name__)


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
    @property
    def trusted_types(self) -> tuple[str, ...]: ...
    def untrusted_types(self, trusted_types: Sequence[str]) -> list[str]:
        """Types in it that would be refused when it is loaded."""

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Scores and what follows from them."""


def save(
    scorer: LoggedScorer,
    example: pd.DataFrame,
    requirements: list[str],
    path: Path,
    *,
    model_id: str,
    run_id: str,
    trusted_types: Sequence[str] = (),
    allow_pickle: bool = True,
) -> None:
    """Write a model folder.

    Args:
        scorer: fitted.
        example: a few input rows.
        requirements: pip requirements.
        path: of the folder; made.
        model_id: of the MLflow model that it becomes.
        run_id: of the run that it belongs to.
        trusted_types: types that may be in it beside those that the scorer names.
        allow_pickle: whether to pickle what skops cannot hold, or what is not trusted.

    Raises:
        TrainingError: skops cannot hold it, or it holds other types, and a pickle is not allowed.
    """
    from mlflow.exceptions import MlflowException

    columns = [name for name in (scorer.entity, *scorer.features) if name in example.columns]
    trusted = [*scorer.trusted_types, *trusted_types]

    def write(kind: str) -> None:
        import mlflow.sklearn
        from mlflow.models import Model

        mlflow.sklearn.save_model(
            scorer,
            str(path),
            mlflow_model=Model(model_uuid=model_id, run_id=run_id, model_id=model_id),
            serialization_format=kind,
            skops_trusted_types=trusted if kind == "skops" else None,
            signature=_signature(scorer, example),
            input_example=example[columns].reset_index(drop=True),
            pip_requirements=requirements,
        )

    with _quiet():
        try:
            write("skops")  # MLflow writes the file and reads it again with the trusted types
        except MlflowException as error:
            if not allow_pickle:
                raise _refused(scorer, trusted_types, error) from error
            shutil.rmtree(path, ignore_errors=True)
            write("cloudpickle")
            _logger.info("%s is kept as a pickle: skops cannot hold it, or it has types not trusted", scorer.algorithm)


def _refused(scorer: LoggedScorer, trusted_types: Sequence[str], error: Exception) -> TrainingError:
    if others := scorer.untrusted_types(trusted_types):
        return TrainingError(
            f"{scorer.algorithm} holds types that nobody here would load: {', '.join(others)}.",
            hint="If you know and trust their code, add them to `trusted_types` in the settings (MLOPS_TRUSTED_TYPES), "
            "or set MLOPS_ALLOW_PICKLE=true.",
        )
    return TrainingError(
        f"{scorer.algorithm} cannot be kept by skops: {error}.",
        hint="Set MLOPS_ALLOW_PICKLE=true to keep it as a pickle.",
    )


@contextmanager
def _quiet() -> Iterator[None]:
    noisy = logging.getLogger("mlflow.sklearn")
    level = noisy.level
    noisy.setLevel(logging.ERROR)  # it warns of pickle on every save; what we load is held against its signature first
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
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

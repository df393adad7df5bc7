"""A scorer as a folder in MLflow's format: the scorer itself, input schema, input example, pinned requirements.

It is kept by skops, which builds nothing but types that the reader trusts; what skops cannot hold is pickled, if
settings allow it. For MLflow's own clients the folder lists the types that it holds; we never read that list.

One rule: every MLflow client that has this project installed can load the folder and gets our answer.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol
from zipfile import ZipFile

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
    def to_skops(self, trusted_types: Sequence[str]) -> bytes:
        """As skops keeps it; a TrainingError if it holds types that are not trusted, or cannot be held."""

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
    beside: Mapping[str, bytes] | None = None,
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
        beside: further files of the folder, by name.

    Raises:
        TrainingError: skops cannot hold it, or it holds other types, and a pickle is not allowed.
    """
    import mlflow.sklearn
    from mlflow.models import Model

    try:
        data = scorer.to_skops(trusted_types)
    except TrainingError as error:
        if not allow_pickle:
            raise
        data = b""
        _logger.info("%s is kept as a pickle: %s", scorer.algorithm, error.message)
    model = Model(model_uuid=model_id, run_id=run_id, model_id=model_id)
    columns = [name for name in (scorer.entity, *scorer.features) if name in example.columns]
    with _quiet():
        mlflow.sklearn.save_model(
            scorer,
            str(path),
            mlflow_model=model,
            serialization_format="cloudpickle",
            signature=_signature(scorer, example),
            input_example=example[columns].reset_index(drop=True),
            pip_requirements=requirements,
        )
    for name, content in (beside or {}).items():
        (path / name).write_bytes(content)
    if data:
        _put_in_place_of_the_pickle(data, [*scorer.trusted_types, *trusted_types], path, model)


def _put_in_place_of_the_pickle(data: bytes, types: list[str], path: Path, model: Any) -> None:
    """MLflow would write the file by itself, but slower; what it says of the folder is kept true."""
    from mlflow.models.model import MLMODEL_FILE_NAME

    (path / "model.pkl").unlink()
    (path / "model.skops").write_bytes(data)
    model.flavors["python_function"]["model_path"] = "model.skops"
    model.flavors["sklearn"] |= {
        "pickled_model": "model.skops",
        "serialization_format": "skops",
        "skops_trusted_types": _named_in(data, types),
    }
    model.model_size_bytes = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    model.save(str(path / MLMODEL_FILE_NAME))


def _named_in(data: bytes, types: list[str]) -> list[str]:
    """Those of the types whose name occurs in what skops wrote."""
    with ZipFile(io.BytesIO(data)) as file:
        schema = file.read("schema.json").decode()
    return [name for name in types if f'"{name.rpartition(".")[2]}"' in schema]


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


@cache
def _version(name: str) -> str:
    return metadata.version(name)


def pinned(packages: Sequence[str]) -> list[str]:
    """Requirements that pin what is installed here."""
    try:
        return [f"{name}=={_version(name)}" for name in packages]
    except metadata.PackageNotFoundError as error:
        raise MissingDependencyError(
            f"The model needs {error}, which is not installed.", hint="Run `make setup`."
        ) from error

"""One way to MLflow's stores, and the digests that say whether a model's files are those that were logged.

One rule: URIs are always given; MLflow's own defaults would put a database into the current folder.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sqlite3
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops.config import MLOpsConfig
from mlops.errors import StorageError

if TYPE_CHECKING:
    from mlflow import MlflowClient

_SQLITE = "sqlite:///"
MARKS = frozenset({"registered_model_meta"})  # MLflow writes it beside the model, even into the store, on `load_model`


def open_client(config: MLOpsConfig) -> MlflowClient:
    """A client of the tracking store and the registry; a SQLite store is made if there is none.

    Raises:
        StorageError: the store cannot be reached or written.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    uri = config.tracking_uri
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's own use of deprecated calls of its dependencies
        import mlflow
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError  # of the migrations that make a store's tables

        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        try:
            if uri.startswith(_SQLITE):
                _prepare_sqlite(Path(uri.removeprefix(_SQLITE)))
            client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
            client.search_experiments(max_results=1)  # a SQL store makes its tables now, under MLflow's file lock
        except (MlflowException, SQLAlchemyError, OSError, sqlite3.Error) as error:
            said = getattr(error, "orig", None) or error  # what the driver says, without the statement
            raise StorageError(
                f"MLflow at {uri} cannot be opened: {said}.",
                hint="Check that its folder can be written and its disk is not full, or that the server of "
                "MLOPS_TRACKING_URI is up.",
            ) from error
    return client


def _prepare_sqlite(path: Path) -> None:
    """Write-ahead logging, kept in the file: readers and one writer do not block one another."""
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, timeout=30)
    try:
        if connection.execute("pragma journal_mode").fetchone()[0] != "wal":
            connection.execute("pragma journal_mode=wal")
    finally:
        connection.close()


def file_digests(folder: Path) -> dict[str, str]:
    """sha256 of every file of a model below a folder, by its relative path with forward slashes, sorted."""
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name: _sha256(path) for name, path in files.items() if name not in MARKS}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of(files: Mapping[str, str]) -> str:
    """One sha256 over paths and contents of all files.

    >>> digest_of({"a": "1", "b": "2"}) == digest_of({"b": "2", "a": "1"}) != digest_of({"a": "1", "c": "2"})
    True
    """
    return hashlib.sha256(json.dumps(dict(files), sort_keys=True).encode()).hexdigest()


def artifact_bytes(config: MLOpsConfig, uri: str) -> int:
    """Size of all files below an artifact URI [bytes]; 0 if there are none or it cannot be read."""
    repository = _artifacts(config, uri)
    total = 0
    folders: list[str | None] = [None]
    try:
        while folders:
            for found in repository.list_artifacts(folders.pop()):
                if found.is_dir:
                    folders.append(found.path)
                else:
                    total += int(found.file_size or 0)
    except Exception as error:
        if not _of_the_store(error):
            raise
    return total


def delete_artifacts(config: MLOpsConfig, uri: str) -> None:
    """Delete all files below an artifact URI; nothing happens if there are none.

    Raises:
        StorageError: they could not be deleted.
    """
    try:
        _artifacts(config, uri).delete_artifacts()
    except FileNotFoundError:
        return
    except Exception as error:
        if not _of_the_store(error):
            raise
        raise StorageError(
            f"The artifacts at {uri} could not be deleted: {error}.",
            hint="Mend the permissions or the connection and run it again.",
        ) from error


def _of_the_store(error: Exception) -> bool:
    """Whether an error comes from where artifacts lie: MLflow's own, the file system's, or those of S3's client."""
    from mlflow.exceptions import MlflowException

    ours = isinstance(error, MlflowException | OSError)
    return ours or type(error).__module__.partition(".")[0] in ("boto3", "botocore", "s3transfer")


def _artifacts(config: MLOpsConfig, uri: str) -> Any:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    return get_artifact_repository(uri, tracking_uri=config.tracking_uri)

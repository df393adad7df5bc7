"""Model folders and their signatures in MLflow's artifact store.

A folder is always copied to a private place first: what was verified there cannot be changed before it is read.
The signature lies outside the folder that it signs, with the artifacts of the version's run.

One rule: nothing here decides whether a file may be trusted.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from mlops.config import MLOpsConfig
from mlops.errors import IntegrityError, RegistryError
from mlops.mlflow_store import MARKS, delete_artifacts
from mlops.models.index import Index
from mlops.models.keys import ID_LENGTH
from mlops.records import ModelVersion

if TYPE_CHECKING:
    from mlflow import MlflowClient

SIGNATURES = "signatures"
_KEY_ID = re.compile(rf"^[0-9a-f]{{{ID_LENGTH}}}$")


@dataclass(frozen=True, slots=True)
class Artifacts:
    """MLflow's artifact store."""

    index: Index
    open_client: Callable[[], MlflowClient]  # called where the files lie elsewhere than in a folder of this machine
    config: MLOpsConfig

    @property
    def client(self) -> MlflowClient:
        """MLflow's own client."""
        return self.open_client()

    @contextmanager
    def copied(self, model_uri: str, name: str) -> Iterator[Path]:
        """A private copy of a model's folder, under a name; gone afterwards.

        Raises:
            RegistryError: the files cannot be read.
        """
        with TemporaryDirectory(prefix="mlops-") as workspace:
            folder = Path(workspace, name)
            self._fetch(self.location(model_uri), folder)
            for mark in MARKS:
                (folder / mark).unlink(missing_ok=True)
            yield folder

    def source(self, model_uri: str) -> str:
        """A server resolves `models:/…` itself; MLflow's SQL store would look into the current folder's database."""
        return model_uri if self.config.tracking_uri.startswith("http") else self.location(model_uri)

    def location(self, model_uri: str) -> str:
        """Where the files of a logged model lie.

        Raises:
            RegistryError: there is no such model.
        """
        found = self.index.model_location(model_uri.removeprefix("models:/"))
        if found is None:
            raise RegistryError(
                f"The files of {model_uri} cannot be read: MLflow has no record of that model.",
                hint="Restore it from a backup, or train again.",
            )
        return found

    def remove(self, model_uri: str) -> None:
        """Delete the files of a logged model, then its record; nothing happens if it is gone already.

        Raises:
            StorageError: the files could not be deleted.
        """
        location = self.index.model_location(model_uri.removeprefix("models:/"))
        if location is None:
            return
        delete_artifacts(self.config, location)
        self.client.delete_logged_model(model_uri.removeprefix("models:/"))

    def keep_signature(self, version: ModelVersion, key_id: str, signature: bytes) -> None:
        """Keep a signature with the version's run."""
        with TemporaryDirectory(prefix="mlops-") as workspace:
            path = Path(workspace, _file_name(version, key_id))
            path.write_bytes(signature)
            self.client.log_artifact(version.run_id, str(path), SIGNATURES)

    def signature(self, version: ModelVersion) -> bytes:
        """The signature of a version, as it lies there.

        Raises:
            IntegrityError: there is none.
        """
        name = f"{version.model} version {version.version}"
        again = f"If its files are known to be good: mlops sign {version.model} {version.version}"
        if not version.signed_by:
            raise IntegrityError(f"{name} is not signed. It was not loaded.", hint=again)
        if not _KEY_ID.match(version.signed_by):
            raise IntegrityError(f"{name}: {version.signed_by!r} is no id of a key. It was not loaded.", hint=again)
        path = f"{SIGNATURES}/{_file_name(version, version.signed_by)}"
        try:
            return self._read(version.run_id, path)
        except OSError as error:
            raise IntegrityError(
                f"{name}: its signature {path} is missing among the artifacts of run {version.run_id}. "
                "It was not loaded.",
                hint=f"Restore it from a backup. {again}",
            ) from error

    def _fetch(self, location: str, folder: Path) -> None:
        """Copy all files below a location into a new folder.

        Raises:
            RegistryError: they cannot be read.
        """
        here = local_path(location)
        try:
            if here is not None:
                shutil.copytree(here, folder, copy_function=shutil.copyfile)
            else:
                _download(location, folder, self.config.tracking_uri)
        except (OSError, shutil.Error) as error:
            raise RegistryError(
                f"The files at {location} cannot be read: {error}.", hint="Restore them from a backup, or train again."
            ) from error

    def _read(self, run_id: str, path: str) -> bytes:
        """An artifact of a run.

        Raises:
            OSError: it cannot be read.
        """
        location = self.index.run_location(run_id)
        here = local_path(location) if location else None
        if here is not None:
            return (here / path).read_bytes()
        from mlflow.exceptions import MlflowException

        with TemporaryDirectory(prefix="mlops-") as workspace:
            try:
                return Path(self.client.download_artifacts(run_id, path, workspace)).read_bytes()
            except MlflowException as error:
                raise FileNotFoundError(str(error)) from error


def local_path(location: str) -> Path | None:
    """The folder of this machine that an artifact location names; None if it lies elsewhere.

    >>> local_path("file:///var/models/1"), local_path("/var/a%20b"), local_path("s3://bucket/1")
    (PosixPath('/var/models/1'), PosixPath('/var/a%20b'), None)
    """
    parsed = urlsplit(location)
    if parsed.scheme == "file" and not parsed.netloc:
        return Path(unquote(parsed.path))
    return Path(location) if location.startswith("/") else None


def _download(location: str, folder: Path, tracking_uri: str) -> None:
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    target = folder.with_name("download")
    target.mkdir()
    try:
        found = download_artifacts(artifact_uri=location, dst_path=str(target), tracking_uri=tracking_uri)
    except MlflowException as error:
        raise OSError(str(error)) from error
    Path(found).rename(folder)


def _file_name(version: ModelVersion, key_id: str) -> str:
    return f"{version.model}@{version.version}.{key_id}.json"

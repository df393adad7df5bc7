"""Model folders and their signatures in MLflow's artifact store.

A folder is always copied to a private place first: what was verified there cannot be changed before it is read.
The signature lies outside the folder that it signs, with the artifacts of the version's run.

One rule: nothing here decides whether a file may be trusted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from mlops.config import MLOpsConfig
from mlops.errors import IntegrityError, RegistryError
from mlops.mlflow_store import MARKS, delete_artifacts
from mlops.models.keys import ID_LENGTH
from mlops.records import ModelVersion

if TYPE_CHECKING:
    from mlflow import MlflowClient

SIGNATURES = "signatures"
_KEY_ID = re.compile(rf"^[0-9a-f]{{{ID_LENGTH}}}$")


@dataclass(frozen=True, slots=True)
class Artifacts:
    """MLflow's artifact store."""

    client: MlflowClient
    config: MLOpsConfig

    @contextmanager
    def copied(self, model_uri: str, name: str) -> Iterator[Path]:
        """A private copy of a model's folder, under a name; gone afterwards.

        Raises:
            RegistryError: the files cannot be read.
        """
        from mlflow.artifacts import download_artifacts
        from mlflow.exceptions import MlflowException

        with TemporaryDirectory(prefix="mlops-") as workspace:
            target = Path(workspace, "model")
            target.mkdir()
            try:
                source = self.location(model_uri)
                found = download_artifacts(
                    artifact_uri=source, dst_path=str(target), tracking_uri=self.config.tracking_uri
                )
            except (MlflowException, OSError) as error:
                raise RegistryError(
                    f"The files of {model_uri} cannot be read: {error}.",
                    hint="Restore them from a backup, or train again.",
                ) from error
            folder = Path(found).rename(Path(workspace, name))
            for mark in MARKS:
                (folder / mark).unlink(missing_ok=True)
            yield folder

    def source(self, model_uri: str) -> str:
        """A server resolves `models:/…` itself; MLflow's SQL store would look into the current folder's database."""
        return model_uri if self.config.tracking_uri.startswith("http") else self.location(model_uri)

    def location(self, model_uri: str) -> str:
        """Where the files of a logged model lie."""
        return str(self.client.get_logged_model(model_uri.removeprefix("models:/")).artifact_location)

    def remove(self, model_uri: str) -> None:
        """Delete the files of a logged model, then its record; nothing happens if it is gone already.

        Raises:
            StorageError: the files could not be deleted.
        """
        from mlflow.exceptions import MlflowException

        try:
            location = self.location(model_uri)
        except MlflowException:
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
        from mlflow.exceptions import MlflowException

        name = f"{version.model} version {version.version}"
        again = f"If its files are known to be good: mlops sign {version.model} {version.version}"
        if not version.signed_by:
            raise IntegrityError(f"{name} is not signed. It was not loaded.", hint=again)
        if not _KEY_ID.match(version.signed_by):
            raise IntegrityError(f"{name}: {version.signed_by!r} is no id of a key. It was not loaded.", hint=again)
        path = f"{SIGNATURES}/{_file_name(version, version.signed_by)}"
        with TemporaryDirectory(prefix="mlops-") as workspace:
            try:
                return Path(self.client.download_artifacts(version.run_id, path, workspace)).read_bytes()
            except (MlflowException, OSError) as error:
                raise IntegrityError(
                    f"{name}: its signature {path} is missing among the artifacts of run {version.run_id}. "
                    "It was not loaded.",
                    hint=f"Restore it from a backup. {again}",
                ) from error


def _file_name(version: ModelVersion, key_id: str) -> str:
    return f"{version.model}@{version.version}.{key_id}.json"

"""Files of a model on their way to a signature: copied, held against what is recorded, signed.

One rule: a key signs only files whose digests somebody has recorded before.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlops.errors import IntegrityError, RegistryError
from mlops.mlflow_store import digest_of, file_digests
from mlops.models import signing
from mlops.models.artifacts import Artifacts
from mlops.models.moves import existing
from mlops.models.verification import refuse_differences, registered_files
from mlops.models.version_tags import PREFIX, record_of
from mlops.records import ModelVersion, RunRecord


@contextmanager
def checked_folder(artifacts: Artifacts, run: RunRecord) -> Iterator[tuple[Path, dict[str, str]]]:
    """A private copy of a run's model and the digest of every file, after they were found to be those that it logged.

    Raises:
        IntegrityError: they are not.
    """
    with artifacts.copied(run.model_uri, "logged") as folder:
        files = file_digests(folder)
        if digest_of(files) != run.digest:
            raise IntegrityError(
                f"The model of run {run.run_id} ({run.candidate}) has changed since it was logged: "
                f"digest {digest_of(files)[:12]}…, logged {run.digest[:12]}….",
                hint="Train again; do not register what nobody vouches for.",
            )
        yield folder, files


def sign_again(artifacts: Artifacts, version: ModelVersion, private_key: Path) -> None:
    """Sign a registered version whose files are what the registry says.

    Raises:
        IntegrityError: they are not.
    """
    known = existing(artifacts.index, version.model, version.version)
    with artifacts.copied(record_of(known).model_uri, "registered") as folder:
        refuse_differences(version, registered_files(known, version), file_digests(folder), "registered")
        keep_signature(artifacts, version, folder, private_key)


def keep_signature(artifacts: Artifacts, version: ModelVersion, folder: Path, private_key: Path) -> None:
    """Sign a checked folder as a version; the tag that names the key comes last, so that it never names nothing."""
    named = folder.rename(folder.with_name(signing.subject_of(version.model, version.version)))
    signature = signing.sign(named, private_key)
    key_id = signing.claimed_key_id(signature)
    artifacts.keep_signature(version, key_id, signature)
    artifacts.index.set_tag(version.model, version.version, f"{PREFIX}signed_by", key_id)


def remove(artifacts: Artifacts, model: str, version: int) -> None:
    """Delete a version's record first, so that nobody can find it, then its files."""
    from mlflow.exceptions import MlflowException

    client = artifacts.client
    try:
        found = client.get_model_version(model, str(version))
        client.delete_model_version(model, str(version))
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return
        raise RegistryError(f"Version {version} of {model} could not be deleted: {error}") from error
    if uri := found.tags.get(f"{PREFIX}model_uri"):
        artifacts.remove(uri)

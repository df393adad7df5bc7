"""Registered versions of a model in MLflow: registered once per inputs, moved by legal steps, loaded only if unchanged.

Stages are the tag `mlops.stage`, the roles `challenger` and `champion` are aliases. Both are the projection of
decisions that the ledger keeps. What a version is made of is signed when it is registered.

One rule: no byte is deserialised before a trusted key has vouched for all files of the version.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from mlops import log
from mlops.config import MLOpsConfig
from mlops.errors import RegistryError
from mlops.mlflow_store import open_client
from mlops.models import moves, registration
from mlops.models.artifacts import Artifacts
from mlops.models.index import EmptyIndex, Index, open_index
from mlops.models.keys import Keyring
from mlops.models.verification import verified_folder
from mlops.models.version_tags import PREFIX, record_of, tags_of, unreadable
from mlops.records import ModelVersion, RunRecord, Stage

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from mlops.models.scoring import Scorer

Guard = Callable[[str], AbstractContextManager[object]]

_logger = log.get(__name__)


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the verified files of a version hold."""

    scorer: Scorer
    stored_bytes: int  # of all files
    beside: bytes | None = None  # the further file that was asked for, if there is one


class ModelRegistry:
    """MLflow's model registry.

    Args:
        config: says where it is.
        guard: makes registering exclusive between processes (a lease).
    """

    def __init__(self, config: MLOpsConfig, *, guard: Guard | None = None) -> None:
        self._config = config
        self._guard: Guard = guard or nullcontext
        self._index: Index = EmptyIndex()

    @cached_property
    def client(self) -> MlflowClient:
        """MLflow's own client, for what is not covered here. Importing it takes seconds."""
        return open_client(self._config)

    @property
    def index(self) -> Index:
        """The records of versions, by the way that costs least."""
        if isinstance(self._index, EmptyIndex):
            self._index = open_index(self._config.tracking_uri, lambda: self.client)
        return self._index

    @property
    def keyring(self) -> Keyring:
        """The keys that sign and are trusted here."""
        return Keyring.of(self._config)

    @property
    def artifacts(self) -> Artifacts:
        """Where model folders and signatures lie."""
        return Artifacts(self.index, lambda: self.client, self._config)

    def register(
        self,
        model: str,
        *,
        run: RunRecord,
        inputs_hash: str,
        training_set_uri: str = "",
        tags: Mapping[str, str] | None = None,
    ) -> ModelVersion:
        """Make and sign a version of a run's model, or give back the one that the same inputs have made.

        Args:
            model: name of the registered model; made if there is none.
            run: finished, with a logged model.
            inputs_hash: identity of what the version was made from.
            training_set_uri: where its training set is kept.
            tags: further tags.

        Returns:
            The version. `signed_by` is "" only for one that was there and was not signed: see `sign`.

        Raises:
            RegistryError: the run has no model.
            IntegrityError: the model's files are not those that the run logged.
            ConfigError: there is no key to sign with.
        """
        if not run.model_uri or not run.digest:
            raise RegistryError(
                f"Run {run.run_id} of {run.run_key} has no model to register; its status is {run.status}.",
                hint="Register a run that finished and logged its scorer.",
            )
        with self._guard(f"registry/{model}"):
            if (known := self._by_inputs(model, inputs_hash)) is not None:
                return known
            private_key = self.keyring.to_sign()
            with registration.checked_folder(self.artifacts, run) as (folder, files):
                self._ensure_model(model)
                found = tags_of(run, inputs_hash=inputs_hash, files=files, training_set_uri=training_set_uri)
                made = self.client.create_model_version(
                    model,
                    source=self.artifacts.source(run.model_uri),
                    run_id=run.run_id,
                    tags={key: str(value) for key, value in (dict(tags or {}) | found).items()},
                    model_id=run.model_uri.removeprefix("models:/"),
                )
                if (first := self._by_inputs(model, inputs_hash)) is not None and first.version != int(made.version):
                    # The lease ran out while this process stood still, and another one has registered the same.
                    self.client.delete_model_version(model, made.version)
                    return first
                registration.keep_signature(self.artifacts, self.get(model, int(made.version)), folder, private_key)
        _logger.info("registered  %s", log.facts(model=model, version=made.version, candidate=run.candidate))
        return self.get(model, int(made.version))

    def sign(self, version: ModelVersion) -> ModelVersion:
        """Sign a version's files with the current key, in place of an earlier signature or of none.

        The files are first held against the digests in the registry; whether these may be believed is for the caller to
        say (`mlops.pipelines.signing`).

        Raises:
            IntegrityError: the files are not those that were registered.
            ConfigError: there is no key to sign with.
        """
        private_key = self.keyring.to_sign()
        with self._guard(f"registry/{version.model}"):
            registration.sign_again(self.artifacts, version, private_key)
        return self.get(version.model, version.version)

    def verify(self, version: ModelVersion) -> str:
        """The id of the trusted key that vouches for all files of a version; nothing is deserialised.

        Raises:
            IntegrityError: not signed, or not what was signed and registered; by name.
            RegistryError: the files are gone.
        """
        with verified_folder(self.artifacts, self.keyring, version) as (_, key_id):
            return key_id

    def get(self, model: str, version: int) -> ModelVersion:
        """One version.

        Raises:
            RegistryError: there is none of that number.
        """
        return record_of(moves.existing(self.index, model, version))

    def knows(self, model: str) -> bool:
        """Whether there is a registered model of that name; its versions may all have been deleted."""
        from mlflow.exceptions import MlflowException

        try:
            self.client.get_registered_model(model)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return False
            raise RegistryError(f"{model} cannot be looked up: {error}") from error
        return True

    def find(self, model: str, version: int) -> ModelVersion | None:
        """One version, or None if there is none of that number (it may have been deleted).

        Raises:
            RegistryError: its tags make no record.
        """
        found = self.index.version(model, version)
        return None if found is None else record_of(found)

    def exists(self, model: str, version: int) -> bool:
        """Whether there is a version of that number, whatever its tags say."""
        return self.index.version(model, version) is not None

    def by_alias(self, model: str, alias: str) -> ModelVersion | None:
        """The version that an alias points to, or None."""
        version = self.aliases(model).get(alias)
        return None if version is None else self.get(model, version)

    def versions(self, model: str) -> tuple[ModelVersion, ...]:
        """All versions, the oldest first; empty if nothing was registered under that name."""
        return tuple(record_of(found) for found in self.index.versions(model) if not unreadable(found))

    def signed_by(self, key_id: str) -> tuple[ModelVersion, ...]:
        """All versions, of all models, that name a key as their signer."""
        found = self.index.tagged(f"{PREFIX}signed_by", key_id)
        return tuple(record_of(version) for version in found if not unreadable(version))

    def set_alias(self, model: str, alias: str, version: int) -> None:
        """Point an alias to a version, and read it back.

        Raises:
            RegistryError: there is no such version, the alias is not written in lower case, or it did not move.
        """
        moves.set_alias(self.index, model, alias, version)

    def drop_alias(self, model: str, alias: str) -> None:
        """Take an alias away, as it is written; nothing happens if there is none.

        Raises:
            RegistryError: it is still there.
        """
        moves.drop_alias(self.index, model, alias)

    def set_stage(self, model: str, version: int, stage: Stage) -> ModelVersion:
        """Move a version to a stage; one that is there already stays.

        Raises:
            PromotionError: not a legal move.
            RegistryError: there is no such version, or the tag did not change.
        """
        return moves.set_stage(self.index, model, version, stage)

    def load(self, version: ModelVersion) -> Scorer:
        """The scorer of a version, after a trusted key has vouched for its files; raises what `load_whole` raises."""
        return self.load_whole(version).scorer

    def load_whole(self, version: ModelVersion, beside: str = "") -> Loaded:
        """A version, after a trusted key has vouched for its files.

        Args:
            version: which.
            beside: name of a further file to read.

        Raises:
            IntegrityError: not signed, or not what was signed and registered; by name.
            UntrustedTypeError: it holds types that these settings do not trust.
            RegistryError: the files are gone, or this code cannot read them.
        """
        from mlops.models import serialization
        from mlops.models.scoring import Scorer

        with verified_folder(self.artifacts, self.keyring, version) as (folder, _):
            loaded = serialization.load(
                folder,
                name=f"{version.model} version {version.version}",
                trusted_types=self._config.trusted_types,
                allow_pickle=self._config.allow_pickle,
            )
            size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            further = (folder / beside).read_bytes() if beside and (folder / beside).is_file() else None
        if not isinstance(loaded, Scorer):
            raise RegistryError(
                f"{version.model} version {version.version} is a {type(loaded).__name__}, expected a Scorer."
            )
        return Loaded(loaded, size, further)

    def delete(self, model: str, version: int) -> None:
        """Delete a version, then its files; one that is gone already is no error.

        Raises:
            RegistryError: an alias points to it, or its files could not be deleted (they belong to no version then).
        """
        with self._guard(f"registry/{model}"):
            if names := [alias for alias, number in self.aliases(model).items() if number == version]:
                raise RegistryError(
                    f"Version {version} of {model} is {' and '.join(names)}; it was not deleted.",
                    hint="MLflow would drop the alias without a word. Promote or roll back to another version first.",
                )
            registration.remove(self.artifacts, model, version)

    def _by_inputs(self, model: str, inputs_hash: str) -> ModelVersion | None:
        found = self.index.tagged(f"{PREFIX}inputs_hash", inputs_hash, model)
        first = next((item for item in found if not unreadable(item)), None)
        return None if first is None else record_of(first, reused=True)

    def aliases(self, model: str) -> dict[str, int]:
        """All aliases of a model with their versions; empty if nothing was registered under that name."""
        return self.index.aliases(model)

    def _ensure_model(self, model: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self.client.create_registered_model(model)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise RegistryError(f"{model} cannot be registered: {error}") from error

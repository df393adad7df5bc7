"""Registered versions of a model in MLflow: registered once per inputs, moved by legal steps, loaded only if unchanged.

Stages are the tag `mlops.stage`, the roles `challenger` and `champion` are aliases. Both are the projection of
decisions that the ledger keeps. What a version is made of is signed when it is registered.

One rule: no byte is deserialised before a trusted key has vouched for all files of the version.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import TYPE_CHECKING

from mlops import log
from mlops.config import MLOpsConfig
from mlops.errors import PromotionError, RegistryError, did_you_mean
from mlops.mlflow_store import open_client
from mlops.models import registration, serialization
from mlops.models.artifacts import Artifacts
from mlops.models.keys import Keyring
from mlops.models.scoring import Scorer
from mlops.models.verification import verified_folder
from mlops.models.version_tags import PREFIX, missing_tags, record_of, tags_of
from mlops.records import ModelVersion, RunRecord, Stage

if TYPE_CHECKING:
    from mlflow import MlflowClient

Guard = Callable[[str], AbstractContextManager[object]]

# archived → production is the way back of a rollback
LEGAL_MOVES: dict[Stage, tuple[Stage, ...]] = {
    "development": ("staging", "archived"),
    "staging": ("production", "archived"),
    "production": ("archived",),
    "archived": ("production",),
}
_ALIAS = re.compile(r"^[a-z][a-z_]{0,62}$")
_logger = log.get(__name__)


class ModelRegistry:
    """MLflow's model registry.

    Args:
        config: says where it is.
        guard: makes registering exclusive between processes (a lease).
    """

    def __init__(self, config: MLOpsConfig, *, guard: Guard | None = None) -> None:
        self._config = config
        self._guard: Guard = guard or nullcontext

    @cached_property
    def client(self) -> MlflowClient:
        """MLflow's own client, for what is not covered here."""
        return open_client(self._config)

    @property
    def keyring(self) -> Keyring:
        """The keys that sign and are trusted here."""
        return Keyring.of(self._config)

    @property
    def artifacts(self) -> Artifacts:
        """Where model folders and signatures lie."""
        return Artifacts(self.client, self._config)

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
                registration.keep_signature(self.artifacts, record_of(made), folder, private_key)
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
        if (found := self.find(model, version)) is not None:
            return found
        known = [str(item.version) for item in self.versions(model)]
        words = f"Known: {', '.join(known)}." if known else "Nothing has been registered under that name."
        raise RegistryError(f"{model} has no version {version}.", hint=words)

    def find(self, model: str, version: int) -> ModelVersion | None:
        """One version, or None if there is none of that number (it may have been deleted)."""
        from mlflow.exceptions import MlflowException

        try:
            return record_of(self.client.get_model_version(model, str(version)))
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise RegistryError(f"Version {version} of {model} cannot be read: {error}") from error
            return None

    def by_alias(self, model: str, alias: str) -> ModelVersion | None:
        """The version that an alias points to, or None."""
        version = self.aliases(model).get(alias)
        return None if version is None else self.get(model, version)

    def versions(self, model: str) -> tuple[ModelVersion, ...]:
        """All versions, the oldest first; empty if nothing was registered under that name."""
        return tuple(sorted(self._search(f"name = '{model}'"), key=lambda item: item.version))

    def signed_by(self, key_id: str) -> tuple[ModelVersion, ...]:
        """All versions, of all models, that name a key as their signer."""
        found = self._search(f"tag.`{PREFIX}signed_by` = '{key_id}'")
        return tuple(sorted(found, key=lambda item: (item.model, item.version)))

    def set_alias(self, model: str, alias: str, version: int) -> None:
        """Point an alias to a version, and read it back.

        Raises:
            RegistryError: there is no such version, the alias is not written in lower case, or it did not move.
        """
        if not _ALIAS.match(alias):
            raise RegistryError(
                f"{alias!r} is no alias: only lower case letters and _; MLflow keeps 'champion' and 'Champion' apart.",
                hint=did_you_mean(alias.lower(), ["champion", "challenger"]),
            )
        self.get(model, version)
        self.client.set_registered_model_alias(model, alias, str(version))
        found = self.aliases(model).get(alias)
        if found != version:
            raise RegistryError(
                f"{model}: the alias {alias} was set to version {version}, but reads back as {found}.",
                hint="Somebody moved it at the same time; look at the ledger and run the step again.",
            )

    def drop_alias(self, model: str, alias: str) -> None:
        """Take an alias away, as it is written; nothing happens if there is none.

        Raises:
            RegistryError: it is still there.
        """
        if alias not in self.aliases(model):
            return
        self.client.delete_registered_model_alias(model, alias)
        if alias in self.aliases(model):
            raise RegistryError(f"{model}: the alias {alias} was deleted, but is still there.", hint="Try again.")

    def set_stage(self, model: str, version: int, stage: Stage) -> ModelVersion:
        """Move a version to a stage; one that is there already stays.

        Raises:
            PromotionError: not a legal move.
            RegistryError: there is no such version, or the tag did not change.
        """
        current = self.get(model, version).stage
        if current == stage:
            return self.get(model, version)
        if stage not in LEGAL_MOVES[current]:
            raise PromotionError(
                f"{model} version {version} is in {current} and cannot move to {stage}.",
                hint=f"From {current} it can move to {' or '.join(LEGAL_MOVES[current])}.",
            )
        self.client.set_model_version_tag(model, str(version), f"{PREFIX}stage", stage)
        moved = self.get(model, version)
        if moved.stage != stage:
            raise RegistryError(f"{model} version {version} was moved to {stage}, but reads back as {moved.stage}.")
        return moved

    def load(self, version: ModelVersion) -> Scorer:
        """The scorer of a version, after a trusted key has vouched for its files.

        Raises:
            IntegrityError: not signed, or not what was signed and registered; by name.
            UntrustedTypeError: it holds types that these settings do not trust.
            RegistryError: the files are gone, or this code cannot read them.
        """
        with verified_folder(self.artifacts, self.keyring, version) as (folder, _):
            loaded = serialization.load(
                folder,
                name=f"{version.model} version {version.version}",
                trusted_types=self._config.trusted_types,
                allow_pickle=self._config.allow_pickle,
            )
        if not isinstance(loaded, Scorer):
            raise RegistryError(
                f"{version.model} version {version.version} is a {type(loaded).__name__}, expected a Scorer."
            )
        return loaded

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
        found = self._search(f"name = '{model}' and tag.`{PREFIX}inputs_hash` = '{inputs_hash}'")
        if not found:
            return None
        first = min(found, key=lambda item: item.version)
        return record_of(self.client.get_model_version(model, str(first.version)), reused=True)

    def _search(self, words: str) -> list[ModelVersion]:
        found: list[ModelVersion] = []
        token: str | None = None
        while True:
            page = self.client.search_model_versions(words, max_results=200, page_token=token)
            found += [record_of(item) for item in page if not missing_tags(item)]
            token = page.token
            if not token:
                return found

    def aliases(self, model: str) -> dict[str, int]:
        """All aliases of a model with their versions; empty if nothing was registered under that name."""
        from mlflow.exceptions import MlflowException

        try:
            found = self.client.get_registered_model(model).aliases
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return {}
            raise RegistryError(f"The aliases of {model} cannot be read: {error}") from error
        return {str(alias): int(version) for alias, version in found.items()}

    def _ensure_model(self, model: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self.client.create_registered_model(model)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise RegistryError(f"{model} cannot be registered: {error}") from error

"""Registered versions of a model in MLflow: registered once per inputs, moved by legal steps, loaded only if unchanged.

Stages are the tag `mlops.stage`, the roles `challenger` and `champion` are aliases. Both are the projection of
decisions that the ledger keeps.

One rule: no byte is unpickled before all files of the model are those that were registered.
"""

from __future__ import annotations

import json
import pickle
import re
import tempfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops import log
from mlops.config import MLOpsConfig
from mlops.errors import IntegrityError, PromotionError, RegistryError, did_you_mean
from mlops.mlflow_store import digest_of, file_digests, open_client
from mlops.models.scoring import Scorer
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
MODEL_FILE = "model.pkl"
_ALIAS = re.compile(r"^[a-z][a-z_]{0,62}$")
_PREFIX = "mlops."
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

    def register(
        self,
        model: str,
        *,
        run: RunRecord,
        inputs_hash: str,
        training_set_uri: str = "",
        tags: Mapping[str, str] | None = None,
    ) -> ModelVersion:
        """Make a version of a run's model, or give back the one that the same inputs have made.

        Args:
            model: name of the registered model; made if there is none.
            run: finished, with a logged model.
            inputs_hash: identity of what the version was made from.
            training_set_uri: where its training set is kept.
            tags: further tags.

        Raises:
            RegistryError: the run has no model.
            IntegrityError: the model's files are not those that the run logged.
        """
        if not run.model_uri or not run.digest:
            raise RegistryError(
                f"Run {run.run_id} of {run.run_key} has no model to register; its status is {run.status}.",
                hint="Register a run that finished and logged its scorer.",
            )
        with self._guard(f"registry/{model}"):
            if (known := self._by_inputs(model, inputs_hash)) is not None:
                return known
            files = self._checked_files(run)
            found = {
                "inputs_hash": inputs_hash,
                "digest": run.digest,
                "files": json.dumps(files, sort_keys=True),
                "model_uri": run.model_uri,
                "run_key": run.run_key,
                "candidate": run.candidate,
                "stage": "development",
                "training_set_uri": training_set_uri,
                "metrics": json.dumps(run.metrics, sort_keys=True),
            }
            self._ensure_model(model)
            own = {f"{_PREFIX}{key}": value for key, value in found.items()}
            made = self.client.create_model_version(
                model,
                source=self._source(run.model_uri),
                run_id=run.run_id,
                tags={key: str(value) for key, value in (dict(tags or {}) | own).items()},
                model_id=run.model_uri.removeprefix("models:/"),
            )
        _logger.info("registered  %s", log.facts(model=model, version=made.version, candidate=run.candidate))
        return self.get(model, int(made.version))

    def get(self, model: str, version: int) -> ModelVersion:
        """One version.

        Raises:
            RegistryError: there is none of that number.
        """
        from mlflow.exceptions import MlflowException

        try:
            return _record(self.client.get_model_version(model, str(version)))
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise RegistryError(f"Version {version} of {model} cannot be read: {error}") from error
            known = [str(item.version) for item in self.versions(model)]
            words = f"Known: {', '.join(known)}." if known else "Nothing has been registered under that name."
            raise RegistryError(f"{model} has no version {version}.", hint=words) from error

    def by_alias(self, model: str, alias: str) -> ModelVersion | None:
        """The version that an alias points to, or None."""
        version = self._aliases(model).get(alias)
        return None if version is None else self.get(model, version)

    def versions(self, model: str) -> tuple[ModelVersion, ...]:
        """All versions, the oldest first; empty if nothing was registered under that name."""
        return tuple(sorted(self._search(f"name = '{model}'"), key=lambda item: item.version))

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
        found = self._aliases(model).get(alias)
        if found != version:
            raise RegistryError(
                f"{model}: the alias {alias} was set to version {version}, but reads back as {found}.",
                hint="Somebody moved it at the same time; look at the ledger and run the step again.",
            )

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
        self.client.set_model_version_tag(model, str(version), f"{_PREFIX}stage", stage)
        moved = self.get(model, version)
        if moved.stage != stage:
            raise RegistryError(f"{model} version {version} was moved to {stage}, but reads back as {moved.stage}.")
        return moved

    def load(self, version: ModelVersion) -> Scorer:
        """The scorer of a version, after its files were found to be those registered.

        Raises:
            IntegrityError: a file was changed, added or removed, or the record's digest is not the registered one.
            RegistryError: the files are gone, or this code cannot read them.
        """
        name = f"{version.model} version {version.version}"
        tags = self.client.get_model_version(version.model, str(version.version)).tags
        registered: dict[str, str] = json.loads(tags[f"{_PREFIX}files"])
        if version.digest != tags[f"{_PREFIX}digest"] or digest_of(registered) != version.digest:
            raise IntegrityError(
                f"{name}: the record says digest {version.digest[:12]}…, which the registry does not confirm.",
                hint="Ask the registry for the version again; if they still differ, its tags were tampered with.",
            )
        with tempfile.TemporaryDirectory() as folder:
            path = self._download(tags[f"{_PREFIX}model_uri"], Path(folder))
            _compare(name, registered, file_digests(path))
            data = (path / MODEL_FILE).read_bytes()
        try:
            loaded = pickle.loads(data)
        except Exception as error:
            raise RegistryError(
                f"{name} cannot be read by this code: {error}.", hint="It was made by other code or packages; retrain."
            ) from error
        if not isinstance(loaded, Scorer):
            raise RegistryError(f"{name} is a {type(loaded).__name__}, expected a Scorer.")
        return loaded

    def _by_inputs(self, model: str, inputs_hash: str) -> ModelVersion | None:
        found = self._search(f"name = '{model}' and tag.`{_PREFIX}inputs_hash` = '{inputs_hash}'")
        if not found:
            return None
        first = min(found, key=lambda item: item.version)
        return _record(self.client.get_model_version(model, str(first.version)), reused=True)

    def _search(self, words: str) -> list[ModelVersion]:
        found: list[ModelVersion] = []
        token: str | None = None
        while True:
            page = self.client.search_model_versions(words, max_results=200, page_token=token)
            found += [_record(item) for item in page if not _missing_tags(item)]
            token = page.token
            if not token:
                return found

    def _aliases(self, model: str) -> dict[str, int]:
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

    def _checked_files(self, run: RunRecord) -> dict[str, str]:
        """Digest of every file, after they were found to be those that the run logged."""
        with tempfile.TemporaryDirectory() as folder:
            files = file_digests(self._download(run.model_uri, Path(folder)))
        if digest_of(files) != run.digest:
            raise IntegrityError(
                f"The model of run {run.run_id} ({run.candidate}) has changed since it was logged: "
                f"digest {digest_of(files)[:12]}…, logged {run.digest[:12]}….",
                hint="Train again; do not register what nobody vouches for.",
            )
        return files

    def _source(self, model_uri: str) -> str:
        """A server resolves `models:/…` itself; MLflow's SQL store would look into the current folder's database."""
        return model_uri if self._config.tracking_uri.startswith("http") else self._location(model_uri)

    def _location(self, model_uri: str) -> str:
        return str(self.client.get_logged_model(model_uri.removeprefix("models:/")).artifact_location)

    def _download(self, model_uri: str, folder: Path) -> Path:
        from mlflow.artifacts import download_artifacts
        from mlflow.exceptions import MlflowException

        try:
            found = download_artifacts(
                artifact_uri=self._location(model_uri),
                dst_path=str(folder),
                tracking_uri=self._config.tracking_uri,
            )
        except (MlflowException, OSError) as error:
            raise RegistryError(
                f"The files of {model_uri} cannot be read: {error}.",
                hint="Restore them from a backup, or train again.",
            ) from error
        return Path(found)


def _compare(name: str, registered: Mapping[str, str], found: Mapping[str, str]) -> None:
    both = registered.keys() & found.keys()
    differences = {
        "changed": sorted(path for path in both if registered[path] != found[path]),
        "missing": sorted(registered.keys() - found.keys()),
        "added": sorted(found.keys() - registered.keys()),
    }
    words = [f"{what}: {', '.join(paths)}" for what, paths in differences.items() if paths]
    if words:
        raise IntegrityError(
            f"{name} is not what was registered ({'; '.join(words)}). It was not loaded.",
            hint="Restore the files, or roll back to another version.",
        )


def _missing_tags(found: Any) -> list[str]:
    """Tags that every version made here has; one registered by hand has none."""
    wanted = (f"{_PREFIX}{key}" for key in ("digest", "files", "inputs_hash", "stage", "model_uri"))
    return [key for key in wanted if key not in found.tags]


def _record(found: Any, *, reused: bool = False) -> ModelVersion:
    if missing := _missing_tags(found):
        raise RegistryError(
            f"{found.name} version {found.version} has no tag {', '.join(missing)}.",
            hint="It was not registered by this project. Register it through a training run.",
        )
    tags = {key.removeprefix(_PREFIX): value for key, value in found.tags.items()}
    return ModelVersion(
        model=found.name,
        version=int(found.version),
        run_id=found.run_id or "",
        run_key=tags.get("run_key", ""),
        model_uri=tags["model_uri"],
        digest=tags["digest"],
        inputs_hash=tags["inputs_hash"],
        candidate=tags.get("candidate", ""),
        stage=tags["stage"],
        training_set_uri=tags.get("training_set_uri", ""),
        metrics=json.loads(tags.get("metrics", "{}")),
        reused=reused,
    )

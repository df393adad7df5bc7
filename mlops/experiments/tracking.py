"""Runs in MLflow that are found again: by their run key, not by the memory of a process.

A retried task reopens the run of its run key; if the inputs have changed since, a new run supersedes the old one and
says so. Whatever ends a run on the way is written down: FAILED with the error, or KILLED.

One rule: at most one run that is not superseded per run key, and none that stays RUNNING once its key is finished.
"""

from __future__ import annotations

import json
import platform
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime
from functools import cache, cached_property
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops import log
from mlops.config import MLOpsConfig
from mlops.errors import StorageError, TrainingError
from mlops.experiments.run import RECORD_FILE, RUN_KEY, TAG_LENGTH, Run
from mlops.mlflow_store import open_client
from mlops.records import RunRecord, RunStatus, from_dict

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun

Guard = Callable[[str], AbstractContextManager[object]]

INPUTS_HASH, SUPERSEDED_BY, ERROR = "mlops.inputs_hash", "mlops.superseded_by", "mlops.error"
_ENVIRONMENT_FILE = "environment.json"
_logger = log.get(__name__)


def utc_now() -> datetime:
    """The wall clock; stamps metrics, decides nothing."""
    return datetime.now(UTC)


class ExperimentTracker:
    """MLflow runs, found or created by run key.

    Args:
        config: says where MLflow keeps runs and artifacts.
        code_version: git commit of the code, logged with every run.
        guard: makes find-or-create exclusive between processes (a lease); without it only one process may use a key.
        clock: the time that metrics are stamped with.
    """

    def __init__(
        self,
        config: MLOpsConfig,
        *,
        code_version: str = "",
        guard: Guard | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._config = config
        self._code_version = code_version or config.code_version or "unknown"
        self._guard: Guard = guard or nullcontext
        self._clock = clock

    @cached_property
    def client(self) -> MlflowClient:
        """MLflow's own client, for what is not covered here."""
        return open_client(self._config)

    @contextmanager
    def run(
        self,
        run_key: str,
        *,
        experiment: str,
        parent: str | None = None,
        inputs_hash: str = "",
        tags: Mapping[str, str] | None = None,
    ) -> Iterator[Run]:
        """An open run; it ends FINISHED, or FAILED or KILLED with what went wrong, which is raised on.

        Args:
            run_key: identity of the piece of work.
            experiment: name of the MLflow experiment; made if there is none.
            parent: run key of the parent run.
            inputs_hash: what the work is made from; with another hash a new run supersedes the one that is there.
            tags: further tags.

        Raises:
            TrainingError: the parent has no run, or the experiment was deleted.
            StorageError: MLflow cannot be opened or written.
        """
        from mlflow.exceptions import MlflowException

        wanted = {RUN_KEY: run_key, INPUTS_HASH: inputs_hash, "mlflow.source.git.commit": self._code_version}
        if parent is not None:
            wanted["mlflow.parentRunId"] = self._parent_id(parent, experiment)
        with self._guard(f"mlflow/{run_key}"):
            run_id = self._find_or_create(run_key, experiment, inputs_hash, wanted | dict(tags or {}))
        handle = Run(self.client, run_id, run_key, wanted.get("mlflow.parentRunId", ""), self._clock, self._config)
        try:
            handle.log_dict(_environment(), _ENVIRONMENT_FILE)
            yield handle
            self.client.set_terminated(run_id, "FINISHED")
        except MlflowException as error:
            self._end(run_id, "FAILED", error)
            raise StorageError(
                f"MLflow refused to log to the run of {run_key}: {error}.",
                hint="Free space, mend permissions or start the server, then run the step again: it reopens the run.",
            ) from error
        except BaseException as error:
            self._end(run_id, "FAILED" if isinstance(error, Exception) else "KILLED", error)
            raise

    def finished(self, run_key: str, *, experiment: str, inputs_hash: str) -> RunRecord | None:
        """The record of a run that finished with the same inputs, marked as reused; None if there is none."""
        found = self._current(run_key, experiment)
        if found is None or found.info.status != "FINISHED" or found.data.tags.get(INPUTS_HASH) != inputs_hash:
            return None
        names = {item.path for item in self.client.list_artifacts(found.info.run_id)}
        if RECORD_FILE not in names:
            return None
        with tempfile.TemporaryDirectory() as folder:
            path = self.client.download_artifacts(found.info.run_id, RECORD_FILE, folder)
            body = json.loads(Path(path).read_text(encoding="utf-8"))
        return from_dict(RunRecord, body | {"reused": True})

    def _find_or_create(self, run_key: str, experiment: str, inputs_hash: str, tags: dict[str, str]) -> str:
        from mlflow.entities import RunTag

        old = self._current(run_key, experiment)
        if old is not None and old.data.tags.get(INPUTS_HASH, "") == inputs_hash:
            self._reopen(old, tags)
            return str(old.info.run_id)
        created = self.client.create_run(self._experiment_id(experiment), tags=tags, run_name=run_key)
        if old is not None:
            if old.info.status == "RUNNING":  # its process was killed before it could say so
                self.client.set_terminated(old.info.run_id, "KILLED")
            self.client.log_batch(old.info.run_id, tags=[RunTag(SUPERSEDED_BY, created.info.run_id)])
            _logger.info(
                "inputs of %s have changed: a new run supersedes the old one  %s",
                run_key,
                log.facts(new=created.info.run_id, old=old.info.run_id),
            )
        return str(created.info.run_id)

    def _reopen(self, found: MlflowRun, tags: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        run_id = found.info.run_id
        self.client.update_run(run_id, status="RUNNING")
        if ERROR in found.data.tags:
            self.client.delete_tag(run_id, ERROR)
        changed = {key: value for key, value in tags.items() if found.data.tags.get(key) != value}
        self.client.log_batch(run_id, tags=[RunTag(key, value) for key, value in changed.items()])

    def _current(self, run_key: str, experiment: str) -> MlflowRun | None:
        """The newest run of a key that is not superseded."""
        found = self.client.search_runs(
            [self._experiment_id(experiment)],
            filter_string=f"tags.`{RUN_KEY}` = '{_quoted(run_key)}'",
            order_by=["attributes.start_time DESC"],
        )
        return next((run for run in found if SUPERSEDED_BY not in run.data.tags), None)

    def _parent_id(self, run_key: str, experiment: str) -> str:
        parent = self._current(run_key, experiment)
        if parent is None:
            raise TrainingError(
                f"{experiment}: there is no run of {run_key!r} to be the parent.",
                hint="Make the training set first: it opens the parent run.",
            )
        return str(parent.info.run_id)

    def _experiment_id(self, name: str) -> str:
        from mlflow.exceptions import MlflowException

        found = self.client.get_experiment_by_name(name)
        if found is None:
            location = f"{self._config.artifact_uri.rstrip('/')}/{name}"
            try:
                return str(self.client.create_experiment(name, artifact_location=location))
            except MlflowException:
                found = self.client.get_experiment_by_name(name)  # another process was first
                if found is None:
                    raise
        if found.lifecycle_stage == "deleted":
            raise TrainingError(
                f"The MLflow experiment {name!r} was deleted; its runs cannot be found.",
                hint=f"Restore it: mlflow experiments restore --experiment-id {found.experiment_id}",
            )
        return str(found.experiment_id)

    def _end(self, run_id: str, status: RunStatus, error: BaseException) -> None:
        from mlflow.entities import RunTag

        words = f"{type(error).__name__}: {error}"[:TAG_LENGTH]
        try:
            self.client.log_batch(run_id, tags=[RunTag(ERROR, words)])
            self.client.set_terminated(run_id, status)
        except Exception as second:  # noqa: BLE001 - the first error is what the caller must see
            _logger.warning("run %s could not be ended as %s: %s", run_id, status, second)


@cache
def _environment() -> dict[str, Any]:
    """Python, platform and every installed distribution with its version."""
    packages = {dist.name: dist.version for dist in metadata.distributions() if dist.name}
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": dict(sorted(packages.items(), key=lambda item: item[0].lower())),
    }


def _quoted(text: str) -> str:
    if "'" in text or "`" in text:
        raise TrainingError(f"The run key {text!r} holds a quote.", hint="Give the candidate a name without quotes.")
    return text

"""Runs in MLflow that are found again: by their run key, not by the memory of a process.

A retried task reopens the run of its run key; if the inputs have changed since, a new run supersedes the old one and
says so. Whatever ends a run on the way is written down: FAILED with the error, or KILLED. While a run is open its
process holds a lease on the run key; who loses it to a later attempt writes nothing more.

One rule: at most one run that is not superseded per run key, and none that stays RUNNING once its key is finished.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, cached_property
from importlib import metadata
from typing import TYPE_CHECKING, Any

from mlops import log
from mlops.config import MLOpsConfig
from mlops.errors import LeaseError, LedgerError, StorageError, TrainingError
from mlops.experiments import lifecycle
from mlops.experiments.run import (
    ERROR,
    INPUTS_HASH,
    IS_PARENT,
    PARENT,
    RUN_KEY,
    SUPERSEDED_BY,
    TAG_LENGTH,
    Hold,
    Run,
    Unheld,
    kept_json,
    kept_record,
)
from mlops.mlflow_store import open_client
from mlops.records import RunRecord, RunStatus

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun

Guard = Callable[[str], AbstractContextManager[object]]
Keeper = Callable[[str], AbstractContextManager[Hold]]

_ENVIRONMENT_FILE = "environment.json"
_logger = log.get(__name__)


def utc_now() -> datetime:
    """The wall clock; stamps metrics, decides nothing."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Parent:
    """The run above others: a step and date, of which they are the tasks."""

    run_key: str
    name: str  # what people read in MLflow
    inputs_hash: str = ""  # what is asked for; with another one a new run supersedes the one that is there
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Found:
    run: MlflowRun
    done: RunRecord | None = None  # it had finished, and is left so
    created: bool = False  # by this attempt


class ExperimentTracker:
    """MLflow runs, found or created by run key.

    Args:
        config: says where MLflow keeps runs and artifacts.
        code_version: git commit of the code, logged with every run.
        guard: makes find-or-create exclusive between processes (a lease); without it only one process may use a key.
        keeper: keeps a run key for as long as its run is open (a lease with a heartbeat).
        clock: the time that metrics are stamped with.
    """

    def __init__(
        self,
        config: MLOpsConfig,
        *,
        code_version: str = "",
        guard: Guard | None = None,
        keeper: Keeper | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._config = config
        self._code_version = code_version or config.code_version or "unknown"
        self._guard: Guard = guard or nullcontext
        self._keeper: Keeper = keeper or (lambda _name: nullcontext(Unheld()))
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
        parent: Parent | str | None = None,
        inputs_hash: str = "",
        tags: Mapping[str, str] | None = None,
        name: str = "",
        reuse: bool = False,
        environment: bool = True,
    ) -> Iterator[Run]:
        """An open run; it ends FINISHED, or FAILED or KILLED with what went wrong, which is raised on.

        Args:
            run_key: identity of the piece of work.
            experiment: name of the MLflow experiment; made if there is none.
            parent: the parent run, found or created; or the run key of one that must be there. It follows its children.
            inputs_hash: what the work is made from; with another hash a new run supersedes the one that is there.
            tags: further tags.
            name: what people read in MLflow; default: the run key.
            reuse: a run that finished with the same inputs is not reopened: its record is in `done`.
            environment: log Python and every installed package.

        Raises:
            TrainingError: the parent has no run, or the experiment was deleted.
            LeaseError: another attempt is at work on the run key, or has taken over.
            StorageError: MLflow cannot be opened or written.
        """
        wanted = {RUN_KEY: run_key, INPUTS_HASH: inputs_hash, "mlflow.source.git.commit": self._code_version}
        wanted |= dict(tags or {})
        with self._keeper(f"run/{run_key}") as hold, _translated(run_key):
            family = parent.run_key if isinstance(parent, Parent) else parent or run_key
            with self._guard(f"mlflow/{family}"):
                number = self._experiment_id(experiment)
                above = None if parent is None else self._parent(parent, number)
                if above is not None:
                    wanted[PARENT] = above.run.info.run_id
                    self._recheck(hold, above)
                found = self._find_or_create(run_key, number, inputs_hash, wanted, name, reuse=reuse)
                self._recheck(hold, above, found)
            run_id, done = found.run.info.run_id, found.done
            handle = Run(self.client, run_id, run_key, wanted.get(PARENT, ""), self._clock, self._config, hold, done)
            try:
                if environment and done is None:
                    handle.log_dict(_environment(), _ENVIRONMENT_FILE)
                yield handle
                if done is None:
                    hold.check()
                    handle.flush()
                    self.client.set_terminated(run_id, "FINISHED")
            except BaseException as error:
                if done is None:
                    self._end(handle, "FAILED" if isinstance(error, Exception) else "KILLED", error)
                self._settle(above, family, quiet=True)
                raise
            self._settle(above, family)

    def finished(self, run_key: str, *, experiment: str, inputs_hash: str) -> RunRecord | None:
        """The record of a run that finished with the same inputs, marked as reused; None if there is none."""
        found = self._current(run_key, self._experiment_id(experiment))
        return None if found is None else self._record_of(found, inputs_hash)

    def kept_json(self, run_id: str, path: str) -> dict[str, Any] | None:
        """What a run has logged as a JSON file; None if it has not."""
        return kept_json(self.client, run_id, path)

    def settle(self, run_id: str) -> str:
        """Have a parent that was left RUNNING follow its children. Returns its run key, or "" if one is at work."""
        with _translated(run_id):
            found = self.client.get_run(run_id)
            if found.info.lifecycle_stage == "deleted":  # nothing can be written to it any more
                return ""
            run_key = str(found.data.tags[RUN_KEY])
            with self._guard(f"mlflow/{run_key}"):
                return "" if lifecycle.settle(self.client, self.client.get_run(run_id)) == "RUNNING" else run_key

    def _record_of(self, found: MlflowRun, inputs_hash: str) -> RunRecord | None:
        if found.info.status != "FINISHED" or found.data.tags.get(INPUTS_HASH) != inputs_hash:
            return None
        return kept_record(self.client, found.info.run_id)

    def _find_or_create(
        self, run_key: str, number: str, inputs_hash: str, tags: dict[str, str], name: str, *, reuse: bool
    ) -> _Found:
        old = self._current(run_key, number)
        if old is not None and old.data.tags.get(INPUTS_HASH, "") == inputs_hash:
            done = self._record_of(old, inputs_hash) if reuse else None
            if done is None:
                self._reopen(old, tags)
            return _Found(old, done)
        created = self.client.create_run(number, tags=tags, run_name=name or run_key)
        if old is not None:
            self._supersede(old, created)
            _logger.info(
                "inputs of %s have changed: a new run supersedes the old one  %s",
                run_key,
                log.facts(new=created.info.run_id, old=old.info.run_id),
            )
        return _Found(created, created=True)

    def _reopen(self, found: MlflowRun, tags: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        run_id = found.info.run_id
        if found.info.status != "RUNNING":
            self.client.update_run(run_id, status="RUNNING")
        if ERROR in found.data.tags:
            self.client.delete_tag(run_id, ERROR)
        if changed := {key: value for key, value in tags.items() if found.data.tags.get(key) != value}:
            self.client.log_batch(run_id, tags=[RunTag(key, value) for key, value in changed.items()])

    def _current(self, run_key: str, number: str) -> MlflowRun | None:
        """The newest run of a key that is not superseded."""
        found = self.client.search_runs(
            [number],
            filter_string=f"tags.`{RUN_KEY}` = '{_quoted(run_key)}'",
            order_by=["attributes.start_time DESC"],
        )
        current = [run for run in found if SUPERSEDED_BY not in run.data.tags]
        for old in current[1:]:  # whoever created the newest was killed before it could say so
            self._supersede(old, current[0])
        return current[0] if current else None

    def _supersede(self, old: MlflowRun, new: MlflowRun) -> None:
        if old.info.status == "RUNNING":  # its process was killed before it could say so
            self.client.set_terminated(old.info.run_id, "KILLED")
        self.client.set_tag(old.info.run_id, SUPERSEDED_BY, new.info.run_id)

    def _recheck(self, hold: Hold, above: _Found | None, found: _Found | None = None) -> None:
        """Take back what was created or reopened, if a later attempt has taken over meanwhile: it made its own."""
        try:
            hold.check()
        except LeaseError:
            if found is not None and found.created:
                self.client.delete_run(found.run.info.run_id)
            if above is not None and above.created and not lifecycle.children_of(self.client, above.run):
                self.client.delete_run(above.run.info.run_id)
            elif above is not None:
                lifecycle.settle(self.client, above.run)
            raise

    def _parent(self, parent: Parent | str, number: str) -> _Found:
        if isinstance(parent, Parent):
            commit = {"mlflow.source.git.commit": self._code_version}
            own = {RUN_KEY: parent.run_key, INPUTS_HASH: parent.inputs_hash, IS_PARENT: "true"} | commit
            tags = own | dict(parent.tags)
            return self._find_or_create(parent.run_key, number, parent.inputs_hash, tags, parent.name, reuse=False)
        found = self._current(parent, number)
        if found is None:
            raise TrainingError(f"There is no run of {parent!r} to be the parent.", hint="Run its first step first.")
        self._reopen(found, {})
        return _Found(found)

    def _settle(self, parent: _Found | None, run_key: str, *, quiet: bool = False) -> None:
        """Let the parent follow its children; `quiet`: another error is on its way, which is the one to be seen."""
        if parent is None:
            return
        try:
            with self._guard(f"mlflow/{run_key}"):
                lifecycle.settle(self.client, parent.run)
        except Exception as second:
            if not quiet:
                raise
            _logger.warning("the run of %s could not follow its children: %s", run_key, second)

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

    def _end(self, handle: Run, status: RunStatus, error: BaseException) -> None:
        """Write down how a run ended, unless it has become somebody else's."""
        try:
            handle.check()
        except LeaseError as lost:
            _logger.warning("the run of %s is left to who has taken over: %s", handle.run_key, lost)
            return
        except LedgerError:
            pass  # whether it was taken over cannot be told; a successor writes its own end over this one
        words = f"{type(error).__name__}: {error}"[:TAG_LENGTH]
        try:
            self.client.set_tag(handle.run_id, ERROR, words)
            self.client.set_terminated(handle.run_id, status)
            handle.flush()  # last: a run must end, with or without its last metrics
        except Exception as second:  # noqa: BLE001 - the first error is what the caller must see
            _logger.warning("run %s could not be ended as %s: %s", handle.run_id, status, second)


@contextmanager
def _translated(run_key: str) -> Iterator[None]:
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError  # MLflow lets through what its own rollback meets on a lost connection

    try:
        yield
    except (MlflowException, SQLAlchemyError) as error:
        said = " ".join(str(getattr(error, "orig", None) or error).split())
        raise StorageError(
            f"MLflow refused to log to the run of {run_key}: {said}.",
            hint="Free space, mend permissions or start the server, then run the step again: it reopens the run.",
        ) from error


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

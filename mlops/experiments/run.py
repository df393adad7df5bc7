"""An open MLflow run: what can be logged to it.

One rule: everything goes through the client of the run's own tracker; MLflow's global state is never touched.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pandas as pd

from mlops import log
from mlops.config import MLOpsConfig
from mlops.experiments.metric_buffer import MetricBuffer
from mlops.experiments.model_files import LoggedScorer, pinned, save
from mlops.mlflow_store import digest_of, file_digests
from mlops.records import RunRecord, from_dict, to_dict

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

RUN_KEY, INPUTS_HASH, SUPERSEDED_BY = "mlops.run_key", "mlops.inputs_hash", "mlops.superseded_by"
PARENT, IS_PARENT, ERROR = "mlflow.parentRunId", "mlops.is_parent", "mlops.error"
NOTE = "mlflow.note.content"  # MLflow shows it as the description of the run
RECORD_FILE = "run_record.json"
TAG_LENGTH = 5000  # longer tags are cut or refused by MLflow, depending on its store
_PARAMS_PER_BATCH, _METRICS_PER_BATCH = 100, 1000  # MLflow's limits
_PARAM_LENGTH, _DIGEST_LENGTH = 6000, 36
_logger = log.get(__name__)


class Hold(Protocol):
    """The right to work on a run key, for as long as nobody has taken over."""

    def check(self) -> None:
        """Raise `LeaseError` if somebody has."""


class Unheld:
    """The hold of an installation without leases: one process only."""

    def check(self) -> None:
        """Nobody else is there."""


@dataclass(frozen=True)
class Run:
    """An open run. Get one from `ExperimentTracker.run`."""

    client: MlflowClient
    run_id: str
    run_key: str
    parent_run_id: str
    clock: Callable[[], datetime]
    config: MLOpsConfig
    hold: Hold = field(default_factory=Unheld)
    done: RunRecord | None = None  # what an earlier attempt has finished with the same inputs, if that was asked for

    def check(self) -> None:
        """Make sure that no later attempt has taken over; to be called right before what cannot be undone.

        Raises:
            LeaseError: one has.
            LedgerError: nobody can tell.
        """
        self.hold.check()

    def describe(self, tags: Mapping[str, str], metrics: Mapping[str, float] | None = None, note: str = "") -> None:
        """Set tags, metrics and the description, on this run and on its parent: there people look and compare."""
        from mlflow.entities import RunTag

        given = {key: value[:TAG_LENGTH] for key, value in (dict(tags) | ({NOTE: note} if note else {})).items()}
        first, rest = self._finite(metrics or {}, 0), []
        if len(first) > _METRICS_PER_BATCH // 2:
            first, rest = [], first
        for run_id in filter(None, (self.run_id, self.parent_run_id)):
            self.client.log_batch(run_id, tags=[RunTag(key, value) for key, value in given.items()], metrics=first)
            for start in range(0, len(rest), _METRICS_PER_BATCH):
                self.client.log_batch(run_id, metrics=rest[start : start + _METRICS_PER_BATCH])

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log parameters as text. MLflow never changes one: a value that differs from the first is kept as a tag."""
        from mlflow.entities import Param, RunTag

        there = self.client.get_run(self.run_id).data.params
        given = {key: str(value)[:_PARAM_LENGTH] for key, value in params.items()}
        fresh = [Param(key, value) for key, value in given.items() if key not in there]
        for start in range(0, len(fresh), _PARAMS_PER_BATCH):
            self.client.log_batch(self.run_id, params=fresh[start : start + _PARAMS_PER_BATCH])
        for key, value in given.items():
            if key in there and there[key] != value:
                _logger.warning("run %s keeps %s=%s; now it is %s (tag)", self.run_id, key, there[key], value)
                self.client.log_batch(self.run_id, tags=[RunTag(f"mlops.now.{key}", value[:TAG_LENGTH])])

    def log_metrics(self, metrics: Mapping[str, float], *, step: int = 0) -> None:
        """Log metrics, in batches. One that is not finite is left out: it could not be computed."""
        known = self._finite(metrics, step)
        for start in range(0, len(known), _METRICS_PER_BATCH):
            self.client.log_batch(self.run_id, metrics=known[start : start + _METRICS_PER_BATCH])

    def log_metric(self, name: str, value: float, *, step: int = 0) -> None:
        """Log one of many metrics, such as a loss at each step; written in batches, at the latest when the run ends."""
        self._buffer.log(name, value, step)

    def flush(self) -> None:
        """Write what `log_metric` still holds; what was logged before then survives the death of this process."""
        self._buffer.flush()

    @cached_property
    def _buffer(self) -> MetricBuffer:
        return MetricBuffer(self.client, self.run_id, self.clock)

    def _finite(self, metrics: Mapping[str, float], step: int) -> list[Metric]:
        from mlflow.entities import Metric

        at = int(self.clock().timestamp() * 1000)
        return [Metric(k, float(v), at, step) for k, v in metrics.items() if math.isfinite(v)]

    def log_dataset(self, uri: str, fingerprint: str, rows: int, *, context: str = "training") -> None:
        """Log which data went in: where it is, its own fingerprint (MLflow's covers 10,000 rows only), its size."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(
            name=uri.rstrip("/").rsplit("/", 1)[-1] or uri,
            digest=fingerprint[:_DIGEST_LENGTH],
            source_type="uri",
            source=json.dumps({"uri": uri}),
            profile=json.dumps({"num_rows": rows, "fingerprint": fingerprint}),
        )
        tags = [InputTag("mlflow.data.context", context), InputTag("mlops.fingerprint", fingerprint)]
        self.client.log_inputs(self.run_id, datasets=[DatasetInput(dataset, tags)])

    def log_dict(self, value: Mapping[str, Any], path: str) -> None:
        """Log values as a JSON (or YAML) file."""
        self.client.log_dict(self.run_id, dict(value), path)

    def log_text(self, text: str, path: str) -> None:
        """Log a text file."""
        self.client.log_text(self.run_id, text, path)

    def log_figure(self, figure: Any, path: str) -> None:
        """Log a Plotly (`.html`) or Matplotlib (`.png`) figure."""
        self.client.log_figure(self.run_id, figure, path)

    def log_scorer(
        self,
        scorer: LoggedScorer,
        example: pd.DataFrame,
        requirements: Sequence[str] | None = None,
        beside: Mapping[str, bytes] | None = None,
    ) -> tuple[str, str]:
        """Log a fitted scorer as an MLflow model that any MLflow client can load and ask.

        Args:
            scorer: fitted.
            example: a few input rows: entity and features.
            requirements: pip requirements; default: what is installed of the scorer's packages, pinned.
            beside: further files of the model, by name.

        Returns:
            The model's URI and the sha256 over its files.
        """
        wanted = list(requirements) if requirements is not None else pinned(scorer.packages)
        self.check()
        run = self.client.get_run(self.run_id)
        self._drop_unfinished_models(run.info.experiment_id)
        model = self.client.create_logged_model(
            experiment_id=run.info.experiment_id,
            name=scorer.algorithm.rsplit(".", 1)[-1],
            source_run_id=self.run_id,
            tags={RUN_KEY: self.run_key},
            params=run.data.params,
            model_type=scorer.task,
        )
        try:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "model"
                save(
                    scorer,
                    example,
                    wanted,
                    path,
                    model_id=model.model_id,
                    run_id=self.run_id,
                    trusted_types=self.config.trusted_types,
                    allow_pickle=self.config.allow_pickle,
                    beside=beside,
                )
                digest = digest_of(file_digests(path))
                self.client.log_model_artifacts(model.model_id, str(path))
            self.check()
        except BaseException:
            self._discard(model.model_id)
            raise
        self.client.finalize_logged_model(model.model_id, "READY")
        self._link(model.model_id)
        return f"models:/{model.model_id}", digest

    def record(
        self,
        *,
        candidate: str,
        algorithm: str,
        model_uri: str = "",
        digest: str = "",
        metrics: Mapping[str, float] | None = None,
        fit_seconds: float = 0.0,
        seconds: float = 0.0,
    ) -> RunRecord:
        """The run as a record, kept with it, so that `ExperimentTracker.finished` gives it back."""
        record = RunRecord(
            run_key=self.run_key,
            run_id=self.run_id,
            parent_run_id=self.parent_run_id,
            candidate=candidate,
            algorithm=algorithm,
            status="FINISHED",
            model_uri=model_uri,
            digest=digest,
            metrics=dict(metrics or {}),
            fit_seconds=fit_seconds,
            seconds=seconds,
        )
        self.log_dict(to_dict(record), RECORD_FILE)
        return record

    def _drop_unfinished_models(self, experiment_id: str) -> None:
        """Delete what an attempt that was cut short has logged, unless it was registered."""
        registered = {found.model_id for found in self.client.search_model_versions(f"run_id = '{self.run_id}'")}
        earlier = self.client.search_logged_models([experiment_id], filter_string=f"source_run_id = '{self.run_id}'")
        for model in earlier:
            if model.model_id not in registered:
                self.client.delete_logged_model(model.model_id)

    def _discard(self, model_id: str) -> None:
        """Give up a model that was not logged whole. If MLflow is away, the reaper will."""
        try:
            self.client.finalize_logged_model(model_id, "FAILED")
            self.client.delete_logged_model(model_id)
        except Exception as error:  # noqa: BLE001 - the error that led here is what the caller must see
            _logger.warning("logged model %s was left unfinished: %s", model_id, error)

    def _link(self, model_id: str) -> None:
        from mlflow.entities import LoggedModelOutput

        self.client.log_outputs(self.run_id, [LoggedModelOutput(model_id, step=0)])


def kept_record(client: MlflowClient, run_id: str) -> RunRecord | None:
    """The record that `Run.record` has kept, marked as reused; None if there is none."""
    body = kept_json(client, run_id, RECORD_FILE)
    return from_dict(RunRecord, body | {"reused": True}) if body else None


def kept_json(client: MlflowClient, run_id: str, path: str) -> dict[str, Any] | None:
    """What `Run.log_dict` has kept in a JSON file; None if there is none."""
    if path not in {item.path for item in client.list_artifacts(run_id)}:
        return None
    with tempfile.TemporaryDirectory() as folder:
        found = json.loads(Path(client.download_artifacts(run_id, path, folder)).read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found

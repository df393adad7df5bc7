"""One YAML file per model: what it learns, from what, when, and what must hold before it goes into production.

`load_spec` reads one, `load_specs` a folder. Everything is frozen; unknown keys are refused with the name that was
probably meant. `ModelSpec.model_json_schema()` is the JSON schema for editors (`mlops spec schema`).

One rule: a spec says *what*; where things live is said by `MLOpsConfig`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from mlops.config import expand
from mlops.errors import ConfigError, SpecError, did_you_mean

Task = Literal["anomaly", "classification", "regression"]
# Metrics that a paired comparison of challenger and champion can be made with, by task.
OBJECTIVES: Mapping[str, tuple[str, ...]] = {
    "anomaly": ("average_precision", "roc_auc"),
    "classification": ("roc_auc", "average_precision", "log_loss", "brier", "accuracy", "f1"),
    "regression": ("mean_absolute_error", "root_mean_squared_error", "median_absolute_error", "r2"),
}
# The same safe loader in C where PyYAML was built with it: 200 specs in .1 s instead of .9 s.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NAME = re.compile(r"^[a-z][a-z0-9_]{1,62}$")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SourceSpec(_Frozen):
    """Where deliveries come from."""

    dataset: str = Field(
        "", description="Name of the data set; models that share it share its partitions. Default: the model's name."
    )
    kind: Literal["parquet", "csv", "sql"] = "parquet"
    uri: str = Field(description="Path, glob or URI; {date} stands for the delivery date. For sql: the SQLAlchemy URL.")
    query: str = Field(
        "", description="For sql: the query, with :start and :end of the delivery's day (UTC, or as `timezone` says)."
    )
    timezone: str | None = Field(
        None, description="Zone of timestamps that carry none. Without it such timestamps are refused."
    )
    options: dict[str, Any] = Field(default_factory=dict, description="Options for fsspec or the CSV reader.")

    @model_validator(mode="after")
    def _sql_has_a_query(self) -> SourceSpec:
        if (self.kind == "sql") != bool(self.query):
            raise ValueError("kind sql needs a query, and only sql takes one")
        return self


class TimestampsSpec(_Frozen):
    """Which columns say when."""

    event: str = Field("event_timestamp", description="When it happened.")
    arrival: str | None = Field(None, description="When it became known. Default: the moment it happened.")


class ColumnContract(_Frozen):
    """What a column promises."""

    type: Literal["float", "int", "string", "bool"] = "float"
    min: float | None = Field(None, description="Smallest value allowed, in the column's unit.")
    max: float | None = Field(None, description="Largest value allowed, in the column's unit.")
    allowed: tuple[str, ...] | None = Field(None, description="For strings: the values allowed.")
    max_null_share: float = Field(0.0, ge=0, le=1, description="Share of rows that may be null.")
    max_outside_share: float = Field(0.0, ge=0, le=1, description="Share of rows that may lie outside min and max.")
    unit: str = Field("", description="Unit, for people.")


class ContractSpec(_Frozen):
    """What a delivery promises. Broken: the whole delivery goes to quarantine."""

    columns: dict[str, ColumnContract] = Field(description="Columns that must be there; others are dropped.")
    unique: bool = Field(True, description="Entity and event time name a row once.")
    max_lateness_hours: float = Field(48, ge=0, description="How long after its event a row may arrive [h].")
    freshness_hours: float | None = Field(
        None, gt=0, description="The newest row is at most this old at the end of the day [h]."
    )
    min_rows: int = Field(1, ge=1, description="Fewest rows of a delivery.")
    volume_tolerance: float | None = Field(
        0.5, gt=0, description="Row count differs from the usual by at most this share."
    )
    volume_history: int = Field(7, ge=1, description="Deliveries whose median is the usual row count.")


class FeaturesSpec(_Frozen):
    """Which features the model uses."""

    service: str = Field(description="Name of the Feast feature service in feature_repo/.")


class LabelSpec(_Frozen):
    """What is to be learned or judged by, and when it is known."""

    column: str = Field(description="Column of the label.")
    source: SourceSpec | None = Field(None, description="Where labels are delivered; default: in the data itself.")
    arrival: str | None = Field(None, description="Column that says when the label became known.")
    horizon_hours: float = Field(0.0, ge=0, description="The label is the column's value this much later [h].")
    maturity_days: float = Field(0.0, ge=0, description="A label counts only this long after its event [d].")


class CandidateSpec(_Frozen):
    """An algorithm to try."""

    algorithm: str = Field(
        description="Name in the catalogue (isolation_forest, knn, …) or the dotted path of a class."
    )
    params: dict[str, Any] = Field(default_factory=dict, description="Arguments of the algorithm.")
    name: str = Field("", description="Name in reports. Default: the algorithm's.")
    per_entity: bool = Field(False, description="One model per entity instead of one for all.")
    scale: Literal["standard", "robust", "none"] = "standard"

    @cached_property
    def label(self) -> str:
        """The candidate's name in reports."""
        return self.name or self.algorithm.rsplit(".", 1)[-1]


class SplitSpec(_Frozen):
    """How time is cut: fit | gap | calibration | gap | holdout. Rows that judge come after rows that teach."""

    window_days: float = Field(14, gt=0, description="Length of the training window, holdout included [d].")
    holdout_days: float = Field(2, gt=0, description="Last part, only for the gates [d].")
    calibration_days: float = Field(
        2, ge=0, description="Part before it, for the alarm threshold [d]. 0: the threshold is set on the fit part."
    )
    folds: int = Field(
        3,
        ge=0,
        description="Time-ordered folds of cross-validation in the fit part. 0: judged on the calibration part.",
    )
    gap_hours: float = Field(0.0, ge=0, description="Left out between parts, at least the longest feature window [h].")
    max_fit_rows: int = Field(20_000, ge=100, description="Seeded sample of the fit part, if it is longer.")

    @model_validator(mode="after")
    def _parts_fit(self) -> SplitSpec:
        used = self.holdout_days + self.calibration_days + 2 * self.gap_hours / 24
        if used >= self.window_days:
            raise ValueError(
                f"holdout, calibration and gaps take {used:g} of {self.window_days:g} days: nothing is left to fit on"
            )
        if self.folds == 0 and self.calibration_days == 0:
            raise ValueError("folds 0 and calibration_days 0: nothing is left to choose a candidate by")
        return self


class ObjectiveSpec(_Frozen):
    """Which candidate is best."""

    metric: str = Field("", description="Metric; default: average_precision, roc_auc or mean_absolute_error by task.")
    unlabelled: str = Field("injected_recall", description="Anomaly only: the metric while no label is mature.")


class GatesSpec(_Frozen):
    """What must hold before a challenger may be promoted."""

    comparison: Literal["superiority", "non_inferiority"] = "superiority"
    margin: float = Field(
        0.0, ge=0, description="superiority: by more than this; non_inferiority: not worse by more than this."
    )
    alpha: float = Field(0.05, gt=0, lt=0.5, description="One-sided error rate of the comparison.")
    resamples: int = Field(500, ge=100, description="Bootstrap resamples.")
    block_hours: float = Field(6.0, gt=0, description="Rows of one entity within a block are resampled together [h].")
    min_rows: int = Field(200, ge=1, description="Fewer rows to judge on: cannot tell.")
    min_positives: int = Field(10, ge=1, description="Fewer positives to judge on: cannot tell.")
    floor: float | None = Field(None, description="The first champion's metric must reach this.")
    budget_slack: float = Field(2.0, ge=1, description="Alarms on the holdout may be this many times the budget.")
    max_row_latency_ms: float = Field(1_000.0, gt=0, description="Longest median time to score one row [ms].")


class PromotionSpec(_Frozen):
    """Who decides."""

    approval: Literal["automatic"] = "automatic"


class DriftSpec(_Frozen):
    """When data has moved so far from what the champion learned that somebody should know."""

    method: Literal["wasserstein", "ks", "psi"] = "wasserstein"
    columns: tuple[str, ...] = Field(
        (), description="Columns compared. Default: the features of the model, and its predictions."
    )
    min_effect: float = Field(0.1, ge=0, description="Smaller values of the measure never count.")
    headroom: float = Field(
        1.5, ge=1, description="Threshold: the reference's own largest day-to-rest value times this."
    )
    alarm_share: float = Field(0.3, gt=0, le=1, description="Alarm when this share of the columns drifts.")
    min_rows: int = Field(100, ge=1, description="Fewer rows on either side: cannot tell.")
    retrain: bool = Field(True, description="An alarm starts a training.")
    retrain_split: SplitSpec | None = Field(None, description="How time is cut after an alarm. Default: split.")
    cooldown_days: int = Field(1, ge=1, description="At most one training by drift in this many days.")


class ScheduleSpec(_Frozen):
    """When, in cron's words, UTC."""

    ingestion: str | None = Field("0 1 * * *", description="Ingestion, and with it features, scoring and monitoring.")
    training: str | None = Field(
        "0 3 * * *", description="Training; drift starts one too. null: by drift and by hand only."
    )


class AlertsSpec(_Frozen):
    """Who hears of it."""

    channels: tuple[Literal["log"], ...] = ("log",)
    runbook: str = Field("docs/runbook.md", description="Page that says what to do.")


class ModelSpec(_Frozen):
    """One model."""

    name: str = Field(description="Lower case letters, digits and _; names the registered model and the DAGs.")
    owner: str = Field(description="Team or e-mail that answers for it.")
    description: str = ""
    task: Task
    entity: str = Field(description="Join key column: what the rows are about.")
    timestamps: TimestampsSpec = TimestampsSpec()
    source: SourceSpec
    contract: ContractSpec
    features: FeaturesSpec
    label: LabelSpec | None = None
    candidates: tuple[CandidateSpec, ...] = Field(min_length=1)
    split: SplitSpec = SplitSpec()
    objective: ObjectiveSpec = ObjectiveSpec()
    alerts_per_entity_day: float = Field(
        0.1, gt=0, description="Alert budget of an anomaly model: alarms per entity and day."
    )
    gates: GatesSpec = GatesSpec()
    promotion: PromotionSpec = PromotionSpec()
    drift: DriftSpec = DriftSpec()
    schedule: ScheduleSpec = ScheduleSpec()
    alerts: AlertsSpec = AlertsSpec()
    seed: int = Field(0, ge=0, description="Seed of everything random.")

    @field_validator("name")
    @classmethod
    def _plain_name(cls, value: str) -> str:
        if not _NAME.match(value):
            raise ValueError(f"{value!r} must be lower case letters, digits and _, starting with a letter")
        return value

    @model_validator(mode="after")
    def _whole(self) -> ModelSpec:
        if self.task != "anomaly" and self.label is None:
            raise ValueError(f"task {self.task} needs a label")
        labels = [candidate.label for candidate in self.candidates]
        if len(set(labels)) != len(labels):
            raise ValueError(f"candidates {labels} share a name: give each its own `name`")
        if self.objective.metric and self.objective.metric not in OBJECTIVES[self.task]:
            hint = did_you_mean(self.objective.metric, OBJECTIVES[self.task])
            raise ValueError(f"objective.metric {self.objective.metric!r} cannot decide a {self.task} model. {hint}")
        for column in (self.entity, self.timestamps.event):
            if column in self.contract.columns:
                raise ValueError(f"contract.columns lists {column!r}; entity and timestamps are checked without it")
        return self

    @property
    def dataset(self) -> str:
        """Name of the data set this model reads."""
        return self.source.dataset or self.name

    @property
    def metric(self) -> str:
        """The metric that decides when labels are there."""
        default = {"anomaly": "average_precision", "classification": "roc_auc", "regression": "mean_absolute_error"}
        return self.objective.metric or default[self.task]

    @property
    def known_at(self) -> str:
        """The column that says when a row became known."""
        return self.timestamps.arrival or self.timestamps.event

    @cached_property
    def training_hash(self) -> str:
        """sha256 over the parts that change what is learned (owner, schedule and the like are not among them)."""
        parts = {
            "name",
            "task",
            "entity",
            "timestamps",
            "features",
            "label",
            "candidates",
            "split",
            "objective",
            "alerts_per_entity_day",
            "seed",
        }
        dumped = self.model_dump(mode="json", include=parts)
        return hashlib.sha256(json.dumps(dumped, sort_keys=True).encode()).hexdigest()


def load_spec(path: Path, variables: Mapping[str, str]) -> ModelSpec:
    """Read and check one spec.

    Args:
        path: the YAML file.
        variables: values for `${NAME}` in it.

    Raises:
        SpecError: not readable, not YAML, or not a valid spec; the message names every wrong key.
    """
    try:
        loaded = yaml.load(path.read_text(encoding="utf-8"), Loader=_LOADER)
    except OSError as error:
        raise SpecError(f"{path} cannot be read: {error.strerror}.") from error
    except yaml.YAMLError as error:
        raise SpecError(f"{path} is not valid YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(loaded, dict):
        raise SpecError(
            f"{path} holds {type(loaded).__name__}, expected keys and values.", hint="See README, 'Your own data'."
        )
    try:
        spec = ModelSpec.model_validate(_expanded(loaded, variables))
    except ConfigError as error:
        raise SpecError(f"{path}: {error}") from error
    except ValidationError as error:
        lines = "\n".join(f"  {_explain(dict(item))}" for item in error.errors())
        raise SpecError(f"{path} is not a valid model spec:\n{lines}") from error
    if spec.name != path.stem:
        raise SpecError(
            f"{path} names the model {spec.name!r}.", hint=f"Rename the file to {spec.name}.yaml, or the model."
        )
    return spec


def load_specs(folder: Path, variables: Mapping[str, str]) -> dict[str, ModelSpec]:
    """All specs of a folder by name, sorted. The first wrong one raises `SpecError`."""
    return {path.stem: load_spec(path, variables) for path in sorted(folder.glob("*.yaml"))}


def find_spec(folder: Path, name: str, variables: Mapping[str, str]) -> ModelSpec:
    """The spec of one model by its name.

    Raises:
        SpecError: there is none of that name, or it is wrong.
    """
    path = folder / f"{name}.yaml"
    if not path.exists():
        known = [p.stem for p in folder.glob("*.yaml")]
        raise SpecError(f"No model {name!r} in {folder}.", hint=did_you_mean(name, known))
    return load_spec(path, variables)


def _expanded(value: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return expand(value, variables)
    if isinstance(value, dict):
        return {key: _expanded(item, variables) for key, item in value.items()}
    if isinstance(value, list):
        return [_expanded(item, variables) for item in value]
    return value


def _explain(item: dict[str, Any]) -> str:
    """One validation error in words: where, what was wrong, what was given, what was probably meant."""
    where = ".".join(str(part) for part in item["loc"]) or "spec"
    if item["type"] == "extra_forbidden":
        return f"{where}: unknown key. {did_you_mean(str(item['loc'][-1]), _keys_at(item['loc'][:-1]))}"
    if item["type"] == "missing":
        return f"{where}: missing. Add it."
    message = str(item["msg"]).removeprefix("Value error, ")
    given = item.get("input")
    return f"{where}: {message}" + (f" (given: {given!r})." if isinstance(given, str | int | float | bool) else ".")


def _keys_at(loc: tuple[Any, ...]) -> list[str]:
    """Names of the keys allowed at a location, found by walking the types."""
    kind: Any = ModelSpec
    for part in loc:
        model = _model_in(kind)
        if isinstance(part, str) and model is not None and part in model.model_fields:
            kind = model.model_fields[part].annotation
        elif get_args(kind):
            kind = get_args(kind)[-1] if get_origin(kind) is dict else get_args(kind)[0]
    model = _model_in(kind)
    return list(model.model_fields) if model is not None else []


def nested_spec(kind: Any) -> type[BaseModel] | None:
    """The part of a spec that a type annotation holds: itself, or inside a list, a mapping or an optional."""
    found = _model_in(kind)
    return found or next((inner for arg in get_args(kind) if (inner := nested_spec(arg)) is not None), None)


def _model_in(kind: Any) -> type[BaseModel] | None:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind
    if get_origin(kind) in (Union, UnionType):
        return next((found for arg in get_args(kind) if (found := _model_in(arg)) is not None), None)
    return None

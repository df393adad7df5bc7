"""One model: all parts of its spec together, and what must agree between them."""

from __future__ import annotations

import hashlib
import json
import re
from functools import cached_property

from pydantic import Field, field_validator, model_validator

from mlops.errors import did_you_mean
from mlops.spec.data import ContractSpec, LabelSpec, SourceSpec, TimestampsSpec
from mlops.spec.frozen import Frozen
from mlops.spec.gates import GatesSpec
from mlops.spec.learning import OBJECTIVES, CandidateSpec, FeaturesSpec, ObjectiveSpec, SplitSpec, Task
from mlops.spec.operation import AlertsSpec, DriftSpec, ScheduleSpec
from mlops.spec.promotion import PromotionSpec
from mlops.spec.retention import RetentionSpec
from mlops.spec.retraining import RetrainingSpec
from mlops.spec.serving import ServingSpec

_NAME = re.compile(r"^[a-z][a-z0-9_]{1,62}$")


class ModelSpec(Frozen):
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
    retention: RetentionSpec = RetentionSpec()
    drift: DriftSpec = DriftSpec()
    retraining: RetrainingSpec | None = Field(
        None, description="When monitoring starts a training beside the schedule and drift; see docs/backtest.md."
    )
    schedule: ScheduleSpec = ScheduleSpec()
    alerts: AlertsSpec = AlertsSpec()
    serving: ServingSpec = ServingSpec()
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
        if self.label and (kept := self.retention.predictions_days) and kept <= self.label.maturity_days:
            raise ValueError(
                f"retention.predictions_days {kept} must be above label.maturity_days {self.label.maturity_days}: "
                "predictions are needed until their labels are mature"
            )
        if self.retraining is not None and self.retraining.drift and self.drift.retrain:
            raise ValueError(
                "drift starts a training by drift.retrain and by retraining.drift: set one of them to false"
            )
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

"""One YAML file per model: what it learns, from what, when, and what must hold before it goes into production.

`load_spec` reads one, `load_specs` a folder. Everything is frozen; unknown keys are refused with the name that was
probably meant. `ModelSpec.model_json_schema()` is the JSON schema for editors (`mlops spec schema`).

One rule: a spec says *what*; where things live is said by `MLOpsConfig`.
"""

from __future__ import annotations

from mlops.spec.data import (
    ColumnContract,
    ContractSpec,
    DistributionSpec,
    KnownEntitiesSpec,
    LabelSpec,
    QuerySpec,
    SourceSpec,
    TimestampsSpec,
)
from mlops.spec.gates import GatesSpec
from mlops.spec.learning import OBJECTIVES, CandidateSpec, FeaturesSpec, ObjectiveSpec, SplitSpec, Task
from mlops.spec.loading import find_spec, load_policies, load_spec, load_specs, nested_spec
from mlops.spec.model import ModelSpec
from mlops.spec.operation import AlertsSpec, DriftSpec, ScheduleSpec
from mlops.spec.promotion import PromotionSpec
from mlops.spec.retention import RetentionSpec
from mlops.spec.retraining import BacktestPolicy, CostTrigger, PerformanceTrigger, PoliciesSpec, RetrainingSpec
from mlops.spec.serving import PredictionLogSpec, ServingSpec

__all__ = [
    "OBJECTIVES",
    "AlertsSpec",
    "BacktestPolicy",
    "CandidateSpec",
    "ColumnContract",
    "ContractSpec",
    "CostTrigger",
    "DistributionSpec",
    "DriftSpec",
    "FeaturesSpec",
    "GatesSpec",
    "KnownEntitiesSpec",
    "LabelSpec",
    "ModelSpec",
    "ObjectiveSpec",
    "PerformanceTrigger",
    "PoliciesSpec",
    "PredictionLogSpec",
    "PromotionSpec",
    "QuerySpec",
    "RetentionSpec",
    "RetrainingSpec",
    "ScheduleSpec",
    "ServingSpec",
    "SourceSpec",
    "SplitSpec",
    "Task",
    "TimestampsSpec",
    "find_spec",
    "load_policies",
    "load_spec",
    "load_specs",
    "nested_spec",
]

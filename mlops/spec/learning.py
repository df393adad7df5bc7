"""The parts of a spec that say what is learned, from which stretch of time, and what is best."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal

from pydantic import Field, model_validator

from mlops.spec.frozen import Frozen

Task = Literal["anomaly", "classification", "regression"]
# Metrics that a paired comparison of challenger and champion can be made with, by task.
OBJECTIVES: Mapping[str, tuple[str, ...]] = {
    "anomaly": ("average_precision", "roc_auc"),
    "classification": ("roc_auc", "average_precision", "log_loss", "brier", "accuracy", "f1"),
    "regression": ("mean_absolute_error", "root_mean_squared_error", "median_absolute_error", "r2"),
}


class FeaturesSpec(Frozen):
    """Which features the model uses."""

    service: str = Field(description="Name of the Feast feature service in feature_repo/.")


class CandidateSpec(Frozen):
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


class SplitSpec(Frozen):
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


class ObjectiveSpec(Frozen):
    """Which candidate is best."""

    metric: str = Field("", description="Metric; default: average_precision, roc_auc or mean_absolute_error by task.")
    unlabelled: str = Field("injected_recall", description="Anomaly only: the metric while no label is mature.")

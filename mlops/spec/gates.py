"""The part of a spec that says what must hold before a challenger may be promoted."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mlops.spec.frozen import Frozen


class GatesSpec(Frozen):
    """What must hold before a challenger may be promoted."""

    comparison: Literal["superiority", "non_inferiority"] = "superiority"
    margin: float = Field(
        0.0, ge=0, description="superiority: by more than this; non_inferiority: not worse by more than this."
    )
    alpha: float = Field(0.05, gt=0, lt=0.5, description="One-sided error rate of the comparison.")
    method: Literal["auto", "linear", "bootstrap"] = Field(
        "auto",
        description="How the bound is made: linear (for ROC AUC: DeLong's), bootstrap, or auto: linear for ROC AUC and "
        "means of losses, bootstrap for others.",
    )
    resamples: int = Field(500, ge=100, description="Bootstrap resamples.")
    block_hours: float = Field(6.0, gt=0, description="Rows of one entity within a block are resampled together [h].")
    min_rows: int = Field(200, ge=1, description="Fewer rows to judge on: cannot tell.")
    min_positives: int = Field(10, ge=1, description="Fewer positives to judge on: cannot tell.")
    floor: float | None = Field(None, description="The first champion's metric must reach this.")
    budget_slack: float = Field(2.0, ge=1, description="Alarms on the holdout may be this many times the budget.")
    max_row_latency_ms: float = Field(1_000.0, gt=0, description="Longest median time to score one row [ms].")

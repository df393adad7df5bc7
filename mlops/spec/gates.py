"""The part of a spec that says what must hold before a challenger may be promoted."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from mlops.errors import did_you_mean
from mlops.spec.frozen import Frozen

GATE_NAMES = (
    "not_the_champion",
    "no_leakage",
    "label_health",
    "scores_finite",
    "score_distribution",
    "enough_evidence",
    "better_than_champion",
    "reaches_floor_and_beats_dummy",
    "no_slice_harmed",
    "stable_over_time",
    "events_found",
    "alert_budget_kept",
    "agrees_with_champion",
    "signature_unchanged",
    "compiled_equals_plain",
    "latency",
    "size",
)


class GatesSpec(Frozen):
    """What must hold before a challenger may be promoted."""

    comparison: Literal["superiority", "non_inferiority"] = "superiority"
    margin: float = Field(
        0.0, ge=0, description="superiority: by more than this; non_inferiority: not worse by more than this."
    )
    alpha: float = Field(
        0.05,
        gt=0,
        lt=0.5,
        description="One-sided error rate of the comparison; false discovery rate of slices.",
    )
    method: Literal["auto", "linear", "bootstrap"] = Field(
        "auto",
        description="How the bound is made: linear (for ROC AUC: DeLong's), bootstrap, or auto: linear for ROC AUC, "
        "average precision and means of losses, bootstrap for others.",
    )
    resamples: int = Field(500, ge=100, description="Bootstrap resamples.")
    blocks: Literal["entity", "time", "both"] | None = Field(
        None,
        description="Rows that may depend on one another: of one entity within block_hours (entity), of all entities "
        "within block_hours (time), or either (both). Default: entity; for regression both.",
    )
    block_hours: float = Field(
        6.0, gt=0, description="Length of a block, about as long as what ties rows together, or longer [h]."
    )
    min_rows: int = Field(200, ge=1, description="Fewer rows to judge on: cannot tell.")
    min_positives: int = Field(10, ge=1, description="Fewer positives to judge on: cannot tell.")
    floor: float | None = Field(None, description="The first champion's metric must reach this.")
    slices: tuple[str, ...] | None = Field(
        None, description="Columns (entity or features) whose groups are judged apart. Default: the entity; []: none."
    )
    slice_min_rows: int = Field(100, ge=10, description="A slice or stretch with fewer labelled rows is not judged.")
    tolerance: float = Field(
        0.1,
        ge=0,
        description="In a slice or stretch the challenger may err more than the champion by this share of its error.",
    )
    false_discovery: Literal["bh", "by"] = Field(
        "bh", description="Benjamini-Hochberg, or Benjamini-Yekutieli where slices depend on one another."
    )
    stretches: int = Field(4, ge=0, description="Equal stretches of the holdout that are judged apart. 0: none.")
    budget_slack: float = Field(2.0, ge=1, description="Alarms on the holdout may be this many times the budget.")
    max_row_latency_ms: float = Field(1_000.0, gt=0, description="Longest median time to score one row [ms].")
    max_size_mb: float = Field(500.0, gt=0, description="Largest model: all files that are stored and signed [MB].")
    signature_changes: tuple[str, ...] = Field(
        (), description="Features that may come or go against the champion; `*`: any."
    )
    entities: Literal["shared", "apart"] = Field(
        "shared", description="apart: an entity that taught must not judge (for models that meet new entities)."
    )
    believable: float = Field(
        0.999, gt=0.5, le=1, description="A feature whose own ROC AUC is above this has seen the label."
    )
    max_copies: float = Field(
        0.05,
        ge=0,
        le=1,
        description="Share of judging rows that may copy teaching rows, beyond natural repeats.",
    )
    max_tied_share: float = Field(0.95, gt=0, le=1, description="Share of rows that may have one and the same score.")
    min_agreement: float = Field(
        0.2, ge=-1, le=1, description="Without labels: least rank correlation with the champion's scores."
    )
    advisory: tuple[str, ...] = Field(
        (), description="Gates that are shown but do not decide: " + ", ".join(GATE_NAMES) + "."
    )

    @field_validator("advisory")
    @classmethod
    def _known_gates(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if name not in GATE_NAMES:
                raise ValueError(f"{name!r} is no gate. {did_you_mean(name, GATE_NAMES)}".strip())
        return value

"""The part of a spec that says how long what a model has left behind is kept."""

from __future__ import annotations

from pydantic import Field

from mlops.spec.frozen import Frozen


class RetentionSpec(Frozen):
    """What `mlops gc` may delete. Whatever is in use, held or waiting for a decision stays anyway."""

    automatic: bool = Field(
        False, description="The maintenance DAG deletes what may go. Default: it only says what would."
    )
    keep_versions: int = Field(3, ge=1, description="Former champions that stay, so that a rollback can reach them.")
    keep_days: int = Field(
        30,
        ge=1,
        description="Versions, runs and training sets stay this long once made, champions once displaced.",
    )
    predictions_days: int | None = Field(
        None, ge=1, description="Predictions for dates longer ago than this are deleted. null: never."
    )
    reports_days: int | None = Field(
        None,
        ge=1,
        description="Reports of dates longer ago than this are deleted, but not the evidence of a version that stays. "
        "null: never.",
    )
    prediction_log_days: int | None = Field(
        None,
        ge=1,
        description="What serving logged on dates longer ago than this is deleted, but not the dates of an experiment "
        "that runs. null: never.",
    )
    backtests_days: int | None = Field(
        None, ge=1, description="Backtests that nobody has touched for longer than this are deleted. null: never."
    )

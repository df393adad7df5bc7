"""The parts of a spec about a model in production: drift, schedule, alerts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from pydantic import Field, field_validator

from mlops.spec.frozen import Frozen
from mlops.spec.learning import SplitSpec


class DriftSpec(Frozen):
    """When data has moved so far from what the champion learned that somebody should know."""

    method: Literal["wasserstein", "ks", "psi", "jensen_shannon", "total_variation", "chi2"] = Field(
        "wasserstein", description="The measure for numbers and times of day."
    )
    category_method: Literal["psi", "jensen_shannon", "total_variation", "chi2"] = Field(
        "total_variation", description="The measure for text and booleans."
    )
    joint: tuple[Literal["pca_reconstruction", "correlation", "domain_classifier", "mmd"], ...] = Field(
        ("pca_reconstruction", "correlation"),
        description="Measures of the table as a whole; the last two learn or compare rows.",
    )
    concept: tuple[Literal["adwin", "page_hinkley", "ddm"], ...] = Field(
        ("adwin", "page_hinkley"),
        description="Detectors of growing errors, where labels are mature: shown, not acted on.",
    )
    concept_days: int = Field(14, ge=2, description="Nights of mature labels whose errors they look at.")
    columns: tuple[str, ...] = Field(
        (), description="Columns compared. Default: the features of the model, and its predictions."
    )
    false_alarms_per_month: float = Field(
        1.0, gt=0, le=15, description="The budget: on data that has not changed, at most so many alarms in 30 nights."
    )
    false_discovery_rate: float = Field(
        0.05, gt=0, le=0.5, description="Of the columns that an alarm names, at most this share is wrong on average."
    )
    min_effect: float = Field(0.1, ge=0, description="Smaller values of the measure never count.")
    min_consequence: float = Field(
        0.1,
        ge=0,
        description="Drift has a consequence from this change of the scores on, in their standard deviations.",
    )
    min_rows: int = Field(100, ge=1, description="Fewer rows on either side: cannot tell.")
    act_on: Literal["consequence", "any"] = Field(
        "consequence",
        description="Which drift raises an incident and starts a training: one with a consequence, or any.",
    )
    retrain: bool = Field(True, description="Drift starts a training.")
    retrain_after_days: int = Field(
        0,
        ge=0,
        description="The training waits until the change lies so far back that there is something to learn from.",
    )
    retrain_split: SplitSpec | None = Field(None, description="How time is cut after an alarm. Default: split.")
    cooldown_days: int = Field(7, ge=1, description="At most one training by drift in this many days.")


class ScheduleSpec(Frozen):
    """When, in cron's words, UTC."""

    ingestion: str | None = Field("0 1 * * *", description="Ingestion, and with it features, scoring and monitoring.")
    training: str | None = Field(
        "0 3 * * *", description="Training; drift starts one too. null: by drift and by hand only."
    )

    @field_validator("ingestion", "training")
    @classmethod
    def _is_cron(cls, value: str | None) -> str | None:
        from croniter import CroniterError, croniter

        if value is None:
            return None
        try:
            croniter(value, datetime(2024, 1, 1, tzinfo=UTC)).get_next()
        except (CroniterError, ValueError) as error:
            why = str(error).rstrip(".")
            raise ValueError(
                f"{value!r} is not cron: {why}. Write minute, hour, day of month, month and day of week, "
                "for example '0 3 * * *' for 03:00 UTC every night"
            ) from error
        return value


class AlertsSpec(Frozen):
    """Who hears of it, and how often."""

    channels: tuple[str, ...] = Field(
        ("log",), description="Names of channels: `log`, and those that the settings define (docs/incidents.md)."
    )
    runbook: str = Field("docs/runbook.md", description="Page that says what to do.")
    repeat_hours: float = Field(
        20, gt=0, description="An open incident is told of again after so long, then after twice that, up to a week."
    )
    reopen_hours: float = Field(
        72, ge=0, description="What comes back within so long after it was over is the same incident."
    )
    flaps: int = Field(2, ge=1, description="From so many returns on it is flapping, and told of like a reminder.")

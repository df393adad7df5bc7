"""The parts of a spec about a model in production: drift, schedule, alerts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from pydantic import Field, field_validator

from mlops.spec.frozen import Frozen
from mlops.spec.learning import SplitSpec


class DriftSpec(Frozen):
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
    """Who hears of it."""

    channels: tuple[Literal["log"], ...] = ("log",)
    runbook: str = Field("docs/runbook.md", description="Page that says what to do.")

"""When to train again: the triggers of a policy, in a model's spec or among the policies of a backtest."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from mlops.spec.frozen import Frozen


class PerformanceTrigger(Frozen):
    """Train when the truth, as far as it has arrived, says that the champion has become worse."""

    worse_by: float = Field(gt=0, description="Worse than it was when new by so much, in the objective's metric.")
    nights: int = Field(
        3, ge=1, description="So many nights of each are averaged, so that a single bad one does not count."
    )


class CostTrigger(Frozen):
    """Train when what a worse champion has cost by now adds up to what a training costs."""

    training_cost: float = Field(gt=0, description="Cost of a training, in units of the objective's metric × nights.")


class RetrainingSpec(Frozen):
    """When a new challenger is trained. No trigger: never."""

    every_days: int | None = Field(None, ge=1, description="So many days after the last training.")
    drift: bool = Field(False, description="Drift on which the spec's `drift.act_on` acts.")
    performance: PerformanceTrigger | None = Field(None, description="The champion has become worse.")
    labels: int | None = Field(None, ge=1, description="So many labels have matured since the last training.")
    cost: CostTrigger | None = Field(None, description="What waiting has cost reaches what a training costs.")
    need: Literal["any", "all"] = Field("any", description="One trigger is enough, or all must agree.")
    cooldown_days: int = Field(0, ge=0, description="Days without a training after one.")
    budget_per_month: int | None = Field(None, ge=1, description="At most so many trainings in 30 days.")

    @property
    def triggers(self) -> tuple[str, ...]:
        """Names of the triggers that are set."""
        names = ("every_days", "drift", "performance", "labels", "cost")
        return tuple(name for name in names if getattr(self, name))

    @model_validator(mode="after")
    def _can_happen(self) -> Self:
        if self.need == "all" and len(self.triggers) < 2:
            raise ValueError("need: all asks for two triggers or more; with one, leave it out")
        return self


class BacktestPolicy(RetrainingSpec):
    """A policy to be tried on history."""

    oracle: bool = Field(False, description="Every night the version that its truth will prefer: what could be had.")

    @model_validator(mode="after")
    def _one_or_the_other(self) -> Self:
        if self.oracle and self.triggers:
            raise ValueError("oracle knows the truth and has no triggers; make it a policy of its own")
        return self


class PoliciesSpec(Frozen):
    """A file of policies for `mlops backtest`."""

    policies: dict[str, BacktestPolicy] = Field(min_length=1, description="By name, in the order of the table.")

"""The spec of an experiment: who meets which version of a model, by what it is judged, and when it ends.

One YAML file per experiment in `config/experiments/`, named after it.

One rule: what decides an experiment is written before it starts. A change to the file does not touch one that runs.
"""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator, model_validator

from mlops.spec.data import SourceSpec
from mlops.spec.frozen import Frozen

_NAME = re.compile(r"^[a-z][a-z0-9_]{0,62}$")


class VariantSpec(Frozen):
    """One variant: a version of the model."""

    name: str = Field(description="Lower case letters, digits and _.")
    version: int | Literal["champion", "challenger"] = Field(
        description="Which version; the aliases are resolved when the experiment starts, and stay what they were then."
    )
    weight: float = Field(1.0, ge=0, description="Its part of the units, against those of the others.")


class MetricSpec(Frozen):
    """What the variants are compared by, per unit."""

    kind: Literal["proportion", "mean", "ratio"] = "mean"
    column: str = Field(description="The outcome; of a unit with several rows the sum (proportion: any; mean: mean).")
    denominator: str = Field("", description="ratio: what the outcome is divided by.")
    covariate: str = Field("", description="Known of the unit from before the experiment: less variance (CUPED).")
    covariate_denominator: str = Field("", description="ratio: the covariate's denominator.")
    better: Literal["higher", "lower"] = "higher"
    minimum_effect: float = Field(gt=0, description="Smallest difference worth finding, in the outcome's unit.")

    @model_validator(mode="after")
    def _whole(self) -> MetricSpec:
        ratio = self.kind == "ratio"
        if ratio != bool(self.denominator):
            raise ValueError("kind ratio needs a denominator, and only ratio takes one")
        if (ratio and bool(self.covariate)) != bool(self.covariate_denominator):
            raise ValueError("covariate_denominator goes with the covariate of a ratio, and only there")
        return self


class GuardrailSpec(Frozen):
    """What the treatment must not harm, whatever it gains."""

    name: str
    kind: Literal["proportion", "mean"] = "mean"
    column: str = Field(description="The outcome.")
    better: Literal["higher", "lower"] = "lower"
    tolerance: float = Field(0.0, ge=0, description="So much worse than the control it may be, in the outcome's unit.")


class OutcomesSpec(Frozen):
    """Where outcomes are read from: a table per date, a row per unit and moment."""

    source: SourceSpec | None = Field(
        None, description="The table. Default: the model's prediction log, joined with its mature labels."
    )
    unit: str = Field(
        "",
        description="Column of the unit. Default: the model's entity; of the prediction log what a request is routed "
        "by: its first row's entity, else its id.",
    )
    variant: str = Field(
        "variant", description="Column of the variant's name. Without such a column, `model_version` tells it."
    )


class DecisionSpec(Frozen):
    """When it ends, and what follows."""

    alpha: float = Field(0.05, gt=0, lt=0.5, description="Error rate of all nightly looks together.")
    power: float = Field(0.8, gt=0.5, lt=1, description="Probability to find the smallest effect worth finding.")
    sides: Literal[1, 2] = Field(2, description="1: only a better treatment is a finding; 2: a worse one as well.")
    spending: Literal["obrien_fleming", "pocock", "linear"] = Field(
        "obrien_fleming", description="How alpha is spent over the nights: late, early, evenly."
    )
    days: int = Field(28, ge=1, le=1_000, description="Planned nights; at the last one it is decided.")
    min_units: int = Field(100, ge=2, description="Fewer units of a variant: cannot tell.")
    mismatch_alpha: float = Field(0.001, gt=0, lt=0.1, description="Error rate of the check of the variants' shares.")
    on_win: Literal["report", "promote"] = Field(
        "report", description="promote: the winner goes through the normal promotion, with all its checks."
    )


class CanarySpec(Frozen):
    """How a canary grows, and what takes it back."""

    steps: tuple[float, ...] = Field(
        (0.01, 0.05, 0.25, 0.5), min_length=1, description="Shares of the treatment, growing."
    )
    min_units: int = Field(1_000, ge=1, description="Units of the treatment to be seen before the next step.")
    alpha: float = Field(0.01, gt=0, lt=0.5, description="Probability to take back a treatment that harms nothing.")
    max_error_ratio: float = Field(1.0, ge=1, description="Errors may be so many times as frequent as the control's.")
    max_slow_ratio: float = Field(1.2, ge=1, description="Slow answers likewise; what is slow, slow_ms says.")
    max_score_ratio: float = Field(2.0, ge=1, description="Shares of the scores' ranges may differ by this factor.")
    slow_ms: float = Field(100.0, gt=0, description="An answer that took longer is slow [ms].")

    @field_validator("steps")
    @classmethod
    def _grow(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if any(not 0 < step < 1 for step in value) or list(value) != sorted(set(value)):
            raise ValueError(f"steps {list(value)} must grow within (0, 1): at 1 there is no control left")
        return value


class BanditSpec(Frozen):
    """How a bandit chooses."""

    kind: Literal["epsilon_greedy", "ucb1", "thompson_bernoulli", "thompson_gaussian"] = "thompson_bernoulli"
    floor: float = Field(0.05, ge=0, le=0.5, description="Share of the traffic that every arm keeps.")
    epsilon: float = Field(0.1, ge=0, le=1, description="epsilon_greedy: share of choices by chance.")
    discount: float = Field(1.0, gt=0, le=1, description="What a reward counts one reward later; 1: for ever.")
    window: int = Field(0, ge=0, description="Only so many of the newest rewards count; 0: all.")


class ExperimentSpec(Frozen):
    """One experiment."""

    name: str = Field(description="Lower case letters, digits and _.")
    model: str = Field(description="The model whose versions meet.")
    owner: str = Field(description="Team or e-mail that answers for it.")
    description: str = ""
    kind: Literal["ab", "canary", "shadow", "bandit"] = "ab"
    layer: str = Field("", description="Experiments of one layer share its units out. Default: the model's own layer.")
    slice: tuple[float, float] = Field(
        (0.0, 1.0), description="The part of the layer's units that is in the experiment, from and to, within [0, 1]."
    )
    variants: tuple[VariantSpec, ...] = Field(min_length=2, description="The first one is the control.")
    overrides: dict[str, str] = Field(
        default_factory=dict, description="Units that get a variant by name, for testing; they do not count."
    )
    metric: MetricSpec | None = Field(None, description="ab: what decides. bandit: the reward of a row.")
    guardrails: tuple[GuardrailSpec, ...] = Field((), description="ab: what must not be harmed.")
    outcomes: OutcomesSpec = OutcomesSpec()
    decision: DecisionSpec = DecisionSpec()
    canary: CanarySpec = CanarySpec()
    bandit: BanditSpec = BanditSpec()

    @field_validator("name")
    @classmethod
    def _plain_name(cls, value: str) -> str:
        if not _NAME.match(value):
            raise ValueError(f"{value!r} must be lower case letters, digits and _, starting with a letter")
        return value

    @model_validator(mode="after")
    def _fits(self) -> ExperimentSpec:
        names = [variant.name for variant in self.variants]
        if len(set(names)) != len(names) or not all(map(_NAME.match, names)):
            raise ValueError(f"variants {names} need plain names, each its own")
        if not 0 <= self.slice[0] < self.slice[1] <= 1:
            raise ValueError(f"slice {list(self.slice)} must be from and to within [0, 1]")
        if self.kind in ("canary", "shadow") and len(names) != 2:
            raise ValueError(f"a {self.kind} has two variants, the control and the treatment; given {names}")
        if self.kind in ("ab", "bandit") and self.metric is None:
            raise ValueError(f"a {self.kind} experiment needs a metric that decides")
        if self.kind == "ab" and any(variant.weight <= 0 for variant in self.variants):
            raise ValueError("every variant of an ab experiment needs a weight above 0")
        if self.kind == "bandit" and self.bandit.floor * len(names) > 1:
            raise ValueError(f"bandit.floor {self.bandit.floor} for {len(names)} arms is more than all traffic")
        for unit, name in self.overrides.items():
            if name not in names:
                raise ValueError(f"overrides.{unit}: there is no variant {name!r} among {names}")
        guards = [guardrail.name for guardrail in self.guardrails]
        if len(set(guards)) != len(guards):
            raise ValueError(f"guardrails {guards} share a name: give each its own")
        return self

    @property
    def layer_name(self) -> str:
        """The layer it takes its units from."""
        return self.layer or f"model/{self.model}"

    @property
    def control(self) -> VariantSpec:
        """The first variant."""
        return self.variants[0]

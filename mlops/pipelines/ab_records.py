"""What a nightly look at experiments says: records as those of `mlops.records`, for this room alone.

One rule: a look is built once and never changed.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class VariantEffect:
    """A treatment against the control at one look."""

    variant: str
    units: int
    value: float  # the metric
    effect_size: float  # treatment − control
    low: float | None  # repeated confidence interval; None: open, as early looks are
    high: float | None
    pvalue: float
    statistic: float  # Z, positive is better
    bound: float | None  # what Z has to exceed; None: this look cannot end it
    crossed: Literal["above", "below", "inside"]
    harmed: tuple[str, ...] = ()  # guardrails that are shown to be harmed


@dataclass(frozen=True, slots=True)
class ExperimentLook:
    """What one night's look at an experiment says."""

    experiment: str
    model: str
    date: dt.date
    number: int  # of the look: 1, 2, 3, …; 0: no look was made
    decision: Literal["continue", "winner", "no_difference", "invalid", "cannot_tell"]
    reason: str
    control: str = ""
    control_value: float | None = None
    winner: str = ""  # the variant that won; the control's name if treatments are shown to be worse
    version: int | None = None  # the winner's
    effects: tuple[VariantEffect, ...] = ()
    units: dict[str, int] = field(default_factory=dict)  # by variant, all that were assigned
    mismatch_pvalue: float | None = None  # always valid, of the variants' shares
    information: float = 0.0
    spent_at: float = 0.0  # share of the planned nights
    report_uri: str = ""


@dataclass(frozen=True, slots=True)
class ExperimentNight:
    """All looks of a night at the experiments of a model."""

    model: str
    date: dt.date
    looks: tuple[ExperimentLook, ...]
    version: int | None = None  # that was promoted
    promoted: bool = False

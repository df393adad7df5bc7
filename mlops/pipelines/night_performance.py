"""What is known of the predictions of nights, as it is kept and handed on; made in `performance`."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from mlops.monitoring.estimates import Estimate


@dataclass(frozen=True, slots=True)
class NightPerformance:
    """What is known of the predictions of one night."""

    date: dt.date
    version: int
    rows: int
    labelled: int  # rows whose label is mature
    estimated: tuple[Estimate, ...] = ()  # without labels
    realised: tuple[Estimate, ...] = ()  # with labels; the interval is what other rows like these might have given
    held: dict[str, bool] | None = None  # by metric, whether the truth lay in the estimate's interval
    reason: str = ""  # why nothing was measured


@dataclass(frozen=True, slots=True)
class Performance:
    """The nights of a model up to a date, oldest first."""

    model: str
    metric: str  # the one that decides
    nights: tuple[NightPerformance, ...]

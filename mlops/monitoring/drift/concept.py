"""Has the relation between rows and truth changed, once the truth is known: streams of errors under river's detectors.

Errors of rows that are neighbours in time depend on one another, and these detectors assume that they do not: they are
given the mean error of each hour, in standard deviations of the first hours, but for DDM, which counts whole errors.

One rule: a stream that is too short is "cannot tell", and a detector says only since when errors have grown.

References:
    Bifet, A. and Gavaldà, R. (2007), Learning from time-changing data with adaptive windowing (ADWIN).
    Page, E. (1954), Continuous inspection schemes (Page-Hinkley).
    Gama, J. et al. (2004), Learning with drift detection (DDM).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from mlops.monitoring.drift.measures import Floats
from mlops.monitoring.drift.windows import utc
from mlops.records import ConceptDrift

FEWEST_HOURS = 48  # of which the first half says what is usual
_ALLOWANCE, _LIMIT = 0.5, 12.0  # Page-Hinkley: growth that does not count, and what it may add up to, in σ


def concept_drift(errors: Floats, times: Any, detectors: Sequence[str]) -> tuple[ConceptDrift, ...]:
    """What each detector says of a stream of errors.

    Args:
        errors: shape (n_rows,), ≥ 0: 0 and 1 for answers that are right or wrong, else the size of the error.
        times: shape (n_rows,), when each row happened.
        detectors: of adwin, page_hinkley and ddm (which needs right or wrong).

    Returns:
        One answer a detector.
    """
    stream = pd.Series(np.asarray(errors, dtype=float), index=utc(times)).sort_index(kind="stable").dropna()
    hourly = stream.groupby(pd.DatetimeIndex(stream.index).floor("h")).mean()
    return tuple(_answer(name, stream, hourly) for name in detectors)


def _answer(name: str, stream: pd.Series, hourly: pd.Series) -> ConceptDrift:
    if len(hourly) < FEWEST_HOURS:
        why = f"{len(hourly)} hours with known errors, {FEWEST_HOURS} are needed"
        return ConceptDrift(name, "cannot_tell", None, why)
    if name == "ddm":
        if not np.isin(stream.to_numpy(), (0.0, 1.0)).all():
            return ConceptDrift(name, "cannot_tell", None, "DDM counts wrong answers; these errors have a size")
        return _first(name, _detector(name), stream.to_numpy(), stream.index, stream)
    usual = hourly.iloc[: len(hourly) // 2]
    spread = float(usual.std())
    if not spread > 0:
        return ConceptDrift(name, "cannot_tell", None, "the errors of the first hours do not vary")
    return _first(name, _detector(name), ((hourly - usual.mean()) / spread).to_numpy(), hourly.index, stream)


def _detector(name: str) -> Any:
    from river import drift
    from river.drift import binary

    if name == "adwin":
        return drift.ADWIN(clock=1)
    if name == "ddm":
        return binary.DDM()
    return drift.PageHinkley(min_instances=FEWEST_HOURS // 2, delta=_ALLOWANCE, threshold=_LIMIT, mode="up")


def _first(name: str, detector: Any, values: Floats, index: pd.Index[Any], stream: pd.Series) -> ConceptDrift:
    """The first change that is a growth; the detector starts again after one that is not."""
    for value, at in zip(values, index, strict=True):
        detector.update(bool(value) if name == "ddm" else float(value))
        if not detector.drift_detected:
            continue
        before, after = stream[stream.index < at], stream[stream.index >= at]
        if len(before) and float(after.mean()) > float(before.mean()):
            why = f"errors of {before.mean():.3g} have become {after.mean():.3g}"
            return ConceptDrift(name, "drift", at.to_pydatetime(), why)
    return ConceptDrift(name, "no_drift", None, f"{len(stream):,} errors of {stream.mean():.3g} on average")

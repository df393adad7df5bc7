"""A canary's night: what units met in each of its steps, and whether it grows, ends, or is taken back.

Reads: the experiment's outcomes; of their columns `error` (0/1), `latency_ms` and `score`, as far as they are there. A
unit counts in the step in which it came first, by what it met in that step.

One rule: the ranges of the scores are fixed by the first date's scores of all variants together, so that no later look
can move them.
"""

from __future__ import annotations

import dataclasses
from datetime import date

import numpy as np
import pandas as pd

from mlops.pipelines import ab_outcomes
from mlops.pipelines.experiment_state import ExperimentState
from mlops.services import Services
from mlops.serving.routing import Variant, assign
from mlops.serving.routing_canary import StepCounts
from mlops.spec import ModelSpec

_RANGES = 5
_FEWEST_SCORES = 100  # of the first date, to cut ranges by


def counts(services: Services, spec: ModelSpec, state: ExperimentState, day: date) -> list[StepCounts]:
    """The counts of every step up to a night, the present one last.

    Raises:
        SchemaError, SourceError: outcomes cannot be read.
    """
    steps = state.spec.canary.steps[: state.step + 1]
    rows = _rows(services, spec, state, day)
    if rows.empty:
        return [StepCounts(share, (0, 0)) for share in steps]
    edges = _edges(rows)
    rows = rows.sort_values("date", kind="stable")
    rows["step"] = np.searchsorted(np.array(state.steps_from, dtype="datetime64[D]"), rows["date"], side="right") - 1
    first = rows.groupby("unit", sort=False)["step"].transform("first")
    rows = rows[rows["step"] == first]
    met = rows.groupby(["step", "unit"], sort=False).agg(
        variant=("variant", "first"), error=("error", "max"), slow=("slow", "max"), score=("score", "first")
    )
    met = met[_rightly(met, state, steps)].reset_index()
    return [_counted(met[met["step"] == i], state, share, edges) for i, share in enumerate(steps)]


def _rows(services: Services, spec: ModelSpec, state: ExperimentState, day: date) -> pd.DataFrame:
    """All rows with what counts: unit, variant, date, error, slow, score."""
    unit, parts = ab_outcomes.unit_of(spec, state), []
    for each, frame in ab_outcomes.frames(services, spec, state, day):
        when = each if each is not None else frame[spec.timestamps.event].dt.tz_convert("UTC").dt.date
        latency = _numbers(frame, "latency_ms")
        part = pd.DataFrame(
            {
                "unit": frame[unit].astype(str),
                "variant": ab_outcomes.variants_of(frame, state),
                "date": pd.to_datetime(pd.Series(when, index=frame.index)).astype("datetime64[s]"),
                "error": _numbers(frame, "error").fillna(0.0) > 0,
                "slow": latency > state.spec.canary.slow_ms,
                "score": _numbers(frame, "score"),
            }
        )
        parts.append(part.dropna(subset=["variant"]))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _numbers(frame: pd.DataFrame, name: str) -> pd.Series:
    """A column as numbers; NaN where it is not there."""
    if name not in frame.columns:
        return pd.Series(np.nan, index=frame.index)
    return pd.to_numeric(frame[name], errors="coerce").astype(float)


def _edges(rows: pd.DataFrame) -> np.ndarray:
    """What separates the ranges of the scores; none where the first date has too few scores to say."""
    scores = rows.loc[rows["date"] == rows["date"].min(), "score"].dropna()
    if len(scores) < _FEWEST_SCORES:
        return np.zeros(0)
    return np.unique(scores.quantile(np.linspace(0, 1, _RANGES + 1)[1:-1]).to_numpy())


def _rightly(met: pd.DataFrame, state: ExperimentState, steps: tuple[float, ...]) -> np.ndarray:
    """Whether each unit met what it was assigned in its step: others were put there by hand or switched late."""
    control, treatment = state.variants
    routes = [
        dataclasses.replace(
            state.route,
            variants=(
                Variant(control.name, control.version, 1 - share),
                Variant(treatment.name, treatment.version, share),
            ),
        )
        for share in steps
    ]
    right = []
    for (step, unit), variant in zip(met.index, met["variant"], strict=True):
        given = assign(routes[int(step)], str(unit)) if 0 <= step < len(routes) else None
        right.append(given is not None and given.counts and given.variant == variant)
    return np.array(right, dtype=bool)


def _counted(met: pd.DataFrame, state: ExperimentState, share: float, edges: np.ndarray) -> StepCounts:
    names = [variant.name for variant in state.variants]
    arms = [met[met["variant"] == name] for name in names]
    scores: tuple[tuple[int, int], ...] = ()
    if len(edges):
        cut = [np.bincount(np.searchsorted(edges, arm["score"].dropna()), minlength=len(edges) + 1) for arm in arms]
        scores = tuple((int(a), int(b)) for a, b in zip(*cut, strict=True))
    return StepCounts(
        share=share,
        units=(len(arms[0]), len(arms[1])),
        errors=(int(arms[0]["error"].sum()), int(arms[1]["error"].sum())),
        slow=(int(arms[0]["slow"].sum()), int(arms[1]["slow"].sum())),
        scores=scores,
    )

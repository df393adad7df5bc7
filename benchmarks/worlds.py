"""Worlds in which it is known how much worse or better a challenger is: champions and challengers to try gates on.

One rule: the true difference is known in closed form (or by symmetry), never measured.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.integrate import trapezoid
from scipy.optimize import brentq
from scipy.signal import lfilter
from scipy.stats import norm

Floats = npt.NDArray[np.float64]
Pair = tuple[Floats, Floats, Floats]  # labels, challenger's scores, champion's scores

RATE = 0.1  # share of positives
CORRELATION = 0.9  # of the two models' scores (of their errors, in regression)
CHAMPION = {"roc_auc": 0.85, "average_precision": 0.5, "mean_absolute_error": 0.2}


def pair(
    rng: np.random.Generator,
    metric: str,
    rows: int,
    delta: float,
    *,
    rate: float = RATE,
    correlation: float = CORRELATION,
) -> Pair:
    """Independent rows on which the challenger is better by `delta` of the metric in the long run.

    Classes are binormal: the scores of negatives are N(0, 1), of positives N(d, 1), those of the two models correlated.
    ROC AUC is then Φ(d/√2). In regression errors are N(0, σ²), with a mean absolute error of σ√(2/π).
    """
    own = np.sqrt(1 - correlation)
    shared = np.sqrt(correlation) * rng.normal(size=rows)
    noise = [shared + own * rng.normal(size=rows) for _ in range(2)]
    if metric == "mean_absolute_error":
        y = rng.normal(size=rows)
        sigmas = ((CHAMPION[metric] - delta) * np.sqrt(np.pi / 2), CHAMPION[metric] * np.sqrt(np.pi / 2))
        return y, y + sigmas[0] * noise[0], y + sigmas[1] * noise[1]
    y = np.zeros(rows)
    y[: round(rate * rows)] = 1
    return (
        y,
        noise[0] + y * distance(metric, CHAMPION[metric] + delta, rate),
        noise[1] + y * distance(metric, CHAMPION[metric], rate),
    )


@lru_cache
def distance(metric: str, value: float, rate: float) -> float:
    """The binormal distance of the classes at which a ranking metric has this value.

    >>> round(float(norm.cdf(distance("roc_auc", 0.85, 0.1) / np.sqrt(2))), 6)
    0.85
    """
    if metric == "roc_auc":
        return float(np.sqrt(2) * norm.ppf(value))
    grid = np.linspace(-8, 12, 20_001)

    def off(d: float) -> float:
        caught, seen = rate * norm.sf(grid, d), rate * norm.sf(grid, d) + (1 - rate) * norm.sf(grid)
        return float(trapezoid(caught / seen * norm.pdf(grid, d), grid)) - value

    return float(brentq(off, 0.0, 8.0))


def fleet(
    rng: np.random.Generator,
    *,
    entities: int = 40,
    steps: int = 288,
    memory: float = 0.95,
    event_steps: int = 12,
    gain: float = 0.0,
) -> tuple[Pair, npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Two equally good models on dependent rows: noise with memory, and faults that are seen or missed whole.

    Args:
        rng: source of randomness.
        entities: how many are watched.
        steps: rows of each, ten minutes apart.
        memory: AR(1) coefficient of the scores' noise.
        event_steps: length of a fault; one in two days and entity.
        gain: how much more strongly the challenger sees faults; 0: equal by symmetry.

    Returns:
        Labels and scores, shape (entities × steps,); the entity and the step of each row.
    """
    y = np.zeros((entities, steps))
    strength = np.zeros((2, entities, steps))
    for entity in range(entities):
        for start in rng.integers(0, steps - event_steps, size=rng.poisson(steps / 288)):
            event = slice(start, start + event_steps)
            y[entity, event] = 1
            strength[:, entity, event] = 1.2 + 0.5 * rng.normal() + 0.5 * rng.normal(size=(2, 1))
    strength[0] += gain * y
    innovations = np.sqrt(1 - memory**2) * rng.normal(size=(3, entities, steps + 100))
    drifting = lfilter([1.0], [1.0, -memory], innovations, axis=2)[:, :, 100:]
    scores = [(strength[i] + 0.8 * drifting[2] + 0.6 * drifting[i]).ravel() for i in range(2)]
    who, when = np.divmod(np.arange(entities * steps), steps)
    return (y.ravel(), scores[0], scores[1]), who, when

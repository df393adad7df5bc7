"""Boundaries of group-sequential tests, exact by recursive numerical integration.

Of a test that is looked at K times the score S_k = Z_k √t_k walks as Brownian motion watched at the information times
t_1 < … < t_K. Its density on the paths that have not crossed a boundary yet is carried from look to look by
Gauss-Legendre quadrature, as fine as the step's standard deviation asks for. At each look the boundary is where the
probability of crossing now, and not before, is what the spending function has set free.

One rule: a boundary depends on the looks made so far, never on how many will follow nor on what they showed.

References:
    Armitage, P., McPherson, C. and Rowe, B. (1969), Repeated significance tests on accumulating data, JRSS A 132.
    Lan, K. and DeMets, D. (1983), Discrete sequential boundaries for clinical trials, Biometrika 70.
    Jennison, C. and Turnbull, B. (2000), Group sequential methods with applications to clinical trials, ch. 19.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from mlops.errors import DataError
from mlops.experiments.ab.effects import check_alpha
from mlops.experiments.ab.samples import Floats

Spending = Literal["obrien_fleming", "pocock", "linear"]
FAR = 8.5  # standard deviations beyond which nothing is left
_FREE = 1e-16  # less error than this is not spent: the look cannot reject
_PER_STEP = 4.0  # quadrature nodes per standard deviation of a step


def obrien_fleming(time: float, alpha: float) -> float:
    """Error of one side spent by `time`, as O'Brien and Fleming's boundary does: almost nothing at first."""
    from scipy.stats import norm

    return float(2 * norm.sf(norm.isf(alpha / 2) / math.sqrt(time))) if time > 0 else 0.0


def pocock(time: float, alpha: float) -> float:
    """Error of one side spent by `time`, as Pocock's boundary does: much of it early."""
    return alpha * math.log(1 + (math.e - 1) * time) if time > 0 else 0.0


def linear(time: float, alpha: float) -> float:
    """Error of one side spent by `time`: the same every night."""
    return alpha * time


SPENDING: Mapping[str, Callable[[float, float], float]] = {
    "obrien_fleming": obrien_fleming,
    "pocock": pocock,
    "linear": linear,
}


@dataclass(frozen=True, slots=True, eq=False)
class Walk:
    """Where the score stands at a look, on the paths that have crossed nothing."""

    time: float
    at: Floats  # shape (n_nodes,): scores
    mass: Floats  # shape (n_nodes,): probability at each

    def beyond(self, time: float, bound: float, drift: float = 0.0) -> float:
        """Probability that Z is above `bound` at `time`, and nothing was crossed before."""
        from scipy.special import ndtr

        step = time - self.time
        return float(self.mass @ ndtr((self.at + drift * step - bound * math.sqrt(time)) / math.sqrt(step)))

    def below(self, time: float, bound: float, drift: float = 0.0) -> float:
        """Probability that Z is below `bound` at `time`, and nothing was crossed before."""
        from scipy.special import ndtr

        step = time - self.time
        return float(self.mass @ ndtr((bound * math.sqrt(time) - self.at - drift * step) / math.sqrt(step)))

    def onward(self, time: float, low: float, high: float, drift: float = 0.0) -> Walk:
        """The walk at `time` on the paths that stay within (low, high), in units of Z."""
        step, root = time - self.time, math.sqrt(time)
        middle = drift * time
        start, end = max(low * root, middle - FAR * root), min(high * root, middle + FAR * root)
        if end <= start:
            return Walk(time, np.zeros(1), np.zeros(1))
        sd = math.sqrt(step)
        nodes, weights = _legendre(_count((end - start) / sd))
        at = (start + end) / 2 + (end - start) / 2 * nodes
        away = (at[:, None] - self.at[None, :] - drift * step) / sd
        density = np.exp(-0.5 * away**2) @ self.mass / (sd * math.sqrt(2 * math.pi))
        return Walk(time, at, density * weights * (end - start) / 2)


def beginning() -> Walk:
    """The walk before the first look: at 0, for certain."""
    return Walk(0.0, np.zeros(1), np.ones(1))


def boundaries(
    information: Sequence[float],
    *,
    alpha: float,
    sides: Literal[1, 2] = 2,
    spending: Spending = "obrien_fleming",
    spent_at: Sequence[float] | None = None,
) -> tuple[float, ...]:
    """The values of Z to exceed (of |Z|, if two-sided) at each look.

    Args:
        information: information at the looks, ascending, in any unit: only quotients count where `spent_at` is given,
            else as a share of what is planned.
        alpha: error rate of the whole test, in (0, .5].
        sides: 2: both directions, alpha / 2 each.
        spending: how error is spent.
        spent_at: the spending function's time at each look, ascending in (0, 1]; default: `information`. The share of
            the planned duration is usual: it is known in advance and ends at 1 whatever traffic does.

    Returns:
        One value a look; inf where nothing can be spent yet.

    Raises:
        DataError: looks do not ascend, or there is an unknown spending function.

    >>> [round(bound, 3) for bound in boundaries([0.2, 0.4, 0.6, 0.8, 1.0], alpha=0.05)]
    [4.877, 3.357, 2.68, 2.29, 2.031]
    """
    check_alpha(alpha)
    times = _ascending(information, "information")
    clock = times if spent_at is None else _ascending(spent_at, "spent_at")
    if len(clock) != len(times) or (clock and clock[-1] > 1 + 1e-9):
        raise DataError("spent_at must be one time in (0, 1] for each look.", hint=f"Given: {list(clock)}.")
    spend = SPENDING[spending]
    walk, before, found = beginning(), 0.0, []
    for time, moment in zip(times, clock, strict=True):
        until = spend(min(moment, 1.0), alpha / sides)
        bound = _bound(walk, time, until - before)
        found.append(bound)
        before = until
        walk = walk.onward(time, -bound if sides == 2 else -math.inf, bound)
    return tuple(found)


def crossing(
    information: Sequence[float], bounds: Sequence[float], *, drift: float = 0.0, sides: Literal[1, 2] = 2
) -> tuple[Floats, Floats]:
    """Probability of crossing the upper boundary first at each look, and the lower one.

    Args:
        information: as a share of what is planned, ascending.
        bounds: values of Z.
        drift: the expected Z at information 1; 0 where there is no effect.
        sides: 1: there is no lower boundary.

    Returns:
        Two arrays of shape (n_looks,).
    """
    walk = beginning()
    above, below = np.zeros(len(bounds)), np.zeros(len(bounds))
    for k, (time, bound) in enumerate(zip(_ascending(information, "information"), bounds, strict=True)):
        above[k] = walk.beyond(time, bound, drift)
        below[k] = walk.below(time, -bound, drift) if sides == 2 else 0.0
        walk = walk.onward(time, -bound if sides == 2 else -math.inf, bound, drift)
    return above, below


def power(information: Sequence[float], bounds: Sequence[float], drift: float, sides: Literal[1, 2] = 2) -> float:
    """Probability of crossing the upper boundary by the last look."""
    return float(crossing(information, bounds, drift=drift, sides=sides)[0].sum())


def drift_for(information: Sequence[float], bounds: Sequence[float], wanted: float, sides: Literal[1, 2] = 2) -> float:
    """The expected Z at information 1 that gives a power; its square is the information that is needed."""
    from scipy.optimize import brentq

    return float(brentq(lambda drift: power(information, bounds, drift, sides) - wanted, 0.0, 12.0, xtol=1e-8))


def _bound(walk: Walk, time: float, free: float) -> float:
    from scipy.optimize import brentq

    if free < _FREE or walk.beyond(time, FAR) >= free:
        return math.inf
    return float(brentq(lambda bound: walk.beyond(time, bound) - free, -FAR, FAR, xtol=1e-10))


def _ascending(values: Sequence[float], what: str) -> tuple[float, ...]:
    times = tuple(float(value) for value in values)
    if any(later <= earlier for earlier, later in zip((0.0, *times), times, strict=False)):
        raise DataError(
            f"{what} must ascend from above 0, given {list(times)}.", hint="Leave out looks that add nothing."
        )
    return times


def _count(width: float) -> int:
    """How many nodes an interval so many standard deviations wide takes, in steps so that rules can be kept."""
    return 32 * math.ceil(max(_PER_STEP * width, 48) / 32)


@lru_cache(maxsize=256)
def _legendre(count: int) -> tuple[Floats, Floats]:
    nodes, weights = np.polynomial.legendre.leggauss(count)
    return nodes, weights

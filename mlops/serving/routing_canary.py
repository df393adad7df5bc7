"""A canary: a treatment that grows in steps and is taken back as soon as the evidence says that it harms.

Units are assigned by chance with a known share π to the treatment. So where the treatment errs as often as the control,
each unit that met an error belongs to it with probability π, whatever the rate of errors is, however it changes over
the day, and whoever looks how often. A treatment that errs at most r times as often owns at most
πr / (πr + 1 − π) of the errors. An e-process bets against that: under it, the product of its bets is a supermartingale
that starts at 1 and reaches 1 / α with probability α at most, at whatever moment. Errors, slow answers and each range
of the scores are bet on like this, exactly and without a normal approximation.

One rule: a unit counts once, by its first answer of each kind, and the counts of each step are kept apart.

References:
    Ville, J. (1939), Étude critique de la notion de collectif.
    Lindon, M. and Malek, A. (2022), Anytime-valid inference for multinomial count data, NeurIPS.
    Grünwald, P., de Heide, R. and Koolen, W. (2024), Safe testing, JRSS B 86.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mlops.errors import DataError
from mlops.spec.experiment import CanarySpec

_STRENGTH = 20.0  # events that the prior on the treatment's share is worth
Pair = tuple[int, int]  # of the control, of the treatment


@dataclass(frozen=True, slots=True)
class StepCounts:
    """What units met during one step of a canary."""

    share: float  # of the treatment, π in (0, 1)
    units: Pair
    errors: Pair = (0, 0)  # units whose answer was an error
    slow: Pair = (0, 0)  # units whose answer was slow
    scores: tuple[Pair, ...] = ()  # units by the range their score lies in; the same ranges in every step


@dataclass(frozen=True, slots=True)
class Guard:
    """What one guard says."""

    name: str
    evidence: float  # e-value: 1 at the start; the treatment is taken back at `limit`
    limit: float
    reason: str


@dataclass(frozen=True, slots=True)
class CanaryDecision:
    """What to do with a canary."""

    action: Literal["hold", "advance", "complete", "rollback"]
    reason: str
    step: int  # that holds from now on; -1: rolled back
    share: float  # of the treatment from now on
    guards: tuple[Guard, ...]


def decide(spec: CanarySpec, steps: Sequence[StepCounts]) -> CanaryDecision:
    """What to do, after the steps so far; the last one is under way. It may be asked whenever one likes.

    Args:
        spec: steps, units and limits.
        steps: counts of each step, in order, at least one and at most as many as the spec has.

    Raises:
        DataError: counts that cannot be.
    """
    if not 1 <= len(steps) <= len(spec.steps):
        raise DataError(f"A canary of {len(spec.steps)} steps cannot be at step {len(steps)}.")
    guards = _guards(spec, steps)
    now = len(steps) - 1
    hit = [guard for guard in guards if guard.evidence >= guard.limit]
    if hit:
        words = f"The treatment is taken back at step {now + 1}: {' '.join(guard.reason for guard in hit)}"
        return CanaryDecision("rollback", words, -1, 0.0, guards)
    seen = steps[-1].units[1]
    if seen < spec.min_units:
        words = f"Step {now + 1}: {seen:,} of {spec.min_units:,} units of the treatment seen, no guard is hit."
        return CanaryDecision("hold", words, now, spec.steps[now], guards)
    if now + 1 < len(spec.steps):
        share = spec.steps[now + 1]
        words = f"{seen:,} units of the treatment seen and no guard is hit: on to {100 * share:g} %."
        return CanaryDecision("advance", words, now + 1, share, guards)
    words = f"The last step has seen {seen:,} units of the treatment and no guard is hit."
    return CanaryDecision("complete", words, now, spec.steps[now], guards)


def _guards(spec: CanarySpec, steps: Sequence[StepCounts]) -> tuple[Guard, ...]:
    for step in steps:
        _check(step)
    limit = 3 / spec.alpha  # three guards share alpha
    found = []
    for name, events, ratio in (
        ("errors", [step.errors for step in steps], spec.max_error_ratio),
        ("slow answers", [step.slow for step in steps], spec.max_slow_ratio),
    ):
        log_e = sum(log_bet(pair, step.share, ratio) for pair, step in zip(events, steps, strict=True))
        control, treatment = (sum(pair[i] for pair in events) for i in (0, 1))
        words = f"{treatment:,} {name} of the treatment and {control:,} of the control: more than {ratio:g} times."
        found.append(Guard(name, _exp(log_e), limit, words))
    found.append(_score_guard(spec, steps, limit))
    return tuple(found)


def _score_guard(spec: CanarySpec, steps: Sequence[StepCounts], limit: float) -> Guard:
    """The mean of the bets on all ranges, each of them both ways: a mean of e-values is an e-value."""
    ranges = max(len(step.scores) for step in steps)
    if ranges == 0:
        return Guard("scores", 1.0, limit, "No scores were counted.")
    if any(len(step.scores) not in (0, ranges) for step in steps):
        raise DataError("The ranges of the scores differ between steps.", hint="Fix them when the canary starts.")
    told = [step for step in steps if step.scores]
    bets = [
        sum(log_bet(step.scores[i], step.share, spec.max_score_ratio, more=more) for step in told)
        for i in range(ranges)
        for more in (True, False)
    ]
    top = max(bets)
    log_mean = top + math.log(sum(math.exp(bet - top) for bet in bets) / len(bets))
    worst = bets.index(top) // 2
    pair = tuple(sum(step.scores[worst][k] for step in told) for k in (0, 1))
    words = (
        f"Scores in range {worst + 1} of {ranges}: {pair[1]:,} of the treatment, {pair[0]:,} of the control; shares "
        f"differ by more than {spec.max_score_ratio:g} times."
    )
    return Guard("scores", _exp(log_mean), limit, words)


def log_bet(events: Pair, share: float, ratio: float = 1.0, *, more: bool = True) -> float:
    """Logarithm of the e-value against "the treatment's rate is at most `ratio` times the control's".

    Args:
        events: of the control and the treatment.
        share: of the units that are the treatment's, in (0, 1).
        ratio: what is tolerated, ≥ 1.
        more: False: against "at least 1 / `ratio` times".

    Returns:
        0 without events; its exponential's expected value is at most 1 under what it bets against.

    >>> log_bet((10, 10), 0.5) < 0 < log_bet((10, 40), 0.5)
    True
    """
    from scipy.special import betainc, betaincc, betaln

    control, treatment = events
    odds = share / (1 - share) * (ratio if more else 1 / ratio)
    null = odds / (1 + odds)
    a, b = _STRENGTH * null, _STRENGTH * (1 - null)
    tail = betaincc if more else betainc
    prior, posterior = float(tail(a, b, null)), float(tail(a + treatment, b + control, null))
    if posterior == 0:
        return -math.inf
    found = betaln(a + treatment, b + control) - betaln(a, b) + math.log(posterior) - math.log(prior)
    return float(found) - treatment * math.log(null) - control * math.log1p(-null)


def _exp(value: float) -> float:
    return math.exp(min(value, 700.0))


def _check(step: StepCounts) -> None:
    if not 0 < step.share < 1:
        raise DataError(
            f"The treatment's share is {step.share}, expected in (0, 1).", hint="At 0 or 1 nothing compares."
        )
    for name, pair in (("errors", step.errors), ("slow", step.slow)):
        if any(not 0 <= pair[i] <= step.units[i] for i in (0, 1)):
            raise DataError(f"{name} {pair} of {step.units} units cannot be.", hint="Count each unit once.")
    if any(min(pair) < 0 for pair in step.scores):
        raise DataError("Scores cannot be counted below 0.")

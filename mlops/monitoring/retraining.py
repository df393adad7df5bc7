"""Whether tonight a training starts: a policy's triggers held against what a night knows.

One rule: a pure function of policy and situation. The nightly monitoring and the backtest ask the same one.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mlops.spec import RetrainingSpec

MONTH = dt.timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known at the end of a night."""

    date: dt.date
    trained: tuple[dt.date, ...]  # the nights on which trainings started, oldest first; the champion's among them
    drift: bool | None  # drift to act on; None: cannot tell, or nobody looked
    realised: tuple[tuple[dt.date, float], ...]  # of this champion: the metric by date, as far as labels are mature
    higher_is_better: bool
    labels: int  # labels that have matured since the last training
    drift_due: dt.date | None = None  # before this date too little has been seen of the drift to learn from it


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether to train, and why."""

    train: bool
    fired: tuple[str, ...]  # names of the triggers that ask for it
    reason: str  # one sentence


def decide(policy: RetrainingSpec, situation: Situation) -> Decision:
    """Hold the triggers of a policy against the situation.

    Args:
        policy: which triggers, how many of them must agree, and what limits them.
        situation: of tonight.

    Returns:
        The decision. A trigger that cannot tell asks for nothing.
    """
    if not policy.triggers:
        return Decision(False, (), "The policy never trains.")
    told = {name: TRIGGERS[name](policy, situation) for name in policy.triggers}
    fired = tuple(name for name, (asks, _) in told.items() if asks)
    wanted = len(fired) == len(told) if policy.need == "all" else bool(fired)
    if not wanted:
        return Decision(False, fired, f"No training: {'; '.join(words for _, words in told.values())}.")
    why = "; ".join(told[name][1] for name in fired)
    if (last := max(situation.trained, default=None)) is not None:
        free = last + dt.timedelta(days=policy.cooldown_days)
        if situation.date < free:
            return Decision(False, fired, f"No training before {free}, though {why}: one was started on {last}.")
    recent = sum(day > situation.date - MONTH for day in situation.trained)
    if policy.budget_per_month is not None and recent >= policy.budget_per_month:
        return Decision(False, fired, f"No training, though {why}: {recent} in 30 days are all that the budget allows.")
    return Decision(True, fired, f"A training is started: {why}.")


def _every_days(policy: RetrainingSpec, situation: Situation) -> tuple[bool, str]:
    assert policy.every_days is not None
    if not situation.trained:
        return True, "nothing has been trained yet"
    age = (situation.date - max(situation.trained)).days
    return age >= policy.every_days, f"the last training is {age} days old, every {policy.every_days} there is one"


def _drift(_policy: RetrainingSpec, situation: Situation) -> tuple[bool, str]:
    if situation.drift is None:
        return False, "it cannot be told whether there is drift"
    if situation.drift and situation.drift_due is not None and situation.date < situation.drift_due:
        return False, f"there is drift that matters, of which enough will have been seen on {situation.drift_due}"
    return situation.drift, "there is drift that matters" if situation.drift else "there is no drift that matters"


def _performance(policy: RetrainingSpec, situation: Situation) -> tuple[bool, str]:
    rule = policy.performance
    assert rule is not None
    values = [value for _, value in situation.realised]
    if len(values) < 2 * rule.nights:
        return False, f"{len(values)} nights of this champion have their truth, {2 * rule.nights} are needed"
    fresh, now = sum(values[: rule.nights]) / rule.nights, sum(values[-rule.nights :]) / rule.nights
    worse = fresh - now if situation.higher_is_better else now - fresh
    return (
        worse >= rule.worse_by,
        f"the champion's first {rule.nights} nights came to {fresh:.4g}, its last {rule.nights} to {now:.4g} "
        f"(worse by {rule.worse_by:g} counts)",
    )


def _labels(policy: RetrainingSpec, situation: Situation) -> tuple[bool, str]:
    assert policy.labels is not None
    return (
        situation.labels >= policy.labels,
        f"{situation.labels:,} of {policy.labels:,} labels have matured since the last training",
    )


def _cost(policy: RetrainingSpec, situation: Situation) -> tuple[bool, str]:
    assert policy.cost is not None
    lost = loss_of_waiting([value for _, value in situation.realised], higher_is_better=situation.higher_is_better)
    price = policy.cost.training_cost
    return lost >= price, f"waiting has cost {lost:.3g} of the {price:g} that a training costs"


def loss_of_waiting(values: list[float], *, higher_is_better: bool) -> float:
    """By how much a champion's nights fell short of its first ones, added up.

    A night counts from the mean of the first three on, whether it was better or worse than that, so that nights that
    differ by chance cancel out; the sum never falls below zero (a one-sided CUSUM without slack).

    Args:
        values: the metric, night by night, oldest first.
        higher_is_better: of the metric.

    Returns:
        ≥ 0, in units of the metric × nights.

    References:
        Page, E. S. (1954), Continuous inspection schemes, Biometrika 41.

    >>> loss_of_waiting([1.0, 1.0, 1.0, 1.5, 2.0], higher_is_better=False)
    1.5
    """
    if len(values) <= _FRESH:
        return 0.0
    fresh = sum(values[:_FRESH]) / _FRESH
    lost = 0.0
    for value in values[_FRESH:]:
        lost = max(0.0, lost + (fresh - value if higher_is_better else value - fresh))
    return lost


_FRESH = 3  # nights that say how good a champion is when it is new
TRIGGERS: Mapping[str, Callable[[RetrainingSpec, Situation], tuple[bool, str]]] = {
    "every_days": _every_days,
    "drift": _drift,
    "performance": _performance,
    "labels": _labels,
    "cost": _cost,
}

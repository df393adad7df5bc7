"""Bandits by simulation: regret beside what theory says, with late rewards, and in a world that turns.

One rule: all bandits meet the same luck: a run's seed decides what each arm would have paid at each moment.
"""

from __future__ import annotations

import math

import numpy as np
from rich.table import Table

from mlops.experiments import bandits

ARMS = {"a": 0.5, "b": 0.4, "c": 0.3}
HORIZON = 5_000


def regret() -> Table:
    """Mean regret of each bandit beside what theory says."""
    runs = 20
    gaps = [max(ARMS.values()) - share for share in ARMS.values()]
    lower = sum(gap * math.log(HORIZON) / _kl(max(ARMS.values()) - gap, max(ARMS.values())) for gap in gaps if gap)
    upper = sum(8 * math.log(HORIZON) / gap + (1 + math.pi**2 / 3) * gap for gap in gaps if gap)
    told = ", ".join(f"{share:.0%}" for share in ARMS.values())
    table = Table(
        "bandit", "rewards at once", "500 choices late", title=f"Regret after {HORIZON:,} choices: arms of {told}"
    )
    for policy in (
        bandits.Policy("epsilon_greedy"),
        bandits.Policy("ucb1"),
        bandits.Policy("thompson_bernoulli"),
        bandits.Policy("thompson_gaussian"),
        bandits.Policy("thompson_bernoulli", floor=0.05),
    ):
        name = policy.kind.replace("_", " ") + (f", floor {policy.floor:.0%}" if policy.floor else "")
        cells = []
        for late in (0, 500):
            found = [play(policy, seed, late=late) for seed in range(runs)]
            cells.append(f"{np.mean(found):.0f} ± {np.std(found) / math.sqrt(runs):.0f}")
        table.add_row(name, *cells)
    table.add_row("by chance", f"{HORIZON * float(np.mean(gaps)):.0f}", "")
    table.add_row("Lai–Robbins' lower bound (asymptotic)", f"{lower:.0f}", "")
    table.add_row("Auer's upper bound for UCB1", f"{upper:.0f}", "")
    return table


def moving() -> Table:
    """Regret in a world whose best arm becomes the worst one half way."""
    runs = 20
    table = Table(
        "bandit", "regret", title=f"The best arm becomes the worst after {HORIZON // 2:,} of {HORIZON:,} choices"
    )
    for policy in (
        bandits.Policy("thompson_bernoulli"),
        bandits.Policy("thompson_bernoulli", discount=0.998),
        bandits.Policy("thompson_bernoulli", window=500),
    ):
        forgets = (
            f", discount {policy.discount}"
            if policy.discount < 1
            else f", window {policy.window}" * bool(policy.window)
        )
        found = [play(policy, seed, turns=True) for seed in range(runs)]
        name = policy.kind.replace("_", " ") + (forgets or "")
        table.add_row(name, f"{np.mean(found):.0f} ± {np.std(found) / math.sqrt(runs):.0f}")
    return table


def play(policy: bandits.Policy, seed: int, *, late: int = 0, turns: bool = False) -> float:
    """The regret of one bandit in one world."""
    rng = np.random.default_rng([6, seed])
    luck = rng.random((HORIZON, len(ARMS)))
    bandit = bandits.Bandit(bandits.Policy(**{**_fields(policy), "seed": seed}), bandits.State.fresh(list(ARMS)))
    waiting: list[tuple[str, float]] = []
    lost = 0.0
    for i in range(HORIZON):
        shares = ARMS if not turns or i < HORIZON // 2 else dict(zip(ARMS, reversed(ARMS.values()), strict=True))
        arm = bandit.choose(str(i))
        lost += max(shares.values()) - shares[arm]
        waiting.append((arm, float(luck[i, list(ARMS).index(arm)] < shares[arm])))
        if len(waiting) > late:
            bandit.update(*waiting.pop(0))
    return lost


def _fields(policy: bandits.Policy) -> dict[str, object]:
    return {name: getattr(policy, name) for name in ("kind", "floor", "epsilon", "discount", "window")}


def _kl(p: float, q: float) -> float:
    return p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))

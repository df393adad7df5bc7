"""Bandits: which model version answers the next request, learned from the rewards of earlier answers.

ε-greedy, UCB1 and Thompson sampling for rewards in [0, 1] or for any numbers. An arm is a variant of an experiment.
Every arm keeps a floor of traffic, so that what was bad once is looked at again. Rewards may come late, in any order;
a world that moves is followed by forgetting (`discount`) or by a window of the newest rewards.

One rule: a choice is a function of policy, state and decision id. The same three choose the same arm on every machine.

References:
    Auer, P., Cesa-Bianchi, N. and Fischer, P. (2002), Finite-time analysis of the multiarmed bandit problem.
    Thompson, W. R. (1933), On the likelihood that one unknown probability exceeds another, Biometrika 25.
    Garivier, A. and Moulines, E. (2011), On upper-confidence bound policies for switching bandit problems, ALT.
    Joulani, P., György, A. and Szepesvári, C. (2013), Online learning under delayed feedback, ICML.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from mlops.errors import DataError, did_you_mean

Kind = Literal["epsilon_greedy", "ucb1", "thompson_bernoulli", "thompson_gaussian"]
_FIRM = 10.0  # rewards that what is believed of a variance beforehand is worth
_BOUNDED = ("ucb1", "thompson_bernoulli")  # rewards in [0, 1]


@dataclass(frozen=True, slots=True)
class Policy:
    """How arms are chosen."""

    kind: Kind = "thompson_bernoulli"
    floor: float = 0.0  # share of traffic that every arm keeps, [0, 1 / arms]
    epsilon: float = 0.1  # epsilon_greedy: share of choices by chance
    discount: float = 1.0  # what a reward counts one reward later, (0, 1]; 1: for ever
    window: int = 0  # only so many of the newest rewards count; 0: all
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse numbers outside their range."""
        if self.kind not in _CHOOSE:
            raise DataError(f"There is no bandit {self.kind!r}.", hint=did_you_mean(str(self.kind), _CHOOSE))
        for name, low, high in (("floor", 0, 1), ("epsilon", 0, 1), ("window", 0, math.inf)):
            if not low <= getattr(self, name) <= high:
                raise DataError(f"{name} is {getattr(self, name)}, expected between {low} and {high}.")
        if not 0 < self.discount <= 1:
            raise DataError(f"discount is {self.discount}, expected in (0, 1].", hint="1 forgets nothing.")
        if self.window and self.discount < 1:
            raise DataError("A bandit forgets by discount or by window, not by both.", hint="Give one of them.")


@dataclass(frozen=True, slots=True)
class Arm:
    """What is known of an arm."""

    n: float = 0.0  # rewards, discounted
    total: float = 0.0  # their sum
    squares: float = 0.0  # the sum of their squares

    @property
    def mean(self) -> float:
        """The mean reward; 0 before the first."""
        return self.total / self.n if self.n > 0 else 0.0


@dataclass(frozen=True, slots=True)
class State:
    """What is known of all arms, in the order of the experiment's variants."""

    arms: Mapping[str, Arm]
    recent: tuple[tuple[str, float], ...] = ()  # arm and reward of the newest, where the policy has a window
    rewards: int = 0  # all there were

    @classmethod
    def fresh(cls, arms: Sequence[str]) -> State:
        """Nothing is known of these arms.

        Raises:
            DataError: there are not two arms of different names.
        """
        if len(set(arms)) != len(arms) or len(arms) < 2:
            raise DataError(f"A bandit needs two arms or more, each with its own name; given {list(arms)}.")
        return cls({name: Arm() for name in arms})

    def plain(self) -> dict[str, Any]:
        """As JSON values."""
        arms = {name: asdict(arm) for name, arm in self.arms.items()}
        return {"arms": arms, "recent": [list(one) for one in self.recent], "rewards": self.rewards}

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> State:
        """The state that `plain` gave."""
        arms = {name: Arm(**arm) for name, arm in plain["arms"].items()}
        return cls(arms, tuple((str(arm), float(reward)) for arm, reward in plain["recent"]), int(plain["rewards"]))


def update(policy: Policy, state: State, arm: str, reward: float) -> State:
    """The state after one more reward. Whether it was counted before, the store knows.

    Raises:
        DataError: an unknown arm; a reward that is NaN, infinite, or outside [0, 1] where the policy needs that.
    """
    if arm not in state.arms:
        raise DataError(f"There is no arm {arm!r}.", hint=did_you_mean(arm, state.arms))
    bounded = policy.kind in _BOUNDED
    if not math.isfinite(reward) or (bounded and not 0 <= reward <= 1):
        wanted = "a number in [0, 1]" if bounded else "a finite number"
        raise DataError(f"The reward of {arm} is {reward}, {policy.kind} needs {wanted}.", hint="Scale the reward.")
    arms = dict(state.arms)
    if policy.discount < 1:
        keep = policy.discount
        arms = {name: Arm(keep * a.n, keep * a.total, keep * a.squares) for name, a in arms.items()}
    arms[arm] = _plus(arms[arm], reward, 1)
    recent = state.recent
    if policy.window:
        recent = (*recent, (arm, reward))
        for old, value in recent[: -policy.window]:
            arms[old] = _plus(arms[old], value, -1)
        recent = recent[-policy.window :]
    return State(arms, recent, state.rewards + 1)


def choose(policy: Policy, state: State, decision: str, waiting: Mapping[str, int] | None = None) -> str:
    """The arm of a decision.

    Args:
        policy: how.
        state: what is known.
        decision: identity of the decision, such as the request id.
        waiting: by arm, choices whose reward has not come yet; UCB1 counts them, so that late rewards do not make it
            ask one arm over and over.

    >>> state = State.fresh(["v1", "v2"])
    >>> choose(Policy(), state, "request 1") == choose(Policy(), state, "request 1")
    True
    """
    digest = hashlib.blake2b(decision.encode(), digest_size=16, key=str(policy.seed).encode()).digest()
    rng = random.Random(int.from_bytes(digest, "big"))
    names = list(state.arms)
    if policy.floor * len(names) > 1 + 1e-9:
        raise DataError(f"A floor of {policy.floor} for {len(names)} arms is more than all traffic.")
    if rng.random() < policy.floor * len(names):
        return names[int(rng.random() * len(names))]
    return _CHOOSE[policy.kind](policy, state, rng, waiting or {})


@dataclass(slots=True)
class Bandit:
    """A bandit at work in one process: it counts which of its choices still wait for their reward."""

    policy: Policy
    state: State
    waiting: dict[str, int] = field(default_factory=dict)

    def choose(self, decision: str) -> str:
        """The arm of a decision."""
        arm = choose(self.policy, self.state, decision, self.waiting)
        self.waiting[arm] = self.waiting.get(arm, 0) + 1
        return arm

    def update(self, arm: str, reward: float) -> None:
        """A reward has come."""
        self.state = update(self.policy, self.state, arm, reward)
        self.waiting[arm] = max(0, self.waiting.get(arm, 0) - 1)


def _plus(arm: Arm, reward: float, sign: int) -> Arm:
    n = arm.n + sign
    if n <= 1e-9:  # what is left of sums that went to nothing is rounding
        return Arm()
    return Arm(n, arm.total + sign * reward, arm.squares + sign * reward**2)


def _any_of(names: Sequence[str], rng: random.Random) -> str:
    return names[int(rng.random() * len(names))]


def _unknown(state: State, waiting: Mapping[str, int], needed: float) -> list[str]:
    """Arms to be asked first. Where all that is needed has been asked and waits, any arm: it is better than one."""
    unasked = [name for name, arm in state.arms.items() if arm.n + waiting.get(name, 0) < needed]
    early = any(arm.n < needed for arm in state.arms.values())
    return unasked or (list(state.arms) if early else [])


def _epsilon_greedy(policy: Policy, state: State, rng: random.Random, waiting: Mapping[str, int]) -> str:
    if rng.random() < policy.epsilon:
        return _any_of(list(state.arms), rng)
    if first := _unknown(state, waiting, 1):
        return _any_of(first, rng)
    return max(state.arms, key=lambda name: state.arms[name].mean)


def _ucb1(_policy: Policy, state: State, _rng: random.Random, waiting: Mapping[str, int]) -> str:
    asked = {name: arm.n + waiting.get(name, 0) for name, arm in state.arms.items()}
    for name, n in asked.items():
        if n == 0:
            return name
    everything = math.log(max(sum(asked.values()), 1.0))
    return max(asked, key=lambda name: state.arms[name].mean + math.sqrt(2 * everything / asked[name]))


def _thompson_bernoulli(_policy: Policy, state: State, rng: random.Random, _waiting: Mapping[str, int]) -> str:
    """Beta(1, 1) before the first reward."""
    drawn = {
        name: rng.betavariate(1 + max(arm.total, 0.0), 1 + max(arm.n - arm.total, 0.0))
        for name, arm in state.arms.items()
    }
    return max(drawn, key=drawn.__getitem__)


def _thompson_gaussian(_policy: Policy, state: State, rng: random.Random, waiting: Mapping[str, int]) -> str:
    """Mean and variance unknown. The variance of all arms is believed of each of them, as firmly as ten rewards are:
    an arm whose first rewards happen to be alike would else be given up as one that never varies.
    """
    if first := _unknown(state, waiting, 2):
        return _any_of(first, rng)
    spread = {name: max(arm.squares - arm.n * arm.mean**2, 0.0) for name, arm in state.arms.items()}
    usual = sum(spread.values()) / max(sum(arm.n - 1 for arm in state.arms.values()), 1.0)
    drawn = {}
    for name, arm in state.arms.items():
        variance = (spread[name] + _FIRM * usual) / (2 * rng.gammavariate((arm.n - 1 + _FIRM) / 2, 1.0))
        drawn[name] = rng.gauss(arm.mean, math.sqrt(variance / arm.n))
    return max(drawn, key=drawn.__getitem__)


_CHOOSE: Mapping[str, Callable[[Policy, State, random.Random, Mapping[str, int]], str]] = {
    "epsilon_greedy": _epsilon_greedy,
    "ucb1": _ucb1,
    "thompson_bernoulli": _thompson_bernoulli,
    "thompson_gaussian": _thompson_gaussian,
}

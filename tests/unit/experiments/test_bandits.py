"""Bandits: the same choice on every machine, floors that hold, late rewards, and worlds that move."""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops.errors import DataError
from mlops.experiments import bandits
from mlops.experiments.bandits import Bandit, Policy, State, choose, update

KINDS = ("epsilon_greedy", "ucb1", "thompson_bernoulli", "thompson_gaussian")


def learned(policy: Policy, rewards: list[tuple[str, float]], arms: tuple[str, ...] = ("a", "b", "c")) -> State:
    """The state after rewards."""
    state = State.fresh(arms)
    for arm, reward in rewards:
        state = update(policy, state, arm, reward)
    return state


@pytest.mark.parametrize("kind", KINDS)
def test_the_best_arm_gets_most_of_the_traffic(kind: bandits.Kind) -> None:
    """After 2,000 choices between .2, .5 and .8, the last one is asked more often than the others together."""
    shares, rng = {"a": 0.2, "b": 0.5, "c": 0.8}, random.Random(1)
    bandit = Bandit(Policy(kind), State.fresh(list(shares)))
    asked: Counter[str] = Counter()
    for i in range(2_000):
        arm = bandit.choose(f"request {i}")
        asked[arm] += 1
        bandit.update(arm, float(rng.random() < shares[arm]))
    assert asked["c"] > asked["a"] + asked["b"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_choice_is_the_same_in_another_process(kind: bandits.Kind) -> None:
    """Policy, state and decision id alone decide: another interpreter with another hash seed chooses the same arms."""
    policy, rng = Policy(kind, floor=0.1, seed=3), random.Random(2)
    state = learned(policy, [(rng.choice("abc"), float(rng.random() < 0.5)) for _ in range(30)])
    code = (
        "import json, sys\nfrom mlops.experiments.bandits import *\n"
        f"state = State.of(json.loads(sys.argv[1]))\npolicy = Policy({kind!r}, floor=0.1, seed=3)\n"
        "print(json.dumps([choose(policy, state, f'r{i}') for i in range(50)]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(state.plain())],
        capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "7", "PATH": "/usr/bin"},
        cwd=Path(__file__).parents[3],
    )  # fmt: skip
    here = [choose(policy, state, f"r{i}") for i in range(50)]
    assert json.loads(done.stdout) == here
    assert [choose(Policy(kind, floor=0.1, seed=4), state, f"r{i}") for i in range(50)] != here


@pytest.mark.parametrize("kind", KINDS)
def test_every_arm_keeps_its_floor(kind: bandits.Kind) -> None:
    """An arm that never paid still gets at least its tenth, whatever the policy thinks of it."""
    policy = Policy(kind, floor=0.1, epsilon=0.0)
    state = learned(policy, [("a", 1.0), ("b", 0.0), ("c", 0.0), ("a", 0.9), ("b", 0.1), ("c", 0.1)] * 200)
    asked = Counter(choose(policy, state, f"r{i}") for i in range(5_000))
    for arm in "bc":
        assert asked[arm] / 5_000 >= 0.1 - 4 * math.sqrt(0.09 / 5_000)
    assert asked["a"] > 0.6 * 5_000


def test_a_floor_of_more_than_all_traffic_is_refused() -> None:
    """Three arms cannot have 40 % each."""
    with pytest.raises(DataError, match="more than all traffic"):
        choose(Policy(floor=0.4), State.fresh(["a", "b", "c"]), "r")


def test_ucb_asks_each_arm_once_and_then_by_its_bound() -> None:
    """The formula of Auer et al.: mean + √(2 ln t / n); late rewards count as asked."""
    policy = Policy("ucb1")
    state = State.fresh(["a", "b"])
    assert choose(policy, state, "1") == "a"
    assert choose(policy, update(policy, state, "a", 1.0), "2") == "b"
    rewards = [("a", 1.0)] * 6 + [("a", 0.0)] * 4 + [("b", 1.0), ("b", 0.0)]
    state = learned(policy, rewards, ("a", "b"))
    bounds = {arm: a.mean + math.sqrt(2 * math.log(12) / a.n) for arm, a in state.arms.items()}
    assert choose(policy, state, "3") == max(bounds, key=bounds.__getitem__) == "b"
    assert choose(policy, state, "3", {"b": 20}) == "a"


def test_late_rewards_do_not_make_ucb_ask_one_arm_only() -> None:
    """100 choices before the first reward are spread over the arms."""
    bandit = Bandit(Policy("ucb1"), State.fresh(["a", "b"]))
    asked = Counter(bandit.choose(str(i)) for i in range(100))
    assert set(asked.values()) == {50}


@pytest.mark.parametrize("kind", KINDS)
def test_choices_before_the_first_reward_are_spread(kind: bandits.Kind) -> None:
    """With 300 rewards still to come, no arm has more than half of the choices."""
    bandit = Bandit(Policy(kind), State.fresh(["a", "b", "c"]))
    asked = Counter(bandit.choose(str(i)) for i in range(300))
    assert max(asked.values()) <= 150


@pytest.mark.parametrize("kind", ["epsilon_greedy", "thompson_gaussian"])
def test_an_arm_whose_first_rewards_are_late_does_not_hold_up_the_others(kind: bandits.Kind) -> None:
    """Two arms are known, the third was asked and waits: all of them are asked."""
    policy = Policy(kind, epsilon=0.0)
    state = learned(policy, [("a", 1.0), ("b", 0.0), ("a", 0.5), ("b", 0.5)])
    asked = Counter(choose(policy, state, str(i), {"c": 5}) for i in range(90))
    assert min(asked[arm] for arm in "abc") >= 10


def test_two_equal_rewards_do_not_decide_for_ever() -> None:
    """An arm that paid nothing twice has shown no variance; it is asked again all the same."""
    state = learned(Policy("thompson_gaussian"), [("a", 0.0), ("a", 0.0), *[("b", 1.0), ("b", 0.0)] * 20], ("a", "b"))
    asked = Counter(choose(Policy("thompson_gaussian"), state, str(i)) for i in range(300))
    assert asked["a"] >= 10


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 1)), max_size=60), st.integers(1, 20))
def test_a_window_knows_the_newest_rewards_and_nothing_else(rewards: list[tuple[str, float]], window: int) -> None:
    """After any rewards, the state of a window is that of its newest ones alone."""
    found = learned(Policy(window=window), rewards)
    alone = learned(Policy(), rewards[-window:])
    for arm in "abc":
        assert found.arms[arm].n == alone.arms[arm].n
        assert found.arms[arm].total == pytest.approx(alone.arms[arm].total, abs=1e-9)


def test_a_discount_forgets_geometrically() -> None:
    """k rewards later, a reward counts γᵏ, whichever arm the later ones were for."""
    state = learned(Policy(discount=0.9), [("a", 1.0), ("b", 1.0), ("b", 0.0)])
    assert state.arms["a"].n == pytest.approx(0.81)
    assert state.arms["b"].total == pytest.approx(0.9)


@pytest.mark.parametrize("policy", [Policy(discount=0.98), Policy(window=100)])
def test_a_world_that_moves_is_followed(policy: Policy) -> None:
    """When the best arm becomes the worst, a bandit that forgets turns; one that does not is still with the old one."""
    shares = {"a": 0.9, "b": 0.1}

    def late(chosen: Policy) -> int:
        rng, bandit = random.Random(4), Bandit(chosen, State.fresh(list(shares)))
        asked: Counter[str] = Counter()
        for i in range(2_000):
            arm = bandit.choose(str(i))
            share = shares[arm] if i < 1_500 else 1 - shares[arm]
            bandit.update(arm, float(rng.random() < share))
            asked[arm] += i >= 1_700
        return asked["b"]

    assert late(policy) > 200 > late(Policy())


@pytest.mark.parametrize(
    ("arm", "reward", "said"),
    [("d", 1.0, "no arm 'd'"), ("a", math.nan, "is nan"), ("a", 1.5, "in \\[0, 1\\]"), ("a", math.inf, "is inf")],
)
def test_a_reward_that_cannot_be_is_refused(arm: str, reward: float, said: str) -> None:
    """Unknown arms, NaN, infinity, and rewards above 1 where a share is learned."""
    with pytest.raises(DataError, match=said):
        update(Policy(), State.fresh(["a", "b"]), arm, reward)


def test_policies_that_cannot_be_are_refused() -> None:
    """Unknown kinds with the one that was meant, and numbers outside their range."""
    with pytest.raises(DataError, match="Did you mean 'thompson_bernoulli'"):
        Policy("thompson_bernouli")  # type: ignore[arg-type]
    for wrong in ({"discount": 0.0}, {"window": 5, "discount": 0.5}, {"epsilon": 2.0}):
        with pytest.raises(DataError):
            Policy(**wrong)  # type: ignore[arg-type]

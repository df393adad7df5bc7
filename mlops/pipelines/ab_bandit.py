"""A bandit's night: rewards that have come are counted, each once, and the arms' shares of the units follow.

A reward is a row's value of the experiment's metric, known by unit and moment; late ones count when they come. The
shares are how often the policy would choose each arm now, so that routing stays a digest of the unit.

One rule: a reward counts as it was first told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import date

import pandas as pd

from mlops.experiments.bandit_store import Reward
from mlops.experiments.bandits import Policy, State, choose
from mlops.pipelines import ab_outcomes
from mlops.pipelines.experiment_state import ExperimentState
from mlops.services import Services
from mlops.serving.routing import assign
from mlops.spec import ModelSpec

CHOICES = 2_000  # by which shares are measured


def policy_of(state: ExperimentState) -> Policy:
    """The policy of an experiment's bandit."""
    return Policy(**state.spec.bandit.model_dump(), seed=state.number)


def learn(services: Services, spec: ModelSpec, state: ExperimentState, day: date) -> tuple[int, State]:
    """Count the rewards that are known by a night.

    Returns:
        How many were new, and what is known now.

    Raises:
        SchemaError, SourceError: outcomes cannot be read.
        DataError: a reward that the policy cannot take.
    """
    bandit = f"{state.spec.name}/{state.number}"
    rewards = list(_rewards(services, spec, state, day))
    new = services.bandits.add(bandit, policy_of(state), rewards, at=services.clock(), corrected="ignore")
    return new, services.bandits.state(bandit)


def shares(policy: Policy, known: State) -> dict[str, float]:
    """How often the policy would choose each arm, of `CHOICES` choices."""
    chosen = Counter(choose(policy, known, f"share/{i}") for i in range(CHOICES))
    return {name: chosen[name] / CHOICES for name in known.arms}


def _rewards(services: Services, spec: ModelSpec, state: ExperimentState, day: date) -> Iterator[Reward]:
    metric, route = state.spec.metric, state.route
    assert metric is not None
    unit = ab_outcomes.unit_of(spec, state)
    for each, frame in ab_outcomes.frames(services, spec, state, day):
        ab_outcomes.need(frame, (unit, metric.column), state)
        moment = next((name for name in ("request_id", spec.timestamps.event) if name in frame.columns), None)
        table = pd.DataFrame(
            {
                "unit": frame[unit].astype(str),
                "variant": ab_outcomes.variants_of(frame, state),
                "reward": pd.to_numeric(frame[metric.column], errors="coerce"),
                "moment": frame[moment].astype(str) if moment else str(each),
            }
        ).dropna()
        for name, variant, reward, when in zip(*(table[column].tolist() for column in table.columns), strict=True):
            if assign(route, name).reason == "assigned":
                yield Reward(f"{name}/{when}", variant, reward if metric.better == "higher" else 1.0 - reward)

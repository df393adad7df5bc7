"""Rewards of bandits and what was learned from them, in SQL: each reward counts once, however often it is told.

A reward and the state that counts it are written in one transaction. So a process killed at any moment leaves both or
neither, and whoever tells a reward again (a retry, a second replica) changes nothing.

One rule: rewards are never changed; a reward id with another value is refused.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, Protocol

import sqlalchemy as sa

from mlops.errors import DataError
from mlops.experiments.bandits import Policy, State, update

_METADATA = sa.MetaData()
_REWARDS = sa.Table(
    "bandit_rewards",
    _METADATA,
    sa.Column("bandit", sa.Text, primary_key=True),
    sa.Column("reward_id", sa.Text, primary_key=True),
    sa.Column("arm", sa.Text, nullable=False),
    sa.Column("reward", sa.Float, nullable=False),
    sa.Column("arrived_at", sa.Text, nullable=False),  # ISO 8601, UTC
)
_STATES = sa.Table(
    "bandit_states",
    _METADATA,
    sa.Column("bandit", sa.Text, primary_key=True),
    sa.Column("state", sa.Text, nullable=False),  # JSON
)
TABLES = (_REWARDS, _STATES)
_AT_ONCE = 500  # ids asked for in one query


class Transactions(Protocol):
    """What the store asks of a database."""

    def reading(self) -> AbstractContextManager[sa.Connection]:
        """A transaction that only reads."""

    def writing(self) -> AbstractContextManager[sa.Connection]:
        """A transaction that writes: committed whole when the block ends, undone when it raises."""


@dataclass(frozen=True, slots=True)
class Reward:
    """What an answer turned out to be worth."""

    reward_id: str  # such as the request id
    arm: str
    reward: float


class BanditStore:
    """The bandits of one installation.

    Args:
        database: where the tables are.
    """

    def __init__(self, database: Transactions) -> None:
        self._database = database

    def open(self, bandit: str, arms: Sequence[str]) -> State:
        """The state of a bandit; with a fresh one it begins.

        Raises:
            DataError: it is there with other arms.
        """
        fresh = State.fresh(arms)
        with self._database.writing() as connection:
            found = _locked(connection, bandit)
            if found is None:
                row = {"bandit": bandit, "state": json.dumps(fresh.plain())}
                connection.execute(sa.insert(_STATES), row)
                return fresh
        if list(found.arms) != list(arms):
            raise DataError(
                f"Bandit {bandit} has the arms {list(found.arms)}, not {list(arms)}.",
                hint="Another set of arms is another bandit: stop the experiment and start it anew.",
            )
        return found

    def state(self, bandit: str) -> State:
        """What is known now.

        Raises:
            DataError: there is no such bandit.
        """
        with self._database.reading() as connection:
            text = connection.execute(sa.select(_STATES.c.state).where(_STATES.c.bandit == bandit)).scalar()
        if text is None:
            raise DataError(f"There is no bandit {bandit!r}.", hint="Start its experiment: mlops ab start")
        return State.of(json.loads(text))

    def add(
        self,
        bandit: str,
        policy: Policy,
        rewards: Sequence[Reward],
        *,
        at: datetime,
        corrected: Literal["refuse", "ignore"] = "refuse",
    ) -> int:
        """Count rewards, those that were not counted before, in the order given.

        Args:
            bandit: which.
            policy: of it.
            rewards: of any decisions.
            at: now, aware.
            corrected: what to do with a reward that was told before with another value.

        Returns:
            How many were new: all of them are counted, or none if it raises.

        Raises:
            DataError: no such bandit or arm, a reward the policy cannot take, or an id with another value.
        """
        with self._database.writing() as connection:
            state = _locked(connection, bandit)
            if state is None:
                raise DataError(f"There is no bandit {bandit!r}.", hint="Start its experiment: mlops ab start")
            told = _counted(connection, bandit, [one.reward_id for one in rewards])
            fresh = []
            for one in rewards:
                said = (one.arm, float(one.reward))
                if one.reward_id not in told:
                    told[one.reward_id] = said
                    state = update(policy, state, *said)
                    moment = at.astimezone(UTC).isoformat(timespec="microseconds")
                    row = {"bandit": bandit, "reward_id": one.reward_id, "arm": said[0], "reward": said[1]}
                    fresh.append(row | {"arrived_at": moment})
                elif told[one.reward_id] != said and corrected == "refuse":
                    raise DataError(
                        f"Reward {one.reward_id} of {bandit} was {told[one.reward_id]} and is now {said}.",
                        hint="A reward is told once; give another one another id.",
                    )
            if fresh:
                connection.execute(sa.insert(_REWARDS), fresh)
                new = {"state": json.dumps(state.plain())}
                connection.execute(sa.update(_STATES).where(_STATES.c.bandit == bandit).values(new))
        return len(fresh)


def _locked(connection: sa.Connection, bandit: str) -> State | None:
    """The state, which nobody else changes until the transaction ends (SQLite: locked since it began)."""
    query = sa.select(_STATES.c.state).where(_STATES.c.bandit == bandit).with_for_update()
    text = connection.execute(query).scalar()
    return None if text is None else State.of(json.loads(text))


def _counted(connection: sa.Connection, bandit: str, ids: Sequence[str]) -> dict[str, tuple[str, float]]:
    """Of these rewards those that were counted before, by id."""
    found: dict[str, tuple[str, float]] = {}
    for start in range(0, len(ids), _AT_ONCE):
        some = list(ids[start : start + _AT_ONCE])
        query = sa.select(_REWARDS.c.reward_id, _REWARDS.c.arm, _REWARDS.c.reward)
        query = query.where(_REWARDS.c.bandit == bandit, _REWARDS.c.reward_id.in_(some))
        found |= {row.reward_id: (row.arm, float(row.reward)) for row in connection.execute(query)}
    return found

"""The bandit store on SQLite and on PostgreSQL: every reward counts once, whoever tells it how often."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mlops.errors import DataError
from mlops.experiments.bandit_store import TABLES, BanditStore, Reward
from mlops.experiments.bandits import Policy
from mlops.governance.database import Database

NOW = datetime(2026, 3, 2, tzinfo=UTC)


@pytest.fixture
def store(url: str) -> BanditStore:
    """An empty store."""
    return BanditStore(Database(url, TABLES, {}, what="bandit store"))


def test_a_reward_counts_once_however_often_it_is_told(store: BanditStore) -> None:
    """Told again, alone or among new ones, or twice in one call, it changes nothing; the state survives reopening."""
    store.open("fleet/1", ["a", "b"])
    first = [Reward("r1", "a", 1.0), Reward("r2", "b", 0.0), Reward("r1", "a", 1.0)]
    assert store.add("fleet/1", Policy(), first, at=NOW) == 2
    assert store.add("fleet/1", Policy(), [*first, Reward("r3", "a", 0.0)], at=NOW) == 1
    state = store.open("fleet/1", ["a", "b"])
    assert (state.rewards, state.arms["a"].n, state.arms["a"].total) == (3, 2.0, 1.0)
    assert store.state("fleet/1") == state


def test_a_reward_told_differently_is_refused_and_changes_nothing(store: BanditStore) -> None:
    """The same id with another value: an error, and none of the call's rewards is counted."""
    store.open("fleet/1", ["a", "b"])
    store.add("fleet/1", Policy(), [Reward("r1", "a", 1.0)], at=NOW)
    with pytest.raises(DataError, match="told once"):
        store.add("fleet/1", Policy(), [Reward("r2", "b", 1.0), Reward("r1", "a", 0.0)], at=NOW)
    assert store.state("fleet/1").rewards == 1


def test_two_processes_that_tell_the_same_rewards_count_them_once(store: BanditStore, url: str) -> None:
    """Four processes at once, overlapping ids: every id is counted exactly once."""
    store.open("fleet/1", ["a", "b"])
    code = (
        "import sys\nfrom datetime import UTC, datetime\nfrom mlops.governance.database import Database\n"
        "from mlops.experiments.bandit_store import TABLES, BanditStore, Reward\n"
        "from mlops.experiments.bandits import Policy\n"
        "store = BanditStore(Database(sys.argv[1], TABLES, {}))\nstart = int(sys.argv[2])\n"
        "for i in range(start, start + 40):\n"
        "    store.add('fleet/1', Policy(), [Reward(f'r{i}', 'ab'[i % 2], 1.0)], at=datetime(2026, 3, 2, tzinfo=UTC))\n"
    )
    root = Path(__file__).parents[2]
    at_work = [subprocess.Popen([sys.executable, "-c", code, url, str(10 * k)], cwd=root) for k in range(4)]
    assert [process.wait(timeout=120) for process in at_work] == [0, 0, 0, 0]
    assert store.state("fleet/1").rewards == 70


def test_a_bandit_with_other_arms_is_another_bandit(store: BanditStore) -> None:
    """Opened with other arms it is refused, and one that was never opened is not there."""
    store.open("fleet/1", ["a", "b"])
    with pytest.raises(DataError, match="has the arms"):
        store.open("fleet/1", ["a", "c"])
    with pytest.raises(DataError, match="no bandit 'fleet/2'"):
        store.state("fleet/2")

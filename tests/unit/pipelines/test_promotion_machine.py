"""A champion's life as a state machine: whatever happens in whatever order, there is one, with a history."""

from __future__ import annotations

import contextlib
import itertools
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mlops.config import MLOpsConfig
from mlops.errors import MLOpsError
from mlops.governance.champions import reigns
from mlops.pipelines import champions, promotion, reconcile, rollback
from mlops.records import RunRecord
from mlops.services import Services
from tests.contenders import Clock, Contenders, spec_of

POINTS = ("append", "set_alias", "set_stage", "check")  # where a process may be killed: before each of these calls
_numbers = itertools.count()


class Killed(BaseException):
    """The process is gone."""


class Mortal:
    """An adapter whose process is killed before the n-th consequential call, counted over all adapters."""

    def __init__(self, adapter: Any, left: list[int]) -> None:
        """Share the count of calls that are left."""
        self._adapter, self._left = adapter, left

    def __getattr__(self, name: str) -> Any:
        """The adapter's own, counted where it has consequences."""
        found = getattr(self._adapter, name)
        return self._counted(found) if name in POINTS else found

    def _counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **options: Any) -> Any:
            """One call nearer to the end."""
            self._left[0] -= 1
            if self._left[0] == 0:
                raise Killed
            return call(*args, **options)

        return counted


class Lives(RuleBasedStateMachine):
    """Versions come, are judged, promoted, rolled back, deleted and tampered with, and processes die on the way."""

    store: ClassVar[tuple[MLOpsConfig, tuple[RunRecord, ...]]]

    def __init__(self) -> None:
        """A model of its own in an installation of its own; MLflow's store is shared."""
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        config, runs = self.store
        values = {"var": f"{self.folder.name}/var", "ledger_url": f"sqlite:///{self.folder.name}/l.db", "actor": "ann"}
        self.clock = Clock()
        self.services = Services(config.model_copy(update=values), self.clock)
        self.spec = spec_of(Services(config), f"lives{next(_numbers)}")
        self.contenders = Contenders(self.services, self.spec, runs)
        self.versions: list[int] = []

    def teardown(self) -> None:
        """At the end all agrees."""
        self.reconcile()
        self.folder.cleanup()

    def mortal(self, calls: int) -> Services:
        """The services of a process that will be killed; no limit for 0."""
        own = Services(self.services.config, self.clock)
        left = [calls]
        own.__dict__["registry"] = Mortal(self.services.registry, left)
        own.__dict__["ledger"] = Mortal(self.services.ledger, left)
        own.__dict__["leases"] = Mortal(own.leases, left)
        return own

    def attempt(self, work: Callable[[Services], object], calls: int) -> None:
        """Do something that may be refused, in a process that may be killed; its lease runs out."""
        with contextlib.suppress(Killed, MLOpsError):
            work(self.mortal(calls))
        self.clock.now += timedelta(minutes=1)

    @rule()
    def train_and_validate(self) -> None:
        """A night brings a challenger."""
        self.versions.append(self.contenders.contender().version)

    @precondition(lambda self: self.versions)
    @rule(data=st.data(), calls=st.integers(0, 7))
    def promote(self, data: st.DataObject, calls: int) -> None:
        """Any version that was judged is to be promoted, perhaps by a process that dies."""
        version = data.draw(st.sampled_from(self.versions))
        day = self.contenders.judged[version].date
        self.attempt(lambda own: promotion.run(own, self.spec, day, version), calls)

    @rule(calls=st.integers(0, 7))
    def roll_back(self, calls: int) -> None:
        """Back to the champion before, perhaps by a process that dies."""
        day = self.clock().date()
        self.attempt(lambda own: rollback.run(own, self.spec, day), calls)

    @precondition(lambda self: self.versions)
    @rule(data=st.data())
    def move_the_alias_outside(self, data: st.DataObject) -> None:
        """Somebody uses MLflow by hand."""
        version = data.draw(st.sampled_from(self.versions))
        self.services.registry.client.set_registered_model_alias(self.spec.name, "champion", str(version))

    @precondition(lambda self: len(self.versions) > 1)
    @rule(data=st.data())
    def delete_a_version(self, data: st.DataObject) -> None:
        """Its aliases go with it."""
        version = data.draw(st.sampled_from(self.versions))
        self.services.registry.client.delete_model_version(self.spec.name, str(version))
        self.versions.remove(version)

    @rule()
    def reconcile(self) -> None:
        """Alias, stages and ledger agree; a champion that was deleted is nobody's alias."""
        reconcile.run(self.services, self.spec)
        reconcile.run(self.services, self.spec)
        where = champions.standing(self.services, self.spec.name)
        alive = where.version if where.version in self.versions else None
        assert where.alias == alive
        found = self.services.registry.versions(self.spec.name)
        assert [v.version for v in found if v.stage == "production"] == ([alive] if alive else [])

    @invariant()
    def the_history_is_whole(self) -> None:
        """No gap, no overlap, evidence for every reign, and a chain that verifies."""
        found = reigns(self.services.ledger.entries(self.spec.name))
        for before, after in itertools.pairwise(found):
            assert before.until_at == after.from_at
            assert before.version != after.version
        assert all(reign.evidence_hash for reign in found)
        assert self.services.ledger.verify() == []


def test_there_is_one_champion_with_a_history_whatever_happens(
    contenders_store: tuple[MLOpsConfig, tuple[RunRecord, ...]], tmp_path: Path
) -> None:
    """Random lives of a model, killed at any point: one champion, a whole history, and agreement after reconciling."""
    Lives.store = contenders_store
    machine: Any = Lives.TestCase
    machine.settings = settings(
        max_examples=5, stateful_step_count=10, deadline=None, suppress_health_check=list(HealthCheck)
    )
    machine().runTest()


@pytest.mark.parametrize("calls", range(1, 12))
def test_a_promotion_killed_anywhere_ends_as_one_that_was_not(contenders: Contenders, calls: int) -> None:
    """Before each consequential call in turn; the retry leaves the same kinds of entries, alias and stages."""
    from tests.unit.pipelines.test_promotion import alias, kinds, promote, stages

    for version in (1, 2):
        contenders.contender()
        if version == 1:
            promote(contenders, 1)
    left = [calls]
    own = Services(contenders.services.config, contenders.services.clock)
    own.__dict__["registry"] = Mortal(contenders.services.registry, left)
    own.__dict__["ledger"] = Mortal(contenders.services.ledger, left)
    own.__dict__["leases"] = Mortal(own.leases, left)
    with contextlib.suppress(Killed):
        promotion.run(own, contenders.spec, contenders.day(2), 2)
    assert promote(contenders, 2).outcome == "done"
    assert (alias(contenders), stages(contenders)) == (2, {1: "archived", 2: "production"})
    assert kinds(contenders) == ["promotion_intent", "promotion"] * 2

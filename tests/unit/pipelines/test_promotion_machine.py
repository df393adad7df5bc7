"""A champion's life as a state machine: whatever happens in whatever order, there is one, with a history."""

from __future__ import annotations

import contextlib
import itertools
import os
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mlops.config import MLOpsConfig
from mlops.errors import MLOpsError
from mlops.governance.champions import reigns
from mlops.governance.ledger import Entry
from mlops.pipelines import approval, champions, promotion, reconcile, rollback
from mlops.records import RunRecord
from mlops.services import Services
from tests.contenders import Clock, Contenders, spec_of

PEOPLE = ("ann", "ben", "cleo")  # hold the role; dora does not
POLICIES: tuple[dict[str, Any], ...] = (
    {"approval": "automatic"},
    {"approval": "people", "approvers": 1},
    {"approval": "people", "approvers": 2},
)
POINTS = ("append", "set_alias", "set_stage", "check")  # where a process may be killed: before each of these calls
EXAMPLES = int(os.environ.get("MLOPS_TEST_LIVES", "8"))  # random lives; more on a quiet afternoon
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
        values["roles"] = {"model-approver": PEOPLE}
        self.clock = Clock()
        self.services = Services(config.model_copy(update=values), self.clock)
        self.name, self.runs = f"lives{next(_numbers)}", runs
        self.versions: list[int] = []

    @initialize(policy=st.sampled_from(POLICIES))
    def agree_who_decides(self, policy: dict[str, Any]) -> None:
        """Automatic, one person, or two."""
        self.spec = spec_of(Services(self.store[0]), self.name, **policy)
        self.contenders = Contenders(self.services, self.spec, self.runs)

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

    @rule(started_by=st.sampled_from(("scheduler", *PEOPLE)))
    def train_and_validate(self, started_by: str) -> None:
        """A night, or somebody, brings a challenger."""
        self.versions.append(self.contenders.contender(started_by=started_by).version)

    @precondition(lambda self: self.versions)
    @rule(
        data=st.data(),
        person=st.sampled_from((*PEOPLE, "dora")),
        answer=st.sampled_from(("approve", "reject", "approve")),
    )
    def vote(self, data: st.DataObject, person: str, answer: approval.Answer) -> None:
        """Somebody who may or may not votes on something that does or does not wait for it."""
        version = data.draw(st.sampled_from(self.versions))
        with contextlib.suppress(MLOpsError):
            approval.vote(self.services, self.spec, answer, version=version, actor=person)

    @rule()
    def nobody_does_anything_for_a_day(self) -> None:
        """The time for approvals runs out."""
        self.clock.now += timedelta(hours=25)

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

    @invariant()
    def enough_people_have_approved(self) -> None:
        """Before every promotion: enough holders of the role, in time, not who trained it, and nobody against it."""
        if not self.versions or self.spec.promotion.approval == "automatic":
            return
        entries = self.services.ledger.entries(self.spec.name)
        for made in (entry for entry in entries if entry.kind == "promotion"):
            answers = self.answers_on(made, entries)
            assert "reject" not in answers.values()
            assert len(answers) >= self.spec.promotion.approvers

    def answers_on(self, made: Entry, entries: list[Entry]) -> dict[str, str]:
        """Who said what on a version that was promoted, as far as it had to count."""
        intent = next(e for e in entries if e.kind == "promotion_intent" and e.body["version"] == made.body["version"])
        asked = next(e for e in entries if e.kind == "approval_request" and e.body["version"] == made.body["version"])
        votes = [e for e in entries if e.kind == "approval" and e.body["version"] == made.body["version"]]
        return {
            e.actor: str(e.body["answer"])
            for e in votes
            if asked.seq < e.seq < intent.seq
            and e.at <= asked.at + timedelta(hours=24)
            and e.actor in PEOPLE
            and e.actor != asked.body["started_by"]
        }


def test_there_is_one_champion_with_a_history_whatever_happens(
    contenders_store: tuple[MLOpsConfig, tuple[RunRecord, ...]], tmp_path: Path
) -> None:
    """Random lives of a model, killed at any point: one champion, a whole history, and agreement after reconciling."""
    Lives.store = contenders_store
    machine: Any = Lives.TestCase
    machine.settings = settings(
        max_examples=EXAMPLES, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck)
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

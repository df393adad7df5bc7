"""Approval by people: only those who may, each once, on this evidence, in time; and never the one who trained it."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

import pytest

from mlops.errors import PromotionError
from mlops.governance.champions import reigns
from mlops.pipelines import approval, tasks
from mlops.pipelines.status import status_of
from mlops.services import Services
from tests.contenders import Clock, Contenders
from tests.unit.pipelines.test_promotion import alias, kinds, promote

ROLES = {"model-approver": ("alice", "bob", "carol")}


def people(contenders: Contenders, *, roles: Any = ROLES, auto: bool = False, **rules: Any) -> Contenders:
    """The same model under a policy that asks people."""
    services = contenders.services
    config = services.config.model_copy(update={"roles": roles, "allow_auto_approve": auto})
    policy = contenders.spec.promotion.model_copy(update={"approval": "people", **rules})
    spec = contenders.spec.model_copy(update={"promotion": policy})
    return dataclasses.replace(contenders, services=Services(config, services.clock), spec=spec)


def vote(asked: Contenders, person: str, answer: Any = "approve", **options: Any) -> approval.Approval:
    """One person's vote."""
    return approval.vote(asked.services, asked.spec, answer, actor=person, **options)


def test_a_promotion_waits_until_enough_people_approved(contenders: Contenders) -> None:
    """Two of three must: it says whose votes are missing, and then moves and names both."""
    asked = people(contenders, approvers=2)
    asked.contender(started_by="carol")
    told = promote(asked, 1)
    assert (told.outcome, told.exit_code, alias(asked)) == ("cannot_tell", 3, None)
    assert "Nobody approved; 2 more needed from model-approver: alice or bob." in told.reason
    assert "waits for approval" in told.reason
    (waiting,) = status_of(asked.services, asked.spec)["waiting_for_approval"]
    assert waiting.startswith("version 1: Nobody approved; 2 more needed")
    assert vote(asked, "alice", comment="Looks good.").missing == 1
    assert "1 of 2 approved (alice); 1 more needed from model-approver: bob." in promote(asked, 1).reason
    assert vote(asked, "bob").status == "approved"
    told = promote(asked, 1)
    assert (told.outcome, alias(asked)) == ("done", 1)
    (reign,) = reigns(asked.services.ledger.entries(asked.spec.name))
    assert reign.by == "alice, bob"
    assert kinds(asked) == ["approval_request", "approval", "approval", "promotion_intent", "promotion"]
    assert status_of(asked.services, asked.spec)["waiting_for_approval"] == []


@pytest.mark.parametrize(
    ("person", "started_by", "words"),
    [
        ("mallory", "scheduler", r"mallory does not hold the role model-approver \(holders: alice, bob, carol\)"),
        ("alice", "alice", "alice started the training; four eyes means that somebody else approves"),
        ("alice", "", "Nobody knows who started the training"),
    ],
)
def test_a_vote_that_would_not_count_is_refused(
    contenders: Contenders, person: str, started_by: str, words: str
) -> None:
    """Without the role, or as the one who started the training: refused by name, and no entry."""
    asked = people(contenders)
    asked.contender(started_by=started_by)
    promote(asked, 1)
    with pytest.raises(PromotionError, match=words):
        vote(asked, person)
    assert kinds(asked) == ["approval_request"]
    assert promote(asked, 1).outcome == "cannot_tell"


def test_airflow_names_a_person_twice_and_four_eyes_hold_for_both(
    contenders: Contenders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A role held by the id in Airflow does not let the starter, known by name, approve; nor anybody vote twice."""
    asked = people(contenders, roles={"model-approver": ("17", "18", "19")}, approvers=2)
    asked.contender(started_by="anna")
    promote(asked, 1)
    monkeypatch.setattr(Services, "open", lambda: asked.services)
    monkeypatch.setattr(Services, "spec", lambda *_: asked.spec)
    with pytest.raises(PromotionError, match="17 is anna, who started the training"):
        tasks.vote(asked.spec.name, 1, "approve", names=("anna", "17"))
    tasks.vote(asked.spec.name, 1, "approve", names=("carol", "18"))
    assert promote(asked, 1).outcome == "cannot_tell"
    assert tasks.vote(asked.spec.name, 1, "approve", names=("dora", "19"))["by"] == "19"
    assert promote(asked, 1).outcome == "done"


def test_a_second_vote_under_another_name_of_the_same_person_is_refused(
    contenders: Contenders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the shell by name, in Airflow by id: both hold the role, and still it is one person."""
    asked = people(contenders, roles={"model-approver": ("bob", "18")}, approvers=2)
    asked.contender()
    promote(asked, 1)
    monkeypatch.setattr(Services, "open", lambda: asked.services)
    monkeypatch.setattr(Services, "spec", lambda *_: asked.spec)
    vote(asked, "bob")
    with pytest.raises(PromotionError, match=r"has voted on .* already"):
        tasks.vote(asked.spec.name, 1, "approve", names=("18", "bob"))
    assert promote(asked, 1).outcome == "cannot_tell"


def test_without_four_eyes_the_starter_may_approve(contenders: Contenders) -> None:
    """The spec may allow it."""
    asked = people(contenders, four_eyes=False)
    asked.contender(started_by="alice")
    promote(asked, 1)
    assert vote(asked, "alice").status == "approved"


def test_a_person_has_one_vote(contenders: Contenders) -> None:
    """A second one is refused, whichever way it goes, and the first stays."""
    asked = people(contenders, approvers=2)
    asked.contender()
    promote(asked, 1)
    vote(asked, "alice")
    for answer in ("approve", "reject"):
        with pytest.raises(PromotionError, match=r"alice has voted on .* already \(approve"):
            vote(asked, "alice", answer)
    assert promote(asked, 1).outcome == "cannot_tell"
    ledger = asked.services.ledger
    (first,) = ledger.entries(asked.spec.name, "approval")
    ledger.append("approval", first.model, first.body, actor="alice", at=asked.services.clock(), key="by another way")
    assert promote(asked, 1).outcome == "cannot_tell"


def test_one_rejection_refuses_and_is_recorded(contenders: Contenders) -> None:
    """However many approved: rejected, with the comment, once in the ledger; a later approval comes too late."""
    asked = people(contenders, approvers=2)
    asked.contender()
    promote(asked, 1)
    vote(asked, "alice")
    assert vote(asked, "bob", "reject", comment="Holiday data.").status == "rejected"
    for _ in range(2):
        told = promote(asked, 1)
        assert (told.outcome, told.reason, alias(asked)) == ("no", "bob rejected it: Holiday data.", None)
    assert kinds(asked).count("promotion_refused") == 1
    with pytest.raises(PromotionError, match="is rejected: bob rejected it"):
        vote(asked, "carol")


def test_silence_refuses_when_the_time_is_up(contenders: Contenders) -> None:
    """After the hours of the spec nobody can approve any more, and the promotion is refused."""
    asked = people(contenders, timeout_hours=2)
    asked.contender()
    promote(asked, 1)
    clock = asked.services.clock
    assert isinstance(clock, Clock)
    clock.now += timedelta(hours=2)
    told = promote(asked, 1)
    assert (told.outcome, alias(asked)) == ("no", None)
    assert told.reason.startswith("Not approved by 2026-03-02 05:0")
    with pytest.raises(PromotionError, match="is timed out"):
        vote(asked, "alice")
    ledger = asked.services.ledger
    (request,) = ledger.entries(asked.spec.name, "approval_request")
    late = {name: request.body[name] for name in ("version", "evidence_hash")} | {"answer": "approve"}
    ledger.append("approval", asked.spec.name, late, actor="alice", at=clock(), key="by another way")
    assert (promote(asked, 1).outcome, alias(asked)) == ("no", None)


def test_new_evidence_needs_new_approvals(contenders: Contenders) -> None:
    """Approved on one evidence, then judged again with another result: people are asked again."""
    asked = people(contenders)
    asked.contender()
    promote(asked, 1)
    vote(asked, "alice")
    asked.judge(1, against=None)
    assert promote(asked, 1).outcome == "done"
    asked.contender()
    promote(asked, 2)
    vote(asked, "alice")
    evidence = asked.judged[2]
    asked.services.registry.client.set_model_version_tag(asked.spec.name, "2", "mlops.candidate", "other")
    assert asked.judge(2).evidence_hash != evidence.evidence_hash
    assert promote(asked, 2).outcome == "cannot_tell"
    assert vote(asked, "alice", version=2).status == "approved"
    assert promote(asked, 2).outcome == "done"


def test_who_lost_the_role_has_no_vote_any_more(contenders: Contenders) -> None:
    """Roles are looked up when votes are counted, not only when they are given."""
    asked = people(contenders)
    asked.contender()
    promote(asked, 1)
    vote(asked, "alice")
    told = promote(people(contenders, roles={"model-approver": ("bob",)}), 1)
    assert told.outcome == "cannot_tell"
    assert "Nobody approved; 1 more needed from model-approver: bob." in told.reason


def test_a_role_that_nobody_holds_says_so(contenders: Contenders) -> None:
    """The words name the setting that is missing."""
    asked = people(contenders, roles={})
    asked.contender()
    assert (
        "nobody may: anybody does not hold the role model-approver (holders: nobody; the setting `roles` says who)"
        in (promote(asked, 1).reason)
    )


def test_nothing_is_asked_while_a_check_fails(contenders: Contenders) -> None:
    """People are not bothered with what cannot be promoted."""
    asked = people(contenders)
    asked.register()
    asked.judge(1, "fail")
    assert promote(asked, 1).outcome == "no"
    assert kinds(asked) == ["promotion_refused"]


def test_a_vote_without_a_request_is_refused(contenders: Contenders) -> None:
    """Nobody was asked, or several wait: the message says what to do."""
    asked = people(contenders)
    with pytest.raises(PromotionError, match="Ask with: mlops promote"):
        vote(asked, "alice")
    asked.contender()
    asked.contender()
    for version in (1, 2):
        promote(asked, version)
    with pytest.raises(PromotionError, match=r"Several versions wait: 1, 2\. Waiting: 1, 2\. Name one with --version"):
        vote(asked, "alice")
    with pytest.raises(PromotionError, match="Nobody was asked about version 7"):
        vote(asked, "alice", version=7)


def test_without_a_person_only_where_the_settings_allow_it(contenders: Contenders) -> None:
    """For tests and CI; where the setting is taken back, such an approval counts no more."""
    asked = people(contenders)
    asked.contender()
    promote(asked, 1)
    with pytest.raises(PromotionError, match="the settings do not allow it"):
        approval.auto_approve(asked.services, asked.spec, 1)
    allowed = people(contenders, auto=True)
    assert approval.auto_approve(allowed.services, allowed.spec, 1).status == "approved"
    assert promote(asked, 1).outcome == "cannot_tell"
    assert promote(allowed, 1).record["decided_by"] == "policy:auto_approve"


def test_the_page_shows_gates_evidence_and_who_is_asked(contenders: Contenders) -> None:
    """What a person needs to decide, as Markdown."""
    asked = people(contenders)
    asked.contender()
    promote(asked, 1)
    page = approval.page(asked.services, asked.spec, 1)
    assert page["subject"] == f"Promote {asked.spec.name} version 1?"
    for words in (
        "| better than champion | pass | AUC .91 against .88. |",
        asked.judged[1].evidence_hash,
        "evidence-v1.html",
    ):
        assert words in page["body"]
    assert "1 more needed from model-approver: alice or bob or carol" in page["body"]

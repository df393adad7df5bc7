"""Rollback: one step back along the reigns, once per request, to a version that is there and whole, or a clear no."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from mlops.errors import PromotionError
from mlops.governance.champions import reigns
from mlops.models.registry import ModelRegistry
from mlops.pipelines import champions, rollback
from mlops.pipelines.tasks import execute
from mlops.records import StepReport
from tests.contenders import FIRST_NIGHT, Contenders
from tests.unit.pipelines.test_promotion import alias, kinds, promote, stages


def roll_back(contenders: Contenders, **options: Any) -> StepReport:
    """Roll the model back."""
    return execute("rollback", contenders.services, contenders.spec, FIRST_NIGHT, **options)


@pytest.fixture
def three(contenders: Contenders) -> Contenders:
    """Versions 1, 2 and 3 have been champion one after the other."""
    for version in (1, 2, 3):
        contenders.contender()
        assert promote(contenders, version).outcome == "done"
    return contenders


def test_it_goes_back_to_the_champion_before(three: Contenders) -> None:
    """Alias, stages and ledger name the predecessor, with its evidence and the reason given; all within two seconds."""
    began = time.process_time()  # a busy machine may let everybody wait
    told = roll_back(three, reason="Alarms doubled.")
    assert time.process_time() - began < 2
    assert (told.outcome, told.reason) == ("done", "Rolled back from version 3 to version 2. Alarms doubled.")
    assert (alias(three), stages(three)) == (2, {1: "archived", 2: "production", 3: "archived"})
    assert kinds(three)[-2:] == ["rollback_intent", "rollback"]
    last = reigns(three.services.ledger.entries(three.spec.name))[-1]
    assert (last.version, last.kind, last.by) == (2, "rollback", "ann")
    assert last.evidence_hash == three.judged[2].evidence_hash


def test_the_way_back_leads_on_and_ends(three: Contenders) -> None:
    """From 3 to 2 to 1, never forth again; then there is nothing to go back to, and nothing is written."""
    assert [roll_back(three).record["version"] for _ in range(2)] == [2, 1]
    before = three.services.ledger.entries()
    told = roll_back(three)
    assert (told.outcome, told.exit_code) == ("no", 3)
    assert told.reason == "There is nothing to go back to: version 1 has no predecessor."
    assert (alias(three), three.services.ledger.entries()) == (1, before)


def test_without_a_champion_there_is_nothing_to_go_back_to(contenders: Contenders) -> None:
    """A model that never had one says so."""
    told = roll_back(contenders)
    assert (told.outcome, kinds(contenders)) == ("no", [])
    assert told.reason.startswith("There is nothing to go back to:")
    assert told.reason.endswith("has no champion yet.")


def test_a_request_goes_back_once_however_often_it_is_tried(three: Contenders) -> None:
    """Bound to the reign it was made in: its retry gives the same answer, while a new request goes on."""
    asked = rollback.ask(three.services, three.spec.name)
    first, again = (roll_back(three, ends=asked) for _ in range(2))
    assert (first.record, alias(three)) == (again.record, 2)
    assert roll_back(three).record["version"] == 1


def test_a_request_about_a_champion_that_was_replaced_changes_nothing(three: Contenders) -> None:
    """Between asking and doing somebody promoted another version: the request is moot, and says why."""
    asked = rollback.ask(three.services, three.spec.name)
    three.contender()
    promote(three, 4)
    told = roll_back(three, ends=asked)
    assert told.outcome == "no"
    assert told.reason == "The request was about version 3, but version 4 is champion now. Nothing was changed."
    assert alias(three) == 4


def test_a_retry_does_not_call_done_what_was_undone_outside(three: Contenders) -> None:
    """The alias was moved since (or the post-condition failed the first time): its retry says so, and what to do."""
    asked = rollback.ask(three.services, three.spec.name)
    roll_back(three, ends=asked)
    three.services.registry.set_alias(three.spec.name, "champion", 3)
    with pytest.raises(PromotionError, match=r"the ledger says 2, the alias 3.* mlops reconcile"):
        roll_back(three, ends=asked)


# Tags of a version that anybody may edit in MLflow, and what they are edited to; None: deleted.
EDITS = [("stage", "Production"), ("stage", None), ("digest", None), ("metrics", "good"), ("files", "none")]


def edit(contenders: Contenders, version: int, tag: str, value: str | None) -> None:
    """Somebody edits or deletes a tag of a version in MLflow."""
    client, name, key = contenders.services.registry.client, contenders.spec.name, f"mlops.{tag}"
    if value is None:
        client.delete_model_version_tag(name, str(version), key)
    else:
        client.set_model_version_tag(name, str(version), key, value)


@pytest.mark.parametrize(("tag", "value"), EDITS)
def test_a_champion_whose_tags_were_edited_does_not_stand_in_the_way_back(
    three: Contenders, tag: str, value: str | None
) -> None:
    """Whatever is written on it, it is rolled away from: alias, ledger and stages agree, and nothing is left open."""
    edit(three, 3, tag, value)
    assert roll_back(three).record["version"] == 2
    assert (alias(three), kinds(three)[-1], stages(three)[2]) == (2, "rollback", "production")
    assert stages(three).get(3, "unreadable") == ("unreadable" if tag in ("digest", "metrics") else "archived")


@pytest.mark.parametrize(("tag", "value"), EDITS[2:])
def test_a_predecessor_whose_tags_were_edited_is_passed_over(three: Contenders, tag: str, value: str | None) -> None:
    """What cannot be verified cannot serve: the one before it takes over, and the record names the tag."""
    edit(three, 2, tag, value)
    told = roll_back(three)
    assert (told.record["version"], alias(three)) == (1, 1)
    assert f"Version 2 is damaged: {three.spec.name} version 2" in told.reason
    assert f"mlops.{tag}" in told.reason


def test_a_named_version_is_gone_back_to_and_forth(three: Contenders) -> None:
    """`--to` takes any version that has been champion, also one that was rolled away from."""
    assert roll_back(three, to=1).record["version"] == 1
    assert roll_back(three, to=3).record["version"] == 3
    assert (alias(three), stages(three)) == (3, {1: "archived", 2: "archived", 3: "production"})


def test_a_version_that_never_was_champion_cannot_be_rolled_back_to(three: Contenders) -> None:
    """It has no reign and so no way back: promoting is the way; what could be done instead is offered."""
    three.contender()
    told = roll_back(three, to=4)
    assert told.outcome == "no"
    assert told.reason == ("Version 4 has never been champion; promote it instead. You could go back to version 2.")
    assert roll_back(three, to=3).reason == "Version 3 is the champion already."
    assert roll_back(three, to=77).outcome == "no"


def test_a_predecessor_that_is_gone_is_passed_over_in_words(three: Contenders) -> None:
    """The nearest version was deleted: the next one takes over, and the record says why."""
    three.services.registry.client.delete_model_version(three.spec.name, "2")
    told = roll_back(three, to=2)
    assert told.outcome == "no"
    assert told.reason == "Version 2 does not exist any more. You could go back to version 1."
    told = roll_back(three)
    assert told.reason == "Rolled back from version 3 to version 1. Version 2 does not exist any more."
    assert alias(three) == 1


def test_a_predecessor_whose_files_were_changed_is_passed_over(contenders: Contenders) -> None:
    """What cannot be loaded cannot serve: with no other version to go back to, nothing moves."""
    made = [contenders.contender() for _ in range(2)]
    promote(contenders, 1)
    contenders.judge(2)
    promote(contenders, 2)
    client = contenders.services.registry.client
    folder = Path(client.get_logged_model(made[0].model_uri.removeprefix("models:/")).artifact_location)
    file = next(path for path in sorted(folder.rglob("*")) if path.is_file())
    before = file.read_bytes()
    try:
        file.write_bytes(before + b" ")
        told = roll_back(contenders)
    finally:
        file.write_bytes(before)
    assert told.outcome == "no"
    assert told.reason.startswith("There is nothing to go back to: Version 1 is damaged: ")
    assert (alias(contenders), kinds(contenders)[-1]) == (2, "promotion")


def test_files_that_change_while_it_goes_back_to_them_are_told(
    contenders: Contenders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were whole when the version was chosen; the last look finds that they are not, and says what to do."""
    made = [contenders.contender() for _ in range(2)]
    promote(contenders, 1)
    contenders.judge(2)
    promote(contenders, 2)
    client = contenders.services.registry.client
    folder = Path(client.get_logged_model(made[0].model_uri.removeprefix("models:/")).artifact_location)
    file = next(path for path in sorted(folder.rglob("*")) if path.is_file())
    before, move = file.read_bytes(), ModelRegistry.set_alias

    def moving(registry: ModelRegistry, *where: Any) -> None:
        move(registry, *where)
        file.write_bytes(before + b" ")  # somebody does it right then

    monkeypatch.setattr(ModelRegistry, "set_alias", moving)
    try:
        with pytest.raises(PromotionError, match=r"was rolled back to version 1, but: Version 1 is damaged: .*again"):
            roll_back(contenders)
    finally:
        file.write_bytes(before)


def test_the_nights_retry_does_not_bring_back_what_was_rolled_away_from(three: Contenders) -> None:
    """Neither a retry of the promotion nor a new validation of that version undoes what a person decided."""
    roll_back(three)
    told = promote(three, 3)
    assert told.outcome == "no"
    words = f"Version 3 was champion and rolled away from. To bring it back: mlops rollback {three.spec.name} --to 3"
    assert words in told.reason
    three.judge(3)
    assert promote(three, 3).outcome == "no"
    assert alias(three) == 2
    three.contender()
    assert promote(three, 4).outcome == "done"


def test_a_rollback_that_was_cut_short_is_finished_by_its_retry(three: Contenders) -> None:
    """Killed after the intent, or after the alias: the request's next try leaves what one run leaves."""
    services, spec = three.services, three.spec
    for expected, moved in ((2, False), (1, True)):
        asked = rollback.ask(services, spec.name)
        where = champions.standing(services, spec.name)
        target = rollback.find_target(services, where, None)
        with champions.exclusive(services, spec.name, "killed") as lease:
            record = rollback._record(services, where, target, "", FIRST_NIGHT)
            champions._intent(services, lease, record, rollback._key(spec, asked))
            if moved:
                services.registry.set_alias(spec.name, "champion", expected)
        assert roll_back(three, ends=asked).outcome == "done"
        assert (alias(three), kinds(three)[-2:]) == (expected, ["rollback_intent", "rollback"])
        assert stages(three)[expected] == "production"
    assert len(reigns(services.ledger.entries(spec.name))) == 5

"""Promotion: nothing moves unless all that was judged still holds, and a move is whole, recorded and repeatable."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mlops.errors import LeaseError, PromotionError
from mlops.governance.champions import reigns
from mlops.pipelines import champions, promotion, reconcile, validation
from mlops.pipelines.judged import day_of, read_judged
from mlops.pipelines.tasks import execute
from mlops.records import StepReport
from mlops.services import Services
from tests.contenders import Contenders


def promote(contenders: Contenders, version: int) -> StepReport:
    """Promote a version for its night."""
    services, spec = contenders.services, contenders.spec
    return execute("promotion", services, spec, contenders.day(version), version=version)


def stages(contenders: Contenders) -> dict[int, str]:
    """The stage of every version."""
    return {v.version: v.stage for v in contenders.services.registry.versions(contenders.spec.name)}


def kinds(contenders: Contenders) -> list[str]:
    """The kinds of the ledger's entries."""
    return [entry.kind for entry in contenders.services.ledger.entries()]


def alias(contenders: Contenders) -> int | None:
    """Where the alias points."""
    return contenders.services.registry.aliases(contenders.spec.name).get("champion")


def test_a_promotion_moves_alias_and_stages_and_leaves_intent_and_completion(contenders: Contenders) -> None:
    """The second champion takes over from the first: alias, stages, and two ledger entries that name the evidence."""
    contenders.contender()
    assert promote(contenders, 1).outcome == "done"
    contenders.contender()
    told = promote(contenders, 2)
    assert (told.outcome, told.reason) == ("done", "Version 2 takes over from version 1.")
    assert (alias(contenders), stages(contenders)) == (2, {1: "archived", 2: "production"})
    assert kinds(contenders) == ["promotion_intent", "promotion"] * 2
    first, second = reigns(contenders.services.ledger.entries(contenders.spec.name))
    assert (first.version, first.until_at, second.version, second.until_at) == (1, second.from_at, 2, None)
    assert second.evidence_hash == contenders.judged[2].evidence_hash != ""
    assert (second.by, second.night) == ("policy:automatic", contenders.day(2))
    entry = contenders.services.ledger.history(contenders.spec.name)[-1]
    assert told.record["entry_hash"] == entry.hash
    assert contenders.services.ledger.verify() == []


def test_running_it_again_changes_nothing(contenders: Contenders) -> None:
    """The same answer, and not an entry more."""
    contenders.contender()
    first = promote(contenders, 1)
    before = contenders.services.ledger.entries()
    again = promote(contenders, 1)
    assert (again.outcome, again.record) == ("done", first.record)
    assert contenders.services.ledger.entries() == before


def test_a_refusal_is_recorded_once_with_its_reason(contenders: Contenders) -> None:
    """A challenger that failed its gates is refused; the retry says the same and adds no entry."""
    contenders.register()
    contenders.judge(1, "fail")
    told = promote(contenders, 1)
    assert (told.outcome, told.exit_code) == ("no", 3)
    assert "did not pass its gates: better_than_champion" in told.reason
    assert promote(contenders, 1).record == told.record
    (entry,) = contenders.services.ledger.entries()
    assert (entry.kind, entry.body["promoted"], entry.body["version"]) == ("promotion_refused", False, 1)
    assert alias(contenders) is None
    assert contenders.services.ledger.history(contenders.spec.name) == []


def test_a_stage_changed_outside_is_not_called_done_by_the_retry(contenders: Contenders) -> None:
    """Alias and ledger agree, the stage does not: the retry says so instead of reporting success."""
    contenders.contender()
    promote(contenders, 1)
    contenders.services.registry.set_stage(contenders.spec.name, 1, "archived")
    with pytest.raises(PromotionError, match=r"its stage is archived.* mlops reconcile"):
        promote(contenders, 1)


def test_what_is_in_no_stage_is_not_promoted(contenders: Contenders) -> None:
    """Somebody wrote a word of their own onto the challenger: refused with the remedy, which works."""
    contenders.contender()
    services, name = contenders.services, contenders.spec.name
    services.registry.client.set_model_version_tag(name, "1", "mlops.stage", "Staging")
    told = promote(contenders, 1)
    assert (told.outcome, alias(contenders)) == ("no", None)
    assert f"Version 1 is in no stage (Staging): somebody changed its tags. Run: mlops reconcile {name}" in told.reason
    assert reconcile.run(services, contenders.spec).outcome == "done"
    assert promote(contenders, 1).outcome == "done"


def test_a_decision_made_anew_while_it_waited_counts(contenders: Contenders, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it had the lease, validation judged the version again and refused it: nothing moves."""
    contenders.contender()
    exclusive = champions.exclusive

    @contextmanager
    def after_a_wait(*args: Any) -> Iterator[Any]:
        with exclusive(*args) as lease:
            contenders.judge(1, "fail")
            yield lease

    monkeypatch.setattr(champions, "exclusive", after_a_wait)
    told = promote(contenders, 1)
    assert (told.outcome, alias(contenders)) == ("no", None)
    assert told.reason.startswith("Version 1 did not pass its gates")


def test_without_a_decision_there_is_nothing_to_do(contenders: Contenders) -> None:
    """A night without a validated challenger leaves no trace."""
    contenders.register()
    assert promote(contenders, 1).outcome == "nothing_to_do"
    assert kinds(contenders) == []


@pytest.mark.parametrize("where", ["gate", "seal"])
def test_evidence_that_was_edited_is_refused(contenders: Contenders, where: str) -> None:
    """A number changed in the kept decision, or in the facts that it is sealed with, does not get through."""
    contenders.contender()
    path = Path(contenders.judged[1].evidence_uri)
    kept = json.loads(path.read_text())
    target = kept["decision"] if where == "gate" else kept["evidence"]["decision"]
    target["gates"][0]["value"] = 0.5
    path.write_text(json.dumps(kept))
    told = promote(contenders, 1)
    assert (told.outcome, alias(contenders)) == ("no", None)
    assert "is not what was sealed. Validate it again." in told.reason


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"decision": {}, "evidence": {}}', b"\xff"])
def test_evidence_that_cannot_be_read_is_an_error_and_is_made_again(contenders: Contenders, body: bytes) -> None:
    """A damaged file stops the promotion in words; validation does not stumble over it, it judges again."""
    decision = contenders.judge(contenders.register().version)
    services = contenders.services
    assert validation._kept_decision(services, decision.evidence_uri, decision.inputs_hash) == decision
    services.storage.write_bytes(decision.evidence_uri, body)
    with pytest.raises(PromotionError, match=rf"cannot be read.*mlops run validation {contenders.spec.name}"):
        promote(contenders, 1)
    assert validation._kept_decision(services, decision.evidence_uri, decision.inputs_hash) is None
    assert kinds(contenders) == []


def test_files_that_were_changed_are_refused(contenders: Contenders) -> None:
    """One byte more in a file of the model, and it stays where it is."""
    made = contenders.contender()
    client = contenders.services.registry.client
    folder = Path(client.get_logged_model(made.model_uri.removeprefix("models:/")).artifact_location)
    file = next(path for path in sorted(folder.rglob("*")) if path.is_file())
    before = file.read_bytes()
    try:
        file.write_bytes(before + b" ")
        told = promote(contenders, 1)
    finally:
        file.write_bytes(before)
    assert (told.outcome, alias(contenders)) == ("no", None)
    assert "Its files do not verify" in told.reason
    assert promote(contenders, 1).outcome == "done"


def test_another_version_under_the_number_that_was_judged_is_refused(contenders: Contenders) -> None:
    """The registry names another digest than the sealed decision: what was judged is not what would be promoted."""
    made = contenders.contender()
    name, client = contenders.spec.name, contenders.services.registry.client
    client.set_model_version_tag(name, "1", "mlops.digest", "0" * 64)
    told = promote(contenders, 1)
    assert (told.outcome, alias(contenders)) == ("no", None)
    assert "Version 1 is not what was judged: its digest differs. Validate it again." in told.reason
    client.set_model_version_tag(name, "1", "mlops.digest", made.digest)
    assert promote(contenders, 1).outcome == "done"


def test_another_champion_than_the_one_it_was_judged_against_refuses_it(contenders: Contenders) -> None:
    """Two challengers judged against the same champion: the second to come is told to be validated again."""
    contenders.contender()
    promote(contenders, 1)
    contenders.contender()
    contenders.contender()
    assert promote(contenders, 3).outcome == "done"
    told = promote(contenders, 2)
    assert told.reason == "Version 2 was judged against version 1, but version 3 is champion now; validate again."
    assert (told.outcome, alias(contenders)) == ("no", 3)


def test_an_alias_moved_outside_stops_promotions(contenders: Contenders) -> None:
    """While alias and ledger disagree nothing is promoted, also when the decision was made against the false one."""
    for version in (1, 2):
        contenders.contender()
        promote(contenders, version)
    contenders.services.registry.set_alias(contenders.spec.name, "champion", 1)
    contenders.contender()
    told = promote(contenders, 3)
    assert told.outcome == "no"
    assert "The alias champion points to version 1, the ledger says version 2. Run: mlops reconcile" in told.reason
    with pytest.raises(PromotionError, match="By the ledger version 2 is champion, but the alias points to version 1"):
        promote(contenders, 2)


def test_deleting_the_alias_does_not_open_the_way_of_a_first_champion(contenders: Contenders) -> None:
    """Without alias a challenger is judged as if it were the first; the ledger knows better."""
    contenders.contender()
    promote(contenders, 1)
    contenders.services.registry.drop_alias(contenders.spec.name, "champion")
    contenders.contender()
    told = promote(contenders, 2)
    assert told.outcome == "no"
    assert "judged against no champion, but version 1 is champion now" in told.reason


def test_a_deleted_champion_can_be_succeeded(contenders: Contenders) -> None:
    """When the champion's version is gone, a challenger that was judged without one takes over."""
    contenders.contender()
    promote(contenders, 1)
    contenders.services.registry.client.delete_model_version(contenders.spec.name, "1")
    contenders.contender()
    assert promote(contenders, 2).outcome == "done"
    assert alias(contenders) == 2


def test_a_version_in_development_is_not_promoted(contenders: Contenders) -> None:
    """A pass without the move to staging is a validation that was cut short: stages move by legal steps only."""
    contenders.contender()
    client = contenders.services.registry.client
    client.set_model_version_tag(contenders.spec.name, "1", "mlops.stage", "development")
    told = promote(contenders, 1)
    assert told.outcome == "no"
    assert "is in development: its validation was not completed" in told.reason


def test_an_intent_before_the_alias_moved_is_taken_up_by_its_own_retry(contenders: Contenders) -> None:
    """Killed right after the intent: the retry ends as one run would, without an entry more."""
    contenders.contender()
    services, spec = contenders.services, contenders.spec
    judged = read_judged(services, spec, contenders.day(1), 1)
    with champions.exclusive(services, spec.name, "killed") as lease:
        record = promotion._record(services, spec, judged, champions.standing(services, spec.name))
        champions._intent(services, lease, record, promotion.key_of(spec, judged))
    assert promote(contenders, 1).outcome == "done"
    assert kinds(contenders) == ["promotion_intent", "promotion"]


def test_an_intent_of_another_night_is_undone_and_may_be_tried_again(contenders: Contenders) -> None:
    """Killed before the alias moved, then another night wins: the first is undone, and refused on its next try."""
    contenders.contender()
    contenders.contender()
    services, spec = contenders.services, contenders.spec
    judged = read_judged(services, spec, contenders.day(1), 1)
    with champions.exclusive(services, spec.name, "killed") as lease:
        record = promotion._record(services, spec, judged, champions.standing(services, spec.name))
        champions._intent(services, lease, record, promotion.key_of(spec, judged))
    assert promote(contenders, 2).outcome == "done"
    assert promote(contenders, 1).outcome == "no"
    assert kinds(contenders) == [
        "promotion_intent", "promotion_undone", "promotion_intent", "promotion", "promotion_refused",
    ]  # fmt: skip
    contenders.judge(1)
    assert promote(contenders, 1).outcome == "done"
    history = reigns(services.ledger.entries(spec.name))
    assert [reign.version for reign in history] == [2, 1]


def test_a_move_that_was_cut_short_after_the_alias_is_finished_by_whoever_comes_next(contenders: Contenders) -> None:
    """Killed between alias and completion: another night's run completes it before it looks at its own."""
    contenders.contender()
    contenders.contender()
    services, spec = contenders.services, contenders.spec
    judged = read_judged(services, spec, contenders.day(1), 1)
    with champions.exclusive(services, spec.name, "killed") as lease:
        record = promotion._record(services, spec, judged, champions.standing(services, spec.name))
        champions._intent(services, lease, record, promotion.key_of(spec, judged))
        services.registry.set_alias(spec.name, "champion", 1)
    told = promote(contenders, 2)
    assert "judged against no champion, but version 1 is champion now" in told.reason
    assert (alias(contenders), stages(contenders)[1]) == (1, "production")
    assert kinds(contenders) == ["promotion_intent", "promotion", "promotion_refused"]
    assert promote(contenders, 1).outcome == "done"


def test_who_lost_the_lease_cannot_complete_what_another_undid(contenders: Contenders) -> None:
    """A process that slept while its intent was undone is refused by the ledger, and told why."""
    contenders.contender()
    services, spec = contenders.services, contenders.spec
    judged = read_judged(services, spec, contenders.day(1), 1)
    with champions.exclusive(services, spec.name, "slept") as lease:
        record = promotion._record(services, spec, judged, champions.standing(services, spec.name))
        intent = champions._intent(services, lease, record, promotion.key_of(spec, judged))
    champions.undo(services, intent, "for the test")
    with pytest.raises(PromotionError, match="was closed by ann as promotion undone while it was under way"):
        champions.finish(services, intent)
    assert reigns(services.ledger.entries(spec.name)) == ()


def test_who_lost_the_lease_moves_nothing(contenders: Contenders) -> None:
    """Another attempt took over between the checks and the move: the fence right before it holds."""
    contenders.contender()
    services, spec = contenders.services, contenders.spec
    judged = read_judged(services, spec, contenders.day(1), 1)
    with champions.exclusive(services, spec.name, "slow") as lease:
        record = promotion._record(services, spec, judged, champions.standing(services, spec.name))
        services.leases.acquire(lease.name, "another", 30, supersedes=lambda _: True)
        with pytest.raises(LeaseError, match="no longer holds"):
            champions.change(services, lease, record, promotion.key_of(spec, judged))
    assert (alias(contenders), kinds(contenders)[-1]) == (None, "promotion_intent")


def test_a_champion_that_is_gone_right_after_the_move_is_an_error(
    contenders: Contenders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody drops the alias while the stages move: the last look finds it and says what to run."""
    contenders.contender()
    move = champions.put_in_production

    def moving(services: Services, model: str, version: int, *, instead_of: int | None) -> None:
        move(services, model, version, instead_of=instead_of)
        services.registry.drop_alias(model, "champion")

    monkeypatch.setattr(champions, "put_in_production", moving)
    with pytest.raises(PromotionError, match=r"was made champion, but now .* alias None.*mlops reconcile"):
        promote(contenders, 1)


def test_dry_run_shows_every_check_and_changes_nothing(contenders: Contenders, tmp_path: Path) -> None:
    """Ledger, registry and storage are byte for byte what they were, whether it would pass or not."""
    contenders.contender()
    services, spec = contenders.services, contenders.spec
    promote(contenders, 1)
    contenders.contender()
    contenders.register()
    contenders.judge(3, against=None)

    def state() -> object:
        files = {p: p.read_bytes() for p in sorted(tmp_path.rglob("*")) if p.is_file() and ".db-" not in p.name}
        tags = [services.registry.client.get_model_version(spec.name, str(v)).tags for v in (1, 2, 3)]
        return files, tags, services.registry.aliases(spec.name), services.ledger.entries()

    before = state()
    passing = promotion.dry_run(services, spec, contenders.day(2), 2)
    refused = promotion.dry_run(services, spec, contenders.day(3), 3)
    assert state() == before
    assert {check.verdict for check in passing} == {"pass"}
    assert [check.name for check in passing] == [
        "gates", "evidence", "digest", "signature", "stage", "champion", "alias", "history",
    ]  # fmt: skip
    assert {check.name for check in refused if check.verdict == "fail"} == {"champion"}
    assert promote(contenders, 2).outcome == "done"


def test_dry_run_of_the_champion_says_that_it_is_champion(contenders: Contenders) -> None:
    """What promoting would answer: nothing to do; only an alias that points elsewhere is worth a word."""
    contenders.contender()
    promote(contenders, 1)
    services, spec = contenders.services, contenders.spec
    champion, points = promotion.dry_run(services, spec, contenders.day(1), 1)
    assert (champion.verdict, points.verdict) == ("pass", "pass")
    assert champion.reason.startswith("Version 1 is the champion already, since ")
    services.registry.drop_alias(spec.name, "champion")
    assert [check.verdict for check in promotion.dry_run(services, spec, contenders.day(1), 1)] == ["pass", "fail"]


def test_the_date_of_a_version_is_the_night_it_was_trained_for(contenders: Contenders) -> None:
    """`mlops promote --version N` and the bare command find the evidence without being told the date."""
    contenders.contender()
    contenders.contender()
    services, spec = contenders.services, contenders.spec
    assert day_of(services, spec, 1) == contenders.day(1)
    assert day_of(services, spec, None) == contenders.day(2)

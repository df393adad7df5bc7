"""Reconciling: whatever was changed behind the ledger's back is found, told, and put back or left, by policy."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mlops.governance.champions import reigns
from mlops.pipelines import champions, promotion, reconcile, rollback
from mlops.pipelines.judged import read_judged
from mlops.records import Incident, StepReport
from tests.contenders import Contenders
from tests.unit.pipelines.test_promotion import alias, kinds, promote, stages
from tests.unit.pipelines.test_rollback import EDITS, edit, roll_back


def run(contenders: Contenders, repair: bool | None = None) -> StepReport:
    """Reconcile the model."""
    return reconcile.run(contenders.services, contenders.spec, repair)


def incidents(contenders: Contenders) -> list[tuple[str, str]]:
    """Kind and urgency of the incidents of the model."""
    return [(i.kind, i.urgency) for i in contenders.services.alerts.list_incidents(contenders.spec.name)]


@pytest.fixture
def two(contenders: Contenders) -> Contenders:
    """Version 1 was champion, version 2 is."""
    for version in (1, 2):
        contenders.contender()
        promote(contenders, version)
    return contenders


def moved(two: Contenders) -> None:
    """Somebody points the alias elsewhere."""
    two.services.registry.set_alias(two.spec.name, "champion", 1)


def deleted(two: Contenders) -> None:
    """Somebody deletes the alias."""
    two.services.registry.drop_alias(two.spec.name, "champion")


def doubled(two: Contenders) -> None:
    """Somebody sets the alias in other letters."""
    two.services.registry.client.set_registered_model_alias(two.spec.name, "Champion", "1")


def demoted(two: Contenders) -> None:
    """Somebody writes another stage onto the champion."""
    two.services.registry.client.set_model_version_tag(two.spec.name, "2", "mlops.stage", "development")


def raised(two: Contenders) -> None:
    """Somebody writes production onto another version."""
    two.services.registry.client.set_model_version_tag(two.spec.name, "1", "mlops.stage", "production")


def renamed(two: Contenders) -> None:
    """Somebody writes a stage as MLflow used to call it onto the champion."""
    two.services.registry.client.set_model_version_tag(two.spec.name, "2", "mlops.stage", "Production")


def unstaged(two: Contenders) -> None:
    """Somebody deletes the stage of another version."""
    two.services.registry.client.delete_model_version_tag(two.spec.name, "1", "mlops.stage")


CHANGES = [
    (moved, "alias_moved"),
    (deleted, "alias_deleted"),
    (doubled, "alias_double"),
    (demoted, "stage"),
    (raised, "stage"),
    (renamed, "stage"),
    (unstaged, "stage"),
]


@pytest.mark.parametrize(("change", "kind"), CHANGES)
def test_a_change_from_outside_is_told_and_put_back(
    two: Contenders, change: Callable[[Contenders], None], kind: str
) -> None:
    """Reported only, it stays and is an urgent incident; repaired, the registry is as before and the ledger says so."""
    change(two)
    told = run(two, repair=False)
    assert (told.outcome, told.exit_code, incidents(two)) == ("no", 3, [(kind, "high")])
    assert [finding["kind"] for finding in told.record["findings"]] == [kind]
    assert "repair" not in kinds(two)
    assert run(two).outcome == "done"
    assert (alias(two), stages(two)) == (2, {1: "archived", 2: "production"})
    assert set(two.services.registry.aliases(two.spec.name)) == {"champion", "challenger"}
    (entry,) = two.services.ledger.entries(two.spec.name, "repair")
    assert (entry.body["finding"], entry.body["version"]) == (kind, 2)
    assert [reign.version for reign in reigns(two.services.ledger.entries(two.spec.name))] == [1, 2]
    assert run(two).outcome == "nothing_to_do"


@pytest.mark.parametrize(("change", "kind"), [(moved, "alias_moved"), (demoted, "stage")])
def test_an_incident_is_over_when_things_agree_again(
    two: Contenders, change: Callable[[Contenders], None], kind: str
) -> None:
    """Reported, it stays open; put back, here or by hand, it is resolved; of others' incidents nothing is touched."""
    services, name = two.services, two.spec.name

    def still_open() -> list[str]:
        return [one.kind for one in services.alerts.list_incidents(name) if one.resolved_at is None]

    other = Incident(f"{name}/drift", name, "drift", services.clock().date(), "normal", "s", "c", "a")
    services.alerts.raise_incident(other)
    change(two)
    for _ in range(2):
        run(two, repair=False)
        assert still_open() == [kind, "drift"] or still_open() == ["drift", kind]
    run(two)
    assert still_open() == ["drift"]
    change(two)
    run(two, repair=False)
    assert kind in still_open()
    if kind == "stage":
        services.registry.client.set_model_version_tag(name, "2", "mlops.stage", "production")
    else:
        services.registry.set_alias(name, "champion", 2)
    assert run(two, repair=False).outcome == "nothing_to_do"
    assert still_open() == ["drift"]


def test_what_agrees_is_left_alone(two: Contenders) -> None:
    """No incident, no entry, also for a model without versions."""
    before = two.services.ledger.entries()
    assert run(two).outcome == "nothing_to_do"
    assert (two.services.ledger.entries(), incidents(two)) == (before, [])


def test_an_alias_on_a_model_that_never_had_a_champion_is_taken_away(contenders: Contenders) -> None:
    """Set by hand, without evidence: nobody was promoted."""
    contenders.contender()
    contenders.services.registry.set_alias(contenders.spec.name, "champion", 1)
    assert run(contenders).outcome == "done"
    assert alias(contenders) is None


def test_a_deleted_champion_is_an_incident_that_offers_the_way_back(two: Contenders) -> None:
    """Deleting the version drops its alias in silence: nothing can be put back, but a rollback helps."""
    two.services.registry.client.delete_model_version(two.spec.name, "2")
    told = run(two)
    assert told.outcome == "no"
    assert "version 2, was deleted; nobody is in production." in told.reason
    assert f"To go back to the one before: mlops rollback {two.spec.name}" in told.reason
    assert incidents(two) == [("champion_deleted", "high")]
    assert roll_back(two).record["version"] == 1
    assert run(two).outcome == "nothing_to_do"


@pytest.mark.parametrize(("tag", "value"), EDITS[2:])
def test_a_champion_whose_tags_were_edited_is_an_incident(two: Contenders, tag: str, value: str | None) -> None:
    """It can no longer be verified: reported by the name of the tag, and nothing else is called wrong."""
    edit(two, 2, tag, value)
    told = run(two)
    assert (told.outcome, incidents(two)) == ("no", [("champion_damaged", "high")])
    assert f"mlops.{tag}" in told.reason
    assert alias(two) == 2


def test_a_change_that_was_cut_short_is_settled(two: Contenders) -> None:
    """Killed after the alias moved: finished. Killed before: undone."""
    two.contender()
    services, spec = two.services, two.spec
    judged = read_judged(services, spec, two.day(3), 3)
    with champions.exclusive(services, spec.name, "killed") as lease:
        record = promotion._record(services, spec, judged, champions.standing(services, spec.name))
        champions._intent(services, lease, record, promotion.key_of(spec, judged))
        services.registry.set_alias(spec.name, "champion", 3)
    told = run(two)
    assert "Cut short: promotion intent of version 3." in told.reason
    assert (alias(two), champions.standing(services, spec.name).version) == (3, 3)
    target = rollback.find_target(services, champions.standing(services, spec.name), None)
    with champions.exclusive(services, spec.name, "killed") as lease:
        record = rollback._record(services, champions.standing(services, spec.name), target, "", two.day(3))
        champions._intent(services, lease, record, "k")
    assert run(two).outcome == "done"
    assert (alias(two), kinds(two)[-1]) == (3, "rollback_undone")
    assert run(two).outcome == "nothing_to_do"

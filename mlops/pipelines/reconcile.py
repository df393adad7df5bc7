"""Reconciling: what the registry shows of the champion is what the ledger says, or somebody hears of it.

Anybody with access to MLflow can move an alias, and deleting a version silently drops its alias. So this looks, under
the same lease as a promotion, for: intents that nobody completed, an alias that was moved, deleted or set outside,
doubles of it in other letters (`Champion`), stages that disagree, and a champion whose version is gone or damaged.

One rule: the ledger is right. A repair puts the projection back and never makes somebody else champion.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mlops.errors import MLOpsError, RegistryError
from mlops.governance import champions as history
from mlops.models.moves import LEGAL_MOVES
from mlops.pipelines import champions
from mlops.pipelines.champions import Standing
from mlops.pipelines.incidents import tell
from mlops.pipelines.night import report
from mlops.records import Incident, StepReport
from mlops.services import Services
from mlops.spec import ModelSpec

CHAMPION = "champion"
KINDS = frozenset(  # of findings, and of the incidents that tell of them
    {"cut_short", "champion_deleted", "champion_damaged", "alias_set", "alias_moved", "alias_deleted", "alias_double"}
    | {"stage"}
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One way in which the registry disagrees with the ledger."""

    kind: str
    summary: str
    repair: Callable[[], object] | None  # None: nothing can be put back

    @property
    def facts(self) -> dict[str, Any]:
        """The finding as JSON values."""
        return {"kind": self.kind, "summary": self.summary, "repairable": self.repair is not None}


def run(services: Services, spec: ModelSpec, repair: bool | None = None) -> StepReport:
    """Compare one model's registry with its ledger.

    Args:
        services: the adapters.
        spec: the model.
        repair: put back what can be; default: what the spec's `promotion.reconcile` says.

    Returns:
        nothing_to_do (all agrees), done (all was put back) or no (something stays as it is: it was only reported, or
        cannot be put back); the record holds `findings` and `repaired`. Incidents of what agrees again are resolved.

    Raises:
        LeaseError: a change of the champion is under way.
    """
    mend = spec.promotion.reconcile == "repair" if repair is None else repair
    today = services.clock().date()
    with champions.exclusive(services, spec.name, f"{spec.name}/reconcile"):
        where = champions.standing(services, spec.name)
        found = findings(services, where)
        for finding in found:
            _tell(services, spec, finding, repaired=mend and finding.repair is not None)
            if mend and finding.repair is not None:
                _record(services, where, finding)
                finding.repair()
        _resolve(services, spec, findings(services, champions.standing(services, spec.name)) if mend else found)
    if not found:
        return report("reconcile", spec, today, "nothing_to_do", f"{spec.name}: alias, stages and ledger agree.")
    left = [finding for finding in found if not (mend and finding.repair)]
    words = " ".join(finding.summary for finding in found)
    ending = "Put back." if not left else "Reported only." if len(left) == len(found) else "Put back what could be."
    record = {"findings": [finding.facts for finding in found], "repaired": len(found) - len(left)}
    answer = report("reconcile", spec, today, "no" if left else "done", f"{words} {ending}")
    return dataclasses.replace(answer, record=record)


def run_all(services: Services) -> list[StepReport]:
    """Every model of the installation, by its own policy; one that cannot be looked at does not hold back the others.

    Raises:
        MLOpsError: after all were looked at, what went wrong with some.
    """
    answers, problems = [], []
    for name, spec in sorted(services.specs().items()):
        try:
            answers.append(run(services, spec))
        except MLOpsError as error:
            problems.append(f"{name}: {error}")
    if problems:
        raise MLOpsError(" ".join(problems), hint="The other models were reconciled.")
    return answers


def findings(services: Services, where: Standing) -> list[Finding]:
    """Every disagreement, in the order in which they are put right."""
    found = _intents(services, where)
    if found:  # what follows depends on how they end
        return found + ([] if where.version is None else _stages(services, where, where.alias))
    alive = where.version is not None and services.registry.exists(where.model, where.version)
    found += _alias(services, where, alive=alive) + _doubles(services, where)
    return found + (_files(services, where) if alive else []) + _stages(services, where, where.version)


def _intents(services: Services, where: Standing) -> list[Finding]:
    pending = history.open_intents(where.entries)
    if not pending:
        return []
    names = ", ".join(f"{entry.kind.replace('_', ' ')} of version {entry.body['version']}" for entry in pending)
    return [Finding("cut_short", f"Cut short: {names}.", lambda: champions.settle(services, where))]


def _alias(services: Services, where: Standing, *, alive: bool) -> list[Finding]:
    registry, model, version = services.registry, where.model, where.version
    if version is not None and not alive:
        words = (
            f"The champion, version {version}, was deleted; nobody is in production. "
            f"To go back to the one before: mlops rollback {model}"
        )
        found = [Finding("champion_deleted", words, None)]
        if where.alias is not None:
            drop = Finding(
                "alias_set",
                f"The alias was set to version {where.alias} outside.",
                lambda: registry.drop_alias(model, CHAMPION),
            )
            found.append(drop)
        return found
    if where.alias == version:
        return []
    if version is None:
        words = f"The alias points to version {where.alias}, but nobody was ever promoted."
        return [Finding("alias_set", words, lambda: registry.drop_alias(model, CHAMPION))]
    moved = f"was moved to version {where.alias}" if where.alias else "was deleted"
    words = f"The alias {moved} outside; by the ledger version {version} is champion."
    kind = "alias_moved" if where.alias else "alias_deleted"
    return [Finding(kind, words, lambda: registry.set_alias(model, CHAMPION, version))]


def _doubles(services: Services, where: Standing) -> list[Finding]:
    found = []
    for alias, version in services.registry.aliases(where.model).items():
        if alias.lower() == CHAMPION and alias != CHAMPION:
            words = f"There is an alias {alias} beside champion, on version {version}."
            found.append(Finding("alias_double", words, _dropping(services, where.model, alias)))
    return found


def _dropping(services: Services, model: str, alias: str) -> Callable[[], None]:
    return lambda: services.registry.drop_alias(model, alias)


def _files(services: Services, where: Standing) -> list[Finding]:
    assert where.version is not None
    try:
        services.registry.verify(services.registry.get(where.model, where.version))
    except RegistryError as error:
        words = f"The champion, version {where.version}, does not verify: {error} Or: mlops rollback {where.model}"
        return [Finding("champion_damaged", words, None)]
    return []


def _stages(services: Services, where: Standing, champion: int | None) -> list[Finding]:
    """The champion alone is in production, and every version is in a stage."""
    found = []
    for version in services.registry.versions(where.model):
        right = version.version == champion
        known = version.stage in LEGAL_MOVES
        if known and right == (version.stage == "production"):
            continue
        place = version.stage if known else f"no stage ({version.stage})"
        words = f"Version {version.version} is in {place}, but it is {'' if right else 'not '}champion."
        found.append(Finding("stage", words, _moving(services, where.model, version.version, right=right)))
    return found


def _moving(services: Services, model: str, version: int, *, right: bool) -> Callable[[], object]:
    if right:
        return lambda: champions.put_in_production(services, model, version, instead_of=None)
    return lambda: services.registry.set_stage(model, version, "archived")


def _tell(services: Services, spec: ModelSpec, finding: Finding, *, repaired: bool) -> None:
    """Raise the incident before anything is touched, so that no repair goes unheard."""
    incident = Incident(
        key=f"{spec.name}/{finding.kind}",
        model=spec.name,
        kind=finding.kind,
        date=services.clock().date(),
        urgency="normal" if repaired else "high",
        summary=f"{spec.name}: {finding.summary}",
        consequence="It is put back to what the ledger says."
        if repaired
        else "Consumers may load another version than the ledger says is champion.",
        action="Find out who changed it, and why."
        if repaired
        else f"See mlops champion {spec.name} --history, then mlops reconcile {spec.name} --repair, or roll back.",
    )
    tell(services, spec, incident)


def _resolve(services: Services, spec: ModelSpec, left: list[Finding]) -> None:
    """End the incidents of what agrees again, by a repair here or because somebody has put it right."""
    still = {finding.kind for finding in left}
    told = {one.kind for one in services.alerts.list_incidents(spec.name, resolved=False)}
    for kind in sorted((told & KINDS) - still):
        services.alerts.resolve(spec.name, kind, at=services.clock(), terms=spec.alerts)


def _record(services: Services, where: Standing, finding: Finding) -> None:
    body = {"finding": finding.kind, "reason": finding.summary, "version": where.version, "promoted": False}
    services.ledger.append("repair", where.model, body, actor=services.actor, at=services.clock())

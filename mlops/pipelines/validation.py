"""Validation: named gates decide on evidence whether a challenger may be promoted.

Reads: the night's newest version, the champion, and the holdout that neither has learned from. Writes: the decision as
JSON and as a page, both also among the artifacts of the challenger's run; the stage of the version; the alias
`challenger` when it passed. Equal inputs keep the decision that was made: measured times do not change the evidence.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from datetime import date
from functools import cache
from pathlib import Path

from mlops.errors import NoDataError
from mlops.models import evidence, gates
from mlops.pipelines import training_set as sets
from mlops.pipelines.judging import judge_all
from mlops.pipelines.night import report, report_uri
from mlops.pipelines.players import Player
from mlops.records import GateDecision, ModelVersion, Outcome, StepReport, TrainingSet, Verdict, from_dict, to_dict
from mlops.services import Services
from mlops.serving import compiled_proof
from mlops.serving.compiled_proof import Proof
from mlops.spec import ModelSpec

_OUTCOME: dict[Verdict, Outcome] = {"pass": "done", "fail": "no", "cannot_tell": "cannot_tell"}


def run(services: Services, spec: ModelSpec, day: date) -> StepReport:
    """Judge the version that the night of `day` trained.

    Returns:
        done (all gates passed), no (one failed), cannot_tell, or nothing_to_do (no version, or it is champion already);
        the record is a `GateDecision`.

    Raises:
        IntegrityError: the files of a version are not those that were registered.
    """
    challenger = trained_on(services, spec, day)
    if challenger is None:
        return report("validation", spec, day, "nothing_to_do", f"No version was trained for {day}.")
    champion = services.registry.by_alias(spec.name, "champion")
    if champion is not None and champion.version == challenger.version:
        return report("validation", spec, day, "nothing_to_do", f"Version {champion.version} is the champion already.")
    training_set = sets.find(services, challenger.training_set_uri)
    tables = sets.read(services, training_set)
    first = _player(services, challenger)
    second = _player(services, champion) if champion else None
    wanted = inputs_hash(services, spec, training_set, challenger, champion)
    place = _own_uri(services, spec, day, challenger.version)
    if kept := _kept_decision(services, place, wanted):
        services.storage.write_json(decision_uri(services, spec, day), services.storage.read_json(place))
        _settle(services, spec, kept, challenger)
        words = f"{_words(kept)} Nothing has changed since it was judged: the decision is reused."
        return report("validation", spec, day, _OUTCOME[kept.verdict], words, kept)
    results = judge_all(spec, training_set, tables, first, second)
    decision = GateDecision(
        model=spec.name,
        version=challenger.version,
        champion_version=champion.version if champion else None,
        verdict=gates.judge(results),
        gates=tuple(results),
        date=day,
        digest=challenger.digest,
        inputs_hash=wanted,
    )
    decision = _keep(services, spec, decision, challenger, champion, training_set)
    _settle(services, spec, decision, challenger)
    return report("validation", spec, day, _OUTCOME[decision.verdict], _words(decision), decision)


def _player(services: Services, version: ModelVersion) -> Player:
    """A version with what its files hold, once they are verified."""
    found = services.registry.load_whole(version, beside=compiled_proof.FILE)
    proof = Proof.of(found.beside, f"{version.model} version {version.version}")
    return Player(version, found.scorer, found.stored_bytes, proof)


def decision_uri(services: Services, spec: ModelSpec, day: date) -> str:
    """Where the newest decision of a date is kept."""
    return report_uri(services, spec, day, "evidence.json")


def trained_on(services: Services, spec: ModelSpec, day: date) -> ModelVersion | None:
    """The newest version that was trained for a date, or None."""
    prefix = f"{spec.name}/training/{day.isoformat()}/"
    found = [version for version in services.registry.versions(spec.name) if version.run_key.startswith(prefix)]
    return max(found, key=lambda version: version.version, default=None)


def inputs_hash(
    services: Services,
    spec: ModelSpec,
    training_set: TrainingSet,
    challenger: ModelVersion,
    champion: ModelVersion | None,
) -> str:
    """sha256 over all that decides what the gates say: who is judged, on what, by which settings and which code."""
    facts = {
        "challenger": challenger.digest,
        "champion": [champion.version, champion.digest] if champion else None,
        "training_set": training_set.fingerprint,
        "spec": spec.model_dump(mode="json", include={"task", "entity", "gates", "alerts_per_entity_day", "seed"}),
        "metric": spec.metric,
        "code": [services.code_version, code_hash()],
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


@cache
def code_hash() -> str:
    """sha256 over the code that judges, as it is on disk: a commit alone does not tell of uncommitted changes."""
    here = Path(__file__).parent
    files = [
        *sorted((here.parent / "models").glob("*.py")),
        *(here / f"{name}.py" for name in ("judging", "players", "validation")),
    ]
    proof = ("answers.py", "asking.py", "compiled*.py")
    files += sorted(path for name in proof for path in (here.parent / "serving").glob(name))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def _kept_decision(services: Services, uri: str, wanted: str) -> GateDecision | None:
    """The decision that the same inputs have made, if its evidence is what was sealed."""
    try:
        kept = services.storage.read_json(uri)
        decision = from_dict(GateDecision, kept["decision"])
        whole = evidence.evidence_hash(kept["evidence"]) == decision.evidence_hash
    except (NoDataError, ValueError, KeyError, TypeError):  # none, or damaged: it is judged again
        return None
    return decision if whole and decision.inputs_hash == wanted else None


def _own_uri(services: Services, spec: ModelSpec, day: date, version: int) -> str:
    """Where the decision on one version stays when the date brings another challenger."""
    return decision_uri(services, spec, day).replace(".json", f"-v{version}.json")


def _keep(
    services: Services,
    spec: ModelSpec,
    decision: GateDecision,
    challenger: ModelVersion,
    champion: ModelVersion | None,
    training_set: TrainingSet,
) -> GateDecision:
    """Keep the evidence: as a page, among the artifacts of the challenger's run, and as JSON.

    The JSON comes last: where it is, a retry takes the decision for kept and writes no page again.
    """
    newest = decision_uri(services, spec, decision.date)
    uri = _own_uri(services, spec, decision.date, decision.version)
    bundle = evidence.bundle(
        decision,
        challenger=challenger,
        champion=champion,
        training_set=training_set,
        settings=spec.gates.model_dump(mode="json"),
        code={"version": services.code_version, "gates": code_hash()},
    )
    decision = dataclasses.replace(decision, evidence_uri=uri, evidence_hash=bundle.hash)
    for place in (uri, newest):
        services.storage.write_bytes(place.replace(".json", ".html"), bundle.html)
    services.tracker.client.log_text(challenger.run_id, bundle.html.decode(), "evidence.html")
    for place in (uri, newest):
        services.storage.write_json(place, {"decision": to_dict(decision), "evidence": bundle.facts})
    return decision


def _settle(services: Services, spec: ModelSpec, decision: GateDecision, challenger: ModelVersion) -> None:
    """Move the version to staging or into the archive, and the alias to one that passed."""
    if decision.verdict == "pass":
        if challenger.stage == "development":
            services.registry.set_stage(spec.name, challenger.version, "staging")
        services.registry.set_alias(spec.name, "challenger", challenger.version)
    elif challenger.stage == "development":
        services.registry.set_stage(spec.name, challenger.version, "archived")


def _words(decision: GateDecision) -> str:
    against = f"against champion {decision.champion_version}" if decision.champion_version else "as first champion"
    if decision.verdict == "pass":
        best = next((g for g in decision.gates if g.name.startswith(("better", "reaches"))), None)
        why = best.reason if best else ""
        return f"Version {decision.version} passed all {len(decision.gates)} gates {against}. {why}"
    word = "was refused" if decision.verdict == "fail" else "cannot be judged"
    return f"Version {decision.version} {word} {against}: {' '.join(decision.reasons)}"

"""Making a version again from what it knows of itself, and saying what is equal and what is not.

Reads: the version's facts, its kept training set, the spec that its run was given. Writes: nothing.

The verdict is about the model: equal if the data is the data it learned from and the scores are the same. That code,
lock or Python have moved on since is said beside it, for whoever has to explain scores that differ.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mlops.errors import MLOpsError, TrainingError
from mlops.pipelines import training
from mlops.pipelines import training_set as sets
from mlops.records import ModelVersion, TrainingSet
from mlops.services import Services
from mlops.spec import ModelSpec

TOLERANCE = 1e-9  # largest difference of scores, relative to the largest score, that still is the same model
Comparison = Literal["equal", "differs", "cannot_tell"]


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that decides what a model learns, then and now."""

    name: str  # data, code, spec, lock, python or scores
    verdict: Comparison
    then: str
    now: str


@dataclass(frozen=True, slots=True)
class Reproduction:
    """What came of making a version again."""

    model: str
    version: int
    verdict: Comparison
    reason: str
    facts: tuple[Fact, ...]
    rows: int = 0  # holdout rows whose scores were compared
    largest_difference: float | None = None  # of scores, absolute; None if none could be compared
    bit_equal: bool = False

    @property
    def exit_code(self) -> int:
        """0 for equal, 3 for differs and cannot tell."""
        return 0 if self.verdict == "equal" else 3

    @property
    def different(self) -> tuple[str, ...]:
        """Names of what is not equal."""
        return tuple(fact.name for fact in self.facts if fact.verdict != "equal")


def reproduce(services: Services, spec: ModelSpec, number: int) -> Reproduction:
    """Fit the version's candidate again on the training set that was kept, and compare scores on its holdout.

    Args:
        services: the adapters.
        spec: the model, as it is now.
        number: the version.

    Raises:
        RegistryError: there is no such version.
        IntegrityError: its files are not those that were registered.
    """
    version = services.registry.get(spec.name, number)
    tags: dict[str, str] = services.registry.client.get_model_version(spec.name, str(number)).tags
    now = {
        "code": services.code_version,
        "spec": spec.training_hash,
        "lock": training.lock_hash(services),
        "python": platform.python_version(),
    }
    then = {"code": "code_version", "spec": "spec_hash", "lock": "lock_hash", "python": "python"}
    facts = [_compared(name, tags.get(tag, ""), now[name]) for name, tag in then.items()]
    try:
        training_set = sets.find(services, version.training_set_uri)
        tables = sets.read(services, training_set)
    except MLOpsError as error:
        gone = Fact("data", "cannot_tell", tags.get("fingerprint", ""), "")
        reason = f"The training set of version {number} cannot be read: {error}"
        return Reproduction(spec.name, number, "cannot_tell", reason, (gone, *facts))
    asked = _asked(services, spec, version)
    facts.insert(0, _compared("data", tags.get("fingerprint", ""), _fingerprint(tables, training_set, asked)))
    return _scored(services, asked, version, training_set, tables, facts)


def _scored(
    services: Services,
    asked: ModelSpec,
    version: ModelVersion,
    training_set: TrainingSet,
    tables: sets.Tables,
    facts: list[Fact],
) -> Reproduction:
    original = services.registry.load(version)
    candidate = next((one for one in asked.candidates if one.label == version.candidate), None)
    if candidate is None:
        facts.append(Fact("scores", "cannot_tell", "", ""))
        reason = f"The spec has no candidate {version.candidate!r} any more, and the run of the version has kept none."
        return Reproduction(version.model, version.version, "cannot_tell", reason, tuple(facts))
    holdout = tables.part("holdout")
    first = np.asarray(original.score(holdout), dtype=float)
    try:
        again = training.fitted(asked, candidate, training_set, tables)[0]
        second = np.asarray(again.score(holdout), dtype=float)
    except (TrainingError, ValueError) as error:
        facts.append(Fact("scores", "cannot_tell", f"{len(first):,} rows", "none"))
        reason = f"{version.candidate} cannot be fitted again: {error}"
        return Reproduction(version.model, version.version, "cannot_tell", reason, tuple(facts))
    bits = bool(np.array_equal(first, second, equal_nan=True)) and original.threshold == again.threshold
    largest = float(np.nanmax(np.abs(first - second), initial=0.0))
    scale = max(1.0, float(np.nanmax(np.abs(first), initial=0.0)))
    same = bits or (np.array_equal(np.isnan(first), np.isnan(second)) and largest <= TOLERANCE * scale)
    how = "bit by bit" if bits else f"to within {largest:.1e}"
    facts.append(Fact("scores", "equal" if same else "differs", f"{len(first):,} rows", how))
    known = {fact.name: fact.verdict for fact in facts}
    verdict: Comparison = "differs" if not same else known["data"]
    return Reproduction(
        version.model,
        version.version,
        verdict,
        _words(version, facts, same=same, how=how, rows=len(first)),
        tuple(facts),
        rows=len(first),
        largest_difference=largest,
        bit_equal=bits,
    )


def _words(version: ModelVersion, facts: list[Fact], *, same: bool, how: str, rows: int) -> str:
    moved = [fact.name for fact in facts if fact.verdict != "equal" and fact.name != "scores"]
    beside = f" Not the same as then: {', '.join(moved)}." if moved else " Nothing that decides them has changed."
    name = f"Version {version.version} ({version.candidate})"
    if same:
        return f"{name} was made again: {rows:,} scores are equal {how}.{beside}"
    return f"{name} could not be made again: scores differ, equal only {how}.{beside}"


def _compared(name: str, then: str, now: str) -> Fact:
    if not then or then == "unknown" or now == "unknown":
        return Fact(name, "cannot_tell", then, now)
    return Fact(name, "equal" if then == now else "differs", then, now)


def _fingerprint(tables: sets.Tables, training_set: TrainingSet, spec: ModelSpec) -> str:
    """The fingerprint of what is kept now; one byte changed, and it is another."""
    return sets.fingerprint(tables.rows, training_set.features, sets.split_of(spec, training_set.reason))


def _asked(services: Services, spec: ModelSpec, version: ModelVersion) -> ModelSpec:
    """The spec that the version's run was given; the present one, if it has kept none."""
    kept = services.tracker.kept_json(version.run_id, training.SPEC_FILE)
    return type(spec).model_validate(kept) if kept else spec

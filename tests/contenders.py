"""Versions of a model with sealed evidence, made in milliseconds: what promotion needs, without a night of training.

Registry, storage, ledger and leases are the real ones; only the training and the gates are left out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from mlops.experiments.tracking import ExperimentTracker
from mlops.models import catalogue, evidence
from mlops.pipelines import night
from mlops.records import GateDecision, GateResult, ModelVersion, RunRecord, TrainingSet, Verdict, to_dict
from mlops.services import Services
from mlops.serving import compiled_proof
from mlops.spec import CandidateSpec, ModelSpec, PromotionSpec

FEATURES = ("temperature", "pressure")
ROWS = pd.DataFrame(np.random.default_rng(0).normal(size=(200, 2)), columns=list(FEATURES)).assign(device_id="a")
FIRST_NIGHT = date(2026, 3, 1)


@dataclass
class Clock:
    """A clock that moves by a second whenever it is read."""

    now: datetime = datetime(2026, 3, 2, 3, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        """The time, a second later than before."""
        self.now += timedelta(seconds=1)
        return self.now


@dataclass
class Contenders:
    """Makes versions of one model and the decisions on them.

    Args:
        services: of the installation; its spec folder need not know the model.
        spec: the model.
        runs: logged runs, whose models the versions take in turn.
    """

    services: Services
    spec: ModelSpec
    runs: tuple[RunRecord, ...]
    judged: dict[int, GateDecision] = field(default_factory=dict)
    made: int = 0

    def register(self, *, started_by: str = "scheduler") -> ModelVersion:
        """A new version, in development. Versions 1, 2, 3, … were trained for the first, second, third … night."""
        self.made += 1  # not counted in the registry, which forgets the deleted
        number = self.made
        day = FIRST_NIGHT + timedelta(days=number - 1)
        run = dataclasses.replace(self.runs[number % len(self.runs)], run_key=f"{self.spec.name}/training/{day}/hbos")
        return self.services.registry.register(
            self.spec.name,
            run=run,
            inputs_hash=f"{self.spec.name}/{number}",
            training_set_uri=f"/sets/{number}",
            tags={"started_by": started_by},
        )

    def day(self, version: int) -> date:
        """The night a version was trained for."""
        found = self.services.registry.get(self.spec.name, version)
        return date.fromisoformat(found.run_key.split("/")[2])

    def judge(self, version: int, verdict: Verdict = "pass", *, against: int | None = -1) -> GateDecision:
        """Seal and keep a decision on a version, as validation does; by default against who is champion now."""
        services, spec = self.services, self.spec
        found = services.registry.get(spec.name, version)
        champion = services.registry.by_alias(spec.name, "champion")
        opponent = (champion.version if champion else None) if against == -1 else against
        day = self.day(version)
        gate = GateResult("better_than_champion", verdict, "AUC .91 against .88.", 0.03, 0.0)
        decision = GateDecision(spec.name, version, opponent, verdict, (gate,), day, found.digest)
        uri = night.report_uri(services, spec, day, f"evidence-v{version}.json")
        bundle = evidence.bundle(decision, challenger=found, training_set=_training_set(spec, day))
        decision = dataclasses.replace(decision, evidence_uri=uri, evidence_hash=bundle.hash)
        for place in (uri, night.report_uri(services, spec, day, "evidence.json")):
            services.storage.write_json(place, {"decision": to_dict(decision), "evidence": bundle.facts})
        if verdict == "pass":
            if found.stage == "development":
                services.registry.set_stage(spec.name, version, "staging")
            services.registry.set_alias(spec.name, "challenger", version)
        self.judged[version] = decision
        return decision

    def contender(self, **options: Any) -> ModelVersion:
        """A new version that has passed its gates."""
        made = self.register(**options)
        self.judge(made.version)
        return self.services.registry.get(self.spec.name, made.version)


def logged_runs(tracker: ExperimentTracker, count: int) -> tuple[RunRecord, ...]:
    """Finished runs with logged scorers of different digests."""
    made = []
    for seed in range(count):
        candidate = CandidateSpec(algorithm="hbos", params={"n_bins": 5 + seed})
        built = catalogue.build(candidate, task="anomaly", features=FEATURES, entity="device_id", seed=seed)
        scorer = built.fit(ROWS).with_threshold(2.0)
        with tracker.run(f"contenders/training/{seed}", experiment="contenders") as run:
            beside = {compiled_proof.FILE: compiled_proof.prove(scorer, ROWS.tail(50)).to_json}
            uri, digest = run.log_scorer(scorer, ROWS.head(3), beside=beside)
            made.append(run.record(candidate="hbos", algorithm="hbos", model_uri=uri, digest=digest))
    return tuple(made)


def spec_of(services: Services, name: str, **promotion: Any) -> ModelSpec:
    """The sample fleet's spec under another name, with a promotion policy."""
    fleet = services.spec("fleet_anomaly")
    return fleet.model_copy(update={"name": name, "promotion": PromotionSpec(**promotion)})


def with_clock(services: Services, clock: Callable[[], datetime]) -> Services:
    """The same installation, newly opened, with another clock."""
    return Services(services.config, clock)


def _training_set(spec: ModelSpec, day: date) -> TrainingSet:
    end = night.as_of(day)
    return TrainingSet(
        model=spec.name, date=day, run_key=f"{spec.name}/training/{day}", uri="/sets/1", fingerprint="f" * 64,
        features=FEATURES, rows=200, entities=1, fit_rows=100, calibration_rows=50, holdout_rows=50, labelled_rows=50,
        positives=10, window_start=end - timedelta(days=10), holdout_start=end - timedelta(days=2), window_end=end,
    )  # fmt: skip

"""All gates of one challenger together: which are asked, on what, and how long it takes."""

from __future__ import annotations

import dataclasses
import time
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmarks import planted
from mlops.models import catalogue, gates
from mlops.models.scoring import Scorer
from mlops.pipelines.judging import blocks_of, judge_all
from mlops.pipelines.players import Player
from mlops.pipelines.training_set import Tables
from mlops.records import GateResult
from mlops.serving import compiled_linear
from mlops.serving.compiled_form import Form, Preparation
from mlops.serving.compiled_proof import LIMIT, Proof, prove
from mlops.spec import CandidateSpec, ModelSpec
from mlops.spec.gates import GATE_NAMES


def changed(**changes: Any) -> ModelSpec:
    """The planted model's spec with changes; `gates` is merged."""
    plain = planted.SPEC.model_dump(mode="json", exclude_unset=True)
    return ModelSpec.model_validate(plain | changes)


def players_of(night: planted.Night) -> tuple[Player, Player]:
    """Challenger and champion of a planted night."""
    return (
        Player(planted._version(2, "2" * 64), night.challenger),
        Player(planted._version(1, "1" * 64), night.champion),
    )


def detector(rows: pd.DataFrame, algorithm: str, threshold: float) -> Scorer:
    """A fitted detector whose threshold is a quantile of its own scores."""
    scorer = catalogue.build(
        CandidateSpec(algorithm=algorithm), task="anomaly", features=planted.FEATURES, entity="device", seed=0
    ).fit(rows)
    return scorer.with_threshold(float(np.nanquantile(scorer.score(rows), threshold)))


def without_labels() -> dict[str, GateResult]:
    """What the gates say of two detectors where nobody has labelled anything."""
    rows = planted._world(np.random.default_rng(3)).assign(label=np.nan)
    fit, held = rows[rows["part"] == "fit"], rows[rows["part"] == "holdout"]
    minutes = (held["observed_at"] - held["observed_at"].min()) / timedelta(minutes=1)
    faulty = (minutes % 200).between(50, 80).to_numpy()
    injected = held.assign(label=faulty.astype(float), a=held["a"] + 4.0 * faulty)
    spec = changed(task="anomaly", label=None, gates={"stretches": 2})
    players = [
        Player(planted._version(number, str(number) * 64), detector(fit, name, 0.99))
        for number, name in ((2, "ecod"), (1, "hbos"))
    ]
    tables = Tables(rows, injected)
    found = judge_all(spec, planted._record(tables), tables, *players)
    return {gate.name: gate for gate in found}


def test_without_labels_injected_faults_and_the_champion_s_view_are_asked() -> None:
    """The comparison speaks of injected faults, events are counted in them, and label health has nothing to say."""
    found = without_labels()
    assert "label_health" not in found
    assert found["better_than_champion"].reason.startswith("average precision on injected faults")
    assert "Too few mature labels, so injected faults are judged on" in found["enough_evidence"].reason
    assert found["agrees_with_champion"].value is not None
    assert "events are found, by the champion" in found["events_found"].reason


@pytest.mark.parametrize(("megabytes", "verdict"), [(2.0, "pass"), (2.1, "fail")])
def test_the_size_that_is_judged_is_that_of_what_is_stored(megabytes: float, verdict: str) -> None:
    """Not of the object in memory: files of 2.1 MB are above a limit of 2, whatever a pickle would take."""
    night = planted.KINDS["equal"](np.random.default_rng(0))
    challenger, champion = players_of(night)
    challenger = dataclasses.replace(challenger, stored_bytes=int(megabytes * 1e6))
    champion = dataclasses.replace(champion, stored_bytes=1_500_000)
    spec = changed(gates={"max_size_mb": 2.0})
    found = judge_all(spec, planted._record(night.tables), night.tables, challenger, champion)
    size = next(gate for gate in found if gate.name == "size")
    assert (size.verdict, size.value) == (verdict, megabytes)
    assert "(the champion 1.5)" in size.reason


def compiled_gate(proof: Proof | None) -> GateResult:
    """What the gate on the compiled form says of a challenger that is stored with a proof."""
    night = planted.KINDS["equal"](np.random.default_rng(0))
    challenger, champion = players_of(night)
    challenger = dataclasses.replace(challenger, proof=proof)
    found = judge_all(planted.SPEC, planted._record(night.tables), night.tables, challenger, champion)
    return next(gate for gate in found if gate.name == "compiled_equals_plain")


def test_the_compiled_form_that_was_signed_is_proven_on_the_validation_rows() -> None:
    """The gate tells rows, the largest difference and its limit, and decides."""
    night = planted.KINDS["equal"](np.random.default_rng(0))
    holdout = night.tables.part("holdout")
    gate = compiled_gate(prove(night.challenger, holdout))
    assert (gate.verdict, gate.decides, gate.limit) == ("pass", True, LIMIT)
    assert gate.value is not None
    assert 0 <= gate.value <= 1e-12
    assert gate.reason.startswith(f"On {len(holdout):,} validation rows")


def test_a_form_that_is_not_the_signed_one_refuses_the_version() -> None:
    """A proof that names other numbers than those of the scorer beside it is no proof."""
    gate = compiled_gate(Proof(form="0" * 64, rows=9, largest_difference=0.0))
    assert (gate.verdict, gate.decides) == ("fail", True)
    assert gate.reason == "A compiled form was proven and signed, but it is not the form that is named."


@pytest.mark.parametrize("wrong_by", [1e-6, float("nan")])
def test_a_form_that_differs_on_the_holdout_refuses_the_version(
    wrong_by: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Off by a millionth, or silent: what was signed is not so, and the reason says by how much."""
    night = planted.KINDS["equal"](np.random.default_rng(0))
    proof = prove(night.challenger, night.tables.part("holdout"))
    right = compiled_linear.probabilities

    def wrong(estimator: object, preparation: Preparation) -> Form:
        return right(estimator, preparation).then(lambda found: found + wrong_by)

    monkeypatch.setattr(compiled_linear, "probabilities", wrong)
    gate = compiled_gate(proof)
    assert (gate.verdict, gate.decides) == ("fail", True)
    assert "differs by 1e-06" in gate.reason or "misses other rows" in gate.reason


@pytest.mark.parametrize("proof", [None, Proof(reason="it has no compiled form")])
def test_where_the_plain_model_answers_the_gate_does_not_decide(proof: Proof | None) -> None:
    """A model without a compiled form is not refused for that; the reason is shown."""
    gate = compiled_gate(proof)
    assert (gate.verdict, gate.decides, gate.value) == ("pass", False, None)
    assert gate.reason == f"The plain model answers: {proof.reason if proof else 'it is not stored'}."


def test_every_gate_that_is_asked_has_a_name_a_spec_may_give() -> None:
    """What `gates.advisory` may list is what is asked, first champions and detectors included."""
    night = planted.KINDS["equal"](np.random.default_rng(0))
    first = judge_all(planted.SPEC, planted._record(night.tables), night.tables, players_of(night)[1], None)
    asked = {gate.name for gate in first} | set(without_labels()) | {gate.name for gate in planted.judged("equal", 0)}
    assert asked == set(GATE_NAMES)


def test_an_advisory_gate_is_judged_and_does_not_decide() -> None:
    """A leaked feature under an advisory leakage gate: the failure is shown, the verdict is that of the rest."""
    night = planted.KINDS["a feature made from the label"](np.random.default_rng(0))
    players = players_of(night)
    spec = changed(gates={"advisory": ["no_leakage"]})
    found = judge_all(spec, planted._record(night.tables), night.tables, *players)
    leak = next(gate for gate in found if gate.name == "no_leakage")
    assert (leak.verdict, leak.decides) == ("fail", False)
    assert gates.judge(found) == "pass"


@pytest.mark.parametrize(
    ("task", "blocks", "ways"),
    [("classification", None, 1), ("regression", None, 2), ("regression", "entity", 1), ("classification", "both", 2)],
)
def test_rows_of_a_regression_may_depend_in_two_ways(task: str, blocks: str | None, ways: int) -> None:
    """By default blocks are an entity's stretches; where a shock may hit all, stretches of all entities too."""
    rows = planted._world(np.random.default_rng(0))
    assert blocks_of(changed(task=task, gates={"blocks": blocks}), rows).shape == (len(rows), ways)


def test_ten_thousand_rows_are_judged_in_about_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """All gates together, scoring included, take about a second of one core for a holdout of 10,000 rows."""
    monkeypatch.setattr(planted, "STEPS", 400)
    monkeypatch.setattr(planted, "HOLDOUT_STEPS", 250)
    night = planted.KINDS["equal"](np.random.default_rng(0))
    assert len(night.tables.part("holdout")) == 10_000
    players = players_of(night)
    spent = []
    for _ in range(3):
        started = time.process_time()
        judge_all(planted.SPEC, planted._record(night.tables), night.tables, *players)
        spent.append(time.process_time() - started)
    assert min(spent) < 1.2, spent

"""Challengers planted before all gates at once, with the settings a newcomer has."""

from __future__ import annotations

import pytest
from scipy.stats import binom

from benchmarks.planted import KINDS, NEVER, judged, promotions

SEEDS = 5


@pytest.mark.parametrize("kind", NEVER)
def test_a_planted_challenger_is_never_promoted(kind: str) -> None:
    """Worse, identical, swapped, leaked, taught by the test rows, constant: refused for every seed."""
    assert promotions(kind, 0, SEEDS) == 0


@pytest.mark.parametrize(
    ("kind", "gate"),
    [
        ("identical", "not_the_champion"),
        ("champion under other bytes", "not_the_champion"),
        ("labels swapped in the whole window", "label_health"),
        ("a feature made from the label", "no_leakage"),
        ("taught by the test rows", "no_leakage"),
        ("taught by copies of the test rows", "no_leakage"),
        ("constant", "score_distribution"),
        ("taught by swapped labels", "better_than_champion"),
    ],
)
def test_the_gate_that_is_made_for_it_refuses(kind: str, gate: str) -> None:
    """Each fault is named by the gate that knows it, so that a person reads the cause and not a consequence."""
    assert {result.name: result.verdict for result in judged(kind, 1)}[gate] == "fail"


def test_a_good_challenger_gets_through_all_gates_together() -> None:
    """The conjunction does not refuse by chance: clearly better is promoted nearly always, equal hardly ever."""
    assert promotions("better", 0, 10) >= binom.ppf(0.001, 10, 0.9)
    assert promotions("equal", 0, 40) <= binom.ppf(0.999, 40, 0.05)


def test_all_kinds_are_tried() -> None:
    """No planted challenger is forgotten."""
    assert set(NEVER) | {"better", "equal"} == set(KINDS)

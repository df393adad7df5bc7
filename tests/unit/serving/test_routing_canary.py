"""Canaries: taken back when they harm, hardly ever when they do not, whoever looks how often; shadows never disturb."""

from __future__ import annotations

import itertools
import math
import time
from threading import Event

import numpy as np
import pytest
from scipy.stats import binom

from mlops.errors import DataError
from mlops.serving.routing_canary import StepCounts, decide, log_bet
from mlops.serving.routing_shadow import Shadow
from mlops.spec.experiment import CanarySpec

SPEC = CanarySpec(min_units=100)


@pytest.mark.parametrize("more", [True, False])
@pytest.mark.parametrize("ratio", [1.0, 2.0])
@pytest.mark.parametrize("share", [0.01, 0.3, 0.5])
def test_a_bet_is_fair_under_what_it_bets_against(share: float, ratio: float, *, more: bool) -> None:
    """Over all outcomes of n events, its expected value is at most 1 for every rate that is tolerated."""
    for n, times in itertools.product((1, 7, 60), (0.2, 0.7, 1.0)):
        odds = share / (1 - share) * (ratio * times if more else 1 / (ratio * times))
        hits = np.arange(n + 1)
        values = np.array([math.exp(log_bet((n - int(k), int(k)), share, ratio, more=more)) for k in hits])
        assert binom.pmf(hits, n, odds / (1 + odds)) @ values <= 1 + 1e-9


def test_a_bet_pays_where_the_treatment_errs_more() -> None:
    """Twice as many as its share: evidence grows with the events; as many as its share: it does not."""
    assert log_bet((50, 100), 0.5) > log_bet((25, 50), 0.5) > 2
    assert log_bet((100, 100), 0.5) < 0
    assert log_bet((0, 0), 0.5) == 0


def test_a_canary_grows_step_by_step_and_completes() -> None:
    """It holds until enough units were seen, then goes on, and ends after the last step."""
    steps: list[StepCounts] = []
    told = []
    for share in SPEC.steps:
        assert decide(SPEC, [*steps, StepCounts(share, (50, 3))]).action == "hold"
        steps.append(StepCounts(share, (int(200 / share), 200), errors=(int(2 / share), 2)))
        found = decide(SPEC, steps)
        told.append((found.action, found.share))
    assert told == [("advance", 0.05), ("advance", 0.25), ("advance", 0.5), ("complete", 0.5)]


def test_errors_take_a_canary_back_before_the_step_is_full() -> None:
    """At 1 %, ten errors of 40 units against 20 of 4,000: the reason names both."""
    found = decide(SPEC, [StepCounts(0.01, (4_000, 40), errors=(20, 10))])
    assert (found.action, found.share, found.step) == ("rollback", 0.0, -1)
    assert "10 errors of the treatment and 20 of the control" in found.reason


def test_slow_answers_and_scores_take_it_back_beyond_what_is_tolerated() -> None:
    """Slow answers beyond 1.2 times, score ranges beyond twice; within that they are tolerated."""
    units = (5_000, 5_000)
    assert decide(SPEC, [StepCounts(0.5, units, slow=(100, 300))]).action == "rollback"
    assert decide(SPEC, [StepCounts(0.5, units, slow=(500, 560))]).action == "advance"
    shifted = ((2_500, 500), (2_000, 2_000), (500, 2_500))
    assert decide(SPEC, [StepCounts(0.5, units, scores=shifted)]).action == "rollback"
    alike = ((2_500, 2_000), (2_000, 2_000), (500, 900))
    assert decide(SPEC, [StepCounts(0.5, units, scores=alike)]).action == "advance"


def test_a_harmless_canary_is_taken_back_at_most_at_the_stated_rate() -> None:
    """Looked at after every 20 units for 60 looks a world, errors alike: at most 1 % of 150 worlds."""
    rng, back = np.random.default_rng(12), 0
    for _ in range(150):
        units = errors = np.zeros(2, dtype=int)
        for _ in range(60):
            hit = int(rng.binomial(20, 0.3))
            new = np.array([20 - hit, hit])
            units, errors = units + new, errors + rng.binomial(new, 0.2)
            counts = StepCounts(0.3, tuple(units.tolist()), errors=tuple(errors.tolist()))
            if decide(CanarySpec(steps=(0.3,), min_units=10_000), [counts]).action == "rollback":
                back += 1
                break
    assert back / 150 <= 0.01 + 3 * math.sqrt(0.01 * 0.99 / 150)


@pytest.mark.parametrize(
    "wrong",
    [
        StepCounts(0.0, (1, 1)),
        StepCounts(0.5, (10, 10), errors=(11, 0)),
        StepCounts(0.5, (10, 10), slow=(0, -1)),
    ],
)
def test_counts_that_cannot_be_are_refused(wrong: StepCounts) -> None:
    """More errors than units, negative counts, a share that compares nothing."""
    with pytest.raises(DataError):
        decide(SPEC, [wrong])
    with pytest.raises(DataError, match="cannot be at step"):
        decide(SPEC, [])


def test_a_shadow_compares_and_says_how_far_apart_answers_are() -> None:
    """Of ten answers one differs: counted, with the largest difference."""
    shadow = Shadow(tolerance=0.01)
    for i in range(10):
        assert shadow.submit(0.5, lambda i=i: 0.5 + 0.2 * (i == 3))  # type: ignore[misc]
    shadow.close()
    found = shadow.report()
    assert (found.asked, found.compared, found.differing, found.failed, found.dropped) == (10, 10, 1, 0, 0)
    assert found.largest_difference == pytest.approx(0.2)


def test_a_shadow_that_fails_or_hangs_never_touches_the_answer() -> None:
    """Errors are counted; with one answer stuck and the queue full, the next is dropped at once, without waiting."""
    shadow, release = Shadow(queue=2), Event()

    def fail() -> float:
        raise RuntimeError("no model")

    def hang() -> float:
        release.wait(20)
        return 0.5

    shadow.submit(0.5, fail)
    shadow.submit(0.5, hang)
    deadline = time.monotonic() + 10
    while shadow.report().failed == 0 and time.monotonic() < deadline:
        time.sleep(0.005)
    began = time.perf_counter()
    fits = [shadow.submit(0.5, lambda: 0.5) for _ in range(50)]
    assert time.perf_counter() - began < 10  # of the 20 s that the answer is stuck
    assert fits.count(True) <= 3
    release.set()
    shadow.close()
    found = shadow.report()
    assert (found.failed, found.dropped) == (1, fits.count(False))
    assert found.asked == 52 == found.compared + found.failed + found.dropped
    assert not shadow.submit(0.5, lambda: 0.5)

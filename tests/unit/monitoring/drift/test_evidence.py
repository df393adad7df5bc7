"""The rule that looks every night: its formula, its budget, and that value and threshold agree."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mlops.monitoring.drift import evidence
from mlops.monitoring.drift.measures import Floats

Draw = Callable[[np.random.Generator, int], Floats]


def test_the_evidence_is_the_ratio_of_the_integrated_likelihoods() -> None:
    """Mean flat, spread inverse χ² about what is known, change half normal: integrated on a grid, night by night."""
    usual, nights = np.array([0.6, 0.9, 0.7, 0.5]), np.array([1.1, 1.9])
    values = np.concatenate([usual, nights])
    mean = np.linspace(-4, 6, 160)[:, None, None]
    sigma = np.exp(np.linspace(np.log(0.08), np.log(4), 90))[None, :, None]
    size = np.linspace(0, 4.5, 150)[None, None, :]  # of the change, over the largest of SHIFTS; a half normal
    log_prior = -(evidence.PRIOR_DAYS + 1) * np.log(sigma) - evidence.PRIOR_DAYS * evidence.PRIOR_SPREAD**2 / (
        2 * sigma**2
    )
    log_prior = log_prior + np.log(sigma)  # the grid is even in log σ

    def likelihood(first: int, shift: Floats) -> Floats:
        shifted = [value - mean - (shift * sigma if i >= first else 0.0) for i, value in enumerate(values)]
        return np.exp(log_prior - len(values) * np.log(sigma) - sum(x**2 for x in shifted) / (2 * sigma**2))

    nothing = likelihood(len(values), np.zeros((1, 1, 1))).sum()
    for place, found in enumerate(evidence.by_change(usual, nights)):
        ratios = []
        for scale in evidence.SHIFTS:
            weights = np.exp(-(size**2) / 2)
            weights /= weights.sum()
            ratios.append((likelihood(len(usual) + place, size * scale) * weights).sum() / nothing)
        assert found == pytest.approx(np.log(np.mean(ratios)), abs=0.03)


def alarms(draw: Draw, days: int, *, budget: float, lives: int, nights: int = 30, seed: int = 0) -> int:
    """How many alarms a single column raises in `lives` months in which nothing happens."""
    rng, count = np.random.default_rng(seed), 0
    for _ in range(lives):
        levels = draw(rng, days + nights)  # of a day, in standard deviations of the rows
        taught = levels[:days]
        usual = np.array([abs(taught[i] - np.delete(taught, i).mean()) for i in range(days)]) + 0.02
        seen = np.abs(levels[days:] - taught.mean()) + 0.02
        ordinary = evidence.scaled(usual, usual, 0.1)
        alike = float(evidence.memory([ordinary])[0])
        scaled, start = evidence.scaled(seen, usual, 0.1), 0
        for night in range(nights):
            gathered = evidence.in_all(evidence.by_change(ordinary, scaled[start : night + 1], alike))
            if gathered >= np.log(evidence.level(budget)) and seen[night] >= 0.1:
                count, start = count + 1, night + 1
    return count


def remembering(share: float) -> Draw:
    """Days of which each resembles the one before: AR(1)."""

    def draw(rng: np.random.Generator, days: int) -> Floats:
        levels = np.empty(days)
        levels[0] = rng.normal()
        for day in range(1, days):
            levels[day] = share * levels[day - 1] + np.sqrt(1 - share**2) * rng.normal()
        return 0.3 * levels

    return draw


WORLDS: dict[str, Draw] = {
    "normal days": lambda rng, days: rng.normal(0, 0.3, days),
    "quiet days": lambda rng, days: rng.normal(0, 0.01, days),
    "heavy tails": lambda rng, days: 0.3 * rng.standard_t(3, days),
    "skewed days": lambda rng, days: 0.3 * rng.lognormal(0, 0.7, days),
    "days that resemble the day before": remembering(0.5),
}


@pytest.mark.parametrize("days", [4, 8, 14])
@pytest.mark.parametrize("world", WORLDS)
def test_false_alarms_stay_within_the_budget(world: str, days: int) -> None:
    """Forty months without a change, at one alarm a month: at most forty, whatever a day is like."""
    assert alarms(WORLDS[world], days, budget=1.0, lives=40, seed=days) <= 40


def test_a_discovery_is_what_benjamini_and_hochberg_call_one() -> None:
    """Against scipy's adjusted p-values, on any mixture of small and large ones."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        pvalues = rng.random(rng.integers(1, 30)) ** rng.choice([1, 4])
        limit = evidence.discoveries(pvalues, 0.1)
        assert ((pvalues <= limit) == (stats.false_discovery_control(pvalues) <= 0.1)).all()


def test_the_tail_of_a_quiet_night_is_even() -> None:
    """Normal distances of the spread that is expected: of 4,000 nights, about one in twenty is below .05."""
    rng = np.random.default_rng(0)
    nights = rng.normal(0.8, evidence.PRIOR_SPREAD, (4_000, 11))
    pvalues = [evidence.tail(night[:10], night[10]) for night in nights]
    for level in (0.01, 0.05, 0.5):
        assert np.mean(np.array(pvalues) <= level) == pytest.approx(level, rel=0.15)


def test_a_change_is_dated_to_the_night_it_began() -> None:
    """Five quiet nights, then four far ones: the evidence is largest for the sixth."""
    rng = np.random.default_rng(1)
    usual, nights = rng.normal(0.7, 0.3, 12), np.concatenate([rng.normal(0.7, 0.3, 5), rng.normal(2.5, 0.3, 4)])
    by_night = evidence.by_change(usual, nights)
    assert np.argmax(by_night) == 5
    assert evidence.in_all(by_night) > np.log(1_000)


def test_nearer_than_usual_is_no_drift() -> None:
    """Nights that lie nearer to the reference than its own days do say nothing, however many they are."""
    usual = np.array([0.6, 0.9, 0.7, 0.5, 0.8])
    assert evidence.in_all(evidence.by_change(usual, np.zeros(20))) < np.log(20)


def test_a_night_that_could_not_be_judged_is_left_out() -> None:
    """The evidence of the others is what it would be without it, and no change begins there."""
    usual, nights = np.array([0.6, 0.9, 0.7, 0.5]), np.array([1.1, np.nan, 1.9])
    found = evidence.by_change(usual, nights)
    assert found[1] == -np.inf
    assert found[[0, 2]] == pytest.approx(evidence.by_change(usual, nights[[0, 2]]))
    assert evidence.in_all(evidence.by_change(usual, np.array([np.nan]))) == -np.inf


def test_days_that_resemble_each_other_count_as_fewer() -> None:
    """The same numbers speak less for a change when neighbouring days say the same; memory sees that they do."""
    usual, nights = np.array([0.6, 0.9, 0.7, 0.5, 0.8, 0.6]), np.array([2.0, 2.1])
    alone, alike = (evidence.in_all(evidence.by_change(usual, nights, share)) for share in (0.0, 0.6))
    assert alike < alone
    rng = np.random.default_rng(0)
    walks = [np.cumsum(rng.normal(size=40)) for _ in range(5)]
    noises = [rng.normal(size=40) for _ in range(5)]
    assert evidence.memory(walks).min() > 0.5
    assert evidence.memory(noises).max() < 0.3


@given(st.floats(0, 3), st.floats(0.001, 2))
def test_a_threshold_agrees_with_what_is_enough(value: float, limit: float) -> None:
    """A value reaches the threshold exactly if it is enough and it is an effect that matters."""
    found = evidence.threshold(lambda distance: distance >= limit, value, 0.1)
    assert found is not None
    assert (value >= found) == (value >= max(limit, 0.1))
    assert found == pytest.approx(max(limit, 0.1), rel=1e-3)


def test_there_is_no_threshold_where_nothing_is_enough() -> None:
    """A reference of few days cannot be surprised in one night, however far that is."""
    assert evidence.threshold(lambda _: False, 1.0, 0.1) is None

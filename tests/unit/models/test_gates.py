"""Planted challengers, and every gate at its limit."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from mlops.models import gates
from mlops.models.comparison import METRICS, time_blocks
from mlops.records import GateResult, Verdict
from mlops.spec import GatesSpec

Floats = npt.NDArray[np.float64]
SPEC = GatesSpec(resamples=200, alpha=0.05, margin=0.0)
DEVICES, STEPS, EVENT = 10, 144, 6
TIMES = pd.date_range("2026-03-01", periods=STEPS, freq="10min", tz="UTC")
BLOCKS = time_blocks(np.repeat(np.arange(DEVICES), STEPS), np.tile(TIMES, DEVICES), 3)


def fleet(seed: int, quality: float, champion_quality: float = 1.5, events: int = 14) -> tuple[Floats, Floats, Floats]:
    """Labels, challenger's and champion's scores: faults of an hour that both see together, on noise they share."""
    rng = np.random.default_rng(seed)
    y = np.zeros((DEVICES, STEPS))
    seen = [np.zeros_like(y), np.zeros_like(y)]
    for _ in range(events):
        device, start, strength = rng.integers(DEVICES), rng.integers(STEPS - EVENT), 0.5 * rng.normal()
        y[device, start : start + EVENT] = 1
        for scores, strong in zip(seen, (quality, champion_quality), strict=True):
            scores[device, start : start + EVENT] += strong + strength + 0.5 * rng.normal()
    common = rng.normal(size=y.shape)
    challenger, champion = (s + 0.8 * common + 0.6 * rng.normal(size=y.shape) for s in seen)
    return y.ravel(), challenger.ravel(), champion.ravel()


def judged(seed: int, y: Floats, challenger: Floats, champion: Floats, spec: GatesSpec = SPEC) -> GateResult:
    """The comparison gate on average precision."""
    return gates.better_than_champion(
        METRICS["average_precision"],
        "average_precision",
        y,
        challenger,
        champion,
        blocks=BLOCKS,
        higher_is_better=True,
        spec=spec,
        rng=np.random.default_rng(seed),
    )


def promoted(verdicts: list[Verdict]) -> int:
    """How many passed."""
    return sum(verdict == "pass" for verdict in verdicts)


def test_an_identical_challenger_never_passes() -> None:
    """The champion's own scores are neither superior nor another model."""
    for seed in range(20):
        y, _, champion = fleet(seed, 1.5)
        assert judged(seed, y, champion, champion).verdict == "fail"
        assert gates.not_the_champion("d1", "d2", champion, champion.copy()).verdict == "fail"


def test_an_equally_good_challenger_passes_at_most_at_the_error_rate() -> None:
    """Over 400 nights, a challenger equal in distribution is promoted no more often than alpha allows by chance."""
    passed = promoted([judged(seed, *fleet(seed, 1.5)).verdict for seed in range(400)])
    # The largest count that a true rate of .05 reaches with probability .999.
    assert passed <= binom.ppf(0.999, 400, SPEC.alpha)


def test_a_worse_challenger_hardly_ever_passes() -> None:
    """A challenger that sees faults less well is promoted far below the error rate."""
    assert promoted([judged(seed, *fleet(seed, 1.0)).verdict for seed in range(60)]) <= 1


def test_a_label_swapped_challenger_never_passes() -> None:
    """A model that has learned the classes the wrong way round is always refused."""
    for seed in range(20):
        y, challenger, champion = fleet(seed, 3.0)
        assert judged(seed, y, -challenger, champion).verdict == "fail"


def test_a_clearly_better_challenger_nearly_always_passes() -> None:
    """The gate is not merely strict: a much better model gets through."""
    assert promoted([judged(seed, *fleet(seed, 3.5)).verdict for seed in range(40)]) >= 38


def test_a_margin_must_be_exceeded_by_the_bound_not_the_estimate() -> None:
    """With the margin at the lower bound a better challenger fails; just below it, it passes."""
    y, challenger, champion = fleet(0, 3.5)
    low = judged(0, y, challenger, champion).value
    assert low is not None
    assert low > 0
    assert judged(0, y, challenger, champion, SPEC.model_copy(update={"margin": low})).verdict == "fail"
    assert judged(0, y, challenger, champion, SPEC.model_copy(update={"margin": low - 1e-9})).verdict == "pass"


def test_non_inferiority_lets_an_equal_challenger_pass_and_a_worse_one_not() -> None:
    """Not worse by more than the margin is shown for an equal model and not for one that is worse by more."""
    spec = SPEC.model_copy(update={"comparison": "non_inferiority", "margin": 0.15})
    y, challenger, champion = fleet(1, 1.5)
    result = judged(1, y, challenger, champion, spec)
    assert (result.verdict, result.limit) == ("pass", -0.15)
    y, challenger, champion = fleet(1, 0.2, champion_quality=3.0)
    assert judged(1, y, challenger, champion, spec).verdict == "fail"


def test_the_reason_says_the_numbers_in_words() -> None:
    """A person reads both values, the rows, the positives, the difference, the bound and the claim."""
    y, challenger, champion = fleet(2, 1.5)
    reason = judged(2, y, challenger, champion).reason
    assert reason.startswith("average precision .")
    for part in ("against the champion's .", "on 1,440 rows (", " positive): ", "the 95 % lower bound is −.",
                 "superiority by more than 0 is not shown."):  # fmt: skip
        assert part in reason


def test_the_numbers_of_a_comparison_come_with_it() -> None:
    """Plots need no text to be read: both values, the difference and its bound are there, and agree."""
    y, challenger, champion = fleet(2, 1.5)
    result = judged(2, y, challenger, champion)
    numbers = result.numbers
    assert numbers["challenger"] == METRICS["average_precision"](y, challenger)
    assert numbers["champion"] == METRICS["average_precision"](y, champion)
    assert numbers["difference"] == pytest.approx(numbers["challenger"] - numbers["champion"])
    assert (numbers["low"], numbers["rows"]) == (result.value, 1440)
    first = first_champion("average_precision", y, challenger, 0 * y, None, True)
    assert first.numbers["baseline"] == first.limit == pytest.approx(y.mean())


def test_without_positives_the_comparison_cannot_tell() -> None:
    """No labels of one class is neither better nor worse."""
    y, challenger, champion = fleet(2, 1.5)
    assert judged(2, 0 * y, challenger, champion).verdict == "cannot_tell"


def first_champion(metric: str, y: Any, scores: Any, dummy: Any, floor: float | None, better: bool) -> GateResult:
    """The gate of a first champion."""
    return gates.reaches_floor_and_beats_dummy(
        METRICS[metric],
        metric,
        y,
        scores,
        dummy,
        blocks=np.arange(len(y)) // 6,
        higher_is_better=better,
        spec=SPEC.model_copy(update={"floor": floor}),
        rng=np.random.default_rng(0),
    )


def test_a_first_champion_must_know_something() -> None:
    """Random scores do not pass even above a floor of zero; scores that see the faults do."""
    y, good, _ = fleet(3, 3.0)
    dummy = gates.constant_baseline("anomaly", [], len(y))
    noise = np.random.default_rng(3).normal(size=len(y))
    passed = first_champion("average_precision", y, good, dummy, 0.3, True)
    assert passed.verdict == "pass"
    assert "knowing nothing gives .0" in passed.reason
    assert first_champion("average_precision", y, noise, dummy, 0.0, True).verdict == "fail"
    assert first_champion("average_precision", y, noise, dummy, None, True).verdict == "fail"


def test_a_first_champion_must_reach_the_floor() -> None:
    """A floor is compared with the metric itself: equal is enough, above is not; for an error it is a ceiling."""
    y, good, _ = fleet(3, 3.0)
    value = METRICS["average_precision"](y, good)
    assert value is not None
    dummy = np.zeros(len(y))
    assert first_champion("average_precision", y, good, dummy, value, True).verdict == "pass"
    below = first_champion("average_precision", y, good, dummy, value + 1e-9, True)
    assert (below.verdict, below.value, below.limit) == ("fail", value, value + 1e-9)
    target = np.arange(120.0)
    mean = gates.constant_baseline("regression", target[:60], 120)
    assert first_champion("mean_absolute_error", target, target + 1.0, mean, 1.0, False).verdict == "pass"
    assert first_champion("mean_absolute_error", target, target + 1.0, mean, 0.9, False).verdict == "fail"
    assert first_champion("mean_absolute_error", target, mean, mean, None, False).verdict == "fail"


def test_the_baseline_knows_only_the_labels_of_the_fit_part() -> None:
    """Regression: the mean; classification: the rate; anomaly or no labels: a constant."""
    assert gates.constant_baseline("regression", [1.0, 3.0, np.nan], 2).tolist() == [2.0, 2.0]
    assert gates.constant_baseline("classification", [0, 0, 0, 1], 1).tolist() == [0.25]
    assert gates.constant_baseline("anomaly", [0, 1], 1).tolist() == [0.0]
    assert gates.constant_baseline("regression", [], 1).tolist() == [0.0]


@pytest.mark.parametrize(
    ("rows", "positives", "verdict"),
    [
        (200, 10, "pass"),
        (199, 10, "cannot_tell"),
        (200, 9, "cannot_tell"),
        (200, 191, "cannot_tell"),
        (200, None, "pass"),
        (0, None, "cannot_tell"),
    ],
)
def test_too_little_evidence_is_cannot_tell(rows: int, positives: int | None, verdict: Verdict) -> None:
    """Fewer rows, positives or negatives than the spec asks for: nobody is refused, nobody is promoted."""
    assert gates.enough_evidence(rows, positives, GatesSpec(min_rows=200, min_positives=10)).verdict == verdict


def test_the_alert_budget_is_alarms_per_entity_and_day() -> None:
    """Six alarms in twenty entity-days are .3; a budget of .1 with slack 3 allows them, one alarm more not."""
    kept = gates.alert_budget_kept(6, 20.0, budget=0.1, slack=3.0)
    assert (kept.verdict, kept.value) == ("pass", pytest.approx(0.3))
    assert kept.limit == pytest.approx(0.3)
    assert gates.alert_budget_kept(7, 20.0, budget=0.1, slack=3.0).verdict == "fail"
    assert gates.alert_budget_kept(None, 20.0, budget=0.1, slack=3.0).verdict == "cannot_tell"
    assert gates.alert_budget_kept(0, 0.0, budget=0.1, slack=3.0).verdict == "cannot_tell"


def test_the_champion_in_other_clothes_is_recognised() -> None:
    """The same digest or the same scores up to rounding, NaNs included, is the champion; one other score is not."""
    scores = np.array([0.1, np.nan, 3.0])
    other = np.array([0.1, np.nan, 3.1])
    assert gates.not_the_champion("d", "d", scores, other).verdict == "fail"
    assert gates.not_the_champion("d1", "d2", scores, scores * (1 + 1e-12)).verdict == "fail"
    assert gates.not_the_champion("d1", "d2", scores, other).verdict == "pass"
    assert gates.not_the_champion("d1", "d2").verdict == "cannot_tell"
    assert gates.not_the_champion("d1", None).verdict == "pass"


def leakage(**changes: Any) -> GateResult:
    """The leakage gate on 40 clean rows, with some of its arguments replaced or made from the clean ones."""
    rng = np.random.default_rng(0)
    times = pd.date_range("2026-03-01", periods=80, freq="h", tz="UTC")
    keys = pd.DataFrame({"device": "a", "observed_at": times})
    clean = {
        "fit_keys": keys[:40],
        "holdout_keys": keys[40:],
        "decided_at": times[40:],
        "feature_times": times[40:],
        "features": pd.DataFrame({"x": rng.normal(size=40), "z": rng.normal(size=40)}),
        "y": np.arange(40) % 4 == 0,
    }
    return gates.no_leakage(**(clean | {k: v(clean) if callable(v) else v for k, v in changes.items()}))


def test_clean_data_has_no_leakage() -> None:
    """Disjoint rows, features of their own time and no feature that knows the answer pass."""
    assert leakage().verdict == "pass"
    assert leakage(feature_times=[pd.NaT] * 40).verdict == "pass"


def test_a_row_that_taught_may_not_judge() -> None:
    """One key on both sides fails and is counted."""
    result = leakage(fit_keys=lambda c: pd.concat([c["fit_keys"], c["holdout_keys"][:1]]))
    assert (result.verdict, result.value) == ("fail", 1.0)


def test_a_feature_from_the_future_fails() -> None:
    """A feature one microsecond younger than its row is leakage."""
    result = leakage(feature_times=lambda c: c["feature_times"] + pd.Timedelta(microseconds=1))
    assert (result.verdict, result.value) == ("fail", 40.0)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_feature_that_is_the_answer_fails(sign: int) -> None:
    """A feature made from the label, either way round and with holes, is named."""

    def leaked(clean: dict[str, Any]) -> pd.DataFrame:
        answer = sign * np.where(np.arange(40) == 7, np.nan, clean["y"] + 0.1 * np.arange(40) / 40)
        return clean["features"].assign(answer=answer)

    result = leakage(features=leaked)
    assert (result.verdict, result.value) == ("fail", 1.0)
    assert "Feature answer knows the answer by itself: ROC AUC 1.0000" in result.reason


def test_a_regression_target_among_the_features_fails() -> None:
    """A column equal to the target is found, a scaled copy too; one that is merely close to it is believable."""
    target = np.linspace(0.0, 1.0, 40)
    noise = 0.1 * np.random.default_rng(1).normal(size=40)
    assert leakage(y=target, features=lambda c: c["features"].assign(target=target)).verdict == "fail"
    assert leakage(y=target, features=lambda c: c["features"].assign(scaled=3 - 2 * target)).verdict == "fail"
    assert leakage(y=target, features=lambda c: c["features"].assign(near=target + noise)).verdict == "pass"


def test_copied_rows_are_found_and_natural_repeats_are_not_copies() -> None:
    """Measured values that all occur among the teaching rows were copied; two switches repeat by nature."""
    rng = np.random.default_rng(2)
    measured = pd.DataFrame(rng.normal(size=(40, 3)), columns=list("abc"))
    taught = pd.DataFrame(rng.normal(size=(400, 3)), columns=list("abc"))
    assert leakage(features=measured, fit_features=taught).verdict == "pass"
    result = leakage(features=measured, fit_features=pd.concat([taught, measured[:10]]))
    assert (result.verdict, result.value) == ("fail", 0.25)
    switches = pd.DataFrame(rng.integers(0, 8, (440, 2)), columns=list("ab"))
    assert leakage(features=switches[:40].reset_index(drop=True), fit_features=switches[40:]).verdict == "pass"


def test_rows_that_teach_must_be_older_and_entities_apart_if_asked_for() -> None:
    """A teaching row as young as the first that judges fails where time orders; so does a shared entity where apart."""
    late = leakage(in_time_order=True, fit_keys=lambda c: c["holdout_keys"][:1].assign(device="b"))
    assert (late.verdict, late.value) == ("fail", 1.0)
    assert leakage(in_time_order=True).verdict == "pass"
    assert leakage(entities_apart=True).verdict == "fail"
    assert leakage(entities_apart=True, fit_keys=lambda c: c["fit_keys"].assign(device="b")).verdict == "pass"


def test_few_positives_do_not_make_a_feature_suspicious() -> None:
    """With two positives chance separates the classes often: that is left to the evidence gate."""
    y = np.zeros(40)
    y[:2] = 1
    assert leakage(y=y, features=pd.DataFrame({"x": y})).verdict == "pass"


def test_scores_must_be_numbers() -> None:
    """One missing or infinite score in a hundred is allowed, two are not; no rows cannot tell."""
    scores = np.zeros(100)
    scores[0] = np.inf
    assert gates.scores_finite(scores).verdict == "pass"
    scores[1] = np.nan
    assert gates.scores_finite(scores).verdict == "fail"
    assert gates.scores_finite([]).verdict == "cannot_tell"


def test_latency_is_the_median_against_the_limit() -> None:
    """One slow call in three does not count; the median at the limit passes, above it fails."""
    assert gates.latency([1.0, 2.0, 900.0], limit=2.0).verdict == "pass"
    assert gates.latency([1.0, 2.1, 900.0], limit=2.0).verdict == "fail"
    assert gates.latency([], limit=2.0).verdict == "cannot_tell"


@given(st.lists(st.sampled_from(["pass", "fail", "cannot_tell"])), st.sampled_from(["pass", "fail", "cannot_tell"]))
def test_another_gate_never_makes_the_verdict_better(verdicts: list[Verdict], more: Verdict) -> None:
    """A fail beats cannot tell beats a pass; nothing judged is cannot tell."""
    rank = {"pass": 0, "cannot_tell": 1, "fail": 2}
    results = [GateResult("g", verdict, "") for verdict in verdicts]
    worst = gates.judge(results)
    assert worst == (max(verdicts, key=rank.__getitem__) if verdicts else "cannot_tell")
    if verdicts:
        assert rank[gates.judge([*results, GateResult("h", more, "")])] >= rank[worst]


def test_a_gate_that_does_not_decide_is_shown_and_not_counted() -> None:
    """A failing gate that is advisory leaves the verdict to the others; alone it is no ground for any."""
    aside = GateResult("a", "fail", "", decides=False)
    assert gates.judge([aside, GateResult("b", "pass", "")]) == "pass"
    assert gates.judge([aside]) == "cannot_tell"


def test_a_spec_names_only_gates_that_exist_as_advisory() -> None:
    """A mistyped gate would otherwise go on deciding in silence."""
    assert GatesSpec(advisory=("latency",)).advisory == ("latency",)
    with pytest.raises(ValueError, match=r"'latncy' is no gate.*latency"):
        GatesSpec(advisory=("latncy",))

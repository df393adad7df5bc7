"""What A/B statistics promise, by simulation: error rates under looking, power, coverage, mismatch, canaries, bandits.

One rule: a probability stands with its exact 95 % interval (Clopper and Pearson), and every table has its own seed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.stats import binomtest, norm

from benchmarks import ab_bandits
from mlops.experiments.ab import boundaries, cuped, means, planning, proportions, ratios, srm
from mlops.experiments.ab import confidence_sequences as cs
from mlops.experiments.ab.samples import Counts, Floats, Moments
from mlops.experiments.ab.sequential import Design
from mlops.serving.routing_canary import StepCounts, decide
from mlops.spec.experiment import CanarySpec

WORLDS = 10_000
TIMES = 4  # as many worlds for the table of false positives, in parts
LOOKS = (1, 5, 28, 100, 500)
UNITS = 20_000  # of each variant, at the end
BASE = 0.1  # the control's share of successes
ALPHA = 0.05


def main() -> None:
    """Print the tables, each as soon as it is known."""
    started = time.perf_counter()
    console = Console(width=118)
    tables = (looking, powered, planned, covered, mismatched, canaries, ab_bandits.regret, ab_bandits.moving)
    for table in tables:
        console.print(table())
    console.print(f"{time.perf_counter() - started:.0f} s")


def shown(count: int, of: int) -> str:
    """A probability with its exact interval, in per cent.

    >>> shown(5, 100)
    '5.0 (1.6–11.3)'
    """
    interval = binomtest(int(count), of).proportion_ci(0.95, "exact")
    return f"{100 * count / of:.1f} ({100 * interval.low:.1f}–{100 * interval.high:.1f})"


# --- looking ----------------------------------------------------------------------------------------------------------


def statistics(rng: np.random.Generator, looks: int, effect: float, units: int = UNITS) -> tuple[Floats, Floats]:
    """Z of the pooled test of two shares at each look, and the number of units of each variant there.

    Returns:
        Shapes (worlds, looks) and (looks,).
    """
    n = np.diff(np.linspace(0, units, looks + 1).astype(int))
    control = np.cumsum(rng.binomial(n, BASE, (WORLDS, looks)), axis=1)
    treatment = np.cumsum(rng.binomial(n, BASE + effect, (WORLDS, looks)), axis=1)
    total = np.cumsum(n)
    pooled = (control + treatment) / (2 * total)
    error = np.sqrt(np.maximum(pooled * (1 - pooled), 1e-12) * 2 / total)
    return (treatment - control) / total / error, total


def limits(looks: int) -> dict[str, Floats]:
    """What |Z| has to exceed at each look, by method."""
    times = [(k + 1) / looks for k in range(looks)]
    n = UNITS * np.array(times)
    error = np.sqrt(2 / n)  # of a standardised difference
    found = {"z-test, peeking": np.full(looks, norm.isf(ALPHA / 2))}
    shapes: dict[boundaries.Spending, str] = {"obrien_fleming": "O’Brien–Fleming", "pocock": "Pocock"}
    for spending, name in shapes.items():
        found[name] = np.array(boundaries.boundaries(times, alpha=ALPHA, spending=spending))
    tuned = error[-1]
    reach = np.array([cs.normal_mixture(0.0, e, tuned_to=tuned, alpha=ALPHA).high / e for e in error])
    reach[n < cs.FEWEST_UNITS] = np.inf
    found["confidence sequence"] = reach
    return found


def looking() -> Table:
    """False positives of two equal variants, by the number of looks."""
    rng = np.random.default_rng(1)
    title = f"Found though equal [%]: shares of {BASE:.0%}, {UNITS:,} units each, {TIMES * WORLDS:,} worlds"
    table = Table("method", *(f"{looks} look{'s' * (looks > 1)}" for looks in LOOKS), title=title)
    rows: dict[str, list[str]] = {}
    for looks in LOOKS:
        held = limits(looks)
        found = dict.fromkeys(held, 0)
        for _ in range(TIMES):
            z, _ = statistics(rng, looks, 0.0)
            for name, limit in held.items():
                found[name] += int((np.abs(z) > limit).any(axis=1).sum())
        for name, count in found.items():
            rows.setdefault(name, []).append(shown(count, TIMES * WORLDS))
    for name, cells in rows.items():
        table.add_row(name, *cells)
    return table


def powered() -> Table:
    """Power at the size that is planned for a single look, and units until the end, by the number of looks."""
    rng, single = np.random.default_rng(2), single_effect()
    title = f"Power [%], and mean share of the units used [%], at {UNITS:,} units each: 80 % for one look"
    table = Table("method", *(f"{looks} look{'s' * (looks > 1)}" for looks in LOOKS), title=title)
    rows: dict[str, list[str]] = {}
    for looks in LOOKS:
        z, total = statistics(rng, looks, single)
        for name, limit in limits(looks).items():
            if "peeking" in name and looks > 1:
                continue  # its error rate is not 5 %
            rows.setdefault(name.replace(", peeking", ", one look"), []).append(_found(z, total, limit, UNITS))
    for name, cells in rows.items():
        table.add_row(name, *cells, *["–"] * (len(LOOKS) - len(cells)))
    return table


def planned() -> Table:
    """Power at the size that is planned for so many looks: `mlops ab plan --looks`."""
    rng, single = np.random.default_rng(5), single_effect()
    title = "Power [%], and mean share of a single look’s units [%], at the size that is planned for the looks"
    table = Table("method", *(f"{looks} look{'s' * (looks > 1)}" for looks in LOOKS), title=title)
    designs: dict[str, boundaries.Spending] = {"O’Brien–Fleming": "obrien_fleming", "Pocock": "pocock"}
    for name, spending in designs.items():
        cells = []
        for looks in LOOKS:
            design = Design(alpha=ALPHA, spending=spending)
            units = planning.plan(base=BASE, effect_size=single, design=design, looks=looks).n_control
            z, total = statistics(rng, looks, single, units)
            cells.append(_found(z, total, limits(looks)[name], UNITS))
        table.add_row(name, *cells)
    return table


def _found(z: Floats, total: Floats, limit: Floats, of: int) -> str:
    """How often the better one is found, and the mean units until the end in per cent of some."""
    crossed = np.abs(z) > limit
    found = (crossed & (z > 0)).any(axis=1)
    last = np.where(crossed.any(axis=1), crossed.argmax(axis=1), len(total) - 1)
    return f"{100 * found.mean():.1f}, {100 * (total[last] / of).mean():.0f}"


def single_effect() -> float:
    """The difference that a single look finds in 80 % at that many units."""
    fixed = (norm.isf(ALPHA / 2) + norm.ppf(0.8)) * math.sqrt(2 * BASE * (1 - BASE) / UNITS)
    single = next(
        effect
        for effect in np.linspace(fixed, 1.2 * fixed, 400)
        if planning.plan(base=BASE, effect_size=float(effect)).n_control <= UNITS
    )
    return float(single)


# --- intervals --------------------------------------------------------------------------------------------------------


def covered() -> Table:
    """How often intervals hold the true difference."""
    rng = np.random.default_rng(3)
    worlds = 2_000
    table = Table("interval", "holds [%]", title=f"Coverage of 95 % intervals, {worlds:,} worlds")
    cases: dict[str, Callable[[], bool]] = {
        "Newcombe, 4 % against 6 %, 200 units each": lambda: _proportions(rng),
        "Welch, exponential outcomes, 50 and 150 units": lambda: _means(rng),
        "delta method, ratio with unequal units, 200 units each": lambda: _ratios(rng),
        "CUPED, correlation .8, 100 units each": lambda: _adjusted(rng),
        "empirical Bernstein, share of 3 %, all of 1,000 moments": lambda: _bounded(rng),
    }
    for name, holds in cases.items():
        table.add_row(name, shown(sum(holds() for _ in range(worlds)), worlds))
    for name, limit in limits(28).items():
        if "peeking" not in name:
            z, _ = statistics(rng, 28, 0.0)
            table.add_row(f"{name}, all of 28 looks", shown((np.abs(z) <= limit).all(axis=1).sum(), WORLDS))
    return table


def _proportions(rng: np.random.Generator) -> bool:
    counts = [Counts(int(rng.binomial(200, share)), 200) for share in (0.04, 0.06)]
    low, high = proportions.newcombe(*counts, ALPHA)
    return low <= 0.02 <= high


def _means(rng: np.random.Generator) -> bool:
    found = means.compare_means(Moments.of(rng.exponential(1, 50)), Moments.of(rng.exponential(1.3, 150)))
    assert found is not None
    return found.low <= 0.3 <= found.high


def _ratios(rng: np.random.Generator) -> bool:
    def variant(rate: float) -> Moments:
        below = rng.poisson(rng.gamma(2, 5, 200)) + 1
        return Moments.of(rng.binomial(below, rng.beta(20 * rate, 20 * (1 - rate), 200)), below)

    found = ratios.compare_ratios(variant(0.2), variant(0.25))
    assert found is not None
    return found.low <= 0.05 <= found.high


def _adjusted(rng: np.random.Generator) -> bool:
    def variant(mean: float) -> Moments:
        before = rng.normal(size=100)
        return Moments.of(mean + 0.8 * before + 0.6 * rng.normal(size=100), before)

    found = cuped.compare_adjusted(variant(0.0), variant(0.2))
    assert found is not None
    return found.low <= 0.2 <= found.high


def _bounded(rng: np.random.Generator) -> bool:
    low, high = cs.bounded_mean(rng.random(1_000) < 0.03)
    return bool(((low <= 0.03) & (high >= 0.03)).all())


# --- shares of units, canaries ----------------------------------------------------------------------------------------


def mismatched() -> Table:
    """How often a mismatch of the variants' shares is called, looked at 100 times, and after how many units."""
    rng = np.random.default_rng(4)
    worlds, looks, each = 1_000, 100, 1_000
    title = f"Mismatch called at alpha {srm.ALPHA} [%]: {looks} looks, {each:,} new units each, {worlds:,} worlds"
    table = Table("true share of the treatment", "chi-squared, peeking", "anytime", "units until called", title=title)
    for share in (0.5, 0.505, 0.51, 0.52):
        arms = np.cumsum(rng.binomial(each, share, (worlds, looks)), axis=1)
        total = each * np.arange(1, looks + 1)
        plain = np.abs(arms - total / 2) / np.sqrt(total / 4) > norm.isf(srm.ALPHA / 2)
        evidence = np.array(
            [[srm.log_evidence([t - a, a], [1, 1]) for a, t in zip(row, total, strict=True)] for row in arms]
        )
        called = evidence > -math.log(srm.ALPHA)
        hit = called.any(axis=1)
        after = f"{np.median(total[called[hit].argmax(axis=1)]):,.0f}" if hit.mean() > 0.5 else "–"
        table.add_row(f"{share:.1%}", shown(plain.any(axis=1).sum(), worlds), shown(hit.sum(), worlds), after)
    return table


def canaries() -> Table:
    """How often a canary is taken back, by what its treatment does, and after how many of its errors."""
    rng = np.random.default_rng(5)
    worlds, per_look, spec = 300, 500, CanarySpec()
    title = f"Canary of steps {', '.join(f'{step:.0%}' for step in spec.steps)}: looked at every {per_look:,} units"
    table = Table("the treatment", "taken back [%]", "median of its units by then", title=title)
    for name, errors, slow in (
        ("harms nothing, 1 % errors", 1.0, 1.0),
        ("errs 1.5 times as often", 1.5, 1.0),
        ("errs 3 times as often", 3.0, 1.0),
        ("errs 10 times as often", 10.0, 1.0),
        ("is slow twice as often (2 % are)", 1.0, 2.0),
    ):
        ends = [_canary(rng, spec, per_look, errors, slow) for _ in range(worlds)]
        back = [units for taken, units in ends if taken]
        after = f"{np.median(back):,.0f}" if len(back) > worlds / 2 else "–"
        table.add_row(name, shown(len(back), worlds), after)
    return table


def _canary(rng: np.random.Generator, spec: CanarySpec, per_look: int, errors: float, slow: float) -> tuple[bool, int]:
    """One life: whether it was taken back, and how many units of the treatment had been seen."""
    steps: list[StepCounts] = []
    share = spec.steps[0]
    seen = 0
    now = np.zeros((3, 2), dtype=int)  # units, errors, slow by variant
    while True:
        treatment = int(rng.binomial(per_look, share))
        units = np.array([per_look - treatment, treatment])
        now += np.stack([units, rng.binomial(units, [0.01, 0.01 * errors]), rng.binomial(units, [0.02, 0.02 * slow])])
        seen += treatment
        pairs = [(int(a), int(b)) for a, b in now]
        found = decide(spec, [*steps, StepCounts(share, pairs[0], pairs[1], pairs[2])])
        if found.action in ("rollback", "complete"):
            return found.action == "rollback", seen
        if found.action == "advance":
            steps.append(StepCounts(share, pairs[0], pairs[1], pairs[2]))
            share, now = found.share, np.zeros((3, 2), dtype=int)


if __name__ == "__main__":
    main()

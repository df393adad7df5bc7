"""Rules about what is usual: mean, spread and nulls of columns against those of deliveries that were accepted before.

Bounds are the median ± so many robust standard deviations (1.4826 × median absolute deviation) of the last deliveries.
With 14 deliveries and a spread of 10, 0.006 % of the checks on normal daily values are false alarms, and 0.09 % on
Student's t with 5 degrees of freedom; with 7 it would be 0.5 %, which is why that few do not suffice.

One rule: with too little history nobody can tell, and nothing is refused.

References:
    Rousseeuw, P. J. and Croux, C. (1993), Alternatives to the median absolute deviation, JASA 88.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from mlops.data.rule import Delivery, Rule, finite_column, mostly, number
from mlops.spec import DistributionSpec

MAD_TO_SIGMA = 1.4826  # of a normal distribution
_FLOOR = 0.05  # bounds are never narrower than this share of the column's own standard deviation
_NULL_FLOOR = 0.002  # share of rows


def history_rules(delivery: Delivery) -> list[Rule]:
    """All rules about what is usual, if the contract asks for them."""
    asked = delivery.contract.distribution
    if asked is None:
        return []
    numbers = [name for name, column in delivery.contract.columns.items() if column.type in ("float", "int")]
    return [rule for name in asked.columns or numbers for rule in _rules(delivery, asked, name)]


def robust_bounds(values: Sequence[float], spread: float, floor: float) -> tuple[float, float]:
    """Median ± `spread` robust standard deviations, each at least `floor`.

    >>> robust_bounds([1.0, 2.0, 3.0, 4.0, 100.0], spread=2, floor=0.0)
    (0.0348, 5.9652)
    """
    middle = median(values)
    sigma = MAD_TO_SIGMA * median([abs(value - middle) for value in values])
    reach = spread * max(sigma, floor)
    return middle - reach, middle + reach


def _rules(delivery: Delivery, asked: DistributionSpec, name: str) -> list[Rule]:
    past = [facts[name] for facts in delivery.statistics[-asked.history :] if name in facts]
    unchecked = ""
    if len(past) < asked.min_history:
        unchecked = f"{len(past)} accepted deliveries, {asked.min_history} are needed to know what is usual"
    unchecked = unchecked or delivery.no_values(name)
    if not unchecked and not delivery.table.is_number(name):
        unchecked = "the column holds no numbers"
    own = median([facts["std"] for facts in past]) if past else 0.0
    found = [_aggregate(name, what, past, asked.spread, _FLOOR * own, unchecked) for what in ("mean", "std")]
    return [*found, _nulls(delivery, name, past, asked.spread, unchecked)]


def _aggregate(
    name: str, what: str, past: Sequence[Mapping[str, float]], spread: float, floor: float, unchecked: str
) -> Rule:
    words, kind = {"mean": ("mean", "Mean"), "std": ("spread", "Stdev")}[what]
    values = [facts[what] for facts in past]
    low, high = robust_bounds(values, spread, floor) if values else (0.0, 0.0)
    low = max(low, 0.0) if what == "std" else low
    usual = number(median(values)) if values else ""
    return Rule(
        subject=name,
        promise=f"a usual {words}" if unchecked else f"{words} as usual: {number(low)} to {number(high)}",
        expectation=f"ExpectColumn{kind}ToBeBetween",
        settings={"column": finite_column(name), "min_value": low, "max_value": high},
        broken=lambda r: (
            f"the {words} is {number(r['observed_value'])}, usual is {usual} (median of {len(values)} deliveries), "
            f"allowed {number(low)} to {number(high)}"
        ),
        observed=lambda r: number(r["observed_value"]),
        unchecked=unchecked,
    )


def _nulls(delivery: Delivery, name: str, past: Sequence[Mapping[str, float]], spread: float, unchecked: str) -> Rule:
    shares = [facts["nulls"] for facts in past]
    most = min(1.0, robust_bounds(shares, spread, _NULL_FLOOR)[1]) if shares else 1.0
    return Rule(
        subject=name,
        promise="as few nulls as usual" if unchecked else f"at most {100 * most:.3g} % null, as usual",
        expectation="ExpectColumnValuesToNotBeNull",
        settings={"column": name, "mostly": mostly(most)},
        broken=lambda r: (
            f"null in {100 * r['unexpected_count'] / r['element_count']:.3g} % of the rows, usual is "
            f"{100 * median(shares):.3g} % (median of {len(shares)} deliveries), allowed {100 * most:.3g} %"
        ),
        observed=lambda r: f"{r['unexpected_count']:,} null",
        unchecked=unchecked if unchecked != "there are no values" else delivery.absent(name),
        shows=(name,),
    )

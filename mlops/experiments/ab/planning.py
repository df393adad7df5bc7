"""How many units, and how many days, until an experiment can tell.

The fixed sample by the normal approximation, times what looking every night costs (its inflation factor), over the
units that come in a day.

One rule: what an experiment is planned with (effect, alpha, power, looks) is fixed before the first unit comes in.

References:
    Fleiss, J., Levin, B. and Paik, M. (2003), Statistical methods for rates and proportions, ch. 4.
    Jennison, C. and Turnbull, B. (2000), Group sequential methods, ch. 2 and 7 (inflation factors).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from mlops.errors import DataError
from mlops.experiments.ab.boundaries import boundaries, drift_for
from mlops.experiments.ab.effects import check_alpha, quantile
from mlops.experiments.ab.sequential import Design

LOOKS_INTEGRATED = 60  # beyond it the inflation hardly changes


@dataclass(frozen=True, slots=True)
class Plan:
    """What an experiment needs."""

    n_control: int  # units
    n_treatment: int
    fixed_n: int  # units of both together that a single look would need
    inflation: float  # n with looks over n without, ≥ 1
    looks: int
    days: int | None  # None: nobody said how many units come in a day
    effect_size: float  # smallest difference that is found with the power
    power: float
    alpha: float
    sides: int

    @property
    def n(self) -> int:
        """Units of both variants."""
        return self.n_control + self.n_treatment


def plan(
    *,
    effect_size: float,
    sd: float | None = None,
    base: float | None = None,
    design: Design | None = None,
    power: float = 0.8,
    looks: int = 1,
    share: float = 0.5,
    units_per_day: float | None = None,
    explained: float = 0.0,
) -> Plan:
    """Plan for a mean (give `sd`) or a proportion (give `base`).

    Args:
        effect_size: smallest difference worth finding, not 0; of a proportion in points of the share.
        sd: standard deviation of the outcome over units (of a ratio: of a unit's pull), > 0.
        base: the control's share, in (0, 1).
        design: alpha, sides and spending.
        power: probability of finding it, in (.5, 1).
        looks: planned looks, equally far apart; 1: only at the end.
        share: of the units that get the treatment, in (0, 1).
        units_per_day: new units a day of both variants together.
        explained: share of the variance that a covariate takes away (CUPED), [0, 1).

    Raises:
        DataError: a number is outside its range, or not exactly one of sd and base is given.

    >>> found = plan(base=0.1, effect_size=0.02, looks=28, units_per_day=400)
    >>> found.n_control, round(found.inflation, 3), found.days
    (4030, 1.049, 21)
    """
    design = design or Design()
    check_alpha(design.alpha)
    _in_range(power=(power, 0.5, 1), share=(share, 0, 1), looks=(looks, 0, 1_001), explained=(explained + 1e-12, 0, 1))
    if effect_size == 0 or (sd is None) == (base is None):
        raise DataError(
            "A plan needs an effect size other than 0, and either sd (of a mean) or base (of a proportion).",
            hint="For example base=0.1, effect_size=0.01.",
        )
    significant, powerful = quantile(1 - design.alpha / design.sides), quantile(power)
    if base is not None:
        other = base + effect_size
        _in_range(base=(base, 0, 1), base_plus_effect_size=(other, 0, 1))
        pooled = base * (1 - share) + other * share
        null = pooled * (1 - pooled) / (share * (1 - share))
        shown = base * (1 - base) / (1 - share) + other * (1 - other) / share
    else:
        assert sd is not None
        _in_range(sd=(sd, 0, math.inf))
        null = shown = sd**2 / (share * (1 - share))
    fixed = (significant * math.sqrt(null) + powerful * math.sqrt(shown)) ** 2 / effect_size**2 * (1 - explained)
    inflation = inflation_factor(looks, power=power, design=design)
    n_treatment = math.ceil(fixed * inflation * share)
    n_control = math.ceil(fixed * inflation * (1 - share))
    days = None
    if units_per_day is not None:
        _in_range(units_per_day=(units_per_day, 0, math.inf))
        days = math.ceil((n_control + n_treatment) / units_per_day)
    return Plan(
        n_control=n_control,
        n_treatment=n_treatment,
        fixed_n=math.ceil(fixed * share) + math.ceil(fixed * (1 - share)),
        inflation=inflation,
        looks=looks,
        days=days,
        effect_size=effect_size,
        power=power,
        alpha=design.alpha,
        sides=design.sides,
    )


def inflation_factor(looks: int, *, power: float, design: Design | None = None) -> float:
    """How many times the fixed sample equally spaced looks need for the same power, ≥ 1.

    >>> round(inflation_factor(5, power=0.9), 3)
    1.023
    """
    design = design or Design()
    if looks <= 1:
        return 1.0
    count = min(looks, LOOKS_INTEGRATED)
    times = [(k + 1) / count for k in range(count)]
    bounds = boundaries(times, alpha=design.alpha, sides=design.sides, spending=design.spending)
    needed = drift_for(times, bounds, power, design.sides)
    return max(1.0, (needed / (quantile(1 - design.alpha / design.sides) + quantile(power))) ** 2)


def detectable(
    n_control: int, n_treatment: int, *, sd: float, design: Design | None = None, power: float = 0.8
) -> float:
    """The smallest difference of means that so many units of each variant find with a power, at a single look."""
    design = design or Design()
    _in_range(power=(power, 0.5, 1), sd=(sd, 0, math.inf), units=(min(n_control, n_treatment), 0, math.inf))
    error = sd * math.sqrt(1 / n_control + 1 / n_treatment)
    return (quantile(1 - design.alpha / design.sides) + quantile(power)) * error


def _in_range(**values: tuple[float, float, float]) -> None:
    for name, (value, low, high) in values.items():
        if not low < value < high:
            raise DataError(
                f"{name} is {value:g}, expected between {low:g} and {high:g}.", hint="See: mlops ab plan --help"
            )

"""What a feature means, in a sentence with its unit, told from the recipe that makes it.

One rule: every name that a recipe can make has a meaning here; an unknown one is an error, not an empty text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from mlops.errors import FeatureError, did_you_mean
from mlops.features.engineering import Recipe

_WINDOWED = {
    "mean": ("mean of {column} over the last {window}", "{unit}"),
    "std": ("standard deviation of {column} over the last {window}", "{unit}"),
    "min": ("smallest {column} of the last {window}", "{unit}"),
    "max": ("largest {column} of the last {window}", "{unit}"),
    "slope": ("trend of {column} over the last {window}", "{unit}/h"),
    "deviation": ("{column} less its mean over the last {window}", "{unit}"),
    "count": ("readings of {column} in the last {window}", ""),
}
_POINTWISE = {
    "value": ("{column}, as it was read", "{unit}"),
    "rate": ("change of {column} since the reading before", "{unit}/h"),
}
_CALENDAR = {"hour": "time of day", "weekday": "day of the week", "season": "time of the year"}
_LAG = re.compile(r"lag(\d+)")


def meanings(recipe: Recipe, units: Mapping[str, str] | None = None) -> dict[str, str]:
    """Feature to sentence, for every feature of a recipe.

    Args:
        recipe: what makes the features.
        units: column to unit, as a data contract states them.

    >>> meanings(Recipe(("pressure",), ("1h",), ("value", "slope")), {"pressure": "bar"})
    {'pressure': 'pressure, as it was read [bar]', 'pressure_slope_1h': 'trend of pressure over the last 1h [bar/h]'}
    """
    told: dict[str, str] = {}
    measured_in = dict(units or {}) | {each.name: each.unit for each in recipe.derived}
    for column in recipe.names:
        unit = measured_in.get(column, "")
        for statistic in recipe.statistics:
            for name, window in _names(recipe, column, statistic):
                said, measure = _said(statistic)
                measured = measure.format(unit=unit) if unit else ""
                told[name] = said.format(column=column, window=window) + (f" [{measured}]" if measured else "")
    for each in recipe.derived:
        if each.name in told and each.meaning:
            said = each.meaning[0].lower() + each.meaning[1:] + (f" [{each.unit}]" if each.unit else "")
            told[each.name] = f"{said}, made of {' and '.join(each.inputs)}"
    for part in recipe.calendar:
        for wave in ("sin", "cos"):
            told[f"{part}_{wave}"] = f"{_CALENDAR[part]} (UTC) on a circle, {wave} [−1…1]"
    return told


def meaning(recipe: Recipe, feature: str, units: Mapping[str, str] | None = None) -> str:
    """The meaning of one feature.

    Raises:
        FeatureError: the recipe does not make it.
    """
    told = meanings(recipe, units)
    if feature not in told:
        raise FeatureError(f"The recipe makes no feature {feature!r}.", hint=did_you_mean(feature, told))
    return told[feature]


def _names(recipe: Recipe, column: str, statistic: str) -> list[tuple[str, str]]:
    if statistic == "value":
        return [(column, "")]
    if statistic in _WINDOWED:
        return [(f"{column}_{statistic}_{window}", window) for window in recipe.windows]
    return [(f"{column}_{statistic}", "")]


def _said(statistic: str) -> tuple[str, str]:
    if match := _LAG.fullmatch(statistic):
        return f"{{column}}, {match.group(1)} reading(s) earlier", "{unit}"
    return _WINDOWED.get(statistic) or _POINTWISE[statistic]

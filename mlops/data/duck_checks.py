"""Checks of Great Expectations as SQL aggregates: what to ask of a scan, and the answer in its words.

One rule: nulls are no values: they break no check but the one that counts them.

References:
    Great Expectations 1.24, expectations of `great_expectations.expectations.core`, result format SUMMARY.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlops.data.rule import Result, Rule


def measure(rule: Rule) -> dict[str, str]:
    """The aggregates that a check needs, by name; empty for one that needs no scan or more than one."""
    settings = rule.settings
    column = quoted(settings["column"]) if "column" in settings else ""
    unexpected = ""
    if rule.expectation in ("ExpectColumnValuesToBeBetween", "ExpectColumnValuesToBeInSet"):
        unexpected = f"count(*) FILTER (WHERE {_against(rule)})"
    return {
        "ExpectColumnValuesToNotBeNull": {"elements": "count(*)", "unexpected": f"count(*) - count({column})"},
        "ExpectColumnValuesToBeBetween": {
            "elements": "count(*)",
            "there": f"count({column})",
            "unexpected": unexpected,
        },
        "ExpectColumnValuesToBeInSet": {"elements": "count(*)", "there": f"count({column})", "unexpected": unexpected},
        "ExpectTableRowCountToBeBetween": {"observed": "count(*)"},
        "ExpectColumnMinToBeBetween": {"observed": f"min({column})"},
        "ExpectColumnMeanToBeBetween": {"observed": f"avg({column})"},
        "ExpectColumnStdevToBeBetween": {"observed": f"stddev_samp({column})"},
    }.get(rule.expectation, {})


def answer(rule: Rule, found: Mapping[str, Any], rows: int) -> tuple[bool, Result]:
    """Whether a check holds, and what Great Expectations would say was measured.

    Args:
        rule: whose check it is.
        found: the values of `measure`.
        rows: of the delivery.
    """
    if "observed" in found:
        return _within(found["observed"], rule.settings), {"observed_value": found["observed"]}
    unexpected, elements = int(found["unexpected"]), int(found["elements"])
    there = int(found.get("there", elements))
    result = {"unexpected_count": unexpected, "element_count": elements, "missing_count": rows - there}
    return there == 0 or (there - unexpected) / there >= rule.settings.get("mostly", 1.0), result


def predicate(rule: Rule) -> tuple[list[str], str] | None:
    """Columns of a check, and the condition of rows that break it; None where rows are not what is counted."""
    settings = rule.settings
    match rule.expectation:
        case "ExpectColumnValuesToNotBeNull":
            return [settings["column"]], f"{quoted(settings['column'])} IS NULL"
        case "ExpectColumnValuesToBeBetween" | "ExpectColumnValuesToBeInSet":
            return [settings["column"]], _against(rule)
        case "ExpectColumnValuesToBeInTypeList":
            return [settings["column"]], f"{quoted(settings['column'])} IS NOT NULL"
        case "ExpectCompoundColumnsToBeUnique":
            names = list(settings["column_list"])
            listed = ", ".join(map(quoted, names))
            twice = f"SELECT {listed} FROM prepared GROUP BY {listed} HAVING count(*) > 1"
            same = " AND ".join(f"twice.{name} IS NOT DISTINCT FROM numbered.{name}" for name in map(quoted, names))
            keyed = " OR ".join(f"{quoted(name)} IS NOT NULL" for name in names)
            return names, f"({keyed}) AND EXISTS (FROM ({twice}) AS twice WHERE {same})"
    return None


def _against(rule: Rule) -> str:
    column = quoted(rule.settings["column"])
    if rule.expectation == "ExpectColumnValuesToBeInSet":
        absent = f"CAST({column} AS VARCHAR) NOT IN (FROM {quoted(allowed_values(rule))})"
        if any(not isinstance(value, str) for value in rule.settings["value_set"]):
            return f"({column} IS NOT NULL AND {absent})"
        return f"({column} IS NOT NULL AND (typeof({column}) <> 'VARCHAR' OR {absent}))"
    low, high = rule.settings.get("min_value"), rule.settings.get("max_value")
    beyond = []
    if low is not None:
        beyond.append(f"{column} {'<=' if rule.settings.get('strict_min') else '<'} {_literal(low)}")
    if high is not None:
        beyond.append(f"{column} {'>=' if rule.settings.get('strict_max') else '>'} {_literal(high)}")
    return f"({' OR '.join(beyond)})"


def _within(observed: Any, settings: Mapping[str, Any]) -> bool:
    low, high = settings.get("min_value"), settings.get("max_value")
    return observed is not None and (low is None or observed >= low) and (high is None or observed <= high)


def allowed_values(rule: Rule) -> str:
    """Name of the table that holds what a check allows."""
    return f"allowed {id(rule)}"


def _literal(value: float) -> str:
    return f"CAST('{value!r}' AS DOUBLE)" if isinstance(value, float) else repr(value)


def quoted(name: str) -> str:
    """A column's name in SQL.

    >>> quoted("x [number]")
    '"x [number]"'
    """
    escaped = name.replace('"', '""')
    return f'"{escaped}"'

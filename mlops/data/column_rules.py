"""Rules about single columns: type, nulls, range, allowed values.

One rule: what one column breaks hides nothing of the others.
"""

from __future__ import annotations

import numpy as np

from mlops.data.delivery_rules import WHOLE_DTYPES, WHOLE_TYPES
from mlops.data.rule import Delivery, Result, Rule, count, fraction_column, kinds, mostly, number, number_column
from mlops.spec import ColumnContract

_FLOATS = ("float", "float16", "float32", "float64", "Float32Dtype", "Float64Dtype")
_NUMBERS = ("int", *WHOLE_TYPES, *WHOLE_DTYPES, *_FLOATS)
_TYPES = {"float": _NUMBERS, "int": _NUMBERS, "string": ("str",), "bool": ("bool", "BooleanDtype")}
_BIGGEST = float(np.finfo(float).max)


def column_rules(delivery: Delivery) -> list[Rule]:
    """All rules about single columns."""
    rules = [_nulls(delivery, name, 0.0, binding=True) for name in delivery.keys]
    for name, column in delivery.contract.columns.items():
        if name in delivery.keys:
            continue
        rules += [_type(delivery, name, column), _nulls(delivery, name, column.max_null_share)]
        rules += [_range(delivery, name, column)] if column.type in ("float", "int") else []
        rules += [_whole(delivery, name)] if column.type == "int" else []
        rules += [_allowed(delivery, name, column.allowed)] if column.allowed is not None else []
    return rules


def _type(delivery: Delivery, name: str, column: ColumnContract) -> Rule:
    def broken(result: Result) -> str:
        advice = ""
        if column.type == "string" and delivery.table.is_number(name):
            advice = f" (for CSV, `options: {{dtype: {{{name}: str}}}}` keeps digits as text)"
        return f"the column holds {kinds(result)}, expected {column.type}{advice}"

    return Rule(
        subject=name,
        promise=f"type {column.type}",
        expectation="ExpectColumnValuesToBeInTypeList",
        settings={"column": name, "type_list": list(_TYPES[column.type])},
        broken=broken,
        observed=kinds,
        unchecked=delivery.no_values(name),
        shows=(name,),
    )


def _nulls(delivery: Delivery, name: str, allowed: float, *, binding: bool = False) -> Rule:
    limit = f", at most {100 * allowed:g} % are allowed" if allowed else ""

    def broken(result: Result) -> str:
        if result["unexpected_count"] == result["element_count"]:
            return f"null in all {result['element_count']:,} rows{limit}"
        return f"null in {count(result['unexpected_count'], result['element_count'])}{limit}"

    return Rule(
        subject=name,
        promise=f"at most {100 * allowed:g} % null" if allowed else "never null",
        expectation="ExpectColumnValuesToNotBeNull",
        settings={"column": name, "mostly": mostly(allowed)},
        broken=broken,
        observed=lambda r: f"{r['unexpected_count']:,} null",
        unchecked=delivery.absent(name),
        shows=(name,),
        binding=binding,
    )


def _range(delivery: Delivery, name: str, column: ColumnContract) -> Rule:
    low = -_BIGGEST if column.min is None else column.min
    high = _BIGGEST if column.max is None else column.max
    exempt = f" (allowed {100 * column.max_outside_share:g} %)" if column.max_outside_share else ""
    words = _limits(column)

    def extent() -> tuple[float, float]:
        return delivery.table.extent(number_column(name))

    def broken(result: Result) -> str:
        least, most = extent()
        beyond = [f"largest {number(most)}"] if most > high else []
        beyond += [f"smallest {number(least)}"] if least < low else []
        return f"{_of_values(result)} outside {words}{exempt}, {', '.join(beyond)}"

    return Rule(
        subject=name,
        promise=f"within {words}{exempt.replace('allowed', 'but for')}",
        expectation="ExpectColumnValuesToBeBetween",
        settings={
            "column": number_column(name),
            "min_value": low,
            "max_value": high,
            "mostly": mostly(column.max_outside_share),
        },
        broken=broken,
        observed=lambda r: f"{' to '.join(map(number, extent()))}, {r['unexpected_count']:,} outside",
        unchecked=_no_numbers(delivery, name),
        shows=(name,),
    )


def _limits(column: ColumnContract) -> str:
    unit = f" {column.unit}" if column.unit else ""
    if column.min is None and column.max is None:
        return "the finite numbers"
    if column.min is None or column.max is None:
        return (
            f"at least {number(column.min)}{unit}"
            if column.min is not None
            else f"at most {number(column.max or 0)}{unit}"
        )
    return f"{number(column.min)}…{number(column.max)}{unit}"


def _whole(delivery: Delivery, name: str) -> Rule:

    def broken(result: Result) -> str:
        example = float(delivery.table.sample(result["partial_unexpected_index_list"][:1], [name])[name].iloc[0])
        return f"{_of_values(result)} are not whole numbers, for example {number(example)}"

    return Rule(
        subject=name,
        promise="whole numbers",
        expectation="ExpectColumnValuesToBeBetween",
        settings={"column": fraction_column(name), "min_value": 0, "max_value": 0},
        broken=broken,
        observed=lambda r: f"{r['unexpected_count']:,} with a fraction",
        unchecked=_no_numbers(delivery, name),
        shows=(name,),
    )


def _allowed(delivery: Delivery, name: str, allowed: tuple[str, ...]) -> Rule:
    words = ", ".join(allowed)
    return Rule(
        subject=name,
        promise=f"one of {words}",
        expectation="ExpectColumnValuesToBeInSet",
        settings={"column": name, "value_set": list(allowed)},
        broken=lambda r: f"{_of_values(r)} are none of {words}, for example {r['partial_unexpected_list'][0]!r}",
        observed=lambda r: f"{r['unexpected_count']:,} others",
        unchecked=delivery.no_values(name),
        shows=(name,),
    )


def _of_values(result: Result) -> str:
    return count(result["unexpected_count"], result["element_count"] - result["missing_count"])


def _no_numbers(delivery: Delivery, name: str) -> str:
    return delivery.no_values(name) or ("" if delivery.table.is_number(name) else "the column holds no numbers")

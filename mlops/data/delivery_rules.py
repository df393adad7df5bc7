"""Rules about a delivery as a whole: its columns, its size, its keys, and when its rows became known.

One rule: whatever became known on another day than the delivery's would be misplaced for ever, so it is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import median
from typing import Any

from mlops.data.rule import Delivery, Result, Rule, count, hours_column, kinds, number, span
from mlops.errors import did_you_mean

MIN_HISTORY = 3  # deliveries before a row count can be called unusual; the very first is often half a day
WHOLE_TYPES = tuple(f"{u}int{bits}" for u in ("", "u") for bits in (8, 16, 32, 64))
WHOLE_DTYPES = tuple(f"{u}Int{bits}Dtype" for u in ("", "U") for bits in (8, 16, 32, 64))


def delivery_rules(delivery: Delivery) -> list[Rule]:
    """All rules about the delivery as a whole."""
    unique = [_unique(delivery)] if delivery.contract.unique else []
    return [_columns(delivery), _rows(delivery), _volume(delivery), _entity_type(delivery), *unique, *_times(delivery)]


def _columns(delivery: Delivery) -> Rule:
    there, wanted = delivery.table.names, delivery.terms.columns
    missing = [name for name in wanted if name not in there]
    spare = set(there) - set(wanted)

    def missed(name: str) -> str:
        near = did_you_mean(name, spare)
        return f"{name!r} is missing" + (f" ({near})" if near.startswith("Did") else "")

    return Rule(
        subject="columns",
        promise=f"{', '.join(wanted)} are there",
        expectation="ExpectTableColumnsToMatchSet",
        settings={"column_set": list(wanted), "exact_match": False},
        broken=lambda _: "; ".join(map(missed, missing)),
        observed=lambda _: f"{len(wanted) - len(missing)} of {len(wanted)} there",
        binding=True,
    )


def _rows(delivery: Delivery) -> Rule:
    least = delivery.contract.min_rows
    return Rule(
        subject="rows",
        promise=f"at least {least:,}",
        expectation="ExpectTableRowCountToBeBetween",
        settings={"min_value": least},
        broken=lambda r: f"{r['observed_value']:,} were delivered, at least {least:,} are expected",
        observed=lambda r: f"{r['observed_value']:,}",
    )


def _volume(delivery: Delivery) -> Rule:
    history, tolerance = delivery.usual_rows, delivery.contract.volume_tolerance
    unchecked = ""
    if tolerance is None:
        unchecked = "the contract sets no tolerance"
    elif len(history) < MIN_HISTORY:
        unchecked = f"{len(history)} deliveries so far, {MIN_HISTORY} are needed to know what is usual"
    usual, share = (float(median(history)) if history else 0.0), tolerance or 0.0
    low, high = max(0, math.ceil(usual * (1 - share) - 1e-9)), math.floor(usual * (1 + share) + 1e-9)
    return Rule(
        subject="row count",
        promise="as usual" if unchecked else f"{low:,} to {high:,}: the usual {number(usual)} ± {100 * share:g} %",
        expectation="ExpectTableRowCountToBeBetween",
        settings={"min_value": low, "max_value": high},
        broken=lambda r: (
            f"{r['observed_value']:,} rows were delivered, usual are {number(usual)} (median of {len(history)} "
            f"deliveries), allowed {low:,} to {high:,}"
        ),
        observed=lambda r: f"{r['observed_value']:,}",
        unchecked=unchecked,
    )


def _entity_type(delivery: Delivery) -> Rule:
    return Rule(
        subject=delivery.entity,
        promise="text or whole numbers",
        expectation="ExpectColumnValuesToBeInTypeList",
        settings={"column": delivery.entity, "type_list": ["str", "int", *WHOLE_TYPES, *WHOLE_DTYPES]},
        broken=lambda r: f"the key is {kinds(r)}, expected text or whole numbers",
        observed=kinds,
        unchecked=delivery.no_values(delivery.entity),
        binding=True,
    )


def _unique(delivery: Delivery) -> Rule:
    entity, event = delivery.entity, delivery.terms.timestamps.event

    def broken(result: Result) -> str:
        first = result["partial_unexpected_list"][0]
        rows = count(result["unexpected_count"], result["element_count"])
        example = f"{first[entity]} at {first[event]:%Y-%m-%d %H:%M:%S}"
        return f"{rows} share entity and time with another row, for example {example}"

    return Rule(
        subject=f"{entity} + {event}",
        promise="name a row once",
        expectation="ExpectCompoundColumnsToBeUnique",
        settings={"column_list": [entity, event]},
        broken=broken,
        observed=lambda r: f"{r['unexpected_count']:,} share their key",
        unchecked=delivery.no_values(entity, event),
        shows=tuple(delivery.contract.columns)[:3],
        binding=True,
    )


def _times(delivery: Delivery) -> list[Rule]:
    event, arrival = delivery.terms.timestamps.event, delivery.terms.timestamps.arrival
    known_at, day = arrival or event, delivery.terms.day
    future = _hours(
        delivery,
        "known",
        (known_at,),
        "before the end of the day of delivery",
        {"max_value": 24, "strict_max": True},
        lambda _, high: f"lie after the end of {day} (UTC), the farthest {span(high - 24)} after it",
    )
    rules = [future, *(_arrivals(delivery, event, arrival) if arrival else [_same_day(delivery, event)])]
    if (limit := delivery.contract.freshness_hours) is not None:
        rules.append(_freshness(delivery, event, limit))
    return rules


def _same_day(delivery: Delivery, event: str) -> Rule:
    advice = (
        "without an arrival column a row counts as known when it happened: set timestamps.arrival, or deliver rows "
    )
    return _hours(
        delivery,
        "happened",
        (event,),
        "not before the day of delivery",
        {"min_value": 0},
        lambda low, _: (
            f"lie up to {span(-low)} before {delivery.terms.day} 00:00 UTC ({advice}under their own UTC date)"
        ),
    )


def _arrivals(delivery: Delivery, event: str, arrival: str) -> list[Rule]:
    late = delivery.contract.max_lateness_hours
    return [
        _hours(
            delivery,
            "delay",
            (arrival, event),
            f"not before {event}",
            {"min_value": 0},
            lambda low, _: f"arrived before they happened, up to {span(-low)}",
        ),
        _hours(
            delivery,
            "lateness",
            (arrival, event),
            f"at most {number(late)} h after {event}",
            {"max_value": late},
            lambda _, high: f"came more than {number(late)} h after {event}, the latest {span(high)}",
            binding=False,
        ),
    ]


def _hours(
    delivery: Delivery,
    what: str,
    columns: tuple[str, ...],
    promise: str,
    limits: dict[str, Any],
    words: Callable[[float, float], str],
    *,
    binding: bool = True,
) -> Rule:
    """A rule over one of `Delivery.hours`; `words` are made from its smallest and largest value."""

    def broken(result: Result) -> str:
        low, high = delivery.table.extent(hours_column(what))
        return f"{count(result['unexpected_count'], result['element_count'])} {words(low, high)}"

    return Rule(
        subject=columns[0],
        promise=promise,
        expectation="ExpectColumnValuesToBeBetween",
        settings={"column": hours_column(what)} | limits,
        broken=broken,
        observed=lambda r: f"{r['unexpected_count']:,} rows otherwise",
        unchecked=delivery.no_values(*columns),
        binding=binding,
    )


def _freshness(delivery: Delivery, event: str, limit: float) -> Rule:
    return Rule(
        subject=event,
        promise=f"newest at most {number(limit)} h old at the end of the day",
        expectation="ExpectColumnMinToBeBetween",
        settings={"column": hours_column("age"), "max_value": limit},
        broken=lambda r: (
            f"the newest row is {span(r['observed_value'])} old at the end of the day, allowed are {number(limit)} h"
        ),
        observed=lambda r: f"{span(r['observed_value'])} old",
        unchecked=delivery.no_values(event),
    )

"""Contracts: Great Expectations holds a delivery against what was promised, and people are told what is broken.

One rule: a check that could not be carried out is an error of ours, never "bad data".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pandas as pd

from mlops.data.column_rules import column_rules, fraction_column, number_column
from mlops.data.contract_page import page
from mlops.data.delivery_rules import delivery_rules, hours_column
from mlops.data.finding import Finding
from mlops.data.rule import Delivery, Rule
from mlops.errors import DataError
from mlops.spec import ContractSpec, TimestampsSpec

_EXAMPLES = 10  # rows shown per broken rule


@dataclass(frozen=True, slots=True)
class ContractResult:
    """What a check of a contract found."""

    passed: bool
    reasons: tuple[str, ...]  # one sentence per broken rule, with numbers; empty when passed
    html: str  # one self-contained page a person reads
    findings: tuple[Finding, ...] = ()  # what became of each rule


def check(
    frame: pd.DataFrame,
    contract: ContractSpec,
    *,
    entity: str,
    timestamps: TimestampsSpec,
    day: date,
    usual_rows: Sequence[int],
) -> ContractResult:
    """Hold a delivery against its contract.

    Args:
        frame: the delivery, as `read_delivery` gives it.
        contract: what it promises.
        entity: column of the entity.
        timestamps: columns of event and arrival, in UTC.
        day: date of the delivery.
        usual_rows: row counts of deliveries before; with fewer than three, no count is called unusual.

    Raises:
        DataError: a check could not be carried out; this says nothing about the data.
        SchemaError: a timestamp column holds no instants with a zone.
    """
    delivery = Delivery(frame.reset_index(drop=True), contract, entity, timestamps, day, usual_rows)
    rules = [*delivery_rules(delivery), *column_rules(delivery)]
    results = _measured(_prepared(delivery), [rule for rule in rules if not rule.unchecked])
    findings = [_finding(delivery, rule, results) for rule in rules]
    reasons = tuple(finding.reason for finding in findings if finding.verdict == "broken")
    entities = int(frame[entity].nunique()) if entity in frame.columns else 0
    return ContractResult(not reasons, reasons, page(day, len(frame), entities, findings), tuple(findings))


def _prepared(delivery: Delivery) -> pd.DataFrame:
    """What Great Expectations looks at: the contract's columns, and numbers and spans derived from them."""
    there = [name for name in delivery.columns if name in delivery.frame.columns]
    made = {name: _plain(delivery.frame[name]) for name in there}
    made |= {number_column(name): values for name, values in delivery.numbers.items()}
    made |= {fraction_column(name): (values - values.round()).abs() for name, values in delivery.numbers.items()}
    made |= {hours_column(what): values for what, values in delivery.hours.items()}
    return pd.DataFrame(made, index=delivery.frame.index)


def _plain(values: pd.Series) -> pd.Series:
    """Text as text and truth values as such, in whatever pandas type they came."""
    if isinstance(values.dtype, pd.CategoricalDtype | pd.StringDtype):
        text: pd.Series = values.astype(object)
        return text.where(text.notna(), None)
    if values.dtype == np.dtype(object) and pd.api.types.infer_dtype(values, skipna=True) == "boolean":
        return values.astype("boolean")
    return values


def _measured(frame: pd.DataFrame, rules: Sequence[Rule]) -> dict[int, tuple[bool, Mapping[str, Any]]]:
    """For each rule, by its identity: whether it holds, and what was measured."""
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False, metric_calculations=False)
    asset = context.data_sources.add_pandas("delivery").add_dataframe_asset("rows")
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch(batch_parameters={"dataframe": frame})
    suite = gx.ExpectationSuite("contract", expectations=[_expectation(rule) for rule in rules])
    outcome = batch.validate(suite, result_format={"result_format": "SUMMARY", "partial_unexpected_count": 20})
    measured = {}
    for item in outcome.results:
        rule = next(r for r in rules if id(r) == item.expectation_config.meta["rule"])
        if errors := list(_exceptions(item.exception_info)):
            raise _not_carried_out(rule, errors[0])
        measured[id(rule)] = (bool(item.success), item.result)
    return measured


def _expectation(rule: Rule) -> Any:
    from great_expectations import expectations

    try:
        return getattr(expectations, rule.expectation)(**rule.settings, meta={"rule": id(rule)})
    except (TypeError, ValueError) as error:
        raise _not_carried_out(rule, str(error)) from error


def _exceptions(info: Any) -> Iterator[str]:
    """Messages of exceptions: Great Expectations keeps one, or one per metric, and calls both a failed check."""
    if not isinstance(info, Mapping):
        return
    if "raised_exception" in info:
        if info["raised_exception"]:
            yield str(info.get("exception_message"))
        return
    for inner in info.values():
        yield from _exceptions(inner)


def _not_carried_out(rule: Rule, message: str) -> DataError:
    return DataError(
        f"The check {rule.subject!r} {rule.promise!r} could not be carried out: {' '.join(message.split())}.",
        hint="This says nothing about the data. Check the contract's limits for this column.",
    )


def _finding(delivery: Delivery, rule: Rule, results: Mapping[int, tuple[bool, Mapping[str, Any]]]) -> Finding:
    if rule.unchecked:
        return Finding(rule.subject, rule.promise, "not checked", observed=rule.unchecked, binding=rule.binding)
    kept, measured = results[id(rule)]
    unexpected = measured.get("unexpected_count")
    if kept:
        return Finding(rule.subject, rule.promise, "kept", rule.observed(measured), unexpected, binding=rule.binding)
    reason = f"{rule.subject}: {rule.broken(measured)}."
    rows = measured.get("partial_unexpected_index_list") or []
    shown = [name for name in dict.fromkeys([*delivery.keys, *rule.shows]) if name in delivery.frame.columns]
    examples = delivery.frame.loc[list(rows)[:_EXAMPLES], shown]
    told = rule.observed(measured)
    return Finding(rule.subject, rule.promise, "broken", told, unexpected, reason, examples, rule.binding)

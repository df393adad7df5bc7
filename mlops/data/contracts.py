"""Contracts: a delivery is held against what was promised, and people are told what is broken.

One rule: a check that could not be carried out is an error of ours, never "bad data".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import pandas as pd

from mlops.data.column_rules import column_rules
from mlops.data.contract_page import page
from mlops.data.cross_rules import cross_rules
from mlops.data.delivery_rules import delivery_rules
from mlops.data.finding import Finding
from mlops.data.frame_table import FrameTable
from mlops.data.history_rules import history_rules
from mlops.data.rule import Delivery, Rule, Statistics, Table, Terms
from mlops.spec import ContractSpec, TimestampsSpec

_EXAMPLES = 10  # rows shown per broken rule


@dataclass(frozen=True, slots=True)
class ContractResult:
    """What a check of a contract found."""

    passed: bool
    reasons: tuple[str, ...]  # one sentence per broken rule, with numbers; empty when passed
    html: str  # one self-contained page a person reads
    findings: tuple[Finding, ...] = ()  # what became of each rule
    statistics: Statistics = field(default_factory=dict)  # of this delivery; empty where nobody asks for them


def check(
    frame: pd.DataFrame,
    contract: ContractSpec,
    *,
    entity: str,
    timestamps: TimestampsSpec,
    day: date,
    usual_rows: Sequence[int],
    statistics: Sequence[Statistics] = (),
) -> ContractResult:
    """Hold a delivery against its contract.

    Args:
        frame: the delivery, as `read_delivery` gives it.
        contract: what it promises.
        entity: column of the entity.
        timestamps: columns of event and arrival, in UTC.
        day: date of the delivery.
        usual_rows: row counts of deliveries before; with fewer than three, no count is called unusual.
        statistics: of accepted deliveries before, oldest first, as in `ContractResult`.

    Raises:
        DataError: a check could not be carried out; this says nothing about the data.
        SchemaError: a timestamp column holds no instants with a zone.
    """
    terms = Terms(contract, entity, timestamps, day)
    return check_table(FrameTable(frame.reset_index(drop=True), terms), terms, usual_rows, statistics)


def check_table(
    table: Table, terms: Terms, usual_rows: Sequence[int], statistics: Sequence[Statistics] = ()
) -> ContractResult:
    """Hold a delivery against its contract, wherever its rows are; the rest as `check`."""
    delivery = Delivery(terms, table, usual_rows, statistics)
    made = (delivery_rules, column_rules, history_rules, cross_rules)
    rules = [rule for rules in made for rule in rules(delivery)]
    results = table.measured([rule for rule in rules if not rule.unchecked])
    findings = [_finding(delivery, rule, results) for rule in rules]
    reasons = tuple(finding.reason for finding in findings if finding.verdict == "broken")
    entities = table.distinct(terms.entity) if terms.entity in table.names else 0
    html = page(terms.day, table.rows, entities, findings)
    measured = table.statistics() if terms.contract.distribution else {}
    return ContractResult(not reasons, reasons, html, tuple(findings), measured)


def _finding(delivery: Delivery, rule: Rule, results: Mapping[int, tuple[bool, Mapping[str, Any]]]) -> Finding:
    if rule.unchecked:
        return Finding(rule.subject, rule.promise, "not checked", observed=rule.unchecked, binding=rule.binding)
    kept, measured = results[id(rule)]
    unexpected = measured.get("unexpected_count")
    if kept:
        return Finding(rule.subject, rule.promise, "kept", rule.observed(measured), unexpected, binding=rule.binding)
    reason = f"{rule.subject}: {rule.broken(measured)}."
    rows = measured.get("partial_unexpected_index_list") or []
    shown = [name for name in dict.fromkeys([*delivery.keys, *rule.shows]) if name in delivery.table.names]
    examples = measured.get("rows")
    examples = delivery.table.sample(list(rows)[:_EXAMPLES], shown) if examples is None else examples
    told = rule.observed(measured)
    return Finding(rule.subject, rule.promise, "broken", told, unexpected, reason, examples, rule.binding)

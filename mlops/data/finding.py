"""What became of one rule of a contract, and how that is kept beside a delivery in quarantine.

One rule: what is kept is enough to tell a person which rows broke which rule, without the contract of that day.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pandas as pd


@dataclass(frozen=True)
class Finding:
    """What became of one rule."""

    subject: str
    promise: str
    verdict: Literal["kept", "broken", "not checked"]
    observed: str = ""
    unexpected: int | None = None  # rows that break it; None where rows are not what is counted
    reason: str = ""  # a sentence; empty unless broken
    examples: pd.DataFrame = field(default_factory=pd.DataFrame)  # a few rows that break it, by their number
    binding: bool = False  # whoever releases the delivery cannot set this rule aside


def findings_to_json(findings: Sequence[Finding]) -> str:
    """Findings as JSON text; `findings_from_json` gives them back, values as JSON knows them.

    >>> kept = Finding("x", "never null", "broken", unexpected=1, examples=pd.DataFrame({"x": [None]}, index=[7]))
    >>> findings_from_json(findings_to_json([kept]))[0].examples.index.tolist()
    [7]
    """
    return json.dumps([finding_to_dict(finding) for finding in findings])


def finding_to_dict(finding: Finding) -> dict[str, Any]:
    """A finding as plain JSON values: examples as a list of `{"row": number, "values": {…}}`."""
    columns = [str(name) for name in finding.examples.columns]
    examples = [
        {"row": int(row[0]), "values": dict(zip(columns, map(_plain, row[1:]), strict=True))}
        for row in finding.examples.itertuples(name=None)
    ]
    names = ("subject", "promise", "verdict", "observed", "unexpected", "reason", "binding")
    return {name: getattr(finding, name) for name in names} | {"examples": examples}


def findings_from_json(text: str) -> tuple[Finding, ...]:
    """What `findings_to_json` made `text` from."""
    return tuple(_finding(kept) for kept in json.loads(text))


def _finding(kept: Mapping[str, Any]) -> Finding:
    rows = kept["examples"]
    examples = pd.DataFrame([row["values"] for row in rows], index=[row["row"] for row in rows], dtype=object)
    return Finding(**{**kept, "examples": examples})


def _plain(value: Any) -> Any:
    if value is None or value is pd.NaT or value is pd.NA:
        return None
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value if isinstance(value, bool | int | float | str) else str(value)

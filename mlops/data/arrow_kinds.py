"""What pandas would call the columns of Parquet files, so that type rules say the same wherever the rows are looked at.

One rule: names are those that pandas has; whole numbers with nulls are floats to it.
"""

from __future__ import annotations

from datetime import UTC, datetime

import pyarrow as pa

from mlops.data.rule import Result, Rule


def is_number(kind: pa.DataType) -> bool:
    """Whether a column holds numbers."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def is_text(kind: pa.DataType) -> bool:
    """Whether a column holds text."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def typed(rule: Rule, kind: pa.DataType, there: int, rows: int) -> tuple[bool, Result]:
    """Whether a column is of a type that a rule allows, and what it is.

    Args:
        rule: of `ExpectColumnValuesToBeInTypeList`.
        kind: of the column.
        there: rows with a value.
        rows: all rows.
    """
    name = _dtype(kind, there, rows)
    allowed = set(rule.settings["type_list"])
    if name != "object":
        held = {"bool": "BooleanDtype"}.get(name, name)
        return (name in allowed or held in allowed), {"observed_value": name}
    kept = ("str" if is_text(kind) else "object") in allowed
    return kept, {
        "unexpected_count": 0 if kept else there,
        "element_count": rows,
        "partial_unexpected_list": [] if kept else ["?"],
    }


def microseconds(moment: datetime) -> int:
    """An instant on whole seconds, as time since 1970 [µs]."""
    return int((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()) * 1_000_000


def _dtype(kind: pa.DataType, there: int, rows: int) -> str:
    if is_text(kind) or not (is_number(kind) or pa.types.is_boolean(kind) or pa.types.is_temporal(kind)):
        return "object"
    if (pa.types.is_integer(kind) and there < rows) or pa.types.is_decimal(kind):
        return "float64"
    return str(kind.to_pandas_dtype().__name__) if not pa.types.is_temporal(kind) else "datetime64"

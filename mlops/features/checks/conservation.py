"""Conservation: every row that went into a join came out."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mlops.records import GateResult


def conservation(before: pd.DataFrame, after: pd.DataFrame) -> GateResult:
    """Every row that went into a join came out, in its place and unchanged.

    Args:
        before: the rows to join.
        after: the joined rows; further columns are not looked at.

    Returns:
        value: rows lost, added, moved or changed. Cannot tell with no row.
    """
    name = "rows_conserved"
    if before.empty:
        return GateResult(name, "cannot_tell", "No row went into the join.")
    if gone := [column for column in before.columns if column not in after.columns]:
        return GateResult(name, "fail", f"The join dropped the columns {', '.join(gone)}.", float(len(before)), 0.0)
    if len(before) != len(after):
        off = abs(len(before) - len(after))
        word = "lost" if len(after) < len(before) else "added"
        return GateResult(
            name, "fail", f"{len(before):,} rows went in, {len(after):,} came out: {off:,} {word}.", float(off), 0.0
        )
    left, right = before.reset_index(drop=True), after[list(before.columns)].reset_index(drop=True)
    differs = ((left != right) & ~(left.isna() & right.isna())).to_numpy(dtype=bool)
    if changed := int(differs.any(axis=1).sum()):
        row, column = (int(index[0]) for index in np.nonzero(differs))
        reason = (
            f"{changed:,} of {len(left):,} rows were moved or changed, first row {row}: {left.columns[column]} was "
            f"{left.iat[row, column]!s}, is {right.iat[row, column]!s}."
        )
        return GateResult(name, "fail", reason, float(changed), 0.0)
    return GateResult(name, "pass", f"{len(before):,} rows went in and came out, in order.", 0.0, 0.0)

"""Conservation and leakage of a join whose rows no one machine holds: each part is counted where it lies.

One rule: where all is well, the words are those of `conservation` and `leakage`.
"""

from __future__ import annotations

from dataclasses import dataclass

from mlops.records import GateResult


@dataclass(frozen=True, slots=True)
class JoinNumbers:
    """What was counted of a join.

    Args:
        asked: rows that went in.
        asked_sum: sum of the hashes of their values, modulo 2⁶⁴.
        rows: rows that came out.
        rows_sum: sum of the hashes of the same columns of these.
        joined: rows with a feature.
        leaking: rows with a reading that happened, or became known, after the row.
    """

    asked: int
    asked_sum: int
    rows: int
    rows_sum: int
    joined: int
    leaking: int


def of_numbers(found: JoinNumbers) -> tuple[GateResult, GateResult]:
    """The gates `rows_conserved` and `nothing_from_the_future`."""
    return _conserved(found), _nothing_leaked(found)


def _conserved(found: JoinNumbers) -> GateResult:
    name = "rows_conserved"
    if not found.asked:
        return GateResult(name, "cannot_tell", "No row went into the join.")
    if found.asked != found.rows:
        off = abs(found.asked - found.rows)
        word = "lost" if found.rows < found.asked else "added"
        reason = f"{found.asked:,} rows went in, {found.rows:,} came out: {off:,} {word}."
        return GateResult(name, "fail", reason, float(off), 0.0)
    if found.asked_sum != found.rows_sum:
        reason = f"{found.asked:,} rows went in and came out, but not the same: some were changed."
        return GateResult(name, "fail", reason, 1.0, 0.0)
    return GateResult(name, "pass", f"{found.asked:,} rows went in and came out, in order.", 0.0, 0.0)


def _nothing_leaked(found: JoinNumbers) -> GateResult:
    name = "nothing_from_the_future"
    if not found.joined:
        return GateResult(name, "cannot_tell", f"No feature joined any of {found.rows:,} rows.")
    if found.leaking:
        reason = f"{found.leaking:,} of {found.joined:,} rows hold a reading from their future."
        return GateResult(name, "fail", reason, float(found.leaking), 0.0)
    return GateResult(name, "pass", f"None of {found.joined:,} rows holds a reading from its future.", 0.0, 0.0)

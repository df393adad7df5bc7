"""Gates about the model as a thing that is served: its signature, its size, its speed.

One rule: what callers rely on changes only if the spec says so.
"""

from __future__ import annotations

import pickle
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from mlops.models.wording import number
from mlops.records import GateResult


def signature_unchanged(
    features: Sequence[str],
    champion_features: Sequence[str] | None,
    *,
    classes: Sequence[Any] = (),
    champion_classes: Sequence[Any] = (),
    declared: Collection[str] = (),
) -> GateResult:
    """The challenger asks for what the champion asks for and answers with the same classes, or the spec says otherwise.

    Args:
        features: columns the challenger needs.
        champion_features: those of the champion; None without one.
        classes: labels of a classifier.
        champion_classes: those of the champion.
        declared: features that may come or go; `*` allows all.

    Returns:
        value: undeclared changes; limit: 0.
    """
    name = "signature_unchanged"
    if champion_features is None:
        return GateResult(name, "pass", f"{len(features):,} features; there is no champion to differ from.", 0.0, 0.0)
    came = sorted(set(features) - set(champion_features))
    went = sorted(set(champion_features) - set(features))
    undeclared = [] if "*" in declared else [column for column in (*came, *went) if column not in declared]
    words = [f"new: {', '.join(came)}"] if came else []
    words += [f"gone: {', '.join(went)}"] if went else []
    if list(classes) != list(champion_classes):
        words.append(f"classes {list(classes)}, the champion's {list(champion_classes)}")
        undeclared += [] if "*" in declared else ["classes"]
    changes = f"Against the champion {'; '.join(words)}"
    if undeclared:
        reason = f"{changes}: not declared in gates.signature_changes."
        return GateResult(name, "fail", reason, float(len(undeclared)), 0.0)
    told = f"{changes}, as declared." if words else f"The {len(features):,} features are those of the champion."
    return GateResult(name, "pass", told, 0.0, 0.0)


def compiled_equals_plain(
    difference: float | None, rows: int, *, limit: float, plain_because: str = "", problem: str = ""
) -> GateResult:
    """The compiled form that was signed with the model answers as the model does.

    Where the plain model answers, there is nothing to refuse: the gate says why, and does not decide.

    Args:
        difference: the largest between the two on the validation rows, relative above 1; None: not comparable.
        rows: of these.
        limit: largest difference.
        plain_because: why no compiled form was signed; "": one was.
        problem: why the one that was signed must not serve; "": nothing was found.
    """
    name = "compiled_equals_plain"
    if plain_because:
        reason = f"The plain model answers: {plain_because}."
        return GateResult(name, "pass", reason, None, limit, decides=False)
    if problem:
        reason = f"A compiled form was proven and signed, but {problem}."
        return GateResult(name, "fail", reason, difference, limit)
    if difference is None:
        return GateResult(name, "cannot_tell", "The compiled form was not compared.", None, limit)
    kept = difference <= limit
    reason = (
        f"On {rows:,} validation rows the compiled form is at most {number(difference)} from the plain model, "
        f"{'within' if kept else 'above'} {number(limit)}."
    )
    return GateResult(name, "pass" if kept else "fail", reason, difference, limit)


def size(megabytes: float, champion_megabytes: float | None, *, limit: float) -> GateResult:
    """The model, as it is stored, is within the limit.

    Args:
        megabytes: size of the challenger [MB].
        champion_megabytes: size of the champion; None without one.
        limit: largest size [MB].
    """
    kept = megabytes <= limit
    beside = "" if champion_megabytes is None else f" (the champion {number(champion_megabytes)})"
    reason = f"{number(megabytes)} MB{beside}, {'within' if kept else 'above'} {number(limit)} MB."
    return GateResult("size", "pass" if kept else "fail", reason, megabytes, limit)


def serialised_bytes(model: Any) -> int:
    """Size of a model when serialised; nothing of it is kept in memory.

    >>> serialised_bytes([1, 2, 3]) == len(pickle.dumps([1, 2, 3], protocol=5))
    True
    """
    counter = _Counter()
    pickle.Pickler(counter, protocol=5).dump(model)
    return counter.total


class _Counter:
    """A file that only counts."""

    def __init__(self) -> None:
        self.total = 0

    def write(self, data: Any) -> int:
        """Count the bytes."""
        size = memoryview(data).nbytes
        self.total += size
        return size


def latency(milliseconds: Sequence[float], *, limit: float) -> GateResult:
    """The median time to score one row is within the limit.

    Args:
        milliseconds: one measurement per call with one row, the first (warm-up) left out [ms].
        limit: longest median [ms].
    """
    if not len(milliseconds):
        return GateResult("latency", "cannot_tell", "No call was timed.", None, limit)
    median = float(np.median(milliseconds))
    kept = median <= limit
    reason = (
        f"One row is scored in {number(median)} ms (median of {len(milliseconds)} calls), "
        f"{'within' if kept else 'above'} {number(limit)} ms."
    )
    return GateResult("latency", "pass" if kept else "fail", reason, median, limit)

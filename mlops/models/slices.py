"""Gates that look for harm in parts: groups of rows, and stretches of time.

The comparison of all rows shows that a challenger is better; these show that nobody pays for it. A part counts as
harmed only if it is shown to be worse by more than tolerated, with false discoveries under control over all parts, so
that many slices do not refuse a good challenger by chance.

One rule: a part with too little to judge on is named as such, never as fine.

References:
    Benjamini, Y. and Hochberg, Y. (1995), Controlling the false discovery rate, JRSS B 57.
    Benjamini, Y. and Yekutieli, D. (2001), The control of the false discovery rate under dependency, Ann. Stat. 29.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mlops.models.comparison import Interval, Metric, paired_difference
from mlops.models.wording import number, signed
from mlops.records import GatePart, GateResult
from mlops.spec import GatesSpec

_FEWEST_BLOCKS = 5  # of chance in a part, below which its error is not known
_MOST_VALUES = 12  # a number with more distinct values is cut into quarters


@dataclass(frozen=True)
class Contest:
    """Two score vectors on the same rows.

    Args:
        metric: see `paired_difference`.
        name: of the metric, for people.
        y: shape (n_rows,) or (n_rows, n_columns), labels; NaN where there is none.
        challenger: likewise, scores.
        opponent: likewise.
        blocks: shape (n_rows,) or (n_rows, n_ways).
        higher_is_better: which way the metric points.
        whose: the opponent, for people.
    """

    metric: Metric
    name: str
    y: npt.NDArray[Any]
    challenger: npt.NDArray[Any]
    opponent: npt.NDArray[Any]
    blocks: npt.NDArray[Any]
    higher_is_better: bool
    whose: str = "the champion"

    def part(self, rows: npt.NDArray[np.bool_], spec: GatesSpec) -> Interval | None:
        """The difference on some of the rows; None if there is too little to judge on."""
        truth = self.y[rows]
        known = np.isfinite(truth) if truth.ndim == 1 else np.isfinite(truth).all(axis=1)
        values = truth[known]
        if len(values) < spec.slice_min_rows:
            return None
        binary = values.ndim == 1 and bool(np.isin(values, (0, 1)).all())
        if binary and min(values.sum(), len(values) - values.sum()) < spec.min_positives:
            return None
        ways = self.blocks[rows] if self.blocks.ndim == 2 else self.blocks[rows][:, None]
        enough = [way for way in ways.T if len(np.unique(way[known])) >= _FEWEST_BLOCKS]
        if not enough:
            return None
        found = paired_difference(
            self.metric,
            truth,
            self.challenger[rows],
            self.opponent[rows],
            blocks=np.column_stack(enough),
            higher_is_better=self.higher_is_better,
            alpha=spec.alpha,
            resamples=spec.resamples,
            rng=np.random.default_rng(0),
            method="linear",
        )
        return found if found is not None and found.blocks >= _FEWEST_BLOCKS else None

    def tolerated(self, found: Interval, spec: GatesSpec) -> float:
        """The difference that is tolerated, ≤ 0: a share of the opponent's error (of a share: what is missing to 1)."""
        error = 1 - found.value_b if self.higher_is_better else found.value_b
        return -spec.tolerance * max(0.0, error)


def no_slice_harmed(contest: Contest, groups: pd.DataFrame, spec: GatesSpec) -> GateResult:
    """No group of rows is shown to be served worse than before by more than tolerated.

    Args:
        contest: who is judged, on which rows.
        groups: shape (n_rows, n_columns), the columns whose groups are judged apart; numbers with many values are cut
            into quarters.
        spec: alpha (as false discovery rate), tolerance, least rows and positives.

    Returns:
        value: the smallest adjusted p-value of harm; limit: alpha.
    """
    return _harm("no_slice_harmed", "slice", contest, dict(_slices(groups)), spec)


def stable_over_time(contest: Contest, times: Any, spec: GatesSpec) -> GateResult:
    """In no stretch of the holdout the challenger is shown to be worse than tolerated; else as `no_slice_harmed`.

    Args:
        contest: who is judged, on which rows.
        times: shape (n_rows,).
        spec: also the number of stretches.
    """
    stamps = pd.DatetimeIndex(pd.to_datetime(times, utc=True)).as_unit("us").asi8
    parts: dict[str, npt.NDArray[np.bool_]] = {}
    if len(stamps) and spec.stretches:
        edges = np.linspace(stamps.min(), stamps.max() + 1, spec.stretches + 1)
        for first, last in pairwise(edges):
            name = f"{pd.Timestamp(int(first), unit='us').round('min'):%m-%d %H:%M}"
            parts[name] = (stamps >= first) & (stamps < last)
    return _harm("stable_over_time", "stretch", contest, parts, spec)


def _harm(
    name: str, word: str, contest: Contest, rows: Mapping[str, npt.NDArray[np.bool_]], spec: GatesSpec
) -> GateResult:
    from scipy.stats import false_discovery_control

    found = {label: part for label, mask in rows.items() if (part := contest.part(mask, spec)) is not None}
    told = f"{len(found):,} of {len(rows):,} {_plural(word)} have enough rows to be judged"
    if not found:
        return GateResult(name, "cannot_tell", f"{told}.", None, spec.alpha, decides=False)
    limits = [contest.tolerated(part, spec) for part in found.values()]
    chances = [part.pvalue_worse(-limit) for part, limit in zip(found.values(), limits, strict=True)]
    adjusted = false_discovery_control(np.clip(chances, 0.0, 1.0), method=spec.false_discovery)
    parts = tuple(
        GatePart(label, part.estimate, part.low, part.high, limit, part.rows, bool(p < spec.alpha))
        for (label, part), limit, p in zip(found.items(), limits, adjusted, strict=True)
    )
    harmed = sorted((part for part in parts if part.harmed), key=lambda part: part.estimate)
    ahead = sum(part.estimate > 0 for part in parts)
    if not harmed:
        reason = f"{told}; ahead of {contest.whose} in {ahead:,}, in none shown to be worse than tolerated."
    else:
        worst = ", ".join(
            f"{part.name} {signed(part.estimate)} (tolerated {signed(part.limit)})" for part in harmed[:3]
        )
        reason = f"{told}; worse than {contest.whose} in {len(harmed):,}: {worst}{'…' if len(harmed) > 3 else ''}."
    numbers = {"judged": float(len(found)), "of": float(len(rows)), "ahead": float(ahead), "harmed": float(len(harmed))}
    least = float(min(adjusted))
    reason += f" Least adjusted p {number(least)}."
    return GateResult(name, "fail" if harmed else "pass", reason, least, spec.alpha, numbers, parts)


def _slices(groups: pd.DataFrame) -> Iterator[tuple[str, npt.NDArray[np.bool_]]]:
    """A name and the rows of every group of every column; missing values belong to none."""
    for column in groups.columns:
        values = groups[column]
        if pd.api.types.is_float_dtype(values) and values.nunique() > _MOST_VALUES:
            values = pd.qcut(values, 4, duplicates="drop").astype(object)
        codes, names = pd.factorize(values, sort=False)
        for code, label in sorted(enumerate(names), key=lambda item: str(item[1])):
            yield f"{column} {label}", np.asarray(codes == code)


def _plural(word: str) -> str:
    return "stretches" if word == "stretch" else f"{word}s"

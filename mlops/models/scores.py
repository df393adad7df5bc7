"""Gates that look at the scores themselves, most of them without any label.

One rule: scores that say nothing, or what the champion has said already, are no challenger.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mlops.models.comparison import paired_difference
from mlops.models.weighted_metrics import accuracy
from mlops.models.wording import number, signed
from mlops.records import GateResult, Verdict
from mlops.spec import GatesSpec

SCORED_SHARE = 0.99  # of the rows must have a score
SAME_SCORE = 1e-9  # relative difference of scores that is rounding


def not_the_champion(
    challenger_digest: str,
    champion_digest: str | None,
    challenger: npt.ArrayLike = (),
    champion: npt.ArrayLike = (),
) -> GateResult:
    """The challenger is another model than the champion: other bytes and other scores.

    Args:
        challenger_digest: digest of its files.
        champion_digest: likewise; None when there is no champion.
        challenger: shape (n_rows,), scores.
        champion: shape (n_rows,), scores of the same rows.

    Returns:
        value: share of rows on which the two differ by more than rounding; limit: 0.
    """
    name = "not_the_champion"
    if champion_digest is None:
        return GateResult(name, "pass", "There is no champion yet.")
    if challenger_digest == champion_digest:
        return GateResult(name, "fail", "The files are byte for byte those of the champion.", 0.0, 0.0)
    first, second = np.asarray(challenger, dtype=np.float64), np.asarray(champion, dtype=np.float64)
    if not len(first):
        return GateResult(name, "cannot_tell", "There are no rows to tell the two apart on.", None, 0.0)
    share = float(np.mean(~np.isclose(first, second, rtol=SAME_SCORE, atol=0.0, equal_nan=True)))
    if share == 0:
        return GateResult(name, "fail", f"All {len(first):,} scores are those of the champion.", share, 0.0)
    return GateResult(name, "pass", f"Scores differ from the champion's on {100 * share:.1f} % of rows.", share, 0.0)


def scores_finite(scores: npt.ArrayLike, *, least_share: float = SCORED_SHARE) -> GateResult:
    """Nearly all rows have a score that is a number.

    Args:
        scores: shape (n_rows,), NaN where the model cannot tell.
        least_share: share of rows that must have one, in (0, 1].
    """
    name = "scores_finite"
    finite = np.isfinite(np.asarray(scores, dtype=np.float64))
    if not len(finite):
        return GateResult(name, "cannot_tell", "There are no rows to score.", None, least_share)
    share = float(finite.mean())
    told = f"{100 * share:.1f} %, at least {100 * least_share:g} %"
    reason = f"{int(finite.sum()):,} of {len(finite):,} rows have a score ({told})."
    return GateResult(name, "pass" if share >= least_share else "fail", reason, share, least_share)


def score_distribution(scores: npt.ArrayLike, *, most: float) -> GateResult:
    """Scores tell rows apart: no single value is the answer to nearly all of them.

    Args:
        scores: shape (n_rows,), NaN where the model cannot tell.
        most: share of rows that may have the same score, in (0, 1].
    """
    name = "score_distribution"
    values = np.asarray(scores, dtype=np.float64)
    values = values[np.isfinite(values)]
    if len(values) < 2:
        return GateResult(name, "cannot_tell", f"{len(values):,} rows have a score.", None, most)
    distinct, counts = np.unique(values, return_counts=True)
    share = float(counts.max() / len(values))
    told = f"{len(distinct):,} different scores in {len(values):,} rows; the most common is that of {100 * share:.1f} %"
    verdict: Verdict = "pass" if share <= most else "fail"
    low, middle, high = np.quantile(values, (0.05, 0.5, 0.95))
    numbers = {"p05": float(low), "median": float(middle), "p95": float(high)}
    return GateResult(name, verdict, f"{told}, at most {100 * most:g} %.", share, most, numbers)


def agrees_with_champion(challenger: npt.ArrayLike, champion: npt.ArrayLike, *, least: float) -> GateResult:
    """Without labels: the challenger ranks rows roughly as the champion does; one turned round does not.

    Args:
        challenger: shape (n_rows,), scores.
        champion: shape (n_rows,), scores of the same rows.
        least: Spearman's rank correlation that is needed, in [−1, 1].

    Returns:
        value: the rank correlation; `numbers` also has the share of the champion's top twentieth that is in the
        challenger's.
    """
    from scipy.stats import spearmanr

    name = "agrees_with_champion"
    first, second = np.asarray(challenger, dtype=np.float64), np.asarray(champion, dtype=np.float64)
    both = np.isfinite(first) & np.isfinite(second)
    first, second = first[both], second[both]
    if len(first) < 20 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return GateResult(name, "cannot_tell", f"{len(first):,} rows have two scores that vary.", None, least)
    found = float(spearmanr(first, second).statistic)
    top = max(1, len(first) // 20)
    shared = len(set(np.argsort(-first)[:top]) & set(np.argsort(-second)[:top])) / top
    reason = (
        f"Rank correlation with the champion {number(found)} on {len(first):,} rows, at least {number(least)}; "
        f"{100 * shared:.0f} % of its top twentieth are in the challenger's."
    )
    return GateResult(name, "pass" if found >= least else "fail", reason, found, least, {"top_shared": shared})


def events_found(
    y: npt.ArrayLike,
    entities: npt.NDArray[Any],
    times: npt.NDArray[Any],
    challenger: tuple[npt.ArrayLike, float | None],
    champion: tuple[npt.ArrayLike, float | None] | None,
    *,
    blocks: npt.NDArray[Any],
    spec: GatesSpec,
) -> GateResult:
    """At its own threshold the challenger is not shown to miss more faults than the champion at its own.

    An event is a run of positive rows of one entity; it is found if one of them is flagged.

    Args:
        y: shape (n_rows,), 1 where a fault is, NaN where it is not known.
        entities: shape (n_rows,).
        times: shape (n_rows,).
        challenger: scores, shape (n_rows,), and threshold.
        champion: likewise; None without one.
        blocks: shape (n_rows,), see `time_blocks`.
        spec: alpha, tolerance (as share of the champion's misses) and resamples.

    Returns:
        value: share of events found; limit: the champion's.
    """
    name = "events_found"
    truth = np.asarray(y, dtype=np.float64)
    if challenger[1] is None:
        return GateResult(name, "cannot_tell", "The model has no threshold.", None, None, decides=False)
    event = _events(truth == 1, entities, times)
    count = int(event.max(initial=-1)) + 1
    if not count:
        return GateResult(name, "cannot_tell", "There is no event to find.", None, None, decides=False)
    own = _found(event, count, *challenger)
    told = f"{int(own.sum()):,} of {count:,} events are found"
    if champion is None or champion[1] is None:
        return GateResult(name, "pass", f"{told}; there is no champion to compare with.", float(own.mean()), None)
    theirs = _found(event, count, *champion)
    block = np.zeros(count, dtype=np.intp)
    block[event[event >= 0]] = np.asarray(blocks)[event >= 0]
    found = paired_difference(
        accuracy, np.ones(count), own, theirs, blocks=block, higher_is_better=True, alpha=spec.alpha,
        resamples=spec.resamples, rng=np.random.default_rng(0), method="linear",
    )  # fmt: skip
    limit = float(theirs.mean())
    if found is None:
        reason = f"{told}, the champion finds {int(theirs.sum()):,}: too few to tell a difference."
        return GateResult(name, "cannot_tell", reason, float(own.mean()), limit, decides=False)
    chance = found.pvalue_worse(spec.tolerance * (1 - limit))
    worse = chance < spec.alpha
    reason = (
        f"{told}, by the champion {int(theirs.sum()):,}: {signed(found.estimate)}, "
        f"{'shown to be' if worse else 'not shown to be'} worse than tolerated (p {number(chance)})."
    )
    numbers = {"difference": found.estimate, "low": found.low, "high": found.high, "events": float(count)}
    return GateResult(name, "fail" if worse else "pass", reason, float(own.mean()), limit, numbers)


def _events(
    positive: npt.NDArray[np.bool_], entities: npt.NDArray[Any], times: npt.NDArray[Any]
) -> npt.NDArray[np.intp]:
    """The event each row belongs to, from 0; −1 for none."""
    codes = np.unique(np.asarray(entities), return_inverse=True)[1]
    order = np.lexsort((np.asarray(times), codes))
    inside, who = positive[order], codes[order]
    begins = inside.copy()
    begins[1:] &= ~(inside[:-1] & (who[1:] == who[:-1]))
    found = np.full(len(positive), -1, dtype=np.intp)
    found[order] = np.where(inside, np.cumsum(begins) - 1, -1)
    return found


def _found(
    event: npt.NDArray[np.intp], count: int, scores: npt.ArrayLike, threshold: float | None
) -> npt.NDArray[np.float64]:
    """1 for every event with a row above the threshold, shape (count,)."""
    flagged = np.asarray(scores, dtype=np.float64) > (np.inf if threshold is None else threshold)
    hits = np.bincount(event[(event >= 0) & flagged], minlength=count)
    return (hits > 0).astype(np.float64)

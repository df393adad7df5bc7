"""Performance: how good the predictions of each night were, or, until labels come, how good they probably are.

Reads: predictions, the training set of the version that made them, labels that have matured. Writes: one
`performance.json` per night: what was estimated without its labels, what was measured with them and, where both are
there, whether the estimate held. Where estimates have failed too often there are none, until another version comes.

One rule: an estimate is made from what was known before the night's labels; it is kept, and never mended afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mlops.data import labels
from mlops.models.scoring import Scorer
from mlops.models.weighted_metrics import METRICS, RESAMPLED
from mlops.monitoring import estimates
from mlops.monitoring.estimates import Estimate
from mlops.monitoring.loss_estimation import MAE
from mlops.pipelines import label_free, labelled, night_rows
from mlops.pipelines.evaluation import measure_scores, sampled
from mlops.pipelines.inference import predictions_uri
from mlops.pipelines.night import JUDGED_NIGHTS, as_of, judged_until, report, report_uri
from mlops.pipelines.night_performance import NightPerformance, Performance
from mlops.records import StepReport, from_dict
from mlops.services import Services
from mlops.spec import ModelSpec
from mlops.storage import Manifest

MOST_ROWS = 5_000  # of a reference, and of a night, that are looked at
RESAMPLES = 100
MIN_LABELLED = 20


def run(
    services: Services, spec: ModelSpec, day: date, days: int = JUDGED_NIGHTS, *, tonight: bool = False
) -> StepReport:
    """What is known, as of the night of `day`, of the predictions of the `days` up to it.

    Args:
        services: the adapters.
        spec: the model.
        day: the date.
        days: how many nights.
        tonight: only what is new is worked out, this date and the newest whose labels are mature; of the others what
            was found before is read.

    Returns:
        done, cannot_tell (neither measured nor estimated for the newest night) or nothing_to_do (no predictions);
        the record is a `Performance`.

    Raises:
        IntegrityError: a version's files are not those that were registered.
    """
    dates = [day - timedelta(days=back) for back in reversed(range(days))]
    new = {day, (judged_until(spec, day) - timedelta(microseconds=1)).date()}
    nights: list[NightPerformance] = []
    for each in dates:
        if tonight and each not in new:
            nights += _found_before(services, spec, each)
            continue
        manifest = services.storage.manifest(predictions_uri(services, spec, each))
        if manifest is not None:
            nights.append(_night(services, spec, each, day, manifest, nights))
    if not nights:
        return report("performance", spec, day, "nothing_to_do", f"There are no predictions up to {day}.")
    found = Performance(spec.name, spec.metric, tuple(nights))
    known = any(one.value is not None for one in (*nights[-1].estimated, *nights[-1].realised))
    return report("performance", spec, day, "done" if known else "cannot_tell", _words(spec, nights[-1]), found)


def _found_before(services: Services, spec: ModelSpec, night: date) -> list[NightPerformance]:
    uri = report_uri(services, spec, night, "performance.json")
    return [from_dict(NightPerformance, services.storage.read_json(uri))] if services.storage.exists(uri) else []


def _night(
    services: Services, spec: ModelSpec, night: date, day: date, manifest: Manifest, before: Sequence[NightPerformance]
) -> NightPerformance:
    version = int(manifest.facts["version"])
    scorer = services.registry.load(services.registry.get(spec.name, version))
    table = night_rows.of_night(services, spec, night, renamed={"label": "predicted_label"}).rows
    rows = sampled(table, MOST_ROWS, spec.seed)
    found = NightPerformance(night, version, manifest.rows, 0)
    found = replace(found, estimated=_kept_estimate(services, spec, found, scorer, rows, before))
    found = _measured(services, spec, found, scorer, rows, day)
    services.storage.write_json(report_uri(services, spec, night, "performance.json"), _plain(found))
    return found


def _kept_estimate(
    services: Services,
    spec: ModelSpec,
    night: NightPerformance,
    scorer: Scorer,
    rows: pd.DataFrame,
    before: Sequence[NightPerformance],
) -> tuple[Estimate, ...]:
    """The estimate that was made for these predictions before; else a new one."""
    for kept in _found_before(services, spec, night.date):
        if (kept.version, kept.rows) == (night.version, night.rows):
            return kept.estimated
    held = [one.held for one in before if one.version == night.version and one.held]
    if why := estimates.void([record[spec.metric] for record in held if spec.metric in record]):
        return (Estimate(spec.metric, None, rows=len(rows), reason=why),)
    if spec.task == "anomaly":
        return label_free.of_detector(services, spec, night.date, scorer, rows)
    return label_free.of_predictor(services, spec, night.date, night.version, scorer, rows)


def _measured(
    services: Services, spec: ModelSpec, night: NightPerformance, scorer: Scorer, rows: pd.DataFrame, day: date
) -> NightPerformance:
    if spec.label is None:
        return replace(night, reason="the model has no label")
    start, end = as_of(night.date) - timedelta(days=1), as_of(night.date)
    known = labels.keyed_like(
        labelled.mature(services, spec, start=start, end=end, as_of=as_of(day)), rows, spec.entity
    )
    joined = rows.merge(known, on=[spec.entity, "observed_at"], how="inner")
    joined = joined[joined["label"].notna() & joined["score"].notna()].reset_index(drop=True)
    if len(joined) < MIN_LABELLED:
        said = f"{len(joined):,} rows have a mature label by {day}, {MIN_LABELLED} are needed"
        return replace(night, labelled=len(joined), reason=said)
    guessed = {one.metric for one in night.estimated}
    realised = _with_intervals(spec, scorer, joined, guessed, label_free.seeded(spec, night.date))
    if not realised:
        return replace(night, labelled=len(joined), reason="no metric is defined on these labels (one class?)")
    values = {one.metric: one.value for one in realised if one.value is not None}
    held = {
        one.metric: truth
        for one in night.estimated
        if one.metric in values and (truth := one.holds(values[one.metric])) is not None
    }
    return replace(night, labelled=len(joined), realised=realised, held=held)


def _with_intervals(
    spec: ModelSpec, scorer: Scorer, joined: pd.DataFrame, guessed: Set[str], rng: np.random.Generator
) -> tuple[Estimate, ...]:
    """Each metric that decides or was estimated, with the interval of a bootstrap over entities."""
    found = measure_scores(joined, joined, spec, scorer.classes)
    wanted = [name for name in found if name == spec.metric or name in guessed or name in ("accuracy", MAE)]
    blocks = joined[spec.entity].to_numpy()
    if len(np.unique(blocks)) < 5:  # too few to draw from: hours, then
        blocks = joined["observed_at"].dt.floor("h").astype(str).to_numpy()
    codes = estimates.numbered(blocks)
    counts = estimates.block_counts(codes, RESAMPLES, rng)
    draws = _at_once(spec, joined, wanted, codes, counts)
    if slow := [name for name in wanted if name not in draws]:
        parts = (joined.iloc[np.repeat(np.arange(len(joined)), drawn[codes])] for drawn in counts)
        measured = [measure_scores(part, part, spec, scorer.classes) for part in parts]
        draws |= {name: np.array([one[name] for one in measured if name in one]) for name in slow}
    known = {name: values[np.isfinite(values)] for name, values in draws.items()}
    intervals = {name: np.quantile(known[name], [0.05, 0.95]) for name in wanted if len(known[name])}
    return tuple(
        Estimate(name, found[name], float(low), float(high), len(joined)) for name, (low, high) in intervals.items()
    )


def _at_once(
    spec: ModelSpec,
    joined: pd.DataFrame,
    wanted: Sequence[str],
    codes: NDArray[np.intp],
    counts: NDArray[np.int64],
) -> dict[str, NDArray[np.float64]]:
    """Those of the metrics that all resamples can be had of by sorting the rows once, shape (n_resamples,) each."""
    if spec.task == "classification":  # labels are what they are there, not 0 and 1
        return {}
    y, score = joined["label"].to_numpy(dtype=float), joined["score"].to_numpy(dtype=float)
    y = (y == 1).astype(float) if spec.task == "anomaly" else y
    fast = {name: RESAMPLED.get(METRICS[name]) for name in wanted if name in METRICS}
    return {name: resampled(y, score, codes, counts) for name, resampled in fast.items() if resampled}


def _plain(night: NightPerformance) -> dict[str, Any]:
    from mlops.records import to_dict

    return to_dict(night)


def _words(spec: ModelSpec, night: NightPerformance) -> str:
    """The newest night in a sentence."""
    realised = {one.metric: one for one in night.realised}
    estimated = {one.metric: one for one in night.estimated}
    name = spec.metric if spec.task != "anomaly" or spec.metric in realised else "flagged_share"
    if (measured := realised.get(name)) is not None and measured.value is not None:
        return f"{night.date}: {name} {measured.value:.3f} on {night.labelled:,} labelled rows."
    guess = estimated.get(name) or next(iter(estimated.values()), None)
    if guess is None or guess.value is None:
        why = guess.reason if guess else night.reason
        return f"{night.date}: {name} cannot be told: {why}."
    said = "of the rows are flagged" if name == "flagged_share" else "estimated without labels"
    return f"{night.date}: {name} {guess.value:.3f} ({guess.low:.3f} to {guess.high:.3f}), {said}."

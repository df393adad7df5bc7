"""How good a night's predictions probably are, before any of its labels is there.

Reads: the training set of the version that made them (rows that it has not learned from, with their labels), for
detectors the night's raw rows. Writes nothing.

One rule: of a night nothing is used but what its predictions were made of.
"""

from __future__ import annotations

import zlib
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mlops.data import partitions
from mlops.models.scoring import Scorer
from mlops.monitoring import estimates
from mlops.monitoring.confidence_estimation import of_classifier, of_several_classes
from mlops.monitoring.estimates import Estimate
from mlops.monitoring.loss_estimation import of_regressor
from mlops.pipelines import training_set as sets
from mlops.pipelines.evaluation import sampled
from mlops.pipelines.night import as_of
from mlops.services import Services
from mlops.spec import ModelSpec

MOST_ROWS = 5_000  # of a reference that are looked at
RESAMPLES = 500
ONE_DAY = timedelta(days=1)


def of_predictor(
    services: Services, spec: ModelSpec, night: date, version: int, scorer: Scorer, rows: pd.DataFrame
) -> tuple[Estimate, ...]:
    """The estimates of a classifier or regressor.

    Args:
        services: the adapters.
        spec: the model.
        night: the date.
        version: number of the version that made the predictions.
        scorer: that version.
        rows: predictions of the night, with their features.
    """
    tables = sets.read(services, sets.find(services, services.registry.get(spec.name, version).training_set_uri))
    unseen = tables.rows[tables.rows["part"].isin(("calibration", "holdout")) & tables.rows["label"].notna()]
    unseen = sampled(unseen, MOST_ROWS, spec.seed)
    said = scorer.predict(unseen)
    scored = said["score"].notna().to_numpy()
    unseen, said = unseen[scored], said[scored]
    scores = said["score"].to_numpy(dtype=float)
    rows = rows[rows["score"].notna()]
    given, rng = rows["score"].to_numpy(dtype=float), seeded(spec, night)
    if spec.task == "regression":
        errors = scores - unseen["label"].to_numpy(dtype=float)
        reference, chunk = _matrix(unseen, scorer, scores), _matrix(rows, scorer, given)
        found = of_regressor(reference, errors, _blocks(unseen, spec), chunk, _blocks(rows, spec), rng=rng)
        return tuple(found.values())
    outside = estimates.share_outside(_matrix(unseen, scorer), _matrix(rows, scorer)) if len(unseen) else 1.0
    if outside > estimates.MOST_OUTSIDE:
        why = f"{outside:.0%} of the rows lie outside of all that was judged"
        return (Estimate(spec.metric, None, rows=len(rows), reason=why),)
    if len(scorer.classes) > 2:
        right = np.asarray(said["label"] == unseen["label"], dtype=np.int64)
        return tuple(of_several_classes(scores, right, _blocks(unseen, spec), given, rng=rng).values())
    truth = np.asarray(unseen["label"] == scorer.classes[1], dtype=np.int64)
    return tuple(of_classifier(scores, truth, _blocks(unseen, spec), given, rng=rng).values())


def of_detector(
    services: Services, spec: ModelSpec, night: date, scorer: Scorer, rows: pd.DataFrame
) -> tuple[Estimate, ...]:
    """The share of rows that a detector flags, and that of faults put into the night's raw rows that it would find.

    Both are seen at once; the intervals are for the shares of all entities like these.
    """
    scored = rows[rows["score"].notna()]
    if scorer.threshold is None or scored.empty:
        why = "no row has a score" if scored.empty else "the version has no threshold"
        return (Estimate("flagged_share", None, rows=len(rows), reason=why),)
    flags = np.asarray(scored["score"] > scorer.threshold, dtype=np.float64)
    rng = seeded(spec, night)
    return (
        _share("flagged_share", flags, scored[spec.entity].to_numpy(), rng),
        _injected_recall(services, spec, night, scorer, rng),
    )


def _injected_recall(
    services: Services, spec: ModelSpec, night: date, scorer: Scorer, rng: np.random.Generator
) -> Estimate:
    views = [view for view in services.features.views_of(spec.features.service) if view.recipe is not None]
    lookback = max((view.recipe.lookback for view in views if view.recipe), default=timedelta(0))
    end = as_of(night)
    raw = partitions.read_rows(services.storage, spec.dataset, (end - ONE_DAY - lookback).date(), night)
    if len(raw):
        observed = raw[spec.timestamps.event]
        raw = raw[(observed >= end - ONE_DAY - lookback) & (observed < end)].reset_index(drop=True)
    faulty = sets.with_faults(services, spec, raw, pd.Timestamp(end - ONE_DAY)) if len(raw) else pd.DataFrame()
    if faulty.empty:
        why = "its features are not made by recipes of its own data, so no fault can be put in"
        return Estimate("injected_recall", None, reason=why if len(raw) else "no raw rows")
    faulty = faulty[(faulty["observed_at"] >= pd.Timestamp(end - ONE_DAY)) & (faulty["label"] == 1)]
    found = scorer.score(faulty) if len(faulty) else np.zeros(0)
    known = np.isfinite(found)
    if not known.any():
        return Estimate("injected_recall", None, reason="too few rows of an entity to put a fault in")
    assert scorer.threshold is not None
    flags = (found[known] > scorer.threshold).astype(float)
    return _share("injected_recall", flags, faulty[spec.entity].to_numpy()[known], rng)


def _share(name: str, flags: NDArray[np.float64], blocks: NDArray[Any], rng: np.random.Generator) -> Estimate:
    """A share, with the interval of 90 % for that of all entities like these: few of them make it wider.

    The bootstrap over entities takes their spread to be that of those at hand; Student's t knows that it is estimated.
    Where all entities say the same, what n of them would still say one time in twenty bounds the rest: .05^(1/n).
    One entity says nothing of the others.
    """
    from scipy import stats

    codes = estimates.numbered(blocks)
    sizes, found = np.bincount(codes), np.bincount(codes, weights=flags)
    value, entities = float(flags.mean()), len(sizes)
    if entities == 1:
        return Estimate(name, value, 0.0, 1.0, len(flags))
    if value in (0.0, 1.0):
        bound = 0.05 ** (1 / entities)
        return Estimate(name, value, min(value, bound), max(value, 1 - bound), len(flags))
    counts = estimates.block_counts(codes, RESAMPLES, rng)
    low, high = np.quantile((counts @ found) / (counts @ sizes), [0.05, 0.95])
    wider = np.sqrt(entities / (entities - 1)) * stats.t.ppf(0.95, entities - 1) / stats.norm.ppf(0.95)
    low, high = (float(np.clip(value + wider * (end - value), 0.0, 1.0)) for end in (low, high))
    return Estimate(name, value, low, high, len(flags))


def seeded(spec: ModelSpec, night: date) -> np.random.Generator:
    """The randomness of one night of one model."""
    return np.random.default_rng([spec.seed, zlib.crc32(spec.name.encode()), night.toordinal()])


def _matrix(rows: pd.DataFrame, scorer: Scorer, scores: Any = None) -> NDArray[np.float64]:
    table = rows[list(scorer.features)].to_numpy(dtype=np.float64)
    return table if scores is None else np.column_stack([table, scores])


def _blocks(rows: pd.DataFrame, spec: ModelSpec) -> NDArray[Any]:
    """Rows of one entity and day depend on one another."""
    days = rows["observed_at"].dt.floor("D").astype(str)
    return estimates.numbered((rows[spec.entity].astype(str) + "/" + days).to_numpy(dtype=object))

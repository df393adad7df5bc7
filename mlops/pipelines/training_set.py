"""The training set of a night: what was known when each row arrived, with the labels that have matured since.

Reads: validated rows, Feast, labels. Writes: one table (and, for detectors, a second with injected faults), kept by its
fingerprint, so that a version can always be traced to the rows it learned from.

One rule: rows that teach come before rows that judge, with the gap of the spec between them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa

from mlops.data import labels, partitions
from mlops.errors import NoDataError, TrainingError
from mlops.experiments import injection, splits
from mlops.features.engineering import engineer
from mlops.pipelines import feature_checks, labelled
from mlops.pipelines.night import as_of, entity_rows, judged_until, late_rows, run_key
from mlops.records import GateResult, TrainingSet, from_dict, to_dict
from mlops.services import Services
from mlops.spec import ModelSpec, SplitSpec
from mlops.storage import content_hash

PARTS = ("fit", "calibration", "holdout")


@dataclass(frozen=True)
class Tables:
    """The rows behind a `TrainingSet`.

    Args:
        rows: entity, `event_timestamp` (when known), `observed_at`, `feature_timestamp`, features, `label` (null where
            not mature), `part` (fit, calibration, holdout or gap); `label_source` where the spec has a label store.
        injected: the same columns for rows with injected faults, `label` True where a fault was put; empty unless the
            task is anomaly and the features can be engineered from the raw rows.
    """

    rows: pd.DataFrame
    injected: pd.DataFrame

    def part(self, name: str) -> pd.DataFrame:
        """The rows of one part."""
        return self.rows[self.rows["part"] == name]

    def injected_part(self, name: str) -> pd.DataFrame:
        """The injected rows of one part."""
        return self.injected[self.injected["part"] == name] if len(self.injected) else self.injected


@dataclass(frozen=True)
class _Window:
    """The time a training looks at."""

    day: date
    reason: str
    split: SplitSpec
    start: datetime
    end: datetime

    @classmethod
    def of(cls, spec: ModelSpec, day: date, reason: str) -> _Window:
        split = split_of(spec, reason)
        end = judged_until(spec, day)
        return cls(day, reason, split, end - timedelta(days=split.window_days), end)

    def deliveries(self, spec: ModelSpec) -> tuple[date, date]:
        """First and last date whose delivery may hold rows of this time."""
        return self.start.date(), min(self.day, (self.end + timedelta(hours=spec.contract.max_lateness_hours)).date())

    def __str__(self) -> str:
        return f"{self.start:%Y-%m-%d %H:%M} to {self.end:%Y-%m-%d %H:%M}"


def split_of(spec: ModelSpec, reason: str) -> SplitSpec:
    """How time is cut for this training: an alarm may ask for a shorter past."""
    return (spec.drift.retrain_split or spec.split) if reason == "drift" else spec.split


def make(services: Services, spec: ModelSpec, day: date, reason: str, started_by: str = "") -> TrainingSet:
    """Build, check and keep the training set of a night.

    Raises:
        NoDataError: no validated rows in the window.
        NotReadyError: the features of some of them are not there yet.
        TrainingError: a part is empty, a feature is null throughout, or a label has one class only.
    """
    services.features.apply()

    def checked(asked: pd.DataFrame, joined: pd.DataFrame) -> tuple[GateResult, ...]:
        return feature_checks.of_join(services, spec, day, "training", asked, joined)

    record, tables = assemble(services, spec, day, reason, checked)
    place = services.storage.uri("training_sets", spec.name, f"date={day}", record.fingerprint[:16])
    return keep(services, replace(record, started_by=started_by), tables, place)


def assemble(
    services: Services,
    spec: ModelSpec,
    day: date,
    reason: str,
    checked: Callable[[pd.DataFrame, pd.DataFrame], tuple[GateResult, ...]] = lambda _asked, _joined: (),
) -> tuple[TrainingSet, Tables]:
    """Build the training set of a night and write nothing; the feature views must be applied.

    Args:
        services: the adapters.
        spec: the model.
        day: the date.
        reason: why it is trained, which decides how time is cut.
        checked: holds the joined rows against those that were asked for.

    Raises:
        NoDataError, TrainingError: as `make`.
    """
    window = _Window.of(spec, day, reason)
    raw = _raw_rows(services, spec, window)
    feature_checks.ready(services, spec, *window.deliveries(spec))
    late = late_rows(raw, spec)
    asked = entity_rows(raw[~late], spec)
    joined = services.features.historical(spec.features.service, asked)
    gates = checked(asked, joined)
    table = _labelled(services, spec, joined, window)
    table["part"] = _parts(table["observed_at"], window)
    features = services.features.features_of(spec.features.service)
    _check(table, features, spec, window)
    record = _record(spec, window, features, table, dropped=int(late.sum()))
    return replace(record, gates=gates), Tables(table, _injected(services, spec, raw[~late], table))


def read(services: Services, training_set: TrainingSet) -> Tables:
    """The rows of a kept training set."""
    rows = services.storage.read_table(training_set.uri).to_pandas()
    uri = f"{training_set.uri}/injected"
    injected = services.storage.read_table(uri).to_pandas() if services.storage.manifest(uri) else rows.iloc[:0]
    return Tables(rows, injected)


def find(services: Services, uri: str) -> TrainingSet:
    """The record of a training set that was kept at `uri`."""
    return from_dict(TrainingSet, services.storage.read_json(f"{uri}/training_set.json"))


def _raw_rows(services: Services, spec: ModelSpec, window: _Window) -> pd.DataFrame:
    rows = partitions.read_rows(services.storage, spec.dataset, *window.deliveries(spec))
    if len(rows):
        observed = rows[spec.timestamps.event]
        rows = rows[(observed >= window.start) & (observed < window.end)].reset_index(drop=True)
    if rows.empty:
        raise NoDataError(
            f"{spec.name}: no validated rows of {spec.dataset} from {window}.",
            hint=f"Ingest first: mlops run ingestion {spec.name} --date {window.start.date()} --until {window.day}",
        )
    return rows


def _labelled(services: Services, spec: ModelSpec, joined: pd.DataFrame, window: _Window) -> pd.DataFrame:
    if spec.label is None:
        return joined.assign(label=np.nan)
    known = labelled.mature(services, spec, start=window.start, end=window.end, as_of=as_of(window.day))
    known = labels.keyed_like(known, joined, spec.entity)
    merged = joined.merge(known, on=[spec.entity, "observed_at"], how="left", validate="many_to_one")
    if len(merged) != len(joined):
        raise TrainingError(f"{spec.name}: joining labels turned {len(joined):,} rows into {len(merged):,}.")
    return merged if spec.task == "anomaly" else merged[merged["label"].notna()].reset_index(drop=True)


def _parts(observed: pd.Series, window: _Window) -> np.ndarray:
    cut = splits.cut(observed, window.split, window.end)
    names = np.full(len(observed), "gap", dtype=object)
    for name in PARTS:
        names[getattr(cut, name)] = name
    return names


def _check(table: pd.DataFrame, features: tuple[str, ...], spec: ModelSpec, window: _Window) -> None:
    wanted = [p for p in PARTS if p != "calibration" or window.split.calibration_days > 0]
    if empty := [name for name in wanted if not (table["part"] == name).any()]:
        raise TrainingError(
            f"{spec.name}: no rows in the {' and '.join(empty)} part; "
            f"the window {window} holds {len(table):,} usable rows.",
            hint="Ingest more days, or shorten split.window_days and split.holdout_days.",
        )
    taught = table[table["part"] == "fit"]
    if dead := [name for name in features if taught[name].isna().all()]:
        raise TrainingError(
            f"{spec.name}: {', '.join(dead)} {'is' if len(dead) == 1 else 'are'} null in all {len(taught):,} fit rows.",
            hint="Mend the source, or take the feature out of the feature service.",
        )
    if spec.task == "classification" and taught["label"].nunique() < 2:
        only = taught["label"].iloc[0]
        raise TrainingError(
            f"{spec.name}: all {len(taught):,} fit rows have the label {only!r}; a classifier needs two classes.",
            hint="Lengthen split.window_days, or check the label source.",
        )


def _injected(services: Services, spec: ModelSpec, raw: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """Judging rows engineered again from raw signals with faults put in, for recall where no labels are."""
    both = with_faults(services, spec, raw, table.loc[table["part"] != "fit", "observed_at"].min())
    if both.empty:
        return table.iloc[:0]
    parts = table[[spec.entity, "observed_at", "part"]].drop_duplicates([spec.entity, "observed_at"])
    both = both.merge(parts, on=[spec.entity, "observed_at"])
    return both[both["part"].isin(("calibration", "holdout"))].reset_index(drop=True)


def with_faults(services: Services, spec: ModelSpec, raw: pd.DataFrame, first: pd.Timestamp) -> pd.DataFrame:
    """The features of rows as they would have been with faults put into their raw signals.

    Args:
        services: the adapters.
        spec: a detector's.
        raw: validated rows in order of time, with those that windows of features reach back to.
        first: the first time that features are asked of.

    Returns:
        Entity, `observed_at`, the features, and `label`: 1 where a fault was put. Empty where features are not made
        by recipes of the model's own dataset, or for another task.
    """
    views = [view for view in services.features.views_of(spec.features.service) if view.dataset == spec.dataset]
    if spec.task != "anomaly" or not views or any(view.recipe is None for view in views):
        return pd.DataFrame()
    lookback = max(view.recipe.lookback for view in views if view.recipe)
    recent = raw[raw[spec.timestamps.event] >= first - lookback]
    columns = sorted({column for view in views if view.recipe for column in view.recipe.inputs})
    faulty, mask = injection.inject_faults(
        recent, columns=columns, entity=spec.entity, event=spec.timestamps.event, rng=np.random.default_rng(spec.seed)
    )
    keys = [spec.entity, "event_timestamp"]
    built: pd.DataFrame | None = None
    for view in views:
        assert view.recipe is not None
        made = engineer(faulty, view.recipe, entity=spec.entity, event=spec.timestamps.event, known_at=spec.known_at)
        made = made.drop(columns="created_timestamp").drop_duplicates(keys)
        built = made if built is None else built.merge(made, on=keys)
    assert built is not None
    truth = faulty[[spec.entity, spec.timestamps.event]].assign(label=np.asarray(mask, dtype=float))
    truth.columns = pd.Index([spec.entity, "event_timestamp", "label"])
    return built.merge(truth.drop_duplicates(keys), on=keys).rename(columns={"event_timestamp": "observed_at"})


def _record(
    spec: ModelSpec, window: _Window, features: tuple[str, ...], table: pd.DataFrame, *, dropped: int
) -> TrainingSet:
    """What the set holds; its place is filled in when it is kept."""
    held = table[table["part"] == "holdout"]
    labelled = held["label"].notna()
    return TrainingSet(
        model=spec.name,
        date=window.day,
        run_key=run_key(spec, "training", window.day),
        uri="",
        fingerprint=fingerprint(table, features, window.split),
        features=features,
        rows=len(table),
        entities=int(table[spec.entity].nunique()),
        fit_rows=int((table["part"] == "fit").sum()),
        calibration_rows=int((table["part"] == "calibration").sum()),
        holdout_rows=len(held),
        labelled_rows=int(labelled.sum()),
        positives=int((held.loc[labelled, "label"] == 1).sum()) if spec.task != "regression" else 0,
        window_start=window.start,
        holdout_start=window.end - timedelta(days=window.split.holdout_days),
        window_end=window.end,
        reason=window.reason,
        dropped_rows=dropped,
    )


def keep(services: Services, record: TrainingSet, tables: Tables, uri: str) -> TrainingSet:
    """Write the tables to `uri`, then the record: a reader who finds the record finds all of it."""
    record = replace(record, uri=uri)
    if len(tables.injected):
        services.storage.write_table(f"{uri}/injected", pa.Table.from_pandas(tables.injected, preserve_index=False))
    facts = {"fingerprint": record.fingerprint, "run_key": record.run_key}
    services.storage.write_table(uri, pa.Table.from_pandas(tables.rows, preserve_index=False), facts)
    services.storage.write_json(f"{uri}/training_set.json", to_dict(record))
    return record


def fingerprint(table: pd.DataFrame, features: tuple[str, ...], split: SplitSpec) -> str:
    """sha256 over content, features and split: what a training set is known by."""
    facts = json.dumps({"features": features, "split": split.model_dump(mode="json")}, sort_keys=True)
    content = content_hash(pa.Table.from_pandas(table, preserve_index=False))
    return hashlib.sha256(f"{content}\n{facts}".encode()).hexdigest()

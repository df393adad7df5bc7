"""The outcomes of an experiment's units up to a night: one row a unit, from a table of the spec or from
the prediction log joined with its labels.

One rule: a unit counts for the variant that the digest assigns, whatever it met (intention to treat): who leaves out
units that met something else leaves out more of one variant. Where many did, the experiment is invalid.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import pandas as pd

from mlops.data import labels, sources
from mlops.errors import SchemaError, did_you_mean
from mlops.pipelines import labelled
from mlops.pipelines.ab_records import ExperimentLook
from mlops.pipelines.experiment_state import ExperimentState
from mlops.pipelines.night import as_of
from mlops.services import Services
from mlops.serving import log_reading
from mlops.serving.routing import assign
from mlops.spec import ModelSpec

MOST_WRONG = 0.01  # share of units that may have met what they were not assigned
SETTLES = timedelta(minutes=5)  # after a change, until every serving process follows it
COUNT = "rows"
ROUTED = "routed_unit"  # column of the prediction log's rows: what their request was routed by


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What units met."""

    units: pd.DataFrame  # index: unit; `variant`, and per column its sum, `<column>:max` and `<column>:rows`
    wrong: int  # of these, units that met what they were not assigned
    first: date
    last: date

    @property
    def wrong_share(self) -> float:
        """Of all units that were assigned [0, 1]."""
        return self.wrong / max(len(self.units), 1)


def read(services: Services, spec: ModelSpec, state: ExperimentState, day: date) -> Outcomes:
    """All outcomes from the experiment's first date to `day`, as known that night, by unit.

    Raises:
        SchemaError: a column is missing.
        SourceError: the table cannot be read.
    """
    wanted = _columns(state)
    unit = unit_of(spec, state)
    parts = []
    for _, frame in frames(services, spec, state, day):
        need(frame, (unit, *wanted), state)
        part = frame.assign(variant=variants_of(frame, state, known=False), **{unit: frame[unit].astype(str)})
        parts.append(_by_unit(part, unit, wanted))
    table = pd.concat(parts) if parts else _by_unit(pd.DataFrame(columns=[unit, "variant", *wanted]), unit, wanted)
    return _assigned(state, _together(table), day)


def unit_of(spec: ModelSpec, state: ExperimentState) -> str:
    """The column of the unit."""
    default = spec.entity if state.spec.outcomes.source is not None else ROUTED
    return state.spec.outcomes.unit or default


def need(frame: pd.DataFrame, names: Sequence[str], state: ExperimentState) -> None:
    """Make sure of columns.

    Raises:
        SchemaError: one is missing.
    """
    for name in names:
        if name not in frame.columns:
            where = "the outcomes" if state.spec.outcomes.source else "the prediction log with its labels"
            hint = did_you_mean(name, map(str, frame.columns))
            raise SchemaError(f"{state.spec.name}: {where} have no column {name!r}.", hint=hint)


def _columns(state: ExperimentState) -> tuple[str, ...]:
    """The columns of outcomes, each once."""
    metric, rails = state.spec.metric, state.spec.guardrails
    names = [metric.column, metric.denominator, metric.covariate, metric.covariate_denominator] if metric else []
    return tuple(dict.fromkeys(name for name in (*names, *(rail.column for rail in rails)) if name))


def frames(
    services: Services, spec: ModelSpec, state: ExperimentState, day: date
) -> Iterator[tuple[date | None, pd.DataFrame]]:
    """The rows of an experiment's dates up to `day`, with their date where the delivery says it.

    Raises:
        SourceError: the table cannot be read.
    """
    source = state.spec.outcomes.source
    if source is not None:
        entity = unit_of(spec, state)
        known = sources.read_known(source, entity=entity, timestamps=spec.timestamps, first=state.started_on, last=day)
        yield from ((each, settled(frame, spec, state)) for each, frame in known if len(frame))
        return
    for each in (state.started_on + timedelta(days=i) for i in range((day - state.started_on).days + 1)):
        table = log_reading.read(services.storage, spec.name, each)
        if len(table):
            yield each, _judged(services, spec, settled(table, spec, state), day)


def _judged(services: Services, spec: ModelSpec, table: pd.DataFrame, day: date) -> pd.DataFrame:
    """Logged predictions with `label`, `correct` or `absolute_error` where the truth is known by the night."""
    predicted = table.rename(columns={"label": "predicted_label", "event_timestamp": "observed_at"})
    predicted["latency_ms"] = predicted["latency_us"] / 1_000
    predicted["error"] = predicted["score"].isna().astype(float)  # answered without a score, or not at all
    first = predicted.drop_duplicates("request_id").set_index("request_id")[spec.entity]  # a request meets one variant
    predicted[ROUTED] = predicted["request_id"].map(first).astype(object).fillna(predicted["request_id"])
    when = predicted["observed_at"].dropna()
    if spec.label is None or when.empty:
        return predicted
    start, end = when.min().to_pydatetime(), when.max().to_pydatetime() + timedelta(microseconds=1)
    known = labelled.mature(services, spec, start=start, end=end, as_of=as_of(day))
    known = labels.keyed_like(known, predicted, spec.entity)[[spec.entity, "observed_at", "label"]]
    joined = predicted.merge(known, on=[spec.entity, "observed_at"], how="left")
    told = joined["label"].notna()
    truth = pd.to_numeric(joined["label"], errors="coerce")
    if spec.task == "anomaly":
        flagged = joined["flag"].astype("boolean")
        joined["correct"] = (flagged == (truth == 1)).astype("Float64").where(told & flagged.notna()).astype(float)
    elif spec.task == "classification":
        same = joined["predicted_label"].astype(str) == joined["label"].astype(str)
        joined["correct"] = same.astype(float).where(told)
    else:
        joined["absolute_error"] = (joined["score"] - truth).abs()
    return joined


def settled(frame: pd.DataFrame, spec: ModelSpec, state: ExperimentState) -> pd.DataFrame:
    """Rows without those of a date of change from before every process knew of it: of a start, or of another step."""
    name = next((each for each in ("predicted_at", spec.timestamps.event) if each in frame.columns), None)
    keep = pd.Series(data=True, index=frame.index)
    for since, at in zip(state.steps_from, state.steps_at, strict=True):
        if name is not None and at.date() == since:
            times = frame[name]
            keep &= ~((times >= as_of(since) - timedelta(days=1)) & (times < at + SETTLES))
    return frame[keep]


def variants_of(frame: pd.DataFrame, state: ExperimentState, *, known: bool = True) -> pd.Series:
    """The variant that each row says it met; null where it says none.

    Args:
        frame: rows.
        state: the experiment.
        known: null also where it is none of this experiment, such as the champion that stood in for a variant.

    Raises:
        SchemaError: no column says it.
    """
    names = {variant.name for variant in state.variants}
    column = state.spec.outcomes.variant
    if column in frame.columns:
        told: pd.Series = frame[column].astype(object)
        return told.where(told.isin(names)) if known else told
    if "model_version" in frame.columns:
        by_version = {variant.version: variant.name for variant in state.variants}
        met = frame["model_version"].map(by_version)
        return met if known else met.fillna("another version")
    raise SchemaError(f"{state.spec.name}: no column {column!r} says which variant a row met, nor does model_version.",
                      hint="Name it by outcomes.variant.")  # fmt: skip


def _by_unit(frame: pd.DataFrame, unit: str, columns: tuple[str, ...]) -> pd.DataFrame:
    """Sums, largest values and counts of each unit and variant; what is not known is not counted."""
    frame = frame.dropna(subset=["variant", unit])
    grouped = frame.groupby([unit, "variant"], sort=False)
    parts: dict[str, pd.Series] = {COUNT: grouped.size()}
    for name in columns:
        values = (
            pd.to_numeric(frame[name], errors="coerce")
            .astype(float)
            .groupby([frame[unit], frame["variant"]], sort=False)
        )
        parts |= {name: values.sum(), f"{name}:max": values.max(), f"{name}:rows": values.count()}
    return pd.DataFrame(parts).rename_axis(["unit", "variant"])


def _together(table: pd.DataFrame) -> pd.DataFrame:
    """Dates of one unit added up."""
    rules = {name: "max" if str(name).endswith(":max") else "sum" for name in table.columns}
    return table.groupby(level=["unit", "variant"], sort=True).agg(rules)


def _assigned(state: ExperimentState, table: pd.DataFrame, day: date) -> Outcomes:
    """Units that count, each with the variant that it was assigned, and all that it met."""
    route = state.route
    flat = table.reset_index(level="variant")
    given = {unit: assign(route, str(unit)) for unit in flat.index.unique()}
    flat = flat[flat.index.map(lambda unit: given[unit].counts).astype(bool)]
    due = pd.Series([given[unit].variant for unit in flat.index], index=flat.index, dtype=object)
    wrong = flat.index[(flat["variant"] != due).to_numpy()].nunique()
    units = _together(flat.assign(variant=due).set_index("variant", append=True)).reset_index(level="variant")
    return Outcomes(units, int(wrong), state.started_on, day)


def last_look(state: ExperimentState) -> ExperimentLook | None:
    """The newest look that was made."""
    return state.looks[-1] if state.looks else None

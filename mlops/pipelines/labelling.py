"""Labels that people give: for an event, for all rows of an alarm, or a file of them.

Reads: predictions, validated rows. Writes: the ledger, then the label store. A label counts from then on.

One rule: a label is about an event that is there; one that misses by a second would be learned from by nobody.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from mlops.data import partitions
from mlops.data.label_store import Label, Value
from mlops.data.labels import keyed_like
from mlops.data.timezones import to_utc
from mlops.errors import DataError, NoDataError, SchemaError, SourceError, did_you_mean
from mlops.pipelines.inference import predictions_uri
from mlops.services import Services
from mlops.spec import ModelSpec

KIND = "label_revision"


@dataclass(frozen=True, slots=True)
class Alarm:
    """Rows of one entity that were flagged one after the other."""

    entity: str
    start: datetime  # event time of the first row
    end: datetime  # and of the last
    events: tuple[datetime, ...]
    score: float  # the highest
    version: int  # that raised it
    verdict: str  # confirmed, dismissed, or "" while nobody has said anything
    by: str = ""

    @property
    def id(self) -> str:
        """`<entity>@<start>`, as `mlops label confirm` takes it."""
        return f"{self.entity}@{self.start:%Y-%m-%dT%H:%M:%SZ}"


@dataclass(frozen=True, slots=True)
class Given:
    """What became of labels that were given."""

    added: int  # the others said what their source had said before
    rows: int
    without_event: int = 0  # labels about events that no validated row is about
    dry_run: bool = False


def alarms(services: Services, spec: ModelSpec, first: date, last: date) -> list[Alarm]:
    """The alarms in the predictions for the deliveries of these dates, by entity and time, with what people said."""
    rows = _predicted(services, spec, first, last)
    if rows.empty:
        return []
    said = {(label.entity, label.event_at): label for label in services.labels.history(spec.name)}
    rows = rows.sort_values([spec.entity, "observed_at"], kind="stable").reset_index(drop=True)
    flagged = rows["flag"].fillna(value=False).astype(bool)
    begins = flagged & ~(flagged.shift(fill_value=False) & (rows[spec.entity] == rows[spec.entity].shift()))
    found = []
    for _, part in rows[flagged].groupby(begins.cumsum()[flagged], sort=True):
        entity, events = str(part[spec.entity].iloc[0]), tuple(t.to_pydatetime() for t in part["observed_at"])
        word = said.get((entity, events[0]))
        verdict = "" if word is None or word.value is None else "confirmed" if word.value == 1 else "dismissed"
        found.append(
            Alarm(
                entity, events[0], events[-1], events, float(part["score"].max()), int(part["model_version"].iloc[0]),
                verdict, word.actor if word and verdict else "",
            )
        )  # fmt: skip
    return found


def judge(
    services: Services, spec: ModelSpec, entity: str, at: datetime, *, real: bool, comment: str = "", actor: str = ""
) -> tuple[Alarm, Given]:
    """Confirm or dismiss an alarm: every row of it is labelled 1 or 0, with the source `alarm`.

    Args:
        services: the adapters.
        spec: an anomaly model.
        entity: whose alarm.
        at: time of any of its rows, aware.
        real: whether there was something.
        comment: why.
        actor: who says so. Default: the actor of the settings.

    Raises:
        NoDataError: there is no such alarm; the message names the nearest.
    """
    if spec.task != "anomaly":
        raise DataError(f"{spec.name} is a {spec.task} model and raises no alarms.", hint="See `mlops label add`.")
    moment = at.astimezone(UTC)
    last = moment + timedelta(hours=spec.contract.max_lateness_hours)
    known = alarms(services, spec, moment.date() - timedelta(days=1), last.date())
    alarm = next((one for one in known if one.entity == entity and one.start <= moment <= one.end), None)
    if alarm is None:
        raise _no_such_alarm(spec, entity, moment, known)
    who = actor or services.actor
    given = [Label(entity, event, float(real), "alarm", who, comment) for event in alarm.events]
    facts = {"act": "confirm" if real else "dismiss", "alarm": alarm.id, "alarmed_by_version": alarm.version}
    return alarm, _give(services, spec, given, facts | {"comment": comment}, who)


def add(services: Services, spec: ModelSpec, entity: str, at: datetime, value: Value, comment: str = "") -> Given:
    """Label one event by hand; None takes back what was said by hand.

    Raises:
        NoDataError: no validated row is about it; the message names the nearest time.
        DataError: the value is none that this model learns.
    """
    _refuse_odd(spec, [value])
    moment = at.astimezone(UTC)
    rows = _events(services, spec, moment, moment)
    mine = rows[rows[spec.entity].astype(str) == entity]
    if not (mine[spec.timestamps.event] == moment).any():
        if rows.empty:
            raise NoDataError(f"There are no validated rows of {spec.dataset} around {moment:%Y-%m-%d %H:%M:%S} UTC.")
        if mine.empty:
            raise NoDataError(
                f"There is no {spec.entity} {entity!r} around {moment:%Y-%m-%d %H:%M:%S} UTC.",
                hint=did_you_mean(entity, rows[spec.entity].astype(str).unique()),
            )
        times = mine[spec.timestamps.event].reset_index(drop=True)
        near = times.iloc[int((times - moment).abs().argmin())]
        raise NoDataError(
            f"No row of {entity} is about {moment:%Y-%m-%d %H:%M:%S} UTC.",
            hint=f"The nearest is about {near.isoformat()}.",
        )
    facts = {"act": "add", "entity": entity, "event_at": moment.isoformat(), "value": value, "comment": comment}
    return _give(services, spec, [Label(entity, moment, value, "hand", services.actor, comment)], facts, services.actor)


def import_file(
    services: Services, spec: ModelSpec, path: Path, *, column: str = "", timezone: str | None = None,
    dry_run: bool = False,
) -> Given:  # fmt: skip
    """Take labels from a CSV file: entity, event time and label; they arrive now. An empty label takes one back.

    Args:
        services: the adapters.
        spec: the model.
        path: the file, with the columns of the spec.
        column: the label's column. Default: the spec's, or `label`.
        timezone: zone of times that carry none; without it such times are refused.
        dry_run: say what would be done.

    Raises:
        SourceError: the file cannot be read.
        SchemaError: a column is missing, or a time has no zone.
        DataError: a value is none that this model learns, an event is there twice, or no event is in the data.
    """
    frame = _read(path)
    column = column or (spec.label.column if spec.label and spec.label.column else "label")
    event = spec.timestamps.event
    if missing := [name for name in (spec.entity, event, column) if name not in frame.columns]:
        raise SchemaError(
            f"{path} has no column {missing[0]!r}.", hint=did_you_mean(missing[0], map(str, frame.columns))
        )
    frame = frame[[spec.entity, event, column]].rename(columns={event: "observed_at"})
    frame["observed_at"] = to_utc(frame["observed_at"], timezone, per=frame[spec.entity])
    if (rows := frame[frame[[spec.entity, "observed_at"]].isna().any(axis=1)]).size:
        raise DataError(f"{path}: {len(rows):,} rows lack {spec.entity} or {event}, the first is row {rows.index[0]}.")
    if (twice := frame[frame.duplicated([spec.entity, "observed_at"])]).size:
        raise DataError(f"{path}: {len(twice):,} events are there twice, the first is row {twice.index[0]}.")
    values = [_value(text) for text in frame[column]]
    _refuse_odd(spec, values)
    without = _without_event(services, spec, frame)
    given = [
        Label(str(entity), at.to_pydatetime(), value, "import", services.actor, path.name)
        for entity, at, value in zip(frame[spec.entity], frame["observed_at"], values, strict=True)
    ]
    if dry_run:
        return Given(0, len(given), without, dry_run=True)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    facts = {"act": "import", "file": path.name, "sha256": digest, "rows": len(given)}
    return _give(services, spec, given, facts, services.actor, without)


def value_of(text: str) -> Value:
    """A label as people write it: a number, true or false, text, or `none` to take it back.

    >>> value_of("1"), value_of("true"), value_of("worn"), value_of("none")
    (1.0, 1.0, 'worn', None)
    """
    return _value(text)


def _value(given: object) -> Value:
    if given is None or (isinstance(given, float) and math.isnan(given)):
        return None
    text = str(given).strip()
    if text.lower() in ("", "none", "null"):
        return None
    if text.lower() in ("true", "false"):
        return float(text.lower() == "true")
    try:
        return float(text)
    except ValueError:
        return text


def _refuse_odd(spec: ModelSpec, values: Sequence[Value]) -> None:
    """Labels that the model could not learn."""
    present = [value for value in values if value is not None]
    if spec.task == "anomaly" and (odd := [value for value in present if value not in (0.0, 1.0)]):
        raise DataError(
            f"{spec.name} is an anomaly model; {odd[0]!r} is neither 1 nor 0.", hint="1: something was there."
        )
    wrong: list[Value] = [v for v in present if isinstance(v, float) and not math.isfinite(v)]
    if spec.task == "regression":
        wrong += [value for value in present if isinstance(value, str)]
    if wrong:
        raise DataError(f"{wrong[0]!r} is no finite number, which {spec.name} needs ({spec.task}).")


def _give(
    services: Services, spec: ModelSpec, labels: Sequence[Label], facts: dict[str, Any], actor: str, without: int = 0
) -> Given:
    now = services.clock()
    services.ledger.append(KIND, spec.name, facts | {"labels": len(labels)}, actor=actor, at=now)
    added = services.labels.add(spec.name, labels, at=now)
    return Given(added, len(labels), without)


def _predicted(services: Services, spec: ModelSpec, first: date, last: date) -> pd.DataFrame:
    wanted = [spec.entity, "observed_at", "score", "flag", "model_version"]
    days = services.storage.partitions(services.storage.uri("predictions", spec.name))
    tables = [services.storage.read_table(predictions_uri(services, spec, day)) for day in days if first <= day <= last]
    frames = [table.select(wanted).to_pandas() for table in tables if "flag" in table.column_names]
    if not frames:
        return pd.DataFrame(columns=wanted)
    rows: pd.DataFrame = pd.concat(frames, ignore_index=True)
    return rows.drop_duplicates([spec.entity, "observed_at"], keep="last")


def _no_such_alarm(spec: ModelSpec, entity: str, at: datetime, known: Sequence[Alarm]) -> NoDataError:
    mine = [one for one in known if one.entity == entity]
    if mine:
        near = min(mine, key=lambda one: abs(one.start - at))
        hint = f"The nearest is {near.id}, until {near.end:%Y-%m-%d %H:%M:%S}."
    elif known:
        hint = did_you_mean(entity, {one.entity for one in known})
    else:
        hint = f"There are none on those days: mlops label alarms {spec.name}"
    return NoDataError(f"{spec.name} has no alarm of {entity} at {at:%Y-%m-%d %H:%M:%S} UTC.", hint=hint)


def _events(services: Services, spec: ModelSpec, first: datetime, last: datetime) -> pd.DataFrame:
    """Entity and event time of the validated rows that were delivered from a day before on."""
    until = last + timedelta(hours=spec.contract.max_lateness_hours)
    start = first.date() - timedelta(days=1)
    return partitions.read_rows(
        services.storage, spec.dataset, start, until.date(), [spec.entity, spec.timestamps.event]
    )


def _without_event(services: Services, spec: ModelSpec, frame: pd.DataFrame) -> int:
    """How many labels are about events that are not in the data."""
    times = frame["observed_at"]
    rows = _events(services, spec, times.min().to_pydatetime(), times.max().to_pydatetime()) if len(frame) else frame
    rows = rows.rename(columns={spec.timestamps.event: "observed_at"})
    matched = 0
    if len(rows) and len(frame):
        keyed = keyed_like(frame, rows, spec.entity)
        matched = len(keyed.merge(rows.drop_duplicates(), on=[spec.entity, "observed_at"]))
    if not matched:
        raise DataError(
            f"None of the {len(frame):,} labels is about an event of {spec.dataset}.",
            hint="Is the time zone right (--timezone), and are the keys those of the data?",
        )
    return len(frame) - matched


def _read(path: Path) -> pd.DataFrame:
    try:
        frame: pd.DataFrame = pd.read_csv(path, dtype=str, keep_default_na=False, na_values=[""])
    except (OSError, ValueError) as error:
        raise SourceError(f"{path} cannot be read as CSV: {' '.join(str(error).split())}.") from error
    return frame

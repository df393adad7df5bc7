"""What a backtest makes once and all its policies share: trained models, verdicts on pairs of them, days and truths.

What a training of a date comes to depends on that date and on how time was cut, never on the policy that asked for it.
Everything lies below the backtest's own folder, so that one that was cut short goes on where it was; the registry,
MLflow and the ledger hear nothing of it.

One rule: a night of the backtest sees what that night could see. Only `truth` and the oracle look ahead.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cached_property

import pandas as pd

from mlops.data import labels, partitions
from mlops.errors import DataError, IntegrityError, NoDataError, TrainingError
from mlops.models import gates, serialization
from mlops.models.scoring import Scorer
from mlops.pipelines import labelled, training
from mlops.pipelines import training_set as sets
from mlops.pipelines.evaluation import measure_scores
from mlops.pipelines.judging import judge_all
from mlops.pipelines.night import as_of, entity_rows, inputs_hash, judged_until
from mlops.pipelines.players import Player
from mlops.records import ModelVersion, TrainingSet, from_dict, to_dict
from mlops.services import Services
from mlops.spec import ModelSpec

MOST_HELD = 6  # trained models in memory with their training sets
MOST_DAYS = 1_000_000_000  # bytes of days in memory


@dataclass(frozen=True, slots=True)
class Lesson:
    """A training of a night: what it came to, or why there was none."""

    key: str  # "<date>-<schedule|drift>"
    date: dt.date
    reason: str
    problem: str = ""  # why nothing could be trained; "" if it could
    candidate: str = ""
    digest: str = ""  # sha256 over the scorer's file
    inputs_hash: str = ""
    training_set: str = ""  # URI
    metrics: dict[str, float] = field(default_factory=dict)
    cpu_seconds: float = 0.0  # measured when it was made; not part of what is decided


@dataclass(frozen=True)
class Trained:
    """A lesson with its model and what it was learned from."""

    lesson: Lesson
    version: ModelVersion
    scorer: Scorer
    training_set: TrainingSet
    tables: sets.Tables
    stored_bytes: int  # of the scorer's file

    @cached_property
    def player(self) -> Player:
        """For the gates."""
        return Player(self.version, self.scorer, self.stored_bytes)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gates say of a pair."""

    passed: bool
    reason: str


class Pool:
    """Models, verdicts and days of one backtest.

    Args:
        services: of the installation; its ingested history and its features are read.
        spec: the model.
        place: URI of the backtest's folder.
        last: the date up to which truths are known.
    """

    def __init__(self, services: Services, spec: ModelSpec, place: str, last: date) -> None:
        self.services = services
        self.spec = spec
        self._storage = services.storage
        self._place = place
        self.last = last
        self._held: OrderedDict[str, Trained] = OrderedDict()
        self._scorer: tuple[str, Scorer] | None = None
        self._days: OrderedDict[date, pd.DataFrame] = OrderedDict()
        self._bytes: dict[date, int] = {}
        self._truths: dict[tuple[date, date], pd.DataFrame] = {}

    def lesson(self, day: date, reason: str) -> Lesson:
        """The training of a night, made now if it was not made before.

        Args:
            day: the night.
            reason: schedule, or drift where the spec cuts time differently after an alarm.
        """
        key = f"{day}-{reason}"
        uri = f"{self._place}/lessons/{key}/lesson.json"
        try:
            return from_dict(Lesson, self._storage.read_json(uri))
        except NoDataError:
            pass
        try:
            made = self._teach(key, day, reason)
        except (DataError, TrainingError) as error:
            made = Lesson(key, day, reason, problem=str(error))
        self._storage.write_json(uri, to_dict(made))
        return made

    def trained(self, lesson: Lesson) -> Trained:
        """The model of a lesson that has one."""
        if lesson.key not in self._held:
            scorer = self.scorer(lesson)
            training_set = sets.find(self.services, lesson.training_set)
            tables = sets.read(self.services, training_set)
            (file,) = self._storage.listing(self._file(lesson.key))
            self._hold(Trained(lesson, self._version(lesson), scorer, training_set, tables, file.size))
        self._held.move_to_end(lesson.key)
        return self._held[lesson.key]

    def scorer(self, lesson: Lesson) -> Scorer:
        """The model of a lesson that has one, without what it was learned from.

        Raises:
            IntegrityError: it is not the one that was made.
        """
        if lesson.key in self._held:
            return self._held[lesson.key].scorer
        if self._scorer is None or self._scorer[0] != lesson.key:
            data = self._storage.read_bytes(self._file(lesson.key))
            if hashlib.sha256(data).hexdigest() != lesson.digest:
                raise IntegrityError(
                    f"The model of {lesson.key} is not the one that was made.", hint=f"Delete {self._place}/lessons."
                )
            trusted = self.services.config.trusted_types
            self._scorer = (lesson.key, serialization.loads(data, name=lesson.key, trusted_types=trusted))
        return self._scorer[1]

    def verdict(self, challenger: Lesson, champion: Lesson | None) -> Verdict:
        """What the gates say of a challenger against a champion."""
        uri = f"{self._place}/verdicts/{challenger.key}-against-{champion.key if champion else 'nobody'}.json"
        try:
            return from_dict(Verdict, self._storage.read_json(uri))
        except NoDataError:
            pass
        one, other = self.trained(challenger), self.trained(champion) if champion else None
        judged = judge_all(
            self.spec, one.training_set, one.tables, one.player, other.player if other is not None else None
        )
        passed = gates.judge(judged) == "pass"
        stopped = [gate.reason for gate in judged if gate.decides and gate.verdict != "pass"]
        better = [gate.reason for gate in judged if gate.name.startswith(("better", "reaches"))]
        found = Verdict(passed, " ".join(better if passed else stopped))
        self._storage.write_json(uri, to_dict(found))
        return found

    def day(self, day: date) -> pd.DataFrame:
        """The rows of a date with their features as batch scoring sees them; empty if nothing was delivered."""
        if day not in self._days:
            rows = self._joined(day)
            self._bytes[day] = int(rows.memory_usage(deep=True).sum())
            while self._days and sum(self._bytes[kept] for kept in self._days) + self._bytes[day] > MOST_DAYS:
                self._days.popitem(last=False)
            self._days[day] = rows
        return self._days[day]

    def value(self, lesson: Lesson, day: date, known: date) -> float | None:
        """The objective's metric of a model on a date, by the labels that are known at the end of `known`."""
        rows, truth = self.day(day), self._truth(day, known)
        if rows.empty or truth.empty:
            return None
        scorer = self.scorer(lesson)
        predicted = rows[[self.spec.entity, "observed_at"]].reset_index(drop=True)
        predicted = pd.concat([predicted, scorer.predict(rows).reset_index(drop=True)], axis=1)
        truth = labels.keyed_like(truth, predicted, self.spec.entity)
        joined = predicted.merge(truth, on=[self.spec.entity, "observed_at"], how="inner")
        return measure_scores(joined, joined, self.spec, scorer.classes).get(self.spec.metric) if len(joined) else None

    def realised(self, lesson: Lesson, day: date) -> tuple[date, float] | None:
        """The metric of the newest date whose labels are mature at the end of `day`, as they were known then."""
        mature = self.newest_mature(day)
        value = self.value(lesson, mature, day)
        return None if value is None else (mature, value)

    def newest_mature(self, day: date) -> date:
        """The newest date all of whose labels are mature at the end of `day`."""
        return (judged_until(self.spec, day) - timedelta(microseconds=1)).date()

    def labels_of(self, day: date, known: date) -> int:
        """How many labels a date has at the end of `known`."""
        return int(self._truth(day, known)["label"].notna().sum())

    def _teach(self, key: str, day: date, reason: str) -> Lesson:
        services, spec = self.services, self.spec
        began = time.process_time()
        if day not in partitions.delivered_days(services.storage, spec.dataset):
            raise NoDataError(f"There is no validated delivery for {day}.")
        record, tables = sets.assemble(services, spec, day, reason)
        candidate, scorer, found = training.best_of(spec, record, tables)
        data = scorer.to_skops(services.config.trusted_types)
        record = sets.keep(services, record, tables, f"{self._place}/sets/{key}")
        self._storage.write_bytes(self._file(key), data)
        made = Lesson(
            key,
            day,
            reason,
            candidate=candidate.label,
            digest=hashlib.sha256(data).hexdigest(),
            inputs_hash=inputs_hash(spec, record.fingerprint, services.code_version, candidate.label),
            training_set=record.uri,
            metrics=found,
            cpu_seconds=round(time.process_time() - began, 3),
        )
        self._hold(Trained(made, self._version(made), scorer, record, tables, len(data)))
        return made

    def _file(self, key: str) -> str:
        return f"{self._place}/lessons/{key}/{serialization.SKOPS_FILE}"

    def _version(self, lesson: Lesson) -> ModelVersion:
        """A lesson as the gates know versions."""
        return ModelVersion(
            model=self.spec.name,
            version=lesson.date.toordinal(),
            run_id=lesson.key,
            run_key=f"{self.spec.name}/backtest/{lesson.date}/{lesson.candidate}",
            model_uri="",
            digest=lesson.digest,
            inputs_hash=lesson.inputs_hash,
            candidate=lesson.candidate,
            training_set_uri=lesson.training_set,
            metrics=lesson.metrics,
        )

    def _hold(self, trained: Trained) -> None:
        self._held[trained.lesson.key] = trained
        while len(self._held) > MOST_HELD:
            self._held.popitem(last=False)

    def _joined(self, day: date) -> pd.DataFrame:
        if day not in partitions.delivered_days(self.services.storage, self.spec.dataset):
            return pd.DataFrame()
        rows = partitions.read_rows(self.services.storage, self.spec.dataset, day, day)
        asked = entity_rows(rows, self.spec)
        joined: pd.DataFrame = self.services.features.historical(self.spec.features.service, asked)
        return joined

    def _truth(self, day: date, known: date) -> pd.DataFrame:
        if (day, known) not in self._truths:
            end = as_of(day)
            self._truths[day, known] = labelled.mature(
                self.services, self.spec, start=end - timedelta(days=1), end=end, as_of=as_of(known)
            )
        return self._truths[day, known]

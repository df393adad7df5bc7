"""One policy lived through history, night by night: what it trained, promoted and would have answered.

A night goes so: the champion answers the day's rows; what has become known by the end of the day is looked at; the
policy decides; a challenger that passes the gates is champion from the next day on.

One rule: a policy is told only what the night knew. The oracle alone is told the truth.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from mlops.errors import TrainingError
from mlops.experiments import metrics
from mlops.monitoring import retraining
from mlops.monitoring.retraining import Situation
from mlops.pipelines import drift_decision, drift_nights, monitoring
from mlops.pipelines.drift_nights import DriftNight
from mlops.pipelines.replay_pool import Lesson, Pool
from mlops.spec import BacktestPolicy


@dataclass(frozen=True, slots=True)
class Night:
    """One night under one policy."""

    date: dt.date
    champion: str  # key of the lesson that answered
    value: float | None  # of the objective's metric, by the truth as it is known in the end
    decision: str  # in one sentence
    trained: bool = False
    promoted: bool = False
    alarm: bool = False  # drift to act on
    verdict: str = ""  # what the gates said of the challenger


@dataclass(frozen=True, slots=True)
class Replay:
    """A policy's whole life."""

    policy: str
    nights: tuple[Night, ...]
    cpu_seconds: float  # of its trainings, the first champion's among them, as measured

    @property
    def trainings(self) -> int:
        """Trainings after the first champion's."""
        return sum(night.trained for night in self.nights)

    @property
    def promotions(self) -> int:
        """Challengers that became champion."""
        return sum(night.promoted for night in self.nights)

    @property
    def alarms(self) -> int:
        """Nights with drift to act on."""
        return sum(night.alarm for night in self.nights)

    @property
    def false_alarms(self) -> int:
        """Alarms whose training brought nobody better: the gates refused what it made."""
        return sum(night.alarm and night.trained and not night.promoted for night in self.nights)

    @property
    def values(self) -> np.ndarray:
        """The metric by night, shape (n_nights,); NaN where it could not be computed."""
        return np.array([np.nan if night.value is None else night.value for night in self.nights])


@dataclass
class _Life:
    """What changes from night to night."""

    champion: Lesson
    trained: list[dt.date]
    lessons: list[Lesson]
    realised: list[tuple[dt.date, float]] = field(default_factory=list)
    drift: list[DriftNight] = field(default_factory=list)
    labels: int = 0
    began: dt.date | None = None  # first date that the present champion answered


def replay(
    pool: Pool, name: str, policy: BacktestPolicy, days: list[dt.date], lived: Callable[[], None] = lambda: None
) -> Replay:
    """Live through `days` under a policy.

    Args:
        pool: models, verdicts and days.
        name: of the policy.
        policy: when it trains.
        days: the first one's training makes the first champion, which answers from the second on.
        lived: called after every night.

    Raises:
        TrainingError: nothing could be trained on the first day.
    """
    if policy.oracle:
        return _ideal(pool, name, days, lived)
    first = pool.lesson(days[0], "schedule")
    if first.problem:
        raise TrainingError(
            f"{pool.spec.name}: no first champion could be trained on {days[0]}: {first.problem}",
            hint="Begin later, when there is enough history: --from.",
        )
    life = _Life(first, [days[0]], [first])
    nights = []
    for day in days[1:]:
        nights.append(_night(pool, policy, life, day))
        lived()
    return Replay(name, tuple(nights), _cpu_seconds(life.lessons))


def _night(pool: Pool, policy: BacktestPolicy, life: _Life, day: dt.date) -> Night:
    champion = life.champion
    life.began = life.began or day
    value = pool.value(champion, day, pool.last)
    _remember(pool, life, day)
    alarm, due = _drifted(pool, life, day) if policy.drift else (None, None)
    situation = Situation(
        date=day,
        trained=tuple(life.trained),
        drift=alarm,
        drift_due=due,
        realised=tuple(life.realised),
        higher_is_better=metrics.higher_is_better(pool.spec.metric),
        labels=life.labels,
    )
    decided = retraining.decide(policy, situation)
    night = Night(day, champion.key, value, decided.reason, alarm=bool(alarm))
    return _taught(pool, life, night, decided.fired) if decided.train else night


def _taught(pool: Pool, life: _Life, night: Night, fired: tuple[str, ...]) -> Night:
    """Train, let the gates judge, and change the champion if they pass it."""
    lesson = pool.lesson(night.date, "drift" if fired == ("drift",) else "schedule")
    life.trained.append(night.date)
    life.lessons.append(lesson)
    life.labels = 0
    if lesson.problem:
        return dataclasses.replace(night, trained=True, verdict=f"Nothing could be trained: {lesson.problem}")
    verdict = pool.verdict(lesson, life.champion)
    if verdict.passed:
        life.champion, life.began = lesson, None
        life.realised, life.drift = [], []
    return dataclasses.replace(night, trained=True, promoted=verdict.passed, verdict=verdict.reason)


def _remember(pool: Pool, life: _Life, day: dt.date) -> None:
    """What has become known of this champion by the end of the day."""
    mature = pool.newest_mature(day)
    life.labels += pool.labels_of(mature, day)
    if life.began is None or mature < life.began or (life.realised and life.realised[-1][0] >= mature):
        return
    if (found := pool.realised(life.champion, day)) is not None:
        life.realised.append(found)


def _drifted(pool: Pool, life: _Life, day: dt.date) -> tuple[bool | None, dt.date | None]:
    """Drift to act on, by the rule that monitoring has (same reference, budget, consequence), and from when on."""
    spec, trained = pool.spec, pool.trained(life.champion)
    rows = pool.day(day)
    if rows.empty:
        return None, None
    reference = monitoring.reference_of(spec, trained.tables, trained.scorer)
    current = rows.assign(**{monitoring.PREDICTION: trained.scorer.score(rows)})
    columns = spec.drift.columns or (*trained.training_set.features, monitoring.PREDICTION)
    earlier = life.drift[-drift_nights.MOST_NIGHTS :]
    told, night = monitoring.compared(
        spec, day, trained.version.version, trained.scorer, reference, current, columns, life.champion.key, earlier
    )
    life.drift.append(night)
    if told.verdict == "cannot_tell":
        return None, None
    acts = drift_decision.acts(spec, told)
    return acts, drift_decision.learnable_from(spec, told) if acts else None


def _ideal(pool: Pool, name: str, days: list[dt.date], lived: Callable[[], None]) -> Replay:
    """Every night the version that the day's truth prefers among all that could have been trained before it."""
    sign = 1 if metrics.higher_is_better(pool.spec.metric) else -1
    best: dict[dt.date, tuple[str, float]] = {}
    lessons = [pool.lesson(day, "schedule") for day in days[:-1]]
    for lesson in (lesson for lesson in lessons if not lesson.problem):
        for day in (day for day in days[1:] if day > lesson.date):
            value = pool.value(lesson, day, pool.last)
            if value is not None and (day not in best or sign * value > sign * best[day][1]):
                best[day] = (lesson.key, value)
        lived()
    nights = []
    for day in days[1:]:
        key, value = best.get(day, (lessons[0].key, None))
        nights.append(Night(day, key, value, "The truth of the day prefers this version.", trained=day != days[-1]))
    return Replay(name, tuple(nights), _cpu_seconds(lessons))


def _cpu_seconds(lessons: Sequence[Lesson]) -> float:
    return round(sum(lesson.cpu_seconds for lesson in lessons), 1)

"""The backtest of the retraining policy: what each policy would have cost and how good it would have been.

History is lived through night by night by the functions of the pipelines, with arrival times and label delays as they
were. What policies share is made once (`replay_pool`), each policy is lived through on its own (`replay`), side by side
in processes. A backtest that was cut short goes on where it was; the same question gives the same answer, but for the
measured CPU time.

One rule: nothing outside the backtest's own folder is written.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from mlops.data import partitions
from mlops.errors import NoDataError
from mlops.experiments import metrics
from mlops.experiments.dependent_means import mean_interval
from mlops.pipelines import labelled
from mlops.pipelines.night import as_of
from mlops.pipelines.replay import Replay
from mlops.pipelines.replay_crew import Crew
from mlops.pipelines.replay_pool import Pool
from mlops.records import to_dict
from mlops.services import Services
from mlops.spec import BacktestPolicy, CostTrigger, ModelSpec, PerformanceTrigger

ORACLE = "oracle"


@dataclass(frozen=True, slots=True)
class Standing:
    """One policy in the table."""

    policy: str
    nights: int  # with a truth
    quality: float | None  # mean of the objective's metric over these nights
    quality_interval: tuple[float, float] | None  # 95 %
    regret: float | None  # how much worse than the oracle on the same nights, ≥ 0
    regret_interval: tuple[float, float] | None
    trainings: int
    promotions: int
    alarms: int
    false_alarms: int
    cpu_seconds: float  # of its trainings, as measured


@dataclass(frozen=True, slots=True)
class Backtest:
    """What a backtest found."""

    model: str
    metric: str
    higher_is_better: bool
    start: date
    end: date
    standings: tuple[Standing, ...]
    replays: tuple[Replay, ...]
    answer_hash: str  # sha256 over all that is decided, which leaves out what was measured
    place: str  # URI of the folder


def default_policies(spec: ModelSpec, typical: float) -> dict[str, BacktestPolicy]:
    """The six that everybody asks for.

    Args:
        spec: the model.
        typical: of the metric, on the first champion's holdout: 5 % of it count as worse, one of it buys a training.
    """
    worse = max(abs(typical) * 0.05, 1e-6)
    return {
        "never": BacktestPolicy(),
        "nightly": BacktestPolicy(every_days=1),
        "drift": BacktestPolicy(drift=True, cooldown_days=spec.drift.cooldown_days),
        "performance": BacktestPolicy(performance=PerformanceTrigger(worse_by=worse), cooldown_days=3),
        "cost-aware": BacktestPolicy(cost=CostTrigger(training_cost=10 * worse)),
        ORACLE: BacktestPolicy(oracle=True),
    }


def run(
    services: Services,
    spec: ModelSpec,
    start: date,
    end: date,
    policies: Mapping[str, BacktestPolicy] | None = None,
    *,
    workers: int = 1,
    progress: Callable[[str, int, int], None] = lambda _what, _done, _all: None,
) -> Backtest:
    """Replay history under each policy.

    Args:
        services: of the installation; ingestion and features of the whole time must have been run.
        spec: the model.
        start: the night whose training makes the first champion.
        end: the last night.
        policies: by name; default: `default_policies`. One that is an oracle gives the regret of all others.
        workers: processes side by side.
        progress: called with what is under way, how much of it is done, and how much there is.

    Returns:
        The standings in the order of the policies, and each policy's nights.

    Raises:
        NoDataError: there is no validated history, or no label to judge by.
        TrainingError: nothing could be trained on the first night.
    """
    days = _days(services, spec, start, end)
    services.features.apply()
    last = _last_known(services, spec, end)
    place = _place(services, spec, days, last)
    pool = Pool(services, spec, place, last)
    with threadpool_limits(1):
        policies = dict(policies) if policies else default_policies(spec, _typical(pool, days[0]))
    every_night = [name for name, policy in policies.items() if policy.oracle or policy.every_days == 1]
    crew = Crew(services, spec, place, last, workers)
    if every_night and workers > 1:  # one worker makes them as it goes
        crew.teach(days, lambda done: progress("trainings", done, len(days)))
    replays = crew.live(policies, days, lambda done: progress("policies", done, len(policies)))
    found = _found(spec, days, replays, place)
    services.storage.write_json(f"{place}/backtest.json", to_dict(found))
    return found


def _days(services: Services, spec: ModelSpec, start: date, end: date) -> list[date]:
    if spec.label is None:
        raise NoDataError(
            f"{spec.name} has no label, so nothing says how good a policy would have been.",
            hint="Give the spec a label, or compare alarms by hand.",
        )
    if end <= start:
        raise NoDataError(f"A backtest needs two nights at least, {start} to {end} is none.", hint="Mend --from, --to.")
    days = [start + timedelta(days=i) for i in range((end - start).days + 1)]
    there = set(partitions.delivered_days(services.storage, spec.dataset))
    missing = [day for day in days if day not in there]
    if len(missing) > len(days) // 2:
        raise NoDataError(
            f"{spec.name}: {len(missing)} of {len(days)} days from {start} to {end} were never ingested.",
            hint=f"Run: mlops run ingestion {spec.name} --date {start} --until {end}, and the same for features.",
        )
    return days


def _last_known(services: Services, spec: ModelSpec, end: date) -> date:
    """The last date that brought data: what labels say by then is the truth."""
    assert spec.label is not None
    days = partitions.delivered_days(services.storage, spec.dataset)
    mature = end + timedelta(days=int(spec.label.maturity_days) + int(spec.label.horizon_hours // 24) + 1)
    return max(mature, *days)


def _place(services: Services, spec: ModelSpec, days: Sequence[date], last: date) -> str:
    """The folder of this very question: other rows, labels, code or spec make another one."""
    first = days[0] - timedelta(days=spec.split.window_days + 1)
    history = [first + timedelta(days=i) for i in range((days[-1] - first).days + 1)]
    slices = [partitions.published(services.storage, spec.dataset, day) for day in history]
    truth = labelled.mature(services, spec, start=as_of(first), end=as_of(days[-1]), as_of=as_of(last))
    facts = {
        "rows": [found.content_hash if found is not None else "" for found in slices],
        "labels": hashlib.sha256(pd.util.hash_pandas_object(truth, index=False).to_numpy().tobytes()).hexdigest(),
        "spec": [spec.training_hash, spec.model_dump(mode="json", include={"gates", "drift"})],
        "code": services.code_version,
        "days": [str(days[0]), str(days[-1])],
    }
    asked = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()
    return services.storage.uri("backtests", spec.name, f"{days[0]}_{days[-1]}_{asked[:12]}")


def _typical(pool: Pool, day: date) -> float:
    """The metric of the first champion on its holdout, else in cross-validation; 1 where neither is there."""
    found = pool.lesson(day, "schedule").metrics
    names = (f"holdout_{pool.spec.metric}", f"cv_{pool.spec.metric}")
    return next((found[name] for name in names if name in found), 1.0)


def _found(spec: ModelSpec, days: Sequence[date], replays: Sequence[Replay], place: str) -> Backtest:
    better = metrics.higher_is_better(spec.metric)
    ideal = next((one for one in replays if one.policy == ORACLE), None)
    decided = [replace(one, cpu_seconds=0.0) for one in replays]
    answer = json.dumps([to_dict(one) for one in decided], sort_keys=True, default=str)
    return Backtest(
        model=spec.name,
        metric=spec.metric,
        higher_is_better=better,
        start=days[0],
        end=days[-1],
        standings=tuple(_standing(one, ideal, better) for one in replays),
        replays=tuple(replays),
        answer_hash=hashlib.sha256(answer.encode()).hexdigest(),
        place=place,
    )


def _standing(one: Replay, ideal: Replay | None, higher_is_better: bool) -> Standing:
    values = one.values
    regret = np.empty(0)
    if ideal is not None:
        regret = (ideal.values - values) * (1 if higher_is_better else -1)
    quality, quality_interval = mean_interval(values)
    lost, lost_interval = mean_interval(regret)
    return Standing(
        policy=one.policy,
        nights=int(np.isfinite(values).sum()),
        quality=quality,
        quality_interval=quality_interval,
        regret=lost,
        regret_interval=lost_interval,
        trainings=one.trainings,
        promotions=one.promotions,
        alarms=one.alarms,
        false_alarms=one.false_alarms,
        cpu_seconds=one.cpu_seconds,
    )
